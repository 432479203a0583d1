"""What the answers of both models say, question by question: right or wrong, same or another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmupt.bias.asked import OWN, PICTURES, Asked, Table
from mmupt.bias.chance import Floats
from mmupt.bias.rows import Question
from mmupt.consensus.equivalence import partition
from mmupt.consensus.vote import vote

Classes = tuple[int | None, ...]

_EMPTY = Asked("", "", None, (), (), 0)


@dataclass(frozen=True, slots=True)
class Said:
    """The k answers to one question in one condition, as classes that both models share.

    Attributes:
        classes: class of each, None for an abstention.
        majority: class of the majority (a tie goes to the first class by key); None: no answer.
        share: share of the majority among the k; NaN where nothing was asked.
    """

    classes: Classes
    majority: int | None
    share: float


@dataclass(frozen=True)
class Reading:
    """One model on N questions; arrays have one entry a question, NaN where there is nothing.

    Attributes:
        said: condition -> what was said to each question.
        accuracy: condition -> fraction of the k answers that are right; NaN without a true answer.
        right: how many of the k answers about the own picture are right; NaN as above.
        majority: whether the majority about the own picture is right.
        greedy: whether the most likely answer is right.
        share: vote share about the own picture.
        length: mean tokens of a reply about it.
        abstained, truncated: fractions of the replies about it.
        k: answers to a question.
    """

    said: Mapping[str, tuple[Said, ...]]
    accuracy: Mapping[str, Floats]
    right: Floats
    majority: Floats
    greedy: Floats
    share: Floats
    length: Floats
    abstained: Floats
    truncated: Floats
    k: int

    def has(self, condition: str) -> bool:
        """Whether anything was asked in a condition."""
        return any(one.classes for one in self.said[condition])


def readings(
    questions: Sequence[Question],
    before: Table,
    after: Table,
    *,
    kind: str,
    rtol: float | None = None,
) -> tuple[Reading, Reading]:
    """Both models' answers, read together so that equal answers have equal classes.

    Args:
        questions: N of them, in order.
        before, after: the two models' tables.
        kind, rtol: how answers are compared, see `partition`.
    """
    built = [_Builder(), _Builder()]
    for question in questions:
        name = question.sample.id
        rows = [
            {c: table.get(c, {}).get(name, _EMPTY) for c in PICTURES} for table in (before, after)
        ]
        texts = [question.answer] + [
            text
            for asked in rows
            for c in PICTURES
            for text in (asked[c].greedy, *asked[c].answers)
        ]
        ids = partition(texts, kind=kind, rtol=rtol)
        # the winner's writing is one of the answers, so that its class is known
        classes = {
            text: number for text, number in zip(texts, ids, strict=True) if text is not None
        }
        for builder, asked in zip(built, rows, strict=True):
            builder.add(asked, classes, question.answer, kind, rtol)
    first, second = (builder.reading() for builder in built)
    return first, second


class _Builder:
    """Collects what `Reading` holds."""

    def __init__(self) -> None:
        self.said: dict[str, list[Said]] = {c: [] for c in PICTURES}
        self.accuracy: dict[str, list[float]] = {c: [] for c in PICTURES}
        self.columns: list[tuple[float, ...]] = []
        self.k = 0

    def add(
        self, asked: Mapping[str, Asked], classes: Mapping[str, int | None], answer: str | None,
        kind: str, rtol: float | None,
    ) -> None:  # fmt: skip
        truth = classes.get(answer) if answer is not None else None
        for condition, row in asked.items():
            mine = tuple(None if text is None else classes[text] for text in row.answers)
            majority, share = None, math.nan
            if row.answers:
                outcome = vote(row.answers, kind=kind, rtol=rtol, tie="first-class-by-key")
                majority = None if outcome.label is None else classes[outcome.label]
                share = outcome.share
            self.said[condition].append(Said(mine, majority, share))
            scored = answer is not None and mine
            right = sum(c is not None and c == truth for c in mine)
            self.accuracy[condition].append(right / len(mine) if scored else math.nan)
        own, said = asked[OWN], self.said[OWN][-1]
        k = len(own.answers)
        self.k = max(self.k, k)
        best = None if own.greedy is None else classes[own.greedy]
        labelled, said_any = answer is not None and k > 0, k > 0
        self.columns.append(
            (
                self.accuracy[OWN][-1] * k,
                _right(said.majority, truth) if labelled else math.nan,
                _right(best, truth) if labelled else math.nan,
                said.share,
                sum(own.tokens) / k if said_any else math.nan,
                said.classes.count(None) / k if said_any else math.nan,
                own.truncated / k if said_any else math.nan,
            )
        )

    def reading(self) -> Reading:
        table = np.asarray(self.columns, dtype=np.float64).reshape(-1, 7)
        right, majority, greedy, share, length, abstained, truncated = table.T
        return Reading(
            {c: tuple(said) for c, said in self.said.items()},
            {c: np.asarray(values, dtype=np.float64) for c, values in self.accuracy.items()},
            right, majority, greedy, share, length, abstained, truncated, self.k,
        )  # fmt: skip


def _right(number: int | None, truth: int | None) -> float:
    return float(number is not None and number == truth)
