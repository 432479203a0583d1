"""Which questions about the same pictures ask the same."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache

from mmupt.asking.prompt import IMAGE_MARK
from mmupt.consensus.freetext_guards import Claims, claims, factor
from mmupt.consensus.mentions import in_digits, unnumbered
from mmupt.consensus.writing import plain

_FACT = re.compile(r"(?<![A-Za-z])(?:[A-Z]{1,4}|[b-zB-Z])(?![A-Za-z])|\d+(?:[.,]\d+)*")
_EMPTY = re.compile(
    r"\b(?:an?|the|this|that|these|those|is|are|was|were|there|please)\b", re.IGNORECASE
)
_SIZE = 3


@dataclass(frozen=True, slots=True)
class Wording:
    """A question as it is compared.

    Attributes:
        key: letters and digits alone, in lower case: equal keys are one question.
        grams: character trigrams of the same without articles and the like.
        facts: numbers, letters and abbreviations that it names, sorted: ABC, x, 30.
        claims: what it asserts, to see opposites.
    """

    key: str
    grams: frozenset[str]
    facts: tuple[str, ...]
    claims: Claims


@lru_cache(maxsize=4096)
def wording_of(question: str) -> Wording:
    """Read a question once, to compare it with many."""
    text = plain(question.replace(IMAGE_MARK, " "))
    read = in_digits(unnumbered(unicodedata.normalize("NFKC", text)))
    key = _key(read)
    told = _key(_EMPTY.sub("", read)) or key
    grams = frozenset(told[i : i + _SIZE] for i in range(max(1, len(told) - _SIZE + 1)))
    return Wording(key, grams, tuple(sorted(_FACT.findall(read))), claims(unnumbered(text)))


def _key(text: str) -> str:
    """What carries meaning in mathematics stays: 2+x is not 2-x."""
    return "".join(c for c in text.casefold() if c.isalnum() or c in "+-*/=<>^%°∠√")


def similarity(first: Wording, second: Wording) -> float:
    """Jaccard similarity of the trigrams, |A and B| / |A or B|; 0 where they differ in what counts.

    `the length of AB` and `the length of AC` share nearly all characters and ask different things,
    so do `on the left` and `on the right`.
    """
    if first.key == second.key:
        return 1.0
    if first.facts != second.facts or factor(first.claims, second.claims) < 1.0:
        return 0.0
    both = len(first.grams & second.grams)
    return both / (len(first.grams) + len(second.grams) - both)


@dataclass
class Asked:
    """The questions that there are about each picture, or set of pictures.

    Attributes:
        threshold: similarity from which on two questions count as one.
    """

    threshold: float
    _known: dict[tuple[str, ...], list[str]] = field(
        default_factory=lambda: defaultdict(list), repr=False
    )

    def add(self, pictures: tuple[str, ...], question: str) -> None:
        self._known[pictures].append(question)

    def repeated(self, pictures: tuple[str, ...], question: str) -> str | None:
        """`duplicate` or `near-duplicate` of a known question about these pictures, or None."""
        new = wording_of(question)
        known = [wording_of(old) for old in self._known.get(pictures, ())]
        if any(old.key == new.key for old in known):
            return "duplicate"
        near = any(similarity(new, old) >= self.threshold for old in known)
        return "near-duplicate" if near else None
