"""Text answers: one spelling for case, spacing and punctuation, and nothing beyond that.

No synonyms, no stemming, no similarity: `left valve open` and `left valve closed` differ by one
word and are different answers. What is kept because it changes the meaning: word order, negations,
digits, decimal points, and the signs + - / % # @ & * and currency signs. What holds a mathematical
relation that nothing else could read (`x ≠ 3`, `A ∩ B = ∅`) keeps its brackets and its case.
"""

from __future__ import annotations

import re

from mmupt.consensus.writing import DOLLAR

# Dots, commas and colons between digits belong to a number or a time; elsewhere they punctuate.
# A quotation mark behind a digit measures inches.
_PUNCTUATION = re.compile(
    r"(?<![0-9])[.,:\"]|[.,:](?![0-9])|[;!?`()\[\]{}⦃⦄。、・「」『』【】〈〉《》…|]"
)
_APOSTROPHE = re.compile(r"(?<![0-9])'|'(?=[a-z])")
# A hyphen joins words; next to a digit it may be a minus or part of a code.
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-_](?=[^\W\d_])")
_GROUPED = re.compile(r"(?<![0-9,.])([0-9]{1,3}(?:,[0-9]{3})+)(?![0-9,])")
_ARTICLE = re.compile(r"(?:the|an|a) (?=\w\w|[^\W\d_a-z])(?!(?:to|and|or|is) )")
_CJK = "\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f々"
_CJK_SPACE = re.compile(f"(?<=[{_CJK}]) (?=[{_CJK}0-9a-z])|(?<=[0-9a-z]) (?=[{_CJK}])")
_POLITE = re.compile("(?:(?:です|である|でした|になります|となります)(?:ね|よ)?){1,3}$")
_RELATION = re.compile("[∈∉∪∩⊂⊃∞≤≥≠<>=√^∀∃]")
_LONG_WORD = re.compile("[A-Za-z]{3}")
_SPACE = re.compile(r"\s+")
_BRACES = str.maketrans("⦃⦄", "{}")


def words(text: str) -> str:
    """The normal form of a text after `writing.plain` and `writing.delatex`; may be empty."""
    text = text.replace(DOLLAR, "$")
    if _RELATION.search(text) and not _LONG_WORD.search(text):
        return markup(text)
    relation = _RELATION.search(text)
    text = _GROUPED.sub(lambda match: match[1].replace(",", ""), text.casefold())
    text = _APOSTROPHE.sub("", text)
    if relation is None:
        text = _HYPHEN.sub(" ", _PUNCTUATION.sub(" ", text))
    text = " ".join(text.split())
    text = _ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text
    text = _CJK_SPACE.sub("", text)
    return _POLITE.sub("", text) or text


def markup(text: str) -> str:
    """The normal form of mathematics that nothing else could read: spaces out, case kept."""
    return _SPACE.sub("", text).translate(_BRACES)
