"""One worker at a time for each shard; what a killed worker held is free at once."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mmupt.errors import RunFolderError

_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextmanager
def claimed(path: Path, *, wait: bool = False, needed: bool = True) -> Iterator[bool]:
    """Hold a lock file, if nobody else does.

    The kernel holds the lock for the process and lets it go when the process ends, however it
    ends; nothing can be left behind. Over NFS that takes version 4; where a file system knows no
    locks, give each worker shards of its own instead (`--part`).

    Args:
        path: the file; it stays.
        wait: wait until it is free.
        needed: refuse to go on where locks do not work; otherwise go on as if it were held.

    Yields:
        Whether it is held now; always true with `wait`.

    Raises:
        RunFolderError: the file cannot be written, or locks do not work and are needed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if error.errno not in _NO_LOCKS or needed:
                raise RunFolderError(
                    f"{path}: cannot be locked ({error.strerror}); give each worker shards of its "
                    "own with --part"
                ) from error
        yield True
