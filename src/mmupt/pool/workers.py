"""Several workers on one machine, each a process of its own."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any

from mmupt.errors import MmuptError, ProcessError
from mmupt.pool.shards import Plan, Shard
from mmupt.pool.work import own_shards, work

LOOK_SECONDS = 0.5


def run_workers(
    plan: Plan,
    workers: int,
    part: tuple[int, int],
    progress: Callable[[int], None],
    say: Callable[[str], None],
) -> None:
    """Vote on a part of a pool with some processes; one that is killed is replaced by the others.

    Args:
        plan: what is voted on; already in its folder (`join_plan`).
        workers: processes; 1 works in this one.
        part: see `own_shards`.
        progress: told how many rows of the part are done.
        say: told of processes that ended before their time.

    Raises:
        MmuptError: what ended a worker.
        ProcessError: all were killed.
    """
    known = _Done(plan, part)
    if workers == 1:
        work(plan, part, lambda shard, rows: progress(known.with_running(shard, rows)))
    else:
        _in_processes(plan, workers, part, known, progress, say)
    progress(known.rows(now=True))


def _in_processes(
    plan: Plan,
    workers: int,
    part: tuple[int, int],
    known: _Done,
    progress: Callable[[int], None],
    say: Callable[[str], None],
) -> None:
    context = mp.get_context("spawn")
    # Without a lock: a worker that is killed while it holds one would leave us waiting for ever.
    rows = context.RawArray("q", workers)
    pipes: dict[Connection, tuple[int, Any]] = {}
    processes: list[Any] = []
    killed = 0
    try:
        for number in range(workers):
            here, there = context.Pipe(duplex=False)
            process = context.Process(
                target=_worker, args=(plan, part, number, rows, there), daemon=True
            )
            with _interrupts_held():
                process.start()
            processes.append(process)
            there.close()
            pipes[here] = (number, process)
        while pipes:
            ready = wait(list(pipes), LOOK_SECONDS)
            for pipe in [pipe for pipe in pipes if pipe in ready]:
                number, process = pipes.pop(pipe)
                try:
                    error = pipe.recv()
                except (EOFError, OSError):
                    process.join()
                    killed += 1
                    rows[number] = 0
                    say(f"worker {number + 1} {_how(process.exitcode)}; the others take its shards")
                else:
                    if error is not None:
                        raise error
            progress(known.with_all(sum(rows)))
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
    if killed == workers and known.rows(now=True) < known.all_rows:
        raise ProcessError(
            "every worker was killed; what they finished is kept: give the same command again, "
            "with fewer --workers if memory ran out"
        )


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process that starts in here is told of no Ctrl-C, not even while it imports.

    It is given to all processes of a terminal; ours ends the parent, which ends its workers.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _worker(plan: Plan, part: tuple[int, int], number: int, rows: Any, pipe: Connection) -> None:
    Thread(target=_end_with_parent, daemon=True).start()

    def tell(shard: Shard, count: int) -> None:
        rows[number] = 0 if count == shard.rows else count

    try:
        work(plan, part, tell)
    except MmuptError as error:
        pipe.send(error)
    else:
        pipe.send(None)


def _end_with_parent() -> None:
    """Whoever kills the command has ended its workers, too."""
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Done:
    """Rows that are voted on: of finished shards, each looked for until it is there, and more."""

    def __init__(self, plan: Plan, part: tuple[int, int]) -> None:
        self.plan, self.names = plan, set[str]()
        self.open = {shard.name: shard for shard in own_shards(plan, part)}
        self.all_rows = sum(shard.rows for shard in self.open.values())
        self.count = self.most = 0
        self.looked = -LOOK_SECONDS

    def rows(self, *, now: bool = False) -> int:
        """Of the finished shards; looks again only after a while, as there may be many files."""
        if now or time.monotonic() - self.looked >= LOOK_SECONDS:
            finished = [shard for shard in self.open.values() if self.plan.votes(shard).exists()]
            for shard in finished:
                del self.open[shard.name]
                self.names.add(shard.name)
                self.count += shard.rows
            self.looked = time.monotonic()
        return self.count

    def with_running(self, shard: Shard, rows: int) -> int:
        """Together with some of a shard that may be finished already."""
        finished = self.rows()
        return self.with_all(0 if shard.name in self.names else rows, finished)

    def with_all(self, running: int, finished: int | None = None) -> int:
        """Together with rows of shards that are not finished; never goes back."""
        now = (self.rows() if finished is None else finished) + running
        self.most = max(self.most, min(now, self.all_rows))
        return self.most


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return f"ended with code {code}"
