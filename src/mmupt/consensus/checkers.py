"""Checks that a majority must pass before it is rewarded, for the strategy "veto".

A checker never says that a label is right; it says that it cannot be wrong in a way that a rule
can see: out of range, in another unit, at odds with the arithmetic of its own response.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from mmupt.consensus.algebra import Poly, TooLargeError, approximate, number
from mmupt.consensus.canonical import canonical
from mmupt.consensus.quantities import quantity
from mmupt.consensus.writing import delatex, plain

# Every repetition is possessive or bounded: a text is read in linear time whatever it holds.
_DIGITS = r"(?!0[0-9])(?:[0-9]{1,3}(?:,[0-9]{3}(?![0-9])){1,6}+|[0-9]{1,18}+)(?:\.[0-9]{1,18}+)?+"
_MORE = rf" ?[-+*/×÷·] ?-?{_DIGITS}"
_EQUATION = re.compile(
    # Not the rest of something longer: x2 + 3, 2^3 + 1, √9 + 1, 5 cm + 1, a date, 1 1/2 + 1.
    r"(?<![0-9A-Za-z_.,)\]}%°!|/*×÷·^√+-])(?<![-+*/×÷·^√0-9] )(?<![0-9]:)"
    r"(?<!\\)(?<!log )(?<!ln )(?<!sin )(?<!cos )(?<!tan )(?<!sqrt )"
    r"(?![0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}(?![0-9]))"
    rf"((?:(?<![0-9A-Za-z)\]}}%°] )-)?{_DIGITS}(?:{_MORE}){{0,40}}+"
    rf"(?: ?= ?-?{_DIGITS}(?:{_MORE}){{0,40}}+){{1,20}}+)"
    # Nor the start of it: 7x, 7^2, 7/x, 75%, 7√2, 7万, 7,5.
    r"(?![0-9A-Za-z_(\[{!十百千万億兆割分]|[.,:][0-9]| ?(?:[-+*/×÷·^√π%‰]|\\(?!\\))"
    # A mixed number, digits in groups, a remainder: 3 1/2, 1 500, 3 R1, 3余り1, 3...1.
    r"| [0-9]{1,18}+/[0-9]| [0-9]{3}(?![0-9])"
    r"| ?(?:[Rr](?:em|emainder)? ?[0-9]|余|あま|\.{2,9}+ ?[0-9]))"
)
_TERM = re.compile(rf"([-+*/×÷·]?) ?(-?{_DIGITS})")
_BLANK = re.compile(r"(?:[^\S\n]|&|\*\*)+")
_LONGEST = 20_000
"""Characters of a response that are searched for sums."""


def value_of(label: str, kind: str = "auto") -> Fraction | None:
    """The label's value in base units, irrational ones to 25 digits; None if it is no number."""
    read = _reading(label, kind)
    return None if read is None else approximate(read[0])


def in_range(
    label: str,
    minimum: float | None = None,
    maximum: float | None = None,
    integer: bool = False,
    *,
    unit: str | None = None,
    kind: str = "auto",
) -> bool:
    """Whether the label is a number within bounds (inclusive), and whole where asked.

    Args:
        label: read as the vote reads it: `12`, `\\frac{1}{2}`, `十二`, `2√3 cm`.
        minimum, maximum: bounds.
        integer: whether it must be whole.
        unit: what bounds and whole numbers are in; None: base units (m, kg, s, °C; 50% is 0.5).
        kind: see `canonical`.
    """
    value = value_of(label, kind)
    if value is None:
        return False
    if unit is not None:
        start, end = value_of(f"0 {unit}"), value_of(f"1 {unit}")
        if start is None or end is None or not has_unit(label, unit, kind):
            return False
        value = (value - start) / (end - start)
    if integer and value.denominator != 1:
        return False
    return (minimum is None or value >= _exact(minimum)) and (
        maximum is None or value <= _exact(maximum)
    )


def has_unit(label: str, unit: str, kind: str = "auto") -> bool:
    """Whether the label has `unit` or one of the same dimension (12 cm and 0.12 m)."""
    found = _reading(label, kind)
    try:
        wanted = quantity(delatex(plain(f"1 {unit}")))
    except TooLargeError:
        return False
    return found is not None and wanted is not None and found[1] == wanted.dimensions


def arithmetic_holds(responses: Sequence[str]) -> bool:
    """Whether most responses write no wrong sum.

    Read are chains of + - * / between plain numbers (`2 + 3 * 4 = 14`, `3 + 4 = 7 = 14/2`), with
    decimals on the right rounded or exact (`10/3 = 3.33`) and running totals let through (`3 + 4 =
    7 + 1 = 8`). What else stands in a sum (letters, brackets, powers, units, percent) leaves it
    unread. A response without a sum says nothing against itself.
    """
    right = sum(not _wrong_sums(response) for response in responses)
    return 2 * right > len(responses) or not responses


def _wrong_sums(response: str) -> list[str]:
    # A long dash ends a thought, `Case 1 — 3 + 4 = 7`, where `plain` would make it a minus.
    text = delatex(plain(response[:_LONGEST].replace("—", "\n")))
    return [
        f"{left} = {right}"
        for match in _EQUATION.finditer(_BLANK.sub(" ", text))
        for left, right in pairwise(side.strip() for side in match[1].split("="))
        if len(_TERM.findall(left)) > 1 and not _equal(left, right)
    ]


def _equal(left: str, right: str) -> bool:
    """Whether a sum is what stands on the right, or the number that the right begins with."""
    ours, theirs = _TERM.findall(left), _TERM.findall(right)
    value, whole, first = _sum(ours), _sum(theirs), _sum(theirs[:1])
    if value is None or whole is None or first is None:
        return False
    decimals = theirs[0][1].partition(".")[2]
    rounding = Fraction(1, 2 * 10 ** len(decimals)) if decimals else 0
    return value == whole or abs(value - first) <= rounding


def _sum(terms: Sequence[tuple[str, str]]) -> Fraction | None:
    """The value of numbers with what stands before each, products first; None: divided by 0."""
    products: list[Fraction] = []
    for operator, digits in terms:
        factor = Fraction(digits.replace(",", ""))
        match operator:
            case "*" | "×" | "·":
                products[-1] *= factor
            case "/" | "÷":
                if not factor:
                    return None
                products[-1] /= factor
            case _:
                products.append(-factor if operator == "-" else factor)
    return sum(products, Fraction(0))


def _exact(bound: float) -> Fraction:
    """0.1 as it was written, not as the nearest binary number."""
    return Fraction(str(bound))


def _reading(label: str, kind: str) -> tuple[Poly, object] | None:
    """A number as the vote reads it: its value in base units, and its dimensions."""
    match canonical(label, kind):
        case ("num", int(numerator), int(denominator), dimensions):
            return number(Fraction(numerator, denominator)), dimensions
        case ("alg", tuple(terms), dimensions):
            return dict(terms), dimensions
    return None
