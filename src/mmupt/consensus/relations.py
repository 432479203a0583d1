"""Equations and inequalities. The decisions stand in `structures`."""

from __future__ import annotations

import re

from mmupt.consensus import algebra
from mmupt.consensus.algebra import UnreadableError
from mmupt.consensus.expressions import expression
from mmupt.consensus.parts import Key, Reader

_COMPARISON = re.compile(r"(<=|>=|≤|≥|<|>)")
_LETTER = re.compile(r"\s*([A-Za-zα-ω])\s*")
_NAME = re.compile(
    r"[A-WYZa-wα-ω]'?\(-?\d{1,6}\)|(?:[A-Za-zα-ωΑ-Ω∠△°_\\{}()',\s]|\d(?<=_.)|[\u3040-\u30ff\u3400-\u9fff]){1,40}"
)
_SEVERAL = re.compile(r"[,、;]|\s(?:and|or)\s|または|および|及び|かつ")


def assignment(text: str) -> tuple[str, str] | None:
    """`x = 5` as (x, 5); None if the left side is not a plain name or the sides are not two."""
    sides = text.split("=")
    if len(sides) != 2 or not sides[1].strip() or any(sign in text for sign in "<>≤≥≠"):
        return None
    name, value = sides[0].strip(), sides[1].strip()
    return (name, value) if name and _NAME.fullmatch(name) else None


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
    try:
        values = [expression(side) for side in sides]
    except UnreadableError:
        return element(sides[-1]) if _NAME.fullmatch(sides[0]) else None
    if not any(algebra.letters(value) - {"π", "e", "i"} for value in values[-2:]):
        return element(sides[-1])
    if len(sides) != 2:
        return None
    relation = algebra.add(values[0], algebra.negate(values[1]))
    if not relation:
        return ("identity",)
    lead = algebra.freeze(relation)[-1][1]
    scaled = {mono: value / lead for mono, value in relation.items()}
    return "equation", algebra.freeze(scaled)


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
