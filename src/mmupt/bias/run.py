"""`mmupt bias`: ask both models, part by part, then say what training did to the second one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmupt.asking.maker import PromptMaker
from mmupt.bias.asked import ANSWERS, Table, table_of
from mmupt.bias.asking import Item, ask_part, order_count
from mmupt.bias.figures import Figures, OtherTables, figures, plain
from mmupt.bias.judge import Finding, findings, verdict_of
from mmupt.bias.pictures import measured
from mmupt.bias.rows import Question, Questions
from mmupt.bias.words import LANGUAGES, alternative, say, sentence
from mmupt.config import Config
from mmupt.data.views import ViewsConfig
from mmupt.errors import InputError, RunFolderError
from mmupt.events import EventLog
from mmupt.pipeline.digests import FileHashes, digest
from mmupt.pipeline.pilot_files import Parts
from mmupt.pipeline.pilot_pictures import swaps
from mmupt.pipeline.stages import check_prompts
from mmupt.policy.inputs import takes_text_alone
from mmupt.policy.model import Policy, load_policy
from mmupt.runs import RunFolder, write_json
from mmupt.types import Sample
from mmupt.version import __version__

FORMAT = 1
"""Of `bias.json`; raised where a field changes its meaning."""

TESTED = 1000
"""At most so many questions, drawn at random, are asked in other ways as well."""

PART = 64
"""Most questions of a part: what a killed report has to ask again."""

MODELS = ("before", "after")


@dataclass(frozen=True)
class Asking:
    """What is asked of both models.

    Attributes:
        before, after: model folders.
        questions: the set in question.
        forgetting: other sets by name.
        columns: metadata columns to slice by; none: all.
    """

    before: Path
    after: Path
    questions: Questions
    forgetting: Mapping[str, Questions]
    columns: tuple[str, ...] = ()

    def model(self, name: str) -> Path:
        return self.before if name == "before" else self.after


@dataclass(frozen=True)
class Report:
    """A finished report: the figures, what they mean, and `bias.json`."""

    figures: Figures
    findings: tuple[Finding, ...]
    document: dict[str, Any]


def run_bias(folder: RunFolder, config: Config, asking: Asking, log: EventLog, lang: str) -> Report:
    """Ask what is not asked yet, measure, and write `bias.json`.

    Args:
        folder: an open run folder; tables with all answers are kept in it.
        config: `eval`, `seed` and `model` are read.
        asking: models and questions.
        log: told about progress.
        lang: of the bars.

    Raises:
        RunFolderError: the folder holds the answers of other models or to other questions.
        InputError: a question that a model has no room for, or a picture that cannot be read.
    """
    mark = check_inputs(folder, asking)
    sets = {"answers": asking.questions, **_numbered(asking.forgetting)}
    tables: dict[str, Table] = {}
    seconds = 0.0
    for model in MODELS:
        parts = {
            name: Parts(
                folder.root / f"{name}-{model}.parquet", folder.root / "parts", ANSWERS, mark
            )
            for name in sets
        }
        policy = None
        for name, questions in sets.items():
            if not parts[name].whole():
                policy = policy or _load(asking.model(model), config)
                items = _items(policy, questions.rows, config, main=name == "answers")
                _fill(parts[name], items, policy, config, log, say(f"bar.{model}", lang))
            rows, took = parts[name].read()
            tables[f"{name}-{model}"], seconds = table_of(rows), seconds + took
        del policy  # one model in memory at a time
    shutil.rmtree(folder.root / "parts", ignore_errors=True)
    measured_N = _measured(asking.questions.samples, config, log, lang)
    result = figures(
        asking.questions.rows, tables["answers-before"], tables["answers-after"], measured_N,
        [
            OtherTables(name, one.rows, tables[f"{key}-before"], tables[f"{key}-after"])
            for key, (name, one) in zip(
                _numbered(asking.forgetting), asking.forgetting.items(), strict=True
            )
        ],
        kind=config.eval.kind, rtol=config.eval.rtol, columns=asking.columns, seed=config.seed,
    )  # fmt: skip
    found = findings(result)
    document = _document(result, found, asking, config, seconds)
    write_json(folder.root / "bias.json", document)
    log.emit("run_finished", verdict=document["verdict"], seconds=seconds)
    return Report(result, tuple(found), document)


def _numbered(sets: Mapping[str, Questions]) -> dict[str, Questions]:
    return {f"forgetting-{number}": one for number, one in enumerate(sets.values(), start=1)}


def check_inputs(folder: RunFolder, asking: Asking) -> str:
    """A digest of models and questions; what a folder was begun with must not have changed.

    Raises:
        RunFolderError: it did.
    """
    hashes = FileHashes(folder.root / ".hashes.json")
    now = {
        "before": hashes.folder(asking.before),
        "after": hashes.folder(asking.after),
        "data": hashes.data(asking.questions.samples),
        **{
            f"forgetting {name}": hashes.data(one.samples)
            for name, one in asking.forgetting.items()
        },
    }
    hashes.save()
    path = folder.root / "inputs.json"
    if path.exists():
        try:
            was = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            was = {}
        keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
        if keys:
            raise RunFolderError(
                f"{folder.root}: holds a report on other models or questions ({keys[0]} differs); "
                "choose a new --out"
            )
    else:
        write_json(path, now)
    return digest(now)


def _load(path: Path, config: Config) -> Policy:
    model = config.model
    return load_policy(
        path, dtype=model.dtype, device=model.device, max_prompt_length=model.max_prompt_length
    )


def _items(
    policy: Policy, questions: Sequence[Question], config: Config, *, main: bool
) -> list[Item]:
    """How each question is asked; other sets are asked about their own pictures alone."""
    if not main:
        return [Item(question, None, blank=False, text=False, orders=0) for question in questions]
    samples = [question.sample for question in questions]
    pairs = {pair.sample.id: pair.swapped for pair in swaps(samples, config.seed, TESTED)}
    text = bool(pairs) and takes_text_alone(policy)
    return [
        Item(
            question,
            _fitting(policy, pairs.get(question.sample.id), config),
            blank=question.sample.id in pairs,
            text=text and question.sample.id in pairs,
            orders=order_count(question.sample),
        )
        for question in questions
    ]


def _fitting(policy: Policy, swapped: Sample | None, config: Config) -> Sample | None:
    """The question with other pictures, unless the model has no room for those."""
    if swapped is None:
        return None
    try:
        check_prompts(policy, [swapped], config)
    except InputError:
        return None  # each fits its own pictures
    return swapped


def _fill(
    table: Parts, items: Sequence[Item], policy: Policy, config: Config, log: EventLog, bar: str
) -> None:
    """Ask every part that is not there, then join them."""
    size = max(1, min(PART, config.eval.batch_size))
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    there = set(table.done())
    left = sum(len(part) for number, part in enumerate(parts) if number not in there)
    stage = f"{bar}: {table.path.stem.rpartition('-')[0]}"
    log.emit("evaluation_started", stage=stage, total=left)
    maker = PromptMaker(ViewsConfig(), max_pixels=config.model.max_pixels, seed=config.seed)
    done = 0
    for number, part in enumerate(parts):
        if number in there:
            continue
        started = time.perf_counter()
        rows = ask_part(policy, maker, part, config, number)
        table.write(number, rows, time.perf_counter() - started)
        done += len(part)
        log.tell("evaluation_progress", stage=stage, done=done, total=left)
    table.join(len(parts))


def _measured(samples: Sequence[Sample], config: Config, log: EventLog, lang: str) -> Any:
    stage = say("bar.pictures", lang)
    log.tell("evaluation_started", stage=stage, total=len(samples))
    return measured(
        samples,
        max_pixels=config.model.max_pixels,
        progress=lambda done, total: log.tell(
            "evaluation_progress", stage=stage, done=done, total=total
        ),
    )


def _document(
    result: Figures, found: Sequence[Finding], asking: Asking, config: Config, seconds: float
) -> dict[str, Any]:
    """`bias.json`."""
    verdict = verdict_of(list(found))
    return {
        "format": FORMAT,
        "mmupt": __version__,
        "verdict": verdict,
        "summaries": {lang: say(f"verdict.{verdict}", lang, n=result.n) for lang in LANGUAGES},
        "findings": [
            {
                "key": one.key,
                "says": one.says.value,
                **{lang: sentence(one, lang) for lang in LANGUAGES},
                "values": plain(dict(one.values)),
            }
            for one in found
        ],
        "models": {"before": str(asking.before), "after": str(asking.after)},
        "settings": {
            "seed": config.seed,
            "temperature": config.eval.temperature,
            "num_samples": config.eval.num_samples,
            "kind": config.eval.kind,
        },
        "figures": plain(result),
        "picture": {lang: alternative(result, list(found), lang) for lang in LANGUAGES},
        "seconds": seconds,
    }
