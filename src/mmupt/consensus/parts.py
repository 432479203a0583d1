"""What readers of compound answers share: keys, splitting at top level, sets of keys."""

from __future__ import annotations

from collections.abc import Callable

from mmupt.consensus import algebra
from mmupt.consensus.algebra import UnreadableError

Key = tuple[object, ...]
Reader = Callable[[str], Key | None]

MAX_PARTS = 200

OPENING, CLOSING = "([{⦃", ")]}⦄"


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
        if letter in OPENING:
            depth += 1
        elif letter in CLOSING:
            depth -= 1
            if depth < 0:
                raise UnreadableError
        elif depth == 0 and letter in separators:
            parts.append(text[begin:position].strip())
            begin = position + 1
    if depth:
        raise UnreadableError
    return [*parts, text[begin:].strip()]


def elements(parts: list[str], element: Reader) -> list[Key] | None:
    """The key of each part; None if one cannot be read, or there are too many."""
    if not 1 <= len(parts) <= MAX_PARTS:
        return None
    keys = []
    for part in parts:
        key = element(part)
        if key is None:
            return None
        keys.append(key)
    return keys


def as_set(keys: list[Key]) -> Key:
    """The key of a set: each member once, in an order of its own."""
    return ("set", *sorted(set(keys), key=repr))
