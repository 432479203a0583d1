"""The pictures of example prompts: only from the data's own folders, small, as data URIs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from mmupt.data.images import load_image
from mmupt.errors import InputError

_SMALL_SIDE = 192
"""Below this a picture is enlarged by a whole factor, so that its pixels stay visible."""

MAX_BYTES = 50_000
"""Of one picture, so that a page of some 50 pictures stays below 5 MB, whatever they show."""


def picture(name: str, roots: Sequence[Path], side: int) -> Image.Image | None:
    """An image of a rollout as RGB, at most `side` pixels on its longer side.

    Rollout files are data and may name any path; a picture outside `roots` (after links are
    followed) is not shown, as is one that is missing, damaged or too large.

    Args:
        name: the path as recorded, absolute or relative to one of the roots.
        roots: resolved folders that pictures may come from.
        side: longest side of the result, in pixels.
    """
    for root in roots:
        try:
            path = (root / name).resolve()
        except (OSError, ValueError, RuntimeError):  # a null byte, a loop of links
            continue
        if not path.is_relative_to(root):
            continue
        try:
            image = load_image(path)
        except InputError:
            continue
        longer = max(image.size)
        if longer < min(_SMALL_SIDE, side):
            factor = -(-min(_SMALL_SIDE, side) // longer)
            image = image.resize(
                (image.width * factor, image.height * factor), Image.Resampling.NEAREST
            )
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return image
    return None


def data_uri(image: Image.Image, limit: int = MAX_BYTES) -> str:
    """PNG where that is small (drawings, scans), otherwise JPEG of at most about `limit` bytes."""
    kind, content = "png", _encoded(image, "PNG", optimize=True)
    if len(content) > limit // 2:
        kind = "jpeg"
        for quality in (82, 60, 40):
            content = _encoded(image, "JPEG", quality=quality)
            if len(content) <= limit:
                break
        else:
            half = (max(1, image.width // 2), max(1, image.height // 2))
            content = _encoded(image.resize(half), "JPEG", quality=40)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
