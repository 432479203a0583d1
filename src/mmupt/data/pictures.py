"""Pictures of rows as files: paths stay where they are, bytes are written once, by their hash.

Rows hold pictures as paths, as bytes (Hugging Face's ``Image``: ``{bytes, path}``), or as ``data:``
addresses. `Sample.images` are paths, so what is inside a row goes to a folder beside the data,
named by the hash of its content: the same picture is one file, however many rows show it, and a
file that is there is a file that was checked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from mmupt.data.images import MAX_PIXELS, ImageFolder, check_image_bytes, printable
from mmupt.errors import InputError

FOLDER_NAME: Final = ".mmupt-pictures"
"""Where pictures from inside rows are, in the data root."""

MAX_PICTURE_BYTES: Final = 64 * 2**20
"""Largest picture inside a row, in bytes."""

MAX_STORE_BYTES: Final = 256 * 2**30
"""Default limit of all pictures in one folder, in bytes."""

_REMEMBERED: Final = 100_000
_SUFFIX: Final = {
    "PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif",
}  # fmt: skip
_DATA: Final = re.compile(r"\s*data:", re.I)


class PictureStore:
    """A folder of pictures named by the SHA-256 of their bytes.

    Args:
        folder: made when the first picture is written.
        max_pixels: largest picture, in pixels.
        max_bytes: largest sum of all files in it; what is there already counts.
    """

    def __init__(
        self, folder: Path, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_STORE_BYTES
    ) -> None:
        self.folder = folder
        self._max_pixels = max_pixels
        self._max_bytes = max_bytes
        self._known: dict[bytes, Path] = {}
        self._used: int | None = None

    def put(self, data: bytes, name: str) -> Path:
        """The file of a picture; checked before it appears.

        Args:
            data: the whole picture file.
            name: what it is called in messages.

        Raises:
            InputError: not a usable picture, too large, the folder is full or cannot be written.
        """
        digest = hashlib.sha256(data).digest()
        if digest in self._known:
            return self._known[digest]
        path = self.place(data, name)
        try:
            self._refuse_links(path)
            if not path.is_file() or path.read_bytes() != data:
                self._write(path, data)
        except OSError as error:
            raise InputError(
                f"{name} cannot be written to {printable(self.folder)} ({error.strerror}); copy "
                "the data to a folder that may be written to, or use mmupt data convert"
            ) from error
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[digest] = path
        return path

    def place(self, data: bytes, name: str) -> Path:
        """Where a picture belongs; nothing is written.

        Raises:
            InputError: not a usable picture, or too large.
        """
        if len(data) > MAX_PICTURE_BYTES:
            raise InputError(
                f"{name} has {len(data):,} bytes, the limit inside a row is "
                f"{MAX_PICTURE_BYTES:,}; make it smaller"
            )
        kind = check_image_bytes(data, name, max_pixels=self._max_pixels)
        text = hashlib.sha256(data).hexdigest()
        return self.folder.resolve() / text[:2] / f"{text}{_SUFFIX.get(kind, '.img')}"

    def forget_all(self) -> None:
        """Remove the pictures that this object wrote: for who passes over rows once."""
        for path in self._known.values():
            with suppress(OSError):
                path.unlink()
        self._known.clear()
        self._used = 0

    def _refuse_links(self, path: Path) -> None:
        """Data that comes with a folder of this name could lead what is written elsewhere."""
        for part in (self.folder, path.parent):
            if part.is_symlink():
                raise InputError(f"{printable(part)} is a link, expected a folder; remove it")
        if path.is_symlink():
            path.unlink()

    def _write(self, path: Path, data: bytes) -> None:
        if self._used is None:
            self._used = _size_of(self.folder)
        if self._used + len(data) > self._max_bytes:
            raise InputError(
                f"{printable(self.folder)} holds {self._used:,} bytes, the limit is "
                f"{self._max_bytes:,}; remove the folder (it is made again from the data), or "
                "write the pictures to disk with mmupt data convert --images copy"
            )
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink()
        self._used += len(data)


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*/*") if file.is_file())


class Pictures(Protocol):
    """Whatever turns a picture of a row into a file."""

    def of(self, value: str | bytes, name: str) -> Path:
        """The file of a path, an address with data, or bytes."""
        ...


class RowPictures:
    """The pictures of a data set: paths below its root, bytes in its store.

    Args:
        folder: what paths are relative to and may not leave.
        store: where bytes go.
    """

    def __init__(self, folder: ImageFolder, store: PictureStore) -> None:
        self._folder = folder
        self.store = store

    def of(self, value: str | bytes, name: str) -> Path:
        """An absolute path.

        Raises:
            InputError: a path that `ImageFolder` refuses, an address that is not data, or bytes
                that are no usable picture.
        """
        if isinstance(value, bytes):
            return self.store.put(value, f'image in "{name}"')
        if _DATA.match(value):
            return self.store.put(data_of(value, name), f'image in "{name}"')
        return self._folder.resolve(value)


def data_of(address: str, name: str) -> bytes:
    """The bytes of ``data:image/png;base64,...``.

    Raises:
        InputError: not base64, or a kind of data that is no picture.
    """
    head, comma, body = address.strip().partition(",")
    shown = printable(head, 60)
    if not comma or not head.lower().endswith(";base64"):
        raise InputError(
            f'"{name}" is the address "{shown}", expected data:image/png;base64,... with the '
            "picture in base64"
        )
    kind = head[len("data:") :].partition(";")[0].strip().lower()
    if kind and not kind.startswith("image/") and kind != "application/octet-stream":
        raise InputError(f'"{name}" holds {printable(kind, 40)} and no picture')
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(
            f'"{name}" is not base64 ({printable(error, 80)}); encode the picture again'
        ) from error
