"""Intervals and tests that know that questions about one picture are not independent.

Pure: arrays in, figures out. N questions, each in one cluster (its picture). NaN values are not
measured and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmupt.stats import Ratio, mean_ratio, student_quantile, wilson

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RESAMPLES = 2000
"""Bootstrap samples and permutations."""

_BLOCK = 4_000_000
"""Numbers of the resampling weights that are held at a time."""


@dataclass(frozen=True, slots=True)
class Gap:
    """How much a value is larger within a slice than outside of it.

    Attributes:
        estimate: mean within - mean outside.
        low, high: 95% interval.
        p: two-sided p-value that there is no difference.
        inside, outside: clusters on both sides.
    """

    estimate: float
    low: float
    high: float
    p: float
    inside: int
    outside: int


def cluster_mean(values_N: Floats, cluster_N: Ints, *, fractions: bool = False) -> Ratio:
    """Mean with a 95% interval over clusters (the ratio of their sums to their sizes).

    Args:
        values_N: one value a question; NaN ones are left out.
        cluster_N: cluster of each.
        fractions: the values lie in [0, 1] and so does the interval; where all are 0 or all are 1
            it is Wilson's over clusters.

    Returns:
        NaN without values; NaN ends for a single cluster.
    """
    there = ~np.isnan(values_N)
    values, place = values_N[there], np.unique(cluster_N[there], return_inverse=True)[1]
    if not values.size:
        return Ratio(math.nan, math.nan, math.nan)
    count = int(place.max()) + 1
    mean = mean_ratio(summed(values, place, count), summed(np.ones(len(place)), place, count))
    if not fractions:
        return mean
    if float(values.min()) == float(values.max()) and float(values[0]) in (0.0, 1.0):
        low, high = wilson(count * float(values[0]), count)
        return Ratio(mean.estimate, low, high)
    return Ratio(mean.estimate, max(0.0, mean.low), min(1.0, mean.high))


def summed(values_N: Floats, place_N: Ints, count: int) -> Floats:
    """Sums of values by place, (count,)."""
    return np.bincount(place_N, values_N, count).astype(np.float64)


def gaps(
    values_N: Floats, member_NS: Bools, cluster_N: Ints, rng: np.random.Generator
) -> list[Gap]:
    """`Gap` of a value for each of S slices, by a bootstrap of clusters.

    All slices share the resamples. With se the standard deviation of the resampled gaps and df the
    smaller number of clusters of both sides minus one,

        interval = gap +- t(df) se,    p = P(|T(df)| > |gap| / se)

    so that interval and p-value say the same. se is at least that of one more cluster on each side
    that is a whole unit off: where all values of a side are equal, a bootstrap of them would be
    certain of what it cannot know.
    """
    from scipy.special import stdtr  # only where a report is made; scipy takes its time

    there = ~np.isnan(values_N)
    values, member = values_N[there], member_NS[there]
    names, place = np.unique(cluster_N[there], return_inverse=True)
    count, slices = len(names), member.shape[1]
    sums = np.zeros((count, slices, 4))
    for side, chosen in enumerate((member, ~member)):
        np.add.at(sums[:, :, 2 * side], place, chosen * values[:, None])
        np.add.at(sums[:, :, 2 * side + 1], place, chosen.astype(np.float64))
    flat = sums.reshape(count, -1)
    drawn = []
    for block in _blocks(RESAMPLES, count):
        weights = rng.multinomial(count, np.full(count, 1 / max(1, count)), size=block)
        drawn.append(_difference((weights @ flat).reshape(block, slices, 4)))
    estimates = _difference(sums.sum(axis=0)[None])[0]
    found = []
    for index in range(slices):
        inside, outside = (int((sums[:, index, side] > 0).sum()) for side in (1, 3))
        resampled = np.concatenate([part[:, index] for part in drawn])
        resampled = resampled[~np.isnan(resampled)]
        estimate, df = float(estimates[index]), min(inside, outside) - 1
        if df < 1 or len(resampled) < RESAMPLES // 2:
            found.append(Gap(estimate, math.nan, math.nan, math.nan, inside, outside))
            continue
        least = math.hypot(1 / (inside + 1), 1 / (outside + 1)) * float(np.abs(values).max() > 0)
        error = max(float(resampled.std(ddof=1)), least)
        half = student_quantile(df, 0.95) * error
        p = float(2 * stdtr(df, -abs(estimate) / error)) if error else 1.0
        found.append(Gap(estimate, estimate - half, estimate + half, p, inside, outside))
    return found


def _difference(sums: Floats) -> Floats:
    """(..., S, 4) sums and sizes within and outside -> (..., S) differences of means."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3]
    return result


