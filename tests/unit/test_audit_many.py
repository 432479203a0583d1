"""100 processes at once, in SQLite and in PostgreSQL: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mmupt.audit.records import NewAudit, NewItem
from mmupt.audit.store import AuditStore
from mmupt.database import open_database, reading

sys.path.append(str(Path(__file__).parents[1]))
import postgres

PROCESSES = 100
EACH = 3
WORKER = Path(__file__).with_name("audit_worker.py")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "audits.sqlite" if request.param == "sqlite" else postgres.new_database()


def run(task: str, place: Path | str, *arguments: object, processes: int = PROCESSES) -> list[Any]:
    done = subprocess.run(
        [sys.executable, WORKER, str(processes), task, str(place), *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    assert not [answer for answer in answers if isinstance(answer, str)], answers
    return answers


def store(place: Path | str, items: int) -> AuditStore:
    found = AuditStore(place, "shared")
    found.create(
        NewAudit("round-1", "model", "frame", "{}", "2026-01-01T00:00:00+00:00"),
        [NewItem(i, f"u{i}", f"s{i}", "4", 0.5, "all", 0.5) for i in range(items)],
    )
    return found


def test_100_processes_may_be_the_first(place: Path | str) -> None:
    assert run("opens", place) == [True] * PROCESSES
    with reading(open_database(place, "mmupt.audit")) as connection:
        numbers = text("SELECT number FROM mmupt_migrations ORDER BY number")
        assert list(connection.execute(numbers).scalars()) == [1, 2]  # each once


def test_100_processes_write_verdicts(place: Path | str) -> None:
    """Each sends three of its own, and two send the same one: 300 + 50 are there, once each."""
    audit = store(place, EACH)
    answers = run("writes", place, EACH)

    own = [[told for i, told in enumerate(answer) if i != 1] for answer in answers]
    assert own == [[True] * EACH] * PROCESSES
    shared = [answer[1] for answer in answers]
    assert [sorted(shared[i : i + 2]) for i in range(0, PROCESSES, 2)] == [[False, True]] * 50

    verdicts = audit.verdicts("round-1")
    assert len(verdicts) == len({verdict.key for verdict in verdicts}) == 350
    wanted = Counter((f"r{number}", f"u{i}") for number in range(PROCESSES) for i in range(EACH))
    wanted += Counter((f"pair{number}", "u0") for number in range(PROCESSES // 2))
    assert Counter((verdict.reviewer, verdict.unit) for verdict in verdicts) == wanted
    # The order is one that can have been: of each process, what it sent first is first.
    for number in range(PROCESSES):
        units = [verdict.unit for verdict in verdicts if verdict.reviewer == f"r{number}"]
        assert units == [f"u{i}" for i in range(EACH)]
    assert audit.progress("round-1").seconds == 300.0


def test_100_processes_claim_samples(place: Path | str) -> None:
    """No sample goes to two reviewers, and none is left."""
    audit = store(place, 80)
    answers = run("claims", place, 1)
    handed = Counter(unit for answer in answers for unit in answer)
    assert handed == Counter(f"u{i}" for i in range(80))
    judged = {verdict.unit for verdict in audit.verdicts("round-1")}
    assert len(judged) + audit.progress("round-1").claimed == 80


def test_overlap_where_it_is_wanted(place: Path | str) -> None:
    audit = store(place, 20)
    answers = run("claims", place, 2, processes=30)
    handed = Counter(unit for answer in answers for unit in answer)
    assert handed == Counter({f"u{i}": 2 for i in range(20)})
    assert all(len(set(answer)) == len(answer) for answer in answers)
    assert audit.progress("round-1", reviewers=2).items == 20
