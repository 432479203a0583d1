"""Choices and decisions that a sentence states, where the answer is not the whole response."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LABEL = re.compile(
    r"\b(?:option|choice|select|choose|選択肢)\s{0,3}:?\s{0,3}[(\[]?([A-Ja-j])\b"
    r"|[(\[]([A-J])[)\]]|(?:^|\n)\s{0,8}([A-J])[.):]|(?<![A-Za-z'])([B-HJ])(?![A-Za-z'])"
    r"|(?<![A-Za-z'])(A)(?=\s{0,3}(?:[.,;:)]|$))|([アイウエオ])(?=[がでをはの、。]|$)",
    re.IGNORECASE | re.MULTILINE,
)
_REFUSED = re.compile(r"(?:\bnot|n't|instead of|rather than)\s{0,3}[(\[A-Z]?$", re.IGNORECASE)
# Letters of scripts that put spaces between words; 個 behind 12 and は before 赤 end a word.
_SPACED = "0-9A-Za-z_\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff"


def stated_label(text: str, listed: Mapping[str, str]) -> str | None:
    """The last label that a sentence names, or the only option whose text it contains.

    Texts count as whole words and numbers, the longest first: `100` does not contain the option
    10, nor `a red car` the option red where another one is red car.
    """
    last = None
    for match in _LABEL.finditer(text):
        label = next(group for group in match.groups() if group)
        explicit = match[1] is not None
        if _REFUSED.search(text[max(0, match.start() - 16) : match.start() + 1]):
            continue
        if (explicit or not label.islower()) and (not listed or label.upper() in listed):
            last = label.upper()
    if last is not None:
        return last
    return _contained(text.casefold(), listed)


def _contained(text: str, listed: Mapping[str, str]) -> str | None:
    """The label of the only option whose text stands in a case-folded sentence; None if not one."""
    labels: dict[str, set[str]] = {}
    for label, option in listed.items():
        if option:
            labels.setdefault(option.casefold(), set()).add(label)
    if not labels:
        return None
    longest_first = sorted(labels, key=len, reverse=True)
    hits: set[str] = set()
    for match in re.finditer("|".join(map(_whole, longest_first)), text):
        if not _REFUSED.search(text[max(0, match.start() - 16) : match.start()]):
            hits |= labels[match[0]]
    return hits.pop() if len(hits) == 1 else None


def _whole(option: str) -> str:
    """A pattern for an option's text where it is not part of a longer word or number."""
    before = after = ""
    if re.match(f"[{_SPACED}]", option):
        before = f"(?<![{_SPACED}])"
    if option[0].isdecimal():  # nor of 3.5, -5, 1/5, 1,500
        before += r"(?<![.\-\u2212/])(?<![0-9],)"
    if re.match(f"[{_SPACED}]", option[-1]):
        after = f"(?![{_SPACED}])"
    if option[-1].isdecimal():
        after += r"(?![.,/][0-9])"
    return f"{before}{re.escape(option)}{after}"


_DECISION = re.compile(
    r"(?:^|[.!?。\n]\s{0,3}|(?:so|therefore|thus|hence|answer is|answer:),?\s)(yes|no)\b"
    r"|(はい|いいえ)(?=[、,。.!\s]|です|$)|(正しくない|正しくありません|誤り|正しい)",
    re.IGNORECASE,
)


def stated_yes_or_no(text: str) -> bool | None:
    """The last yes or no that begins a sentence of a longer answer; None if there is none."""
    last: bool | None = None
    for match in _DECISION.finditer(text):
        if match[3]:
            last = match[3] == "正しい"
        else:
            last = (match[1] or match[2]).casefold() in ("yes", "はい")
    return last
