"""What the picture does: accuracy without it, answers that stay without it, agreement by chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmupt.bias.asked import OWN, PICTURES, SWAPPED
from mmupt.bias.chance import Floats, Ints, cluster_mean, summed
from mmupt.bias.readings import Reading
from mmupt.pipeline.pilot_rows import agreement_across, agreement_between
from mmupt.stats import Ratio, mean_ratio

NOTHING = Ratio(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure before and after, and its paired change, each with a 95% interval."""

    before: Ratio
    after: Ratio
    change: Ratio


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to show the picture.

    Attributes:
        name: `own`, `swapped`, `blank` or `none`.
        n: questions that were asked so.
        accuracy: of the sampled answers; NaN without true answers.
        unchanged: fraction of the majorities about the own picture that the majority repeats
            (the language prior, where the picture is not there); 1 for `own`.
    """

    name: str
    n: int
    accuracy: Compared
    unchanged: Compared


@dataclass(frozen=True, slots=True)
class Dependence:
    """How much the answers depend on the picture, of one model.

    Attributes:
        n: questions with a picture and another one.
        kappa: (A_own - A_other) / (1 - A_other), agreement of two answers about the own picture
            above that with one about another's (see `pipeline.pilot_pictures`).
        constant: answers are the same whatever is shown (A_other is 1): kappa is undefined.
        gain: accuracy with the own picture minus that with another one; NaN without true answers.
    """

    n: int
    kappa: Ratio
    constant: bool
    gain: Ratio


def compare(
    before_N: Floats, after_N: Floats, cluster_N: Ints, *, fractions: bool = True
) -> Compared:
    """A figure of both models over the questions that have it in both."""
    both = ~(np.isnan(before_N) | np.isnan(after_N))
    first, second, cluster = before_N[both], after_N[both], cluster_N[both]
    return Compared(
        cluster_mean(first, cluster, fractions=fractions),
        cluster_mean(second, cluster, fractions=fractions),
        cluster_mean(second - first, cluster),
    )


def conditions(before: Reading, after: Reading, cluster_N: Ints) -> list[Condition]:
    """The figures of every way that was asked, the own picture first.

    Where pictures are shown differently, only questions that have been asked so count.
    """
    found = []
    for name in PICTURES:
        if not (before.has(name) and after.has(name)):
            continue
        first, second = (_unchanged(one, name) for one in (before, after))
        found.append(
            Condition(
                name,
                int((~np.isnan(first + second)).sum()),
                compare(before.accuracy[name], after.accuracy[name], cluster_N),
                compare(first, second, cluster_N),
            )
        )
    return found


def _unchanged(reading: Reading, name: str) -> Floats:
    """Whether each majority is that about the own picture; no answer twice is no change either."""
    return np.asarray(
        [
            float(own.majority == other.majority) if other.classes else math.nan
            for own, other in zip(reading.said[OWN], reading.said[name], strict=True)
        ],
        dtype=np.float64,
    )


def dependence(reading: Reading, cluster_N: Ints) -> Dependence:
    """Kappa of one model, and what its own pictures are worth in accuracy."""
    own_N, other_N = _agreements(reading)
    there = ~np.isnan(own_N + other_N)
    gain = cluster_mean(reading.accuracy[OWN] - reading.accuracy[SWAPPED], cluster_N)
    own_N, other_N = own_N[there], other_N[there]
    constant = bool(len(own_N)) and float(other_N.min()) > 1 - 1e-9
    if not len(own_N) or constant:
        return Dependence(len(own_N), NOTHING, constant, gain)
    place = np.unique(cluster_N[there], return_inverse=True)[1]
    count = int(place.max()) + 1
    kappa = mean_ratio(summed(own_N - other_N, place, count), summed(1.0 - other_N, place, count))
    return Dependence(len(own_N), kappa, False, gain)


def dependence_change(before: Reading, after: Reading, cluster_N: Ints) -> Ratio:
    """Change of kappa with a paired interval, from the influence of each cluster on both kappas.

        kappa = mean(x) / mean(y),    influence = (x - kappa y) / mean(y)

    the linearisation of `mean_ratio`, whose differences keep that both models saw the same.
    """
    pairs = [_agreements(one) for one in (before, after)]
    there = ~np.isnan(sum(own + other for own, other in pairs))
    place = np.unique(cluster_N[there], return_inverse=True)[1]
    kappas, influences = [], []
    for own, other in pairs:
        x, y = (np.bincount(place, v[there]) for v in (own - other, 1.0 - other))
        if not len(y) or not y.sum():
            return NOTHING
        kappas.append(float(x.sum() / y.sum()))
        influences.append((x - kappas[-1] * y) / y.mean())
    spread = cluster_mean(influences[1] - influences[0], np.arange(len(influences[0])))
    estimate = kappas[1] - kappas[0]
    return Ratio(estimate, estimate + spread.low, estimate + spread.high)


def _agreements(reading: Reading) -> tuple[Floats, Floats]:
    """Per question: agreement of two answers about the own picture, and with one about another."""
    pairs = np.asarray(
        [
            (
                agreement_across(own.classes, range(len(own.classes))),
                agreement_between(own.classes, other.classes),
            )
            for own, other in zip(reading.said[OWN], reading.said[SWAPPED], strict=True)
        ],
        dtype=np.float64,
    ).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
