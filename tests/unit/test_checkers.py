"""Checks of a majority: they see what cannot be right."""

from __future__ import annotations

import pytest

from mmupt.consensus.checkers import arithmetic_holds, has_unit, in_range


@pytest.mark.parametrize(
    ("label", "low", "high", "integer", "passes"),
    [
        ("12", 0, 20, True, True),
        ("12.5", 0, 20, True, False),
        ("12.5", 0, 20, False, True),
        ("21", 0, 20, False, False),
        ("-1", 0, None, False, False),
        ("20", None, 20, False, True),
        ("\\frac{1}{2}", 0, 1, False, True),
        ("十二", 12, 12, True, True),
        ("１２", 12, 12, True, True),
        ("50%", 0.4, 0.6, False, True),
        ("three apples", 0, 20, False, False),
        ("9^9^9^9", 0, None, False, False),
        ("", 0, None, False, False),
    ],
)
def test_ranges(
    label: str, low: float | None, high: float | None, integer: bool, passes: bool
) -> None:
    assert in_range(label, low, high, integer) is passes


def test_units_by_dimension() -> None:
    assert has_unit("12 cm", "m")
    assert has_unit("0.12 m", "cm")
    assert not has_unit("12", "cm")
    assert not has_unit("12 kg", "cm")
    assert not has_unit("blue", "cm")


@pytest.mark.parametrize(
    ("response", "holds"),
    [
        ("3 + 4 = 7", True),
        ("3 + 4 = 8", False),
        ("so 2 + 3 * 4 = 14, and 14 - 4 = 10", True),
        ("2 + 3 * 4 = 20", False),
        ("0.5 + 0.25 = 0.75", True),
        ("6 × 7 = 42", True),
        ("6 × 7 = 41", False),
        ("8 ÷ 2 = 4", True),
        ("9 − 4 = 5", True),
        ("9 − 4 = 6", False),
        ("1/2 = 0.5", True),
        ("no sum at all", True),
        ("on 2024-03-05 there were 4", True),
        ("x2 + 3 = 9", True),  # a letter before it: no sum of numbers
        ("1 + 1 = 3 " * 20_000, False),
        ("((((" * 20_000, True),
    ],
)
def test_sums_in_a_response(response: str, holds: bool) -> None:
    assert arithmetic_holds([response]) is holds


def test_most_responses_decide() -> None:
    assert arithmetic_holds(["1 + 1 = 2", "1 + 1 = 2", "1 + 1 = 3"])
    assert not arithmetic_holds(["1 + 1 = 2", "1 + 1 = 3"])
    assert arithmetic_holds([])
