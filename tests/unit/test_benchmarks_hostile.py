"""Whatever a row or a reply holds: one line, or a verdict; never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmupt.benchmarks.catalog import BENCHMARKS, score
from mmupt.benchmarks.rows import BenchmarkRow, Score
from mmupt.errors import InputError

FOLDER = Path(__file__).parents[1] / "golden" / "benchmarks"


class NoPictures:
    def of(self, value: object, place: str) -> Path:
        raise InputError(f"{place}: none here")


def published(name: str) -> list[dict[str, Any]]:
    """The rows of a golden table as they were published."""
    lines = (FOLDER / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    return [json.loads(line.partition(" ")[2]) for line in lines if line.startswith("@")]


RAW = {name: published(name) for name in BENCHMARKS}
ROWS = {
    name: [BENCHMARKS[name].row(raw, "row", NoPictures()) for raw in raws]
    for name, raws in RAW.items()
}

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["A", "Z", "-1", "1e99", "nan", "\ud800", "<image><image>", "A. 1;B. 2"]),
)
PIECES = st.sampled_from([
    "A", "B or C", "(D)", "14", "-3.5", "1e9", "50%", "cm", "\\boxed{", "}", "\\frac{1}{0}", "9^9^9",
    "<answer>", "</answer>", "<think>", "</think>", "Answer:", "The answer is", "[1, 2", "]", "≈",
    "\\sqrt{", "yes", "not", "\n", " ", "domain:", "(-4, 1]", "∞", "\x00", "１２", "<<", ">>", "$",
])  # fmt: skip


@pytest.mark.parametrize("name", BENCHMARKS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_row_with_other_values_is_read_or_refused_in_a_line(
    name: str, data: st.DataObject
) -> None:
    raw = dict(data.draw(st.sampled_from(RAW[name])))
    for column in data.draw(st.lists(st.sampled_from(sorted(raw)), min_size=1, max_size=3)):
        raw[column] = data.draw(VALUES)
    row, said = attempt(name, raw)
    if row is None:
        assert said.startswith("table: row 1")
        assert "\n" not in said
    else:
        assert isinstance(score(name, row, "The answer is 14."), Score)


def attempt(name: str, raw: dict[str, Any]) -> tuple[BenchmarkRow | None, str]:
    """The row, or why there is none."""
    try:
        return BENCHMARKS[name].row(raw, "table: row 1", NoPictures()), ""
    except InputError as error:
        return None, str(error)


@pytest.mark.parametrize("name", BENCHMARKS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_reply_has_a_verdict(name: str, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(ROWS[name]))
    reply = "".join(data.draw(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=8)))
    found = score(name, row, reply)
    assert found.right in ((None,) if row.answer is None else (True, False))
    assert found.right is not True or found.extracted is not None


@pytest.mark.parametrize("name", BENCHMARKS)
def test_long_replies_end(name: str) -> None:
    """Repetition is what untrained models write most."""
    for reply in ("14 " * 60_000, "\\boxed{" * 20_000, "A or " * 50_000, "The answer is " * 20_000,
                  "[1, " * 50_000, "not " * 50_000, "1" * 200_000, "<answer>" * 20_000):  # fmt: skip
        assert score(name, ROWS[name][0], reply).right in (True, False)
