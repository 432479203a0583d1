"""The numbers that a running text mentions, by value and unit.

`canonical` reads a string that is a number; here numbers are found inside sentences first. What a
find is worth is decided by `canonical`, so `three`, `3`, `３`, 三つ and ③ are one number and 12 cm
is 0.12 m in a summary as in a short answer. Bounds: a kanji numeral counts only before a counter,
a unit or つ (一緒, 一般 and 三角 hold no number), `in` and a spaced `A` before a word are
words and not inches and amperes, `the one` and `no one` are no number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from mmupt.consensus import numerals, units
from mmupt.consensus.canonical import canonical
from mmupt.consensus.parts import Key

MARK, END = "\ue100", "\ue101"
"""A number that was found stands as MARK index END (private-use characters)."""
FOUND = re.compile(f"{MARK}([0-9]+){END}")

_MONTH = (
    "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    "|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_WHEN = (
    r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}(?![0-9])"
    r"|(?:[0-9]{4}年|(?:令和|平成|昭和)(?:元|[0-9]{1,2})年)[0-9]{1,2}月(?:[0-9]{1,2}日)?"
    r"|[0-9]{1,2}月[0-9]{1,2}日"
    r"|(?:午前|午後)?[0-9]{1,2}時(?!間)(?:半|[0-9]{1,2}分)?"
    r"|[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?:\s?[ap]\.?m\b\.?)?"
    r"|[0-9]{1,2}\s?[ap]\.?m\b"
    rf"|\b{_MONTH}\.?\s[0-9]{{1,2}}(?:st|nd|rd|th)?(?![0-9:])(?:,?\s[0-9]{{4}})?"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH}\b\.?(?:,?\s[0-9]{{4}})?"
)
# A minus follows a space, an opening bracket or hiragana; after a letter it is part of a name.
_DIGITS = (
    r"(?:(?<![^\W\u3041-\u3096])[-+])?(?:[$¥€£]\s?|[時分秒]速\s?)?"
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?"
    r"|[0-9]+(?:\.[0-9]+)?[十百千万億兆][0-9十百千万億兆]*"
    r"|[0-9]+分の[0-9]+|[0-9]+/[0-9]+(?![0-9/])|[0-9]+(?:\.[0-9]+)?)"
    r"(?:st|nd|rd|th)?(?:\s(?:hundred|thousand|million|billion|trillion)\b)?"
)
_SCALE = "hundred|thousand|million|billion|trillion"
_WORD = (
    "(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen"
    "|sixteen|seventeen|eighteen|nineteen|zero|twenty|thirty|forty|fifty|sixty|seventy|eighty"
    f"|ninety|{_SCALE})"
)
_ENGLISH = (
    rf"(?<![a-z])(?:a\s(?={_SCALE}))?{_WORD}(?:(?:[\s-]|(?<=d)\sand\s){_WORD}){{0,12}}(?![a-z])"
)
_KANJI = "第?[〇一二三四五六七八九十百千万億兆]+(?:分の[〇一二三四五六七八九十百]+)?"
_KANA = {
    "ひとつ": 1, "ふたつ": 2, "みっつ": 3, "よっつ": 4, "いつつ": 5, "むっつ": 6, "ななつ": 7,
    "やっつ": 8, "ここのつ": 9, "ひとり": 1, "ふたり": 2,
}  # fmt: skip
_NUMBER = re.compile(
    f"(?P<when>{_WHEN})|(?P<digits>{_DIGITS})|(?P<english>{_ENGLISH})|(?P<kanji>{_KANJI})"
    f"|(?P<kana>{'|'.join(_KANA)})",
    re.IGNORECASE,
)
_PART = re.compile(r"\s?[0-9]+(?:\.[0-9]+)?")
_FIRST_WORD = re.compile("[A-Za-z]+")
# A unit is up to three Latin words, or the beginning of a run of Japanese.
_LATIN_UNIT = re.compile(
    r"\s?(?P<name>[A-Za-zμΩ°%‰¢]+(?:/[A-Za-zμ]+)?(?:\^?\{?[23]\}?(?![0-9]))?(?: [A-Za-z]+){0,2})"
)
_OTHER_UNIT = re.compile(r"(?P<name>[^\W0-9_A-Za-z]{1,8})")
_NO_UNIT = frozenset(["in", "won", "a", "A"])
_NEXT_WORD = re.compile(" [A-Za-z]")
_LONG = 100
_COUNTER = units.Unit(Fraction(1))
_NOT_COUNTED = re.compile("一(?:番(?!目)|度|段|点(?!の)|気)|十分(?!間)|千(?:葉|歳)|万一")
_NOT_ONE = re.compile(r"\b(?:the|this|that|which|each|every|any|no|another|other)\s$", re.I)
_NUMBERING = re.compile(r"(?m)^\s*(?:[0-9]{1,2}[.)](?=\s)|[①-⑳])\s*")
_FORGED = str.maketrans({MARK: None, END: None})


def unnumbered(text: str) -> str:
    """The text without numbers of list items, and without characters that could pass for marks."""
    return _NUMBERING.sub("", text.translate(_FORGED))


def mentions(text: str) -> tuple[str, tuple[Key, ...]]:
    """The text with a mark for each number it mentions, and the numbers in order.

    Args:
        text: after `unnumbered` and `writing.plain`.
    """
    parts: list[str] = []
    found: list[Key] = []
    position = 0
    for start, end, key in _finds(text):
        parts += [text[position:start], f"{MARK}{len(found)}{END}"]
        found.append(key)
        position = end
    return "".join([*parts, text[position:]]), tuple(found)


def in_digits(text: str) -> str:
    """The text with its whole numbers in digits, so that `three cars` and `3 cars` look alike."""
    parts: list[str] = []
    position = 0
    for start, end, key in _finds(text):
        if key[0] == "num" and key[2:] == (1, ()):
            parts += [text[position:start], str(key[1])]
            position = end
    return "".join([*parts, text[position:]])


def _finds(text: str) -> Iterator[tuple[int, int, Key]]:
    """Begin, end and key of each number, from left to right."""
    position = 0
    while (match := _NUMBER.search(text, position)) is not None:
        written, end = _written(text, match)
        position = end
        if not written:
            continue
        kind = match.lastgroup
        name, after = ("", end) if kind in ("when", "kana") else _unit(text, end)
        if kind == "kanji" and not name and "分の" not in written and match[0][0] != "第":
            continue
        key = canonical(f"{written} {name}" if name.isascii() else f"{written}{name}")
        # A counter stays in the text: 人 and `people` say what is counted.
        end = end if name and units.unit(name) == _COUNTER else after
        key, end = _whole(text, match.start(), end, key)
        position = end
        # What is too large or no number after all still is the same as itself.
        yield match.start(), end, key or ("written", text[match.start() : end].casefold())


def _whole(text: str, start: int, end: int, key: Key | None) -> tuple[Key | None, int]:
    """Key and end with the further, smaller parts of a measure: `1 m 20 cm`, 2時間30分."""
    least = key
    while key is not None and least is not None and key[0] == "num" and key[3]:
        part = _PART.match(text, end)
        after = _unit(text, part.end())[1] if part else end
        last, least = least, canonical(text[end:after].strip())
        if least is None or least[0] != "num" or least[3] != key[3] or not _below(least, last):
            break
        key, end = canonical(text[start:after]), after
    return key, end


def _below(small: Key, large: Key) -> bool:
    return Fraction(f"{small[1]}/{small[2]}") < Fraction(f"{large[1]}/{large[2]}")


def _written(text: str, match: re.Match[str]) -> tuple[str, int]:
    """A find as `canonical` reads it, and its end; an empty string if it is no number here."""
    kind, written, end = match.lastgroup, match[0], match.end()
    if kind == "kana":
        return str(_KANA[written]), end
    if kind == "kanji":
        return ("" if _NOT_COUNTED.match(text, match.start()) else written.lstrip("第")), end
    if kind == "digits" and written[-1:].isalpha() and " " in written and len(written) <= _LONG:
        # `1.2 million`, so that a unit can follow.
        value = numerals.number(written.casefold())
        return written if value is None else str(value), end
    if kind != "english":
        return written, end
    value = numerals.english(re.sub(r"^a\s", "one ", written.casefold()))
    if value is None and (first := _FIRST_WORD.match(written)) is not None:
        # `two three` is two numbers.
        end, value = match.start() + first.end(), numerals.english(first[0])
    before = text[max(0, match.start() - 10) : match.start()]
    if value is None or (
        value == 1 and (_NOT_ONE.search(before) or text[end:].startswith(" anot"))
    ):
        return "", end
    return str(value), end


def _unit(text: str, start: int) -> tuple[str, int]:
    """The longest unit or counter that stands at a position, and where it ends."""
    latin = _LATIN_UNIT.match(text, start)
    match = latin or _OTHER_UNIT.match(text, start)
    if match is None:
        return "", start
    name, begin = match["name"], match.start("name")
    while name:
        end = begin + len(name)
        word = name in _NO_UNIT and begin > start and _NEXT_WORD.match(text, end)
        if not word and units.unit(name) is not None:
            return name, end
        name = name[:-1] if latin is None else name.rpartition(" ")[0]
    return "", start
