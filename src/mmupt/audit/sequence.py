"""Intervals that may be looked at after every verdict: confidence sequences, without replacement.

Two of them. `beta_binomial_bounds` is for draws that are all alike. `betting_bounds` is for classes
of pseudo-labels that are drawn with different weights and have different predicted precision; it
gains wherever the prediction tells anything, and is valid whatever the prediction is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmupt.stats import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SHIFTS: Final = np.linspace(-3.0, 3.0, 19)
"""By how many logits all predictions may be wrong together, before any verdict; N(0, 1)."""
_SLOPES: Final = (0.4, 0.7, 1.0, 1.3)
"""By which factor predictions may differ more or less between classes than they should."""
_CENTRE: Final = math.log(0.8 / 0.2)
_STRENGTH: Final = 20.0
"""The model's prediction for a class counts as so many verdicts in that class."""
_STEPS: Final = 8
"""Iterations for the bet; more only sharpen it, see `log_wealth`."""
_SCAN: Final = 33
_BLOCK: Final = 4_000_000
"""Largest array, in numbers."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Classes of a finite population, and the order in which units of them were drawn.

    Every draw is one of the units that are left, with chance weight / sum of the weights left.

    Attributes:
        sizes_J: units in each of J classes.
        weights_J: positive weight of each unit of a class.
        predicted_J: predicted share of right ones in each class, in (0, 1); need not be true.
        classes_T: class of each of the T draws, in their order.
    """

    sizes_J: Ints
    weights_J: Floats
    predicted_J: Floats
    classes_T: Ints


def beta_binomial_bounds(
    population: int, pessimist_T: Ints, optimist_T: Ints, confidence: float
) -> Interval:
    """Beta-binomial confidence sequence for simple random sampling without replacement.

    The prior-posterior ratio of Waudby-Smith and Ramdas (arXiv 2006.04347, theorem 2.1) is a
    martingale: for K right ones among N, of which k were seen in n draws,

        R_n(K) = prior(K) / posterior(K) = marginal(k) / P(k | N, K, n)

    With the uniform prior the marginal is 1 / (n + 1), P is hypergeometric, and K is left out for
    good once P(k | N, K, n) <= alpha / (n + 1). By Ville's inequality the true K is ever left out
    with probability at most alpha = 1 - confidence, however often one looks.

    Args:
        population: N.
        pessimist_T: right (1) or wrong (0) in the order of drawing; who cannot tell is 0.
        optimist_T: the same where who cannot tell is 1.
        confidence: of covering the truth at all times together.

    Returns:
        Both ends as shares of right ones; intersected over all draws so far.
    """
    low = _least(population, pessimist_T, confidence)
    high = population - _least(population, 1 - optimist_T, confidence)
    return Interval(min(low, high) / population, max(low, high) / population)


def _least(N: int, right_T: Ints, confidence: float) -> int:
    """Smallest number of right ones that no prefix has left out. O(T log N)."""
    if right_T.size == 0:
        return 0
    k, n = np.cumsum(right_T), np.arange(1, right_T.size + 1)
    limit = math.log1p(-confidence) - np.log(n + 1.0)
    out = k - 1  # fewer than k are impossible
    kept = np.minimum(k * (N + 1) // n, N - n + k)  # P(k | K) has its peak over K there
    while bool((kept - out > 1).any()):
        middle = (out + kept) // 2
        rejected = log_hypergeometric(k, N, np.maximum(middle, k), n) <= limit
        rejected &= middle >= k
        out = np.where(rejected | (middle < k), middle, out)
        kept = np.where(out == middle, kept, middle)
    return int(kept.max())


def log_hypergeometric(k: Ints, N: int, K: Ints, n: Ints) -> Floats:
    """Log of P(k right ones in n draws), K right ones among N; 0 <= k <= K, n - k <= N - K."""
    return log_choose(K, k) + log_choose(N - K, n - k) - log_choose(N + 0 * n, n)


def log_choose(n: Ints, k: Ints) -> Floats:
    """Log of the binomial coefficient, 0 <= k <= n."""
    from scipy.special import gammaln  # only where an audit is judged; scipy takes its time

    return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0))


