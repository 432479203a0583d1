r"""Read an answer as an exact expression: `2\sqrt{3}`, `\frac{x+1}{2}`, `1.2×10^3`, `3 1/2`.

A recursive-descent reader over a bounded token list. It never evaluates code, and it refuses
(`UnreadableError`) whatever looks more like language than like mathematics: words, a letter
followed by a number (`B2`, `H2O`), two numbers side by side, a derivative (`dy/dx` is not y/x), and
what is set in one way and written in another (`\sin{x}^2`) or means two things (`5!!`).
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import comb, factorial

from mmupt.consensus import algebra
from mmupt.consensus.algebra import Poly, TooLargeError, UnreadableError

MAX_LENGTH = 256
MAX_DEPTH = 32

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?|\.\d+)"
    r"|\\(?P<command>[A-Za-z]+)"
    r"|(?P<word>[A-Za-z]{3,}|ln|pi)"
    r"|(?P<letter>(?:Δ[A-Za-z]|[A-Za-zα-ωΑ-Ω])(?:_(?:[A-Za-z0-9]|\{[A-Za-z0-9,]{1,12}\}))?)"
    r"|(?P<sign>[-+*/^(){}\[\]!√×·÷_]))"
)
FUNCTIONS = frozenset([
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh",
    "tanh", "log", "ln", "lg", "exp",
])  # fmt: skip
_DERIVATIVE = re.compile(
    r"d\s?(?:\^\s?\{?\d\}?\s?)?[A-Za-zα-ω]?\s?(?:\([^()]{1,60}\)\s?)?/\s?d\s?[A-Za-zα-ω]"
)
_WORDS = re.compile(r"[A-Za-z]{2,}")
_KNOWN_WORDS = FUNCTIONS | {"sqrt", "pi", "frac", "binom", "cdot", "times"}


def expression(text: str) -> Poly:
    """The value of an expression.

    Raises:
        UnreadableError: not an expression in this grammar.
        TooLargeError: an expression, but with a value beyond the bounds.
    """
    if len(text) > MAX_LENGTH or _DERIVATIVE.search(text):
        raise UnreadableError
    _refuse_language(text)
    reader = _Reader(_tokens(text))
    value = reader.sum()
    if reader.kind != "end":
        raise UnreadableError
    return value


def decimal(text: str) -> Fraction:
    """A run of digits with at most one point.

    Raises:
        TooLargeError: more digits than can be worked with.
    """
    if len(text) > MAX_LENGTH:
        raise TooLargeError
    return Fraction(text if text[-1] != "." else text[:-1])


def _refuse_language(text: str) -> None:
    mathematical = any(sign in text for sign in "\\^") or any(map(str.isdigit, text))
    for match in _WORDS.finditer(text):
        command = match.start() > 0 and text[match.start() - 1] == "\\"
        if command or match[0] in _KNOWN_WORDS or (len(match[0]) == 2 and mathematical):
            continue
        raise UnreadableError


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise UnreadableError
        kind = match.lastgroup
        value = match[kind]
        if kind == "command" and value in ("cdot", "times"):
            kind, value = "sign", "*"
        elif kind == "sign":
            value = {"×": "*", "·": "*", "÷": "/"}.get(value, value)
        elif (kind == "word" and value in FUNCTIONS | {"sqrt", "pi"}) or value == "pi":
            kind, value = ("letter", "π") if value == "pi" else ("command", value)
        elif kind == "word":
            raise UnreadableError
        tokens.append((kind, value))
        position = match.end()
    return tokens


class _Reader:
    """Recursive descent over the tokens; each method reads one level of the grammar."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = [*tokens, ("end", "")]
        self.at = 0
        self.depth = 0

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0]

    @property
    def value(self) -> str:
        return self.tokens[self.at][1]

    def accept(self, signs: str) -> str | None:
        if self.kind == "sign" and self.value in signs:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def expect(self, sign: str) -> None:
        if self.accept(sign) is None:
            raise UnreadableError

    def sum(self) -> Poly:
        """Terms with + and - between them."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError
        total = self.product()
        while sign := self.accept("+-"):
            term = self.product()
            total = algebra.add(total, term if sign == "+" else algebra.negate(term))
        self.depth -= 1
        return total

    def product(self) -> Poly:
        """Factors with *, / or nothing between them, from left to right (1/2x is x/2)."""
        total = self.factor()
        while True:
            if sign := self.accept("*/"):
                factor = self.factor()
                total = (algebra.multiply if sign == "*" else algebra.divide)(total, factor)
            elif self._starts_atom():
                before, begin = self.tokens[self.at - 1], self.at
                if self.kind == "number" and before[0] in ("number", "letter"):
                    raise UnreadableError  # `1 2`, `B2`: a label and not a product
                factor = self.factor()
                if self._mixed(before, begin):
                    total = algebra.add(total, factor)
                else:
                    total = algebra.multiply(total, factor)
            else:
                return total

    def _mixed(self, before: tuple[str, str], begin: int) -> bool:
        r"""Whether `1\frac{1}{2}` was just read: an integer at the start, then a plain fraction."""
        read = [value for _, value in self.tokens[begin : self.at]]
        return (
            before[0] == "number"
            and before[1].isdigit()
            and (begin == 1 or self.tokens[begin - 2][1] in ("+", "-", "(", "{"))
            and read[:1] == ["frac"]
            and all(value.isdigit() or value in "{}" for value in read[1:])
        )

    def _starts_atom(self) -> bool:
        return self.kind in ("number", "letter", "command") or (
            self.kind == "sign" and self.value in "({[√"
        )

    def factor(self) -> Poly:
        """A signed power."""
        negative = False
        while sign := self.accept("+-"):
            negative ^= sign == "-"
        value = self.power()
        return algebra.negate(value) if negative else value

    def power(self) -> Poly:
        """An atom, its exponent (right-associative) and a factorial sign."""
        base = self.atom()
        if self.accept("!"):
            base = algebra.number(_factorial(algebra.rational(base)))
            if self.accept("!"):
                raise UnreadableError
        if self.accept("^"):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise UnreadableError
            exponent = self.factor()
            self.depth -= 1
            return algebra.power(base, exponent)
        return base

    def atom(self) -> Poly:
        """A number, letter, bracket, root, fraction or function."""
        kind, value = self.kind, self.value
        if kind == "number":
            self.at += 1
            return algebra.number(decimal(value))
        if kind == "letter":
            self.at += 1
            return algebra.symbol(value)
        if kind == "command":
            self.at += 1
            return self.command(value)
        if self.accept("√"):
            return algebra.power(self.atom(), algebra.number(Fraction(1, 2)))
        for opening, closing in ("()", "{}", "[]"):
            if self.accept(opening):
                inner = self.sum()
                self.expect(closing)
                return inner
        raise UnreadableError

    def command(self, name: str) -> Poly:
        r"""What follows `\name`."""
        if name == "frac":
            above, top, below = self._behind_d(), self.argument(), self._behind_d()
            if above and above not in "+-*/" and below[:1].isalpha():
                raise UnreadableError  # dy/dx
            return algebra.divide(top, self.argument())
        if name == "sqrt":
            degree = algebra.number(2)
            if self.accept("["):
                degree = self.sum()
                self.expect("]")
            return algebra.power(self.argument(), algebra.divide(algebra.number(1), degree))
        if name in ("binom", "dbinom", "tbinom"):
            numbers = algebra.rational(self.argument()), algebra.rational(self.argument())
            return algebra.number(_binomial(*numbers))
        if name in FUNCTIONS:
            return self.function(name)
        raise UnreadableError

    def _behind_d(self) -> str:
        """What follows the letter d, if that is what comes next, perhaps in braces; else empty."""
        ahead = [token for token in self.tokens[self.at : self.at + 4] if token[1] != "{"]
        return ahead[1][1] if len(ahead) > 1 and ahead[0] == ("letter", "d") else ""

    def argument(self) -> Poly:
        r"""A braced or bracketed group, or TeX's single token: `\frac12` is one half."""
        kind, value = self.kind, self.value
        if kind == "number" and len(value) > 1 and value.isdigit():
            self.tokens[self.at] = ("number", value[1:])
            return algebra.number(int(value[0]))
        return self.atom()

    def function(self, name: str) -> Poly:
        r"""A function as an opaque part that is named after its argument's value.

        A power behind an argument in brackets is one of the function: `\sin(x)^2` is (\sin x)^2.
        """
        base = self.argument() if name == "log" and self.accept("_") else None
        exponent = self.atom() if self.accept("^") else None
        opening = self.value if self.kind == "sign" else ""
        argument = self.atom() if opening in ("(", "[", "{") else self.atom_product()
        follows = self.value if self.kind == "sign" else ""
        if (follows in ("^", "!") and opening == "{") or (follows == "^" and exponent is not None):
            raise UnreadableError
        if base is not None:
            part = algebra.divide(_logarithm("ln", argument), _logarithm("ln", base))
        elif name in ("log", "ln", "lg"):
            part = _logarithm(name, argument)
        else:
            part = algebra.opaque(name, argument)
        return part if exponent is None else algebra.power(part, exponent)

    def atom_product(self) -> Poly:
        """The argument of a function without brackets: `2x` in `sin 2x`."""
        value = self.power()
        while self._starts_atom() and self.kind not in ("command", "number"):
            value = algebra.multiply(value, self.power())
        return value


def _logarithm(name: str, argument: Poly) -> Poly:
    """ln 12 as 2 ln 2 + ln 3, so that ln 4 = 2 ln 2; opaque for all but positive rationals."""
    value = algebra.rational(argument)
    if value is None or value <= 0:
        return algebra.opaque(name, argument)
    total: Poly = {}
    for part, sign in ((value.numerator, 1), (value.denominator, -1)):
        for prime, times in algebra.factors(part):
            single = algebra.opaque(name, algebra.number(prime))
            total = algebra.add(total, algebra.scale(single, Fraction(sign * times)))
    return total


def _factorial(value: Fraction | None) -> int:
    if value is None or value.denominator != 1 or value < 0:
        raise UnreadableError
    if value > 1000:
        raise TooLargeError
    return factorial(int(value))


def _binomial(top: Fraction | None, bottom: Fraction | None) -> int:
    if top is None or bottom is None or top.denominator != 1 or bottom.denominator != 1:
        raise UnreadableError
    if top < 0 or bottom < 0:
        raise UnreadableError
    if top > 1000:
        raise TooLargeError
    return comb(int(top), int(bottom))
