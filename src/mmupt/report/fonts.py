"""Which characters the fonts at hand can draw. matplotlib's own fonts have no Japanese."""

from __future__ import annotations

from functools import cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

BUNDLED = "DejaVu Sans"
"""Comes with matplotlib, so that a figure looks the same everywhere."""

JAPANESE_FAMILIES = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Source Han Sans JP",
    "IPAexGothic",
    "IPAPGothic",
    "IPAGothic",
    "TakaoPGothic",
    "VL PGothic",
    "Hiragino Sans",
    "Hiragino Kaku Gothic ProN",
    "Yu Gothic",
    "Meiryo",
    "MS Gothic",
)

_MISSING = "\N{REPLACEMENT CHARACTER}"
"""Stands for a character that no font has; the bundled font has this one."""


@cache
def japanese_family() -> str | None:
    """The first known Japanese family on this machine, or None."""
    present = {font.name for font in font_manager.fontManager.ttflist}
    return next((family for family in JAPANESE_FAMILIES if family in present), None)


def families() -> list[str]:
    """Families for `font.family`, in which each character is looked up in turn."""
    japanese = japanese_family()
    return [BUNDLED] if japanese is None else [BUNDLED, japanese]


def printable(text: str) -> str:
    """`text` with every character that `families` cannot draw replaced.

    matplotlib would draw an empty box and warn for each of them.
    """
    return "".join(char if char == "\n" or _drawable(char) else _MISSING for char in text)


@cache
def _faces(names: tuple[str, ...]) -> tuple[FT2Font, ...]:
    properties = (font_manager.FontProperties(family=[name]) for name in names)
    return tuple(font_manager.get_font(font_manager.findfont(item)) for item in properties)


def _drawable(char: str) -> bool:
    return any(face.get_char_index(ord(char)) for face in _faces(tuple(families())))
