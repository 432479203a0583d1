"""A review server that is killed again and again while verdicts arrive.

    python review_worker.py PROJECT KILLS

Forks a server from a process that has the modules loaded, sends verdicts one after the other, kills
the server with SIGKILL at some moment, and prints as JSON which verdicts were acknowledged, which
were not, and how often the kill came while one was under way.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import sys
import threading
import uuid
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401 - loaded once
from review_site import desk_of

from mmupt.pipeline.project import find_project
from mmupt.review.serve import serve


def _serve(project: Path, tell: Connection) -> None:
    serve(
        desk_of(find_project(project), blind=False), ["aiko"], host="127.0.0.1", port=0, lang="en",
        tell=lambda _who, link, first: tell.send(link) if first else None,
    )  # fmt: skip


def kills(project: Path, times: int) -> dict[str, list[str]]:
    context = multiprocessing.get_context("fork")
    told: dict[str, list[str]] = {"acknowledged": [], "cut": []}
    chance = random.Random(0)
    position = 0
    for _ in range(times):
        here, there = context.Pipe()
        server = context.Process(target=_serve, args=(project, there))
        server.start()
        link = here.recv()
        with httpx.Client(base_url=link.partition("/?")[0], timeout=20) as client:
            client.get(link).raise_for_status()
            found = re.search(r'name="csrf" value="([^"]+)"', client.get("/progress").text)
            assert found is not None
            assert server.pid is not None
            killer = threading.Timer(
                chance.uniform(0.0, 0.03), os.kill, (server.pid, signal.SIGKILL)
            )
            left = chance.randint(
                3, 12
            )  # verdicts until it gets ready, however slow the machine is
            while True:
                if left == 0:
                    killer.start()
                left -= 1
                key = str(uuid.uuid4())
                form = {
                    "csrf": found[1], "audit": "round-1", "item": str(position), "key": key,
                    "kind": "accept", "seconds": "1",
                }  # fmt: skip
                try:
                    reply = client.post("/verdict", data=form)
                except httpx.TransportError:
                    told["cut"].append(key)
                    break
                assert reply.status_code == 303, reply.text
                told["acknowledged"].append(key)
                position += 1
        killer.join()
        server.join()
        assert server.exitcode == -signal.SIGKILL
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(kills(Path(sys.argv[1]), int(sys.argv[2]))))
