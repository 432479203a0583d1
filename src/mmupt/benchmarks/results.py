"""Rates of right answers, overall and by subset, with intervals; unscored is not wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmupt.benchmarks.rows import BenchmarkRow, Score
from mmupt.benchmarks.wemath_metrics import four_dimensional
from mmupt.stats import mean_interval, pass_at_k, wilson


@dataclass(frozen=True, slots=True)
class Scored:
    """One question with the scores of its replies.

    Attributes:
        row: the question.
        greedy: score of the most likely reply.
        sampled: scores of k sampled replies; empty if none were drawn.
    """

    row: BenchmarkRow
    greedy: Score
    sampled: tuple[Score, ...] = ()


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of right answers among those that are scored.

    Attributes:
        n: scored questions.
        right: right ones.
        accuracy: right / n; NaN for n = 0.
        low, high: 95% Wilson interval.
        unscored: questions without reply or reference; not in n.
        unanswered: scored questions whose reply has no answer; they are wrong.
    """

    n: int
    right: int
    accuracy: float
    low: float
    high: float
    unscored: int
    unanswered: int

    @classmethod
    def of(cls, scores: Iterable[Score]) -> Rate:
        """The rate of some scores."""
        every = list(scores)
        scored = [score for score in every if score.right is not None]
        n, right = len(scored), sum(score.right is True for score in scored)
        low, high = wilson(right, n)
        return cls(
            n, right, right / n if n else math.nan, low, high, len(every) - n,
            sum(score.extracted is None for score in scored),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PassAt:
    """pass@k over the questions whose k samples are all scored (arXiv 2107.03374).

    Attributes:
        k: how many may be tried.
        n: questions.
        mean: mean of the unbiased estimate; NaN for n = 0.
        low, high: 95% interval over questions.
    """

    k: int
    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Results:
    """What a model's replies to a benchmark gave.

    Attributes:
        benchmark: its name.
        overall: rate over all questions, by the greedy replies.
        subsets: column -> value -> rate, both in alphabetical order.
        passes: pass@k for k = 1, 2, 4, ... up to the number of samples; empty without samples.
        extra: further figures of the benchmark: We-Math's four-dimensional score.
        left_out: rows of the files that could not be used, one line each.
    """

    benchmark: str
    overall: Rate
    subsets: Mapping[str, Mapping[str, Rate]]
    passes: Sequence[PassAt] = ()
    extra: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain data; NaN where a figure is undefined (`mmupt.events.jsonable` makes it null)."""
        return {
            "benchmark": self.benchmark,
            "overall": _plain(self.overall),
            "subsets": {
                column: {value: _plain(rate) for value, rate in rates.items()}
                for column, rates in self.subsets.items()
            },
            "pass": [_plain(one) for one in self.passes],
            "extra": {name: dict(values) for name, values in self.extra.items()},
            "left_out": list(self.left_out),
        }


def summarise(name: str, scored: Sequence[Scored], left_out: Sequence[str] = ()) -> Results:
    """All figures of a benchmark.

    Args:
        name: of the benchmark, as in the catalog.
        scored: its questions with their scores.
        left_out: what `read_rows` left out.
    """
    members: dict[str, dict[str, list[Score]]] = {}
    for one in scored:
        for column, values in one.row.groups.items():
            for value in dict.fromkeys(values):
                members.setdefault(column, {}).setdefault(value, []).append(one.greedy)
    subsets = {
        column: {value: Rate.of(scores) for value, scores in sorted(members[column].items())}
        for column in sorted(members)
    }
    extra: dict[str, Mapping[str, float]] = {}
    if name == "wemath":
        pairs = [(one.row, one.greedy) for one in scored]
        for label, strict in (("strict", True), ("loose", False)):
            extra[label] = four_dimensional(pairs, strict=strict).as_json()
    return Results(
        name, Rate.of(one.greedy for one in scored), subsets, _passes(scored), extra, left_out
    )


def _passes(scored: Sequence[Scored]) -> tuple[PassAt, ...]:
    most = max((len(one.sampled) for one in scored), default=0)
    found = []
    k = 1
    while k <= most:
        values = [
            pass_at_k(len(one.sampled), sum(s.right is True for s in one.sampled), k)
            for one in scored
            if len(one.sampled) >= k and all(s.right is not None for s in one.sampled)
        ]
        mean = math.fsum(values) / len(values) if values else math.nan
        low, high = mean_interval(values, fractions=True) if values else (math.nan, math.nan)
        found.append(PassAt(k, len(values), mean, low, high))
        k *= 2
    return tuple(found)


def _plain(one: Rate | PassAt) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}
