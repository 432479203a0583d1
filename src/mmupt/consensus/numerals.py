"""Numbers as people write them: grouped digits, scientific, mixed, kanji, kana and English words.

Every reader takes a whole string and returns an exact `Fraction`, or None when the string is not a
number of its kind. Lengths and exponents are bounded by the patterns.
"""

from __future__ import annotations

import re
from fractions import Fraction

from mmupt.consensus.algebra import MAX_BITS, TooLargeError

MAX_DIGITS = 400

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
_PLAIN = re.compile(rf"([-+]?)\s?({_DIGITS})")
_SCIENTIFIC = re.compile(
    rf"([-+]?)\s?({_DIGITS})\s?(?:[eE]|(?:×|\*|·|x)\s?10\s?\^)\s?\{{?\s?([-+]?\s?\d+)\s?\}}?"
)
_POWER_OF_TEN = re.compile(r"([-+]?)\s?10\s?\^\s?\{?\s?([-+]?\d+)\s?\}?")
_FRACTION = re.compile(rf"([-+]?)\s?({_DIGITS})\s?/\s?(-?{_DIGITS})")
_LATEX_FRACTION = re.compile(r"([-+]?)\s?\\frac\{\s?(-?\d{1,100})\s?\}\{\s?(-?\d{1,100})\s?\}")
_MIXED = re.compile(r"([-+]?)\s?(\d+)\s+(\d+)\s?/\s?(\d+)")
_JAPANESE_FRACTION = re.compile(r"([-+]?)([0-9〇零一二三四五六七八九十百千万]+)分の(.+)")

_KANJI_DIGITS = {
    **{kanji: value for value, kanji in enumerate("〇一二三四五六七八九")},
    **{kanji: value for value, kanji in enumerate("零壱弐参")},
    "壹": 1, "貳": 2, "肆": 4, "伍": 5, "陸": 6, "漆": 7, "捌": 8, "玖": 9,
}  # fmt: skip
_SMALL = {"十": 10, "拾": 10, "百": 100, "千": 1000}
_LARGE = {"万": 10**4, "萬": 10**4, "億": 10**8, "兆": 10**12}
_KANJI = "".join({**_KANJI_DIGITS, **_SMALL, **_LARGE})
_KANJI_NUMBER = re.compile(rf"([-+]?)([0-9,.{_KANJI}]+)")
_ARABIC = re.compile(_DIGITS)
_SECTION = re.compile(f"([^{''.join(_LARGE)}]*)([{''.join(_LARGE)}]?)")

_KANA = {
    "ひとつ": 1, "ふたつ": 2, "みっつ": 3, "よっつ": 4, "いつつ": 5,
    "むっつ": 6, "ななつ": 7, "やっつ": 8, "ここのつ": 9,
}  # fmt: skip
_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
    "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ENGLISH = {
    **{word: value for value, word in enumerate(_ONES)},
    **{word: 10 * value for value, word in enumerate(_TENS, start=2)},
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MAGNITUDE = re.compile(rf"(.+?)\s*({'|'.join(_SCALES)})")


def number(text: str) -> Fraction | None:
    """The value of a whole string that is one number, else None.

    `1,200` is a grouped 1200, never a pair; a decimal comma is not read. `1 1/2` and `1½` are mixed
    numbers. `1e3`, `1.2×10^3`, `十二`, `1万2000`, `二〇二四`, `三分の一`, `ひとつ`, `twenty-one`
    and `1.2 million` are read.

    Raises:
        TooLargeError: a number with more digits or a larger exponent than can be worked with.
    """
    if not text:
        return None
    signless = _negative_words(text)
    if signless is not None:
        inner = number(signless)
        return None if inner is None else -inner
    first = text[0]
    if first.isdigit() or first in "+-.\\":
        value = _digits(text)
        if value is not None or text.isascii():
            return value if value is not None else _with_magnitude(text)
    if text.isascii():
        return english(text) if len(text) <= 100 else None
    return kanji(text)


def _digits(text: str) -> Fraction | None:
    if match := _PLAIN.fullmatch(text):
        return _signed(match[1], _decimal(match[2]))
    if match := _FRACTION.fullmatch(text) or _LATEX_FRACTION.fullmatch(text):
        denominator = _decimal(match[3])
        return _signed(match[1], _decimal(match[2]) / denominator) if denominator else None
    if match := _MIXED.fullmatch(text):
        if not (denominator := _decimal(match[4])):
            return None
        return _signed(match[1], _decimal(match[2]) + _decimal(match[3]) / denominator)
    if match := _POWER_OF_TEN.fullmatch(text):
        return _signed(match[1], _scaled(Fraction(1), match[2]))
    if match := _SCIENTIFIC.fullmatch(text):
        return _signed(match[1], _scaled(_decimal(match[2]), match[3]))
    return None


