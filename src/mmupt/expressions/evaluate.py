"""What a condition says of one row. Missing values (none, NaN) make comparisons false."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mmupt.expressions.tree import (
    Call,
    Comparison,
    Literal,
    Logic,
    Member,
    Negative,
    Node,
    Not,
    Sum,
    Value,
    Word,
)

MAX_TEXT = 20_000
"""Characters of a text that are looked at."""


@dataclass(frozen=True, slots=True)
class World:
    """What the words of a condition are worth.

    Attributes:
        words: value by word; a word that is not there is missing.
        meta: the row's own columns.
        same: whether two answers say the same.
        number_of: a text as a number; None: it is none.
    """

    words: Mapping[str, Value]
    meta: Mapping[str, str]
    same: Callable[[str, str], bool]
    number_of: Callable[[str], float | None]


def judge(tree: Node, world: World) -> bool | None:
    """Whether a condition is true of a row.

    Args:
        tree: from `kinds.read_condition`, so that kinds fit.
        world: the row.

    Returns:
        True or False; None: not true, but a value that was compared is missing.
    """
    run = _Run(world)
    if run.holds(tree):
        return True
    return None if run.missed else False


class _Run:
    """One judgement; `missed` tells whether a comparison met a missing value."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.missed = False

    def holds(self, node: Node) -> bool:
        found = self.value(node)
        if found is None:
            self.missed = True
        return found is True

    def value(self, node: Node) -> Value:
        match node:
            case Literal(value):
                return value
            case Word(name):
                return _tidy(self.world.words.get(name))
            case Call(name, arguments):
                return self._call(name, [self.value(one) for one in arguments])
            case Negative(operand):
                return _computed("-", 0.0, _number(self.value(operand)))
            case Sum(operator, left, right):
                return _computed(operator, _number(self.value(left)), _number(self.value(right)))
            case Not(operand):
                return not self.holds(operand)
            case Logic("and", parts):
                return all(self.holds(part) for part in parts)
            case Logic(_, parts):
                return any(self.holds(part) for part in parts)
            case Comparison():
                return self._compared(node)
            case Member(item, options, negated):
                found = self.value(item)
                return not self._misses(found) and (found in options) is not negated

    def _misses(self, *values: Value) -> bool:
        missing = None in values
        self.missed = self.missed or missing
        return missing

    def _compared(self, node: Comparison) -> bool:
        left, right = self.value(node.left), self.value(node.right)
        none = Literal(None)
        if none in (node.left, node.right):
            return (left is None and right is None) is (node.operator == "==")
        if self._misses(left, right):
            return False
        match node.operator:
            case "==":
                return left == right
            case "!=":
                return left != right
            case "<":
                return left < right  # type: ignore[operator]
            case "<=":
                return left <= right  # type: ignore[operator]
            case ">":
                return left > right  # type: ignore[operator]
            case ">=":
                return left >= right  # type: ignore[operator]

    def _call(self, name: str, given: list[Value]) -> Value:
        if name in _CONDITIONS or name == "same":
            if self._misses(*given):
                return False
            holds = self.world.same if name == "same" else _CONDITIONS[name]
            return holds(str(given[0]), str(given[1]))
        if None in given:
            return None
        if name == "meta":
            return _tidy(self.world.meta.get(str(given[0])))
        if name == "value":
            return _tidy(self.world.number_of(str(given[0])))
        if name in _TEXTS:
            return _TEXTS[name](str(given[0]))
        return _NUMBERS[name]([float(one) for one in given if one is not None])


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())[:MAX_TEXT]


_CONDITIONS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_TEXTS: Mapping[str, Callable[[str], Value]] = {
    "len": lambda text: float(len(text)),
    "lower": lambda text: text.lower()[:MAX_TEXT],
    "plain": _plain,
}
_NUMBERS: Mapping[str, Callable[[list[float]], float]] = {
    "abs": lambda numbers: abs(numbers[0]),
    "min": min,
    "max": max,
}


def _tidy(value: Value) -> Value:
    """NaN is missing, whole numbers are numbers, texts are cut."""
    match value:
        case None | bool():
            return value
        case str():
            return value[:MAX_TEXT]
    return None if math.isnan(value) else float(value)


def _number(value: Value) -> float | None:
    return value if isinstance(value, float) else None


def _computed(operator: str, left: float | None, right: float | None) -> float | None:
    """A missing operand, a division by zero and infinity minus infinity give nothing."""
    if left is None or right is None:
        return None
    match operator:
        case "+":
            found = left + right
        case "-":
            found = left - right
        case "*":
            found = left * right
        case _:
            if right == 0.0:
                return None
            found = left / right
    return None if math.isnan(found) else found
