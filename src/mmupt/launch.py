"""`mmupt launch`: a verb in several processes, through torchrun.

torchrun runs in this process, so that its own words go to a log file. What a process dies of stands
in the error file that torchrun gives each of them, and is told here, once.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmupt.errors import ConfigError, ProcessError
from mmupt.processes import EXPECTED

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

VERBS = ("train", "run", "sft", "demo", "eval")
"""Verbs whose work is spread over processes."""

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
GOES_ON = "the same command goes on where this stopped"


@dataclass(frozen=True)
class Launch:
    """What to start.

    Attributes:
        nproc: processes on this node.
        words: verb and arguments of `mmupt`.
        nnodes: nodes; the same command is given on each of them.
        options: further options of torchrun, such as ``("--rdzv-endpoint", "host:29400")``.
    """

    nproc: int
    words: tuple[str, ...]
    nnodes: int = 1
    options: tuple[str, ...] = ()

    def arguments(self, logs: Path | None = None) -> list[str]:
        """For `torch.distributed.run`. Only the first process has the terminal."""
        quiet = ",".join(f"{rank}:3" for rank in range(1, self.nproc))
        return [
            *(["--standalone"] if self.nnodes == 1 else [f"--nnodes={self.nnodes}"]),
            *self.options,
            f"--nproc-per-node={self.nproc}",
            *([f"--redirects={quiet}"] if quiet else []),
            *([f"--log-dir={logs}"] if logs else []),
            *("-m", "mmupt.cli", *self.words),
        ]

    def environment(self) -> dict[str, str]:
        """Cores are shared out unless OMP_NUM_THREADS is set already."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = str(max(1, (cores or 1) // self.nproc))
        return {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
            EXPECTED: str(self.nproc * self.nnodes),
        }

    def command(self) -> str:
        """The same as a line for a shell."""
        settings = [f"{name}={value}" for name, value in self.environment().items()]
        return shlex.join(
            [*settings, sys.executable, "-m", "torch.distributed.run", *self.arguments()]
        )


def check_verb(words: Sequence[str]) -> None:
    """Refuse what does not run in several processes.

    Raises:
        ConfigError: the first word is none of `VERBS`.
    """
    if not words or words[0] not in VERBS:
        found = f"{words[0]!r} is none of them" if words else "none is given"
        raise ConfigError(f"launch runs one of {', '.join(VERBS)} in several processes; {found}")


def launch(plan: Launch) -> int:
    """Run it to its end. Returns the exit code: that of the process that failed first, or 0.

    Raises:
        ProcessError: torchrun itself cannot start, such as for a rendezvous that nobody joins.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    logs = Path(tempfile.mkdtemp(prefix="mmupt-launch-"))
    _log_to(logs / "torchrun.log")
    os.environ.update(plan.environment())
    try:
        run(parse_args(plan.arguments(logs)))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        # The first of them; the others were ended because of it.
        rank, failure = error.get_first_failure()
        (logs / "failures.txt").write_text(str(error), encoding="utf-8")
        return _tell(rank, failure, logs)
    except SignalException as error:
        _say(f"interrupted; {GOES_ON}")
        shutil.rmtree(logs, ignore_errors=True)
        return 128 + int(error.sigval)
    except (OSError, RuntimeError, ValueError) as error:
        logging.getLogger("torch.distributed").exception("torchrun")
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ProcessError(f"the processes cannot be started: {first}; see {logs}") from error
    shutil.rmtree(logs, ignore_errors=True)
    return 0


def launched() -> bool:
    """Whether a launcher started this process and tells its errors."""
    return ERROR_FILE in os.environ


def leave_error(message: str) -> None:
    """Leave the launcher the line that this process dies of."""
    path = Path(os.environ[ERROR_FILE])
    text = json.dumps({"message": message, "timestamp": int(time.time())})
    path.write_text(text, encoding="utf-8")


def _tell(rank: int, failure: ProcessFailure, logs: Path) -> int:
    code = failure.exitcode
    if code == 2 and failure.error_file_data.get("message"):  # an error of ours says it all
        _say(str(failure.message))
        shutil.rmtree(logs, ignore_errors=True)
        return 2
    if code < 0:
        name = signal.Signals(-code).name
        _say(f"process {rank} was ended by {name}; {GOES_ON}; logs: {logs}")
        return 128 - code
    reason = failure.message if failure.error_file_data.get("message") else f"exit code {code}"
    _say(f"process {rank} failed: {reason}; logs: {logs}")
    return code


def _say(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")  # a progress bar that was killed leaves no cursor
    print(f"mmupt: {line}", file=sys.stderr)  # noqa: T201


def _log_to(path: Path) -> None:
    """torchrun's words go to a file instead of the terminal."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    for name in ("torch", "torch.distributed"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
    logging.getLogger("torch.distributed").propagate = True  # once, through its parent
    logging.getLogger("torch.distributed").handlers.clear()
