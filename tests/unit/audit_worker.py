"""Many processes that use one database at once, for the tests that start this file.

    python audit_worker.py PROCESSES TASK PLACE [ARGUMENT ...]

Forks from a process that has the modules loaded, holds all of them until the last is there, lets
them run, and prints what each says as one JSON list.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import uuid
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psycopg  # noqa: F401 - loaded once, before the processes part
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401

from mmupt.audit.records import Verdict
from mmupt.audit.store import AuditStore
from mmupt.database import open_database

KEYS = uuid.UUID("00000000-0000-4000-8000-000000000000")


def place_of(name: str) -> Path | str:
    return name if "://" in name else Path(name)


def key(*parts: object) -> str:
    return str(uuid.uuid5(KEYS, "/".join(map(str, parts))))


def opens(number: int, place: str) -> bool:
    """Bring the tables up to date."""
    open_database(place_of(place), "mmupt.audit").dispose()
    return True


def writes(number: int, place: str, each: str) -> list[bool]:
    """Verdicts of its own on units of its own, and in between one that its neighbour sends too."""
    store = AuditStore(place_of(place), "shared")
    verdicts = [
        Verdict(key(number, i), "round-1", f"u{i}", f"r{number}", "accept", seconds=1.0)
        for i in range(int(each))
    ]
    pair = number // 2
    verdicts.insert(1, Verdict(key("pair", pair), "round-1", "u0", f"pair{pair}", "reject"))
    return [store.add(verdict) for verdict in verdicts]


def claims(number: int, place: str, reviewers: str) -> list[str]:
    """Claim until nothing is left, judging every second one."""
    store = AuditStore(place_of(place), "shared")
    found: list[str] = []
    while True:
        item = store.claim("round-1", f"r{number}", reviewers=int(reviewers), lease=600)
        if item is None or item.unit in found:
            return found
        found.append(item.unit)
        if len(found) % 2:
            store.add(Verdict(key(number, item.unit), "round-1", item.unit, f"r{number}", "accept"))


TASKS: dict[str, Callable[..., Any]] = {"opens": opens, "writes": writes, "claims": claims}


def _one(number: int, start: Barrier, answers: Any, task: str, arguments: list[str]) -> None:
    start.wait()
    try:
        answers.put((number, TASKS[task](number, *arguments)))
    except Exception as error:  # noqa: BLE001 - told to the test, which fails
        answers.put((number, f"{type(error).__name__}: {error}"))


def main() -> None:
    processes, task, *arguments = sys.argv[1:]
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(int(processes)), context.Queue()
    running = [
        context.Process(target=_one, args=(number, start, answers, task, arguments))
        for number in range(int(processes))
    ]
    for process in running:
        process.start()
    told = dict(answers.get() for _ in running)
    for process in running:
        process.join()
    sys.stdout.write(json.dumps([told[number] for number in range(len(running))]))


if __name__ == "__main__":
    main()