def betting_bounds(
    draws: Draws, pessimist_T: Ints, optimist_T: Ints, confidence: float
) -> Interval:
    """Confidence sequence for weighted draws without replacement, from bets on each verdict.

    For each possible number K of right ones a gambler bets against "at most K", with `log_wealth`.
    Where that is true the wealth is a nonnegative supermartingale and passes 2 / alpha at any time
    with probability at most alpha / 2 (Ville); the lower end is the first K that it never passed.
    The upper end is the same for wrong ones. (Waudby-Smith and Ramdas, arXiv 2010.09686; weights
    and side information: Shekhar et al., arXiv 2305.06884.)

    Args:
        draws: what was drawn.
        pessimist_T: right (1) or wrong (0) in the order of drawing; who cannot tell is 0.
        optimist_T: the same where who cannot tell is 1.
        confidence: of covering the truth at all times together.

    Returns:
        Both ends as shares of right ones.
    """
    size = int(draws.sizes_J.sum())
    limit = math.log(2.0 / (1.0 - confidence))
    low = _first_kept(draws, pessimist_T, predictive(draws, pessimist_T), limit)
    wrong = _first_kept(draws, 1 - optimist_T, 1.0 - predictive(draws, optimist_T), limit)
    high = size - wrong
    return Interval(min(low, high) / size, max(low, high) / size)


def _first_kept(draws: Draws, right_T: Ints, predicted_TJ: Floats, limit: float) -> int:
    """Smallest K whose hypothesis "at most K are right" was never rejected."""
    size, seen = int(draws.sizes_J.sum()), int(right_T.sum())
    if right_T.size == 0:
        return 0

    def rejected(counts: Ints) -> NDArray[np.bool_]:
        wealth_TM = log_wealth(draws, right_T, counts / size, predicted_TJ)
        return np.asarray((wealth_TM.max(axis=0) >= limit) | (counts < seen))

    return first_kept(rejected, seen, size)


def first_kept(
    rejected: Callable[[Ints], NDArray[np.bool_]], least: int, size: int, scan: int = _SCAN
) -> int:
    """Smallest whole number in least..size that is not rejected, where all below it are.

    Scans `scan` numbers, so that what lies above a number that is kept does not matter, then
    halves; 2 where being rejected is known to be monotone.
    """
    grid = np.unique(np.linspace(least, size, scan).astype(np.int64))
    kept = np.flatnonzero(~rejected(grid))
    if kept.size == 0:
        return size
    above = int(grid[kept[0]])
    below = int(grid[kept[0] - 1]) if kept[0] else above - 1
    while above - below > 1:
        middle = (above + below) // 2
        if bool(rejected(np.array([middle]))[0]):
            below = middle
        else:
            above = middle
    return above


def predictive(draws: Draws, right_T: Ints) -> Floats:
    """Chance that each class's next unit is right, given the verdicts before each draw.

    A grid of logit(r_j) = centre + shift + slope (logit(predicted_j) - centre) is weighed by the
    likelihood of the earlier verdicts; its mean counts as 20 verdicts in each class, to which the
    class's own are added. Any rule that looks only back would be valid.

    Returns:
        Array of T by J.
    """
    seen_TJ, right_TJ = _before(draws, right_T)
    given = np.clip(draws.predicted_J, 0.02, 0.98)
    logit = np.log(given / (1 - given)) - _CENTRE
    shift, slope = (grid.reshape(-1, 1) for grid in np.meshgrid(_SHIFTS, _SLOPES))
    model_PJ = 1.0 / (1.0 + np.exp(-(_CENTRE + shift + slope * logit)))
    log_P = right_TJ @ np.log(model_PJ).T + (seen_TJ - right_TJ) @ np.log1p(-model_PJ).T
    log_P -= shift.T**2 / 2
    weight = np.exp(log_P - log_P.max(axis=1, keepdims=True))
    mean_TJ = weight @ model_PJ / weight.sum(axis=1, keepdims=True)
    blend = (_STRENGTH * mean_TJ + right_TJ) / (_STRENGTH + seen_TJ)
    return np.asarray(np.clip(blend, 0.002, 0.998))


