"""Position bias: which place of a list of options a model chooses, over permuted options.

Every question is shown in as many orders as it has options, each option once in every place. A
model that goes by content chooses every place equally often, whatever it believes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmupt.bias.asked import ORDERS, Asked, Table
from mmupt.bias.chance import RESAMPLES, Counts, Floats, Ints, swap_test
from mmupt.bias.modality import Compared, compare
from mmupt.consensus.equivalence import partition

LEAST = 10
"""Questions with as many options that are needed to say something."""


@dataclass(frozen=True, slots=True)
class Places:
    """Chosen places of questions with K options.

    Attributes:
        options: K.
        n: questions.
        before, after: share of each place among the choices.
        bias_before, bias_after: total variation from equal shares, in [0, 1 - 1/K].
        p_before, p_after: p-value that there is no position bias (see `rotation_p`).
        p_change: p-value that it did not change (whole questions swapped between the models).
        consistent: fraction of the questions with the same content chosen in all orders.
    """

    options: int
    n: int
    before: tuple[float, ...]
    after: tuple[float, ...]
    bias_before: float
    bias_after: float
    p_before: float
    p_after: float
    p_change: float
    consistent: Compared


def places(
    ids: Mapping[str, int], before: Table, after: Table, *, kind: str, rng: np.random.Generator
) -> list[Places]:
    """One `Places` for each number of options that enough questions have.

    Args:
        ids: cluster of each question by id.
        before, after: both models' tables.
        kind: how answers are compared, for `consistent`.
        rng: draws rotations and swaps.
    """
    first, second = before.get(ORDERS, {}), after.get(ORDERS, {})
    found = []
    for options in sorted({row.options for row in first.values()}):
        names = [n for n, row in first.items() if row.options == options and n in second]
        if len(names) < LEAST:
            continue
        cluster = np.asarray([ids[name] for name in names], dtype=np.int64)
        tables = [_table([one[name] for name in names], options) for one in (first, second)]
        consistent = [
            np.asarray([_consistent(one[name], kind) for name in names]) for one in (first, second)
        ]
        shares = [_shares(table) for table in tables]
        pair = [_counts(table, cluster) for table in tables]

        def change(one: Floats, other: Floats) -> float:
            return abs(variation(other) - variation(one))

        found.append(
            Places(
                options=options,
                n=len(names),
                before=shares[0],
                after=shares[1],
                bias_before=variation(tables[0].sum(axis=0)),
                bias_after=variation(tables[1].sum(axis=0)),
                p_before=rotation_p(tables[0], cluster, rng),
                p_after=rotation_p(tables[1], cluster, rng),
                p_change=swap_test(pair[0], pair[1], options, change, rng)[1],
                consistent=compare(consistent[0], consistent[1], cluster),
            )
        )
    return found


def variation(counts_K: Floats) -> float:
    """Total variation from equal shares: half the sum of |share - 1/K|; NaN without choices."""
    total = counts_K.sum()
    if not total:
        return math.nan
    return float(np.abs(counts_K / total - 1 / len(counts_K)).sum() / 2)


def rotation_p(counts_NK: Floats, cluster_N: Ints, rng: np.random.Generator) -> float:
    """p-value that the place does not matter.

    If it does not, a question's choices are as likely shifted along the places by any number: each
    cluster's are rotated at random, and the statistic is `variation` of their sum.
    """
    observed = variation(counts_NK.sum(axis=0))
    if math.isnan(observed):
        return math.nan
    names, place = np.unique(cluster_N, return_inverse=True)
    sums = np.zeros((len(names), counts_NK.shape[1]))
    np.add.at(sums, place, counts_NK)
    options = sums.shape[1]
    rotated = np.stack([np.roll(sums, step, axis=1) for step in range(options)])
    turns = rng.integers(0, options, (RESAMPLES, len(names)))
    beyond = sum(
        variation(rotated[turn, np.arange(len(names))].sum(axis=0)) >= observed - 1e-12
        for turn in turns
    )
    return (1 + beyond) / (1 + RESAMPLES)


def _table(rows: list[Asked], options: int) -> Floats:
    return np.asarray(
        [[row.places.count(place) for place in range(options)] for row in rows], dtype=np.float64
    )


def _shares(table_NK: Floats) -> tuple[float, ...]:
    sums = table_NK.sum(axis=0)
    return tuple(float(s) for s in (sums / sums.sum() if sums.sum() else sums * math.nan))


def _counts(table_NK: Floats, cluster_N: Ints) -> Counts:
    row, place = np.nonzero(table_NK)
    return Counts(cluster_N[row], place.astype(np.int64), table_NK[row, place])


def _consistent(row: Asked, kind: str) -> float:
    classes = set(partition(row.answers, kind=kind))
    return float(len(classes) == 1 and None not in classes)
