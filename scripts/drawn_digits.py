"""Digits drawn from the fonts that matplotlib ships, reduced to 8x8 as the scans are."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmupt.data.handwriting import enlarge

FONTS: tuple[str, ...] = (
    "DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSansMono",
    "DejaVuSansMono-Oblique", "DejaVuSerif", "DejaVuSerif-Italic",
    "STIXGeneral", "STIXGeneralItalic", "cmr10", "cmss10", "cmtt10",
)  # fmt: skip


def draw_glyph(
    digit: int, fonts: list[ImageFont.FreeTypeFont], rng: np.random.Generator
) -> np.ndarray:
    """One digit as 8x8 ink in [0, 1]: random font, stroke, shear, stretch and turn, cropped."""
    font = fonts[rng.integers(len(fonts))]
    canvas = Image.new("L", (128, 128), 0)
    draw = ImageDraw.Draw(canvas)
    draw.text(
        (64, 64), str(digit), fill=255, font=font, anchor="mm", stroke_width=int(rng.integers(0, 5))
    )
    angle = np.deg2rad(rng.uniform(-20, 20))
    shear, stretch = rng.uniform(-0.35, 0.35), rng.uniform(0.5, 1.1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([1 / stretch, 1.0])
    offset = np.array([64, 64]) - matrix @ np.array([64, 64])
    canvas = canvas.transform(
        canvas.size,
        Image.Transform.AFFINE,
        (matrix[0, 0], matrix[0, 1], offset[0], matrix[1, 0], matrix[1, 1], offset[1]),
        Image.Resampling.BILINEAR,
    )
    left, top, right, bottom = canvas.getbbox() or (0, 0, 128, 128)
    corners = np.array(
        [[left, top], [left, bottom], [right, bottom], [right, top]], dtype=np.float64
    )
    corners += rng.uniform(-0.12, 0.12, size=(4, 2)) * (bottom - top)  # a hand is not a ruler
    canvas = canvas.transform(
        (128, 128), Image.Transform.QUAD, tuple(corners.ravel()), Image.Resampling.BILINEAR
    ).resize((max(8, right - left), bottom - top))
    left, top, right, bottom = canvas.getbbox() or (0, 0, *canvas.size)
    margin = rng.uniform(-0.04, 0.10, size=4) * (bottom - top)
    height, width = bottom - top + margin[:2].sum(), right - left + margin[2:].sum()
    side_x = max(width, height * rng.uniform(0.6, 1.0))  # a "1" is not blown up to full width
    centre = (left + right) / 2
    box = (centre - side_x / 2, top - margin[0], centre + side_x / 2, bottom + margin[1])
    small = canvas.transform((64, 64), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
    ink = np.asarray(small.resize((8, 8), Image.Resampling.BOX), dtype=np.float64) / 255.0
    return np.round(np.clip(ink * rng.uniform(0.9, 1.3), 0, 1) * 16) / 16


def glyph_bank(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`count` drawn digits: cells (count, 24, 24) uint8 and their digits (count,)."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(str(folder / f"{name}.ttf"), 80) for name in FONTS]
    digits = rng.integers(0, 10, size=count)
    cells = np.stack([enlarge(draw_glyph(int(d), fonts, rng)) for d in digits])
    return cells, digits