def log_wealth(draws: Draws, right_T: Ints, means_M: Floats, predicted_TJ: Floats) -> Floats:
    """Log wealth of betting against "at most a share m of the population is right".

    Before a draw let rho_j be class j's share of the units left, q_j its chance to be drawn, mu
    the largest share of right ones among the units left that m allows, and r_j its predicted
    share. A draw of class j multiplies the wealth by

        r_j / s_j  if it is right,    (1 - r_j) / (1 - s_j)  if it is wrong,

    where s is the point of the hypothesis nearest to r, in sum_j q_j KL(r_j || s_j) subject to
    sum_j rho_j s_j = mu (reverse information projection; Gruenwald et al., arXiv 1906.07801). Its
    condition q_j (r_j / s_j - (1 - r_j) / (1 - s_j)) = lambda rho_j makes the factor an affine
    function of the outcome with slope lambda rho_j / q_j, so that for right shares p_j

        E[factor] = 1 + lambda (sum_j rho_j p_j - sum_j rho_j s_j)

    for ANY lambda >= 0: at most 1 under the hypothesis once divided by 1 + lambda (mu - sum_j
    rho_j s_j)+. Neither r nor an unfinished search for lambda touches validity. Where r itself
    is in the hypothesis nothing is bet. With one class it is r / mu, a likelihood ratio.

    Args:
        draws: what was drawn.
        right_T: right (1) or wrong (0).
        means_M: hypotheses m.
        predicted_TJ: r, from `predictive`.

    Returns:
        Array of T by M: the wealth after each draw; infinite where m is refuted for certain.
    """
    step = max(1, _BLOCK // max(1, right_T.size * draws.sizes_J.size))
    blocks = [
        _wealth_block(draws, right_T, means_M[start : start + step], predicted_TJ)
        for start in range(0, means_M.size, step)
    ]
    return np.concatenate(blocks, axis=1)


def _wealth_block(draws: Draws, right_T: Ints, means_M: Floats, predicted_TJ: Floats) -> Floats:
    seen_TJ, right_TJ = _before(draws, right_T)
    left_TJ = draws.sizes_J - seen_TJ
    units_T = left_TJ.sum(axis=1)
    rho_TJ = left_TJ / units_T[:, None]
    q_TJ = left_TJ * draws.weights_J
    q_TJ = q_TJ / q_TJ.sum(axis=1, keepdims=True)
    lean_TJ = np.divide(rho_TJ, q_TJ, out=np.zeros_like(rho_TJ), where=q_TJ > 0)
    mu_TM = (draws.sizes_J.sum() * means_M[None, :] - right_TJ.sum(axis=1)[:, None]) / units_T[
        :, None
    ]
    bets = (rho_TJ * predicted_TJ).sum(axis=1)[:, None] > mu_TM
    bets &= mu_TM > 1e-12
    lambda_TM, over_TM = _bet(rho_TJ, lean_TJ, predicted_TJ, mu_TM, bets)
    every = np.arange(right_T.size)
    r = predicted_TJ[every, draws.classes_T][:, None]
    slope = lambda_TM * lean_TJ[every, draws.classes_T][:, None]
    s = _nearest(r, slope)
    factor = np.where(right_T[:, None] == 1, r / s, (1 - r) / (1 - s)) / over_TM
    log_TM = np.where(bets, np.log(factor), 0.0)
    log_TM[mu_TM < -1e-9] = np.inf  # more right ones were seen than m allows
    return np.asarray(np.cumsum(log_TM, axis=0))


def _bet(
    rho_TJ: Floats, lean_TJ: Floats, r_TJ: Floats, mu_TM: Floats, bets: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """lambda by Newton's method inside a bracket, and what its error has to be paid with."""
    rho, lean, r = rho_TJ[:, None, :], lean_TJ[:, None, :], r_TJ[:, None, :]
    low = np.zeros_like(mu_TM)
    high = np.where(bets, 1.0 / np.where(bets, mu_TM, 1.0), 0.0)  # F >= 0 bounds lambda mu by 1
    bet = 0.3 * high
    for _ in range(_STEPS):
        slope = bet[..., None] * lean
        s = _nearest(r, slope)
        excess = (rho * s).sum(axis=-1) - mu_TM
        fall = -(rho * lean * s * (1 - s) / (slope + 1 - 2 * slope * s)).sum(axis=-1)
        low, high = np.where(excess >= 0, bet, low), np.where(excess < 0, bet, high)
        newton = bet - excess / np.where(fall < 0, fall, -1.0)
        bet = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
    s = _nearest(r, bet[..., None] * lean)
    return bet, 1.0 + bet * np.maximum(0.0, mu_TM - (rho * s).sum(axis=-1))


def _nearest(r: Floats, slope: Floats) -> Floats:
    """Root s in (0, r] of r / s - (1 - r) / (1 - s) = slope."""
    root = np.sqrt((slope + 1) ** 2 - 4 * slope * r)
    return np.asarray(2 * r / (slope + 1 + root))


def _before(draws: Draws, right_T: Ints) -> tuple[Floats, Floats]:
    """How many of each class were drawn, and were right, before each draw."""
    one_TJ = np.zeros((right_T.size, draws.sizes_J.size))
    one_TJ[np.arange(right_T.size), draws.classes_T] = 1.0
    right_TJ = one_TJ * right_T[:, None]
    return np.cumsum(one_TJ, axis=0) - one_TJ, np.cumsum(right_TJ, axis=0) - right_TJ
