r"""One reading for an expression: what an answer says, written out for math-verify's parser.

math-verify 0.9.0 (latex2sympy2_extended 1.11.0) reads much LaTeX, but as measured here it also
reads, without a word of warning,

    3.50 as a binary float         x and X as one letter         10_2 and x^2_1 without the index
    2(3) and 2(\frac12) as sums    1/2x as 1/(2x)                \ln 2\cdot 3 as \ln 6
    \frac{dy}{dx} as 0             \sin 30^\circ as \sin 30      A^T as A     \gamma, \Gamma as .577
    a \approx b as a or b          3:4 as 3/4                    I as the root of -1
    \lim as the limit from above   \text{cm} as a letter         (((((2))))) in 0.2 s

so that different values could share a key. It is therefore never given an answer, but what
`explicit` makes of it: every bracket, product and argument written out (`\lbrace ... \rbrace`, for
which its grammar has one rule), decimals as fractions, letters as `\variable{v...}`, nothing that
it would drop. The grammar is that of `expressions` (1/2x is x/2, \ln 2/3 is a third of \ln 2), with
sums, products, integrals, limits, matrices, floors and absolute values on top; the rest is refused.
"""

from __future__ import annotations

import re

from mmupt.consensus.algebra import UnreadableError

MAX_LENGTH = 400
MAX_DEPTH = 24
MAX_ANSWER = 1000
"""Longer answers (characters) are not given to the worker."""

LOGARITHMS = {"log": "vLOG", "lg": "vLG"}
r"""Factors that stand for the unknown bases of \log and \lg: \log 4 is 2\log 2, whatever the base,
but \log 100 is 2 for one base only."""

_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
_INVERSE = {
    **{f"arc{name}": f"arc{name}" for name in _TRIGONOMETRIC},
    **{f"a{name}": f"arc{name}" for name in _TRIGONOMETRIC},
    **{f"ar{name}": f"ar{name}" for name in ("sinh", "cosh", "tanh")},
    **{f"arc{name}": f"ar{name}" for name in ("sinh", "cosh", "tanh")},
}
_FUNCTIONS = {name: name for name in (*_TRIGONOMETRIC, "sinh", "cosh", "tanh")} | _INVERSE
_NAMES = frozenset([*_FUNCTIONS, "log", "lg", "ln", "exp", "sqrt"])
_GREEK = {
    "eta": "η", "zeta": "ζ", "kappa": "κ", "xi": "ξ", "nu": "ν", "chi": "χ", "psi": "ψ",
    "iota": "ι", "upsilon": "υ", "Gamma": "Γ", "Lambda": "Λ", "Sigma": "Σ", "Phi": "Φ",
    "Psi": "Ψ", "Theta": "Θ", "Xi": "Ξ", "Pi": "Π", "Upsilon": "Υ",
}  # fmt: skip
_COMMANDS = _NAMES | {
    *_GREEK, "frac", "binom", "dbinom", "tbinom", "sum", "prod", "int", "lim", "lfloor", "rfloor",
    "lceil", "rceil", "lvert", "rvert", "begin", "end", "cdot", "times",
}  # fmt: skip
_GREEK_COMMAND = re.compile(r"\\(" + "|".join(_GREEK) + r")(?![A-Za-z])\s?")
_SMALL_MATRIX = r"\{[pb]?matrix\}"
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?|\.\d+)"
    rf"|(?P<begin>\\begin{_SMALL_MATRIX})|(?P<end>\\end{_SMALL_MATRIX})|(?P<row>\\\\)"
    r"|\\(?P<command>[A-Za-z]+)"
    r"|(?P<word>[A-Za-z]{3,}|ln|lg|pi)"
    r"|(?P<letter>[A-Za-zα-ωΑ-Ω](?:_(?:[A-Za-z0-9]|\{[A-Za-z0-9,]{1,12}\}))?)"
    r"|(?P<sign>[-+*/^(){}\[\]!√×·÷_|°∞→=&]))"
)
_SIGNS = {"×": "*", "·": "*", "÷": "/"}
_OPEN, _CLOSE = "\\lbrace ", "\\rbrace "
_BRACKET = re.compile(r"\\[lr]brace ")
_ATOM = re.compile(r"\d+|[a-z]|\\variable\{v\w+\}")
_BOUND_LETTERS = "zywvutsrqp"
"""Letters for bound variables; free ones are never written as plain letters."""
_FUNCTION_LETTERS = frozenset("fghFGHPφψ")

