"""Intervals and tests for accuracies. Pure functions; plain Python, numpy, a function of scipy.

Where a quantity is not defined (no trials, one value, an unscored value among the values) the
result is NaN, never a guess; each docstring says when. Misuse (a confidence outside (0, 1), lists
of different lengths, fractions outside [0, 1]) raises `ValueError`.

All intervals are over held-out samples of one run. They say nothing about other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float] | NDArray[np.float64]

_SERIES_MAX_DF = 200
"""Up to here Student's quantile comes from the finite series, above from the expansion."""


class Interval(NamedTuple):
    """Both ends of an interval; both NaN where it is undefined."""

    low: float
    high: float


class Difference(NamedTuple):
    """A mean difference with its interval, in the unit of the values."""

    estimate: float
    low: float
    high: float


class Ratio(NamedTuple):
    """A ratio of two means with its interval."""

    estimate: float
    low: float
    high: float


UNDEFINED = Interval(math.nan, math.nan)


def wilson(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Score interval for a proportion (Wilson 1927), for values that are right or wrong.

        centre = (p + z^2 / 2n) / (1 + z^2 / n)
        half   = z / (1 + z^2 / n) * sqrt(p (1 - p) / n + z^2 / 4n^2)

    Unlike the normal interval it stays in [0, 1] and has width at p = 0 and p = 1: 200 right of
    200 give a lower end of 0.981, not 1.

    Args:
        successes: number of successes, 0 <= successes <= n.
        n: number of trials.
        confidence: nominal coverage.

    Returns:
        The interval; NaN for n = 0 and for NaN input.

    Raises:
        ValueError: confidence outside (0, 1), or successes outside [0, n].
    """
    z = _normal_quantile(confidence)
    if math.isnan(successes) or math.isnan(n) or n == 0:
        return UNDEFINED
    if not 0 <= successes <= n:
        raise ValueError(f"successes = {successes} is outside 0..n = {n}")
    return _score_interval(successes / n, n, z)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Exact interval for a proportion (Clopper and Pearson 1934), for audits of few rows.

        low  = Beta^-1(alpha / 2; k, n - k + 1),    high = Beta^-1(1 - alpha / 2; k + 1, n - k)

    with alpha = 1 - confidence; low = 0 for k = 0 and high = 1 for k = n. It covers the truth with
    at least the nominal probability whatever n and the truth are, which `wilson` does on average
    only; the price is width. 10 right of 10 say "at least 69%", not "100%".

    Args:
        successes: number of successes k, 0 <= k <= n.
        n: number of trials.
        confidence: smallest coverage.

    Returns:
        The interval; NaN for n = 0.

    Raises:
        ValueError: confidence outside (0, 1), or successes outside [0, n].
    """
    from scipy.special import betaincinv  # only where an audit is judged; scipy takes its time

    _normal_quantile(confidence)  # refuses a bad confidence
    if not 0 <= successes <= n:
        raise ValueError(f"successes = {successes} is outside 0..n = {n}")
    if n == 0:
        return UNDEFINED
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return Interval(low, high)


def expected_calibration_error(confidence_N: Values, correct_N: Values, bins: int = 10) -> float:
    """How far stated confidence is from accuracy, on average over the values.

        ECE = sum_b n_b / N * |mean correct in b - mean confidence in b|

    over `bins` bins of equal width, (lower, upper], the first one closed (Naeini et al. 2015;
    Guo et al. 2017, arXiv 1706.04599, eq. 3).

    Args:
        confidence_N: N confidences in [0, 1].
        correct_N: N times 0 or 1, in the same order.
        bins: number of bins.

    Returns:
        The error in [0, 1]; NaN for no values or when a value is NaN.

    Raises:
        ValueError: lists of different lengths, a value outside [0, 1], or no bins.
    """
    confidence, correct = _as_vector(confidence_N), _as_vector(correct_N)
    if confidence.size != correct.size:
        raise ValueError(f"{confidence.size} confidences but {correct.size} outcomes: not pairs")
    if bins < 1:
        raise ValueError(f"bins = {bins} is below 1")
    both = np.concatenate([confidence, correct])
    if both.size == 0 or bool(np.isnan(both).any()):
        return math.nan
    if bool(((both < 0) | (both > 1)).any()):
        raise ValueError("a value is outside [0, 1]")
    bin_N = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    # n_b * |mean - mean| = |sum of the differences|, so that no bin has to be divided by its size.
    gaps = np.bincount(bin_N, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / confidence.size)


def mean_interval(
    values_N: Values, confidence: float = 0.95, *, fractions: bool = False
) -> Interval:
    """Interval for the mean of one value per sample, such as mean@k.

    The k completions of a sample share its question and picture, so their outcomes are not
    independent: N * k trials would give an interval that is too narrow. The N per-sample means
    are independent, so the interval is over them.

    Default: Student's t interval, m +- t(N-1) s / sqrt(N). A t interval and not a bootstrap,
    because it needs no random numbers and the two agree at the sizes used here.

    With `fractions`, for values in [0, 1]: the Wilson interval at the effective size

        n_eff = m (1 - m) / (s^2 / N)

    with t(N-1) in the place of z: the form that a comparison of intervals for clustered samples
    recommends (Franco et al. 2019, PMC6690503). Clipping the t interval would keep it inside
    [0, 1] too, but near 0 and 1 it would miss the truth far too often. When all values are 0 or
    all are 1, s is 0 and tells nothing; then n_eff = N. For values that are only 0 or 1,
    n_eff = N - 1.

    Simulated coverage at a nominal 95% with a mean of 0.97 (values mostly 0 or 1): 95% for
    N = 600, 93% for N = 200, 89% for N = 50, where the t interval covers 95%, 90% and 83%. So
    near 0 and 1 a few dozen samples prove little by any of them.

    When all values are equal and not 0 or 1, the interval has no width. That is a statement
    about the estimate of s, not certainty.

    Args:
        values_N: one value per sample.
        confidence: nominal coverage.
        fractions: the values are fractions in [0, 1], and so is the interval.

    Returns:
        The interval; NaN for fewer than two values or when a value is NaN (unscored).

    Raises:
        ValueError: confidence outside (0, 1); with `fractions`, a value outside [0, 1].
    """
    _normal_quantile(confidence)  # refuses a bad confidence even when there is nothing to do
    values = _as_vector(values_N)
    n = values.size
    if n < 2 or bool(np.isnan(values).any()):
        return UNDEFINED
    if fractions and bool(((values < 0) | (values > 1)).any()):
        raise ValueError("a value is outside [0, 1]")
    mean, deviation = _mean_and_deviation(values)
    t = student_quantile(n - 1, confidence)
    if not fractions:
        half = t * deviation / math.sqrt(n)
        return Interval(mean - half, mean + half)
    if deviation > 0:
        return _score_interval(mean, mean * (1 - mean) / (deviation**2 / n), t)
    return _score_interval(mean, n, t) if mean in (0.0, 1.0) else Interval(mean, mean)


def paired_difference(before_N: Values, after_N: Values, confidence: float = 0.95) -> Difference:
    """Mean of after - before over the same samples, with the t interval of the differences.

    Both stages answer the same questions, so the question's difficulty cancels, and the interval
    is narrower than two separate intervals suggest. When all differences are equal it has no
    width; with two lists of 0 and 1, `mcnemar_exact` gives the exact test.

    Args:
        before_N: one value per sample.
        after_N: one value per sample, in the same order.
        confidence: nominal coverage.

    Returns:
        estimate, low, high; all NaN for no samples or when a value is NaN; low and high NaN for
        a single sample.

    Raises:
        ValueError: lists of different lengths, or confidence outside (0, 1).
    """
    before, after = _as_vector(before_N), _as_vector(after_N)
    if before.size != after.size:
        raise ValueError(f"{before.size} values before but {after.size} after: not pairs")
    interval = mean_interval(after - before, confidence)
    estimate = math.nan if before.size == 0 else float((after - before).mean())
    return Difference(estimate, interval.low, interval.high)


def mean_ratio(numerators_N: Values, denominators_N: Values, confidence: float = 0.95) -> Ratio:
    """Ratio of two means over the same samples, with the t interval of its linearisation.

        R = mean(x) / mean(y),    se = sqrt(var(x - R y) / N) / |mean(y)|

    The delta method, as for ratio estimates in surveys (Cochran 1977, eq. 2.45). Numerator and
    denominator come from the same samples, so their errors are not independent, and this keeps
    that. For a few dozen samples it is an approximation; when x = R y for every sample the interval
    has no width, which is a statement about that estimate and not certainty.

    Args:
        numerators_N: x, one value per sample.
        denominators_N: y, in the same order.
        confidence: nominal coverage.

    Returns:
        estimate, low, high; all NaN for no samples, when a value is NaN, or when mean(y) is 0; low
        and high NaN for a single sample.

    Raises:
        ValueError: lists of different lengths, or confidence outside (0, 1).
    """
    _normal_quantile(confidence)  # refuses a bad confidence even when there is nothing to do
    x, y = _as_vector(numerators_N), _as_vector(denominators_N)
    if x.size != y.size:
        raise ValueError(f"{x.size} numerators but {y.size} denominators: not pairs")
    if x.size == 0 or bool(np.isnan(x).any() or np.isnan(y).any()) or float(y.mean()) == 0:
        return Ratio(math.nan, math.nan, math.nan)
    ratio = float(x.mean()) / float(y.mean())
    if x.size < 2:
        return Ratio(ratio, math.nan, math.nan)
    error = float((x - ratio * y).std(ddof=1)) / math.sqrt(x.size) / abs(float(y.mean()))
    half = student_quantile(x.size - 1, confidence) * error
    return Ratio(ratio, ratio - half, ratio + half)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k completions, drawn without replacement, is right.

    pass@k = 1 - C(n - c, k) / C(n, k), the unbiased estimator of arXiv 2107.03374, eq. 1.

    Args:
        n: completions sampled for the problem.
        c: how many of them are right.
        k: how many may be tried.

    Returns:
        The estimate; NaN for k > n (it would be biased), k < 1 or c outside 0..n.
    """
    if not (1 <= k <= n and 0 <= c <= n):
        return math.nan
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact p-value that two stages err equally often on the same samples.

    Under the hypothesis each of the n = b + c samples on which they differ is a fair coin:
    p = min(1, 2 sum_{i <= min(b, c)} C(n, i) / 2^n) (McNemar 1947, exact binomial form).

    Args:
        b: samples that only the first stage got right.
        c: samples that only the second stage got right.

    Returns:
        The p-value; 1 for b = c = 0 (no sample speaks for a difference), NaN for negative counts.
    """
    if b < 0 or c < 0:
        return math.nan
    n = b + c
    tail = sum(math.comb(n, i) for i in range(min(b, c) + 1))
    return min(1.0, 2 * tail / (1 << n))


def student_quantile(df: int, confidence: float) -> float:
    """t with P(|T| <= t) = confidence for Student's T with df degrees of freedom.

    By bisection of the finite series (Abramowitz and Stegun 26.7.3 and 26.7.4) up to 200 degrees
    of freedom, by the expansion around the normal quantile (26.7.5) above.

    Raises:
        ValueError: confidence outside (0, 1) or df < 1.
    """
    z = _normal_quantile(confidence)
    if df < 1:
        raise ValueError(f"df = {df} is below 1")
    if df > _SERIES_MAX_DF:
        return (
            z
            + (z**3 + z) / (4 * df)
            + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
            + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)
        )
    low, high = 0.0, math.pi / 2
    for _ in range(64):
        middle = (low + high) / 2
        if _student_mass(middle, df) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(df) * math.tan((low + high) / 2)


