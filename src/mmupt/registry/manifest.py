"""What a model's folder holds, byte for byte: the identity of a version."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from mmupt.errors import DatabaseError, ModelError
from mmupt.registry.files import Progress, inside, names, printable, read_hash, refuse_unsafe

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One file.

    Attributes:
        path: relative to the folder, with `/`.
        size: bytes.
        sha256: of its content, 64 hexadecimal digits.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every file of a folder, in the order of their paths."""

    files: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)

    @property
    def json(self) -> str:
        """Canonical: sorted keys, no spaces, ASCII; equal manifests are equal texts."""
        files = [{"path": e.path, "sha256": e.sha256, "size": e.size} for e in self.files]
        return json.dumps(
            {"files": files, "format": _FORMAT}, sort_keys=True, separators=(",", ":")
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
        return sha256(self.json.encode("ascii")).hexdigest()


def build_manifest(folder: Path, progress: Progress | None = None) -> Manifest:
    """Read every file of a model's folder, hidden ones too.

    Raises:
        ModelError: no such folder; no safetensors in it, or one that is none; weights in a format
            that can run code; a link that leaves the folder; a file that cannot be read.
    """
    files = sorted(_files(folder))
    total, done = sum(size for _, size in files), 0
    entries = []
    for name, _ in files:
        path = folder / name
        refuse_unsafe(path, name)
        try:
            size, digest = read_hash(path, done, total, progress)
        except OSError as error:
            raise ModelError(
                f"{printable(str(path))}: cannot be read ({error.strerror})"
            ) from error
        entries.append(Entry(name, size, digest))
        done += size
    if not any(entry.path.endswith(".safetensors") for entry in entries):
        raise ModelError(f"{folder}: holds no .safetensors; save the model as safetensors")
    return Manifest(tuple(entries))


def read_manifest(text: str) -> Manifest:
    """The manifest of a text that `Manifest.json` gave.

    Raises:
        DatabaseError: it is no such text, or a path leaves the folder.
    """
    try:
        value = json.loads(text)
        if set(value) != {"files", "format"} or value["format"] != _FORMAT:
            raise ValueError
        return Manifest(tuple(_entry(**one) for one in value["files"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise DatabaseError(
            f"manifest {printable(text[:80])!r} is not one of mmupt's; restore project.db"
        ) from error


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Path and size of every file.

    Raises:
        ModelError: the folder is none, or holds what is neither a file nor a folder.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: is no folder; a version is a model's folder")
    for name in names(folder):
        path = folder / name
        shown = printable(str(path))
        if path.is_symlink() and not inside(path, folder):
            raise ModelError(
                f"{shown}: is a link that leaves the folder, so that the version could change "
                f"unnoticed; copy the model with its files, as `cp -rL {folder.name} COPY` does"
            )
        try:
            status = path.stat()
        except OSError as error:
            raise ModelError(
                f"{printable(str(path))}: cannot be read ({error.strerror})"
            ) from error
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(
                f"{printable(str(path))}: is no file; a version holds files and folders only"
            )
        yield name, status.st_size


def _entry(path: Any, size: Any, sha256: Any) -> Entry:
    whole = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    if not (whole and isinstance(path, str) and isinstance(sha256, str)):
        raise ValueError
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\0" in path:
        raise ValueError
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError
    return Entry(path, size, sha256)
