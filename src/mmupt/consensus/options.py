"""The options that a multiple-choice prompt lists, and which of them an answer names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from mmupt.consensus.canonical import canonical

_LABELS = ("ABCDEFGHIJ", "アイウエオカキクケコ")
_MARKER = re.compile(
    "(?:^|(?<=[\\s,;、。]))[(（]?([A-JＡ-Ｊア-コ])[)）.:．：、]\\s{0,3}(?=\\S)", re.MULTILINE
)
_FULL_WIDTH = {ord("Ａ") + step: "ABCDEFGHIJ"[step] for step in range(10)}
_LINE = re.compile(r"[^\r\n]*")
_AROUND = " \t\u3000,;、。"
_JOINED = re.compile(r"(?<=[\s,])(?:or|and)$")
# Where the text of an option may be over though its line goes on. `St. Louis` goes on.
_BREAK = re.compile(
    r"(?:(?<=[a-z][a-z])(?<!Mrs)|(?<=[\d)\]%°]))[.!?]\s+(?=[A-Z])|[。！？](?=.)|\u3000|\t|[ ]{2}"
)


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a list, and where it stands in its prompt, in characters.

    Attributes:
        label: its label, `A` to `J` or `ア` to `コ`.
        marker: where the label begins, its bracket included.
        start: where its text begins.
        stop: where its text ends.
    """

    label: str
    marker: int
    start: int
    stop: int


@lru_cache(maxsize=1024)
def listing(prompt: str) -> tuple[Option, ...]:
    """The last list of options in a prompt, in order; empty if there is none.

    A list is labels in order from A (or ア) on, each followed by a dot, bracket or colon. A text
    ends with its line; that of the last option also where another sentence follows on its line,
    unless the others go on like that too.
    """
    found = []
    run = _last_run(prompt)
    for position, (label, match) in enumerate(run):
        stop = run[position + 1][1].start() if position + 1 < len(run) else len(prompt)
        line = _LINE.match(prompt, match.end(), stop)
        start, stop = _trimmed(prompt, match.end(), line.end() if line else stop)
        found.append(Option(label, match.start(), start, stop))
    if len(found) < 2 or begins_line(prompt, found[-1].marker):
        return tuple(found)
    return (*found[:-2], _without_join(prompt, found[-2]), _cut(prompt, found))


@lru_cache(maxsize=1024)
def options(prompt: str) -> Mapping[str, str]:
    """Label -> text of the last list of options in a prompt (`listing`); empty if there is none."""
    return {option.label: prompt[option.start : option.stop] for option in listing(prompt)}


def named(answer: str, listed: Mapping[str, str]) -> str | None:
    """The label of the one option whose text is equivalent to the answer; None if not one."""
    key = canonical(answer)
    if key is None or key[0] == "choice":
        return None
    hits = [label for label, text in listed.items() if text and canonical(text) == key]
    return hits[0] if len(hits) == 1 else None


def begins_line(prompt: str, place: int) -> bool:
    """Whether nothing but space stands before a place on its line."""
    before = prompt[:place].rstrip(" \t\u3000")
    return not before or before[-1] in "\r\n"


def _last_run(prompt: str) -> list[tuple[str, re.Match[str]]]:
    """The markers of the last list."""
    run: list[tuple[str, re.Match[str]]] = []
    best: list[tuple[str, re.Match[str]]] = []
    for match in _MARKER.finditer(prompt):
        label = match[1].translate(_FULL_WIDTH)
        alphabet = next((letters for letters in _LABELS if label in letters), "")
        if label == alphabet[:1]:
            run = [(label, match)]
        elif run and run[0][0] == alphabet[:1] and alphabet.index(label) == len(run):
            run.append((label, match))
        if len(run) >= 2:
            best = list(run)
    return best


def _trimmed(prompt: str, start: int, stop: int) -> tuple[int, int]:
    """The span without the separators around it."""
    begun = prompt[start:stop].lstrip(_AROUND)
    start = stop - len(begun)
    return start, start + len(begun.rstrip(_AROUND))


def _without_join(prompt: str, option: Option) -> Option:
    """`(B) 4 or (C) 5`: the `or` belongs to the list."""
    match = _JOINED.search(prompt[option.start : option.stop])
    if match is None:
        return option
    start, stop = _trimmed(prompt, option.start, option.start + match.start())
    return Option(option.label, option.marker, start, stop)


def _cut(prompt: str, found: list[Option]) -> Option:
    """The last option of a list within a line, without what follows the list there."""
    last, others = found[-1], [prompt[o.start : o.stop] for o in found[:-1]]
    match, stop = _BREAK.search(prompt, last.start, last.stop), last.stop
    if match is not None and not any(map(_BREAK.search, others)):
        stop = match.start() + (match[0][0] in ".!?。！？")
    # A dot behind the last text alone ends the sentence that the list is in.
    if prompt[last.start : stop].endswith(tuple(".!?。！？")) and not any(
        text.endswith(prompt[stop - 1]) for text in others
    ):
        stop -= 1
    return Option(last.label, last.marker, last.start, stop)
