"""How a frame is parted and drawn from: strata, weights, allocation, order. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Final, Protocol

import numpy as np

from mmupt.audit.sequence import Floats, Ints
from mmupt.config_supervision import AuditConfig
from mmupt.data.images import printable
from mmupt.errors import InputError

CLASSES: Final = 12
"""Classes of risk at most, of `risk-first` with `sequential`."""
FLOOR: Final = 0.25
"""Share of the draws that `stratified` with `sequential` spreads evenly over the strata."""
_LEAST: Final = 5
"""Smallest sample in either of the two strata of `risk-first` with `fixed`."""


class Labelled(Protocol):
    """What is looked at of a unit."""

    @property
    def id(self) -> str: ...
    @property
    def share(self) -> float: ...
    @property
    def margin(self) -> float: ...
    @property
    def agreement(self) -> float: ...
    @property
    def rules(self) -> tuple[str, ...]: ...
    @property
    def slices(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Strata:
    """A parted frame of N units and J strata.

    Attributes:
        names: of the strata.
        of_N: stratum of each unit, by its place in `names`.
        sizes_J: units in each stratum.
        predicted_J: predicted share of right ones, in (0, 1).
    """

    names: tuple[str, ...]
    of_N: Ints
    sizes_J: Ints
    predicted_J: Floats


def default_probability(unit: Labelled) -> float:
    """A guess of the chance that a pseudo-label is right, before anything was audited.

        1 / (1 + exp(-(6 (c - 1/2) - number of rules hit)))

    where c is the mean of the votes' part, the mean of share and (1 + margin) / 2, and of the
    agreement across views, as far as they are known: a unanimous label 95%, half of the votes 50%.
    """
    votes = unit.share if math.isnan(unit.margin) else (unit.share + (1 + unit.margin) / 2) / 2
    c = votes if math.isnan(unit.agreement) else (votes + unit.agreement) / 2
    return 1.0 / (1.0 + math.exp(-(6.0 * (c - 0.5) - min(len(unit.rules), 10))))


def probabilities(units: Sequence[Labelled], given: Mapping[str, float] | None) -> Floats:
    """Predicted chance of being right, of each of N units.

    Raises:
        InputError: `given` lacks a unit, or has a value outside 0..1.
    """
    found = np.empty(len(units))
    for place, unit in enumerate(units):
        value = default_probability(unit) if given is None else given.get(unit.id, math.nan)
        if not 0.0 <= value <= 1.0:
            raise InputError(
                f"unit {unit.id!r:.80}: probability of being right is {value}, expected 0..1"
            )
        found[place] = value
    return np.clip(found, 0.02, 0.98)


def fixed_size(population: int, half_width: float, confidence: float, precision: float) -> int:
    """Verdicts after which an exact interval is at most so wide, about.

        n0 = z^2 p (1 - p) / h^2 + 1 / h,    n = n0 / (1 + (n0 - 1) / N)

    The normal sample size, the 1 / h that exact intervals need more, and the correction for a
    finite population (Cochran 1977, section 4.4).
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    n0 = z**2 * precision * (1 - precision) / half_width**2 + 1 / half_width
    return max(1, min(population, math.ceil(n0 / (1 + (n0 - 1) / population))))


def strata(
    units: Sequence[Labelled], probability_N: Floats, config: AuditConfig, design: str, size: int
) -> Strata:
    """Part the frame as the design asks for."""
    if design == "stratified":
        keys = _share_and_slices(units, config, size)
    elif design == "risk-first" and config.size == "sequential":
        edges = np.quantile(probability_N, np.arange(1, CLASSES) / CLASSES)
        keys = [f"risk-{CLASSES - j}" for j in np.searchsorted(edges, probability_N, "left")]
    elif design == "risk-first":
        cut = _best_cut(probability_N)
        keys = ["clear" if value > cut else "doubtful" for value in probability_N]
    else:
        keys = ["all"] * len(units)
    names, of_N = np.unique(np.array(keys, dtype=object), return_inverse=True)
    sizes = np.bincount(of_N)
    predicted = np.bincount(of_N, weights=probability_N) / sizes
    return Strata(tuple(names), of_N.astype(np.int64), sizes.astype(np.int64), predicted)


def _share_and_slices(units: Sequence[Labelled], config: AuditConfig, size: int) -> list[str]:
    """Bins of the vote share times the slices' groups; small ones of a bin are put together."""
    edges = [0.0, *(edge for edge in config.share_edges if 0 < edge < 1), 1.0]
    bins = np.clip(
        np.searchsorted(edges, [unit.share for unit in units], "right") - 1, 0, len(edges) - 2
    )
    keys = [
        (int(b), tuple(unit.slices[column] for column in config.slices))
        for b, unit in zip(bins, units, strict=True)
    ]
    bounds = [f"share {low:g}-{high:g}" for low, high in pairwise(edges)]
    names: dict[tuple[int, tuple[str, ...]], str] = {}
    for key, count in sorted(Counter(keys).items()):
        if count * size >= 2 * len(units):
            shown = (
                f"{printable(column, 30)}={printable(value, 60)}"
                for column, value in zip(config.slices, key[1], strict=True)
            )
            name = "; ".join([bounds[key[0]], *shown])[:200]
            while name in names.values():  # groups that look alike
                name += "'"
            names[key] = name
    return [names.get(key, f"{bounds[key[0]]}; others") for key in keys]


