"""Whether a model's folder still is what was registered."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmupt.registry.files import Progress, inside, names, printable, read_hash
from mmupt.registry.manifest import Entry, Manifest

FaultKind = Literal["changed", "missing", "added", "unreadable", "record"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is not as it was registered.

    Attributes:
        kind: what happened to the file; `record`: to the registry's own record.
        path: the file, relative to the folder; "." is the folder.
        text: in plain words, without the file.
    """

    kind: FaultKind
    path: str
    text: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.text}"


def glance(folder: Path, manifest: Manifest) -> tuple[Fault, ...]:
    """What can be seen without reading the files: whether they are there, and how long."""
    if not folder.is_dir():
        return (Fault("missing", ".", f"the folder {folder} is gone"),)
    return tuple(fault for entry in manifest.files if (fault := _glance(folder, entry)))


def verify(folder: Path, manifest: Manifest, progress: Progress | None = None) -> tuple[Fault, ...]:
    """Compare a folder with its manifest; nothing: it is what was registered, byte for byte."""
    if not folder.is_dir():
        return glance(folder, manifest)
    faults, total, done = [], manifest.size, 0
    for entry in manifest.files:
        fault = _glance(folder, entry) or _compare(folder, entry, done, total, progress)
        if fault:
            faults.append(fault)
        done += entry.size
        if progress:
            progress(done, total)
    known = {entry.path for entry in manifest.files}
    for name in sorted(names(folder)):
        if name not in known:
            faults.append(Fault("added", name, "added; it was not there when registered"))
    return tuple(faults)


def _glance(folder: Path, entry: Entry) -> Fault | None:
    path = folder / entry.path
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Fault("missing", entry.path, "missing")
    except OSError as error:
        return Fault("unreadable", entry.path, f"cannot be read ({error.strerror})")
    if not inside(path, folder):
        return Fault("changed", entry.path, "changed; it is now a link out of the folder")
    if not stat.S_ISREG(status.st_mode):
        return Fault("changed", entry.path, "changed; it is no longer a file")
    if status.st_size != entry.size:
        text = f"changed; {status.st_size:,} bytes, registered with {entry.size:,}"
        return Fault("changed", entry.path, text)
    return None


def _compare(
    folder: Path, entry: Entry, done: int, total: int, progress: Progress | None
) -> Fault | None:
    try:
        _, digest = read_hash(folder / entry.path, done, total, progress)
    except OSError as error:
        return Fault("unreadable", entry.path, f"cannot be read ({error.strerror})")
    if digest == entry.sha256:
        return None
    return Fault(
        "changed",
        entry.path,
        f"changed; as long as before ({entry.size:,} bytes), but its SHA-256 is "
        f"{digest[:12]}..., registered as {entry.sha256[:12]}...",
    )
