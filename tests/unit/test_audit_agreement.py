"""Krippendorff's alpha against published examples."""

from __future__ import annotations

import math

import pytest

from mmupt.audit.agreement import krippendorff


def units(*reviewers: str) -> list[dict[str, str]]:
    """One string a reviewer, one character a unit, `.` for missing."""
    return [
        {f"r{who}": value for who, value in enumerate(column) if value != "."}
        for column in zip(*reviewers, strict=True)
    ]


# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011).
BINARY = units("0100000010", "1110010000")
NOMINAL = units("aabbdcccedda", "babbbccceddd")


def test_published_examples() -> None:
    assert krippendorff(BINARY).alpha == pytest.approx(0.095, abs=5e-4)
    assert krippendorff(NOMINAL).alpha == pytest.approx(0.692, abs=5e-4)


def test_published_example_with_missing_values() -> None:
    four = units(
        "123321412...",
        "123322412" + "5.3",
        ".33323422" + "51.",
        "123324412" + "51.",
    )
    found = krippendorff(four)
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert (found.units, found.reviewers) == (11, 4)  # the last unit has one value
    low, high = found.interval
    assert low < found.alpha < high <= 1.0


def test_by_hand() -> None:
    # 3 units of two: (r, r), (w, w), (r, w). D_o = 2 / 6; D_e = 2 * 3 * 3 / (6 * 5) = 3 / 5
    assert krippendorff(units("rwr", "rww")).alpha == pytest.approx(1 - (1 / 3) / (3 / 5))
    assert krippendorff(units("rw" * 9, "rw" * 9)).alpha == 1.0
    assert krippendorff(units("rw" * 50, "wr" * 50)).alpha < -0.9


def test_where_it_is_not_defined() -> None:
    for nothing in ([], [{"a": "r"}], units("rrr", "rrr"), units("rw.", "..r")):
        found = krippendorff(nothing)
        assert math.isnan(found.alpha)
        assert math.isnan(found.interval.low)
    one = krippendorff(units("r", "w"))
    assert one.alpha == 0.0
    assert math.isnan(one.interval.low)
    with pytest.raises(ValueError, match="confidence"):
        krippendorff(BINARY, confidence=1.0)


def test_the_interval_is_reproducible_and_widens_with_confidence() -> None:
    assert krippendorff(NOMINAL) == krippendorff(NOMINAL)
    narrow, wide = (krippendorff(NOMINAL * 5, confidence=c).interval for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_names_and_order_do_not_matter() -> None:
    renamed = [{f"x{who}": value for who, value in unit.items()} for unit in NOMINAL[::-1]]
    assert krippendorff(renamed).alpha == pytest.approx(krippendorff(NOMINAL).alpha)
