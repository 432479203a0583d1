"""Words and figures in English and Japanese, and text from outside made fit for printing."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime

from mmupt.stats import Interval
from mmupt.words import texts

NOTHING = "–"
"""Stands where a figure is missing."""


def words(lang: str) -> Mapping[str, str]:
    """All texts of a report by key.

    Raises:
        ConfigError: a language that there are no texts for.
    """
    return texts("mmupt.report", lang)


def stage_title(name: str, lang: str) -> str:
    """A stage's name for people: `round-2` is round 2; names that are not ours stay."""
    texts = words(lang)
    head, _, tail = name.partition("-")
    if head == "round" and tail.isdecimal() and len(tail) <= 4:
        return texts["stage_round"].format(number=int(tail))
    return texts.get(f"stage_{name}") or clean(name, 40)


def percent(fraction: float) -> str:
    """0.6745 as `67.5` (half up, in %; the sign stands in the heading)."""
    return NOTHING if math.isnan(fraction) else f"{_rounded(fraction * 100):.1f}"


def percent_range(ends: Interval) -> str:
    """An interval as `63.6–71.2`, empty if undefined."""
    return "" if math.isnan(ends.low) else f"{percent(ends.low)}–{percent(ends.high)}"


def points(fraction: float) -> str:
    """A difference of fractions in percentage points, with sign: `+3.4`, `−2.0`, `±0.0`."""
    value = _rounded(fraction * 100)
    sign = "±" if value == 0 else "+" if value > 0 else "−"
    return f"{sign}{abs(value):.1f}"


def count(value: float) -> str:
    """A whole number with thousands separated."""
    return NOTHING if math.isnan(value) else f"{round(value):,}"


def duration(seconds: float, lang: str) -> str:
    """Seconds as people say them: 41 s, 4 min 20 s, 2 h 5 min."""
    if math.isnan(seconds):
        return NOTHING
    texts = words(lang)
    whole = max(0, round(seconds))
    if whole < 60:
        return texts["seconds"].format(s=whole)
    if whole < 3600:
        return texts["minutes"].format(m=whole // 60, s=whole % 60)
    return texts["hours"].format(h=whole // 3600, m=whole % 3600 // 60)


def moment(value: object) -> str:
    """An ISO time to the minute, in UTC; what is none stays as it is."""
    text = clean(str(value), 40)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    return found.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if found.tzinfo else text


def clean(text: str, limit: int) -> str:
    """Text from a model or a file on one line, without control characters, cut to `limit`.

    Control and format characters (which can hide or reorder text) and surrogates become spaces,
    runs of white space become one space.
    """
    # What is far beyond the limit is dropped first, so that a huge text costs nothing.
    head = text[: 4 * limit + 64]
    visible = "".join(" " if unicodedata.category(char)[0] == "C" else char for char in head)
    line = " ".join(visible.split())
    return line if len(line) <= limit and len(head) == len(text) else line[: limit - 1] + "…"


def clean_lines(text: str, limit: int) -> str:
    """Like `clean`, but keeps line breaks and indentation."""
    head = text[:limit].expandtabs(4)
    visible = "".join(
        char if char == "\n" or unicodedata.category(char)[0] != "C" else " " for char in head
    )
    return visible + ("…" if len(text) > limit else "")


def cells(text: str) -> int:
    """Width of a text in columns; wide East Asian characters take two."""
    return sum(_width(char) for char in text)


def wrap(text: str, width: int, lines: int) -> list[str]:
    """Break a text into at most `lines` lines of at most `width` columns.

    Breaks at spaces where there are any, within a word where there are none (Japanese has none);
    what does not fit ends in an ellipsis.
    """
    result: list[str] = []
    rest = text.strip()
    while rest and len(result) < lines:
        head = fit(rest, width)
        if head == rest:
            result.append(rest)
            return result
        if len(result) == lines - 1:
            result.append(fit(rest, width - 1).rstrip() + "…")
            return result
        space = head.rfind(" ") if rest[len(head)] != " " else len(head)
        # A break that would leave most of the line empty is worse than a broken word.
        cut = space if space > len(head) // 2 else len(head)
        result.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return result


def fit(text: str, width: int) -> str:
    """The longest beginning of a text that is at most `width` columns wide."""
    used = 0
    for position, char in enumerate(text):
        used += _width(char)
        if used > width:
            return text[:position]
    return text


def _width(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _rounded(value: float) -> float:
    """To one decimal, half away from zero, as people round; 1e-9 undoes binary residue."""
    return math.copysign(math.floor(abs(value) * 10 + 0.5 + 1e-9) / 10, value)
