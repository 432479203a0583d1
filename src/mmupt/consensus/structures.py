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
- Matrices are equal entry by entry, in round or square brackets; a determinant is no matrix.
"""

from __future__ import annotations

import re

from mmupt.consensus.algebra import UnreadableError
from mmupt.consensus.figures import ratio, size, span
from mmupt.consensus.parts import CLOSING, MAX_PARTS, OPENING, Key, Reader, as_set, elements, split
from mmupt.consensus.relations import assignment, equation, inequality

MAX_LENGTH = 2000

_CONJUNCTION = re.compile(
    r"\s+(?:and|or|&)\s+|\s*(?:または|あるいは|もしくは|および|及び|かつ)\s*"
    r"|(?<=[0-9A-Z個つ円])[とや](?=[-0-9A-Z])"
)

_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix)\}(.{1,400}?)\\end\{\1\}", re.DOTALL)
# x ∈ [1,2] and {x | x > 3} say the same as [1,2] and x > 3.
_MEMBERSHIP = re.compile(r"x\s?∈\s?([^∈|]+)|[{⦃]\s?x\s?[|:]\s?([^|:]+)[}⦄]")


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
    for read in _READERS:
        if (key := read(text, element)) is not None:
            return key
    return _list(text, element)


def _commas(text: str) -> list[str]:
    """Parts of a bracketed list: `1,200` is two numbers there, unless `, ` divides others."""
    if re.search(r"[,、;]\s", text):
        marked = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
        return split(marked, ",、;")
    return split(text, ",、;")


def _bracketed(text: str, element: Reader) -> Key | None:
    """(a, b), [a, b), {a, b}, ⦃a⦄ around the whole string."""
    if len(text) < 3 or text[0] not in OPENING or text[-1] not in CLOSING:
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
        keys = elements(parts, lambda part: element(part) or _word(part))
        return None if keys is None else as_set(keys)
    keys = elements(parts, element)
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
    named = [assignment(part) for part in parts]
    names = [pair[0] for pair in named if pair is not None]
    if len(names) == len(parts) and len(set(names)) == len(parts):
        # x = 3, y = 5: the values in the order of their names.
        parts = [pair[1] for pair in sorted(pair for pair in named if pair is not None)]
        ordered = True
    elif len(names) == len(parts) and len(set(names)) == 1:
        parts = [pair[1] for pair in named if pair is not None]
        ordered = False
    keys = elements(parts, element)
    if keys is None:
        return None
    return ("tuple", *keys) if ordered else as_set(keys)


def _union(text: str, element: Reader) -> Key | None:
    if "∪" not in text and " or " not in text:
        return None
    parts = [part.strip() for part in re.split(r"∪|\s+or\s+", text)]
    if not 2 <= len(parts) <= 20:
        return None
    keys = []
    for part in parts:
        key = _bracketed(part, element) or inequality(part, element)
        if key is None or len(key) != 3 or key[0] not in ("tuple", "[]", "[)", "(]"):
            return None
        keys.append(key)
    return ("union", *sorted(keys, key=repr))


def _plus_minus(text: str, element: Reader) -> Key | None:
    if "±" not in text or text.count("±") > 4:
        return None
    upper, lower = text.replace("±", "+"), text.replace("±", "-")
    keys = elements([upper.removeprefix("+").strip(), lower], element)
    return None if keys is None else as_set(keys)


def _matrix(text: str, element: Reader) -> Key | None:
    r"""`\begin{pmatrix} a & b \\ c & d \end{pmatrix}`, row by row."""
    match = _MATRIX.fullmatch(text)
    if match is None:
        return None
    rows = []
    for row in re.split(r"\\\\", match[2].strip().removesuffix("\\\\")):
        keys = elements([cell.strip() for cell in row.split("&")], element)
        if keys is None:
            return None
        rows.append(("row", *keys))
    kind = "determinant" if match[1] in ("vmatrix", "Vmatrix") else "matrix"
    return (kind, *rows)


_READERS = (equation, _union, _bracketed, size, ratio, inequality, _plus_minus, span, _matrix)
