"""Intervals and tests against hand-made values, scipy, and their own nominal coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mmupt.stats import (
    clopper_pearson,
    expected_calibration_error,
    mcnemar_exact,
    mean_interval,
    mean_ratio,
    paired_difference,
    pass_at_k,
    student_quantile,
    wilson,
)


def test_wilson_of_a_half_by_hand() -> None:
    # p = 1/2, n = 4, z = 1.959964: z^2 = 3.841459, scale = 1.960365, centre = 0.5,
    # half = z / scale * sqrt(0.25 / 4 + 3.841459 / 64) = 0.9997956 * 0.3500326 = 0.3499611
    low, high = wilson(2, 4)
    assert low == pytest.approx(0.1500389, abs=1e-6)
    assert high == pytest.approx(0.8499611, abs=1e-6)


@pytest.mark.parametrize(
    ("successes", "n", "confidence"),
    [(0, 10, 0.95), (10, 10, 0.95), (1, 2, 0.9), (405, 600, 0.95), (599, 600, 0.99)],
)
def test_wilson_equals_scipy(successes: int, n: int, confidence: float) -> None:
    expected = scipy_stats.binomtest(successes, n).proportion_ci(confidence, "wilson")
    assert wilson(successes, n, confidence) == pytest.approx((expected.low, expected.high))


def test_wilson_at_the_edges() -> None:
    # n = 200, all right: low = n / (n + z^2) = 200 / 203.841459 = 0.9811547
    assert wilson(200, 200) == (pytest.approx(0.9811547, abs=1e-6), 1.0)
    assert wilson(0, 200) == (0.0, pytest.approx(1 - 0.9811547, abs=1e-6))


def test_undefined_is_nan() -> None:
    for interval in (
        wilson(0, 0),
        wilson(math.nan, 3),
        mean_interval([]),
        mean_interval([0.5]),
        mean_interval([0.5, math.nan, 0.5], fractions=True),
    ):
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)
    assert all(math.isnan(value) for value in paired_difference([], []))
    single = paired_difference([0.25], [0.75])
    assert single.estimate == 0.5
    assert math.isnan(single.low)
    assert math.isnan(paired_difference([0.0, math.nan], [1.0, 1.0]).estimate)
    assert math.isnan(pass_at_k(3, 1, 4))
    assert math.isnan(pass_at_k(3, 4, 1))
    assert math.isnan(pass_at_k(3, 1, 0))
    assert math.isnan(mcnemar_exact(-1, 3))


def test_misuse_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.n"):
        wilson(5, 4)
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 4, 1.0)
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([], 0.0)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        mean_interval([0.5, 1.5], fractions=True)
    with pytest.raises(ValueError, match="not pairs"):
        paired_difference([1.0, 0.0], [1.0])
    with pytest.raises(ValueError, match="df = 0"):
        student_quantile(0, 0.95)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 10, 29, 100, 199, 200, 201, 599, 5000, 10**7])
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99, 0.999])
def test_student_quantile_equals_scipy(df: int, confidence: float) -> None:
    expected = scipy_stats.t.ppf((1 + confidence) / 2, df)
    assert student_quantile(df, confidence) == pytest.approx(expected, rel=1e-7)


def test_mean_interval_by_hand() -> None:
    # 1, 2, 3, 4: mean 2.5, s^2 = 5/3, s / sqrt(4) = 0.6454972, t(3) = 3.1824463
    assert mean_interval([1, 2, 3, 4]) == pytest.approx((0.4457397, 4.5542603), abs=1e-6)


def test_mean_interval_equals_scipy() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 57)
    expected = scipy_stats.t.interval(0.9, 56, loc=values.mean(), scale=scipy_stats.sem(values))
    assert mean_interval(values, 0.9) == pytest.approx(expected)


def test_fractions_by_hand() -> None:
    # 0, 1/2, 1, 1/2: m = 1/2, s^2 = 1/6, n_eff = (1/4) / (1/24) = 6, t(3)^2 = 10.1279645
    # scale = 1 + 10.1279645 / 6 = 2.6879941, centre = 1/2,
    # half = 3.1824463 / 2.6879941 * sqrt(1/24 + 10.1279645 / 144) = 0.3962245
    interval = mean_interval([0.0, 0.5, 1.0, 0.5], fractions=True)
    assert interval == pytest.approx((0.1037755, 0.8962245), abs=1e-6)


def test_fractions_that_are_all_one_have_width() -> None:
    # n_eff = 20, t(19) = 2.0930241: low = 20 / (20 + 4.3807498) = 0.8203194
    interval = mean_interval([1.0] * 20, fractions=True)
    assert interval == (pytest.approx(0.8203194, abs=1e-6), 1.0)
    assert mean_interval([0.25] * 20, fractions=True) == (0.25, 0.25)


def test_paired_difference_by_hand() -> None:
    # differences 1, 0, 1, 0: mean 1/2, s = 1/sqrt(3), s / 2 = 0.2886751, t(3) = 3.1824463
    difference = paired_difference([0, 1, 0, 1], [1, 1, 1, 1])
    assert difference == pytest.approx((0.5, 0.5 - 0.9186931, 0.5 + 0.9186931), abs=1e-6)


def test_paired_difference_equals_scipy() -> None:
    random = np.random.default_rng(2)
    before, after = random.random(80), random.random(80)
    expected = scipy_stats.ttest_rel(after, before).confidence_interval(0.95)
    difference = paired_difference(before, after)
    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high))


def test_pass_at_k_by_hand() -> None:
    # n = 4, c = 2: two draws are both wrong in C(2, 2) / C(4, 2) = 1 / 6 of the cases
    assert pass_at_k(4, 2, 2) == pytest.approx(5 / 6)
    assert pass_at_k(8, 3, 1) == pytest.approx(3 / 8)
    assert pass_at_k(8, 0, 8) == 0.0
    assert pass_at_k(8, 1, 8) == 1.0
    assert pass_at_k(2000, 1, 1000) == pytest.approx(0.5)


def test_pass_at_k_counts_all_draws() -> None:
    from itertools import combinations

    right = [True, True, False, False, False, False]
    draws = list(combinations(right, 3))
    assert pass_at_k(6, 2, 3) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_mcnemar_by_hand() -> None:
    # b = 1, c = 5: 2 (1 + 6) / 64
    assert mcnemar_exact(1, 5) == pytest.approx(14 / 64)
    assert mcnemar_exact(3, 3) == 1.0
    assert mcnemar_exact(0, 0) == 1.0


@pytest.mark.parametrize(("b", "c"), [(0, 7), (12, 30), (300, 341)])
def test_mcnemar_equals_scipy(b: int, c: int) -> None:
    expected = scipy_stats.binomtest(b, b + c).pvalue
    assert mcnemar_exact(b, c) == pytest.approx(expected)
    assert mcnemar_exact(c, b) == pytest.approx(expected)


def _mean_at_k(random: np.random.Generator, n: int, a: float, b: float, k: int) -> np.ndarray:
    """Per-sample means of k outcomes whose rate varies from sample to sample as Beta(a, b)."""
    return random.binomial(k, random.beta(a, b, n)) / k


def test_coverage_of_clustered_means() -> None:
    """Over samples the interval covers; over the pooled N * k outcomes it would not."""
    random = np.random.default_rng(3)
    truth, runs, covered, pooled = 0.7, 1500, 0, 0
    for _ in range(runs):
        values = _mean_at_k(random, 100, 0.7, 0.3, 8)
        low, high = mean_interval(values, fractions=True)
        covered += low <= truth <= high
        low, high = wilson(round(values.sum() * 8), 800)
        pooled += low <= truth <= high
    assert 0.935 <= covered / runs <= 0.97
    assert pooled / runs < 0.7


def test_coverage_near_one() -> None:
    """Where few samples ever fail, no interval keeps its promise, but the t interval is worse.

    The figures stand in the docstring of `mean_interval`.
    """
    random = np.random.default_rng(4)
    truth, runs, covered, clipped = 0.97, 1500, 0, 0
    for _ in range(runs):
        values = _mean_at_k(random, 50, 0.97, 0.03, 8)
        low, high = mean_interval(values, fractions=True)
        covered += low <= truth <= high
        low, high = mean_interval(values)
        clipped += low <= truth <= high
    assert 0.87 <= covered / runs <= 0.91
    assert 0.81 <= clipped / runs <= 0.85


def test_coverage_with_many_samples() -> None:
    random = np.random.default_rng(5)
    truth, runs, covered = 0.97, 1500, 0
    for _ in range(runs):
        low, high = mean_interval(_mean_at_k(random, 600, 0.97, 0.03, 8), fractions=True)
        covered += low <= truth <= high
    assert 0.935 <= covered / runs <= 0.965


def test_clopper_pearson_by_hand() -> None:
    # At the edges the binomial tail is one power: 1 - (0.025)^(1/10) = 1 - 0.6915029 for 0 of 10.
    assert clopper_pearson(0, 10) == (0.0, pytest.approx(0.3084971, abs=1e-6))
    assert clopper_pearson(10, 10) == (pytest.approx(0.6915029, abs=1e-6), 1.0)
    # 1 of 1 at 90%: low = 0.05
    assert clopper_pearson(1, 1, 0.9) == (pytest.approx(0.05), 1.0)
    assert all(math.isnan(end) for end in clopper_pearson(0, 0))


@pytest.mark.parametrize(
    ("successes", "n", "confidence"),
    [(1, 2, 0.95), (37, 40, 0.95), (405, 600, 0.9), (1, 3000, 0.99), (2999, 3000, 0.99)],
)
def test_clopper_pearson_equals_scipy(successes: int, n: int, confidence: float) -> None:
    expected = scipy_stats.binomtest(successes, n).proportion_ci(confidence, "exact")
    assert clopper_pearson(successes, n, confidence) == pytest.approx((expected.low, expected.high))


def test_clopper_pearson_never_covers_too_rarely() -> None:
    """Exactly computed, not simulated: over all outcomes of 12 trials, for many rates."""
    intervals = [clopper_pearson(k, 12) for k in range(13)]
    for rate in np.linspace(0.01, 0.99, 197):
        chance = scipy_stats.binom.pmf(range(13), 12, rate)
        covered = sum(
            p for p, (low, high) in zip(chance, intervals, strict=True) if low <= rate <= high
        )
        assert covered >= 0.95


@pytest.mark.parametrize(
    ("successes", "n", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)]
)
def test_clopper_pearson_refuses(successes: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        clopper_pearson(successes, n, confidence)


def test_calibration_error_by_hand() -> None:
    # two bins: (0, .5] holds .3 (wrong) and .25 (right): |1 - .55| = .45;
    # (.5, 1] holds .9 (right) and .8 (wrong): |1 - 1.7| = .7; (.45 + .7) / 4 = .2875
    assert expected_calibration_error([0.9, 0.3, 0.8, 0.25], [1, 0, 0, 1], bins=2) == pytest.approx(
        0.2875
    )
    # one bin: overconfidence of one cancels that of the other
    assert expected_calibration_error([0.75, 0.25], [1, 0], bins=1) == 0.0
    assert expected_calibration_error([0.75, 0.25], [1, 0], bins=2) == 0.25
    # the upper edge belongs to the bin below it, 0 to the first
    assert expected_calibration_error([0.5, 1.0, 0.0], [0, 1, 0], bins=2) == pytest.approx(0.5 / 3)


def test_calibration_of_an_honest_and_a_boastful_model() -> None:
    random = np.random.default_rng(6)
    confidence = random.uniform(size=20_000)
    honest = (random.uniform(size=20_000) < confidence).astype(float)
    assert expected_calibration_error(confidence, honest) < 0.02
    boastful = (random.uniform(size=20_000) < confidence / 2).astype(float)
    assert expected_calibration_error(confidence, boastful) == pytest.approx(0.25, abs=0.02)


def test_calibration_error_edges() -> None:
    assert math.isnan(expected_calibration_error([], []))
    assert math.isnan(expected_calibration_error([0.5, math.nan], [1, 0]))
    for arguments in (([0.5], [1, 0]), ([1.5], [1]), ([0.5], [1], 0)):
        with pytest.raises(ValueError, match=r"not pairs|outside|below"):
            expected_calibration_error(*arguments)


def test_ratio_by_hand() -> None:
    # R = (2/3) / (4/3) = .5; x - R y = 0, -.5, .5 with s = .5; se = .5 / sqrt(3) / (4/3) = .2165064;
    # t(2) = 4.3026527, so half = .9315520
    ratio = mean_ratio([1, 0, 1], [2, 1, 1])
    assert ratio == pytest.approx((0.5, 0.5 - 0.9315520, 0.5 + 0.9315520), abs=1e-6)
    assert mean_ratio([0.2, 0.4], [0.4, 0.8]) == pytest.approx((0.5, 0.5, 0.5))  # no width
    for undefined in (mean_ratio([], []), mean_ratio([1, 1], [0, 0]), mean_ratio([math.nan], [1])):
        assert all(math.isnan(value) for value in undefined)
    assert mean_ratio([1], [2])[0] == 0.5
    assert math.isnan(mean_ratio([1], [2]).low)
    with pytest.raises(ValueError, match="not pairs"):
        mean_ratio([1, 2], [1])


def test_coverage_of_a_ratio() -> None:
    """Kappa's case: agreements that hang together within a question, over 100 questions."""
    random = np.random.default_rng(7)
    runs, covered = 1500, 0
    for _ in range(runs):
        chance = random.beta(2, 8, 100)  # mean .2
        own = chance + (1 - chance) * random.beta(5, 5, 100)  # kappa .5 of what chance leaves
        low, high = mean_ratio(own - chance, 1 - chance)[1:]
        covered += low <= 0.5 <= high
    assert 0.93 <= covered / runs <= 0.97
