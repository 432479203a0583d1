"""A throw-away PostgreSQL, started once by the tests that need it and gone when they end.

It listens on a socket in a folder of its own and writes as safely as one in production (fsync on).
PostgreSQL refuses to run as root: then it runs as the user that Debian's package made for it.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import psycopg
import pytest

CONNECTIONS = 40
"""Fewer than the processes of some tests: those that find no room have to wait."""


def new_database() -> str:
    """The URL of an empty database.

    Skips the test where PostgreSQL is neither installed nor can be: ``make test`` installs it.
    """
    folder = _server()
    if folder is None:
        pytest.skip("PostgreSQL is not installed and `make test` could not install it")
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(f"postgresql://mmupt@/postgres?host={folder}", autocommit=True) as one:
        one.execute(f'CREATE DATABASE "{name}"')
    return f"postgresql://mmupt@/{name}?host={folder}"


def folder_of(url: str) -> Path:
    """Where the server's socket lies."""
    return Path(url.partition("host=")[2])


def _programs() -> Path | None:
    """The newest server of Debian's packages, or the one on the path."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
    )
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return None if on_path is None else Path(on_path).parent


def _owner() -> pwd.struct_passwd:
    """Whom Debian's package made, or somebody who is not root."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


_ENDS = ExitStack()
atexit.register(_ENDS.close)


def close() -> None:
    """Stop the server and remove its folder: a process of pytest-xdist may end without `atexit`."""
    _ENDS.close()


@cache
def _server() -> Path | None:
    """Starts the server; the folder of its socket. Stops with this process, however that ends."""
    programs = _programs()
    if programs is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="mmupt-pg-"))
    _ENDS.callback(shutil.rmtree, folder, ignore_errors=True)
    become = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() == 0:
        user = _owner()
        os.chown(folder, user.pw_uid, user.pw_gid)
        become += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    data, log = folder / "data", folder / "log"
    done = subprocess.run(
        [*become, programs / "initdb", "--pgdata", data, "--username=mmupt", "--auth=trust",
         "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*become, programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=",
             "-c", f"max_connections={CONNECTIONS}", "-c", "fsync=on"],
            cwd=folder, stdout=out, stderr=out,
        )  # fmt: skip
    _ENDS.callback(_stop, server)
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            psycopg.connect(f"postgresql://mmupt@/postgres?host={folder}").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return folder
    raise AssertionError(f"PostgreSQL does not start:\n{log.read_text()}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)  # a fast shutdown: whoever is still connected is dropped
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
