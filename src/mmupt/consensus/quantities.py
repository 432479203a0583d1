"""A number with its unit, as a value in base units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from mmupt.consensus import algebra, numerals, units
from mmupt.consensus.algebra import Poly, UnreadableError
from mmupt.consensus.expressions import expression

MAX_LENGTH = 200

_LEADING_NUMBER = re.compile(
    r"[-+]?\s?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
    r"(?:\s?(?:[eE]|(?:×|\*|·)\s?10\s?\^)\s?\{?[-+]?\d+\}?|(?:\s\d+)?\s?/\s?\d+)?"
)
_LEADING_JAPANESE = re.compile(
    "[-+]?[0-9][0-9,.]*[十百千万億兆][0-9,.十百千万億兆]*"
    "|[-+]?[〇零一二三四五六七八九壱弐参十拾百千万億兆]+(?:分の[0-9〇一二三四五六七八九十百千]+)?"
)
_HEDGE = re.compile(
    r"(?:≈|~|approximately |approx\. ?|about |around |roughly |およそ|おおよそ|約|だいたい)\s*",
    re.I,
)
# `5-10 cm` is a span and `5 m × 3 m` a size.
_NOT_A_SUM = re.compile(r"^[\d.,]+\s?-\s?[\d.,]+$|[×x](?!\s?10\s?\^)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact value in base units, with its dimensions; none for a pure number."""

    value: Poly
    dimensions: units.Dimensions = ()


def quantity(text: str) -> Quantity | None:
    """The quantity that a whole string states, else None.

    A hedge in front (`約`, `about`, `≈`) is left out. Parts of one dimension add up: `1 m 20 cm`,
    `1時間30分`.

    Raises:
        TooLargeError: a number beyond the bounds.
    """
    if len(text) > MAX_LENGTH:
        return None
    if match := _HEDGE.match(text):
        text = text[match.end() :]
    text = units.spoken_speed(text)
    sign = ""
    if text[:1] in ("-", "+") and units.prefix(text[1:].lstrip()) is not None:
        sign, text = text[0], text[1:].lstrip()
    if (found := units.prefix(text)) is not None:
        currency, rest = found
        amount = _amount(sign + rest)
        return None if amount is None else _measured(algebra.number(amount), currency)
    return _plain(text) or _compound(text) or _symbolic(text)


def _amount(text: str) -> Fraction | None:
    """The number after a currency sign: `1,200`, `5 million`, `3k`, `1200円`."""
    for suffix, scale in (("k", 1000), ("K", 1000), ("M", 10**6), ("円", 1), ("-", 1)):
        if text.endswith(suffix):
            value = numerals.number(text[: -len(suffix)].rstrip())
            return None if value is None else value * scale
    return numerals.number(text)


def _plain(text: str) -> Quantity | None:
    """One number, with or without a unit."""
    value = numerals.number(text)
    if value is not None:
        return Quantity(algebra.number(value))
    part = _part(text)
    return part[0] if part is not None and not part[1] else None


def _part(text: str) -> tuple[Quantity, str] | None:
    """The first number and unit of a string, and what follows them."""
    match = _LEADING_JAPANESE.match(text) or _LEADING_NUMBER.match(text)
    if match is None:
        return None
    value = numerals.number(match[0].strip())
    if value is None:
        return None
    rest = text[match.end() :].lstrip()
    name, following = _unit_name(rest)
    if units.is_ordinal(name) and value.denominator == 1:
        return Quantity(algebra.number(value)), following
    if name in ("年", "年度") and 1000 <= value <= 2999 and not following:
        return Quantity(algebra.number(value)), following
    known = units.unit(name)
    return None if known is None else (_measured(algebra.number(value), known), following)


def _unit_name(rest: str) -> tuple[str, str]:
    """Split what follows a number into its unit and the next part (which starts with a digit)."""
    for position, letter in enumerate(rest):
        fresh = letter.isdigit() and (position == 0 or rest[position - 1] not in "^{-/")
        if fresh and not (position and _squared(rest, position)):
            return rest[:position].strip(" ,、"), rest[position:]
    return rest.strip(), ""


def _squared(rest: str, position: int) -> bool:
    """Whether a digit is the exponent of `cm2` and not the start of the next part."""
    following = rest[position + 1 : position + 2]
    before = rest[:position]
    return (
        rest[position] in "23"
        and not (following.isalnum() or following == ".")
        and before.rstrip("/").endswith(("m", "ft", "in", "s"))
        and not before.endswith(" ")
    )


def _compound(text: str) -> Quantity | None:
    """Several parts of one dimension: `5 ft 6 in`, `2時間30分15秒`, `1h30m`."""
    total: Poly = {}
    dimensions: units.Dimensions | None = None
    rest = text
    for _ in range(6):
        part = _part(rest)
        if part is None:
            return None
        found, rest = part
        if dimensions == (("s", 1),) and found.dimensions == (("m", 1),):
            # `1h30m`: after hours, m is minutes.
            found = Quantity(algebra.multiply(found.value, algebra.number(60)), (("s", 1),))
        if not found.dimensions or (dimensions is not None and found.dimensions != dimensions):
            return None
        total, dimensions = algebra.add(total, found.value), found.dimensions
        if not rest:
            return Quantity(total, dimensions)
    return None


def _symbolic(text: str) -> Quantity | None:
    """An expression with a unit behind it: `2√3 cm`, `25π cm^2`, `π/6 rad`."""
    for start in _unit_starts(text):
        name, head = text[start:].strip(), text[:start].strip()
        if _NOT_A_SUM.search(head):
            continue
        known = units.unit(name)
        spaced = start > 0 and text[start - 1] == " "
        if known is None or not head or (name in units.AMBIGUOUS and not spaced):
            continue
        try:
            value = expression(head)
        except UnreadableError:
            continue
        return _measured(value, known)
    return None


def _unit_starts(text: str) -> list[int]:
    """Where a unit may begin: the last words of the string, the longest first."""
    starts = [match.start() for match in re.finditer(r"(?<=[\s\d})\]π])[^\s\d(){}\\]", text)]
    return [start for start in starts if len(text) - start <= 40][:12]


def _measured(value: Poly, unit: units.Unit) -> Quantity:
    if unit.radians:
        degrees = algebra.divide(algebra.number(180), algebra.symbol("π"))
        return Quantity(algebra.multiply(value, degrees))
    if unit.offset:
        value = algebra.add(value, algebra.number(unit.offset))
    return Quantity(algebra.scale(value, unit.scale), unit.dimensions)