def _negative_words(text: str) -> str | None:
    for word in ("minus ", "negative ", "マイナス"):
        if text.startswith(word) and len(text) <= 100:
            return text[len(word) :].strip()
    return None


def _with_magnitude(text: str) -> Fraction | None:
    """`1.2 million`."""
    if len(text) > 100 or not text[-1].isalpha():
        return None
    if match := _MAGNITUDE.fullmatch(text):
        value = _digits(match[1])
        return None if value is None else value * _SCALES[match[2]]
    return None


def kanji(text: str) -> Fraction | None:
    """Japanese numerals: positional, with 十百千万億兆, mixed with digits, fractions, kana."""
    if len(text) > 100:
        return None
    if text in _KANA:
        return Fraction(_KANA[text])
    if match := _JAPANESE_FRACTION.fullmatch(text):
        bottom, top = _unsigned(match[2]), _unsigned(match[3])
        return None if not bottom or top is None else _signed(match[1], top / bottom)
    match = _KANJI_NUMBER.fullmatch(text)
    if match is None:
        return None
    value = _unsigned(match[2])
    return None if value is None else _signed(match[1], value)


def _simple(text: str) -> Fraction | None:
    """Digits alone, in one script: 12, 1.5, 二, 二〇二四."""
    if all(letter in _KANJI_DIGITS for letter in text):
        return Fraction(int("".join(str(_KANJI_DIGITS[letter]) for letter in text)))
    return _decimal(text) if _ARABIC.fullmatch(text) else None


def _unsigned(text: str) -> Fraction | None:
    """Digits or kanji without a sign: 12, 十二, 1万2千, 二〇二四."""
    if not text:
        return None
    if (value := _simple(text)) is not None:
        return value
    total, ceiling = Fraction(0), 10**16
    for match in _SECTION.finditer(text):
        if not match[0]:
            continue
        scale = _LARGE.get(match[2], 1)
        part = _below_ten_thousand(match[1]) if match[1] else Fraction(1)
        if part is None or scale >= ceiling or (not match[1] and total):
            return None
        total, ceiling = total + part * scale, scale
    return total


def _below_ten_thousand(text: str) -> Fraction | None:
    """千二百, 2千3, 1.5, 三十: one section between 万, 億 and 兆."""
    if (value := _simple(text)) is not None:
        return value
    total, ceiling, pending = Fraction(0), 10_000, ""
    for letter in text:
        if letter in _SMALL:
            scale = _SMALL[letter]
            factor = _simple(pending) if pending else Fraction(1)
            if factor is None or scale >= ceiling:
                return None
            total, ceiling, pending = total + factor * scale, scale, ""
        else:
            pending += letter
    rest = _simple(pending) if pending else Fraction(0)
    # Nothing read before the rest: digits of both scripts mixed, such as `1二`.
    return None if rest is None or rest >= ceiling or ceiling == 10_000 else total + rest


def english(text: str) -> Fraction | None:
    """`zero` to `nine hundred ninety-nine trillion`, hyphens and `and` allowed."""
    words = [word for word in re.split(r"[\s-]+", text.casefold()) if word != "and"]
    if not words or len(words) > 30:
        return None
    total, current, tens_open = 0, 0, False
    seen = False
    for word in words:
        if word in _ENGLISH:
            value = _ENGLISH[word]
            if seen and not (tens_open and value < 10) and not (current % 100 == 0 and current):
                return None
            current, tens_open, seen = current + value, value >= 20, True
        elif word == "hundred" and seen and 0 < current < 100:
            current, tens_open = current * 100, False
        elif word in _SCALES and seen and current:
            total, current, tens_open, seen = total + current * _SCALES[word], 0, False, False
        else:
            return None
    return Fraction(total + current)


def _decimal(digits: str) -> Fraction:
    plain = digits.replace(",", "")
    if len(plain) > MAX_DIGITS:
        raise TooLargeError
    if plain.isdecimal():
        return Fraction(int(plain))
    return Fraction(plain[:-1] if plain.endswith(".") else plain)


def _scaled(value: Fraction, exponent: str) -> Fraction:
    compact = exponent.replace(" ", "")
    if len(compact) > 6 or abs(int(compact)) * 4 > MAX_BITS:
        raise TooLargeError
    return value * Fraction(10) ** int(compact)


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value
