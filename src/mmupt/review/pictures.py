"""Pictures for the page: found by item and number, decoded, and written anew.

What a browser gets is never the file itself: a picture that also is a web page, its metadata, and
formats that browsers run code of do not get through. It is upright and on white, as the model saw
it (`data.images`).
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING

from mmupt.data.images import MAX_PIXELS, ImageFolder, check_image, load_image
from mmupt.errors import InputError, RefusedError

if TYPE_CHECKING:
    from mmupt.config import Config
    from mmupt.pipeline.project import Project

_LOSSY = (b"\xff\xd8\xff", b"RIFF")
"""How JPEG and WebP files begin: written as JPEG again, anything else without loss."""


def data_roots(project: Project, config: Config) -> tuple[Path, ...]:
    """The folders that hold a project's pictures: as its data files were read."""
    from mmupt.pipeline.rounds import read_rounds

    data = config.data
    files = [path for path in (data.unlabelled, data.labelled, data.test, data.audited) if path]
    files += [Path(one.data) for one in read_rounds(project.rounds) if one.data]
    roots = [data.root] if data.root else [path.parent for path in files]
    return tuple(dict.fromkeys(root.resolve() for root in roots if root.is_dir()))


class Pictures:
    """The pictures of one project.

    Args:
        roots: folders that they may not leave.
        max_pixels: largest width x height that is decoded.
    """

    def __init__(self, roots: Sequence[Path], max_pixels: int = MAX_PIXELS) -> None:
        self._folders = tuple(ImageFolder(root, check=False) for root in roots)
        self._max_pixels = max_pixels
        self._at_once = Semaphore(2)  # each may hold max_pixels in memory

    def find(self, path: str) -> Path:
        """Where a picture that an item names lies.

        Raises:
            RefusedError: outside of all data folders.
        """
        for folder in self._folders:
            try:
                return folder.resolve(path)
            except InputError:
                continue
        raise RefusedError("picture is outside of the project's data folders")

    def check(self, path: str) -> str:
        """Why a picture cannot be shown, from its header; empty: it can."""
        try:
            check_image(self.find(path), max_pixels=self._max_pixels)
        except (InputError, RefusedError) as error:
            return str(error)
        return ""

    def encoded(self, path: str) -> tuple[bytes, str]:
        """A picture as PNG or JPEG, and its content type.

        Raises:
            RefusedError: outside of all data folders.
            InputError: no picture, too large, or damaged.
        """
        found = self.find(path)
        out = BytesIO()
        with self._at_once:
            image = load_image(found, max_pixels=self._max_pixels)
            with found.open("rb") as file:
                lossy = file.read(4).startswith(_LOSSY)
            if lossy:
                image.save(out, "JPEG", quality=93, subsampling=0)
            else:
                image.save(out, "PNG", compress_level=1)
        return out.getvalue(), "image/jpeg" if lossy else "image/png"
