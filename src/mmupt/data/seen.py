"""What was seen before, on disk: a million ids take no memory."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self


class Scratch:
    """SQLite tables in a temporary file that goes with the object. Use as a context manager.

    Args:
        schema: statements that make the tables.
    """

    def __init__(self, schema: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mmupt-")
        file = Path(self._folder.name) / "scratch.sqlite"
        self._tables = sqlite3.connect(file, isolation_level=None)
        # Nobody reads the file after this process: nothing has to reach the disk in order.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-32768"):
            self._tables.execute(f"PRAGMA {pragma}")
        self._tables.executescript(schema)
        self._tables.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tables.close()
        self._folder.cleanup()


class Seen(Scratch):
    """Keys with the place where each was first."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE seen (name TEXT, key BLOB, place TEXT, PRIMARY KEY (name, key)) "
            "WITHOUT ROWID"
        )

    def first(self, name: str, key: bytes, place: str) -> str | None:
        """Where a key of this name was first, or None, and then it is remembered."""
        arguments = (name, key, place.encode("utf-8", "backslashreplace").decode())
        if self._tables.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", arguments).rowcount:
            return None
        return self.get(name, key)

    def get(self, name: str, key: bytes) -> str | None:
        """What stands under a key."""
        found = self._tables.execute(
            "SELECT place FROM seen WHERE name = ? AND key = ?", (name, key)
        ).fetchone()
        return None if found is None else str(found[0])
