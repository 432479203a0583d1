"""The canonical key of an answer: two answers are equivalent when their keys are equal.

Because equivalence is equality of keys, it is reflexive, symmetric and transitive by construction,
and each distinct string is read once. A key never depends on the other answers of the group.

What an answer is read as, in this order (kind "auto"): date or time, yes/no, choice, quantity,
compound (set, tuple, interval, ...), expression, text. The decisions stand in the modules: `units`,
`structures`, `choices`, `calendar`, `numerals`, `text`. LaTeX that none of them reads, and
expressions whose value they do not know, go to the reader of last resort (`symbolic`), whose worker
goes through the same order with sympy behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import gcd

from mmupt.consensus import algebra, calendar, choices, text
from mmupt.consensus.algebra import TooLargeError, UnreadableError
from mmupt.consensus.expressions import expression
from mmupt.consensus.parts import Key, Reader, numeric_key
from mmupt.consensus.quantities import quantity
from mmupt.consensus.structures import structure
from mmupt.consensus.symbolic import opaque, symbolic
from mmupt.consensus.writing import delatex, plain
from mmupt.errors import ConfigError

MAX_ANSWER = 20_000
"""Longer answers abstain (characters)."""
_CACHED = 512
_MAX_NESTING = 6

# Telephone numbers are no differences, n/a is no quotient, the 1990s are no seconds.
_CODE = re.compile(r"\d+(?:-\d+){2,}|\d+(?:/\d+){2,}|\d+(?:\.\d+){2,}|[nN]/[aA]|(?:1\d|20)?\d0s")

_DECIMAL = re.compile(r"(-?[0-9]{1,18})(?:\.([0-9]{1,18}))?")
_QUOTES = re.compile(r"^([\"'`*_]{1,3})(.+)\1$", re.DOTALL)
_QUOTE_STARTS = frozenset("\"'`*_")
_PREFIX = re.compile(
    r"(?:the )?(?:final )?answer(?: is\b|:)[\s:]*|(?:最終的な)?(?:答え?|解答|回答|正解)(?:は|:)\s*",
    re.I,
)
_TRAILING = " \t\r\n.,;:。、"
_SHOUTED = re.compile(r"(?<![A-Za-z])([A-Za-z])!+$")
_POLITE = re.compile("(?:です|である|になります|となります)$")


def canonical(answer: str, kind: str = "auto") -> Key | None:
    """Key of the answer's class; None abstains.

    Args:
        answer: an extracted answer; empty or longer than `MAX_ANSWER` characters abstains, and so
            does a number too large to hold (9^9^9^9).
        kind: one of `KINDS`. "auto" and "boxed" read anything. "number" abstains for what holds no
            number. "yesno" abstains for what is neither. "choice" reads labels, several of them as
            a set, and anything else as text. "json" abstains for what does not parse. "text" reads
            nothing but text.

    Raises:
        ConfigError: unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"answer kind {kind!r} is unknown; choose from {', '.join(KINDS)}")
    if len(answer) > MAX_ANSWER:
        return None
    return _short(answer, kind) if len(answer) <= _CACHED else _read(answer, kind)


@lru_cache(maxsize=1 << 16)
def _short(answer: str, kind: str) -> Key | None:
    return _read(answer, kind)


def _read(answer: str, kind: str) -> Key | None:
    if kind in ("auto", "boxed", "number") and (match := _DECIMAL.fullmatch(answer)):
        # Most answers are plain numbers; this is what the long way makes of them.
        return _ratio(int(f"{match[1]}{match[2] or ''}"), 10 ** len(match[2] or ""))
    try:
        return KINDS[kind](answer)
    except TooLargeError:
        return None


def _ratio(numerator: int, denominator: int) -> Key:
    common = gcd(numerator, denominator)
    return "num", numerator // common, denominator // common, ()


def _auto(answer: str) -> Key | None:
    return _meaning(_clean(answer)) or _text(answer)


def _number(answer: str) -> Key | None:
    clean = _clean(answer)
    key = _meaning(clean)
    if key is not None and key[0] not in ("choice", "bool", "text"):
        return key
    return _last_number(clean)


def _choice(answer: str) -> Key | None:
    # Where a label is asked for, `b!` is no factorial.
    labels = choices.labels(_SHOUTED.sub(r"\1", _clean(answer)))
    return ("choices", *labels) if labels is not None else _text(answer)


def _yesno(answer: str) -> Key | None:
    found = choices.yes_or_no(_clean(answer), asked=True)
    return None if found is None else ("bool", found)


