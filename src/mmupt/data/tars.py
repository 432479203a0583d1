"""WebDataset shards: tar files whose members with one key are one row.

``000017.json`` is the row, in any schema; ``000017.png``, ``000017.0.png``, ``000017.1.png`` its
pictures, in the order of their names, or in that of the row's ``images`` where it names them;
``000017.txt`` is the problem where there is no json, and ``000017.cls`` an answer. Nothing is
extracted: members are read one after the other, bounded, and only those that are plain files.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from mmupt.data.entries import MAX_ROW_BYTES
from mmupt.data.images import printable
from mmupt.data.pictures import MAX_PICTURE_BYTES
from mmupt.data.records import Record, Row
from mmupt.data.rows import decode
from mmupt.errors import InputError

_PICTURES: Final = frozenset({"png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "img"})
_TEXTS: Final = {"json": "json", "txt": "problem", "cls": "answer"}
MAX_MEMBERS: Final = 64
"""Members of one row."""
_MAX_SAMPLE_BYTES: Final = 2**28
"""All members of one row together."""


@dataclass(slots=True)
class _Members:
    """What is read of one key: its members by extension, and what is wrong with them."""

    key: str
    parts: dict[str, bytes] = field(default_factory=dict)
    size: int = 0
    wrong: str = ""


def tar_records(path: Path) -> Iterator[Record]:
    """The rows of a shard, streamed.

    Raises:
        InputError: no tar file, truncated, or a member beyond all limits.
    """
    name, stem = printable(path), printable(path.name.split(".")[0])
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
            forward = _Forward(stream)
            with tarfile.open(fileobj=cast(IO[bytes], forward), mode="r:") as tar:
                for members in _samples(tar):
                    shown = printable(members.key, 80)
                    yield Record(
                        f"{name}: sample {shown}", f"{stem}-{shown}", partial(_row, members)
                    )
            if not forward.ended:  # tarfile takes damage between members for the end
                raise InputError("is truncated or damaged; write it again")
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise InputError(
            f"{name} cannot be read as a tar shard ({printable(error, 120)}); write it again"
        ) from error


def _samples(tar: tarfile.TarFile) -> Iterator[_Members]:
    """Members grouped by key; those of one key stand together."""
    current: _Members | None = None
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # it would remember every member
        if member.isdir():
            continue
        folder, _, base = member.name.rpartition("/")
        key, _, extension = base.partition(".")
        if key.startswith("__") and key.endswith("__"):
            continue  # what the shard's writer says about itself
        key = f"{folder}/{key}" if folder else key
        if current is None or current.key != key:
            if current is not None:
                yield current
            current = _Members(key)
        _add(current, tar, member, extension.lower())
    if current is not None:
        yield current


def _add(members: _Members, tar: tarfile.TarFile, member: tarfile.TarInfo, extension: str) -> None:
    """Read one member, or note why it is not read."""
    shown = printable(member.name, 80)
    if not member.isreg():
        members.wrong = members.wrong or f'member "{shown}" is a link or a device, expected a file'
        return
    if PurePosixPath(member.name).is_absolute() or ".." in PurePosixPath(member.name).parts:
        members.wrong = members.wrong or f'member "{shown}" leads outside the shard; rename it'
        return
    last = extension.rpartition(".")[2]
    if last not in _PICTURES and last not in _TEXTS:
        return  # audio, features, masks: not ours
    limit = MAX_PICTURE_BYTES if last in _PICTURES else MAX_ROW_BYTES
    if member.size > limit:
        members.wrong = members.wrong or (
            f'member "{shown}" has {member.size:,} bytes, the limit is {limit:,}'
        )
        return
    members.size += member.size
    if len(members.parts) >= MAX_MEMBERS or members.size > _MAX_SAMPLE_BYTES:
        members.wrong = members.wrong or (
            f"more than {MAX_MEMBERS} members or {_MAX_SAMPLE_BYTES:,} bytes in one sample"
        )
        return
    if extension in members.parts:
        members.wrong = members.wrong or f'member "{shown}" is there twice'
        return
    file = tar.extractfile(member)
    assert file is not None  # noqa: S101  # plain files have content
    data = file.read()
    if len(data) != member.size:
        raise InputError(f'ends within member "{shown}"; write it again')
    members.parts[extension] = data


def _row(members: _Members) -> Row:
    """The row of a key.

    Raises:
        InputError: members that cannot be used, no question among them, or a row that names
            pictures that are not.
    """
    if members.wrong:
        raise InputError(members.wrong)
    pictures = {
        extension: data
        for extension, data in sorted(members.parts.items(), key=_natural)
        if extension.rpartition(".")[2] in _PICTURES
    }
    row: dict[str, object] = dict(decode(members.parts["json"])) if "json" in members.parts else {}
    for extension, column in _TEXTS.items():
        if extension != "json" and extension in members.parts and row.get(column) is None:
            if column == "problem" and "json" in members.parts:
                continue  # a caption beside a row of its own
            row[column] = _decoded(members.parts[extension], extension)
    if not row:
        raise InputError("no .json and no .txt member; add the question")
    return _with_pictures(row, pictures, members.key)


def _with_pictures(row: dict[str, object], pictures: dict[str, bytes], key: str) -> Row:
    """Names of members become their bytes; a row that names none gets all, in order."""
    base = key.rpartition("/")[2]
    names = {f"{base}.{extension}": data for extension, data in pictures.items()}
    listed = row.get("images")
    if isinstance(listed, list) and listed:
        return row | {"images": [_member(value, names) for value in listed]}
    if row.get("image") is not None:
        return row | {"image": _member(row["image"], names)}
    if not names:
        return row
    return {k: v for k, v in row.items() if k != "image"} | {"images": list(names.values())}


def _member(value: object, names: dict[str, bytes]) -> object:
    """A picture by the name of its member; addresses stay, for the reader to take or refuse."""
    if not isinstance(value, str) or value[:5].lower() == "data:" or "://" in value:
        return value
    wanted = value.rpartition("/")[2].lower()
    found = next((data for name, data in names.items() if name.lower() == wanted), None)
    if found is None:
        have = ", ".join(printable(name, 40) for name in list(names)[:5]) or "none"
        raise InputError(
            f'image "{printable(value, 80)}" is no member of its sample (members: {have})'
        )
    return found


def _natural(item: tuple[str, bytes]) -> list[tuple[int, str]]:
    """2.png before 10.png."""
    return [
        (int(part), "") if part.isascii() and part.isdigit() and len(part) < 19 else (-1, part)
        for part in re.split(r"(\d+)", item[0])
    ]


def _decoded(data: bytes, extension: str) -> str:
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f".{extension} is not UTF-8; save it as UTF-8") from error


class _Forward:
    """A stream that is only read forward, and never much at a time.

    `tarfile` reads extended headers of any length whole and steps one byte back before each
    member; both are answered here without holding or unpacking anything twice.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0
        self._last = b""
        self._back = False
        self.ended = False
        """Whether the last block was empty, as the end of a tar file is."""

    def tell(self) -> int:
        return self._position - self._back

    def seek(self, position: int, whence: int = 0) -> int:
        if whence != 0 or position < self._position - 1:
            raise InputError("jumps backwards, expected a plain tar file")
        if position == self._position - 1:
            if self._position and not self._last:
                raise InputError("jumps backwards, expected a plain tar file")
            self._back = True
            return position
        self._back = False
        while self._position < position:
            if not self._take(min(position - self._position, 2**20)):
                break
        return self._position

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > MAX_PICTURE_BYTES:
            raise InputError(f"asks for {size:,} bytes at once, expected small headers")
        if self._back and size:
            self._back = False
            return self._last + (self._take(size - 1) if size > 1 else b"")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._position += len(data)
        self._last = data[-1:] or self._last
        self.ended = len(data) == tarfile.BLOCKSIZE and not data.strip(b"\0")
        return data
