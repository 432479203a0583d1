"""Figures over seeds. Pure functions.

A seed is one whole repetition: its own labelled and unlabelled rows, its own SFT, its own arms. All
arms of a seed start from the same model, so that arms are compared seed by seed. The test rows are
the same for all seeds: an interval over seeds says how much training varies, not how much other
questions would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from mmupt.stats import UNDEFINED, Interval, mean_interval, student_quantile


class Estimate(NamedTuple):
    """A figure with the ends of its interval; NaN where undefined."""

    value: float
    low: float
    high: float


def over_seeds(values_S: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Mean over S seeds with Student's t interval, see `stats.mean_interval`.

    The interval is undefined for a single seed.
    """
    low, high = mean_interval(values_S, confidence)
    return Estimate(fmean(values_S) if values_S else math.nan, low, high)


def gain_over_seeds(
    before_S: Sequence[float], after_S: Sequence[float], confidence: float = 0.95
) -> Estimate:
    """Mean of after - before over S seeds, with the t interval of the differences."""
    return over_seeds([a - b for b, a in zip(before_S, after_S, strict=True)], confidence)


def recovered_share(
    gains_S: Sequence[float], bound_S: Sequence[float], confidence: float = 0.95
) -> Estimate:
    """Share of the supervised gain that an arm reaches: mean gain / mean supervised gain.

    A ratio of means, not a mean of ratios, which one seed with a small supervised gain would
    decide. With the interval of Fieller (1954, J. R. Stat. Soc. B 16, 175; geometrically: arXiv
    0711.0198) for the ratio of two means of pairs: all theta with

        (u - theta v)^2 <= t^2 / S (s_uu - 2 theta s_uv + theta^2 s_vv)

    where u, v are the mean gains and t is Student's with S - 1 degrees of freedom. Exact for
    normal pairs at every S; a bootstrap over five seeds has few different resamples and covers
    too little.

    Args:
        gains_S: gain of the arm over SFT, one per seed.
        bound_S: gain of the supervised arm over the same SFT, in the same order.
        confidence: nominal coverage.

    Returns:
        All NaN where the mean supervised gain is not above 0: there is nothing to recover. No
        interval for a single seed, nor where the supervised gain itself is not clear of 0: then
        the set above has no ends.
    """
    seeds = len(gains_S)
    if seeds != len(bound_S):
        raise ValueError(f"{seeds} gains but {len(bound_S)} bounds: not pairs")
    u, v = (fmean(x) if x else math.nan for x in (gains_S, bound_S))
    if not v > 0:
        return Estimate(math.nan, math.nan, math.nan)
    low, high = _fieller(gains_S, bound_S, u, v, confidence) if seeds > 1 else UNDEFINED
    return Estimate(u / v, low, high)


def _fieller(
    gains_S: Sequence[float], bound_S: Sequence[float], u: float, v: float, confidence: float
) -> Interval:
    """Roots of a theta^2 - 2 b theta + c, which is what `recovered_share` says, multiplied out."""
    seeds = len(gains_S)
    scale = student_quantile(seeds - 1, confidence) ** 2 / seeds / (seeds - 1)
    a = v * v - scale * math.fsum((y - v) ** 2 for y in bound_S)
    b = u * v - scale * math.fsum((x - u) * (y - v) for x, y in zip(gains_S, bound_S, strict=True))
    c = u * u - scale * math.fsum((x - u) ** 2 for x in gains_S)
    if not a > 0:
        return UNDEFINED
    root = math.sqrt(max(0.0, b * b - a * c))  # u / v is a solution, so only rounding is below 0
    return Interval((b - root) / a, (b + root) / a)
