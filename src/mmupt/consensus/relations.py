r"""Equations and inequalities. The decisions stand in `structures`.

What drops out before a sign of equality is what somebody calls the value behind it: x, AB, S_n,
面積, f(2), P(A), f'(x), and like it \frac{dy}{dx}. A function, root or quotient of something is no
name: \sin x = 1/2 is an equation, and not 1/2. Neither is xy.
"""

from __future__ import annotations

import re

from mmupt.consensus import algebra
from mmupt.consensus.algebra import UnreadableError
from mmupt.consensus.expressions import FUNCTIONS, expression
from mmupt.consensus.parts import Key, Reader

_COMPARISON = re.compile(r"(<=|>=|≤|≥|<|>)")
_LETTER = re.compile(r"\s*([A-Za-zα-ω])\s*")
_NAME = re.compile(
    r"[A-WYZa-wα-ω]'?\(-?\d{1,6}\)|(?:[A-Za-zα-ωΑ-Ω∠△°_\\{}()',\s]|\d(?<=_.)|[\u3040-\u30ff\u3400-\u9fff]){1,40}"
)
_DERIVATIVE = re.compile(
    r"\\frac\s?\{\s?d\s?(?:\^\{?\d\}?\s?)?[A-Za-zα-ω]\s?(?:\([A-Za-z]\)\s?)?\}"
    r"\s?\{\s?d\s?[A-Za-zα-ω]\s?(?:\^\{?\d\}?\s?)?\}"
    r"|d(?:\^\{?\d\}?)?[A-Za-zα-ω]\s?/\s?d[A-Za-zα-ω](?:\^\{?\d\}?)?"
)
# `sinx` is one too; `cost` and `tang` are words.
_APPLIED = re.compile(
    rf"(?<![A-Za-z])(?:(?:arc|ar|a)?(?:{'|'.join(sorted(FUNCTIONS))})[xθαβφA-Z]?"
    r"|coth|sech|csch|sqrt|[dt]?binom|frac|lfloor|lceil)(?![A-Za-z])"
)
# AB is a length and ab a number of two digits, but xy is a product of unknowns.
_UNKNOWN = re.compile(r"[xyz](?:_\{?[A-Za-z0-9]\}?)?")
_PRODUCT = re.compile(rf"{_UNKNOWN.pattern}(?:\s?{_UNKNOWN.pattern})+")
_SEVERAL = re.compile(r"[,、;]|\s(?:and|or)\s|または|および|及び|かつ")


def assignment(text: str) -> tuple[str, str] | None:
    """`x = 5` as (x, 5); None if the left side is not a plain name or the sides are not two."""
    sides = text.split("=")
    if len(sides) != 2 or not sides[1].strip() or any(sign in text for sign in "<>≤≥≠"):
        return None
    name, value = sides[0].strip(), sides[1].strip()
    return (name, value) if _names(name) else None


def _names(side: str) -> bool:
    """Whether a side of an equation only says what the other side is the value of."""
    if _DERIVATIVE.fullmatch(side):
        return True
    if _NAME.fullmatch(side) is None or _PRODUCT.fullmatch(side):
        return False
    return _APPLIED.search(side) is None


def equation(text: str, element: Reader) -> Key | None:
    """One equation: a value with a name, a chain of numbers, or a relation of letters."""
    if "=" not in text or any(sign in text for sign in "<>≤≥≠"):
        return None
    sides = [side.strip() for side in text.split("=")]
    if len(sides) > 6 or not all(sides):
        return None
    if len(sides) > 2 and _SEVERAL.search(text):
        return None  # x = 1, x = 2: a list of equations
    if len(sides) == 2 and (pair := assignment(text)) is not None:
        key = element(pair[1])
        if pair[0] in ("y", "z") and key is not None and _constant(key):
            return "line", pair[0], key
        return key
    if _PRODUCT.fullmatch(sides[0]):
        sides[0] = "*".join(_UNKNOWN.findall(sides[0]))
    try:
        values = [expression(side) for side in sides]
    except UnreadableError:
        return element(sides[-1]) if _names(sides[0]) else None
    stated = _names(sides[0]) or not _unknowns(values[0])
    if stated and not any(map(_unknowns, values[-2:])):
        return element(sides[-1])  # 3 + 4 = 7, S = 2·7 = 14
    if len(sides) != 2 and any(map(_unknowns, values[1:])):
        return None
    # Of more than two sides it is the last that counts: x^2 = 8/2 = 4 says x^2 = 4.
    relation = algebra.add(values[0], algebra.negate(values[-1]))
    if not relation:
        return ("identity",)
    lead = algebra.freeze(relation)[-1][1]
    scaled = {mono: value / lead for mono, value in relation.items()}
    return "equation", algebra.freeze(scaled)


def _unknowns(value: algebra.Poly) -> set[str]:
    """Letters that stand for something, and parts that are not computed with."""
    return algebra.letters(value) - {"π", "e", "i"}


def _constant(key: Key) -> bool:
    return key[0] == "num" or (
        key[0] == "alg"
        and isinstance(key[1], tuple)
        and not algebra.letters(dict(key[1])) - {"π", "e", "i"}
    )


def inequality(text: str, element: Reader) -> Key | None:
    """A condition on x as an interval; on another letter as itself."""
    if not _COMPARISON.search(text):
        return None
    parts = _COMPARISON.split(text)
    signs = [{"<=": "≤", ">=": "≥"}.get(sign, sign) for sign in parts[1::2]]
    sides = [side.strip() for side in parts[0::2]]
    if len(sides) == 2 and _LETTER.fullmatch(sides[1]):
        # 3 < x is x > 3.
        sides.reverse()
        signs = ["<>≤≥"["><≥≤".index(signs[0])]]
    if len(sides) == 3 and all(sign in ">≥" for sign in signs):
        sides.reverse()
        signs = ["<" if sign == ">" else "≤" for sign in reversed(signs)]
    if len(sides) == 2 and _LETTER.fullmatch(sides[0]):
        bound, letter = element(sides[1]), sides[0]
        low, high = (bound, ("∞",)) if signs[0] in ">≥" else (("-∞",), bound)
        low_closed, high_closed = signs[0] == "≥", signs[0] == "≤"
    elif len(sides) == 3 and _LETTER.fullmatch(sides[1]) and all(s in "<≤" for s in signs):
        low, high, letter = element(sides[0]), element(sides[2]), sides[1]
        low_closed, high_closed = signs[0] == "≤", signs[1] == "≤"
    else:
        return None
    if low is None or high is None:
        return None
    brackets = f"{'[' if low_closed else '('}{']' if high_closed else ')'}"
    key: Key = ("tuple" if brackets == "()" else brackets, low, high)
    return key if letter == "x" else ("condition", letter, key)