def _json(answer: str) -> Key | None:
    try:
        value = json.loads(answer, parse_constant=_refuse, parse_float=_exact, parse_int=_exact)
    except (ValueError, RecursionError):
        return None
    return "json", json.dumps(value, sort_keys=True, ensure_ascii=False)


def _exact(digits: str) -> object:
    """A JSON number by value, so that 1.0 is 1 and 1e2 is 100."""
    try:
        key = quantity(digits)
    except TooLargeError:
        raise ValueError(digits) from None
    value = None if key is None else algebra.rational(key.value)
    return {"number": str(value)}


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def _text(answer: str) -> Key | None:
    unicode, clean = plain(answer), _clean(answer)
    if "\\" in clean:
        return "latex", text.markup(clean)
    normal = text.words(clean)
    # An answer made of punctuation only (`?`, `+`) stands for itself.
    return ("text", normal) if normal else (("text", unicode) if unicode else None)


KINDS: Mapping[str, Callable[[str], Key | None]] = {
    "auto": _auto,
    "boxed": _auto,
    "number": _number,
    "choice": _choice,
    "yesno": _yesno,
    "text": _text,
    "json": _json,
}


def _clean(answer: str) -> str:
    """Mended characters, LaTeX undone, quotes and closing punctuation off."""
    clean = delatex(plain(answer))
    if match := _PREFIX.match(clean):
        clean = clean[match.end() :]
    for _ in range(3):
        before = clean
        clean = clean.strip().rstrip(_TRAILING)
        if clean.endswith("!") and not text.FACTORIAL_LAST.search(clean):
            clean = clean.rstrip("!")
        if clean[:1] in _QUOTE_STARTS and (match := _QUOTES.match(clean)):
            clean = match[2].strip()
        clean = _POLITE.sub("", clean)
        if clean == before:
            break
    return clean


def _meaning(clean: str) -> Key | None:
    """The key of whatever is more than text, by its mathematical value where that takes sympy."""
    key = value(clean)
    if key is None:
        return symbolic(clean) if "\\" in clean else None
    if not opaque(key):
        return key
    try:
        return symbolic(clean) or key
    except TooLargeError:
        return key  # equal to what is built alike, as without the reader of last resort


def value(clean: str, last_resort: Reader | None = None, depth: int = 0) -> Key | None:
    """The key of whatever is more than text, else None.

    Args:
        clean: a cleaned answer, or a part of one.
        last_resort: reads what the house cannot read or compute (in the worker of `symbolic`).
        depth: how many compounds the part stands in.

    Raises:
        TooLargeError: a number beyond the bounds.
    """
    if (when := calendar.moment(clean)) is not None:
        return numeric_key(algebra.number(int(str(when[1])))) if when[0] == "year" else when
    if not clean or depth > _MAX_NESTING or _CODE.fullmatch(clean):
        return None
    boolean = choices.yes_or_no(clean)
    if boolean is not None:
        return "bool", boolean
    if (label := choices.letter(clean)) is not None:
        return "choice", label
    key = _house(clean, last_resort, depth)
    if last_resort is None or not ("\\" in clean if key is None else opaque(key)):
        return key
    if key is not None and (key[0] not in ("alg", "equation") or (key[0] == "alg" and key[2])):
        return key  # a compound of parts that were read already, or a measure with its unit
    return last_resort(clean) or key


def _house(clean: str, last_resort: Reader | None, depth: int) -> Key | None:
    """A quantity, a compound or an expression."""
    if (found := quantity(clean)) is not None:
        return numeric_key(found.value, found.dimensions)
    if clean in ("∞", "+∞", "-∞"):
        return (clean.lstrip("+"),)
    compound = structure(clean, lambda part: value(part.strip(), last_resort, depth + 1))
    if compound is not None:
        return compound
    try:
        return numeric_key(expression(clean))
    except UnreadableError:
        return None


_NUMBER_WITH_UNIT = re.compile(
    r"[-+]?[$¥€£]?\s?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?\s?(?:[A-Za-zμΩ°%‰]{1,6}(?:\^?[23])?"
    r"|[一-龯ぁ-んァ-ヶー]{1,4})?"
)
_NUMBER_ONLY = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?")


def _last_number(clean: str) -> Key | None:
    """The last number of a phrase, with its unit if it has one that is known."""
    found_numbers = _NUMBER_WITH_UNIT.findall(clean)
    if not found_numbers:
        return None
    last = found_numbers[-1]
    bare = _NUMBER_ONLY.search(last)
    for candidate in (last, bare[0] if bare else ""):
        if (found := quantity(candidate.strip())) is not None:
            return numeric_key(found.value, found.dimensions)
    return None
