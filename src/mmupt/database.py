"""A project's facts in a database: SQLite in a file, or PostgreSQL by URL.

Tables come from numbered migrations, SQL files that both databases understand; each is applied
once, whoever opens the database first. Everything that writes does so in one transaction.
"""

from __future__ import annotations

import random
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmupt.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

PATIENCE = 60.0
"""Seconds that a writer waits for the others."""

_FULL = re.compile("too many clients|too many connections|connection slots")
"""What PostgreSQL says when as many are connected as it serves; whoever waits gets a turn."""

_CONNECT_SECONDS = 15
"""A PostgreSQL server that does not answer for so long is not there; the URL may say otherwise."""

_LOCK = 0x6D6D757074
"""Key of PostgreSQL's advisory lock while tables are made."""


def open_database(place: Path | str, package: str) -> Engine:
    """Open a database, and bring the tables of `package` up to date.

    Args:
        place: path of an SQLite file, which is made where there is none, or a URL such as
            ``postgresql://user@host/name``.
        package: a package of ours with ``migrations/0001_name.sql``, ...; its numbers are its own.

    Raises:
        DatabaseError: it cannot be opened, a driver is missing, or its tables are newer than this
            version of mmupt.
    """
    engine = _engine(place)
    try:
        _migrate(engine, package, shown(place))
    except _driver_errors() as error:
        engine.dispose()
        raise DatabaseError(
            f"{shown(place)}: cannot be opened as a database: {_short(error)}"
        ) from error
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: whole or not at all, one after the other.

    Raises:
        DatabaseError: the database refuses, such as for a full disk.
    """
    try:
        with (
            engine.connect().execution_options(mmupt_writes=True) as connection,
            connection.begin(),
        ):
            yield connection
    except _driver_errors() as error:
        raise DatabaseError(f"{shown(engine.url)}: {_short(error)}") from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that reads: a single moment of the database."""
    # In SQLite every transaction is one moment; PostgreSQL has to be asked.
    options = {"isolation_level": "REPEATABLE READ"} if _is_postgresql(engine) else {}
    try:
        with engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection
    except _driver_errors() as error:
        raise DatabaseError(f"{shown(engine.url)}: {_short(error)}") from error


def shown(place: Any) -> str:
    """A place for people: without a password."""
    if isinstance(place, Path):
        return str(place)
    plain = str(place).removeprefix("sqlite:///").replace("postgresql+psycopg:", "postgresql:")
    hidden = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", plain)
    return re.sub(r"([?&](?:password|sslpassword)=)[^&]*", r"\1***", hidden)


def _engine(place: Path | str) -> Engine:
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool

    try:
        url = (
            URL.create("sqlite", database=str(place))
            if isinstance(place, Path)
            else make_url(place)
        )
        if url.get_backend_name() == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        elif url.get_backend_name() != "sqlite":
            raise DatabaseError(
                f"{shown(place)}: {url.get_backend_name()} is not supported; "
                "expected a path or postgresql://..."
            )
        # Connections are not kept: many processes share a database, and each asks it rarely.
        engine = create_engine(url, poolclass=NullPool, **_levels(url.get_backend_name()))
    except (ArgumentError, NoSuchModuleError) as error:
        raise DatabaseError(
            f"{shown(place)}: no database; expected a path or postgresql://..."
        ) from error
    except ImportError as error:
        raise DatabaseError(f"{shown(place)}: needs psycopg; install mmupt[postgres]") from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "do_connect", _connect_postgresql)
        event.listen(engine, "begin", _begin_postgresql)
    return engine


def _levels(backend: str) -> dict[str, Any]:
    """Writers lock what they count on; a server may not make them start anew instead."""
    return {"isolation_level": "READ COMMITTED"} if backend == "postgresql" else {}


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(PATIENCE * 1000)}")
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Whoever opens a new file first changes its journal: there SQLite itself waits for nobody."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(random.uniform(0.002, 0.02))


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes its turn at once: one that only tries at its first write may lose it."""
    writes = connection.get_execution_options().get("mmupt_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _connect_postgresql(dialect: Any, _record: Any, args: Any, options: dict[str, Any]) -> Any:
    """Where the server is full, wait until others have gone, as writers of SQLite wait."""
    options.setdefault("connect_timeout", _CONNECT_SECONDS)
    until, pause = time.monotonic() + PATIENCE, 0.05
    while True:
        try:
            return dialect.connect(*args, **options)
        except dialect.loaded_dbapi.OperationalError as error:
            if _FULL.search(str(error)) is None or time.monotonic() > until:
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, 1.0)  # being turned away costs the server, too


def _begin_postgresql(connection: Connection) -> None:
    """A writer does not wait for ever, such as for a program that hangs within a transaction."""
    if connection.get_execution_options().get("mmupt_writes", False):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(PATIENCE * 1000)}")


def _is_postgresql(engine: Engine) -> bool:
    return engine.dialect.name == "postgresql"


def _migrate(engine: Engine, package: str, place: str) -> None:
    from sqlalchemy import text

    known = _migrations(package)
    if _applied(engine, package) == set(known):
        return  # nothing is locked or written: many may open at once, also who may only read
    with engine.connect().execution_options(mmupt_writes=True) as connection, connection.begin():
        if _is_postgresql(engine):
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(
            text(
                "CREATE TABLE IF NOT EXISTS mmupt_migrations (package TEXT NOT NULL, "
                "number INTEGER NOT NULL, applied TEXT NOT NULL, PRIMARY KEY (package, number))"
            )
        )
        done = _numbers(connection, package)
        if done - set(known):
            raise DatabaseError(
                f"{place}: made by a newer mmupt (migration {max(done)} of {package}, here "
                f"{max(known)}); install that version or a later one"
            )
        for number in sorted(set(known) - done):
            for statement in known[number].split(";\n"):
                if statement.strip():
                    connection.exec_driver_sql(statement)
            connection.execute(
                text("INSERT INTO mmupt_migrations VALUES (:package, :number, :applied)"),
                {"package": package, "number": number, "applied": now()},
            )


def _applied(engine: Engine, package: str) -> set[int]:
    """Numbers of the migrations that a database has; none where it is new."""
    from sqlalchemy import inspect

    with engine.connect() as connection, connection.begin():
        if not inspect(connection).has_table("mmupt_migrations"):
            return set()
        return _numbers(connection, package)


def _numbers(connection: Connection, package: str) -> set[int]:
    from sqlalchemy import text

    done = connection.execute(
        text("SELECT number FROM mmupt_migrations WHERE package = :package"), {"package": package}
    )
    return set(done.scalars())


def _migrations(package: str) -> dict[int, str]:
    folder = resources.files(package) / "migrations"
    return {
        int(file.name[:4]): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    }


def now() -> str:
    """This moment, UTC, as ISO 8601 with microseconds: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _driver_errors() -> tuple[type[Exception], ...]:
    from sqlalchemy.exc import SQLAlchemyError

    return (SQLAlchemyError, OSError)


def _short(error: Exception) -> str:
    """The driver's own words, first line."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
