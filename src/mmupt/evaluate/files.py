"""Per-question scores on disk, so that stages can be compared question by question."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmupt.evaluate.scores import COLUMNS, Scores


def write_scores(path: Path, scores: Scores) -> None:
    """One row a question; what holds for all of them goes into the file's metadata.

    Greedy scores (k = 0) have no other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = pa.array(scores.ids, pa.string())
    table = pa.table({"id": ids, **{name: getattr(scores, name) for name in _filled(scores.k)}})
    about = {"k": scores.k, "temperature": scores.temperature, "seconds": scores.seconds}
    table = table.replace_schema_metadata({"mmupt": json.dumps(about)})
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    pq.write_table(table, temporary)
    temporary.replace(path)


def read_scores(path: Path) -> Scores:
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"mmupt"])
    filled = _filled(about["k"])
    arrays = {
        name: np.asarray(table[name], dtype=np.float64) if name in filled else np.empty(0)
        for name in COLUMNS
    }
    return Scores.from_columns(table["id"].to_pylist(), arrays, **about)


def _filled(k: int) -> Sequence[str]:
    return COLUMNS if k else COLUMNS[:1]
