"""What the answers to one question say about each other: the figures of a row of `votes.parquet`.

Pure: answers in, figures out. None of them looks at a true answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from mmupt.consensus.ballot import tally
from mmupt.consensus.filters import margin
from mmupt.types import Vote

Class = int | None


@dataclass(frozen=True, slots=True)
class RowFigures:
    """The vote on one question. G answers; an abstention is no answer and counts against shares.

    Attributes:
        classes: class of each answer, None for an abstention.
        shares: share of each class among all G, by class number.
        pseudo_label: the answer that won; None: nobody answered, a tie, or a veto.
        share: share of the winning class; of the largest one where nothing won.
        tied: whether another class is as large.
        margin: share of the largest class minus that of the second (0 where there is no second).
        entropy: -sum_c p_c ln p_c in nats, p_c the share of class c among the answers without the
            abstentions (semantic entropy over clusters, arXiv 2302.09664); NaN without an answer.
        view_agreement: fraction of the pairs of answers from different views that are of one class;
            pairs with an abstention are left out; NaN without a pair.
        abstentions: answers that could not be read.
        kept: whether training would keep the question: a label, no tie, past every filter.
    """

    classes: tuple[Class, ...]
    shares: tuple[float, ...]
    pseudo_label: str | None
    share: float
    tied: bool
    margin: float
    entropy: float
    view_agreement: float
    abstentions: int
    kept: bool


def figures_of(outcome: Vote, views: Sequence[int], kept: bool) -> RowFigures:
    """The figures of one vote.

    Args:
        outcome: what the configured strategy made of G answers.
        views: view that each was given to.
        kept: whether the filters let it pass.
    """
    counts = tally(outcome.classes)
    return RowFigures(
        classes=outcome.classes,
        shares=tuple(count / len(outcome.classes) for count in counts),
        pseudo_label=outcome.label,
        share=outcome.share,
        tied=outcome.tied,
        margin=margin(outcome.classes),
        entropy=entropy(counts),
        view_agreement=agreement_across(outcome.classes, views),
        abstentions=sum(one is None for one in outcome.classes),
        kept=kept,
    )


def entropy(counts: Iterable[int]) -> float:
    """-sum_c p_c ln p_c of counts, in nats; NaN when there is nothing to count."""
    sizes = [count for count in counts if count]
    total = sum(sizes)
    # fsum: equal counts give equal entropies, in whichever order the classes were numbered.
    return math.fsum(-n / total * math.log(n / total) for n in sizes) if total else math.nan


def agreement_across(classes: Sequence[Class], views: Sequence[int]) -> float:
    """Mean agreement of two answers from different views; NaN where no two answered."""
    pairs = combinations(zip(classes, views, strict=True), 2)
    return mean_agreement((a, b) for (a, u), (b, v) in pairs if u != v)


def agreement_between(one: Sequence[Class], other: Sequence[Class]) -> float:
    """Mean agreement of an answer of the one list with one of the other; NaN without a pair."""
    return mean_agreement(product(one, other))


def mean_agreement(pairs: Iterable[tuple[Class, Class]]) -> float:
    """Fraction of pairs of one class among those in which both answered."""
    same = Counter(a == b for a, b in pairs if a is not None and b is not None)
    total = same[True] + same[False]
    return same[True] / total if total else math.nan
