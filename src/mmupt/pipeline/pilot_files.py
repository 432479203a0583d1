"""The files of a pilot: votes and picture tests as parquet, first in parts, then whole.

A part is written atomically as soon as its questions are answered, so that a killed pilot goes on
behind the last one. A part carries the fingerprint of its questions: parts of other questions
are never taken for these.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmupt.errors import RunFolderError
from mmupt.pipeline.pilot_pictures import PictureRow
from mmupt.pipeline.pilot_rows import RowFigures
from mmupt.types import Sample

_ANSWERS = pa.list_(pa.string())

VOTES = pa.schema(
    [
        ("id", pa.string()),
        ("question", pa.string()),
        ("answers", _ANSWERS),
        ("views", pa.list_(pa.int32())),
        ("classes", pa.list_(pa.int32())),
        ("shares", pa.list_(pa.float64())),
        ("pseudo_label", pa.string()),
        ("share", pa.float64()),
        ("tied", pa.bool_()),
        ("margin", pa.float64()),
        ("entropy", pa.float64()),
        ("view_agreement", pa.float64()),
        ("abstentions", pa.int32()),
        ("truncated", pa.int32()),
        ("failed", pa.int32()),
        ("tokens", pa.int64()),
        ("kept", pa.bool_()),
    ]
)
"""One row a question, in the order of the data; see `RowFigures`."""

PICTURES = pa.schema(
    [
        ("id", pa.string()),
        ("donor", pa.string()),
        ("own", _ANSWERS),
        ("other", _ANSWERS),
        ("blank", _ANSWERS),
        ("tokens", pa.int64()),
    ]
)
"""One row a tested question; see `PictureRow`."""


@dataclass(frozen=True, slots=True)
class VoteRow:
    """A row of `votes.parquet`.

    Attributes:
        answers, views: of the replies that came.
        truncated: of them, those that were cut.
        tokens: sampled for them; None where a server does not tell.
        figures: what the answers say about each other.
        failed: replies that a server did not give; they are no part of the vote.
        question: hash of question and pictures, see `mmupt.train.recorded`.
    """

    id: str
    answers: tuple[str | None, ...]
    views: tuple[int, ...]
    truncated: int
    tokens: int | None
    figures: RowFigures
    failed: int = 0
    question: str = ""

    def columns(self) -> dict[str, Any]:
        names = ("id", "question", "answers", "views", "truncated", "failed", "tokens")
        return {**{name: getattr(self, name) for name in names}, **asdict(self.figures)}


@dataclass(frozen=True)
class Parts:
    """A table that is made part by part.

    Attributes:
        path: the whole table, once it is there.
        folder: where its parts lie until then; removed with the last.
        schema: columns.
        fingerprint: of what is asked, see `fingerprint`.
    """

    path: Path
    folder: Path
    schema: Any
    fingerprint: str

    def done(self) -> list[int]:
        """Numbers of the parts that are there; meaningless once the table is whole."""
        stem = self.path.stem
        found = sorted(self.folder.glob(f"{stem}-[0-9]*.parquet"))
        for part in found:
            self._about(part)
        return [int(part.stem.removeprefix(f"{stem}-")) for part in found]

    def whole(self) -> bool:
        """Whether nothing is left to do."""
        return self.path.exists() and bool(self._about(self.path))

    def write(
        self,
        number: int,
        rows: Sequence[Mapping[str, Any]],
        seconds: float,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Keep a part; `counts` are whatever is to be summed over all parts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(list(rows), self.schema)
        self._write(self._part(number), table, seconds, counts or {})

    def join(self, count: int) -> None:
        """Parts 0 to count - 1 become the table."""
        paths = [self._part(number) for number in range(count)]
        tables = [pq.read_table(path).replace_schema_metadata(None) for path in paths]
        seconds = sum(float(self._about(path)["seconds"]) for path in paths)
        whole = pa.concat_tables(tables) if tables else self.schema.empty_table()
        self._write(self.path, whole, seconds, self._summed(paths))

    def read(self) -> tuple[list[dict[str, Any]], float]:
        """Rows of the table, and the seconds that they took."""
        return pq.read_table(self.path).to_pylist(), float(self._about(self.path)["seconds"])

    def counts(self) -> Counter[str]:
        """The counts of all parts that are there, or of the whole table."""
        if self.path.exists():
            return self._summed([self.path])
        return self._summed([self._part(number) for number in self.done()])

    def _summed(self, paths: Sequence[Path]) -> Counter[str]:
        summed: Counter[str] = Counter()
        for path in paths:
            summed.update(self._about(path).get("counts", {}))
        return summed

    def _part(self, number: int) -> Path:
        return self.folder / f"{self.path.stem}-{number:06d}.parquet"

    def _write(self, path: Path, table: Any, seconds: float, counts: Mapping[str, int]) -> None:
        about = json.dumps(
            {"fingerprint": self.fingerprint, "seconds": seconds, "counts": dict(counts)}
        )
        temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
        pq.write_table(table.replace_schema_metadata({"mmupt": about}), temporary)
        temporary.replace(path)

    def _about(self, path: Path) -> dict[str, Any]:
        about: dict[str, Any] = json.loads(pq.read_schema(path).metadata[b"mmupt"])
        if about["fingerprint"] != self.fingerprint:
            raise RunFolderError(
                f"{path}: holds answers to other questions; the data file was changed since. "
                "Choose a new --out"
            )
        return about


def fingerprint(samples: Sequence[Sample]) -> str:
    """A hash of ids, questions and image paths, in their order."""
    asked = [[s.id, s.problem, [str(path) for path in s.images]] for s in samples]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def remove_parts(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def vote_row(row: Mapping[str, Any]) -> VoteRow:
    """A row of the table as it was written; NaN and None stay apart."""
    values = {field.name: row[field.name] for field in fields(RowFigures)}
    values |= {name: tuple(values[name]) for name in ("classes", "shares")}
    return VoteRow(
        id=row["id"],
        answers=tuple(row["answers"]),
        views=tuple(row["views"]),
        truncated=row["truncated"],
        tokens=row["tokens"],
        figures=RowFigures(**values),
        failed=row.get("failed", 0),
        question=row.get("question", ""),
    )


def picture_row(row: Mapping[str, Any]) -> PictureRow:
    answers = {name: tuple(row[name]) for name in ("own", "other", "blank")}
    return PictureRow(row["id"], row["donor"], tokens=row["tokens"], **answers)
