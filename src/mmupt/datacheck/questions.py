"""What kind of question it is, and in which writing; told from its text alone."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mmupt.consensus.canonical import canonical
from mmupt.consensus.options import options
from mmupt.data.rows import MARK

_YES_NO: Final = re.compile(
    r"(is|are|was|were|do|does|did|can|could|has|have|had|will|would|should)\b", re.I
)
_NUMBER: Final = re.compile(
    r"\bhow\s+(many|much|long|far|tall|old|often)\b|いくつ|何(個|本|人|枚|回|度|円)", re.I
)
_SCRIPTS: Final = (
    ("HIRAGANA", "ja"), ("KATAKANA", "ja"), ("HANGUL", "ko"), ("CJK", "han"), ("LATIN", "latin"),
    ("CYRILLIC", "cyrillic"), ("ARABIC", "arabic"), ("HEBREW", "hebrew"), ("GREEK", "greek"),
    ("THAI", "thai"), ("DEVANAGARI", "devanagari"),
)  # fmt: skip
LOOKED_AT: Final = 2000
"""Characters of a problem that are looked at."""


def kind_of(problem: str) -> tuple[str, int]:
    """``choice``, ``yes-no``, ``number`` or ``open``, and how many options are listed."""
    text = problem[:LOOKED_AT].replace(MARK, " ").strip()
    listed = len(options(text))
    if listed:
        return "choice", listed
    if _NUMBER.search(text):
        return "number", 0
    last = re.split(r"(?<=[.!?。?])\s+", text)[-1].strip()
    if _YES_NO.match(last) or last.endswith(("ますか", "ますか。", "ですか。", "か?")):
        return "yes-no", 0
    return "open", 0


def writing_of(problem: str) -> str:
    """``ja`` where there are kana, ``ko`` where there is hangul; else the script of most letters.

    Chinese and Japanese without kana cannot be told apart and are ``han``; formulas are ``none``.
    """
    counts: dict[str, int] = {}
    for character in problem[:LOOKED_AT].replace(MARK, ""):
        if character.isalpha():
            name = unicodedata.name(character, "")
            found = next((short for long, short in _SCRIPTS if name.startswith(long)), "other")
            counts[found] = counts.get(found, 0) + 1
    for sure in ("ja", "ko"):
        if counts.get(sure, 0) >= 2:
            return sure
    return max(counts, key=lambda name: (counts[name], name), default="none")


def normal(problem: str) -> str:
    """A question without differences of writing that say nothing: width, case, space."""
    spaced = problem.replace(MARK, f" {MARK} ")
    return " ".join(unicodedata.normalize("NFKC", spaced).casefold().split())


def answer_key(answer: str) -> str:
    """What answers that mean the same share, where that is known without a parser of LaTeX."""
    key = canonical(answer)
    return normal(answer) if key is None else repr(key)