def _best_cut(probability_N: Floats) -> float:
    """The cut into two strata under which the estimate's predicted variance is least."""
    candidates = np.unique(np.quantile(probability_N, np.linspace(0.02, 0.98, 49)))

    def spread(cut: float) -> float:
        clear = probability_N > cut
        parts = [probability_N[clear], probability_N[~clear]]
        return sum(
            len(part) * math.sqrt(part.mean() * (1 - part.mean())) for part in parts if len(part)
        )

    return float(min(candidates, key=spread))


def weights(parted: Strata, design: str, threshold: float | None) -> Floats:
    """Weight of a unit of each stratum for successive draws, 1 on average over the frame.

    `risk-first`: Neyman's sqrt(r (1 - r)), which makes the interval narrow where it ends up. With
    a threshold, the geometric mean of that and of the weights under which the bets against the
    threshold grow fastest, see `fastest`.
    """
    size = parted.sizes_J.sum()
    if design == "stratified":
        found = 1 - FLOOR + FLOOR * size / (len(parted.names) * parted.sizes_J)
    elif design == "risk-first":
        r = np.clip(parted.predicted_J, 0.05, 0.95)
        share = parted.sizes_J / size
        found = np.sqrt(r * (1 - r))
        found = found / (share @ found)
        if threshold is not None and 0 < threshold < share @ r - 0.01:
            found = np.sqrt(found * np.clip(fastest(r, share, threshold), 1 / 3, 3))
    else:
        found = np.ones(len(parted.names))
    return np.asarray(found * size / (parted.sizes_J @ found))


def fastest(r_J: Floats, share_J: Floats, threshold: float) -> Floats:
    """Weights under which the wealth against "precision <= threshold" grows fastest.

    A verdict of class j brings KL(r_j || s_j) nats on average, where s is the nearest point of
    the hypothesis. The best weights and the worst s are a saddle point: all classes bring alike,
    KL(r_j || s_j) = kappa with sum_j share_j s_j = threshold, and then s is nearest exactly for

        w_j proportional to 1 / (r_j / s_j - (1 - r_j) / (1 - s_j)).

    Neyman's weights maximise the growth only for thresholds close to the precision; far below
    it a rare surprise in a class that is hardly looked at would cost too much.
    """
    low, high = 0.0, 5.0
    for _ in range(50):
        kappa = (low + high) / 2
        s = _below(r_J, kappa)
        low, high = (kappa, high) if share_J @ s > threshold else (low, kappa)
    s = _below(r_J, low)
    found = 1 / np.maximum(r_J / s - (1 - r_J) / (1 - s), 1e-9)
    return np.asarray(found / (share_J @ found))


def _below(r: Floats, kappa: float) -> Floats:
    """The s <= r with KL(r || s) = kappa."""
    low, high = np.full_like(r, 1e-12), r.copy()
    for _ in range(50):
        s = (low + high) / 2
        far = r * np.log(r / s) + (1 - r) * np.log((1 - r) / (1 - s)) > kappa
        low, high = np.where(far, s, low), np.where(far, high, s)
    return high


def successive(parted: Strata, weights_J: Floats, size: int, seed: int) -> tuple[Ints, Floats]:
    """Draw one by one, each with chance weight / sum of the weights left.

    By exponential keys E_i / w_i, smallest first (Efraimidis and Spirakis 2006).

    Returns:
        The units in their order and, for each, its chance at its position.
    """
    w_N = weights_J[parted.of_N]
    keys = np.random.default_rng(seed).exponential(size=len(w_N)) / w_N
    order = np.argsort(keys, kind="stable")[:size]
    drawn = w_N[order]
    left = w_N.sum() - np.concatenate([[0.0], np.cumsum(drawn)[:-1]])
    return order.astype(np.int64), np.minimum(drawn / np.maximum(left, drawn), 1.0)


def allocation(parted: Strata, design: str, size: int) -> Ints:
    """How many are drawn from each stratum: in proportion, or by size times sqrt(r (1 - r))."""
    sizes = parted.sizes_J
    if design == "risk-first":
        r = np.clip(parted.predicted_J, 0.05, 0.95)
        ideal, least = sizes * np.sqrt(r * (1 - r)), np.minimum(sizes, _LEAST)
    else:
        ideal, least = sizes.astype(np.float64), np.minimum(sizes, 1)
    least = np.minimum(least, max(1, size // len(sizes)))
    ideal = ideal * size / ideal.sum()
    found = np.clip(np.floor(ideal).astype(np.int64), least, sizes)
    while found.sum() != size:  # the largest remainders, one by one
        short = found.sum() < size
        possible = found < sizes if short else found > least
        if not possible.any():
            break
        gap = np.where(possible, (ideal - found) * (1 if short else -1), -np.inf)
        found[int(np.argmax(gap))] += 1 if short else -1
    return np.asarray(found)


def allocated(parted: Strata, counts_J: Ints, seed: int) -> tuple[Ints, Floats]:
    """Draw so many of each stratum, at random, and interleave them evenly.

    Returns:
        The units in their order and the inclusion probability of each.
    """
    keys_N = np.random.default_rng(seed).random(len(parted.of_N))
    chosen: list[tuple[float, int, int]] = []
    for j, count in enumerate(counts_J):
        inside = np.flatnonzero(parted.of_N == j)
        for place, index in enumerate(inside[np.argsort(keys_N[inside])][:count]):
            chosen.append(((place + 0.5) / count, j, int(index)))
    chosen.sort()
    chance = np.array([counts_J[j] / parted.sizes_J[j] for _, j, _ in chosen])
    return np.array([index for _, _, index in chosen], dtype=np.int64), chance
