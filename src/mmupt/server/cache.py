"""Replies that came before, by the hash of all that they depend on: nothing is asked twice.

A SQLite file, written reply by reply: whatever kills the process, what came before stays, and
several processes may share it. It holds the model's replies in plain text.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from mmupt.errors import RunFolderError

NAME = "replies.sqlite"
_WAIT = 60.0
"""Seconds to wait for another process that writes."""


class Replies:
    """The replies in a folder.

    Args:
        folder: made when the first reply comes.

    Raises:
        RunFolderError: what is there is no such file, or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None

    def get(self, key: bytes) -> str | None:
        """What was put under a key, or None."""
        with self._lock:
            if self._open is None and not self.path.exists():
                return None
            try:
                query = "SELECT reply FROM replies WHERE key = ?"
                row = self._file().execute(query, (key,)).fetchone()
            except sqlite3.Error as error:
                raise self._unusable(error) from error
        return None if row is None else str(row[0])

    def put(self, key: bytes, reply: str) -> None:
        """Remember a reply; one that is there stays as it is."""
        with self._lock:
            try:
                self._file().execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, reply))
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def close(self) -> None:
        with self._lock:
            if self._open is not None:
                self._open.close()
            self._open = None

    def _file(self) -> sqlite3.Connection:
        if self._open is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RunFolderError(f"{self.path.parent}: {error.strerror}") from error
            # Each statement is a transaction of its own; the lock above keeps threads apart.
            opened = sqlite3.connect(
                self.path, timeout=_WAIT, isolation_level=None, check_same_thread=False
            )
            try:
                opened.execute("PRAGMA journal_mode = WAL")
                opened.execute("PRAGMA synchronous = NORMAL")
                opened.execute(
                    "CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, reply TEXT NOT NULL)"
                    " WITHOUT ROWID"
                )
            except sqlite3.Error:
                opened.close()
                raise
            self._open = opened
        return self._open

    def _unusable(self, error: sqlite3.Error) -> RunFolderError:
        return RunFolderError(
            f"{self.path}: not usable as the memory of replies ({error}); move it away, and the "
            "replies are asked for again"
        )
