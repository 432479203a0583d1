"""Replies on disk as they come, part by part: a killed evaluation goes on behind them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmupt.data.jsonl import write_jsonl
from mmupt.errors import RunFolderError
from mmupt.evaluate.records import Record, record_of
from mmupt.events import jsonable
from mmupt.runs import write_json

REPLIES = "replies.jsonl"
_OTHERS = {"questions": "other questions", "model": "another model"}


@dataclass(frozen=True)
class Parts:
    """The replies of an evaluation in its folder.

    ``asked/000000.jsonl`` and so on hold a part each: a line with the seconds that it took, then a
    line a question. Once all are there they become ``replies.jsonl``.

    Attributes:
        root: the run folder.
        sizes: questions of each part.
    """

    root: Path
    sizes: tuple[int, ...]

    @property
    def whole(self) -> Path:
        return self.root / REPLIES

    def begun(self) -> bool:
        """Whether parts are there, so that asking or writing is not over."""
        return (self.root / "asked").exists()

    def check(self, asked: Mapping[str, str]) -> None:
        """Refuse a folder whose questions or model are others; remember them in a new one.

        Raises:
            RunFolderError: one of the digests differs.
        """
        path = self.root / "asked.json"
        if not path.exists():
            write_json(path, asked)
            return
        try:
            was = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            was = {}
        was = was if isinstance(was, dict) else {}
        changed = [key for key in asked if was.get(key) != asked[key]]
        if changed:
            raise RunFolderError(
                f"{self.root}: holds an evaluation of {_OTHERS[changed[0]]}; choose a new --out"
            )

    def read(self, number: int) -> tuple[list[Record], float] | None:
        """A part and its seconds; None where it is not there, or a reply in it did not come."""
        found = self.there(number)
        if found is None or not all(record.complete for record in found[0]):
            return None
        return found

    def there(self, number: int) -> tuple[list[Record], float] | None:
        """A part as it was left, also with replies that did not come."""
        path = self._path(number)
        if not path.exists():
            return None
        lines = list(_lines(path))
        try:
            seconds = float(lines[0][0]["seconds"])
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                f"{path}: is no part of an evaluation; delete it and go on"
            ) from error
        records = [record_of(line, place) for line, place in lines[1:]]
        if len(records) != self.sizes[number]:
            raise RunFolderError(f"{path}: has {len(records)} questions; delete it and go on")
        return records, seconds

    def write(self, number: int, records: Sequence[Record], seconds: float) -> None:
        """Keep a part, whole or not at all."""
        path = self._path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(path, [{"seconds": seconds}, *(jsonable(one.line()) for one in records)])

    def finish(self, records: Sequence[Record]) -> None:
        """All records as ``replies.jsonl``."""
        write_jsonl(self.whole, (jsonable(record.line()) for record in records))

    def clear(self) -> None:
        """Remove the parts; for when the figures are written."""
        shutil.rmtree(self.root / "asked", ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.root / "asked" / f"{number:06d}.jsonl"


def read_records(path: Path) -> list[Record]:
    """The records of a ``replies.jsonl``.

    Raises:
        RunFolderError: it cannot be read, or is no such file.
    """
    return [record_of(line, place) for line, place in _lines(path)]


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield json.loads(line), f"{path}:{number}"
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: cannot be read ({error}); evaluate again") from error
