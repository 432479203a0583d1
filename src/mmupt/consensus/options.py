"""The options that a multiple-choice prompt lists, and which of them an answer names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from mmupt.consensus.canonical import canonical

_LABELS = ("ABCDEFGHIJ", "アイウエオカキクケコ")
_MARKER = re.compile(
    "(?:^|(?<=[\\s,;、。]))[(（]?([A-JＡ-Ｊア-コ])[)）.:．：、]\\s{0,3}(?=\\S)", re.MULTILINE
)
_FULL_WIDTH = {ord("Ａ") + step: "ABCDEFGHIJ"[step] for step in range(10)}
_LINE_END = re.compile(r"[\r\n]")


@lru_cache(maxsize=1024)
def options(prompt: str) -> Mapping[str, str]:
    """Label -> text of the last list of options in a prompt; empty if there is none.

    A list is labels in order from A (or ア) on, each followed by a dot, bracket or colon.
    """
    markers = [(match[1].translate(_FULL_WIDTH), match) for match in _MARKER.finditer(prompt)]
    run: list[tuple[str, re.Match[str]]] = []
    best: list[tuple[str, re.Match[str]]] = []
    for label, match in markers:
        alphabet = next((letters for letters in _LABELS if label in letters), "")
        if label == alphabet[:1]:
            run = [(label, match)]
        elif run and run[0][0] == alphabet[:1] and alphabet.index(label) == len(run):
            run.append((label, match))
        if len(run) >= 2:
            best = list(run)
    found = {}
    for position, (label, match) in enumerate(best):
        stop = best[position + 1][1].start() if position + 1 < len(best) else len(prompt)
        found[label] = _LINE_END.split(prompt[match.end() : stop], maxsplit=1)[0].strip(" ,;、。")
    return found


def named(answer: str, listed: Mapping[str, str]) -> str | None:
    """The label of the one option whose text is equivalent to the answer; None if not one."""
    key = canonical(answer)
    if key is None or key[0] == "choice":
        return None
    hits = [label for label, text in listed.items() if text and canonical(text) == key]
    return hits[0] if len(hits) == 1 else None
