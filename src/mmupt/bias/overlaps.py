"""Slices that hold the same questions: where one is conspicuous, which property matters is open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from mmupt.bias.groups import Group, Slicing
from mmupt.bias.slices import Slice, Tie

MOSTLY = 0.5
"""Shared questions, as a fraction of those in either slice, from which on two slices are told of
together (Jaccard's index)."""


@dataclass(frozen=True, slots=True)
class Place:
    """A slice by its name."""

    column: str
    source: str
    group: Group


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two conspicuous slices, and the share of their questions that is in both."""

    first: Place
    second: Place
    shared: float


def overlaps(
    slicings: Sequence[Slicing], found: Sequence[Slice], tied: Sequence[Tie]
) -> list[Overlap]:
    """Pairs of slices with a finding that mostly hold the same questions."""
    spoken = [one for one in found if one.verdict in ("hurt", "behind", "moved")]
    named = [Place(o.column, o.source, o.group) for o in spoken]
    named += [Place(o.column, o.source, o.group) for o in tied if o.verdict == "tied"]
    cuts = {(cut.name, cut.source): cut for cut in slicings}
    pairs = []
    for one, two in combinations(dict.fromkeys(named), 2):
        first, second = (
            cuts[p.column, p.source].index_N == cuts[p.column, p.source].groups.index(p.group)
            for p in (one, two)
        )
        shared = float((first & second).sum() / max(1, (first | second).sum()))
        if shared >= MOSTLY:
            pairs.append(Overlap(one, two, shared))
    return pairs