def _student_mass(theta: float, df: int) -> float:
    """P(|T| <= sqrt(df) tan(theta)) for Student's T."""
    cosine2 = math.cos(theta) ** 2
    if df % 2 == 0:
        term = total = 1.0
        for i in range(2, df - 1, 2):
            term *= (i - 1) / i * cosine2
            total += term
        return math.sin(theta) * total
    term = math.cos(theta)
    total = term if df > 1 else 0.0
    for i in range(3, df - 1, 2):
        term *= (i - 1) / i * cosine2
        total += term
    return 2 / math.pi * (theta + math.sin(theta) * total)


def _score_interval(p: float, n: float, z: float) -> Interval:
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At p = 0 and p = 1 one end is exactly 0 or 1; rounding must not move it inside or outside.
    low = 0.0 if p == 0 else max(0.0, centre - half)
    high = 1.0 if p == 1 else min(1.0, centre + half)
    return Interval(low, high)


def _mean_and_deviation(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and sample standard deviation; exactly (v, 0) when every value is v."""
    if bool((values == values[0]).all()):
        return float(values[0]), 0.0
    return float(values.mean()), float(values.std(ddof=1))


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence} is outside (0, 1)")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _as_vector(values: Values) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def holm(p_T: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979): no test is rejected wrongly with more than the level.

    The i-th smallest of T becomes max over j <= i of min(1, (T - j + 1) p_j). NaN ones were no
    tests: they stay NaN and do not count.
    """
    order = sorted((i for i, p in enumerate(p_T) if not math.isnan(p)), key=lambda i: p_T[i])
    adjusted, worst = [math.nan] * len(p_T), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * p_T[index]))
        adjusted[index] = worst
    return adjusted
