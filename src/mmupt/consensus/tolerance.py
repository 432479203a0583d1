"""Relative tolerance as a partition of the numbers in a group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from mmupt.consensus import algebra

Key = tuple[object, ...]


def snapped(keys: Iterable[Key], rtol: Fraction) -> dict[Key, Key]:
    """Each key with its numbers replaced by the smallest number of their cluster.

    Two numbers of the same dimensions are linked when

        |a - b| <= rtol * max(|a|, |b|)

    and a cluster is a connected component of that graph. Pairwise tolerance alone is not transitive
    (1.00 ~ 1.01 ~ 1.02, but 1.00 !~ 1.02); components are the finest partition that never separates
    two linked numbers, and they depend on the set of numbers only, not on their order. The price is
    chaining: a dense row of numbers becomes one cluster. For rtol < 1 two numbers of one component
    are joined through their neighbours in size, so that sorting is enough.

    Numbers inside sets, tuples and intervals are replaced too; those of sizes, ratios, dates and
    equations stay exact.
    """
    distinct = list(dict.fromkeys(keys))
    leaves = {leaf for key in distinct for leaf in _leaves(key)}
    nearest = _clusters(leaves, rtol)
    return {key: _replace(key, nearest) for key in distinct}


def _clusters(leaves: Iterable[Key], rtol: Fraction) -> dict[Key, Key]:
    by_dimension: dict[object, list[tuple[Fraction, Key]]] = {}
    for leaf in leaves:
        value = _value(leaf)
        if value is not None:
            by_dimension.setdefault(leaf[-1], []).append((value, leaf))
    nearest: dict[Key, Key] = {}
    for dimensions, members in by_dimension.items():
        previous = lowest = None
        for value, leaf in sorted(members, key=lambda member: member[0]):
            linked = previous is not None and (
                value - previous <= rtol * max(abs(value), abs(previous))
            )
            if not linked or lowest is None:
                lowest = value
            previous = value
            nearest[leaf] = ("near", lowest, dimensions)
    return nearest


def _is_leaf(key: Key) -> bool:
    return key[:1] in (("num",), ("alg",))


def _value(leaf: Key) -> Fraction | None:
    if leaf[0] == "num" and isinstance(leaf[1], int) and isinstance(leaf[2], int):
        return Fraction(leaf[1], leaf[2])
    terms = leaf[1]
    return algebra.approximate(dict(terms)) if isinstance(terms, tuple) else None


def _leaves(key: Key) -> Iterator[Key]:
    if _is_leaf(key):
        yield key
        return
    for part in key:
        if isinstance(part, tuple) and part and isinstance(part[0], str):
            yield from _leaves(part)


def _replace(key: Key, nearest: dict[Key, Key]) -> Key:
    if _is_leaf(key):
        return nearest.get(key, key)
    parts = [
        _replace(part, nearest)
        if isinstance(part, tuple) and part and isinstance(part[0], str)
        else part
        for part in key
    ]
    if key[:1] in (("set",), ("union",)):
        return (key[0], *sorted(set(parts[1:]), key=repr))
    return tuple(parts)
