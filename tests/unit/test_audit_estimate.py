"""Intervals of audits against brute force, and their coverage by counting all outcomes."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator
from functools import cache
from math import comb
from pathlib import Path

import numpy as np
import pytest

from mmupt.audit.design import Plan, Unit, make_plan
from mmupt.audit.estimate import (
    Precision,
    _ordered,
    decision,
    precision,
    still_needed,
)
from mmupt.audit.estimate_exact import (
    hypergeometric_bounds,
    proportional_bounds,
    two_strata_bounds,
)
from mmupt.audit.sequence import (
    Draws,
    beta_binomial_bounds,
    betting_bounds,
    log_wealth,
    predictive,
)
from mmupt.config_supervision import AuditConfig
from mmupt.stats import clopper_pearson

DEMO = Path(__file__).parents[2] / "benchmarks" / "data" / "demo_labels.csv"


def chance(k: int, N: int, K: int, n: int) -> float:
    """Hypergeometric, by counting."""
    return comb(K, k) * comb(N - K, n - k) / comb(N, n) if 0 <= k <= K and n - k <= N - K else 0.0


# --- fixed samples ------------------------------------------------------------------------------


@pytest.mark.parametrize(("N", "n", "k"), [(40, 15, 15), (40, 15, 14), (60, 20, 0), (30, 9, 4)])
def test_hypergeometric_interval_is_its_definition(N: int, n: int, k: int) -> None:
    kept = [
        K
        for K in range(N + 1)
        if math.fsum(chance(x, N, K, n) for x in range(k, n + 1)) > 0.025
        and math.fsum(chance(x, N, K, n) for x in range(k + 1)) > 0.025
    ]
    found = hypergeometric_bounds(N, n, k, k, 0.95)
    assert found == pytest.approx((min(kept) / N, max(kept) / N))


def test_hypergeometric_interval_at_both_ends() -> None:
    large = hypergeometric_bounds(10**6, 200, 200, 200, 0.95)
    assert large == pytest.approx(clopper_pearson(200, 200), abs=2e-5)  # 0.982
    assert hypergeometric_bounds(50, 50, 43, 43, 0.95) == (0.86, 0.86)
    low, high = hypergeometric_bounds(1000, 100, 90, 95, 0.95)  # five nobody can tell
    assert low == hypergeometric_bounds(1000, 100, 90, 90, 0.95).low
    assert high == hypergeometric_bounds(1000, 100, 95, 95, 0.95).high


def test_hypergeometric_interval_covers_at_every_precision() -> None:
    N, n = 300, 40
    bounds = [hypergeometric_bounds(N, n, k, k, 0.95) for k in range(n + 1)]
    for K in range(N + 1):
        covered = math.fsum(
            chance(k, N, K, n)
            for k in range(n + 1)
            if bounds[k].low - 1e-9 <= K / N <= bounds[k].high + 1e-9
        )
        assert covered >= 0.95


def exact_coverage(sizes: tuple[int, ...], seen: tuple[int, ...], bounds: object) -> float:
    """Smallest coverage over all populations, by counting all outcomes."""
    counts = list(itertools.product(*(range(n + 1) for n in seen)))
    ends = {}
    for k in counts:
        values = np.array(k)
        ends[k] = bounds(np.array(sizes), np.array(seen), values, values, 0.95)  # type: ignore[operator]
    masses = [
        {K: [chance(k, N, K, n) for k in range(n + 1)] for K in range(N + 1)}
        for N, n in zip(sizes, seen, strict=True)
    ]
    low = np.array([ends[k].low for k in counts]) - 1e-9
    high = np.array([ends[k].high for k in counts]) + 1e-9
    worst = 1.0
    for K in itertools.product(*(range(N + 1) for N in sizes)):
        joint = np.array([1.0])
        for mass, K_j in zip(masses, K, strict=True):
            joint = np.outer(joint, mass[K_j]).reshape(-1)
        truth = sum(K) / sum(sizes)
        worst = min(worst, float(joint[(low <= truth) & (truth <= high)].sum()))
    return worst


@pytest.mark.parametrize(
    ("sizes", "seen"),
    [
        ((8, 16, 24), (2, 4, 6)),  # in proportion
        ((5, 10, 30), (2, 2, 5)),  # only nearly
        ((1, 2, 40), (1, 1, 9)),  # tiny strata
        ((4, 40), (0, 9)),  # one is not reached yet
    ],
)
def test_proportional_interval_covers_every_population(
    sizes: tuple[int, ...], seen: tuple[int, ...]
) -> None:
    assert exact_coverage(sizes, seen, proportional_bounds) >= 0.95


def test_proportional_interval_in_proportion_is_clopper_pearsons() -> None:
    sizes, seen, right = np.array([7000, 3000]), np.array([70, 30]), np.array([69, 20])
    found = proportional_bounds(sizes, seen, right, right, 0.95)
    assert found == pytest.approx(clopper_pearson(89, 100), abs=1e-12)


@pytest.mark.parametrize(
    ("sizes", "seen"), [((20, 40), (9, 7)), ((12, 60), (10, 12)), ((3, 30), (2, 10))]
)
def test_two_strata_interval_covers_every_population(
    sizes: tuple[int, ...], seen: tuple[int, ...]
) -> None:
    assert exact_coverage(sizes, seen, two_strata_bounds) >= 0.95


def test_two_strata_interval_gains_from_what_differs() -> None:
    sizes, seen = np.array([1000, 3000]), np.array([80, 120])
    right = np.array([52, 118])
    low, high = two_strata_bounds(sizes, seen, right, right, 0.95)
    estimate = (1000 * 52 / 80 + 3000 * 118 / 120) / 4000
    assert low < estimate < high
    alike = hypergeometric_bounds(4000, 200, 180, 180, 0.95)
    assert high - low < 0.9 * (alike.high - alike.low)


# --- sequences ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_beta_binomial_sequence_is_its_definition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    N = int(generator.integers(1, 60))
    right = (generator.random(N) < generator.random()).astype(np.int64)
    n = int(generator.integers(0, N + 1))
    low, high, k = 0, N, 0
    for seen, value in enumerate(right[:n], start=1):
        k += int(value)
        kept = [K for K in range(N + 1) if chance(k, N, K, seen) > 0.05 / (seen + 1)]
        low, high = max(low, min(kept)), min(high, max(kept))
    found = beta_binomial_bounds(N, right[:n], right[:n], 0.95)
    assert found == pytest.approx((min(low, high) / N, max(low, high) / N))


def test_beta_binomial_example() -> None:
    """Ten units, five right in five draws: C(K,5)/C(10,5) > 0.05/6 from K = 6 on: 6/252."""
    five = np.ones(5, dtype=np.int64)
    assert beta_binomial_bounds(10, five, five, 0.95) == (0.6, 1.0)


def small_audits(
    right: tuple[tuple[int, ...], ...], weights: tuple[float, ...]
) -> Iterator[tuple[float, list[int], list[int]]]:
    """Every order of a whole small population: chance, classes, outcomes. Equal units are one."""
    counts = [[row.count(0), row.count(1)] for row in right]

    def go(p: float, classes: list[int], values: list[int]) -> Iterator:  # type: ignore[type-arg]
        total = sum(w * sum(c) for w, c in zip(weights, counts, strict=True))
        if not total:
            yield p, list(classes), list(values)
            return
        for j, value in itertools.product(range(len(counts)), (0, 1)):
            if counts[j][value]:
                q = counts[j][value] * weights[j] / total
                counts[j][value] -= 1
                yield from go(p * q, [*classes, j], [*values, value])
                counts[j][value] += 1

    yield from go(1.0, [], [])


@pytest.mark.parametrize("predicted", [(0.3, 0.98), (0.9, 0.1), (0.5, 0.5)])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 0.4)])
@pytest.mark.parametrize("right", [((1, 0, 0), (1, 1, 0)), ((1, 1, 1), (0, 0, 0, 0))])
def test_bets_never_gain_on_average_where_the_hypothesis_is_true(
    right: tuple[tuple[int, ...], ...],
    weights: tuple[float, ...],
    predicted: tuple[float, ...],
) -> None:
    """All orders of a population: the mean wealth is at most 1 after every draw, whatever r is."""
    sizes = np.array([len(row) for row in right])
    truth = sum(map(sum, right)) / sizes.sum()
    hypotheses = np.array([truth, truth + 0.1, 0.9])
    mean = np.zeros((sizes.sum(), 3))
    total = 0.0
    for p, classes, values in small_audits(right, weights):
        draws = Draws(sizes, np.array(weights), np.array(predicted), np.array(classes))
        outcome = np.array(values)
        with np.errstate(over="ignore"):
            wealth = np.exp(log_wealth(draws, outcome, hypotheses, predictive(draws, outcome)))
        mean += p * wealth
        total += p
    assert total == pytest.approx(1.0)
    assert (mean <= 1 + 1e-9).all()


def test_one_class_is_a_likelihood_ratio() -> None:
    """By hand: 4 units, hypothesis 2 right; before each draw the share left is 2/4, then 1/3."""
    draws = Draws(np.array([4]), np.ones(1), np.array([0.8]), np.zeros(2, dtype=np.int64))
    r = np.array([[0.8], [0.7]])
    found = np.exp(log_wealth(draws, np.array([1, 0]), np.array([0.5]), r))[:, 0]
    assert found == pytest.approx([0.8 / 0.5, 0.8 / 0.5 * 0.3 / (2 / 3)], rel=1e-6)


def test_sequences_end_at_the_truth() -> None:
    generator = np.random.default_rng(0)
    classes = generator.permutation(np.repeat([0, 1], [30, 50]))
    right = (generator.random(80) < np.where(classes == 0, 0.5, 0.9)).astype(np.int64)
    draws = Draws(np.array([30, 50]), np.array([1.5, 0.7]), np.array([0.6, 0.9]), classes)
    truth = right.mean()
    assert betting_bounds(draws, right, right, 0.95) == pytest.approx((truth, truth))
    assert beta_binomial_bounds(80, right, right, 0.95) == pytest.approx((truth, truth))


def test_large_frames() -> None:
    """A million pseudo-labels, and nobody waits."""
    right = np.ones(200, dtype=np.int64)
    low, high = beta_binomial_bounds(10**6, right, right, 0.95)
    # (K/N)^200 = 0.05 / 201 in the limit
    assert low == pytest.approx((0.05 / 201) ** (1 / 200), abs=1e-4)
    assert high == 1.0


# --- coverage with and without looking after every verdict -----------------------------------------


@cache
def population(precision_: float, size: int = 1500) -> tuple[list[Unit], dict[str, bool]]:
    """Shares that tell something, about so precise."""
    generator = np.random.default_rng(int(precision_ * 1000))
    share = generator.choice(
        [0.5, 0.625, 0.75, 0.875, 1.0], p=[0.07, 0.11, 0.13, 0.2, 0.49], size=size
    )
    wrong = (1.3 - share) ** 1.5
    right = generator.random(size) > wrong * (1 - precision_) / wrong.mean()
    ids = [f"u{i:04d}" for i in range(size)]
    units = [Unit(name, float(s)) for name, s in zip(ids, share, strict=True)]
    return units, dict(zip(ids, map(bool, right), strict=True))


def ever_missed(plan: Plan, truth: dict[str, bool], share: float) -> bool:
    """Whether any interval, looking after every verdict, misses: ends only ever tighten."""
    found = precision(plan, {one.id: truth[one.id] for one in plan.drawn})
    return not found.low - 1e-9 <= share <= found.high + 1e-9


@pytest.mark.parametrize("design", ["random", "stratified", "risk-first"])
@pytest.mark.parametrize("about", [0.8, 0.97])
def test_looking_after_every_verdict_does_not_break_coverage(design: str, about: float) -> None:
    """30 audits each; benchmarks/audit.py runs 1,000. At 5%, P(> 5) is 0.3%."""
    units, truth = population(about)
    share = sum(truth.values()) / len(truth)
    config = AuditConfig.model_validate({"design": design, "max_verdicts": 120})
    missed = sum(
        ever_missed(make_plan(units, config, seed=seed, threshold=0.7), truth, share)
        for seed in range(30)
    )
    assert missed <= 5


def test_ends_only_tighten() -> None:
    units, truth = population(0.8)
    for design in ("random", "risk-first"):
        config = AuditConfig.model_validate({"design": design, "max_verdicts": 60})
        plan = make_plan(units, config, seed=1, threshold=0.7)
        before = (0.0, 1.0)
        for n in range(0, 61, 4):
            found = precision(plan, {one.id: truth[one.id] for one in plan.drawn[:n]})
            assert found.low >= before[0] - 1e-12
            assert found.high <= before[1] + 1e-12
            before = (found.low, found.high)


def test_risk_first_needs_fewer_verdicts_on_the_demos_labels() -> None:
    """Width after 200 verdicts, which falls with the root of their number; 30 audits each."""
    with DEMO.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    units = [
        Unit(f"u{i:04d}", float(row["share"]), float(row["margin"]), float(row["agreement"]))
        for i, row in enumerate(rows)
    ]
    truth = {unit.id: row["right"] == "1" for unit, row in zip(units, rows, strict=True)}
    widths = {}
    for design in ("random", "risk-first"):
        config = AuditConfig.model_validate({"design": design, "max_verdicts": 200})
        found = []
        for seed in range(30):
            plan = make_plan(units, config, seed=seed, threshold=None)
            p = precision(plan, {one.id: truth[one.id] for one in plan.drawn})
            found.append(p.high - p.low)
        widths[design] = np.mean(found)
    assert (widths["risk-first"] / widths["random"]) ** 2 < 0.8


# --- estimates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 2, 4, 6])
def test_the_estimate_of_weighted_draws_is_unbiased(T: int) -> None:
    right, weights = ((1, 0, 0), (1, 1, 0, 1)), (3.0, 0.4)
    predicted = np.array([0.2, 0.7])  # not what is true
    mean = 0.0
    for p, classes, values in small_audits(right, weights):
        draws = Draws(np.array([3, 4]), np.array(weights), predicted, np.array(classes[:T]))
        mean += p * _ordered(draws, np.array(values[:T], dtype=np.float64))
    assert mean == pytest.approx(4 / 7)


@pytest.mark.parametrize("design", ["random", "stratified", "risk-first"])
@pytest.mark.parametrize("size", ["sequential", "fixed"])
def test_estimates_are_right_on_average(design: str, size: str) -> None:
    units, truth = population(0.8)
    share = sum(truth.values()) / len(truth)
    config = AuditConfig.model_validate({"design": design, "size": size, "max_verdicts": 60})
    found = []
    for seed in range(24):
        plan = make_plan(units, config, seed=seed, threshold=None)
        found.append(precision(plan, {one.id: truth[one.id] for one in plan.drawn}).estimate)
    assert abs(np.mean(found) - share) < 4 * np.std(found) / math.sqrt(24)


def plan_of(design: str, size: str, **settings: object) -> Plan:
    units = [Unit(f"u{i:03d}", (4 + i % 5) / 8, slices={"line": "ab"[i % 2]}) for i in range(300)]
    config = AuditConfig.model_validate(
        {"design": design, "size": size, "max_verdicts": 60, "slices": ("line",), **settings}
    )
    return make_plan(units, config, seed=5, threshold=0.7)


SHAPES = list(itertools.product(["random", "stratified", "risk-first"], ["sequential", "fixed"]))


@pytest.mark.parametrize("design", ["random", "stratified", "risk-first"])
def test_verdicts_beyond_a_gap_wait(design: str) -> None:
    plan = plan_of(design, "sequential")
    all_of_them = {one.id: one.position % 7 != 0 for one in plan.drawn}
    gap = {key: value for key, value in all_of_them.items() if key != plan.drawn[20].id}
    found, start = precision(plan, gap), precision(plan, dict(list(all_of_them.items())[:20]))
    assert (found.n, found.waiting) == (20, 39)
    assert (found.low, found.high, found.estimate) == (start.low, start.high, start.estimate)
    assert precision(plan, {**all_of_them, "stranger": True}).n == 60
    assert precision(plan, dict(reversed(all_of_them.items()))) == precision(plan, all_of_them)


@pytest.mark.parametrize("design", ["random", "stratified", "risk-first"])
def test_part_of_a_fixed_sample_never_says_more_than_the_whole(design: str) -> None:
    """In any order: its interval holds every interval that the whole sample may have."""
    plan = plan_of(design, "fixed")
    generator = np.random.default_rng(0)
    for _ in range(12):
        rest = {one.id: bool(generator.random() < 0.85) for one in plan.drawn}
        kept = generator.random(60) < generator.random()
        part = {one.id: rest[one.id] for one, k in zip(plan.drawn, kept, strict=True) if k}
        found, whole = precision(plan, part), precision(plan, rest)
        assert found.low <= whole.low
        assert whole.high <= found.high
        assert (found.n, found.waiting) == (len(part), 0)


@pytest.mark.parametrize(("design", "size"), SHAPES)
def test_unsure_counts_as_wrong_below_and_right_above(design: str, size: str) -> None:
    plan = plan_of(design, size)
    told: dict[str, bool | None] = {one.id: one.position % 5 != 0 for one in plan.drawn}
    unsure = {one.id for one in plan.drawn if one.position % 9 == 4}
    found = precision(plan, {key: None if key in unsure else v for key, v in told.items()})
    worst = precision(plan, {key: v and key not in unsure for key, v in told.items()})
    best = precision(plan, {key: v or key in unsure for key, v in told.items()})
    assert found.low == pytest.approx(worst.low)
    assert found.high == pytest.approx(best.high)
    assert found.estimate == pytest.approx((worst.estimate + best.estimate) / 2)
    assert (found.n, found.unsure) == (60, len(unsure))
    assert found.right + found.wrong + found.unsure == found.n


@pytest.mark.parametrize(("design", "size"), SHAPES)
def test_nothing_judged_says_nothing(design: str, size: str) -> None:
    found = precision(plan_of(design, size), {})
    assert (found.n, found.low, found.high) == (0, 0.0, 1.0)
    assert math.isnan(found.estimate)
    assert decision(found, 0.7) == "insufficient"


@pytest.mark.parametrize(("design", "size"), SHAPES)
def test_strata_and_slices(design: str, size: str) -> None:
    plan = plan_of(design, size)
    outcomes = {one.id: one.slices["line"] == "a" for one in plan.drawn}
    extra = {one.id: {"shift": "early"} for one in plan.drawn[:10]}
    found = precision(plan, outcomes, extra)
    a, b = found.slices["line"]
    assert (a.name, a.population, a.wrong, a.high) == ("a", 150, 0, 1.0)
    assert (b.name, b.population, b.right, b.low) == ("b", 150, 0, 0.0)
    assert a.low > 0.6
    assert b.high < 0.5
    assert a.n + b.n == found.n == 60
    assert {group.name: group.population for group in found.strata} == dict(plan.strata)
    assert sum(group.n for group in found.strata) == 60
    (early,) = found.slices["shift"]
    assert (early.n, early.population) == (10, 0)
    assert math.isnan(early.low)  # nobody knows how many early ones the frame has


def test_whole_frame_judged_has_no_width() -> None:
    for design, size in SHAPES:
        plan = plan_of(design, size, max_verdicts=300, half_width=0.001)
        outcomes = {one.id: one.position % 3 != 0 for one in plan.drawn}
        found = precision(plan, outcomes)
        assert found.low == pytest.approx(2 / 3)
        assert found.estimate == pytest.approx(2 / 3)
        assert found.high == pytest.approx(2 / 3)


# --- decisions --------------------------------------------------------------------------------------


def bounds(low: float, high: float) -> Precision:
    return Precision(100, 10, 8, 2, 0, 0, 0.8, low, high, 0.95, "betting")


def test_decisions() -> None:
    assert decision(bounds(0.7, 0.9), 0.7) == "pass"
    assert decision(bounds(0.69, 0.9), 0.7) == "insufficient"
    assert decision(bounds(0.5, 0.7), 0.7) == "insufficient"
    assert decision(bounds(0.5, 0.69), 0.7) == "fail"
    assert decision(bounds(0.0, 1.0), 0.0) == "pass"


def test_still_needed() -> None:
    units, truth = population(0.85)
    config = AuditConfig(max_verdicts=300)
    plan = make_plan(units, config, seed=0, threshold=0.7)
    needed = [
        still_needed(plan, {one.id: truth[one.id] for one in plan.drawn[:n]}, 0.7)
        for n in range(0, 300, 10)
    ]
    assert 20 <= needed[0] <= 200
    done = needed.index(0)
    assert 0 < done < 20
    assert set(needed[done:]) == {0}
    assert all(1 <= value <= 300 - 10 * n for n, value in enumerate(needed[:done]))
    assert still_needed(plan, {}, 0.85) <= 300
    assert still_needed(plan_of("random", "fixed"), {}, 0.7) == 60


def test_a_fixed_sample_is_decided_early_only_where_the_rest_cannot_change_it() -> None:
    plan = plan_of("random", "fixed")
    outcomes = {one.id: True for one in plan.drawn[:40]}
    assert decision(precision(plan, outcomes), 0.7) == "insufficient"
    assert still_needed(plan, outcomes, 0.7) == 20
    # 54 of 60 at the worst
    outcomes = {one.id: True for one in plan.drawn[:54]}
    assert precision(plan, outcomes).low == hypergeometric_bounds(300, 60, 54, 60, 0.95).low
    assert decision(precision(plan, outcomes), 0.7) == "pass"
    assert still_needed(plan, outcomes, 0.7) == 0
