"""Text answers: one spelling for case, spacing and punctuation, and nothing beyond that.

No synonyms, no stemming, no similarity: `left valve open` and `left valve closed` differ by one
word and are different answers. What is kept because it changes the meaning: word order, negations,
digits, decimal points, the signs + - / % # @ & * and currency signs, factorial signs, and the bars
of |x-9|, P(A|B) and AB || CD (but not those of a table). What holds a mathematical relation, a
factorial or a bar that nothing else could read (`x ≠ 3`, `A ∩ B = ∅`, `(n-1)!`), and no words,
keeps its brackets and its case.
"""

from __future__ import annotations

import re

from mmupt.consensus.writing import DOLLAR

# Dots, commas and colons between digits belong to a number or a time; elsewhere they punctuate.
# A quotation mark behind a digit measures inches.
_PUNCTUATION = re.compile(
    r"(?<![0-9])[.,:\"]|[.,:](?![0-9])|[;?`()\[\]{}⦃⦄。、・「」『』【】〈〉《》…]"
)
# Behind a number, a bracket or a letter on its own an exclamation mark is a factorial sign: `5!`,
# `(n-1)!`, `2n!`, `x_1!`. Not so behind A to H and (A) to (H), which are labels of choices, behind
# the word I, and behind digits or a letter that belong to a name (`H2O!`).
_FACTORIAL = (
    r"(?:(?<![A-Za-z0-9_])(?:[0-9]+|[0-9]*[a-zJ-Zα-ω](?:_[A-Za-z0-9])?)|(?<![(\[][A-H])[)\]}])!+"
)
FACTORIAL_LAST = re.compile(rf"{_FACTORIAL}$")
"""Finds a factorial sign at the end of a string."""
_EXCLAMATION = re.compile(rf"({_FACTORIAL})|!")
_GIVEN = re.compile(r"(\([^()|]{1,100}?)\s*\|\s*([^()|]{1,100}\))")
_CELL = re.compile(r"(?<!\S)\|(?!\S)")
_APOSTROPHE = re.compile(r"(?<![0-9])'|'(?=[a-z])")
# A hyphen joins words; next to a digit it may be a minus or part of a code.
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-_](?=[^\W\d_])")
_GROUPED = re.compile(r"(?<![0-9,.])([0-9]{1,3}(?:,[0-9]{3})+)(?![0-9,])")
_ARTICLE = re.compile(r"(?:the|an|a) (?=\w\w|[^\W\d_a-z])(?!(?:to|and|or|is) )")
_CJK = "\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f々"
_JAPANESE = re.compile(f"[{_CJK}]")
_CJK_SPACE = re.compile(f"(?<=[{_CJK}]) (?=[{_CJK}0-9a-z])|(?<=[0-9a-z]) (?=[{_CJK}])")
_POLITE = re.compile("(?:(?:です|である|でした|になります|となります)(?:ね|よ)?){1,3}$")
_RELATION = re.compile("[∈∉∪∩⊂⊃∞≤≥≠<>=√^∀∃]")
_LONG_WORD = re.compile("[A-Za-z]{3}")
_SPACE = re.compile(r"\s+")
_BRACES = str.maketrans("⦃⦄", "{}")


def words(text: str) -> str:
    """The normal form of a text after `writing.plain` and `writing.delatex`; may be empty."""
    text = text.replace(DOLLAR, "$")
    if text.count("|") == 1:
        text = text.strip("|")  # the border of a table, whose other side is missing
    relation = _RELATION.search(text)
    if not _LONG_WORD.search(text) and (relation or _factorial_or_bar(text)):
        return markup(text)
    if relation is None:
        text = _EXCLAMATION.sub(_without_emphasis, text)
        text = _CELL.sub(" ", _GIVEN.sub(r"\1|\2", text))
    text = _GROUPED.sub(lambda match: match[1].replace(",", ""), text.casefold())
    text = _APOSTROPHE.sub("", text)
    if relation is None:
        text = _HYPHEN.sub(" ", _PUNCTUATION.sub(" ", text))
    text = " ".join(text.split())
    text = _ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text
    text = _CJK_SPACE.sub("", text)
    return _POLITE.sub("", text) or text


def _factorial_or_bar(text: str) -> bool:
    """Whether a text without words, Japanese ones among them, holds one of these signs."""
    if _JAPANESE.search(text):
        return False
    return "|" in text or any(match[1] for match in _EXCLAMATION.finditer(text))


def _without_emphasis(match: re.Match[str]) -> str:
    """An exclamation mark among words: kept as a factorial, but not at the end behind a number."""
    base = (match[1] or "").rstrip("!")
    if not base:
        return " "
    emphasis = match.end() == len(match.string) and not base[-1].isalpha()
    return base if emphasis else match[0]


def markup(text: str) -> str:
    """The normal form of mathematics that nothing else could read: spaces out, case kept."""
    return _SPACE.sub("", text).translate(_BRACES)
