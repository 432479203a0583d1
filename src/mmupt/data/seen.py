"""What was seen before, on disk: a million ids take no memory."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from types import TracebackType


class Seen:
    """Keys with the place where each was first; in a temporary file that goes with the object.

    Use as a context manager.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mmupt-")
        self._tables = sqlite3.connect(
            Path(self._folder.name) / "seen.sqlite", isolation_level=None
        )
        # Nobody reads the file after this process: nothing has to reach the disk in order.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16384"):
            self._tables.execute(f"PRAGMA {pragma}")
        self._tables.execute(
            "CREATE TABLE seen (name TEXT, key BLOB, place TEXT, PRIMARY KEY (name, key)) "
            "WITHOUT ROWID"
        )
        self._tables.execute("BEGIN")

    def __enter__(self) -> Seen:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tables.close()
        self._folder.cleanup()

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
