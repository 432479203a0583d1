"""What one picture is, and what it tells about whoever took it."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from mmupt.data.images import MAX_PIXELS, opened_image, rgb, upright

_SIDE: Final = 128
"""Pictures are made about this large before they are hashed; a hash looks at 32 x 32."""
_FLAT: Final = 8
"""Levels of gray between darkest and brightest below which a picture shows nothing."""

_GPS, _EXIF = 0x8825, 0x8769
_ORIENTATION: Final = 0x0112
_SERIALS: Final = (0xA431, 0xA435, 0xC62F)  # body, lens, DNG's camera
_OWNERS: Final = (0xA430, 0x013B)  # owner, artist
_COPYRIGHT: Final = 0x8298
_TIMES: Final = (0x9003, 0x0132)
NOTES: Final = ("gps", "serial", "owner", "copyright", "time", "rotated", "flat")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was decoded.

    Attributes:
        sha256: of the file.
        width, height: in pixels, upright.
        format: one of `mmupt.data.images.FORMATS`.
        phash: 64 bits (DCT, as `imagehash.phash`), None for a picture that shows nothing.
        notes: which of `NOTES` hold.
    """

    sha256: bytes
    width: int
    height: int
    format: str
    phash: int | None
    notes: frozenset[str]


def inspect(path: Path) -> Picture:
    """Decode a picture, small where its format can, and look at its metadata.

    Raises:
        InputError: as `mmupt.data.images.load_image`.
    """
    with opened_image(path, MAX_PIXELS, "") as image:
        digest = hashlib.sha256(path.read_bytes()).digest()
        width, height = image.size
        kind = str(image.format)
        notes = _metadata(image)
        image.draft("L", (_SIDE, _SIDE))  # JPEG: an eighth of the work
        small = upright(rgb(image), image).convert("L")
    if "rotated" in notes and (small.width > small.height) != (width > height):
        width, height = height, width
    low, high = small.getextrema()
    flat = float(high) - float(low) < _FLAT  # type: ignore[arg-type]
    if flat:
        notes |= {"flat"}
    return Picture(digest, width, height, kind, None if flat else _phash(small), frozenset(notes))


def _phash(gray: Image.Image) -> int:
    import imagehash
    import numpy as np

    bits = imagehash.phash(gray).hash
    return int.from_bytes(np.packbits(bits.flatten()).tobytes(), "big")


def _metadata(image: Image.Image) -> set[str]:
    """What EXIF, XMP and PNG texts say; unreadable metadata says nothing."""
    notes: set[str] = set()
    try:
        exif = image.getexif()
        inner = exif.get_ifd(_EXIF)
        gps = exif.get_ifd(_GPS)
    except (SyntaxError, ValueError, TypeError, KeyError, IndexError, OSError, struct.error):
        return notes

    def has(*tags: int) -> bool:
        return any(_filled(exif.get(tag)) or _filled(inner.get(tag)) for tag in tags)

    xmp = image.info.get("xmp", b"")
    text = xmp if isinstance(xmp, bytes) else str(xmp).encode("utf-8", "replace")
    if any(tag in gps for tag in (2, 4)) or b"GPSLatitude" in text:
        notes.add("gps")
    if has(*_SERIALS) or b"SerialNumber" in text:
        notes.add("serial")
    if has(*_OWNERS) or _filled(image.info.get("Author")):
        notes.add("owner")
    if has(_COPYRIGHT) or _filled(image.info.get("Copyright")):
        notes.add("copyright")
    if has(*_TIMES):
        notes.add("time")
    if exif.get(_ORIENTATION) in range(2, 9):
        notes.add("rotated")
    return notes


def _filled(value: Any) -> bool:
    return value is not None and str(value).strip("\0 ") != ""
