"""Intervals for samples of a size that was fixed beforehand. Exact or conservative, never normal.

Normal intervals cover 76% at a nominal 95% for 50 verdicts at a precision of 0.97. Those here are
inverted tests of a finite population, so they cover at least their nominal rate at every precision.
Every `low` and `high` rises with every right one: with verdicts that are missing yet counted as
wrong for `low` and right for `high`, the interval holds that of the whole sample at any time.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmupt.audit.sequence import Floats, Ints, first_kept, log_hypergeometric
from mmupt.stats import Interval, clopper_pearson

_CELLS: Final = 257
"""Edges of the cells of shares between two strata; fewer widen the interval."""


def hypergeometric_bounds(
    population: int, n: int, right_low: int, right_high: int, confidence: float
) -> Interval:
    """Exact interval for simple random sampling without replacement.

    low is the smallest K / N with P(X >= k | N, K, n) > alpha / 2, high the largest with P(X <= k)
    > alpha / 2, X hypergeometric: Clopper and Pearson's tails for a finite population. With N far
    above n it is their interval; at n = N it has no width.

    Args:
        population: N.
        n: how many were judged.
        right_low: right ones, where those who cannot tell count as wrong.
        right_high: right ones, where those who cannot tell count as right.
        confidence: smallest coverage.
    """
    low = _hypergeometric_least(population, n, right_low, (1 - confidence) / 2)
    wrong = _hypergeometric_least(population, n, n - right_high, (1 - confidence) / 2)
    return Interval(low / population, (population - wrong) / population)


def _hypergeometric_least(N: int, n: int, k: int, tail: float) -> int:
    if k == 0:
        return 0

    def rejected(counts: Ints) -> NDArray[np.bool_]:
        return np.asarray(_upper_tails(N, n, counts)[:, k] <= tail)

    return first_kept(rejected, k, N - (n - k))


def _mass(N: int, n: int, K: Ints) -> Floats:
    """P(X = x | N, K, n) for x = 0..n and each of K: shape (len(K), n + 1)."""
    x, K_ = np.arange(n + 1)[None, :], K[:, None]
    possible = (x <= K_) & (n - x <= N - K_)
    log = log_hypergeometric(
        np.where(possible, x, 0), N, np.where(possible, K_, 0), np.where(possible, n, 0)
    )
    mass = np.where(possible, np.exp(log), 0.0)
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def _upper_tails(N: int, n: int, K: Ints) -> Floats:
    """P(X >= x | N, K, n) for x = 0..n + 1: shape (len(K), n + 2)."""
    sums = np.cumsum(_mass(N, n, K)[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([sums, np.zeros((len(K), 1))], axis=1)


def proportional_bounds(
    sizes_J: Ints, seen_J: Ints, low_J: Ints, high_J: Ints, confidence: float
) -> Interval:
    """Conservative interval for a sample that is stratified in proportion, or nearly so.

    A hypergeometric count is distributed as a sum of independent Bernoulli variables (Vatutin and
    Mikhailov 1982), so the number of right ones in the whole sample, S, is one too, with mean
    n theta, theta = sum_j (n_j / n) p_j. By Hoeffding (1956, theorem 5) the tails of S beyond one
    from its mean are at most those of a binomial variable, so Clopper and Pearson's interval
    covers theta, with an end left open where it comes nearer than one to the mean. Where
    n_j / n = N_j / N, theta is the precision. Where rounding made them differ, the end is the
    precision at its worst among all p_j that have this theta and hold the right ones that were
    seen: a linear programme, solved greedily. Strata of any number and size; no gain from what
    differs between strata, and no loss.

    Args:
        sizes_J: units in each of J strata.
        seen_J: judged ones.
        low_J: right ones, where those who cannot tell count as wrong.
        high_J: right ones, where those who cannot tell count as right.
        confidence: smallest coverage.
    """
    low = _proportional_least(sizes_J, seen_J, low_J, confidence)
    wrong = _proportional_least(sizes_J, seen_J, seen_J - high_J, confidence)
    return Interval(low, 1 - wrong)


def _proportional_least(sizes_J: Ints, seen_J: Ints, right_J: Ints, confidence: float) -> float:
    n, k = int(seen_J.sum()), int(right_J.sum())
    if n == 0:
        return 0.0
    theta = min(clopper_pearson(k, n, confidence).low, max(0.0, (k - 1) / n))
    least = right_J / sizes_J  # what was seen is certain
    shares, weights = seen_J / n, sizes_J / sizes_J.sum()
    value, missing = float(weights @ least), theta - float(shares @ least)
    # Fill up theta where it adds least to the precision.
    price = np.divide(weights, shares, out=np.full(len(shares), math.inf), where=shares > 0)
    for j in np.argsort(price):
        if missing <= 0 or shares[j] == 0:
            break
        step = min(1 - float(least[j]), missing / float(shares[j]))
        value, missing = value + float(weights[j]) * step, missing - float(shares[j]) * step
    return value


def two_strata_bounds(
    sizes_J: Ints, seen_J: Ints, low_J: Ints, high_J: Ints, confidence: float
) -> Interval:
    """Exact interval for two strata that were sampled at different rates.

    Buehler's limits (1957): outcomes are ordered by an approximate lower limit of the precision,

        B(x) = sum_j W_j p_j - z sqrt(sum_j W_j^2 p_j (1 - p_j) (1 - n_j / N_j) / (n_j + 2)),
        p_j = (x_j + 1) / (n_j + 2),    W_j = N_j / N,

    and low is the smallest K / N for which the chance of an outcome that is ordered as high as the
    one seen is above alpha / 2 under some way to share the K between the strata. Exact for any
    order; an approximate limit is the order that makes it tight (Kabaila and Lloyd 1997), as its
    tail hardly depends on the share. B is replaced by its largest value among outcomes that have
    no more right ones in either stratum, so that low rises with every right one, and the tail with
    either count: a cell of shares is bounded by its upper corner and none is missed.

    Args:
        sizes_J: units in both strata.
        seen_J: judged ones.
        low_J: right ones, where those who cannot tell count as wrong.
        high_J: right ones, where those who cannot tell count as right.
        confidence: smallest coverage.
    """
    size = int(sizes_J.sum())
    low = _two_least(sizes_J, seen_J, low_J, confidence)
    wrong = _two_least(sizes_J, seen_J, seen_J - high_J, confidence)
    return Interval(low / size, (size - wrong) / size)


def _two_least(sizes_J: Ints, seen_J: Ints, right_J: Ints, confidence: float) -> int:
    N, n, k = ([int(v) for v in values] for values in (sizes_J, seen_J, right_J))
    tail = (1 - confidence) / 2
    if 0 in n:  # nothing joins the strata: each by itself
        return sum(
            _hypergeometric_least(*stratum, tail / 2) for stratum in zip(N, n, k, strict=True)
        )
    order = _approximate_limits(N, n, confidence)
    reached = order >= order[k[0], k[1]] - 1e-12
    # From which count of the second stratum on, for each count of the first.
    second = np.where(reached.any(axis=1), reached.argmax(axis=1), n[1] + 1)

    def largest_tail(total: int) -> float:
        low, high = max(0, total - N[1]), min(N[0], total)
        edges = np.unique(np.linspace(low, high, _CELLS).astype(np.int64))
        single = len(edges) == high - low + 1  # each share by itself
        upper, lower = (edges, edges) if single else (edges[1:], edges[:-1])
        masses, tails = _mass(N[0], n[0], upper), _upper_tails(N[1], n[1], total - lower)
        return float((masses * tails[:, second]).sum(axis=1).max())

    def rejected(totals: Ints) -> NDArray[np.bool_]:
        return np.array([largest_tail(int(total)) <= tail for total in totals])

    return first_kept(rejected, sum(k), sum(N) - sum(n) + sum(k), scan=2)


def _approximate_limits(N: list[int], n: list[int], confidence: float) -> Floats:
    """B of every outcome, by the counts of both strata, made to rise with either."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    means, variances = [], []
    for N_j, n_j in zip(N, n, strict=True):
        p, weight = (np.arange(n_j + 1) + 1) / (n_j + 2), N_j / sum(N)
        means.append(weight * p)
        variances.append(weight**2 * p * (1 - p) * (1 - n_j / N_j) / (n_j + 2))
    mean, variance = (np.add.outer(*parts) for parts in (means, variances))
    limits = mean - z * np.sqrt(variance)
    return np.asarray(np.maximum.accumulate(np.maximum.accumulate(limits, axis=0), axis=1))
