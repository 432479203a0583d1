"""Whether reviewers mean the same: Krippendorff's alpha for nominal values, some missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmupt.stats import UNDEFINED, Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far reviewers agree beyond chance.

    Attributes:
        alpha: 1 for full agreement, 0 for chance, below 0 for systematic disagreement; NaN where
            fewer than two values of one unit exist or only one value was ever given.
        interval: bootstrap interval over units; NaN where alpha is, or for fewer than two units.
        units: units with at least two reviewers; others say nothing about agreement.
        reviewers: reviewers of those units.
        confidence: of the interval.
    """

    alpha: float
    interval: Interval
    units: int
    reviewers: int
    confidence: float


def krippendorff(
    ratings: Sequence[Mapping[str, str]],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Krippendorff's alpha with nominal values (Krippendorff 2004, chapter 11).

        alpha = 1 - D_o / D_e
        D_o = (1 / n) sum_u sum_{c != k} n_uc n_uk / (m_u - 1)
        D_e = sum_{c != k} n_c n_k / (n (n - 1))

    with n_uc reviewers who gave unit u the value c, m_u of them in all, only units with m_u >= 2,
    and n values in all. Any number of reviewers, of whom any may have left units out.

    The interval is the percentile bootstrap over units: a unit's values belong together. Resamples
    in which only one value occurs have no alpha and are left out.

    Args:
        ratings: for each unit, value by reviewer.
        confidence: of the interval, in (0, 1).
        resamples: bootstrap resamples.
        seed: of the resampling.

    Raises:
        ValueError: confidence outside (0, 1), or fewer than one resample.
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"confidence = {confidence}, resamples = {resamples}")
    pairable = [unit for unit in ratings if len(unit) >= 2]
    reviewers = len({who for unit in pairable for who in unit})
    values = {
        value: place
        for place, value in enumerate(sorted({v for u in pairable for v in u.values()}))
    }
    counts_UV = np.zeros((len(pairable), len(values)))
    for row, unit in enumerate(pairable):
        for value in unit.values():
            counts_UV[row, values[value]] += 1
    alpha = float(_alphas(counts_UV, np.ones((1, len(pairable))))[0])
    interval = UNDEFINED
    if len(pairable) >= 2 and not math.isnan(alpha):
        generator = np.random.default_rng(seed)
        times_BU = generator.multinomial(
            len(pairable), np.full(len(pairable), 1 / len(pairable)), size=resamples
        )
        alphas = _alphas(counts_UV, times_BU.astype(np.float64))
        alphas = alphas[~np.isnan(alphas)]
        if alphas.size:
            low, high = np.quantile(alphas, [(1 - confidence) / 2, (1 + confidence) / 2])
            interval = Interval(float(low), float(high))
    return Agreement(alpha, interval, len(pairable), reviewers, confidence)


def _alphas(counts_UV: Floats, times_BU: Floats) -> Floats:
    """Alpha of each of B resamples, in which unit u occurs times_BU[b, u] times."""
    m_U = counts_UV.sum(axis=1)
    differing_U = (m_U**2 - (counts_UV**2).sum(axis=1)) / np.maximum(m_U - 1, 1)
    n_BV = times_BU @ counts_UV
    n_B = n_BV.sum(axis=1)
    expected_B = (n_B**2 - (n_BV**2).sum(axis=1)) / np.maximum(n_B - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected_B > 0, 1 - (times_BU @ differing_U) / expected_B, math.nan)
