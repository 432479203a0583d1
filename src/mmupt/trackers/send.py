"""A listener of a run's events that sends figures to accelerate's trackers.

What a tracker already has is kept in the run's folder, as a place in `events.jsonl`: a resumed run
goes on from there, and a tracker that was away, or is new, gets what it missed.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from mmupt.config import Config
from mmupt.errors import ConfigError
from mmupt.events import Event, EventLog
from mmupt.plugins import load_function
from mmupt.runs import RunFolder, write_json
from mmupt.trackers.figures import Alert, Message, Reader, settings

KEPT = "trackers.json"
"""File in the run's folder: the run's id, and what each tracker has."""
LOCAL = "trackers"
"""Folder in the run's folder for trackers that write files (TensorBoard)."""
PACKAGES = {"comet_ml": "comet-ml", "tensorboard": "'mmupt[trackers]'"}
"""What to install, where it is not named as the tracker."""
KEY = "trackers.report_to"


def tracker_class(name: str) -> Any:
    """The subclass of accelerate's GeneralTracker that a name of `trackers.report_to` means.

    Raises:
        ConfigError: no such tracker, or something is not installed.
    """
    try:
        from accelerate import tracking
        from accelerate.utils import LoggerType
    except ImportError:
        raise ConfigError(
            f"{KEY}: {name} needs accelerate, which is not installed: pip install 'mmupt[trackers]'"
        ) from None
    if ":" in name:
        found = load_function(name, KEY)
        if not (isinstance(found, type) and issubclass(found, tracking.GeneralTracker)):
            raise ConfigError(f"{KEY}: {name} is no subclass of accelerate's GeneralTracker")
        return found
    known = tracking.LOGGER_TYPE_TO_CLASS
    if name not in known:
        raise ConfigError(
            f"{KEY}: no tracker {name!r}; known here: {', '.join(sorted(known))}, or a class of "
            "yours as package.module:Tracker"
        )
    # Not by filter_trackers, which needs accelerate's state, and that would connect the processes.
    ready = {str(one) for one in tracking.get_available_trackers()}
    if name in set(LoggerType.list()) - ready:
        raise ConfigError(
            f"{KEY}: {name} is not installed: pip install {PACKAGES.get(name, name)}, or leave "
            "it out"
        )
    return known[name]


def check_trackers(config: Config) -> None:
    """Refuse trackers that are not there, while nothing is written.

    Raises:
        ConfigError: see `tracker_class`.
    """
    for name in config.trackers.report_to:
        tracker_class(name)


@contextmanager
def tracked(log: EventLog, config: Config, folder: RunFolder) -> Iterator[None]:
    """Send the figures of a run to its trackers for as long as this lasts.

    In the main process of a run only. Whatever a tracker does, the run goes on: one that fails is
    left alone until the run is resumed, with one event `tracker_failed`.
    """
    if not config.trackers.report_to:
        yield
        return
    trackers = Trackers(log, config, folder)
    before = log.listeners
    log.listeners = (*before, trackers)
    try:
        yield
    finally:
        log.listeners = before
        trackers.finish()


