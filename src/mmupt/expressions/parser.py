"""From tokens to a tree: recursive descent, arithmetic by climbing precedences.

condition   conjunction ("or" conjunction)*
conjunction negation ("and" negation)*
negation    "not" negation | comparison
comparison  sum [("==" | "!=" | "<" | "<=" | ">" | ">=") sum | ["not"] "in" list]
sum         product (("+" | "-") product)*
product     factor (("*" | "/") factor)*
factor      "-" factor | atom
atom        number | text | "true" | "false" | "none" | name ["(" arguments ")"]
            | "(" condition ")"
list        "[" option ("," option)* "]"            option: a text, or a number, with - or not
"""

from __future__ import annotations

import math
from typing import get_args

from mmupt.expressions.tokens import Token, fault, tokens_of
from mmupt.expressions.tree import (
    Call,
    Comparing,
    Comparison,
    Literal,
    Logic,
    Member,
    Negative,
    Node,
    Not,
    Sum,
    Word,
    height,
)

MAX_DEPTH = 32
"""Nodes on the longest way down a tree."""
MAX_OPTIONS = 50
"""Of a list."""

_COMPARING = get_args(Comparing)
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_CONSTANTS = {"true": True, "false": False, "none": None}
_KEYWORDS = frozenset({"and", "or", "not", "in", *_CONSTANTS})


def parse(source: str) -> Node:
    """The tree of an expression, its words unchecked.

    Raises:
        ConfigError: not an expression, or beyond the bounds; with the place.
    """
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = tokens_of(source)
        self.place = 0
        self.depth = 0

    def whole(self) -> Node:
        if self._at_end():
            raise fault(self.source, 0, "an empty expression", "write a condition")
        tree = self._condition()
        if not self._at_end():
            raise self._unexpected("expected and, or, or the end")
        if height(tree) > MAX_DEPTH:
            raise fault(self.source, 0, f"nested more than {MAX_DEPTH} deep", "make it two rules")
        return tree

    # Levels

    def _condition(self) -> Node:
        at, parts = self._now.at, [self._conjunction()]
        while self._takes("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Logic("or", tuple(parts), at)

    def _conjunction(self) -> Node:
        at, parts = self._now.at, [self._negation()]
        while self._takes("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else Logic("and", tuple(parts), at)

    def _negation(self) -> Node:
        at = self._now.at
        if not self._takes("not"):
            return self._comparison()
        self._down()
        operand = self._negation()
        self.depth -= 1
        return Not(operand, at)

    def _comparison(self) -> Node:
        left = self._sum(1)
        token = self._now
        for operator in _COMPARING:
            if self._takes(operator):
                tree: Node = Comparison(operator, left, self._sum(1), token.at)
                break
        else:
            negated = self._takes("not")
            if not self._takes("in"):
                if negated:
                    raise self._unexpected("expected in after not")
                return left
            tree = Member(left, self._options(), negated, token.at)
        if self._now.text in (*_COMPARING, "in") and self._now.kind != "text":
            hint = "comparisons do not chain; write 0 < x and x < 1"
            raise fault(self.source, self._now.at, "a second comparison", hint)
        return tree

    def _sum(self, lowest: int) -> Node:
        left = self._factor()
        while self._now.kind == "sign" and _PRECEDENCE.get(self._now.text, 0) >= lowest:
            token = self._take()
            right = self._sum(_PRECEDENCE[token.text] + 1)
            left = Sum(token.text, left, right, token.at)  # type: ignore[arg-type]
        return left

    def _factor(self) -> Node:
        at = self._now.at
        if not self._takes("-"):
            return self._atom()
        self._down()
        operand = self._factor()
        self.depth -= 1
        return Negative(operand, at)

    def _atom(self) -> Node:
        token = self._now
        if token.kind == "number":
            return Literal(self._number(), token.at)
        if token.kind == "text":
            return Literal(self._take().text, token.at)
        if token.kind == "name" and token.text in _CONSTANTS:
            return Literal(_CONSTANTS[self._take().text], token.at)
        if token.kind == "name" and token.text not in _KEYWORDS:
            self._take()
            return self._call(token) if self._takes("(") else Word(token.text, token.at)
        if self._takes("("):
            self._down()
            inner = self._condition()
            self.depth -= 1
            self._expect(")", "expected ) to close the bracket")
            return inner
        raise self._unexpected("expected a word, a number or a text")

    # Parts

    def _call(self, name: Token) -> Node:
        self._down()
        arguments = [] if self._now.text == ")" else [self._condition()]
        while self._takes(","):
            arguments.append(self._condition())
        self.depth -= 1
        self._expect(")", f"expected ) or , in {name.text}(...)")
        return Call(name.text, tuple(arguments), name.at)

    def _options(self) -> tuple[float | str, ...]:
        start = self._now.at
        self._expect("[", 'expected a list such as ["a", "b"]')
        found = [self._option()]
        while self._takes(","):
            found.append(self._option())
        self._expect("]", "expected ] or , in the list")
        if len(found) > MAX_OPTIONS:
            raise fault(self.source, start, f"more than {MAX_OPTIONS} in a list")
        return tuple(found)

    def _option(self) -> float | str:
        if self._now.kind == "text":
            return self._take().text
        sign = -1.0 if self._takes("-") else 1.0
        if self._now.kind != "number":
            raise self._unexpected("expected a text or a number in the list")
        return sign * self._number()

    def _number(self) -> float:
        token = self._take()
        value = float(token.text)
        if math.isinf(value):
            raise fault(self.source, token.at, "a number too large to hold")
        return value

    # Tokens

    @property
    def _now(self) -> Token:
        return self.tokens[self.place]

    def _at_end(self) -> bool:
        return self._now.kind == "end"

    def _take(self) -> Token:
        token = self._now
        self.place += 1
        return token

    def _takes(self, text: str) -> bool:
        """Take a keyword or sign, if it is the next token."""
        found = self._now.kind in ("name", "sign") and self._now.text == text
        self.place += found
        return found

    def _expect(self, text: str, problem: str) -> None:
        if not self._takes(text):
            raise self._unexpected(problem)

    def _down(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise fault(
                self.source, self._now.at, f"nested more than {MAX_DEPTH} deep", "make it two rules"
            )

    def _unexpected(self, problem: str) -> Exception:
        token = self._now
        found = {"end": "the end", "text": "a text"}.get(token.kind, repr(token.text))
        return fault(self.source, token.at, f"{problem}, found {found}")
