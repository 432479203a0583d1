"""Questions without answers as the parquet that verl reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmupt.asking.prompt import IMAGE_MARK
from mmupt.errors import InputError
from mmupt.types import Sample

SOURCE = "mmupt"

SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        ("extra_info", pa.struct([("id", pa.string()), ("problem", pa.string())])),
    ]
)


def write_table(path: Path, samples: Sequence[Sample]) -> int:
    """One row a question, atomically; the number of rows.

    Pictures are written as the bytes of their files, so that other machines need not have them, and
    texts are stripped about the pictures, as everywhere here. `ground_truth` is empty: verl's
    columns want it to be there.

    Raises:
        InputError: a picture cannot be read, or a question holds a mark for videos or audio, which
            verl would read as one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".tmp-{os.getpid()}")
    count = 0
    try:
        with pq.ParquetWriter(temporary, SCHEMA) as writer:
            for block in _blocks(samples, 256):
                writer.write_table(pa.Table.from_pylist(block, schema=SCHEMA))
                count += len(block)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _blocks(samples: Sequence[Sample], size: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(samples), size):
        yield [_row(sample) for sample in samples[start : start + size]]


def _row(sample: Sample) -> dict[str, Any]:
    for mark in ("<video>", "<audio>"):
        if mark in sample.problem:
            raise InputError(
                f"{sample.origin}: the question holds {mark}, which verl reads as a file; write it "
                "otherwise"
            )
    parts = [part.strip() for part in sample.problem.split(IMAGE_MARK)]
    return {
        "data_source": SOURCE,
        "prompt": [{"role": "user", "content": IMAGE_MARK.join(parts)}],
        "images": [_picture(path, sample) for path in sample.images],
        "reward_model": {"style": "rule", "ground_truth": ""},
        "extra_info": {"id": sample.id, "problem": sample.problem},
    }


def _picture(path: Path, sample: Sample) -> dict[str, Any]:
    try:
        return {"bytes": path.read_bytes(), "path": None}
    except OSError as error:
        raise InputError(f"{sample.origin}: {path} cannot be read ({error.strerror})") from error
