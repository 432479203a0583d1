"""Intervals for means over questions, some of which are about the same picture.

Pure: arrays in, figures out. A NaN value is unscored and left out, never taken for 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmupt.stats import UNDEFINED, Interval, mean_interval, wilson

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RESAMPLES = 2000
SEED = 20_250_522
"""All resamples are drawn with it: the same replies give the same figures."""
_BLOCK = 8_000_000
"""Numbers of resampling weights that are held at a time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over the questions that have a value.

    Attributes:
        value: NaN without any.
        low, high: 95% interval; NaN where it is undefined.
        n: questions with a value.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def ends(self) -> list[float] | None:
        """As in `metrics.json`; None without questions."""
        return [self.low, self.high] if self.n else None


class Clusters:
    """Which questions share their pictures, and intervals that respect it.

    Where every question has pictures of its own, intervals are Wilson's (`stats.wilson`), or over
    questions (`stats.mean_interval`). Else whole clusters are drawn with replacement: percentiles
    of the ratio of their sums over `RESAMPLES` draws (Efron 1979; Cameron, Gelbach and Miller 2008
    for clusters).

    Args:
        keys: one per question; equal keys are one cluster.
    """

    def __init__(self, keys: Sequence[Hashable]) -> None:
        names: dict[Hashable, int] = {}
        self.of_N: Ints = np.asarray(
            [names.setdefault(key, len(names)) for key in keys], dtype=np.int64
        )
        self.count = len(names)

    @property
    def shared(self) -> bool:
        """Whether some questions share their pictures."""
        return self.count < len(self.of_N)

    def sums(self, values_NM: Floats) -> Floats:
        """Sums of M columns by cluster, (clusters, M)."""
        found = np.zeros((self.count, values_NM.shape[1]))
        np.add.at(found, self.of_N, values_NM)
        return found

    def resampled(self, sums_CM: Floats) -> Floats:
        """Totals of M columns in every resample of the clusters, (RESAMPLES, M)."""
        return np.concatenate([weights @ sums_CM for weights in self._weights()])

    def _weights(self) -> Iterator[Floats]:
        """How often each cluster is in each resample, some resamples at a time."""
        rng = np.random.default_rng(SEED)
        size = max(1, min(RESAMPLES, _BLOCK // max(1, self.count)))
        for start in range(0, RESAMPLES, size):
            block = min(size, RESAMPLES - start)
            drawn = rng.integers(0, max(1, self.count), (block, self.count))
            drawn += np.arange(block)[:, None] * self.count
            counts = np.bincount(drawn.ravel(), minlength=block * self.count)
            yield counts.reshape(block, self.count).astype(np.float64)

    def share(self, right_N: Floats) -> Estimate:
        """Share of 1 among values 0 and 1."""
        values = right_N[~np.isnan(right_N)]
        n = len(values)
        if not n:
            return Estimate(math.nan, math.nan, math.nan, 0)
        mean = float(values.mean())
        if not self.shared:
            return Estimate(mean, *wilson(float(values.sum()), n), n)
        return Estimate(mean, *self._ends(right_N, mean), n)

    def mean(self, values_N: Floats, *, fractions: bool = True) -> Estimate:
        """Mean of values in [0, 1], or of any with `fractions` False."""
        values = values_N[~np.isnan(values_N)]
        n = len(values)
        if not n:
            return Estimate(math.nan, math.nan, math.nan, 0)
        mean = float(values.mean())
        if not self.shared:
            return Estimate(mean, *mean_interval(values, fractions=fractions), n)
        return Estimate(mean, *self._ends(values_N, mean if fractions else math.nan), n)

    def interval(self, statistic: Callable[[Floats], Floats], values_NM: Floats) -> Interval:
        """Percentile interval of a function of M sums.

        Args:
            statistic: (B, M) totals -> (B,) values; NaN where undefined.
            values_NM: what is summed, one row a question.

        Returns:
            NaN for a single cluster, or where more than half of the resamples are undefined.
        """
        if self.count < 2:
            return UNDEFINED
        return percentiles(statistic(self.resampled(self.sums(values_NM))))

    def _ends(self, values_N: Floats, fraction: float) -> Interval:
        there = ~np.isnan(values_N)
        if fraction in (0.0, 1.0):
            # A bootstrap of equal values would be certain of what it cannot know.
            clusters = len(np.unique(self.of_N[there]))
            return wilson(fraction * clusters, clusters)
        sums = np.column_stack([np.where(there, values_N, 0.0), there.astype(np.float64)])
        return self.interval(ratio, sums)


def ratio(totals_B2: Floats) -> Floats:
    """First column over the second; NaN where that is 0."""
    above, below = totals_B2[:, 0], totals_B2[:, 1]
    found: Floats = np.full(len(above), np.nan)
    np.divide(above, below, out=found, where=below != 0)
    return found


def percentiles(values_B: Floats) -> Interval:
    """The middle 95% of some resampled values; NaN where more than half are undefined."""
    defined = values_B[~np.isnan(values_B)]
    if 2 * len(defined) <= len(values_B):
        return UNDEFINED
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(float(low), float(high))
