"""Dates and times of day as answers write them."""

from __future__ import annotations

import re

from mmupt.consensus import numerals

Key = tuple[object, ...]

_MONTHS = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
]  # fmt: skip
_MONTH_NUMBER = {
    **{name: value for value, name in enumerate(_MONTHS, start=1)},
    **{name[:3]: value for value, name in enumerate(_MONTHS, start=1)},
    "sept": 9,
}
_MONTH = "(" + "|".join(sorted(_MONTH_NUMBER, key=len, reverse=True)) + r")\.?"
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_KANJI = "[0-9〇一二三四五六七八九十百千]"
_ERAS = {"令和": 2018, "平成": 1988, "昭和": 1925, "大正": 1911, "明治": 1867}

_HINT = re.compile(
    r"\d[-/.:]\d|[年月日時]|\d\s?[ap]\.?m|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec",
    re.IGNORECASE,
)
_ISO = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})")
_SLASHED = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})")
_MONTH_FIRST = re.compile(rf"{_MONTH}\s*{_DAY}(?:\s*,?\s*(\d{{4}}))?", re.IGNORECASE)
_DAY_FIRST = re.compile(rf"{_DAY}\s*(?:of\s+)?{_MONTH}(?:\s*,?\s*(\d{{4}}))?", re.IGNORECASE)
_MONTH_YEAR = re.compile(rf"{_MONTH}\s*,?\s*(\d{{4}})", re.IGNORECASE)
_JAPANESE = re.compile(
    rf"(?:({'|'.join(_ERAS)}|西暦)?({_KANJI}{{1,6}}|元)年)?\s?"
    rf"(?:({_KANJI}{{1,3}})月)?\s?(?:({_KANJI}{{1,3}})日)?"
)
_WEEKDAY = re.compile(r"\s*\((?:[月火水木金土日]|[A-Za-z]{3,9})(?:曜日?)?\)$")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*([ap]\.?m\.?)?", re.IGNORECASE)
_HOUR = re.compile(r"(\d{1,2})\s*([ap]\.?m\.?)", re.IGNORECASE)
_JAPANESE_CLOCK = re.compile(
    rf"(午前|午後)?\s?({_KANJI}{{1,3}})時(?:({_KANJI}{{1,3}})分|(半))?(?:({_KANJI}{{1,3}})秒)?"
)


def moment(text: str) -> Key | None:
    """A date or a time of day, else None.

    Keys: ("date", year, month, day) with None for what is not said, ("time", hour, minute, second).
    `3/5/2024` says two different days on two continents: only equal to itself in its own spelling,
    unless one number is above 12. A bare `3/5` is a fraction and `2024年` a number, not dates.
    """
    if len(text) > 40 or _HINT.search(text) is None:
        return None
    text = _WEEKDAY.sub("", text)
    return _numeric(text) or _english(text) or _japanese(text) or _time(text)


def _numeric(text: str) -> Key | None:
    if match := _ISO.fullmatch(text):
        return _date(int(match[1]), int(match[3]), int(match[4]))
    if match := _SLASHED.fullmatch(text):
        first, second, year = int(match[1]), int(match[3]), int(match[4])
        if first > 12 or first == second:
            return _date(year, second, first)
        if second > 12:
            return _date(year, first, second)
        return "ambiguous date", year, first, second
    return None


def _english(text: str) -> Key | None:
    if match := _MONTH_FIRST.fullmatch(text):
        return _date(_year(match[3]), _MONTH_NUMBER[match[1].casefold()], int(match[2]))
    if match := _DAY_FIRST.fullmatch(text):
        return _date(_year(match[3]), _MONTH_NUMBER[match[2].casefold()], int(match[1]))
    if match := _MONTH_YEAR.fullmatch(text):
        return _date(int(match[2]), _MONTH_NUMBER[match[1].casefold()], None)
    if text.casefold() in _MONTHS:
        return _date(None, _MONTH_NUMBER[text.casefold()], None)
    return None


def _japanese(text: str) -> Key | None:
    match = _JAPANESE.fullmatch(text)
    if match is None or not (match[3] or (match[1] and match[2])):
        return None
    year = _count("1" if match[2] == "元" else match[2])
    if year is not None and match[1] in _ERAS:
        year += _ERAS[match[1]]
    if not match[3]:
        # 令和6年 alone is the number that 2024年 is.
        return None if year is None or match[4] else ("year", year)
    return _date(year, _count(match[3]), _count(match[4]))


def _time(text: str) -> Key | None:
    if match := _CLOCK.fullmatch(text):
        return _clock(int(match[1]), int(match[2]), int(match[3] or 0), match[4])
    if match := _HOUR.fullmatch(text):
        return _clock(int(match[1]), 0, 0, match[2])
    if match := _JAPANESE_CLOCK.fullmatch(text):
        half = {"午前": "a", "午後": "p"}.get(match[1] or "")
        minute = 30 if match[4] else _count(match[3]) or 0
        return _clock(_count(match[2]) or 0, minute, _count(match[5]) or 0, half)
    return None


def _clock(hour: int, minute: int, second: int, half: str | None) -> Key | None:
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    if hour > 24 or minute > 59 or second > 59:
        return None
    return "time", hour, minute, second


def _date(year: int | None, month: int | None, day: int | None) -> Key | None:
    if month is not None and not 1 <= month <= 12:
        return None
    if day is not None and not 1 <= day <= 31:
        return None
    return "date", year, month, day


def _year(text: str | None) -> int | None:
    return int(text) if text else None


def _count(text: str | None) -> int | None:
    if not text:
        return None
    value = numerals.number(text)
    return None if value is None or value.denominator != 1 else int(value)
