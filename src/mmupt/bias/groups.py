"""Ways to slice the questions: metadata columns, and pictures' properties in quantile bins."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmupt.bias.chance import Floats, Ints
from mmupt.data.images import printable
from mmupt.errors import InputError
from mmupt.evaluate.slices import NO_VALUE
from mmupt.types import Sample

BINS = 4
"""Bins of a property: quarters of the questions."""

MOST_GROUPS = 20
"""A column with more different values is no slicing; numbers are cut into quantile bins."""

LEAST = 10
"""Clusters that a slice and its outside need, or nothing is said about it."""


@dataclass(frozen=True, slots=True)
class Group:
    """One slice of a slicing.

    Attributes:
        name: value of the column, or of a bin its limits.
        rank: number of the bin from the smallest, from 1; 0: not a bin.
        bins: how many bins there are.
    """

    name: str
    rank: int = 0
    bins: int = 0


@dataclass(frozen=True)
class Slicing:
    """The questions cut by one property.

    Attributes:
        name: of the column or the property.
        source: `column` or `picture`.
        groups: G slices.
        index_N: slice of each question; -1: in none.
    """

    name: str
    source: str
    groups: tuple[Group, ...]
    index_N: Ints


@dataclass(frozen=True, slots=True)
class Unused:
    """A property that could not be sliced by, and why: `constant`, `many` or `few`."""

    name: str
    source: str
    why: str


def by_columns(samples: Sequence[Sample], wanted: Iterable[str] = ()) -> list[Slicing | Unused]:
    """Slicings by metadata columns.

    Args:
        samples: N questions.
        wanted: names of columns; none: all that there are.

    Raises:
        InputError: a wanted column that no row has.
    """
    known = sorted({name for sample in samples for name in sample.meta})
    names = list(dict.fromkeys(wanted))
    for name in names:
        if name not in known:
            raise InputError(
                f"--slice {printable(name, 80)}: no row has this column; known columns: "
                f"{printable(', '.join(known)) or 'none'}"
            )
    return [_column([s.meta.get(name, "") for s in samples], name) for name in names or known]


def _column(values: Sequence[str], name: str) -> Slicing | Unused:
    texts = [value if value.strip() else NO_VALUE for value in values]
    counts = Counter(texts)
    if len(counts) <= MOST_GROUPS:
        order = {text: index for index, text in enumerate(counts)}
        index = np.asarray([order[text] for text in texts], dtype=np.int64)
        return _checked(name, "column", [Group(text) for text in counts], index)
    numbers = np.asarray([_number(value) for value in values])
    if np.isnan(numbers).mean() > 0.5:
        return Unused(name, "column", "many")
    return by_quantiles(numbers, name, "column")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def by_quantiles(values_N: Floats, name: str, source: str = "picture") -> Slicing | Unused:
    """A slicing by bins of (nearly) equally many questions; equal values share a bin."""
    there = ~np.isnan(values_N)
    if not there.any():
        return Unused(name, source, "few")
    cuts = np.quantile(values_N[there], np.linspace(0, 1, BINS + 1)[1:-1])
    found = np.searchsorted(np.unique(cuts), values_N[there], side="left")
    index = np.full(len(values_N), -1, dtype=np.int64)
    used, index[there] = np.unique(found, return_inverse=True)
    groups = []
    for place in range(len(used)):
        mine = values_N[there][index[there] == place]
        groups.append(Group(_limits(float(mine.min()), float(mine.max())), place + 1, len(used)))
    return _checked(name, source, groups, index)


def _limits(low: float, high: float) -> str:
    ends = [f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}" for value in (low, high)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]}–{ends[1]}"


def _checked(name: str, source: str, groups: Sequence[Group], index: Ints) -> Slicing | Unused:
    if len(groups) < 2:
        return Unused(name, source, "constant")
    if np.sort(np.bincount(index[index >= 0]))[-2] < LEAST:
        return Unused(name, source, "few")
    return Slicing(name, source, tuple(groups), index)
