"""Answers out of replies, and the comparisons that several rules share. Strings in, no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from mmupt.benchmarks.rows import LETTERS, listed
from mmupt.consensus import algebra
from mmupt.consensus.algebra import TooLargeError
from mmupt.consensus.canonical import canonical
from mmupt.consensus.equivalence import equivalent
from mmupt.consensus.extract import extract
from mmupt.consensus.options import named
from mmupt.consensus.parts import Key
from mmupt.consensus.writing import DOLLAR, delatex, plain

MAX_NUMBER: Final = 200
"""Longest text that is read as a number, in characters."""

_HEDGED = re.compile(r"[(\[]?([A-Z])[)\].]?\s*(?:,?\s*or|/)\s*[(\[]?([A-Z])[)\].]?", re.IGNORECASE)
_REFUSED = re.compile(r"\b(?:not|neither|nor|none)\b|n't\b", re.IGNORECASE)
_SPACES = re.compile(r"\s+")
# Words behind a number that do not change it: `1.4 billion`, `1 GPI`, `14 cm^2`, `12 square units`.
_WORD = r"(?!(?:or|and|to|of|by|over|x)\b)[A-Za-z]{1,20}(?:\^?\{?-?[23]\}?|[²³])?"
_WORDS = rf"{_WORD}(?:[ ./·-]{{1,2}}{_WORD}){{0,3}}"
_WRITTEN = re.compile(
    rf"(?:[$€£¥{DOLLAR}]|≈|~|about |approximately |around )?\s*"
    r"([-+]?)\s*[$€£¥]?\s*(\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(\.\d*)?"
    rf"\s*(?:%|°|{_WORDS})?"
)
_UNIT_BEHIND = re.compile(rf"(.*[^\s+*/^(=-])(?:\s+|(?<=[π)}}])){_WORDS}")


@dataclass(frozen=True, slots=True)
class Number:
    """A number that a text states.

    Attributes:
        value: in base units: 14 cm is 7/50, 50% is 1/2, 1.4 billion is 1400000000.
        bare: as written, without its unit, percent sign or magnitude: 14, 50, 1.4.
        unit: its dimensions; empty for a pure number or an unknown unit.
        places: digits behind the decimal point; None unless it is written as a decimal number.
    """

    value: Fraction
    bare: Fraction
    unit: object = ()
    places: int | None = None


def number(text: str) -> Number | None:
    """The number of a whole text, None if it states none or has letters in it (2x)."""
    if len(text) > MAX_NUMBER:
        return None
    clean = delatex(plain(text)).strip().rstrip(".")
    written = _WRITTEN.fullmatch(clean)
    bare, places = None, None
    if written is not None and (written[2] or written[3]):
        digits = written[2].replace(",", "") + (written[3] or "").rstrip(".")
        bare = Fraction(f"{written[1]}{digits if digits[:1] != '.' else '0' + digits}")
        places = len((written[3] or ".")[1:])
    key = canonical(text)
    found = _value(key)
    if found is None and (key is None or key[0] not in ("text", "latex")):
        return None  # a set, an interval, or an expression with letters: `2x` is no 2
    if bare is None and (found is None or found[1]):
        # `36π units^2`, `2√3 cm`: the expression in front of the unit.
        behind = _UNIT_BEHIND.fullmatch(clean)
        inner = _value(canonical(behind[1])) if behind is not None else None
        bare = None if inner is None or inner[1] else inner[0]
    if found is None:
        return None if bare is None else Number(bare, bare, (), places)
    return Number(found[0], found[0] if bare is None else bare, found[1], places)


def _value(key: Key | None) -> tuple[Fraction, object] | None:
    """Value in base units and dimensions, of a number or of an expression without letters."""
    if key is None or key[0] not in ("num", "alg"):
        return None
    if key[0] == "num" and isinstance(key[1], int) and isinstance(key[2], int):
        return Fraction(key[1], key[2]), key[3]
    try:
        value = algebra.approximate(dict(key[1]))  # type: ignore[call-overload]
    except TooLargeError:
        return None
    return None if value is None else (value, key[2])


def equal(key: Number, said: Number) -> bool:
    """Equal as written or by value; units count only where both have one."""
    if key.unit and said.unit:
        return key.unit == said.unit and _near(key.value, said.value)
    return _near(key.bare, said.bare) or _near(key.value, said.value)


def rounds(key: Number, said: Number, least: int) -> bool:
    """Whether both agree once rounded to the coarser of their decimals, at least `least` of them.

        |key - said| <= 10^-p / 2,    p = the smaller number of decimal places of the two

    Numbers that are not written as decimals (9√2, 1/3) are exact and do not limit p. Whole numbers
    have no places: they are equal or not.
    """
    if key.unit and said.unit and key.unit != said.unit:
        return False
    places = [p for p in (key.places, said.places) if p is not None]
    if not places or min(places) < least:
        return False
    return abs(key.bare - said.bare) <= Fraction(1, 2 * 10 ** min(places))


def _near(a: Fraction, b: Fraction) -> bool:
    """Equal up to what approximating a root leaves."""
    return a == b or abs(a - b) <= Fraction(1, 10**20) * max(abs(a), abs(b))


def same(key: str, said: str) -> bool:
    """Equivalent, or equal numbers of which one leaves out its unit."""
    if equivalent(key, said):
        return True
    first, second = number(key), number(said)
    return first is not None and second is not None and equal(first, second)


def forms(said: str) -> tuple[str, ...]:
    """An answer as it stands, or the forms of one value that it gives: `9√2 ≈ 12.73` gives two.

    Forms that do not agree (to the decimals of the later ones) stay one text, which is no number.
    """
    parts = [part.strip() for part in delatex(plain(said)).split("≈")]
    if len(parts) < 2 or not all(parts):
        return (said,)
    first, *others = (number(part) for part in parts)
    agree = first is not None and all(
        other is not None
        and abs(first.bare - other.bare) <= Fraction(1, 2 * 10 ** (other.places or 0))
        for other in others
    )
    return tuple(parts) if agree else (said,)


def chosen(reply: str, choices: Sequence[str], problem: str = "") -> str | None:
    """The label that a reply chooses, by its letter or by the text of the option.

    In this order: the answer is the text of an option; a letter is stated; the answer is the value
    of an option; the answer holds the text of one option, as whole words.

    Args:
        reply: the model's reply.
        choices: texts of the options from A on; empty if they are not known (in the picture).
        problem: the prompt, whose repetition in the reply does not count.

    Returns:
        One label; None for none, for two (`A or B`), and for a label that is not offered.
    """
    texts = [_SPACES.sub(" ", text) for text in choices]
    offered = LETTERS[: len(texts)] if texts else LETTERS[:10]
    said = extract(reply, "text", problem)
    if said is None or ((hedge := _HEDGED.fullmatch(said.strip())) and hedge[1] != hedge[2]):
        return None
    if (label := named(said, dict(zip(offered, texts, strict=False)))) is not None:
        return label
    # Only the letters are listed: what a text holds by chance (15 in 150) is no choice.
    letters = f"{problem}\n{listed(f'∴{label}∴' for label in offered)}" if texts else problem
    label = extract(reply, "choice", letters)
    if label and len(label) == 1 and label.upper() in offered:
        return label.upper()
    answer = extract(reply, "auto", problem)
    if answer is None:
        return None
    for fits in (_names, _holds):
        hits = [label for label, text in zip(offered, texts, strict=False) if fits(answer, text)]
        if hits:
            return hits[0] if len(hits) == 1 else None
    return None


def _holds(said: str, option: str) -> bool:
    """Whether an answer holds the text of an option, not as a part of a word or number."""
    if _REFUSED.search(said):
        return False
    words = re.escape(option.casefold().strip())
    return bool(words) and bool(re.search(rf"(?<![\w.]){words}(?![\w]|\.\d)", said.casefold()))


def _names(said: str, option: str) -> bool:
    if said.casefold().strip() == option.casefold().strip():
        return True
    first, second = number(option), number(said)
    return first is not None and second is not None and equal(first, second)


def label_of(answer: str, choices: Sequence[str]) -> str | None:
    """The label of a reference answer: a letter before the text of an option.

    Args:
        answer: `B`, `(b)`, or what an option says.
        choices: texts of the options; with none any letter is a label.
    """
    offered = LETTERS[: len(choices)] if choices else LETTERS
    bare = answer.strip().strip("().").upper()
    if len(bare) == 1 and bare in offered:
        return bare
    texts = [choice.strip() for choice in choices]
    if answer.strip() in texts:
        return offered[texts.index(answer.strip())]
    hits = [label for label, text in zip(offered, texts, strict=False) if equivalent(answer, text)]
    return hits[0] if len(hits) == 1 else None
