"""What got lost: other tasks (forgetting), and answers that were in reach (diversity)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmupt.bias.asked import OWN, Table
from mmupt.bias.chance import Floats, Ints
from mmupt.bias.distribution import Shift, answer_shift, whole
from mmupt.bias.modality import Compared, compare
from mmupt.bias.readings import Reading, readings
from mmupt.bias.rows import Question, clusters
from mmupt.stats import Ratio, pass_at_k


@dataclass(frozen=True, slots=True)
class Reach:
    """pass@k of both models for one k."""

    k: int
    value: Compared


@dataclass(frozen=True)
class Diversity:
    """Whether the model still tries different answers.

    Attributes:
        k: sampled answers to a question.
        passes: pass@k' for k' = 1, 2, 4, ... up to k; empty without true answers.
        distinct: mean number of different answers among the k.
    """

    k: int
    passes: tuple[Reach, ...]
    distinct: Compared


@dataclass(frozen=True)
class Other:
    """Another set of questions, which training was not about.

    Attributes:
        name: of its file.
        n, labelled: questions, and those with true answers.
        accuracy: of the sampled answers.
        greedy: of the most likely answer.
        share: vote share.
        moved: fraction of the majorities that changed.
        answers: shift of the distribution of answers.
    """

    name: str
    n: int
    labelled: int
    accuracy: Compared
    greedy: Compared
    share: Compared
    moved: Ratio
    answers: Shift


def diversity(before: Reading, after: Reading, cluster_N: Ints) -> Diversity:
    """pass@k with the unbiased estimator (arXiv 2107.03374), and how many answers differ."""
    k = before.k
    passes = tuple(
        Reach(size, compare(_pass(before, size), _pass(after, size), cluster_N))
        for size in sorted({1 << i for i in range(k.bit_length())} | {k})
        if size <= k and not np.isnan(before.right).all()
    )
    distinct = compare(_distinct(before), _distinct(after), cluster_N, fractions=False)
    return Diversity(k, passes, distinct)


def _pass(reading: Reading, size: int) -> Floats:
    return np.asarray(
        [math.nan if math.isnan(c) else pass_at_k(reading.k, round(c), size) for c in reading.right]
    )


def _distinct(reading: Reading) -> Floats:
    return np.asarray(
        [
            float(len(set(said.classes) - {None})) if said.classes else math.nan
            for said in reading.said[OWN]
        ]
    )


def other_set(
    name: str, questions: Sequence[Question], before: Table, after: Table, *, kind: str,
    rtol: float | None, rng: np.random.Generator,
) -> Other:  # fmt: skip
    """The figures of one such set."""
    first, second = readings(questions, before, after, kind=kind, rtol=rtol)
    cluster_N = clusters([question.sample for question in questions])
    told = whole(questions, before, after, cluster_N, kind=kind)
    moved = np.asarray(
        [
            float(a.majority != b.majority)
            for a, b in zip(first.said[OWN], second.said[OWN], strict=True)
        ]
    )
    return Other(
        name, len(questions), sum(question.answer is not None for question in questions),
        compare(first.accuracy[OWN], second.accuracy[OWN], cluster_N),
        compare(first.greedy, second.greedy, cluster_N),
        compare(first.share, second.share, cluster_N),
        compare(moved, moved, cluster_N).after, answer_shift(told, rng),
    )  # fmt: skip
