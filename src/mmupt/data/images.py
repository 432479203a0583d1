"""Image files, opened as what they are: untrusted input.

A picture is identified by its content, never by its name; only raster formats of a fixed list are
opened; the size in the header is checked before a pixel is decoded. Nothing is fetched.
"""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from PIL import Image, ImageFile, UnidentifiedImageError

from mmupt.errors import InputError

FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""What is opened. Pillow knows many more; some run other programs (EPS) or read other files."""

MAX_PIXELS: Final = 64_000_000
"""Default limit of width x height: 192 MB once decoded to RGB."""

_REMEMBERED: Final = 100_000
"""Pictures whose headers are known to be good; more are forgotten and looked at again."""

# How a file of another kind begins, to say what was found instead of "unknown".
_OTHER_KINDS: Final = (
    (b"version https://git-lfs", "a Git LFS pointer (run `git lfs pull`)"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"<svg", "an SVG"),
    (b"<?xml", "XML (an SVG?)"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
)

_ADDRESS: Final = re.compile(r"\s*([a-z][a-z0-9+.\-]*://|(data|file|https?|ftp|blob):)", re.I)

# EXIF tag 274: how the camera was held, and what turns the picture upright.
_ORIENTATION_TAG: Final = 274
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(path: Path, *, max_pixels: int = MAX_PIXELS, origin: str = "") -> Image.Image:
    """Decode a picture from disk to RGB, upright, transparent parts on white.

    Of an animated picture the first frame is taken. 16-bit gray is scaled to 8 bits (v // 256).
    The returned picture carries no metadata, so nobody applies its orientation a second time.

    Args:
        path: the image file.
        max_pixels: largest allowed width x height, in pixels; checked before decoding.
        origin: place of the row that names the image (``file:line``), for messages.

    Returns:
        A new picture of mode RGB, width x height as seen after the EXIF orientation.

    Raises:
        InputError: missing, not a regular file, of another format, too large, or damaged.
    """
    with opened_image(path, max_pixels, origin) as image:
        image.load()
        return upright(rgb(image), image)


def check_image(
    path: Path, *, max_pixels: int = MAX_PIXELS, origin: str = "", full: bool = False
) -> tuple[int, int]:
    """Check that a picture can be used, from its header alone unless `full`.

    The header tells format and size; only decoding (`full`) finds a truncated or damaged body.

    Args:
        path: the image file.
        max_pixels: largest allowed width x height, in pixels.
        origin: place of the row that names the image (``file:line``), for messages.
        full: also decode everything, at the cost of `load_image`.

    Returns:
        Width and height in pixels as the header gives them; those of a picture that lies on its
        side may still be swapped.

    Raises:
        InputError: as `load_image`; without `full` a damaged body goes unnoticed.
    """
    with opened_image(path, max_pixels, origin) as image:
        width, height = image.size
        if full:
            image.load()
            upright(rgb(image), image)
        return width, height


def check_image_bytes(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> str:
    """Check a picture that is in memory, from its header alone.

    Args:
        data: the whole file.
        name: what the picture is called in messages.
        max_pixels: largest allowed width x height, in pixels.

    Returns:
        Its format, one of `FORMATS`.

    Raises:
        InputError: as `check_image`.
    """
    _check_length(len(data), max_pixels, name)
    with _decoded(BytesIO(data), data[:64], max_pixels, name) as image:
        return str(image.format)


class ImageFolder:
    """The folder that the image paths of a data set may not leave.

    Args:
        root: an existing folder.
        check: also open the header of each picture, once.
        also: further folders that links inside `root` may lead to (the hub cache keeps its files
            there).

    Raises:
        InputError: `root` is not a folder.
    """

    def __init__(self, root: Path, check: bool, also: tuple[Path, ...] = ()) -> None:
        if not root.is_dir():
            raise InputError(f"data root {printable(root)} is not a folder; check the path")
        self._root = root.resolve()
        self._also = tuple(folder.resolve() for folder in also)
        self._check = check
        self._checked: set[Path] = set()

    def resolve(self, text: str) -> Path:
        """The absolute path that `text` means, symlinks resolved.

        Raises:
            InputError: blank, an address, hidden characters, outside the root, or (when checking)
                not a usable picture.
        """
        shown = printable(text, 120)
        if not text.strip():
            raise InputError("image path is blank; name a file")
        if _ADDRESS.match(text):
            raise InputError(
                f'image "{shown}" is an address: images are read from disk only; save the file '
                "under the data root and give its path"
            )
        refuse_invisible(text, "image path")
        try:
            path = (self._root / text).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # symlink loops, over-long names
            raise InputError(f'image "{shown}" cannot be found ({printable(error, 80)})') from error
        if not any(path.is_relative_to(folder) for folder in (self._root, *self._also)):
            raise InputError(
                f'image "{shown}" is outside the data root {printable(self._root)}; move it '
                "inside, or name another data root"
            )
        if self._check and path not in self._checked:
            check_image(path)
            if len(self._checked) >= _REMEMBERED:
                self._checked.clear()
            self._checked.add(path)
        return path


def printable(text: object, limit: int = 300) -> str:
    """Text for a one-line message: invisible and control characters escaped, the middle cut."""
    shown = str(text)
    if len(shown) > limit:
        shown = f"{shown[: limit // 2]}...{shown[-(limit // 2) :]}"
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown
    )


def refuse_invisible(text: str, name: str) -> None:
    """Refuse a name with control or formatting characters: what looks the same is the same.

    Raises:
        InputError: names the code point and its position, counted from 1.
    """
    for position, character in enumerate(text, start=1):
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            raise InputError(
                f'"{name}" holds the hidden character U+{ord(character):04X} at position '
                f"{position}; remove it"
            )


@contextmanager
def opened_image(path: Path, max_pixels: int, origin: str) -> Iterator[ImageFile.ImageFile]:
    """A picture on disk, opened and not decoded yet, for the length of a ``with``.

    Raises:
        InputError: as `load_image`, also where the body of the ``with`` decodes it.
    """
    name = f"{origin}: image {printable(path)}" if origin else f"image {printable(path)}"
    _check_file(path, max_pixels, name)
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{name} cannot be read ({printable(error, 120)})") from error
    with file, _decoded(file, None, max_pixels, name) as image:
        yield image


@contextmanager
def _decoded(
    file: BinaryIO, start: bytes | None, max_pixels: int, name: str
) -> Iterator[ImageFile.ImageFile]:
    """Whatever Pillow raises while the picture is open becomes an InputError."""
    if start is None:
        start = file.read(64)
        file.seek(0)
    try:
        with warnings.catch_warnings():
            # Pillow warns about odd metadata and about sizes that are bounded here. The filter is
            # as narrow as can be because Python 3.11 keeps filters for the process, not the thread.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(file, formats=FORMATS) as image:
                _check_header(image, max_pixels, name)
                yield image
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name} is {_kind(start)}; expected one of {', '.join(FORMATS)}: convert it to PNG"
        ) from error
    except Image.DecompressionBombError as error:
        # Raised inside Image.open, before a size can be asked for; its message counts the pixels.
        count = re.search(r"\((\d+) pixels\)", str(error))
        found = f"{int(count[1]):,} pixels" if count else "too many pixels"
        raise InputError(_too_large(name, found, max_pixels)) from error
    except Exception as error:  # a damaged file makes Pillow's readers raise whatever it likes
        detail = printable(error, 120) or type(error).__name__
        raise InputError(f"{name} is truncated or damaged ({detail}); replace the file") from error


def _check_file(path: Path, max_pixels: int, name: str) -> None:
    """A regular file of a sensible length: a pipe would block, a huge file fill the memory."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise InputError(f"{name} does not exist") from error
        raise InputError(f"{name} cannot be read ({printable(error, 120)})") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{name} is a folder, expected an image file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{name} is not a regular file, expected an image file")
    _check_length(status.st_size, max_pixels, name)


def _check_length(length: int, max_pixels: int, name: str) -> None:
    if length == 0:
        raise InputError(f"{name} is empty (0 bytes); replace the file")
    # No picture within the pixel limit needs more: 8 bytes a pixel is RGBA at 16 bits.
    max_bytes = 8 * max_pixels + 2**24
    if length > max_bytes:
        raise InputError(
            f"{name} has {length:,} bytes, the limit for {max_pixels:,} pixels is "
            f"{max_bytes:,}; make it smaller"
        )


def _check_header(image: Image.Image, max_pixels: int, name: str) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise InputError(f"{name} has no pixels ({width}x{height}); replace the file")
    if width * height > max_pixels:
        found = f"{width}x{height} = {width * height:,} pixels"
        raise InputError(_too_large(name, found, max_pixels))
    if image.mode in ("I", "F"):
        # Stretching by the picture's own range would make brightness differ from file to file.
        raise InputError(
            f"{name} has 32 bits a channel, whose range is unknown; save it with 8 bits a channel"
        )


def _too_large(name: str, found: str, max_pixels: int) -> str:
    return f"{name} has {found}, the limit is {max_pixels:,}; make it smaller or raise max_pixels"


def _kind(start: bytes) -> str:
    """What a file that is no known picture seems to be, by how it begins."""
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    for prefix, kind in _OTHER_KINDS:
        if start.lower().startswith(prefix.lower()):
            return kind
    return "damaged or of another format"


def rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB; transparent pixels over white."""
    if image.mode.startswith("I;16"):
        import numpy as np

        # Pillow clips at 255 here, which turns nearly all of a 16-bit picture white.
        gray = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return gray.convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def upright(rgb: Image.Image, source: Image.Image) -> Image.Image:
    """Apply the EXIF orientation of `source` and leave all metadata behind."""
    try:
        orientation = source.getexif().get(_ORIENTATION_TAG)
    except (SyntaxError, ValueError, TypeError, KeyError, IndexError, OSError, struct.error):
        orientation = None  # unreadable metadata says nothing about how to turn the picture
    # A hostile file may hold any type under the tag.
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    upright = rgb if turn is None else rgb.transpose(turn)
    upright.info = {}
    return upright
