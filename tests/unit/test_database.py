"""Databases: tables once whoever comes first, whole transactions, one line for what goes wrong."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from mmupt import database
from mmupt.database import now, open_database, reading, shown, writing
from mmupt.errors import DatabaseError

sys.path.append(str(Path(__file__).parents[1]))
import postgres

PACKAGE = "mmupt.audit"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "facts.sqlite" if request.param == "sqlite" else postgres.new_database()


@pytest.fixture
def engine(place: Path | str) -> Iterator[Engine]:
    engine = open_database(place, PACKAGE)
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE facts (value INTEGER PRIMARY KEY)"))
    yield engine
    engine.dispose()


def insert(engine: Engine, value: int) -> None:
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO facts VALUES (:value)"), {"value": value})


def values(engine: Engine) -> list[int]:
    with reading(engine) as connection:
        return list(connection.execute(text("SELECT value FROM facts ORDER BY value")).scalars())


def test_migrations_are_applied_once(engine: Engine, place: Path | str) -> None:
    insert(engine, 1)
    again = open_database(place, PACKAGE)
    assert values(again) == [1]
    with reading(again) as connection:
        rows = connection.execute(text("SELECT package, number FROM mmupt_migrations")).all()
    assert [tuple(row) for row in rows] == [(PACKAGE, 1), (PACKAGE, 2)]


def test_a_transaction_is_whole_or_not_at_all(engine: Engine) -> None:
    def write(*numbers: int) -> None:
        with writing(engine) as connection:
            for number in numbers:
                connection.execute(text("INSERT INTO facts VALUES (:n)"), {"n": 1 // number})

    with pytest.raises(ZeroDivisionError):
        write(1, 0)
    assert values(engine) == []
    with pytest.raises(DatabaseError, match=r"(?i)unique"):
        write(1, 1)
    assert values(engine) == []


def test_a_reader_sees_one_moment(engine: Engine) -> None:
    insert(engine, 1)
    with reading(engine) as connection:
        first = connection.execute(text("SELECT COUNT(*) FROM facts")).scalar_one()
        insert(engine, 2)  # another writer, meanwhile
        assert connection.execute(text("SELECT COUNT(*) FROM facts")).scalar_one() == first == 1
    assert values(engine) == [1, 2]


def test_a_writer_waits_for_its_turn(engine: Engine) -> None:
    """What two writers read and then write does not get mixed up."""

    def count_up() -> None:
        for _ in range(10):
            with writing(engine) as connection:
                connection.execute(text("UPDATE facts SET value = value + 1"))

    insert(engine, 0)
    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(engine) == [40]


def test_a_writer_does_not_wait_for_ever(
    engine: Engine, place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(engine, 0)
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    other = open_database(place, PACKAGE)
    with writing(engine) as held:
        held.execute(text("UPDATE facts SET value = 1"))
        with pytest.raises(DatabaseError, match="lock"), writing(other) as connection:
            connection.execute(text("UPDATE facts SET value = 2"))
    assert values(engine) == [1]


def test_a_newer_database_is_left_alone(engine: Engine, place: Path | str) -> None:
    with writing(engine) as connection:
        connection.execute(
            text("INSERT INTO mmupt_migrations VALUES (:package, 99, :time)"),
            {"package": PACKAGE, "time": now()},
        )
    with pytest.raises(DatabaseError, match=r"newer mmupt \(migration 99 of mmupt.audit, here 2\)"):
        open_database(place, PACKAGE)


def test_sqlite_writes_safely(tmp_path: Path) -> None:
    """Write-ahead log, synced at each commit (2 = FULL), foreign keys held."""
    with reading(open_database(tmp_path / "a.sqlite", PACKAGE)) as connection:
        found = [
            connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]


@contextmanager
def full(url: str) -> Iterator[list[Any]]:
    """All places of the server are taken."""
    taken: list[Any] = []
    try:
        while len(taken) <= postgres.CONNECTIONS:
            taken.append(psycopg.connect(url))
    except psycopg.OperationalError:
        yield taken
    finally:
        for one in taken:
            one.close()


def test_a_full_server_is_waited_for() -> None:
    url = postgres.new_database()
    with full(url) as taken:
        assert len(taken) > 10
        free = threading.Timer(0.3, lambda: [one.close() for one in taken])
        free.start()
        open_database(url, PACKAGE).dispose()
        free.join()


def test_a_full_server_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.new_database()
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    with full(url), pytest.raises(DatabaseError, match=r"too many clients|connection slots"):
        open_database(url, PACKAGE)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("mysql://me@host/name", "mysql is not supported; expected a path or postgresql"),
        ("facts.sqlite", "no database; expected a path or postgresql"),
        ("oracle9://x", "no database|not supported"),
        ("postgresql://me:secret@/name?host=/nowhere-at-all", "cannot be opened"),
    ],
)
def test_what_is_no_database(place: str, says: str) -> None:
    with pytest.raises(DatabaseError, match=says) as caught:
        open_database(place, PACKAGE)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_messages_name_the_file(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "a.sqlite", PACKAGE)
    with pytest.raises(DatabaseError) as caught, writing(engine) as connection:
        connection.execute(text("INSERT INTO absent VALUES (1)"))
    assert str(caught.value) == f"{tmp_path / 'a.sqlite'}: no such table: absent"


def test_files_that_are_no_database(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all" * 100)
    for place in (tmp_path / "text", tmp_path, tmp_path / "no" / "such" / "folder"):
        with pytest.raises(DatabaseError, match="cannot be opened as a database") as caught:
            open_database(place, PACKAGE)
        assert str(caught.value).startswith(f"{place}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "seen"),
    [
        ("postgresql://me:secret@host/name", "postgresql://me:***@host/name"),
        ("postgresql://me:sec/re:t@host/name", "postgresql://me:***@host/name"),
        ("postgresql://me:sec@ret@host/name", "postgresql://me:***@host/name"),
        ("postgresql://host/name?password=secret&x=1", "postgresql://host/name?password=***&x=1"),
        ("postgresql://me@host:5432/name", "postgresql://me@host:5432/name"),
        (Path("/data/facts.sqlite"), "/data/facts.sqlite"),
    ],
)
def test_places_are_shown_without_passwords(place: Path | str, seen: str) -> None:
    assert shown(place) == seen


def test_a_database_that_only_reads(tmp_path: Path) -> None:
    """Who opens a database that is up to date writes nothing: a backup is running, say."""
    place = tmp_path / "a.sqlite"
    open_database(place, PACKAGE).dispose()
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    open_database(place, PACKAGE).dispose()
    other.execute("ROLLBACK")
    other.close()
