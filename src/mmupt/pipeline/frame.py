"""The pseudo-labels that a round was trained on: what audits draw from and rules look at."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmupt.config import ConsensusConfig
from mmupt.consensus.equivalence import partition
from mmupt.pipeline.digests import digest
from mmupt.pipeline.pilot_rows import agreement_across

SHOWN_CHARACTERS = 2000
"""Of a completion, on a review page."""

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("step", pa.int32()),
        ("problem", pa.string()),
        ("images", pa.list_(pa.string())),
        ("pseudo_label", pa.string()),
        ("share", pa.float64()),
        ("margin", pa.float64()),
        ("agreement", pa.float64()),
        ("meta", pa.map_(pa.string(), pa.string())),
        ("answers", pa.string()),
        ("view_agreement", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One pseudo-label of the frame.

    Attributes:
        sample_id: whose.
        step: update at which it was last trained on.
        problem, images: the question, as recorded.
        pseudo_label: the label.
        share: its share of the votes.
        margin: its lead over the second answer, as a share of the votes.
        agreement: share of the student's own completions that agree with it.
        meta: the sample's metadata.
        answers: JSON text: distinct answers with ``count`` among the votes and one ``completion``.
        view_agreement: share of pairs of votes from different views of the pictures that are the
            same answer; NaN where no two views answered, or it is not known which vote saw which.
    """

    sample_id: str
    step: int
    problem: str
    images: tuple[str, ...]
    pseudo_label: str
    share: float
    margin: float
    agreement: float
    meta: Mapping[str, str]
    answers: str
    view_agreement: float = math.nan


def rollout_rows(folder: Path, stage: str, last_step: int) -> Iterator[dict[str, Any]]:
    """The rows of a round's rollouts up to an update, oldest first; anchors are no votes."""
    for path in sorted(folder.glob(f"{stage}-[0-9]*.parquet")):
        if int(path.stem.rpartition("-")[2]) > last_step:
            break
        for row in pq.read_table(path).to_pylist():
            if row["stage"] == stage and not row.get("anchor") and not row.get("spare"):
                yield row


def last_rows(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last row of each sample, in the order of their first.

    One whose label was trained on goes before later ones that a filter held back.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        former = found.get(row["sample_id"])
        if former is None or row["kept"] or not former["kept"]:
            found[row["sample_id"]] = row
    return list(found.values())


def frame_of(
    rows: Sequence[Mapping[str, Any]],
    consensus: ConsensusConfig,
    meta: Mapping[str, Mapping[str, str]],
) -> list[Labelled]:
    """The labels among a round's rows that were trained on.

    Args:
        rows: one of each sample, see `last_rows`.
        consensus: says which answers are the same.
        meta: metadata by sample id.
    """
    return [
        _labelled(row, consensus, meta.get(row["sample_id"], {}))
        for row in rows
        if row["kept"] and row["pseudo_label"] is not None
    ]


def write_frame(path: Path, frame: Sequence[Labelled]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(one), "meta": list(one.meta.items())} for one in frame]
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), temporary)
    temporary.replace(path)


def read_frame(path: Path) -> list[Labelled]:
    return [
        Labelled(**{**row, "images": tuple(row["images"]), "meta": dict(row["meta"])})
        for row in pq.read_table(path).to_pylist()
    ]


def frame_digest(frame: Sequence[Labelled]) -> str:
    """Of samples, labels and votes: what an audit is about."""
    return digest([[one.sample_id, one.pseudo_label, one.share, one.margin] for one in frame])


def _labelled(
    row: Mapping[str, Any], consensus: ConsensusConfig, meta: Mapping[str, str]
) -> Labelled:
    label, votes = row["pseudo_label"], row["teacher_answers"] or row["answers"]
    together = partition([label, *votes, *row["answers"]], kind=consensus.kind, rtol=consensus.rtol)
    own, voted, said = together[0], together[1 : len(votes) + 1], together[len(votes) + 1 :]
    counts = Counter(c for c in voted if c is not None)
    others = max((n for c, n in counts.items() if c != own), default=0)
    return Labelled(
        sample_id=row["sample_id"],
        step=row["step"],
        problem=row["prompt"],
        images=tuple(row["images"]),
        pseudo_label=label,
        share=float(row["share"]),
        margin=(sum(c == own for c in voted) - others) / len(voted) if voted else 0.0,
        agreement=sum(c == own for c in said) / len(said) if said else float("nan"),
        meta=dict(meta),
        answers=json.dumps(_distinct(votes, voted, said, row, own), ensure_ascii=False),
        view_agreement=agreement_across(voted, views)
        if (views := _views(row, consensus))
        else math.nan,
    )


def _views(row: Mapping[str, Any], consensus: ConsensusConfig) -> list[int] | None:
    """The view that each vote saw; None: that is not known.

    Completions have theirs; a teacher answers view by view, so many times each.
    """
    votes = row["teacher_answers"] or row["answers"]
    own = row.get("views")
    if own and list(votes) == list(row["answers"]):
        return list(own)
    if len(votes) != consensus.views * consensus.samples_per_view:
        return None
    return [number // consensus.samples_per_view for number in range(len(votes))]


def _distinct(
    votes: Sequence[str | None],
    voted: Sequence[int | None],
    said: Sequence[int | None],
    row: Mapping[str, Any],
    own: int | None,
) -> list[dict[str, Any]]:
    """Distinct answers of the votes, the most frequent first, each with a completion of its own.

    The one that is the label says so where it is spelled differently.
    """
    shown: dict[int, str] = {}
    for one, text in zip(said, row["completions"], strict=True):
        if one is not None:
            shown.setdefault(one, text[:SHOWN_CHARACTERS])
    first: dict[int, str] = {}
    for one, answer in zip(voted, votes, strict=True):
        if one is not None and answer is not None:
            first.setdefault(one, answer)
    counts = Counter(c for c in voted if c is not None)
    return [
        {"answer": first[c], "count": n, "completion": shown.get(c, "")}
        | ({"wins": True} if c == own and first[c] != row["pseudo_label"] else {})
        for c, n in counts.most_common()
    ]
