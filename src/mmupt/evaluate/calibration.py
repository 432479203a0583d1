"""Does the share of a majority say how likely it is right? Pure functions.

The vote share of a question is its confidence, the majority's verdict its outcome.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmupt.evaluate.resampling import Clusters, Floats, ratio
from mmupt.stats import expected_calibration_error

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Questions whose vote share lies in (low, high], the first also at 0.

    Attributes:
        n: how many.
        share: their mean share; NaN for none.
        accuracy: share of right majorities with its 95% interval.
    """

    low: float
    high: float
    n: int
    share: float
    accuracy: float
    accuracy_ci: tuple[float, float]


def calibration(share_N: Floats, right_N: Floats, clusters: Clusters) -> dict[str, Any]:
    """ECE, Brier score and AUROC of the vote share, with 95% intervals, and the reliability table.

        ECE   = sum_b n_b / N |accuracy_b - share_b|        (arXiv 1706.04599, eq. 3)
        Brier = mean (share - right)^2                      (Brier 1950)
        AUROC = P(share of a right one > share of a wrong one) + P(they are equal) / 2

    AUROC is the Mann-Whitney statistic: whether larger shares are right more often, whatever their
    size. Intervals: percentiles of a bootstrap of clusters; that of ECE lies a little high, as ECE
    itself does in small samples.

    Args:
        share_N: vote share of each question, in [0, 1].
        right_N: whether its majority is right; NaN: unscored.
        clusters: of all N questions.

    Returns:
        NaN where a figure is undefined: no scored question, or for AUROC all right or all wrong.
    """
    there = ~np.isnan(share_N) & ~np.isnan(right_N)
    share, right = share_N[there], right_N[there]
    weight_N = there.astype(np.float64)
    whole_share, whole_right = (np.where(there, values, 0.0) for values in (share_N, right_N))
    place_N = _bins(whole_share)
    gap_NB = _spread(place_N, BINS, (whole_right - whole_share) * weight_N)
    error_N = (whole_share - whole_right) ** 2 * weight_N
    values, level_N = np.unique(whole_share, return_inverse=True)
    counts = np.concatenate([
        _spread(level_N, len(values), whole_right * weight_N),
        _spread(level_N, len(values), (1 - whole_right) * weight_N),
    ], axis=1)  # fmt: skip

    def ece(totals: Floats) -> Floats:
        return ratio(np.column_stack([np.abs(totals[:, :-1]).sum(axis=1), totals[:, -1]]))

    n = int(there.sum())
    return {
        "n": n,
        "ece": expected_calibration_error(share, right, BINS),
        "ece_ci": list(clusters.interval(ece, np.column_stack([gap_NB, weight_N]))),
        "brier": float(np.mean((share - right) ** 2)) if n else math.nan,
        "brier_ci": list(clusters.interval(ratio, np.column_stack([error_N, weight_N]))),
        "auroc": float(_auroc(counts.sum(axis=0)[None])[0]),
        "auroc_ci": list(clusters.interval(_auroc, counts)),
        "bins": [asdict(one) for one in _table(share_N, right_N, place_N, there, clusters)],
    }


def _table(
    share_N: Floats, right_N: Floats, place_N: np.ndarray, there: np.ndarray, clusters: Clusters
) -> list[Bin]:
    found = []
    for number in range(BINS):
        inside = there & (place_N == number)
        n = int(inside.sum())
        accuracy = clusters.share(np.where(inside, right_N, np.nan))
        share = float(share_N[inside].mean()) if n else math.nan
        found.append(
            Bin(number / BINS, (number + 1) / BINS, n, share, accuracy.value,
                (accuracy.low, accuracy.high))
        )  # fmt: skip
    return found


def _auroc(counts_BL: Floats) -> Floats:
    """From counts of right (first half) and wrong ones at each level of the share, ascending."""
    right, wrong = np.split(counts_BL, 2, axis=1)
    below = np.cumsum(wrong, axis=1) - wrong
    pairs = right.sum(axis=1) * wrong.sum(axis=1)
    return ratio(np.column_stack([(right * (below + wrong / 2)).sum(axis=1), pairs]))


def _bins(share_N: Floats) -> np.ndarray:
    """Bin of each share, as `expected_calibration_error` puts them."""
    return np.clip(np.ceil(share_N * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _spread(place_N: np.ndarray, width: int, values_N: Floats) -> Floats:
    """Each value in the column of its place, (N, width)."""
    found = np.zeros((len(place_N), width))
    found[np.arange(len(place_N)), place_N] = values_N
    return found
