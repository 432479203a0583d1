"""What the verdicts of an audit prove: precision with honest intervals, and what the gate may say.

Three rules keep the intervals honest.

- Who cannot tell counts as wrong for `low` and as right for `high`. Both are then intervals for a
  population in which that label has that value beforehand, so each end holds whatever the truth
  about such labels is. In the estimate it counts half.
- `sequential`: a verdict counts only where everybody before it in the plan's order has one. Who
  skips what is hard, or a second reviewer who is faster on what is easy, would otherwise choose the
  sample by its outcome. Verdicts beyond the first gap wait, and count once it is closed.
- `fixed` and `lot`: the interval is that of the whole sample, with what is not judged yet counted
  as if nobody could tell. It holds the interval that the whole sample will have, so that verdicts
  may come in any order and be looked at; it is wide until the sample is nearly judged. The estimate
  is over the start of the order without a gap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mmupt.audit.design import Drawn, Plan
from mmupt.audit.estimate_exact import (
    hypergeometric_bounds,
    proportional_bounds,
    two_strata_bounds,
)
from mmupt.audit.sequence import Draws, Floats, Ints, beta_binomial_bounds, betting_bounds
from mmupt.stats import Interval

Outcomes = Mapping[str, bool | None]


@dataclass(frozen=True, slots=True)
class Group:
    """Precision within a part of the frame: a stratum, or a group of a slice.

    Attributes:
        name: of the stratum or group.
        population: pseudo-labels of the frame in it; 0 where the plan does not know it.
        n: verdicts used.
        right, wrong, unsure: of them.
        estimate: share of right ones; NaN where nothing is judged from the start.
        low, high: interval at the audit's confidence, of this group alone; NaN where the plan
            does not know its population.
    """

    name: str
    population: int
    n: int
    right: int
    wrong: int
    unsure: int
    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Precision:
    """Precision of a frame's pseudo-labels.

    Attributes:
        population: pseudo-labels in the frame.
        n: verdicts used, right + wrong + unsure.
        right, wrong, unsure: of them.
        waiting: verdicts that came out of order and are not used yet; `sequential` alone.
        estimate: share of right ones in the frame; NaN where nothing is judged from the start.
        low, high: interval; 0 and 1 for n = 0.
        confidence: of the interval, of both ends together. `sequential`: at all times together.
        method: of the interval: ``hypergeometric``, ``proportional``, ``two-strata``,
            ``beta-binomial`` or ``betting``.
        strata: each stratum by itself.
        slices: each group of each column by itself; not at `confidence` jointly.
    """

    population: int
    n: int
    right: int
    wrong: int
    unsure: int
    waiting: int
    estimate: float
    low: float
    high: float
    confidence: float
    method: str
    strata: tuple[Group, ...] = ()
    slices: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Part:
    """Part of a frame with its verdicts, strata in the order of the plan; J strata, T verdicts."""

    sizes_J: Ints
    stratum_T: Ints
    low_T: Ints
    high_T: Ints

    def per_stratum(self, values_T: Ints) -> Ints:
        counts = np.bincount(self.stratum_T, weights=values_T, minlength=len(self.sizes_J))
        return counts.astype(np.int64)


def precision(
    plan: Plan, outcomes: Outcomes, slices: Mapping[str, Mapping[str, str]] | None = None
) -> Precision:
    """Precision of the frame, its strata and slices.

    Args:
        plan: of the audit.
        outcomes: right (True), wrong (False) or not to be told (None) by id; an id that is not
            there has no verdict yet. Ids outside the plan are not looked at.
        slices: group by column by id, for columns that the plan does not know: those have
            estimates of the verdicts, and no interval, as their place in the frame is unknown.
    """
    verdicts = _Verdicts(plan, outcomes)
    whole = verdicts.group("", list(plan.drawn), dict(plan.strata))
    judged = sum(one.id in outcomes for one in plan.drawn)
    return Precision(
        population=plan.population,
        n=whole.n,
        right=whole.right,
        wrong=whole.wrong,
        unsure=whole.unsure,
        waiting=judged - whole.n,
        estimate=whole.estimate,
        low=whole.low,
        high=whole.high,
        confidence=plan.confidence,
        method=method(plan),
        strata=tuple(
            verdicts.group(name, [one for one in plan.drawn if one.stratum == name], {name: size})
            for name, size in plan.strata.items()
        ),
        slices=_slices(verdicts, slices or {}),
    )


def method(plan: Plan) -> str:
    """Name of the interval that belongs to a plan."""
    if plan.size == "sequential":
        return "beta-binomial" if plan.design == "random" else "betting"
    if len(plan.strata) == 1:
        return "hypergeometric"
    return "two-strata" if plan.design == "risk-first" else "proportional"


def decision(p: Precision, threshold: float) -> Literal["pass", "fail", "insufficient"]:
    """What a gate may say of "precision is at least the threshold"."""
    if p.low >= threshold:
        return "pass"
    return "fail" if p.high < threshold else "insufficient"


def still_needed(plan: Plan, outcomes: Outcomes, threshold: float) -> int:
    """About how many more verdicts until a gate can decide; 0 when it can.

    The end of the interval that has to pass the threshold is taken to come nearer to the estimate
    with sqrt(1 / n - 1 / N). Before ten verdicts the estimate leans on the plan's predictions.
    Never more than what is left of the plan, though that need not suffice. A `fixed` sample or a
    lot is decided early only where the rest cannot change it; else it takes all that is left.
    """
    found = precision(plan, outcomes)
    left = len(plan.drawn) - found.n
    if left == 0 or decision(found, threshold) != "insufficient":
        return 0
    if plan.size != "sequential":
        return left
    guess = sum(size * plan.predicted[name] for name, size in plan.strata.items())
    trust = min(found.n, 10) / 10
    value = guess / plan.population
    if found.n:
        value = trust * found.estimate + (1 - trust) * value
    gap = abs(value - threshold)
    n = max(found.n, 10)
    arm = value - found.low if value > threshold else found.high - value
    if found.n < 10:
        arm = 3.2 * math.sqrt(max(value * (1 - value), 0.05) / n)
    if gap <= 0 or arm <= 0:
        return left
    spread = max(1 / n - 1 / plan.population, 0.0) * (gap / arm) ** 2
    total = math.ceil(1 / (1 / plan.population + spread))
    return max(1, min(left, total - found.n))


@dataclass(frozen=True, slots=True)
class _Verdicts:
    """A plan with the verdicts on it."""

    plan: Plan
    outcomes: Outcomes

    @property
    def gap(self) -> int:
        """Position of the first unit without a verdict."""
        drawn = self.plan.drawn
        return next((o.position for o in drawn if o.id not in self.outcomes), len(drawn))

    def used(self, drawn: list[Drawn]) -> list[Drawn]:
        """What the interval is made from."""
        if self.plan.size != "sequential":
            return [one for one in drawn if one.id in self.outcomes]
        gap = self.gap
        return [one for one in drawn if one.position < gap]

    def group(self, name: str, drawn: list[Drawn], sizes: dict[str, int]) -> Group:
        """Precision within a part of the frame.

        Args:
            name: of the part.
            drawn: what was drawn from it.
            sizes: units of the frame in it, by stratum; empty where that is not known.
        """
        used, gap = self.used(drawn), self.gap
        values = [self.outcomes[one.id] for one in used]
        right, wrong = (sum(v is told for v in values) for told in (True, False))
        start = self.part([one for one in drawn if one.position < gap], sizes)
        if sizes:
            sampled = used if self.plan.size == "sequential" else drawn
            low, high = _interval(self.plan, self.part(sampled, sizes))
            estimate = _estimate(self.plan, start, low, high)
        else:
            low = high = math.nan
            told = (start.low_T + start.high_T) / 2
            estimate = float(told.mean()) if told.size else math.nan
        unsure = len(used) - right - wrong
        return Group(
            name, sum(sizes.values()), len(used), right, wrong, unsure, estimate, low, high
        )

    def part(self, drawn: list[Drawn], sizes: dict[str, int]) -> _Part:
        """What is not judged counts as what nobody can tell."""
        names = {name: place for place, name in enumerate(self.plan.strata)}
        values = [self.outcomes.get(one.id) for one in drawn]
        return _Part(
            sizes_J=np.array([sizes.get(name, 0) for name in names], dtype=np.int64),
            stratum_T=np.array([names[one.stratum] for one in drawn], dtype=np.int64),
            low_T=np.array([v is True for v in values], dtype=np.int64),
            high_T=np.array([v is not False for v in values], dtype=np.int64),
        )


def _draws(plan: Plan, part: _Part) -> Draws:
    """The part's strata that hold units; draws from a part have the weights of the whole.

    Among the draws that fall into a part, each is one of the part's units that are left with
    chance weight / sum of their weights, whatever was drawn between them.
    """
    there = np.flatnonzero(part.sizes_J)
    place = np.cumsum(part.sizes_J > 0) - 1
    return Draws(
        sizes_J=part.sizes_J[there],
        weights_J=np.array(list(plan.weights.values()))[there],
        predicted_J=np.array(list(plan.predicted.values()))[there],
        classes_T=place[part.stratum_T].astype(np.int64),
    )


def _interval(plan: Plan, part: _Part) -> Interval:
    size, n = int(part.sizes_J.sum()), len(part.stratum_T)
    if n == 0:
        return Interval(0.0, 1.0)
    strata = np.count_nonzero(part.sizes_J)
    if plan.size == "sequential":
        if strata == 1:  # alike within a stratum, whatever its weight
            return beta_binomial_bounds(size, part.low_T, part.high_T, plan.confidence)
        return betting_bounds(_draws(plan, part), part.low_T, part.high_T, plan.confidence)
    low, high = int(part.low_T.sum()), int(part.high_T.sum())
    if strata == 1:
        return hypergeometric_bounds(size, n, low, high, plan.confidence)
    there = part.sizes_J > 0
    sizes, seen, lows, highs = (
        values[there]
        for values in (
            part.sizes_J,
            part.per_stratum(np.ones(n, dtype=np.int64)),
            part.per_stratum(part.low_T),
            part.per_stratum(part.high_T),
        )
    )
    bounds = two_strata_bounds if plan.design == "risk-first" else proportional_bounds
    return bounds(sizes, seen, lows, highs, plan.confidence)


def _estimate(plan: Plan, part: _Part, low: float, high: float) -> float:
    """Unbiased for a number of verdicts that was fixed beforehand, up to what is certain anyway.

    Alike within strata of fixed samples: sum_j (N_j / N) mean_j, which is Horvitz and Thompson's
    estimator there. Weighted draws: see `_ordered`. Kept within the interval.
    """
    if len(part.stratum_T) == 0:
        return math.nan
    value_T = (part.low_T + part.high_T) / 2
    strata = np.count_nonzero(part.sizes_J)
    if strata == 1:
        found = float(value_T.mean())
    elif plan.size == "sequential":
        found = _ordered(_draws(plan, part), value_T)
    else:
        seen = np.bincount(part.stratum_T, minlength=len(part.sizes_J))
        sums = np.bincount(part.stratum_T, weights=value_T, minlength=len(part.sizes_J))
        # A stratum that no verdict has reached yet is taken to be like the others.
        rest = float(value_T.mean())
        means = np.divide(sums, seen, out=np.full(len(sums), rest), where=seen > 0)
        found = float(part.sizes_J @ means / part.sizes_J.sum())
    return min(max(found, low), high)


def _ordered(draws: Draws, value_T: Floats) -> float:
    """Des Raj's ordered estimator (1956) of the differences from the prediction.

        (1 / T) sum_t (1 / N) [ sum_i r_i + sum_{s < t} (x_s - r_s) + (x_t - r_t) / q_t ]

    with q_t the chance of the unit that was drawn at t. Each term is unbiased for the precision
    given all earlier draws, whatever the prediction r is; a good one makes them vary less.
    """
    one = np.zeros((len(value_T), len(draws.sizes_J)))
    every = np.arange(len(value_T))
    one[every, draws.classes_T] = 1.0
    left = (draws.sizes_J - (np.cumsum(one, axis=0) - one)) @ draws.weights_J
    chance_T = draws.weights_J[draws.classes_T] / left
    gap_T = value_T - draws.predicted_J[draws.classes_T]
    before_T = np.cumsum(gap_T) - gap_T
    terms = draws.sizes_J @ draws.predicted_J + before_T + gap_T / chance_T
    return float(terms.mean() / draws.sizes_J.sum())


def _slices(
    verdicts: _Verdicts, extra: Mapping[str, Mapping[str, str]]
) -> dict[str, tuple[Group, ...]]:
    plan = verdicts.plan
    found: dict[str, tuple[Group, ...]] = {}
    for column, groups in plan.groups.items():
        found[column] = tuple(
            verdicts.group(
                group, [one for one in plan.drawn if one.slices[column] == group], dict(sizes)
            )
            for group, sizes in groups.items()
        )
    columns = {column for one in plan.drawn for column in extra.get(one.id, {})}
    for column in sorted(columns - set(plan.groups)):
        by: dict[str, list[Drawn]] = {}
        for one in plan.drawn:
            if column in extra.get(one.id, {}):
                by.setdefault(extra[one.id][column], []).append(one)
        found[column] = tuple(verdicts.group(name, by[name], {}) for name in sorted(by))
    return found
