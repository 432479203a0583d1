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
_NUMBER = re.compile(r"[\d.,\s]+(?:/\s?\d+(?![\d:]))?")
_UNIT_SIGNS = "%‰°'\"¢€₩"
_POWER_OF_TEN = re.compile(r"[*×·]\s?10\s?\^\s?\{?[-+]?\d+\}?")
# What makes an end of `6-5+3` a calculation: signs and brackets, a power of a number. Units have
# signs of their own (N·m, cm^2), behind a letter.
_CALCULATION = re.compile(r"[+()\[\]!√\\]|(?<![^\W\d_])(?<![^\W\d_]\s)[*×·÷^]|[*×÷]\s?\d")


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
    """`3-5`, `3〜5 cm`, `3 to 5`, `3から5まで`: from one positive quantity to another.

    A hyphen beside a calculation is a minus: `6-5+3` is 4, and so it is no span from 6 to 8.
    """
    if not text or not (text[0].isdigit() or text[0] in f"{DOLLAR}$¥約"):
        return None
    text = text.removesuffix("まで")
    parts = _SPAN.split(text)
    if len(parts) != 2 or not all(parts):
        return None
    between = text[len(parts[0]) : len(text) - len(parts[1])]
    if "-" in between and any(_CALCULATION.search(_POWER_OF_TEN.sub("", end)) for end in parts):
        return None
    if parts[0].startswith((DOLLAR, "$", "¥")) and parts[1][0].isdigit():
        low, parts[1] = element(parts[0]), f"{parts[0][0]}{parts[1]}"
    elif parts[0].strip().replace(".", "").replace(",", "").isdigit():
        # 3-5 cm: the unit stands once. What is no unit (3 to 5+1) belongs to its own end.
        number = _NUMBER.match(parts[1])
        unit = parts[1][number.end() if number else 0 :]
        if unit and (unit[0].isalnum() or unit[0] in _UNIT_SIGNS or _POWER_OF_TEN.match(unit)):
            low = element(f"{parts[0]} {unit}")
        else:
            low = element(parts[0])
    else:
        low = element(parts[0])
    high = element(parts[1])
    if low is None or high is None or low[0] not in _SPANNED or high[0] not in _SPANNED:
        return None
    return "span", low, high
