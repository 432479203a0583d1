"""From the text of an expression to its tokens, and the messages that point into the text."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal as Choice

from mmupt.errors import ConfigError

MAX_LENGTH = 500
"""Characters of an expression."""

_SHOWN = 24
"""Characters that a message shows on either side of a fault."""

_BLANK = re.compile(r"[ \t\r\n]+")
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGN = re.compile(r"==|!=|<=|>=|[<>+\-*/()\[\],]")
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t"}
_MEANT = {
    "=": "write == for equal",
    "&": "write and",
    "|": "write or",
    "!": "write not, or != for unequal",
    "%": "write 0.7 for 70%",
    "^": "there are no powers",
    ".": "there are no attributes, and numbers are written 0.5",
    "{": "lists stand in [ ]",
    "}": "lists stand in [ ]",
    "“": 'texts stand in " "',
    "”": 'texts stand in " "',
    "「": 'texts stand in " "',
    "」": 'texts stand in " "',
}

Name = Choice["number", "text", "name", "sign", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression.

    Attributes:
        kind: what it is.
        text: as it was written; of a text its content.
        at: position, from 0.
    """

    kind: Name
    text: str
    at: int


def fault(source: str, at: int, problem: str, hint: str = "") -> ConfigError:
    """An error in one line with a ^ before the place: `unknown word 'x' at 9: share < ^x`.

    Args:
        source: the expression.
        at: position in it, from 0; told from 1.
        problem: what is wrong there.
        hint: what to do.
    """
    before, after = source[max(0, at - _SHOWN) : at], source[at : at + _SHOWN]
    left, right = "..." * (at > _SHOWN), "..." * (len(source) > at + _SHOWN)
    place = f"{left}{_line(before)}^{_line(after)}{right}"
    return ConfigError(f"{_line(problem)} at {at + 1}: {place}" + (f"; {hint}" if hint else ""))


def tokens_of(source: str) -> list[Token]:
    """All tokens of an expression, the end included.

    Raises:
        ConfigError: too long, or a character that does not belong there.
    """
    if len(source) > MAX_LENGTH:
        raise ConfigError(
            f"expression has {len(source)} characters, at most {MAX_LENGTH} are read; make it two "
            "rules"
        )
    found: list[Token] = []
    at = 0
    while True:
        if blank := _BLANK.match(source, at):
            at = blank.end()
        if at == len(source):
            return [*found, Token("end", "", at)]
        token, at = _next(source, at)
        found.append(token)


def _next(source: str, at: int) -> tuple[Token, int]:
    if source[at] in "\"'":
        return _text(source, at)
    if match := _NUMBER.match(source, at):
        following = source[match.end() : match.end() + 1]
        if following.isalnum() or following in ("_", "."):
            if not following:
                return Token("number", match[0], at), match.end()
            hint = "numbers are written 0.5, units stand in texts"
            raise fault(source, match.end(), f"{following!r} runs into the number {match[0]}", hint)
        return Token("number", match[0], at), match.end()
    if match := _NAME.match(source, at):
        return Token("name", match[0], at), match.end()
    if match := _SIGN.match(source, at):
        return Token("sign", match[0], at), match.end()
    raise _foreign(source, at)


def _text(source: str, at: int) -> tuple[Token, int]:
    letters: list[str] = []
    place = at + 1
    while place < len(source):
        letter = source[place]
        if letter == source[at]:
            return Token("text", "".join(letters), at), place + 1
        if letter == "\\":
            escape = source[place + 1 : place + 2]
            if escape not in _ESCAPES:
                known = ", ".join(f"\\{one}" for one in _ESCAPES)
                raise fault(source, place, "unknown escape", f"known: {known}")
            letter, place = _ESCAPES[escape], place + 1
        letters.append(letter)
        place += 1
    raise fault(source, at, "a text that does not end", f"close it with {source[at]}")


def _foreign(source: str, at: int) -> ConfigError:
    letter = source[at]
    folded = unicodedata.normalize("NFKC", letter)
    hint = _MEANT.get(letter, "")
    if not hint and folded != letter and folded.isascii() and folded.isprintable():
        hint = f"write {folded} in half width"
    elif not hint and letter.isalpha():
        hint = 'texts stand in " "'
    return fault(source, at, f"{letter!r} is not understood", hint)


def _line(text: str) -> str:
    """Text without line ends and invisible characters, for a message of one line."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
