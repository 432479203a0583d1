"""Energy that a stage took: measured where the machine offers it, else power x time, else unknown.

Linux shows the counters of the processor's RAPL ("running average power limit") as files:
``/sys/class/powercap/intel-rapl:0/energy_uj`` and so on, microjoules that begin again at 0 after
``max_energy_range_uj`` (Documentation/power/powercap/powercap.rst of the kernel; AMD's have the
same names). Package and memory are added up; cores lie within a package. They are of the whole
machine, whoever else works on it, and of no GPU. Many systems let only root read them.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from mmupt.events import Event, EventLog
from mmupt.ledger.compute import Compute, figure

POWERCAP = Path("/sys/class/powercap")
READ_EVERY = 60.0
"""Seconds between readings. A counter must not come round twice in between: 262 kJ, a usual range,
last more than four minutes at 1000 W."""

_ZONE = re.compile(r"intel-rapl:\d+(:\d+)?")
_COUNTED = re.compile(r"package-\d+|dram")


class Energy(NamedTuple):
    """Energy of a stage.

    Attributes:
        joules: None where nothing measures or estimates it.
        how: where the figure comes from.
    """

    joules: float | None
    how: str


@dataclass
class _Counter:
    """One RAPL counter: its file, the value after which it begins again, its last reading."""

    path: Path
    range_uj: int
    last_uj: int


class EnergyMeter:
    """Joules since it was made, or entered; then it reads its counters in the background.

    Attributes:
        joules: until the last reading; None where no counter can be read, also where one could be
            at first and then not any more.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._counters = list(_counters(root))
        self._microjoules: int | None = 0 if self._counters else None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._reader: threading.Thread | None = None

    @property
    def joules(self) -> float | None:
        return None if self._microjoules is None else self._microjoules / 1e6

    def read(self) -> None:
        """Add what the counters have counted since the last reading."""
        with self._lock:
            for counter in self._counters:
                reading = _number(counter.path)
                if reading is None or self._microjoules is None:
                    self._microjoules = None
                    return
                passed = reading - counter.last_uj
                self._microjoules += passed if passed >= 0 else passed + counter.range_uj
                counter.last_uj = reading

    def __enter__(self) -> EnergyMeter:
        if self._counters:
            self.read()
            self._microjoules = 0 if self._microjoules is not None else None
            self._reader = threading.Thread(target=self._keep_reading, daemon=True)
            self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._reader is not None:
            self._reader.join()
        self.read()

    def _keep_reading(self) -> None:
        while not self._over.wait(READ_EVERY):
            self.read()


@contextmanager
def measured(log: EventLog, stage: str, root: Path = POWERCAP) -> Iterator[None]:
    """Tell the energy of what is done within as an event ``energy``; nothing where it is unknown.

    Args:
        stage: as the ledger names it, such as ``round-1/train``.
    """
    started, meter = time.perf_counter(), EnergyMeter(root)
    try:
        with meter:
            yield
    finally:
        if meter.joules is not None:
            seconds = time.perf_counter() - started
            log.emit("energy", stage=stage, joules=meter.joules, seconds=seconds)


def energy_of(
    events: Iterable[Event],
    stage: str,
    compute: Compute,
    watts: float | None = None,
    *,
    gpu: bool = False,
) -> Energy:
    """Energy of `stage`: measured (events ``energy``), else `watts` x seconds, else unknown.

    Args:
        events: of the whole run; those of type ``energy`` have ``stage``, ``joules`` and
            ``seconds``, the time that was measured.
        compute: of the same stage.
        watts: power of the machine at work, `roi.watts`.
        gpu: the work was a GPU's, which RAPL does not see: then `watts` comes first.
    """
    own = [
        event
        for event in events
        if isinstance(event, dict) and event.get("type") == "energy" and event.get("stage") == stage
    ]
    if own and not (gpu and watts is not None):
        joules = sum(figure(event, "joules") for event in own)
        over = sum(figure(event, "seconds") for event in own)
        what = "processor and memory" + (", without the GPU" if gpu else "")
        # What a killed attempt took was not measured to its end.
        part = "" if over >= compute.seconds else f", {over:.1f} of {compute.seconds:.1f} s"
        return Energy(joules, f"measured: RAPL, {what}{part}")
    if watts is not None:
        return Energy(watts * compute.seconds, f"estimated: {watts:g} W x {compute.seconds:.1f} s")
    return Energy(None, "not available")


def _counters(root: Path) -> Iterable[_Counter]:
    """Those that can be read; none rather than some, as a part would look like the whole."""
    found = []
    try:
        zones = sorted(zone for zone in root.iterdir() if _ZONE.fullmatch(zone.name))
    except OSError:
        return []
    for zone in zones:
        name = _text(zone / "name")
        if name is None or _COUNTED.fullmatch(name) is None:
            continue
        reading, most = _number(zone / "energy_uj"), _number(zone / "max_energy_range_uj")
        if reading is None or not most:
            return []
        found.append(_Counter(zone / "energy_uj", most, reading))
    return found


def _text(path: Path) -> str | None:
    try:
        with path.open(encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return None


def _number(path: Path) -> int | None:
    found = _text(path)
    return int(found) if found is not None and found.isdecimal() else None