_WORD = re.compile(r"\\?[A-Za-z]+")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[pbvBV]?matrix\}")
_READABLE = re.compile(r"[\w\s⦃⦄°∞→≤≥∪∈±√×·÷<>=+\-*/^(){}\[\]|!,.;&\\]*")
_DIFFERENTIAL = re.compile(r"[A-Za-z]{0,3}d[A-Za-z]")


def plausible(text: str) -> bool:
    """Whether an answer may be mathematics that `explicit` reads, by a look at its words."""
    if len(text) > MAX_ANSWER or _READABLE.fullmatch(text) is None or not _shallow(text):
        return False
    integral = "\\int" in text
    for match in _WORD.finditer(_ENVIRONMENT.sub(" ", text)):
        word = match[0]
        if word[0] == "\\":
            if word[1:] not in _COMMANDS:
                return False
        elif (
            len(word) > 2
            and word not in _NAMES
            and not (integral and _DIFFERENTIAL.fullmatch(word))
        ):
            return False
    return True


def explicit(text: str) -> str:
    """An expression in the one spelling that cannot be misread.

    Args:
        text: after `writing.plain` and `writing.delatex`.

    Raises:
        UnreadableError: not an expression in this grammar, or beyond its bounds.
    """
    if len(text) > MAX_LENGTH:
        raise UnreadableError
    writer = _Writer(_tokens(text))
    written = writer.sum()
    if writer.kind != "stop":
        raise UnreadableError
    return written


def variable(name: str) -> str:
    """A letter of the answer as the name of a variable; `letter` is the way back."""
    return f"v{name.encode().hex()}"


def letter(name: str) -> str:
    """The letter that `variable` named."""
    return name if name in LOGARITHMS.values() else bytes.fromhex(name[1:]).decode()


def _shallow(text: str) -> bool:
    depth = 0
    for sign in text:
        depth += (sign in "([{⦃") - (sign in ")]}⦄")
        if depth > MAX_DEPTH:
            return False
    return True


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    integral = "\\int" in text
    text = _GREEK_COMMAND.sub(lambda match: _GREEK[match[1]], text).strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise UnreadableError
        kind, value = match.lastgroup, match[match.lastgroup]
        position = match.end()
        if kind == "word" and integral and _DIFFERENTIAL.fullmatch(value) and value not in _NAMES:
            tokens += [("letter", single) for single in value]
        else:
            tokens.append(_token(kind, value))
    return tokens


def _token(kind: str, value: str) -> tuple[str, str]:
    if kind == "sign":
        return kind, _SIGNS.get(value, value)
    if kind == "command" and value in ("cdot", "times"):
        return "sign", "*"
    if kind == "command" and value in ("lvert", "rvert"):
        return "sign", "|"
    if value == "pi" or value == "π":
        return "letter", "π"
    if kind == "word":
        if value not in _NAMES:
            raise UnreadableError
        return "command", value
    return kind, value


