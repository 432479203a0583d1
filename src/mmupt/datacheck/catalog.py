"""What a check has to remember of every row and picture, in a file: memory stays what it is."""

from __future__ import annotations

from array import array
from typing import NamedTuple

from mmupt.data.seen import Scratch

_TABLES = """
CREATE TABLE ids (side INTEGER, id TEXT, origin TEXT, PRIMARY KEY (side, id)) WITHOUT ROWID;
CREATE TABLE paths (path BLOB PRIMARY KEY, picture INTEGER) WITHOUT ROWID;
CREATE TABLE pictures (number INTEGER PRIMARY KEY, sha BLOB, origin TEXT, side INTEGER);
CREATE INDEX by_sha ON pictures (sha);
CREATE TABLE questions (key BLOB, side INTEGER, answer TEXT, shown TEXT, origin TEXT);
"""


class About(NamedTuple):
    """A picture: the row that showed it first, data (0) or test set (1), SHA-256 of the file."""

    origin: str
    side: int
    sha: bytes


class Catalog(Scratch):
    """Ids, pictures and questions of the data (side 0) and of the test set (side 1)."""

    def __init__(self) -> None:
        super().__init__(_TABLES)
        self.hashes = array("Q")
        """Perceptual hash of each distinct picture that has one."""
        self.hashed = array("Q")
        """And its number."""

    def id_before(self, side: int, sample_id: str, origin: str) -> str | None:
        """Where an id was used before; None the first time, which is remembered."""
        if self._changed("INSERT OR IGNORE INTO ids VALUES (?, ?, ?)", side, sample_id, origin):
            return None
        return str(self._one("SELECT origin FROM ids WHERE side=? AND id=?", side, sample_id))

    def picture_at(self, path: bytes) -> bytes | None:
        """SHA-256 of a file that was looked at before."""
        found = self._one(
            "SELECT sha FROM pictures JOIN paths ON picture = number WHERE path = ?", path
        )
        return found if isinstance(found, bytes) else None

    def add_picture(
        self, path: bytes, sha: bytes, phash: int | None, origin: str, side: int
    ) -> bool:
        """Remember a file; whether its content is new on this side."""
        new = self._one("SELECT number FROM pictures WHERE sha=? AND side=?", sha, side) is None
        cursor = self._tables.execute(
            "INSERT INTO pictures (sha, origin, side) VALUES (?, ?, ?)", (sha, origin, side)
        )
        number = int(cursor.lastrowid or 0)
        self._tables.execute("INSERT OR REPLACE INTO paths VALUES (?, ?)", (path, number))
        if new and phash is not None:
            self.hashes.append(phash)
            self.hashed.append(number)
        return new

    def add_question(
        self, key: bytes, side: int, answer: str | None, shown: str, origin: str
    ) -> None:
        """Remember pictures and question of a row under one key, with what its answer means."""
        self._tables.execute(
            "INSERT INTO questions VALUES (?, ?, ?, ?, ?)", (key, side, answer, shown, origin)
        )

    def index_questions(self) -> None:
        """After the last row, before the questions about questions."""
        self._tables.execute("CREATE INDEX by_key ON questions (key)")

    def same_files(self, side: int) -> tuple[int, list[list[str]]]:
        """Files beyond the first of equal content, and where the first few such groups are."""
        return self._groups(
            "SELECT sha FROM pictures WHERE side = ? GROUP BY sha HAVING count(*) > 1",
            "SELECT origin FROM pictures WHERE sha = ? AND side = ? ORDER BY number",
            "SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM pictures "
            "WHERE side = ? GROUP BY sha HAVING n > 1)",
            side,
        )

    def same_questions(self, side: int) -> tuple[int, list[list[str]]]:
        """Rows beyond the first with the same pictures and question."""
        return self._groups(
            "SELECT key FROM questions WHERE side = ? GROUP BY key HAVING count(*) > 1",
            "SELECT origin FROM questions WHERE key = ? AND side = ? ORDER BY rowid",
            "SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM questions "
            "WHERE side = ? GROUP BY key HAVING n > 1)",
            side,
        )

    def contradictions(self) -> tuple[int, list[list[tuple[str, str]]]]:
        """Questions whose rows have different answers: how many, and (origin, answer) of some."""
        chosen = (
            "SELECT key FROM questions WHERE answer IS NOT NULL GROUP BY key "
            "HAVING count(DISTINCT answer) > 1"
        )
        count = int(str(self._one(f"SELECT count(*) FROM ({chosen})")))  # noqa: S608
        keys = self._tables.execute(f"{chosen} ORDER BY min(rowid) LIMIT 20").fetchall()
        query = (
            "SELECT min(origin), min(shown) FROM questions WHERE key = ? AND answer IS NOT NULL "
            "GROUP BY answer ORDER BY min(rowid)"
        )
        return count, [
            [(str(origin), str(shown)) for origin, shown in self._tables.execute(query, key)]
            for key in keys
        ]

    def leaked_questions(self) -> tuple[int, list[tuple[str, str]]]:
        """Test rows whose pictures and question are in the data too: (test, data) of some."""
        return self._leaked(
            "SELECT count(*) FROM questions WHERE side = 1 "
            "AND key IN (SELECT key FROM questions WHERE side = 0)",
            "SELECT origin, (SELECT origin FROM questions AS data WHERE data.key = test.key "
            "AND data.side = 0 LIMIT 1) AS other FROM questions AS test "
            "WHERE side = 1 AND other IS NOT NULL ORDER BY rowid LIMIT 20",
        )

    def leaked_pictures(self) -> tuple[int, list[tuple[str, str]]]:
        """Distinct pictures of the test set that are in the data too: (test, data) of some."""
        return self._leaked(
            "SELECT count(DISTINCT sha) FROM pictures WHERE side = 1 "
            "AND sha IN (SELECT sha FROM pictures WHERE side = 0)",
            "SELECT min(origin), (SELECT origin FROM pictures AS data WHERE data.sha = test.sha "
            "AND data.side = 0 LIMIT 1) AS other FROM pictures AS test "
            "WHERE side = 1 AND other IS NOT NULL GROUP BY sha ORDER BY min(number) LIMIT 20",
        )

    def in_data(self, sha: bytes) -> bool:
        """Whether the data hold this very file."""
        return self._one("SELECT 1 FROM pictures WHERE sha = ? AND side = 0", sha) is not None

    def about(self, number: int) -> About:
        """Where a picture was first, on which side, and its SHA-256."""
        row = self._tables.execute(
            "SELECT origin, side, sha FROM pictures WHERE number = ?", (number,)
        ).fetchone()
        return About(str(row[0]), int(row[1]), bytes(row[2]))

    def _leaked(self, count: str, examples: str) -> tuple[int, list[tuple[str, str]]]:
        found = [(str(test), str(data)) for test, data in self._tables.execute(examples)]
        return int(str(self._one(count))), found

    def _groups(
        self, keys: str, members: str, count: str, side: int
    ) -> tuple[int, list[list[str]]]:
        found = self._tables.execute(f"{keys} ORDER BY min(rowid) LIMIT 20", (side,)).fetchall()
        groups = [
            [str(origin) for (origin,) in self._tables.execute(f"{members} LIMIT 5", (*key, side))]
            for key in found
        ]
        return int(str(self._one(count, side))), groups

    def _one(self, query: str, *values: object) -> object:
        found = self._tables.execute(query, values).fetchone()
        return None if found is None else found[0]

    def _changed(self, query: str, *values: object) -> bool:
        return self._tables.execute(query, values).rowcount > 0