class Trackers:
    """The listener. Opening it starts the trackers and sends what they have not got yet."""

    def __init__(self, log: EventLog, config: Config, folder: RunFolder) -> None:
        self._log, self._path = log, folder.root / KEPT
        self._kept = _read(self._path)
        self._kept.setdefault("id", uuid.uuid4().hex)
        self._reader = Reader()
        self._open: dict[str, Any] = {}
        history = list(self._history())
        for name in config.trackers.report_to:
            self._start(name, config, folder, history)

    def __call__(self, event: Event) -> None:
        message = self._reader.read(event) if "time" in event else None
        if message is None:
            return
        for name in list(self._open):
            self._send(name, message)
        self._keep(self._log.path.stat().st_size)

    def finish(self) -> None:
        """Close all of them."""
        for name in list(self._open):
            with self._guarded(name):
                self._open[name].finish()
        self._open.clear()

    def _start(
        self, name: str, config: Config, folder: RunFolder, history: list[tuple[int, Message]]
    ) -> None:
        made, mine = tracker_class(name), self._of(name)
        run_name = config.trackers.run_name or folder.root.resolve().name
        with self._guarded(name):
            place = (str(folder.root / LOCAL),) if made.requires_logging_directory else ()
            known = _identity(name, run_name, self._kept["id"], mine)
            tracker = made(config.trackers.project, *place, **known)
            _tell_state()
            tracker.start()
            self._open[name] = tracker
            if name == "mlflow":
                mine["run"] = tracker.tracker.info.run_id
            if "sent" not in mine:
                tracker.store_init_configuration(settings(config.model_dump(mode="json")))
            mine.setdefault("sent", 0)
        for end, message in history:
            if name in self._open and end > mine["sent"]:
                self._send(name, message)
        if name in self._open and self._log.path.exists():
            mine["sent"] = self._log.path.stat().st_size
        write_json(self._path, self._kept)

    def _send(self, name: str, message: Message) -> None:
        with self._guarded(name):
            tracker = self._open[name]
            values, step = message.values, message.step
            if name == "wandb":
                # Its steps may never fall, and every stage begins at 0: a stage is its own axis.
                axis = f"{message.stage}/step"
                tracker.tracker.define_metric(f"{message.stage}/*", step_metric=axis)
                tracker.log({**values, axis: step})
            else:
                tracker.log(values, step=step)
            if message.alert is not None:
                _alert(name, tracker, message.alert)
            if name == "tensorboard" and message.alert is not None:
                tracker.log({f"{message.stage}/guard/alerts": message.alert.text}, step=step)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """Nothing that a tracker raises ends the run; what it prints is not our output."""
        try:
            with redirect_stdout(sys.stderr):
                yield
        except Exception as error:  # noqa: BLE001  anything, from whatever library
            tracker = self._open.pop(name, None)
            self._log.emit(
                "tracker_failed", tracker=name,
                error=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            )  # fmt: skip
            del tracker

    def _keep(self, end: int) -> None:
        for name in self._open:
            self._of(name)["sent"] = end
        write_json(self._path, self._kept)

    def _of(self, name: str) -> dict[str, Any]:
        mine: dict[str, Any] = self._kept.setdefault("trackers", {}).setdefault(name, {})
        return mine

    def _history(self) -> Iterator[tuple[int, Message]]:
        """Messages of what is in the file, each with the place in bytes where its event ends."""
        if not self._log.path.exists():
            return
        end = 0
        with self._log.path.open("rb") as file:
            for line in file:
                end += len(line)
                try:
                    message = self._reader.read(json.loads(line))
                except ValueError:
                    continue
                if message is not None:
                    yield end, message


def _identity(name: str, run_name: str, run_id: str, mine: dict[str, Any]) -> dict[str, Any]:
    """What makes a resumed run the same one in the tracker, in the tracker's own words."""
    match name:
        case "wandb":
            return {"name": run_name, "id": run_id, "resume": "allow"}
        case "trackio":
            return {"name": f"{run_name}-{run_id[:6]}", "resume": "allow"}
        case "mlflow":
            return {"run_name": run_name, "run_id": mine.get("run")}
        case "comet_ml":
            return {"experiment_key": run_id}
        case "swanlab":
            return {"experiment_name": run_name, "id": run_id[:21], "resume": "allow"}
        case "clearml":
            return {"task_name": run_name, "continue_last_task": "sent" in mine}
        case _:
            return {}


def _alert(name: str, tracker: Any, alert: Alert) -> None:
    if name == "trackio":
        import trackio

        level = trackio.AlertLevel.ERROR if alert.serious else trackio.AlertLevel.WARN
        trackio.alert(title=alert.title, text=alert.text, level=level)
        return
    tell = getattr(tracker.tracker, "alert", None)
    if callable(tell):
        level = "ERROR" if alert.serious else "WARN"
        tell(title=alert.title, text=alert.text, level=level)


def _tell_state() -> None:
    """accelerate's loggers refuse to speak before its state is there; on the CPU, which is free."""
    from accelerate import PartialState

    PartialState(cpu=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