class _Writer:
    """Recursive descent over the tokens; each method writes one level of the grammar."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = [*tokens, ("stop", "")]
        self.at = 0
        self.depth = 0
        self.bound: dict[str, str] = {}
        self.integrals = self.bars = self.angles = 0

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

    def expect(self, kind: str, value: str | None = None) -> str:
        if self.kind != kind or (value is not None and self.value != value):
            raise UnreadableError
        self.at += 1
        return self.tokens[self.at - 1][1]

    def sum(self) -> str:
        """Terms with + and - between them."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError
        written = self.product()
        while sign := self.accept("+-"):
            written += sign + self.product()
        self.depth -= 1
        return _group(written)

    def product(self) -> str:
        """Factors with *, / or nothing between them, from left to right (1/2x is x/2)."""
        written = self.factor()
        while True:
            if self.accept("*"):
                written += f"\\cdot {self.factor()}"
            elif self.accept("/"):
                written = f"\\frac{{{written}}}{{{self.factor()}}}"
            elif self._starts_atom():
                written = self._juxtaposed(written)
            else:
                return _group(written)

    def _juxtaposed(self, written: str) -> str:
        before, begin = self.tokens[self.at - 1], self.at
        if self.kind == "number" and before[0] in ("number", "letter"):
            raise UnreadableError  # `1 2`, `B2`: a label and not a product
        factor = self.factor()
        read = [value for _, value in self.tokens[begin : self.at]]
        mixed = (
            before[0] == "number"
            and before[1].isdigit()
            and (begin == 1 or self.tokens[begin - 2][1] in ("+", "-", "(", "[", "{", "|"))
            and read[:1] == ["frac"]
            and all(value.isdigit() or value in "{}" for value in read[1:])
        )
        return _group(f"{written}+{factor}") if mixed else f"{written}\\cdot {factor}"

    def _starts_atom(self) -> bool:
        if self.kind == "command":
            return self.value not in ("rfloor", "rceil")
        if self.kind == "letter":
            return not self._differential()
        if self.kind == "sign":
            return self.value in "({[√" or (self.value == "|" and not self.bars)
        return self.kind in ("number", "begin")

    def _differential(self) -> bool:
        return (
            self.integrals > 0
            and self.tokens[self.at] == ("letter", "d")
            and self.tokens[self.at + 1][0] == "letter"
        )

    def factor(self) -> str:
        """A signed power."""
        sign = ""
        while found := self.accept("+-"):
            sign = "" if (sign == "-") == (found == "-") else "-"
        return _group(f"-{self.power()}") if sign else self.power()

    def power(self) -> str:
        """An atom, its exponent (right-associative), a factorial sign, a degree sign."""
        base = self.atom()
        if self.accept("!"):
            base = _group(f"{base}!")
        if self.angles and self.accept("°"):
            return _group(f"{base}\\cdot \\frac{{\\pi }}{{180}}")
        if self.accept("^"):
            base = _group(f"{base}^{{{self._exponent()}}}")
        if self.kind == "sign" and self.value in "!^°_":
            raise UnreadableError  # n!! is no iterated factorial, x^2_1 no power
        return base

    def _exponent(self) -> str:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError
        exponent = self.factor()
        self.depth -= 1
        return exponent

    def atom(self) -> str:
        """A number, letter, bracket, root, fraction, function, matrix."""
        kind, value = self.kind, self.value
        if not self._starts_atom() and not (kind == "sign" and value == "|"):
            raise UnreadableError
        self.at += 1
        if kind == "number":
            return _number(value)
        if kind == "letter":
            return self.name(value)
        if kind == "command":
            return self.command(value)
        if kind == "begin":
            return self.matrix()
        if value == "√":
            return f"\\sqrt{{{self.atom()}}}"
        if value == "|":
            return self.absolute()
        inner = self.sum()
        self.expect("sign", {"(": ")", "{": "}", "[": "]"}[value])
        return inner

    def name(self, value: str) -> str:
        """A letter: a bound one, pi, or a free one."""
        if value == "π":
            return _group("\\pi ")
        if any(name in value[1:] for name in self.bound):
            raise UnreadableError  # the a_k of a sum over k is no constant
        if value[0] in _FUNCTION_LETTERS and self.kind == "sign" and self.value == "(":
            raise UnreadableError  # f(x) is no product
        return _group(self.bound.get(value) or f"\\variable{{{variable(value)}}}")

    def absolute(self) -> str:
        """|x|; within bars the next bar closes, unless something has still to begin."""
        self.bars += 1
        inner = self.sum()
        self.bars -= 1
        self.expect("sign", "|")
        return _group(f"\\lvert {inner}\\rvert ")

    def command(self, name: str) -> str:
        r"""What follows `\name`."""
        if name == "frac":
            derivative, top = self._measure_ahead(), self.argument()
            if derivative and self._measure_ahead():
                raise UnreadableError  # dy/dx is not y/x
            return f"\\frac{{{top}}}{{{self.argument()}}}"
        if name == "sqrt":
            return self.root()
        if name in ("binom", "dbinom", "tbinom"):
            top_number = self.argument()
            return f"\\binom{{{top_number}}}{{{self.argument()}}}"
        if name in ("lfloor", "lceil"):
            inner = self.sum()
            self.expect("command", f"r{name[1:]}")
            return _group(f"\\{name} {inner}\\r{name[1:]} ")
        if name in ("sum", "prod"):
            return self.series(name)
        if name == "int":
            return self.integral()
        if name == "lim":
            return self.limit()
        if name in _NAMES:
            return self.function(name)
        raise UnreadableError

    def _measure_ahead(self) -> bool:
        ahead = [token for token in self.tokens[self.at : self.at + 3] if token[1] != "{"]
        return ahead[:1] == [("letter", "d")]

    def argument(self) -> str:
        r"""A braced or bracketed group, or TeX's single token: `\frac12` is one half."""
        kind, value = self.kind, self.value
        if kind == "number" and len(value) > 1 and value.isdigit():
            self.tokens[self.at] = ("number", value[1:])
            return value[0]
        return self.atom()

    def root(self) -> str:
        r"""`\sqrt[3]{x}`."""
        if not self.accept("["):
            return f"\\sqrt{{{self.argument()}}}"
        degree = self.sum()
        self.expect("sign", "]")
        return _group(f"{self.argument()}^{{\\frac{{1}}{{{degree}}}}}")

    def function(self, name: str) -> str:
        """A function with its argument in brackets; sin^{-1} is the inverse function."""
        base = self.argument() if name == "log" and self.accept("_") else None
        exponent = self._exponent() if self.accept("^") else None
        if exponent == _group("-1") and name in (*_TRIGONOMETRIC, "sinh", "cosh", "tanh"):
            name, exponent = f"arc{name}", None
        self.angles += name in _TRIGONOMETRIC
        argument = self.bare_argument()
        self.angles -= name in _TRIGONOMETRIC
        power_follows = self.kind == "sign" and self.value == "^"
        if power_follows and (exponent is not None or self.tokens[self.at - 1][1] == "}"):
            raise UnreadableError  # \sin{x}^2 looks like \sin x^2 and is written like \sin(x)^2
        if name == "exp":
            written = f"{self.name('e')}^{{{argument}}}"
        elif name in _FUNCTIONS:
            written = f"\\{_FUNCTIONS[name]} {argument}"
        else:
            written = _group(f"\\ln {argument}")
            if base is not None:
                below = _group(f"\\ln {_group(base)}")
                written = f"\\frac{{{written}}}{{{below}}}"
            elif name != "ln":
                written = f"\\variable{{{LOGARITHMS[name]}}}\\cdot {written}"
        written = _group(written)
        if self.accept("^"):
            exponent = self._exponent()  # \sin(x)^2
        return written if exponent is None else _group(f"{written}^{{{exponent}}}")

    def bare_argument(self) -> str:
        """What a function is applied to: one bracket, or factors up to the next function."""
        if self.kind == "sign" and self.value in "({[|":
            return _group(self.atom())
        written = self.power()
        while self._starts_atom() and self.kind not in ("command", "number"):
            if self.kind != "letter":
                raise UnreadableError  # \ln x(x+1): who knows
            written += f"\\cdot {self.power()}"
        return _group(written)

    def series(self, name: str) -> str:
        r"""`\sum_{k=1}^{n}` of one product."""
        self.expect("sign", "_")
        self.expect("sign", "{")
        index = self.expect("letter")
        self.expect("sign", "=")
        low = self.extreme()
        self.expect("sign", "}")
        self.expect("sign", "^")
        high = self.extreme_argument()
        inner, body = self.bind(index)
        return _group(f"\\{name}_{{{inner}={low}}}^{{{high}}}{body}")

    def integral(self) -> str:
        r"""`\int_a^b ... dx`, definite and not nested."""
        if self.integrals:
            raise UnreadableError
        self.expect("sign", "_")
        low = self.extreme_argument()
        self.expect("sign", "^")
        high = self.extreme_argument()
        self.integrals += 1
        measure = next((at for at in range(self.at, len(self.tokens) - 1) if self._measure(at)), -1)
        if measure < 0:
            raise UnreadableError
        if measure == self.at:
            inner, body = self._fresh(self.tokens[measure + 1][1]), "1"
        else:
            inner, body = self.bind(self.tokens[measure + 1][1], whole=True)
        if self.at != measure:
            raise UnreadableError
        self.at += 2
        self.integrals -= 1
        return _group(f"\\int_{{{low}}}^{{{high}}}{body}d{inner}")

    def _measure(self, at: int) -> bool:
        return self.tokens[at] == ("letter", "d") and self.tokens[at + 1][0] == "letter"

    def limit(self) -> str:
        r"""`\lim_{x→a}` of one product, from both sides."""
        self.expect("sign", "_")
        self.expect("sign", "{")
        index = self.expect("letter")
        self.expect("sign", "→")
        point = self.extreme()
        self.expect("sign", "}")
        inner, body = self.bind(index)
        return _group(f"\\lim_{{{inner}\\to {point}}}{body}")

    def bind(self, name: str, whole: bool = False) -> tuple[str, str]:
        """The letter that stands for a bound variable, and what it is bound in."""
        inner = self._fresh(name)
        outer = self.bound
        self.bound = {**outer, name: inner}
        body = self.sum() if whole else self.product()
        self.bound = outer
        return inner, _group(body)

    def _fresh(self, name: str) -> str:
        if len(self.bound) >= len(_BOUND_LETTERS) or len(name) > 1 or name == "π":
            raise UnreadableError
        return _BOUND_LETTERS[len(self.bound)]

    def extreme(self) -> str:
        """A bound of a sum, an integral or a limit, which may be infinite."""
        sign = "-" if self.accept("-") else ("+" if self.accept("+") else "")
        if self.accept("∞"):
            return f"{sign.strip('+')}\\infty "
        self.at -= len(sign)
        return self.sum()

    def extreme_argument(self) -> str:
        if self.accept("∞"):
            return "\\infty "
        if self.kind == "number" and len(self.value) > 1:
            raise UnreadableError  # TeX reads \int_0^10 as \int_0^1 0
        if self.accept("{"):
            found = self.extreme()
            self.expect("sign", "}")
            return found
        return self.atom()

    def matrix(self) -> str:
        """Rows of cells; round and square brackets mean the same."""
        rows = [[self.sum()]]
        while self.kind != "end":
            if self.accept("&"):
                rows[-1].append(self.sum())
            else:
                self.expect("row")
                if self.kind != "end":
                    rows.append([self.sum()])
        self.at += 1
        body = "\\\\".join("&".join(row) for row in rows)
        return _group(f"\\begin{{pmatrix}}{body}\\end{{pmatrix}}")


def _group(written: str) -> str:
    """In brackets, unless it is a single token or stands in brackets already."""
    if _ATOM.fullmatch(written) or _is_group(written):
        return written
    return f"{_OPEN}{written}{_CLOSE}"


def _is_group(written: str) -> bool:
    depth = 0
    for match in _BRACKET.finditer(written):
        depth += 1 if match[0] == _OPEN else -1
        if depth == 0:
            return written.startswith(_OPEN) and match.end() == len(written)
    return False


def _number(digits: str) -> str:
    """An integer, or a decimal as a fraction."""
    whole, _, rest = digits.partition(".")
    number = f"{whole}{rest}".lstrip("0") or "0"
    return number if not rest else f"\\frac{{{number}}}{{1{'0' * len(rest)}}}"
