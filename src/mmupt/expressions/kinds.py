"""Checks an expression against the vocabulary before it meets any data."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache

from mmupt.expressions.parser import parse
from mmupt.expressions.tokens import fault
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
    Word,
)
from mmupt.expressions.vocabulary import FUNCTIONS, WORDS, Function, Kind

_MEANT = {"True": "true", "False": "false", "None": "none", "AND": "and", "OR": "or", "NOT": "not"}
_ORDER = ("<", "<=", ">", ">=")


@lru_cache(maxsize=256)
def read_condition(source: str) -> Node:
    """The tree of a condition over rollouts.

    Raises:
        ConfigError: it cannot be read, names an unknown word or function, mixes kinds, or is not a
            condition; one line with the place.
    """
    tree = parse(source)
    _Check(source).wants(tree, Kind.CONDITION)
    return tree


class _Check:
    def __init__(self, source: str) -> None:
        self.source = source

    def wants(self, node: Node, kind: Kind) -> None:
        found = self.kind(node)
        if found is not kind:
            hint = "a missing value is told by x == none" if found is None else ""
            raise fault(self.source, node.at, f"expected a {kind}, found {_named(found)}", hint)

    def kind(self, node: Node) -> Kind | None:
        """What a node gives; None for the literal none."""
        match node:
            case Literal(value):
                return _kind_of(value)
            case Word(name):
                return self._word(name, node.at)
            case Call():
                return self._call(node)
            case Negative(operand):
                self.wants(operand, Kind.NUMBER)
                return Kind.NUMBER
            case Sum(_, left, right):
                self.wants(left, Kind.NUMBER)
                self.wants(right, Kind.NUMBER)
                return Kind.NUMBER
            case Not(operand):
                self.wants(operand, Kind.CONDITION)
            case Logic(_, parts):
                for part in parts:
                    self.wants(part, Kind.CONDITION)
            case Comparison():
                self._comparison(node)
            case Member():
                self._member(node)
        return Kind.CONDITION

    def _word(self, name: str, at: int) -> Kind:
        if name in WORDS:
            return WORDS[name].kind
        if name in FUNCTIONS:
            raise fault(self.source, at, f"{name} is a function", f"write {_usage(name)}")
        raise self._unknown("word", name, at, (*WORDS, *FUNCTIONS), WORDS)

    def _call(self, node: Call) -> Kind:
        function = FUNCTIONS.get(node.name)
        if function is None:
            if node.name in WORDS:
                raise fault(self.source, node.at, f"{node.name} is a word, not a function")
            raise self._unknown("function", node.name, node.at, FUNCTIONS, FUNCTIONS)
        given, taken = len(node.arguments), len(function.takes)
        if given < taken or (given > taken and not function.more):
            raise fault(self.source, node.at, f"{_usage(node.name)} was given {given}")
        for argument, kind in zip(node.arguments, _taken(function, given), strict=True):
            self.wants(argument, kind)
            if function.written and not isinstance(argument, Literal):
                problem = f"{node.name} needs a name written out"
                raise fault(self.source, argument.at, problem, f'such as {node.name}("site")')
        return function.gives

    def _comparison(self, node: Comparison) -> None:
        left, right = self.kind(node.left), self.kind(node.right)
        ordered = node.operator in _ORDER
        if left is None and right is None:
            raise fault(self.source, node.at, "none is compared with none")
        if left is None or right is None:
            if ordered:
                raise fault(self.source, node.at, "none has no order", "use == none or != none")
        elif left is not right:
            problem = f"a {left} is compared with a {right}"
            numbers = {left, right} == {Kind.NUMBER, Kind.TEXT}
            hint = "number is the label as a number, value(...) reads a text" if numbers else ""
            raise fault(self.source, node.at, problem, hint)
        elif ordered and left is Kind.CONDITION:
            raise fault(self.source, node.at, "conditions have no order", "use == or !=")

    def _member(self, node: Member) -> None:
        kinds = {_kind_of(option) for option in node.options}
        if len(kinds) > 1:
            raise fault(self.source, node.at, "the list mixes texts and numbers")
        kind = kinds.pop()
        assert kind is not None  # noqa: S101  options are texts or numbers
        self.wants(node.item, kind)

    def _unknown(
        self, what: str, name: str, at: int, near: Iterable[str], known: Iterable[str]
    ) -> Exception:
        meant = _MEANT.get(name) or next(iter(get_close_matches(name, list(near), 1, 0.7)), None)
        hint = f"write {meant}; " if meant and name in _MEANT else ""
        hint = hint or (f"did you mean {meant}? " if meant else "")
        return fault(
            self.source, at, f"unknown {what} {name!r}", f"{hint}known: {', '.join(known)}"
        )


def _kind_of(value: object) -> Kind | None:
    match value:
        case None:
            return None
        case bool():
            return Kind.CONDITION
        case str():
            return Kind.TEXT
    return Kind.NUMBER


def _taken(function: Function, given: int) -> list[Kind]:
    return [function.takes[min(place, len(function.takes) - 1)] for place in range(given)]


def _usage(name: str) -> str:
    function = FUNCTIONS[name]
    return f"{name}({', '.join(function.takes)}{', ...' * function.more})"


def _named(kind: Kind | None) -> str:
    return "none" if kind is None else f"a {kind}"
