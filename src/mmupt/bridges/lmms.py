"""A task folder for lmms-eval: the same questions, and the same rules through this package.

    FOLDER/NAME.yaml      the task
    FOLDER/utils.py       its functions, each a line that calls this module
    FOLDER/NAME.parquet   questions with their pictures, and what the rule needs of each

    python -m lmms_eval --include_path FOLDER --tasks NAME --model ...

`mmupt` has to be installed beside lmms-eval. Pictures are bytes within the table: nothing is
fetched, and they are decoded with the bounds of `mmupt.data.images`.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from mmupt.asking.prompt import IMAGE_MARK, Prompt
from mmupt.benchmarks.catalog import benchmark
from mmupt.benchmarks.rows import BenchmarkRow
from mmupt.data.images import load_image
from mmupt.errors import ConfigError, RunFolderError
from mmupt.evaluate.judging import ByAnswer, ByBenchmark, Item
from mmupt.runs import write_atomic
from mmupt.types import Completion, Finish, Sample

METRIC = "mmupt_accuracy"

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_UTILS = '''"""Functions of the task, as `mmupt.bridges.lmms` has them."""

from mmupt.bridges.lmms import (  # noqa: F401
    doc_to_messages,
    doc_to_target,
    doc_to_text,
    doc_to_visual,
    mean_of_scored,
    process_results,
)
'''


class _Function(str):
    """A function of `utils.py`, as lmms-eval writes it in YAML."""


class _Dumper(yaml.SafeDumper):
    """Knows ``!function``."""


_Dumper.add_representer(
    _Function, lambda dumper, name: dumper.represent_scalar("!function", f"utils.{name}")
)


def write_task(folder: Path, name: str, items: Sequence[Item], max_new_tokens: int) -> list[Path]:
    """Write the folder.

    Args:
        folder: new or empty.
        name: of the task: letters, digits and underscores.
        items: the questions.
        max_new_tokens: longest reply.

    Returns:
        The files.

    Raises:
        ConfigError: a name that lmms-eval could not be given.
        RunFolderError: the folder has something in it, or cannot be written.
        InputError: a picture that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not _NAME.fullmatch(name):
        raise ConfigError(f"task name {name!r}: use letters, digits and _, at most 64")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder}: not empty; choose a new --out")
    table = folder / f"{name}.parquet"
    config = {
        "task": name,
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": {"test": str(table.resolve())}},
        "test_split": "test",
        "output_type": "generate_until",
        **{
            field: _Function(field)
            for field in ("doc_to_visual", "doc_to_text", "doc_to_target", "doc_to_messages")
        },
        "generation_kwargs": {
            "max_new_tokens": max_new_tokens, "temperature": 0, "do_sample": False,
        },
        "process_results": _Function("process_results"),
        "metric_list": [
            {
                "metric": METRIC,
                "aggregation": _Function("mean_of_scored"),
                "higher_is_better": True,
            }
        ],
        "metadata": [{"version": 0.0}],
    }  # fmt: skip
    schema = pa.schema([
        ("id", pa.string()), ("problem", pa.string()), ("images", pa.list_(pa.binary())),
        ("answer", pa.string()), ("rule", pa.string()),
    ])  # fmt: skip
    temporary = table.with_name(f".{table.name}.tmp-{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(temporary, schema) as writer:
            for item in items:  # one at a time: pictures of thousands of rows are not held
                writer.write_table(pa.Table.from_pylist([_row(item)], schema))
        temporary.replace(table)
        write_atomic(folder / "utils.py", _UTILS)
        text = yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        write_atomic(folder / f"{name}.yaml", text)
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written ({error.strerror})") from error
    return [folder / f"{name}.yaml", folder / "utils.py", table]


def _row(item: Item) -> dict[str, Any]:
    rule = item.rule
    if isinstance(rule, ByBenchmark):
        told: dict[str, Any] = {
            "benchmark": rule.benchmark.name,
            "choices": list(rule.row.choices),
            "fields": dict(rule.row.fields),
        }
    elif isinstance(rule, ByAnswer):
        told = {"kind": rule.kind, "rtol": rule.rtol}
    else:
        raise TypeError(f"{type(rule).__name__} cannot be written as a task of lmms-eval")
    return {
        "id": item.sample.id,
        "problem": item.sample.problem,
        "images": [path.read_bytes() for path in item.sample.images],
        "answer": rule.answer,
        "rule": json.dumps(told, ensure_ascii=False),
    }


def doc_to_visual(doc: Mapping[str, Any]) -> list[Image.Image]:
    """The pictures of a question, RGB."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, data in enumerate(doc["images"]):
            path = Path(scratch) / f"{number}.img"
            path.write_bytes(data)
            found.append(load_image(path, origin=str(doc["id"])))
    return found


def doc_to_text(doc: Mapping[str, Any], lmms_eval_specific_kwargs: object = None) -> str:
    """The question without its marks, for models that take all pictures first."""
    del lmms_eval_specific_kwargs
    return str(doc["problem"]).replace(IMAGE_MARK, "").strip()


def doc_to_target(doc: Mapping[str, Any]) -> str:
    """The reference; empty where there is none."""
    return str(doc["answer"] or "")


def doc_to_messages(
    doc: Mapping[str, Any], lmms_eval_specific_kwargs: object = None
) -> list[dict[str, Any]]:
    """The question as a chat message, its pictures where its marks are."""
    del lmms_eval_specific_kwargs
    pictures = iter(doc_to_visual(doc))
    content: list[dict[str, Any]] = []
    for part in re.split(f"({re.escape(IMAGE_MARK)})", doc["problem"]):
        if part == IMAGE_MARK:
            content.append({"type": "image", "url": next(pictures)})
        elif part.strip():
            content.append({"type": "text", "text": part.strip()})
    return [{"role": "user", "content": content}]


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """The verdict on the first reply: 1, 0, or None where it is unscored."""
    told = json.loads(doc["rule"])
    sample = Sample(doc["id"], doc["problem"])
    rule: ByAnswer | ByBenchmark
    if "benchmark" in told:
        entry = benchmark(told["benchmark"])
        row = BenchmarkRow(sample, doc["answer"], tuple(told["choices"]), told["fields"])
        rule = ByBenchmark(entry, row)
    else:
        rule = ByAnswer(doc["answer"], told["kind"], told["rtol"])
    said = Completion(str(results[0]), (), (), Finish.STOP) if results else None
    (one,) = rule.judge([(Prompt(doc["problem"], ()), said)])
    return {METRIC: None if one.right is None else float(one.right)}


def mean_of_scored(values: Sequence[float | None]) -> float:
    """Share of right ones among those that are scored; NaN for none."""
    scored = [value for value in values if value is not None]
    return math.fsum(scored) / len(scored) if scored else math.nan
