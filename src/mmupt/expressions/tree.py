"""The tree of an expression, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal as Choice

Value = float | str | bool | None
"""What an expression is worth; None: missing."""

Comparing = Choice["==", "!=", "<", "<=", ">", ">="]
Computing = Choice["+", "-", "*", "/"]


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a text, `true`, `false` or `none`.

    Attributes:
        value: numbers are finite and not negative.
        at: position in the text, from 0; trees that differ in positions alone are equal.
    """

    value: Value
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the vocabulary."""

    name: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the table."""

    name: str
    arguments: tuple[Node, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Negative:
    """`-x`."""

    operand: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """`not x`."""

    operand: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Sum:
    """`left + right`, and the like."""

    operator: Computing
    left: Node
    right: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left < right`, and the like."""

    operator: Comparing
    left: Node
    right: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Member:
    """`item in [options]`; with `negated` `item not in [options]`. Options may be negative."""

    item: Node
    options: tuple[float | str, ...]
    negated: bool
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Logic:
    """At least two parts joined by `and`, or by `or`."""

    operator: Choice["and", "or"]
    parts: tuple[Node, ...]
    at: int = field(default=0, compare=False)


Node = Literal | Word | Call | Negative | Not | Sum | Comparison | Member | Logic

_OR, _AND, _NOT, _COMPARE, _ADD, _MULTIPLY, _SIGN, _ATOM = range(8)


def children(node: Node) -> tuple[Node, ...]:
    """The nodes right below a node."""
    match node:
        case Call():
            return node.arguments
        case Negative() | Not():
            return (node.operand,)
        case Sum() | Comparison():
            return (node.left, node.right)
        case Member():
            return (node.item,)
        case Logic():
            return node.parts
        case _:
            return ()


def height(root: Node) -> int:
    """Nodes on the longest way down, without recursion: a tree of any depth can be measured."""
    highest, waiting = 0, [(root, 1)]
    while waiting:
        node, level = waiting.pop()
        highest = max(highest, level)
        waiting += [(child, level + 1) for child in children(node)]
    return highest


def shown(node: Node) -> str:
    """The expression as text with as few brackets as it needs; reading it gives the same tree."""
    match node:
        case Literal(value):
            return _literal(value)
        case Word(name):
            return name
        case Call(name, arguments):
            return f"{name}({', '.join(shown(one) for one in arguments)})"
        case Negative(operand):
            return f"-{_within(operand, _SIGN)}"
        case Not(operand):
            return f"not {_within(operand, _NOT)}"
        case Sum(operator, left, right):
            level = _level(node)
            return f"{_within(left, level)} {operator} {_within(right, level + 1)}"
        case Comparison(operator, left, right):
            return f"{_within(left, _ADD)} {operator} {_within(right, _ADD)}"
        case Member(item, options, negated):
            listed = ", ".join(_literal(one) for one in options)
            return f"{_within(item, _ADD)} {'not in' if negated else 'in'} [{listed}]"
        case Logic(operator, parts):
            level = _level(node)
            return f" {operator} ".join(_within(part, level + 1) for part in parts)


def quoted(text: str) -> str:
    """A text as a literal; line feeds and tabs are escaped."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
    return '"' + "".join(escapes.get(letter, letter) for letter in text) + '"'


def _literal(value: Value) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
    return repr(float(value)).removesuffix(".0")


def _level(node: Node) -> int:
    match node:
        case Logic(operator):
            return _OR if operator == "or" else _AND
        case Not():
            return _NOT
        case Comparison() | Member():
            return _COMPARE
        case Sum(operator):
            return _ADD if operator in "+-" else _MULTIPLY
        case Negative():
            return _SIGN
        case _:
            return _ATOM


def _within(node: Node, level: int) -> str:
    return shown(node) if _level(node) >= level else f"({shown(node)})"
