"""One worker at a time for each shard; what a killed worker held is free at once."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claimed(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock file, if nobody else does.

    The kernel holds the lock for the process and lets it go when the process ends, however it
    ends; nothing can be left behind. Over NFS that takes version 4; where a file system knows no
    locks, give each worker shards of its own instead (`--part`).

    Args:
        path: the file; it stays.
        wait: wait until it is free.

    Yields:
        Whether it is held now; always true with `wait`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
