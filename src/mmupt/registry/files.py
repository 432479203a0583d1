"""Reading a model's folder: its files, their content in pieces, and what must not be among them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from mmupt.errors import ModelError

Progress = Callable[[int, int], None]
"""Called with the bytes that are done and those in all, after each piece."""

PIECE = 1 << 20
"""Bytes that are read at a time."""
MAX_FILES = 10_000
"""A folder with more is no model."""
MAX_HEADER = 100_000_000
"""Longest header of a safetensors file in bytes, as its own readers hold it."""
UNSAFE = re.compile(
    r"\.(bin|ckpt|dill|h5|joblib|keras|npy|npz|pickle|pkl|pt|pt2|pth|tar)\Z", re.IGNORECASE
)
"""Names of weights that run code when they are loaded, or may."""
_PICKLE = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04")
"""How a pickle starts, and the zip archive that `torch.save` writes."""


def names(folder: Path) -> list[str]:
    """Everything below a folder that is no folder, links to folders included."""
    found: list[str] = []
    for root, folders, files in os.walk(folder, onerror=_raise):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        found += [(Path(root) / name).relative_to(folder).as_posix() for name in files + links]
        if len(found) > MAX_FILES:
            raise ModelError(f"{folder}: holds more than {MAX_FILES:,} files; that is no model")
    return found


def _raise(error: OSError) -> None:
    raise ModelError(
        f"{printable(str(error.filename))}: cannot be read ({error.strerror})"
    ) from error


def inside(path: Path, folder: Path) -> bool:
    """Whether a path, with all links followed, lies in a folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except RuntimeError:  # links in a circle
        return False


def refuse_unsafe(path: Path, name: str) -> None:
    """Raises ModelError: weights that can run code, a safetensors file that is none, unreadable."""
    shown = printable(str(path))
    try:
        with path.open("rb") as file:
            start, size = file.read(9), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ModelError(f"{shown}: cannot be read ({error.strerror})") from error
    if name.endswith(".safetensors"):
        header = int.from_bytes(start[:8], "little")
        if start[8:] != b"{" or header > min(MAX_HEADER, size - 8):
            raise ModelError(f"{shown}: is no safetensors file; save the model anew")
    elif UNSAFE.search(name) or _PICKLE.match(start):
        raise ModelError(
            f"{shown}: a format that can run code when it is loaded; versions hold safetensors "
            "only: save the model with safe_serialization, and remove this file"
        )


def read_hash(path: Path, done: int, total: int, progress: Progress | None) -> tuple[int, str]:
    """Bytes read and their SHA-256, in pieces: a file may be larger than the memory.

    Args:
        path: a file.
        done: bytes of other files that are read already.
        total: bytes of all files.
        progress: told after each piece.
    """
    digest, size = sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            size += len(piece)
            if progress:
                progress(min(done + size, total), total)
    return size, digest.hexdigest()


def printable(text: str) -> str:
    """For one line: what a file is called may hold anything."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in text
    )
