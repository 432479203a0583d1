"""Which votes are worth training on: share, margin, entropy, and the easiest part of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, fsum, log

from mmupt.consensus.ballot import tally
from mmupt.types import Vote


@dataclass(frozen=True, slots=True)
class Filters:
    """Bounds that a vote must keep; the defaults keep every vote that has a label.

    Attributes:
        min_share: smallest share of the winner, in [0, 1].
        min_margin: smallest lead over the second class, as a share.
        min_entropy, max_entropy: window of the entropy over classes, in nats (EMPO, arXiv
            2504.05812: neither the trivial nor the hopeless).
        easiest_fraction: only this part of the batch, by share (SRT, arXiv 2505.21444).
    """

    min_share: float = 0.0
    min_margin: float = 0.0
    min_entropy: float = 0.0
    max_entropy: float = float("inf")
    easiest_fraction: float = 1.0


def margin(classes: Sequence[int | None]) -> float:
    """Lead of the largest class over the second, as a share of all G answers; 0 without answers."""
    counts = sorted(tally(classes), reverse=True)
    first, second = (*counts, 0, 0)[:2]
    return (first - second) / len(classes) if classes else 0.0


def entropy(classes: Sequence[int | None]) -> float:
    """Entropy over the classes in nats, -sum p ln p, abstentions left out; 0 without answers."""
    counts = tally(classes)
    total = sum(counts)
    return fsum(count / total * log(total / count) for count in counts if count)


def keep(votes: Sequence[Vote], filters: Filters) -> list[bool]:
    """Whether each vote of a batch is trained on; a vote without a label or with a tie never is.

    The easiest part is taken by share, ties of shares together, so that the order of the batch
    does not matter: at least `easiest_fraction` of the votes qualify.
    """
    shares = sorted((vote.share for vote in votes), reverse=True)
    # The nudge keeps 0.07 of 100, which is 7.000000000000001 in floating point, at 7.
    wanted = max(1, ceil(filters.easiest_fraction * len(shares) - 1e-9))
    bar = max(filters.min_share, shares[wanted - 1] if shares else 0.0)
    if filters.easiest_fraction >= 1.0:
        bar = filters.min_share
    return [
        vote.label is not None
        and not vote.tied
        and vote.share >= bar
        and margin(vote.classes) >= filters.min_margin
        and filters.min_entropy <= entropy(vote.classes) <= filters.max_entropy
        for vote in votes
    ]
