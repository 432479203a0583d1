r"""Boxes in a response: `\boxed{...}` and `\fbox{...}`, braces nested."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NAME = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s{0,4}")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_UNBRACED = re.compile(r"-?[0-9](?:[0-9.,/]{0,100}[0-9])?|[A-Z](?![A-Za-z])")


@dataclass(frozen=True, slots=True)
class Mark:
    """One marked answer.

    Attributes:
        start: position of the mark's first character.
        content: what it marks, stripped; None if the mark is never closed.
        end: position behind the mark, or the end of the text.
    """

    start: int
    content: str | None
    end: int


def boxes(text: str) -> Iterator[Mark]:
    r"""The boxes of a text, the last one first, found as they are asked for.

    Braces are counted, escaped braces are not. `\boxed 12` without braces holds its number or
    capital letter (TeX would box the first character only, nobody means that); `\boxed` before
    anything else is a word and no box, and at the very end of the text an open one.
    """
    before = len(text)
    while before > 0:
        start = max(text.rfind("\\boxed", 0, before), text.rfind("\\fbox", 0, before))
        if start < 0:
            return
        before = start
        name = _NAME.match(text, start)
        if name is None:
            continue
        inside = name.end()
        if inside == len(text):
            yield Mark(start, None, inside)
        elif text[inside] == "{":
            yield _braced(text, start, inside)
        elif bare := _UNBRACED.match(text, inside):
            yield Mark(start, bare[0], bare.end())


def _braced(text: str, start: int, opening: int) -> Mark:
    depth = 0
    for match in _BRACE.finditer(text, opening):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return Mark(start, text[opening + 1 : match.start()].strip(), match.end())
    return Mark(start, None, len(text))
