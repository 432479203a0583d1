"""Sizes, ratios and spans of numbers. The decisions stand in `structures`."""

from __future__ import annotations

import re
from fractions import Fraction

from mmupt.consensus.parts import Key, Reader
from mmupt.consensus.writing import DOLLAR

_SPAN = re.compile(r"\s*(?:~|→(?!$)|\bto\b|から)\s*|(?<=[0-9a-zA-Z%°円個])\s?-\s?(?=[0-9$¥\ue000])")
_SIZE = re.compile(r"\d+(?:\.\d+)?(?:\s?[×xX*]\s?\d+(?:\.\d+)?){1,3}")
_RATIO = re.compile(r"-?\d+(?:\.\d+)?(?:\s?(?::|対)\s?-?\d+(?:\.\d+)?){1,5}")
_SPANNED = ("num", "date", "time")


def size(text: str, element: Reader) -> Key | None:
    if not _SIZE.fullmatch(text) or (re.search(r"[×xX*]\s?10$", text) and "." in text):
        return None
    parts = re.split(r"[×xX*]", text)
    if "*" in text:
        return None
    return ("size", *(Fraction(part.strip()) for part in parts))


def ratio(text: str, element: Reader) -> Key | None:
    if not _RATIO.fullmatch(text):
        return None
    values = [Fraction(part.strip()) for part in re.split(":|対", text)]
    lead = next((abs(value) for value in values if value), None)
    return None if lead is None else ("ratio", *(value / lead for value in values))


def span(text: str, element: Reader) -> Key | None:
    """`3-5`, `3〜5 cm`, `3 to 5`, `3から5まで`: from one positive quantity to another."""
    if not text or not (text[0].isdigit() or text[0] in f"{DOLLAR}$¥約"):
        return None
    parts = _SPAN.split(text.removesuffix("まで"))
    if len(parts) != 2 or not all(parts):
        return None
    if parts[0].startswith((DOLLAR, "$", "¥")) and parts[1][0].isdigit():
        low, parts[1] = element(parts[0]), f"{parts[0][0]}{parts[1]}"
    elif parts[0].strip().replace(".", "").replace(",", "").isdigit():
        # 3-5 cm: the unit stands once.
        unit = re.sub(r"^[\d.,\s]+", "", parts[1])
        low = element(f"{parts[0]} {unit}".strip())
    else:
        low = element(parts[0])
    high = element(parts[1])
    if low is None or high is None or low[0] not in _SPANNED or high[0] not in _SPANNED:
        return None
    return "span", low, high
