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


def stated_label(text: str, listed: Mapping[str, str]) -> str | None:
    """The last label that a sentence names, or the only option whose text it contains."""
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
    folded = text.casefold()
    hits = [label for label, option in listed.items() if option and option.casefold() in folded]
    return hits[0] if len(hits) == 1 else None


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
