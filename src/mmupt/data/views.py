"""Views: the same picture seen slightly differently, so that its answer stays the same.

Votes across views are worth more than repeated samples of one view: they break errors that hang
on how one picture happens to be read. View 0 is always the picture as it is.
"""

from __future__ import annotations

import zlib
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

Range = tuple[float, float]


class ViewsConfig(BaseModel):
    """How far a view may differ from the picture. Every size is relative, so any image works."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rotate: Annotated[float, Field(ge=0, le=180)] = 5.0
    """Largest turn either way, in degrees."""
    shear: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest horizontal shear either way."""
    scale: Range = (0.95, 1.05)
    """Smallest and largest magnification."""
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Largest shift either way, as a fraction of the width and height."""
    contrast: Range = (0.9, 1.1)
    """Smallest and largest contrast factor about the mean grey."""
    grid: tuple[Annotated[int, Field(ge=1, le=16)], Annotated[int, Field(ge=1, le=16)]] = (1, 1)
    """Rows and columns that move independently, for pictures that are laid out in cells."""


def make_view(image: Image.Image, config: ViewsConfig, view: int, *key: int | str) -> Image.Image:
    """View number `view` of an RGB picture; the same for the same key.

    Args:
        image: RGB picture; never changed.
        config: how far views may differ.
        view: 0 gives the picture itself.
        key: what the draw depends on besides the view: seed, sample id, step.
    """
    if view == 0:
        return image
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key]
    rng = np.random.default_rng([*words, view])
    rows, columns = config.grid
    if (rows, columns) == (1, 1):
        moved = _move(image, config, rng)
    else:
        moved = image.copy()
        for r in range(rows):
            for c in range(columns):
                box = (
                    image.width * c // columns,
                    image.height * r // rows,
                    image.width * (c + 1) // columns,
                    image.height * (r + 1) // rows,
                )
                moved.paste(_move(image.crop(box), config, rng), box)
    factor = rng.uniform(*config.contrast)
    mean = float(np.asarray(moved.convert("L")).mean())
    return moved.point(
        [round(min(255.0, max(0.0, mean + factor * (v - mean)))) for v in range(256)] * 3
    )


def _move(image: Image.Image, config: ViewsConfig, rng: np.random.Generator) -> Image.Image:
    """Turn, shear, scale and shift about the centre; what comes in from outside is background."""
    angle = np.deg2rad(rng.uniform(-config.rotate, config.rotate))
    shear = rng.uniform(-config.shear, config.shear)
    scale = rng.uniform(*config.scale)
    shift = rng.uniform(-config.shift, config.shift, size=2) * image.size
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1.0, shear], [0.0, 1.0]]) / scale
    centre = np.array([image.width / 2, image.height / 2])  # pixel centres lie at halves
    offset = centre - matrix @ (centre + shift)
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        (*matrix[0], offset[0], *matrix[1], offset[1]),
        Image.Resampling.BILINEAR,
        fillcolor=_background(image),
    )


def _background(image: Image.Image) -> tuple[int, int, int]:
    """Median colour of the border."""
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(v) for v in np.median(border, axis=0))
    return red, green, blue
