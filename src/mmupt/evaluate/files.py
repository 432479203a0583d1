"""Scores and replies question by question on disk, so that stages can be compared by them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmupt.evaluate.scores import COLUMNS, Said, Scores

_SAID = pa.schema(
    [
        pa.field("reply", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("right", pa.bool_()),
        pa.field("sampled", pa.list_(pa.string())),
        pa.field("answers", pa.list_(pa.string())),
        pa.field("sampled_right", pa.list_(pa.bool_())),
    ]
)
"""The columns of `Said`, behind those of the scores; older files do not have them."""


def write_scores(path: Path, scores: Scores) -> None:
    """One row a question; what holds for all of them goes into the file's metadata.

    Greedy scores (k = 0) have no other columns. The replies, if they were kept, stand in the same
    file, so that figures and replies cannot part: parquet reads the columns that are asked for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = pa.array(scores.ids, pa.string())
    table = pa.table({"id": ids, **{name: getattr(scores, name) for name in _filled(scores.k)}})
    if scores.said:
        for field in _SAID:
            values = [_plain(getattr(one, field.name)) for one in scores.said]
            table = table.append_column(field, pa.array(values, field.type))
    about = {"k": scores.k, "temperature": scores.temperature, "seconds": scores.seconds}
    table = table.replace_schema_metadata({"mmupt": json.dumps(about)})
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    pq.write_table(table, temporary, compression="zstd")
    temporary.replace(path)


def read_scores(path: Path) -> Scores:
    """The scores of an evaluation with its replies, if the file has them."""
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"mmupt"])
    filled = _filled(about["k"])
    arrays = {
        name: np.asarray(table[name], dtype=np.float64) if name in filled else np.empty(0)
        for name in COLUMNS
    }
    return Scores.from_columns(table["id"].to_pylist(), arrays, **about, said=_said(table))


def read_replies(path: Path) -> Mapping[str, Said]:
    """What the model said to each question of an evaluation.

    Args:
        path: a scores file, such as ``RUN/evaluations/sft.parquet`` (`RunFolder.scores`).

    Returns:
        Question id -> its replies with the answers that were read, in the order of the rows. Texts
        are what a model wrote: escape them before they are shown. Empty for a file that was written
        before replies were kept. `read_scores` has the scores, in the same order.
    """
    columns = [name for name in ("id", *_SAID.names) if name in pq.read_schema(path).names]
    table = pq.read_table(path, columns=columns)
    said = _said(table)
    return dict(zip(table["id"].to_pylist(), said, strict=True)) if said else {}


def _said(table: pa.Table) -> tuple[Said, ...]:
    if not set(_SAID.names) <= set(table.column_names):
        return ()
    return tuple(
        Said(
            row["reply"], row["answer"], row["right"], tuple(row["sampled"]),
            tuple(row["answers"]), tuple(row["sampled_right"]),
        )
        for row in table.select(_SAID.names).to_pylist()
    )  # fmt: skip


def _plain(value: Any) -> Any:
    """As arrow takes it; text that is no valid Unicode, which a model can write, is mended."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _filled(k: int) -> Sequence[str]:
    return COLUMNS if k else COLUMNS[:1]
