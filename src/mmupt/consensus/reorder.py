"""The options of a question in another order, and answers read back into the order of the data.

A model that prefers a place ("always A") votes for another option in each order; one that reads
the options votes for the same one in all of them. The labels stay where they are, the texts change
places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from mmupt.consensus import choices
from mmupt.consensus.marks import tidy
from mmupt.consensus.options import Option, begins_line, listing
from mmupt.consensus.writing import delatex, plain

_IMAGE = "<image>"
_MAX_LABELS = 500
"""Longer answers are no labels (characters), as in `choices`."""
_GAP = re.compile(r"[\s,;、。.]*+(?:or|and)?\s*+")
_QUESTION = re.compile("[?？]")
_ASKED = re.compile("[?？]|か。|選|次のうち")
_INSTRUCTION = re.compile(
    r"answer|choose|select|pick|option|letter|respon[ds]|reply|think|reason|step|選|答|記号|考え",
    re.IGNORECASE,
)
# What may point to other options or to their places. Taking too many for such costs a shuffle.
_POINTS = re.compile(
    r"\b(?:above|below|both|neither|either|(?:none|all|any|each|one|two) of|options?|choices?)\b"
    r"|\b(?-i:[A-J])\s*(?:and|or|&|,|/)\s*(?-i:[A-J])\b"
    r"|(?<![ァ-ヶー])[ア-コ](?:と|・|、)[ア-コ](?![ァ-ヶー])"
    r"|上記|(?:以?上|以下)の(?:すべて|全て|どれ|いずれ)|いずれ|どれ|どちら|選択肢",
    re.IGNORECASE,
)
_KANA = re.compile(r"[ア-コ](?:\s*[,、・と\s]\s*[ア-コ])+")
_LETTERS = re.compile(
    r"(?<![A-Za-z\\])(?:[A-J]{1,6}|[a-j])(?![A-Za-z])|(?<![ァ-ヶー])[ア-コ](?![ァ-ヶー])"
)


def movable(prompt: str) -> tuple[Option, ...]:
    """The options of a prompt if their texts may change places, else nothing.

    They may where that surely leaves the question the same: every text is there once, holds on one
    line, is no label itself and does not point to other options ("both A and B"); and the list is
    one of options, not of facts: no question follows it, what follows it says how to answer, and
    labels with a colon (`A: (1, 2)`) begin their lines behind a question.
    """
    listed = listing(prompt)
    texts = [prompt[option.start : option.stop] for option in listed]
    if len(listed) < 2 or not all(texts) or any(map(_POINTS.search, texts)):
        return ()
    words = [text for text in texts if _IMAGE not in text]  # two pictures are two texts
    if len(set(words)) < len(words) or any(_is_label(text, listed) for text in words):
        return ()
    if not all(_GAP.fullmatch(prompt, a.stop, b.marker) for a, b in pairwise(listed)):
        return ()
    return listed if _offers(prompt, listed, texts) else ()


def rearranged(
    prompt: str, listed: Sequence[Option], order: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """The spans of a prompt, in characters, in the sequence that shows its options in an order.

    Args:
        prompt: the question.
        listed: its options, K.
        order: a permutation of 0 to K - 1: place p shows the text of option order[p].
    """
    spans, begin = [], 0
    for place, option in enumerate(listed):
        text = listed[order[place]]
        spans += [(begin, option.start), (text.start, text.stop)]
        begin = option.stop
    return (*spans, (begin, len(prompt)))


def relabelled(answer: str, labels: Mapping[str, str]) -> str:
    """An answer with other labels in the places of its labels, several of them sorted anew.

    `(B)` becomes `(D)`, `A and C` becomes `B and D`, `B. 12 cm` becomes `D. 12 cm`. An answer that
    is no label, or holds one that is not among `labels`, stays as it is.

    Args:
        answer: an extracted answer.
        labels: label as written -> label that it stands for.
    """
    named = _labels(answer) if labels else None
    if named is None or not named <= set(labels):
        return answer
    meant = sorted(labels[label] for label in named)
    places = [
        place
        for word in _LETTERS.finditer(answer)
        for place in range(word.start(), word.end())
        if answer[place].upper() in named
    ]
    if len(places) != len(meant):  # full width, or a letter that is written twice
        return ", ".join(meant)
    letters = list(answer)
    for place, label in zip(places, meant, strict=True):
        letters[place] = label
    return "".join(letters)


def _is_label(text: str, listed: Sequence[Option]) -> bool:
    """Whether an answer with this text would be read as labels of the list: `A`, `(b)`, `BC`."""
    read = _labels(text)
    return read is not None and read <= {option.label for option in listed}


def _labels(text: str) -> set[str] | None:
    """The labels that an answer consists of; None if it is something else."""
    if len(text) > _MAX_LABELS:
        return None
    clean = tidy(delatex(plain(text)))
    if _KANA.fullmatch(clean):
        return set(re.findall("[ア-コ]", clean))
    read = choices.labels(clean)
    return None if read is None else set(read)


def _offers(prompt: str, listed: Sequence[Option], texts: Sequence[str]) -> bool:
    """Whether a list offers answers, and its last text surely ends where it seems to."""
    first, last = listed[0], listed[-1]
    tail = prompt[last.stop :].replace(_IMAGE, "").lstrip(" \t\r\n\u3000.,;!?。、！？")
    if tail and (_QUESTION.search(tail) or not _INSTRUCTION.search(tail)):
        return False
    lines = [begins_line(prompt, option.marker) for option in listed]
    if any(mark in prompt[o.marker : o.start] for o in listed for mark in ":：") and not (
        all(lines) and _ASKED.search(prompt, 0, first.marker)
    ):
        return False
    lengths = [len(text.split()) for text in texts]
    return lines[-1] or lengths[-1] <= max(lengths[:-1]) + 2
