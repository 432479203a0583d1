"""Rollouts on disk: one parquet file a step, one row a prompt, written atomically.

In a row with `anchor` the label is a person's answer: it says nothing about the votes. A row with
`spare` was looked at, but the update had enough others (`dynamic_sampling`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from mmupt.types import Finish

if TYPE_CHECKING:
    from mmupt.train.judge import Judged

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("stage", pa.string()),
        ("step", pa.int32()),
        ("prompt", pa.string()),
        ("images", pa.list_(pa.string())),
        ("completions", pa.list_(pa.string())),
        ("views", pa.list_(pa.int32())),
        ("truncated", pa.list_(pa.bool_())),
        ("tokens", pa.list_(pa.int32())),
        ("answers", pa.list_(pa.string())),
        ("teacher_answers", pa.list_(pa.string())),
        ("classes", pa.list_(pa.int32())),
        ("pseudo_label", pa.string()),
        ("share", pa.float32()),
        ("tied", pa.bool_()),
        ("kept", pa.bool_()),
        ("anchor", pa.bool_()),
        ("spare", pa.bool_()),
        ("rewards", pa.list_(pa.float32())),
        ("advantages", pa.list_(pa.float32())),
    ]
)


def write_rollouts(folder: Path, stage: str, step: int, judged: Sequence[Judged]) -> Path:
    """Write ``{stage}-{step:06d}.parquet``; a repeated step replaces its file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "sample_id": j.group.sample.id,
            "stage": stage,
            "step": step,
            "prompt": j.group.sample.problem,
            "images": [str(path) for path in j.group.sample.images],
            "completions": [c.text for c in j.group.completions],
            "views": [c.view for c in j.group.completions],
            "truncated": [c.finish is Finish.LENGTH for c in j.group.completions],
            "tokens": [len(c.token_ids) for c in j.group.completions],
            "answers": list(j.answers),
            "teacher_answers": list(j.label.answers),
            "classes": list(j.label.vote.classes),
            "pseudo_label": j.label.answer,
            "share": j.label.share,
            "tied": j.label.vote.tied,
            "kept": j.label.kept,
            "anchor": j.anchor,
            "spare": j.spare,
            "rewards": list(j.rewards),
            "advantages": j.scored.advantages_G.tolist(),
        }
        for j in judged
    ]
    path = folder / f"{stage}-{step:06d}.parquet"
    temporary = path.with_suffix(f".tmp-{os.getpid()}")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    temporary.replace(path)
    return path
