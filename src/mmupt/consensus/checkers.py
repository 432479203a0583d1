"""Checks that a majority must pass before it is rewarded, for the strategy "veto".

A checker never says that a label is right; it says that it cannot be wrong in a way that a rule
can see: out of range, in another unit, at odds with the arithmetic of its own response.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from mmupt.consensus.algebra import TooLargeError, UnreadableError, rational
from mmupt.consensus.expressions import expression
from mmupt.consensus.quantities import Quantity, quantity
from mmupt.consensus.writing import delatex, plain

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_EQUATION = re.compile(
    rf"(?<![0-9A-Za-z.)])({_NUMBER}(?:\s*[-+*/×÷−]\s*{_NUMBER})+)\s*=\s*(-?{_NUMBER})(?![0-9A-Za-z])"
)
_LONGEST = 20_000
"""Characters of a response that are searched for sums."""


def value_of(label: str) -> Fraction | None:
    """The label's numerical value in base units; None if it is no rational number."""
    read = _quantity(label)
    return None if read is None else rational(read.value)


def in_range(
    label: str, minimum: float | None = None, maximum: float | None = None, integer: bool = False
) -> bool:
    """Whether the label is a number within bounds (inclusive), and whole where asked."""
    value = value_of(label)
    if value is None:
        return False
    if integer and value.denominator != 1:
        return False
    return (minimum is None or value >= Fraction(minimum)) and (
        maximum is None or value <= Fraction(maximum)
    )


def has_unit(label: str, unit: str) -> bool:
    """Whether the label has `unit` or one of the same dimension (12 cm and 0.12 m)."""
    found, wanted = _quantity(label), _quantity(f"1 {unit}")
    return found is not None and wanted is not None and found.dimensions == wanted.dimensions


def arithmetic_holds(responses: Sequence[str]) -> bool:
    """Whether most responses write no wrong sum; chains of + - * / between numbers are read.

    A response without a sum says nothing against itself.
    """
    right = sum(not _wrong_sums(response) for response in responses)
    return 2 * right > len(responses) or not responses


def _wrong_sums(response: str) -> list[str]:
    text = delatex(plain(response[:_LONGEST]))
    return [
        match[0]
        for match in _EQUATION.finditer(text)
        if _value(match[1]) != _value(match[2])
    ]


def _value(sum_: str) -> Fraction | None:
    """The value of numbers joined by + - * /. As answers they may be a span or a size (`3-5 cm`,
    `3×4`); before an equals sign they are a sum."""
    try:
        return rational(expression(sum_.replace("×", "*").replace("÷", "/")))
    except (UnreadableError, TooLargeError):
        return None


def _quantity(label: str) -> Quantity | None:
    try:
        return quantity(delatex(plain(label)))
    except TooLargeError:
        return None
