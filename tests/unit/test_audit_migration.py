"""A database of the first version of the audits' tables keeps its audits."""

from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path

from mmupt.audit.records import Audit
from mmupt.audit.store import AuditStore

PLAN = '{"design": "random", "drawn": []}'


def test_plans_move_to_a_table_of_their_own(tmp_path: Path) -> None:
    place = tmp_path / "audits.sqlite"
    first = (resources.files("mmupt.audit") / "migrations" / "0001_audits.sql").read_text()
    with sqlite3.connect(place) as old:
        old.executescript(first)
        old.execute(
            "CREATE TABLE mmupt_migrations (package TEXT NOT NULL, number INTEGER NOT NULL, "
            "applied TEXT NOT NULL, PRIMARY KEY (package, number))"
        )
        old.execute("INSERT INTO mmupt_migrations VALUES ('mmupt.audit', 1, '2026')")
        for name in ("round-1", "round-2"):
            old.execute(
                "INSERT INTO mmupt_audits VALUES ('plant', ?, 'model', 'frame', ?, '2026', 0, 7)",
                (name, PLAN),
            )
    old.close()
    store = AuditStore(place, "plant")
    expected = tuple(
        Audit(name, "model", "frame", PLAN, "2026", 0) for name in ("round-1", "round-2")
    )
    assert store.audits() == expected
    assert store.names() == ("round-1", "round-2")
    assert store.audit("round-2") == expected[1]
    assert store.seen("round-1").turn == 0