@dataclass(frozen=True)
class Counts:
    """How often M (cluster, class) pairs were seen, as weights.

    Attributes:
        cluster_M: cluster of each pair.
        class_M: class of each.
        weight_M: how often.
    """

    cluster_M: Ints
    class_M: Ints
    weight_M: Floats

    def total(self, classes: int) -> Floats:
        """Weights by class."""
        return np.bincount(self.class_M, self.weight_M, classes).astype(np.float64)


def swap_test(
    before: Counts,
    after: Counts,
    classes: int,
    statistic: Callable[[Floats, Floats], float],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """A statistic of two distributions over the same questions, and its permutation p-value.

    If nothing changed, which of a cluster's two lots of answers came first is a coin: both are
    swapped at random, whole clusters at a time, and p = (1 + #{T* >= T}) / (1 + B), which is exact
    up to the B draws (Phipson and Smyth 2010).

    Args:
        before, after: answers of the same clusters.
        classes: how many classes there are.
        statistic: of the totals before and after, each (classes,); large speaks for a change.
        rng: draws the coins.
    """
    first, second = before.total(classes), after.total(classes)
    observed = statistic(first, second)
    if math.isnan(observed):
        return math.nan, math.nan
    cluster = np.concatenate([after.cluster_M, before.cluster_M])
    klass = np.concatenate([after.class_M, before.class_M])
    weight = np.concatenate([after.weight_M, -before.weight_M])
    names, place = np.unique(cluster, return_inverse=True)
    pairs, where = np.unique(place * classes + klass, return_inverse=True)
    difference = np.bincount(where, weight, len(pairs))
    some = difference != 0
    pairs, difference = pairs[some], difference[some]
    row, column = pairs // classes, pairs % classes
    beyond = 0
    for _ in range(RESAMPLES):
        coin = rng.integers(0, 2, len(names))
        moved = np.bincount(column, difference * coin[row], classes)
        beyond += statistic(first + moved, second - moved) >= observed - 1e-12
    return observed, (1 + beyond) / (1 + RESAMPLES)


def kl(before_C: Floats, after_C: Floats, alpha: float = 0.5) -> float:
    """KL(after || before) in nats between two distributions of answers, smoothed.

        p_c = (n_c + alpha) / (N + alpha C),    KL = sum_c p_c ln(p_c / q_c)

    over the C classes that either has; alpha = 1/2 is Jeffreys' Dirichlet prior, so that an answer
    that was never given before makes the divergence large and not infinite. NaN without answers.
    """
    seen = (before_C > 0) | (after_C > 0)
    if not before_C.sum() or not after_C.sum():
        return math.nan
    q, p = (_smoothed(counts[seen], alpha) for counts in (before_C, after_C))
    return max(0.0, float(np.sum(p * np.log(p / q))))


def _smoothed(counts_C: Floats, alpha: float) -> Floats:
    # rounding: a difference of sums can be a hair below 0
    plain = np.maximum(counts_C, 0.0) + alpha
    result: Floats = plain / plain.sum()
    return result


def _blocks(total: int, width: int) -> list[int]:
    size = max(1, min(total, _BLOCK // max(1, width)))
    return [min(size, total - start) for start in range(0, total, size)]
