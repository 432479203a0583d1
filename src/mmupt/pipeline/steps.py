"""The steps of a project: each is done once, and known by a hash of what determines its output.

A step's record says what it was made of and what it left. A finished step with the same identity
is not repeated; one that was interrupted goes on; one whose inputs have changed since is refused,
or made anew where that costs nothing that cannot be had again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from mmupt.database import now
from mmupt.errors import RefusedError, RunFolderError
from mmupt.events import EventLog, jsonable
from mmupt.ledger.energy import EnergyMeter
from mmupt.pipeline.digests import digest
from mmupt.processes import ALONE, Processes
from mmupt.runs import write_json
from mmupt.version import __version__

State = Literal["running", "finished"]
Outputs = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What is known of a step.

    Attributes:
        step: its name, such as `sft` or `round-1/train`.
        state: `running` from its start until it is finished, also where it was killed.
        identity: hash of step, inputs and code version.
        inputs: what determines its output, by name; `model`, data digests, settings.
        code: version of mmupt.
        started, finished: UTC, ISO 8601; `finished` is empty until then.
        seconds: of the run that finished it.
        outputs: what it left.
    """

    step: str
    state: State
    identity: str
    inputs: Mapping[str, Any]
    code: str
    started: str
    finished: str = ""
    seconds: float = 0.0
    outputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Steps:
    """The steps of one project.

    Attributes:
        folder: where the records lie.
        log: events.
        processes: who works on a step together; the main one keeps the records.
    """

    folder: Path
    log: EventLog
    processes: Processes = ALONE

    def record(self, step: str) -> Record | None:
        """What is known of a step; None: it has not begun."""
        return read_record(self.folder, step)

    def do(
        self,
        step: str,
        inputs: Mapping[str, Any],
        work: Callable[[], Mapping[str, Any]],
        *,
        discard: Callable[[], None],
        renew: bool = False,
    ) -> Outputs:
        """Do a step unless it is done, and return what it left.

        Args:
            step: its name.
            inputs: what determines its output; plain JSON.
            work: does it; called in all processes, and able to go on where it was killed.
            discard: removes what an earlier, different attempt has left.
            renew: changed inputs make it anew instead of being refused.

        Raises:
            RefusedError: it is finished, but was made of something else.
        """
        known = self.processes.told(lambda: self.record(step))
        inputs = _plain(inputs)
        identity = digest([step, inputs, __version__])
        if known is not None and known.state == "finished":
            if known.inputs == inputs:  # whichever version made it, it is what it was
                return dict(known.outputs)
            if not renew:
                raise RefusedError(f"{self.folder.parent}: {step} {_difference(known, inputs)}")
        begin = known is None or known.identity != identity
        started = now() if begin or known is None else known.started
        if self.processes.main and begin:
            if known is not None:
                discard()
                self.log.emit("step_discarded", step=step, reason=_difference(known, inputs))
            self._write(Record(step, "running", identity, dict(inputs), __version__, started))
        self.processes.wait()
        self.log.emit("step_started", step=step, identity=identity)
        clock = time.perf_counter()
        with EnergyMeter() as meter:
            outputs = dict(work())
        if meter.joules is not None:
            elapsed = time.perf_counter() - clock
            self.log.emit("energy", stage=step, joules=meter.joules, seconds=elapsed)
        outputs = self.processes.told(lambda: json.loads(json.dumps(outputs)))
        if self.processes.main:
            seconds = time.perf_counter() - clock
            self._write(
                Record(
                    step, "finished", identity, dict(inputs), __version__, started, now(), seconds,
                    outputs,
                )
            )  # fmt: skip
            self.log.emit("step_finished", step=step, identity=identity, seconds=seconds)
        self.processes.wait()
        return outputs

    def _write(self, record: Record) -> None:
        write_json(path_of(self.folder, record.step), asdict(record))


def path_of(folder: Path, step: str) -> Path:
    """`round-1/train` is kept in `round-1.train.json`."""
    return folder / f"{step.replace('/', '.')}.json"


def read_record(folder: Path, step: str) -> Record | None:
    """What is known of a step; None: it has not begun.

    Raises:
        RunFolderError: its record has been damaged.
    """
    path = path_of(folder, step)
    try:
        return _checked(Record(**json.loads(path.read_text(encoding="utf-8"))), step)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise RunFolderError(
            f"{path}: is no record of a stage ({error}); restore it from a backup, or remove it to "
            "do that stage again"
        ) from error


def _checked(record: Record, step: str) -> Record:
    """Raises ValueError: not what `Steps` wrote for this step."""
    texts = (record.step, record.identity, record.code, record.started, record.finished)
    if not all(isinstance(text, str) for text in texts) or record.step != step:
        raise ValueError(f"it is about {str(record.step)[:80]!r}")
    if record.state not in get_args(State):
        raise ValueError(f"state {str(record.state)[:40]!r}")
    if not (isinstance(record.inputs, dict) and isinstance(record.outputs, dict)):
        raise ValueError("inputs and outputs are no tables")
    if isinstance(record.seconds, bool) or not isinstance(record.seconds, int | float):
        raise ValueError(f"seconds {str(record.seconds)[:40]!r}")
    return record


def _plain(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """As a record gives them back: lists for tuples, null for what JSON has no word for."""
    found: dict[str, Any] = json.loads(json.dumps(jsonable(inputs)))
    return found


def _difference(known: Record, inputs: Mapping[str, Any]) -> str:
    """What a step was made of and is not any more, in words."""
    was, now_ = known.inputs, inputs
    changed = [key for key in {**was, **now_} if was.get(key) != now_.get(key)]
    if not changed:
        return f"was begun by mmupt {known.code}, this is {__version__}"
    key = changed[0]
    old, new = (str(tree.get(key))[:40] for tree in (was, now_))
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return (
        f"was made with another {key} (was {old}, now {new}){more}; put it back, or choose a new "
        "--out"
    )
