"""Every scoring rule against its golden table, worked out by hand from the published rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmupt.benchmarks.catalog import BENCHMARKS, score
from mmupt.benchmarks.rows import BenchmarkRow

FOLDER = Path(__file__).parents[1] / "golden" / "benchmarks"
VERDICTS = {"right": True, "wrong": False, "unscored": None}


class NoPictures:
    """Rows of the tables have no pictures."""

    def of(self, value: object, place: str) -> Path:
        raise AssertionError(place)


def table(name: str) -> tuple[dict[str, BenchmarkRow], list[tuple[str, str, str, str]]]:
    """The published rows of a table, and its cases."""
    rows: dict[str, BenchmarkRow] = {}
    cases = []
    for line in (FOLDER / f"{name}.tsv").read_text(encoding="utf-8").splitlines():
        if line.startswith("@"):
            key, _, columns = line[1:].partition(" ")
            rows[key] = BENCHMARKS[name].row(json.loads(columns), f"row {key}", NoPictures())
        elif not line.startswith("#"):
            key, reply, verdict, why = line.split("\t")
            cases.append((key, reply.replace("⏎", "\n"), verdict, why))
    return rows, cases


TABLES = {name: table(name) for name in BENCHMARKS}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_tables_are_large_and_mixed_enough(name: str) -> None:
    rows, cases = TABLES[name]
    verdicts = [verdict for _, _, verdict, _ in cases]
    assert len(cases) >= 30
    assert verdicts.count("wrong") >= 10
    assert verdicts.count("right") >= 10
    assert "unscored" in verdicts
    assert {key for key, *_ in cases} == rows.keys()
    assert len({(key, reply) for key, reply, _, _ in cases}) == len(cases)
    assert all(why for *_, why in cases)


@pytest.mark.parametrize(
    ("name", "key", "reply", "verdict"),
    [(name, k, r, v) for name, (_, cases) in TABLES.items() for k, r, v, _ in cases],
)
def test_golden(name: str, key: str, reply: str, verdict: str) -> None:
    found = score(name, TABLES[name][0][key], reply)
    assert found.right is VERDICTS[verdict], found


@pytest.mark.parametrize("name", BENCHMARKS)
def test_no_reply_is_unscored_and_an_empty_one_is_wrong(name: str) -> None:
    for row in TABLES[name][0].values():
        assert score(name, row, None).right is None
        assert score(name, row, "").right is (None if row.answer is None else False)


def test_the_page_counts_the_cases_as_they_are() -> None:
    """The table of cases in docs/benchmarks.md."""
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for name, (_, cases) in TABLES.items():
        verdicts = [verdict for _, _, verdict, _ in cases]
        counts = [len(cases), *(verdicts.count(verdict) for verdict in VERDICTS)]
        assert f"| `{name}` | {' | '.join(map(str, counts))} |" in page
