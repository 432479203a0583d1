"""Answers made of several values: sets, tuples, intervals, unions, spans, ratios, equations.

Decisions:

- {1,2} = {2,1} (a set; repetitions count once) but (1,2) != (2,1) (a tuple), and (1,2) != {1,2}.
- A bare list is a tuple: 1, 2 = (1,2) != 2, 1. `1 and 2`, `1 or 2`, `x=1, x=2` and `±1` are sets.
- [1,2], [1,2), (1,2] and (1,2) are four different answers; (1,2) may be a point or an open
  interval, so 1 < x < 2 is (1,2). A condition on a letter other than x stays what it is.
- An equation with a plain name on its left states its right side: x = 5 is 5, `AB = 5 cm` is 5 cm.
  Not so for y = 5 and z = 5, which are lines as often as values: they differ from 5 and from x = 5.
  Other equations are equal when they are proportional: 2x + y = 5 is 4x + 2y = 10.
- 3:4 = 6:8 (a ratio) but 3:4 != 3/4. 3-5, 3〜5, 3 to 5 are one span, and not -2.
- 3×4 is a size of 3 by 4: it is neither 12 nor 4×3.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from mmupt.consensus import algebra
from mmupt.consensus.algebra import UnreadableError
from mmupt.consensus.expressions import expression
from mmupt.consensus.writing import DOLLAR

Key = tuple[object, ...]
Reader = Callable[[str], Key | None]

MAX_LENGTH = 2000
MAX_PARTS = 200

_OPEN, _CLOSE = "([{⦃", ")]}⦄"
_CONJUNCTION = re.compile(
    r"\s+(?:and|or|&)\s+|\s*(?:または|あるいは|もしくは|および|及び|かつ)\s*"
    r"|(?<=[0-9A-Z個つ円])[とや](?=[-0-9A-Z])"
)
_SPAN = re.compile(r"\s*(?:~|→(?!$)|\bto\b|から)\s*|(?<=[0-9a-zA-Z%°円個])\s?-\s?(?=[0-9$¥\ue000])")
_SIZE = re.compile(r"\d+(?:\.\d+)?(?:\s?[×xX*]\s?\d+(?:\.\d+)?){1,3}")
_RATIO = re.compile(r"-?\d+(?:\.\d+)?(?:\s?(?::|対)\s?-?\d+(?:\.\d+)?){1,5}")
_COMPARISON = re.compile(r"(<=|>=|≤|≥|<|>)")
_LETTER = re.compile(r"\s*([A-Za-zα-ω])\s*")
_NAME = re.compile(
    r"[A-WYZa-wα-ω]'?\(-?\d{1,6}\)|(?:[A-Za-zα-ωΑ-Ω∠△°_\\{}()',\s]|\d(?<=_.)|[\u3040-\u30ff\u3400-\u9fff]){1,40}"
)
# x ∈ [1,2] and {x | x > 3} say the same as [1,2] and x > 3.
_MEMBERSHIP = re.compile(r"x\s?∈\s?([^∈|]+)|[{⦃]\s?x\s?[|:]\s?([^|:]+)[}⦄]")
_SEVERAL = re.compile(r"[,、;]|\s(?:and|or)\s|または|および|及び|かつ")


def structure(text: str, element: Reader) -> Key | None:
    """The key of a compound answer, or None when the string is not one.

    Args:
        text: after `writing.plain` and `writing.delatex`.
        element: reads one part; gives None for what it cannot read as a value.
    """
    if len(text) > MAX_LENGTH:
        return None
    if text in ("∅", "⦃⦄", "{}", "空集合", "empty set", "the empty set"):
        return ("set",)
    if match := _MEMBERSHIP.fullmatch(text):
        text = (match[1] or match[2]).strip()
    for read in (_equation, _union, _bracketed, _size, _ratio, _inequality, _plus_minus, _span):
        if (key := read(text, element)) is not None:
            return key
    return _list(text, element)


def numeric_key(value: algebra.Poly, dimensions: object = ()) -> Key:
    """Key of a value in base units: ("num", n, d, dimensions) or ("alg", terms, dimensions)."""
    plain = algebra.rational(value)
    if plain is not None:
        return "num", plain.numerator, plain.denominator, dimensions
    return "alg", algebra.freeze(value), dimensions


def split(text: str, separators: str) -> list[str]:
    """Parts between top-level separators; raises `UnreadableError` when brackets do not match."""
    parts, depth, begin = [], 0, 0
    for position, letter in enumerate(text):
        if letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth -= 1
            if depth < 0:
                raise UnreadableError
        elif depth == 0 and letter in separators:
            parts.append(text[begin:position].strip())
            begin = position + 1
    if depth:
        raise UnreadableError
    return [*parts, text[begin:].strip()]


def _elements(parts: list[str], element: Reader) -> list[Key] | None:
    if not 1 <= len(parts) <= MAX_PARTS:
        return None
    keys = []
    for part in parts:
        key = element(part)
        if key is None:
            return None
        keys.append(key)
    return keys


def _set(keys: list[Key]) -> Key:
    return ("set", *sorted(set(keys), key=repr))


def _commas(text: str) -> list[str]:
    """Parts of a bracketed list: `1,200` is two numbers there, unless `, ` divides others."""
    if re.search(r"[,、;]\s", text):
        marked = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
        return split(marked, ",、;")
    return split(text, ",、;")


def _bracketed(text: str, element: Reader) -> Key | None:
    """(a, b), [a, b), {a, b}, ⦃a⦄ around the whole string."""
    if len(text) < 3 or text[0] not in _OPEN or text[-1] not in _CLOSE:
        return None
    opening, closing, inner = text[0], text[-1], text[1:-1]
    try:
        parts = _commas(inner)
    except UnreadableError:
        return None
    if opening in "{⦃" and closing in "}⦄":
        # Words may stand in an explicit set: {red, blue}.
        if opening == "{" and len(parts) == 1:
            return element(inner)
        keys = _elements(parts, lambda part: element(part) or _word(part))
        return None if keys is None else _set(keys)
    keys = _elements(parts, element)
    if keys is None or (len(parts) == 1 and (opening, closing) != ("[", "]")):
        return None
    if (opening, closing) == ("(", ")"):
        return ("tuple", *keys)
    if (opening, closing) == ("[", "]") or len(keys) == 2:
        return (f"{opening}{closing}", *keys)
    return None


def _word(part: str) -> Key | None:
    folded = " ".join(part.casefold().split()).strip("'\"")
    if re.search("[<>=≤≥≠∈|]", folded):
        return None
    return ("word", folded) if folded else None


def _list(text: str, element: Reader) -> Key | None:
    """Values with commas, `and` or `or` between them, without brackets."""
    if not re.search(r"[,、;&\s]|[とや]|または|あるいは|もしくは|および|及び|かつ", text):
        return None
    joined = _CONJUNCTION.split(text)
    if len(joined) > MAX_PARTS:
        return None
    try:
        marked = re.sub(r"(?<=\d),(?=\d{3}(?!\d)(?:,\d{3}(?!\d))*(?:\D|$))", "", text)
        ordered = len(joined) == 1
        chunks = [marked] if ordered else _CONJUNCTION.split(marked)
        parts = [part for chunk in chunks for part in split(chunk, ",、;") if part or ordered]
    except UnreadableError:
        return None
    if len(parts) < 2:
        return None
    named = [_assignment(part) for part in parts]
    names = [pair[0] for pair in named if pair is not None]
    if len(names) == len(parts) and len(set(names)) == len(parts):
        # x = 3, y = 5: the values in the order of their names.
        parts = [pair[1] for pair in sorted(pair for pair in named if pair is not None)]
        ordered = True
    elif len(names) == len(parts) and len(set(names)) == 1:
        parts = [pair[1] for pair in named if pair is not None]
        ordered = False
    keys = _elements(parts, element)
    if keys is None:
        return None
    return ("tuple", *keys) if ordered else _set(keys)


def _assignment(text: str) -> tuple[str, str] | None:
    """`x = 5` as (x, 5); None if the left side is not a plain name or the sides are not two."""
    sides = text.split("=")
    if len(sides) != 2 or not sides[1].strip() or any(sign in text for sign in "<>≤≥≠"):
        return None
    name, value = sides[0].strip(), sides[1].strip()
    return (name, value) if name and _NAME.fullmatch(name) else None


def _equation(text: str, element: Reader) -> Key | None:
    """One equation: a value with a name, a chain of numbers, or a relation of letters."""
    if "=" not in text or any(sign in text for sign in "<>≤≥≠"):
        return None
    sides = [side.strip() for side in text.split("=")]
    if len(sides) > 6 or not all(sides):
        return None
    if len(sides) > 2 and _SEVERAL.search(text):
        return None  # x = 1, x = 2: a list of equations
    if len(sides) == 2 and (pair := _assignment(text)) is not None:
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


def _union(text: str, element: Reader) -> Key | None:
    if "∪" not in text and " or " not in text:
        return None
    parts = [part.strip() for part in re.split(r"∪|\s+or\s+", text)]
    if not 2 <= len(parts) <= 20:
        return None
    keys = []
    for part in parts:
        key = _bracketed(part, element) or _inequality(part, element)
        if key is None or len(key) != 3 or key[0] not in ("tuple", "[]", "[)", "(]"):
            return None
        keys.append(key)
    return ("union", *sorted(keys, key=repr))


def _inequality(text: str, element: Reader) -> Key | None:
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


def _plus_minus(text: str, element: Reader) -> Key | None:
    if "±" not in text or text.count("±") > 4:
        return None
    upper, lower = text.replace("±", "+"), text.replace("±", "-")
    keys = _elements([upper.removeprefix("+").strip(), lower], element)
    return None if keys is None else _set(keys)


def _size(text: str, element: Reader) -> Key | None:
    if not _SIZE.fullmatch(text) or (re.search(r"[×xX*]\s?10$", text) and "." in text):
        return None
    parts = re.split(r"[×xX*]", text)
    if "*" in text:
        return None
    return ("size", *(Fraction(part.strip()) for part in parts))


def _ratio(text: str, element: Reader) -> Key | None:
    if not _RATIO.fullmatch(text):
        return None
    values = [Fraction(part.strip()) for part in re.split(":|対", text)]
    lead = next((abs(value) for value in values if value), None)
    return None if lead is None else ("ratio", *(value / lead for value in values))


def _span(text: str, element: Reader) -> Key | None:
    """`3-5`, `3〜5 cm`, `3 to 5`, `3から5まで`: from one positive quantity to another."""
    if not text or not (text[0].isdigit() or text[0] in f"{DOLLAR}$¥約"):
        return None
    parts = _SPAN.split(text.removesuffix("まで"))
    if len(parts) != 2 or not all(parts):
        return None
    if parts[0].startswith((DOLLAR, "$", "¥")) and parts[1][0].isdigit():
        low, parts[1] = element(parts[0]), f"{parts[0][0]}{parts[1]}"
    elif parts[0].strip().replace(".", "").replace(",", "").isdigit():
        # 3-5 cm: the unit stands once.
        unit = re.sub(r"^[\d.,\s]+", "", parts[1])
        low = element(f"{parts[0]} {unit}".strip())
    else:
        low = element(parts[0])
    high = element(parts[1])
    if low is None or high is None or low[0] not in _SPANNED or high[0] not in _SPANNED:
        return None
    return "span", low, high


_SPANNED = ("num", "date", "time")
