"""What happened, as an append-only JSONL: consoles, trackers and reports read nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Listener = Callable[[Event], None]


class EventLog:
    """Appends events to a file, one flushed line each, and tells the listeners."""

    def __init__(self, path: Path, listeners: tuple[Listener, ...] = ()) -> None:
        self.path = path
        self.listeners = listeners
        path.parent.mkdir(parents=True, exist_ok=True)
        _end_torn_line(path)

    def emit(self, event_type: str, **fields: Any) -> None:
        event: Event = {"type": event_type, "time": datetime.now(UTC).isoformat(), **fields}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(jsonable(event), ensure_ascii=False) + "\n")
        self._tell(event)

    def tell(self, event_type: str, **fields: Any) -> None:
        """For the listeners only, such as progress within an evaluation."""
        self._tell({"type": event_type, **fields})

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)


class SilentLog(EventLog):
    """For the processes of a run that write nothing; the main one has the events."""

    def __init__(self) -> None:
        self.listeners = ()

    def emit(self, event_type: str, **fields: Any) -> None:
        """Nothing."""


def read_events(path: Path) -> Iterator[Event]:
    """The events of a file in order; half a line that a killed run left is passed over."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue


def jsonable(value: Any) -> Any:
    """NaN and infinities, which JSON has no word for, become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    return value


def _end_torn_line(path: Path) -> None:
    """A killed run may leave half a line; the next event must not be glued to it."""
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as file:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
