"""Distributions over the whole set against those of the start: answers, lengths, the top answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmupt.bias.asked import OWN, Table
from mmupt.bias.chance import Counts, Floats, Ints, kl, swap_test
from mmupt.bias.modality import Compared, compare
from mmupt.bias.readings import Reading
from mmupt.bias.rows import Question
from mmupt.consensus.equivalence import partition

LENGTH_BINS = 8
"""Bins of reply lengths, quantiles of both models' replies together."""

ABSTAINED = "(no answer)"


@dataclass(frozen=True)
class Whole:
    """The sampled answers about the own pictures as classes over the whole set.

    Attributes:
        before, after: answers by cluster and class.
        truth: true answers as often as there are answers to their questions.
        names: the first writing of each class; the last class is that of abstentions.
        before_NC, after_NC, truth_N: per question: classes of the answers, class of the truth (-1:
            none), for slices.
    """

    before: Counts
    after: Counts
    truth: Counts
    names: tuple[str, ...]
    before_N: tuple[tuple[int, ...], ...]
    after_N: tuple[tuple[int, ...], ...]
    truth_N: tuple[int, ...]

    @property
    def classes(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Shift:
    """How far a distribution moved: KL(after || before) in nats and its permutation p-value."""

    kl: float
    p: float


@dataclass(frozen=True, slots=True)
class Top:
    """The answer that is given most often after training.

    Attributes:
        answer: as first written.
        share: its share among all answers.
        truth: its share among the true answers; NaN without any.
    """

    answer: str
    share: Compared
    truth: float


@dataclass(frozen=True, slots=True)
class Common:
    """One of the most frequent answers; shares of all answers, NaN for true ones without any."""

    answer: str
    before: float
    after: float
    truth: float


def whole(
    questions: Sequence[Question], before: Table, after: Table, cluster_N: Ints, *, kind: str
) -> Whole:
    """Classes over all questions. Numbers are compared exactly here, whatever `rtol` is: over a
    whole set, chains of near numbers would become one."""
    rows = [(q, before[OWN][q.sample.id], after[OWN][q.sample.id]) for q in questions]
    texts = [t for q, one, two in rows for t in (q.answer, *one.answers, *two.answers)]
    numbers = iter(partition(texts, kind=kind))
    names: dict[int, str] = {}
    told: list[tuple[list[int | None], ...]] = []
    position = iter(texts)
    for _, one, two in rows:
        parts = []
        for size in (1, len(one.answers), len(two.answers)):
            part = [next(numbers) for _ in range(size)]
            for number in part:
                text = next(position)
                if number is not None and text is not None:
                    names.setdefault(number, text)
            parts.append(part)
        told.append(tuple(parts))
    silent = len(names)
    order = {number: index for index, number in enumerate(names)}

    def classes(part: Sequence[int | None]) -> tuple[int, ...]:
        return tuple(silent if number is None else order[number] for number in part)

    truth_N = tuple(-1 if t[0][0] is None else order[t[0][0]] for t in told)
    before_N, after_N = (tuple(classes(t[i]) for t in told) for i in (1, 2))
    truths = [() if t < 0 else (t,) * len(part) for t, part in zip(truth_N, after_N, strict=True)]
    return Whole(
        _counts(before_N, cluster_N), _counts(after_N, cluster_N),
        _counts(truths, cluster_N),
        (*names.values(), ABSTAINED), before_N, after_N, truth_N,
    )  # fmt: skip


def _counts(classes_N: Sequence[Sequence[int]], cluster_N: Ints) -> Counts:
    sizes = [len(part) for part in classes_N]
    flat = np.asarray([c for part in classes_N for c in part], dtype=np.int64)
    return Counts(np.repeat(cluster_N, sizes), flat, np.ones(len(flat)))


def answer_shift(told: Whole, rng: np.random.Generator) -> Shift:
    """How far the answers over the whole set moved."""
    return Shift(*swap_test(told.before, told.after, told.classes, kl, rng))


def length_shift(
    questions: Sequence[Question], before: Table, after: Table, cluster_N: Ints,
    rng: np.random.Generator,
) -> Shift:  # fmt: skip
    """How far the lengths of the replies moved, in tokens."""
    tokens_N = [
        [table[OWN][question.sample.id].tokens for question in questions]
        for table in (before, after)
    ]
    pooled = np.asarray([t for one in tokens_N for part in one for t in part], dtype=np.float64)
    edges = np.unique(np.quantile(pooled, np.linspace(0, 1, LENGTH_BINS + 1)[1:-1]))
    first, second = (
        _counts([np.searchsorted(edges, part, side="left").tolist() for part in one], cluster_N)
        for one in tokens_N
    )
    return Shift(*swap_test(first, second, len(edges) + 1, kl, rng))


def top_answer(told: Whole, cluster_N: Ints) -> Top | None:
    """The most frequent answer after training, and how often it was and is given."""
    totals = told.after.total(told.classes)[:-1]
    if not totals.sum():
        return None
    best = int(totals.argmax())
    first, second = (_share(classes_N, best) for classes_N in (told.before_N, told.after_N))
    known = [t == best for t in told.truth_N if t >= 0]
    truth = float(np.mean(known)) if known else math.nan
    return Top(told.names[best], compare(first, second, cluster_N), truth)


def common_answers(told: Whole, most: int = 8) -> list[Common]:
    """The most frequent answers of both models together."""
    first, second, truth = (
        counts.total(told.classes)[:-1] for counts in (told.before, told.after, told.truth)
    )
    sizes = [max(1.0, float(c.weight_M.sum())) for c in (told.before, told.after)]
    known = float(truth.sum())
    ranked = np.argsort(-(first + second), kind="stable")[:most]
    return [
        Common(
            told.names[i], float(first[i]) / sizes[0], float(second[i]) / sizes[1],
            float(truth[i]) / known if known else math.nan,
        )
        for i in ranked
    ]  # fmt: skip


def _share(classes_N: Sequence[Sequence[int]], klass: int) -> Floats:
    return np.asarray(
        [part.count(klass) / len(part) if part else math.nan for part in map(list, classes_N)]
    )


def lengths(before: Reading, after: Reading, cluster_N: Ints) -> Compared:
    """Mean tokens of a reply."""
    return compare(before.length, after.length, cluster_N, fractions=False)
