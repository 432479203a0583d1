"""What the votes of a shard add up to, so that a whole pool is told without reading its rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

BINS: Final = 10
"""Bins of the shares, each a tenth wide; the last holds 1 as well."""

MOST_REASONS: Final = 20
"""Most left-out rows that are told of a shard."""


@dataclass
class Counts:
    """Sums over rows of votes; a plain mean of two pools' figures is never needed.

    Attributes:
        rows: questions voted on.
        answers, abstentions: answers to them, and those that could not be read.
        labelled: questions with a pseudo-label.
        kept: those that training would keep.
        tied, unanimous: those whose largest classes tie; those where all answers are of one class.
        share: sum of the shares of the leading classes.
        entropy: sum of the entropies in nats, over the `with_entropy` questions that have answers.
        share_bins: questions by share, see `BINS`.
        left_out: rows that could not be used.
        reasons: the first `MOST_REASONS` of them, one line each.
    """

    rows: int = 0
    answers: int = 0
    abstentions: int = 0
    labelled: int = 0
    kept: int = 0
    tied: int = 0
    unanimous: int = 0
    share: float = 0.0
    entropy: float = 0.0
    with_entropy: int = 0
    share_bins: list[int] = field(default_factory=lambda: [0] * BINS)
    left_out: int = 0
    reasons: list[str] = field(default_factory=list)


def count(rows: Iterable[Mapping[str, Any]]) -> Counts:
    """The sums over some rows of votes; the same for the same rows however they are batched."""
    counts = Counts()
    shares, entropies = [], []
    for row in rows:
        size = len(row["answers"])
        counts.rows += 1
        counts.answers += size
        counts.abstentions += row["abstentions"]
        counts.labelled += row["pseudo_label"] is not None
        counts.kept += row["kept"]
        counts.tied += row["tied"]
        counts.unanimous += row["share"] == 1.0
        counts.share_bins[min(BINS - 1, int(row["share"] * BINS + 1e-9))] += 1
        shares.append(row["share"])
        if not math.isnan(row["entropy"]):
            entropies.append(row["entropy"])
    counts.share, counts.entropy = math.fsum(shares), math.fsum(entropies)
    counts.with_entropy = len(entropies)
    return counts


def total(parts: Iterable[Counts]) -> Counts:
    """The sums of some sums, whatever their order."""
    found = list(parts)
    whole = Counts(
        share=math.fsum(part.share for part in found),
        entropy=math.fsum(part.entropy for part in found),
        share_bins=[sum(bins) for bins in zip(*(part.share_bins for part in found), strict=True)]
        or [0] * BINS,
    )
    for name in (
        "rows", "answers", "abstentions", "labelled", "kept", "tied", "unanimous",
        "with_entropy", "left_out",
    ):  # fmt: skip
        setattr(whole, name, sum(getattr(part, name) for part in found))
    for part in found:
        whole.reasons += part.reasons[: MOST_REASONS - len(whole.reasons)]
    return whole


def figures(counts: Counts) -> dict[str, Any]:
    """The sums as figures; NaN where there is nothing to take a mean of."""
    return {
        "rows": counts.rows,
        "left_out": counts.left_out,
        "answers": counts.answers,
        "abstained": _part(counts.abstentions, counts.answers),
        "labelled": counts.labelled,
        "kept": counts.kept,
        "tied": counts.tied,
        "unanimous": counts.unanimous,
        "vote_share": _part(counts.share, counts.rows),
        "entropy": _part(counts.entropy, counts.with_entropy),
        "share_bins": counts.share_bins,
        "reasons": counts.reasons,
    }


def _part(amount: float, of: int) -> float:
    return amount / of if of else math.nan
