"""A label as a number in the unit that a company expects, and whether it carries that unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from mmupt.consensus import units
from mmupt.consensus.canonical import canonical
from mmupt.consensus.checkers import value_of
from mmupt.consensus.writing import delatex, plain

_LONGEST = 24
"""Characters of a unit at the end of a label."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A label that is a number.

    Attributes:
        value: in the expected unit; in base units where none is expected. A number without a unit
            is taken to be in the expected one. None: it has a unit that does not convert.
        carries: whether the unit, or one that converts to it, is written.
    """

    value: Fraction | None
    carries: bool


Reader = Callable[[str], Measured | None]
"""Reads a label; None: it is no number."""


@lru_cache(maxsize=16)
def reader_of(unit: str | None, kind: str = "auto") -> Reader:
    """How labels are read where this unit is expected.

    A unit that the votes know (`consensus.units`) converts: 1.2 cm is 12 in mm. Those that drop out
    of values (counters, degrees, yen) and fractions (%, 割) are told from a bare number and from
    each other kind, not from one another: 12人 has the unit 個. A unit that the votes do not know
    (bar, rpm) must be written as it is, behind the number or before it.
    """
    if unit is None:
        return lambda label: _bare(label, kind)
    known = _unit_scale(unit)
    if known is None:
        return lambda label: _written(label, unit, kind)
    start, end, dimensions = known
    return lambda label: _converted(label, start, end, dimensions, kind)


def float_of(value: Fraction | None) -> float | None:
    """The nearest float; infinity beyond the largest."""
    if value is None:
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _reading(label: str, kind: str) -> tuple[Fraction, object] | None:
    """Value in base units, and dimensions."""
    key = canonical(label, kind)
    if key is None or key[0] not in ("num", "alg"):
        return None
    value = value_of(label, kind)
    return None if value is None else (value, key[-1])


def _unit_scale(unit: str) -> tuple[Fraction, Fraction, object] | None:
    """What 0 and 1 of a unit are in base units, and its dimensions; None: an unknown unit."""
    if units.prefix(f"{plain(unit)}1") is not None:
        zero, one = _reading(f"{unit}0", "auto"), _reading(f"{unit}1", "auto")
    elif units.unit(delatex(plain(unit))) is not None:
        zero, one = _reading(f"0 {unit}", "auto"), _reading(f"1 {unit}", "auto")
    else:
        return None
    return None if zero is None or one is None else (zero[0], one[0], one[1])


def _bare(label: str, kind: str) -> Measured | None:
    found = _reading(label, kind)
    return None if found is None else Measured(found[0], True)


def _converted(
    label: str, start: Fraction, end: Fraction, dimensions: object, kind: str
) -> Measured | None:
    found = _reading(label, kind)
    if found is None:
        return None
    value, own = found
    if own != dimensions:
        return Measured(None if own else value, False)
    scale = end - start
    carries = bool(own) or _marked(label, fraction=scale < 1)
    return Measured((value - start) / scale if carries else value, carries)


def _marked(label: str, fraction: bool) -> bool:
    """Whether a number without dimensions has a unit written: a fraction (%), or a counter."""
    text = delatex(plain(label)).rstrip(" .,;:。、")
    front = units.prefix(text)
    found = [front[0]] if front is not None else []
    tails = (text[place:].strip() for place in range(max(0, len(text) - _LONGEST), len(text)))
    found += [known for tail in tails if tail and (known := units.unit(tail)) is not None]
    return any(not one.dimensions and (one.scale < 1) is fraction for one in found)


def _written(label: str, unit: str, kind: str) -> Measured | None:
    """Of a unit that the votes do not know: it stands behind the number, or before it."""
    text, mark = plain(label).rstrip(" .,;:。、"), plain(unit)
    for rest in (text.removesuffix(mark), text.removeprefix(mark)):
        if rest != text and (found := _reading(rest.strip(), kind)) is not None:
            return Measured(None if found[1] else found[0], not found[1])
    found = _reading(label, kind)
    return None if found is None else Measured(None if found[1] else found[0], False)
