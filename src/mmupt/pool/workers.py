"""Several workers on one machine, each a process of its own."""

from __future__ import annotations

import multiprocessing as mp
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
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
        running: dict[str, int] = {}

        def tell(shard: Shard, rows: int) -> None:
            running.clear()
            running[shard.name] = rows
            progress(known.rows() + (rows if shard.name not in known.names else 0))

        work(plan, part, tell)
        progress(known.rows())
        return
    context = mp.get_context("spawn")
    rows = context.Array("q", workers)
    pipes: dict[Connection, tuple[int, Any]] = {}
    for number in range(workers):
        here, there = context.Pipe(duplex=False)
        process = context.Process(
            target=_worker, args=(plan, part, number, rows, there), daemon=True
        )
        process.start()
        there.close()
        pipes[here] = (number, process)
    error: str | None = None
    killed = 0
    while pipes:
        ready = wait(list(pipes), LOOK_SECONDS)
        for pipe in [pipe for pipe in pipes if pipe in ready]:
            number, process = pipes.pop(pipe)
            try:
                error = pipe.recv() or error
            except EOFError:
                process.join()
                killed += 1
                rows[number] = 0
                say(f"worker {number + 1} {_how(process.exitcode)}; the others take its shards")
        progress(known.rows() + sum(rows[:]))
        if error is not None:
            for _, process in pipes.values():
                process.terminate()
            raise MmuptError(error)
    if killed == workers and known.rows() < known.all_rows:
        raise ProcessError(
            "every worker was killed; what they finished is kept: give the same command again, "
            "with fewer --workers if memory ran out"
        )


def _worker(plan: Plan, part: tuple[int, int], number: int, rows: Any, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends this

    def tell(shard: Shard, count: int) -> None:
        rows[number] = 0 if count == shard.rows else count

    try:
        work(plan, part, tell)
    except MmuptError as error:
        pipe.send(str(error))
    else:
        pipe.send(None)


class _Done:
    """Rows of finished shards, each looked for until it is there."""

    def __init__(self, plan: Plan, part: tuple[int, int]) -> None:
        self.plan, self.names = plan, set[str]()
        self.open = list(own_shards(plan, part))
        self.all_rows = sum(shard.rows for shard in self.open)
        self.count = 0

    def rows(self) -> int:
        finished = [shard for shard in self.open if self.plan.votes(shard).exists()]
        for shard in finished:
            self.open.remove(shard)
            self.names.add(shard.name)
            self.count += shard.rows
        return self.count


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return f"ended with code {code}"
