r"""Marked answers in a response: boxes, `<answer>` tags, `The answer is ...`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmupt.consensus.boxes import Mark, boxes

_MAX_SENTENCE = 5000

_ANSWER_OPEN = re.compile(r"<answer>", re.IGNORECASE)
_ANSWER_CLOSE = re.compile(r"</answer>", re.IGNORECASE)
_PHRASE = re.compile(
    r"\banswer(?:\sto\s[^.\n]{1,80}?)?\*{0,2}\s{0,3}"
    r"(?:is|are|was|would be|should be|must be|=|:|：)\*{0,2}\s{0,3}[:：]?"
    r"|(?:答え?|解答|回答|正解)\*{0,2}\s{0,3}(?:は|:|：|=|＝)\*{0,2}|####",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"。|[.!](?=\s|$)|[\r\n]")
_ABBREVIATION = re.compile(
    r"^\s?[A-Za-z]$|(?:^|[\s(])(?:approx|no|vs|ca|st|mr|mrs|dr)$", re.IGNORECASE
)
_POLITE = re.compile(
    r"(?:(?:です|である|でした|になります|となります)(?:ね|よ)?|(?<=[0-9０-９A-Za-z個円度%])だ)$"
)


def has_mark(text: str) -> bool:
    """Whether a text may hold a mark of any kind."""
    return "box" in text or _ANSWER_OPEN.search(text) is not None or bool(_PHRASE.search(text))


def last_mark(text: str) -> Mark | None:
    """The last answer by its mark, boxes and tags before phrases; None if there is no mark.

    A mark without content (empty, or never closed) is a mark: the response abstains.
    """
    box, tag = next(boxes(text), None), next(tags(text), None)
    if box is not None and (tag is None or box.start > tag.start):
        return box
    return tag or next(phrases(text), None)


def tags(text: str) -> Iterator[Mark]:
    """The `<answer>` tags, the last one first."""
    for opening in reversed(list(_ANSWER_OPEN.finditer(text))):
        closing = _ANSWER_CLOSE.search(text, opening.end())
        if closing is None:
            yield Mark(opening.start(), None, len(text))
        else:
            content = text[opening.end() : closing.start()].strip()
            yield Mark(opening.start(), content, closing.end())


def phrases(text: str) -> Iterator[Mark]:
    """`The answer is ...`, up to the end of its sentence, the last one first."""
    for match in reversed(list(_PHRASE.finditer(text))):
        rest = text[match.end() : match.end() + _MAX_SENTENCE].lstrip(" \t:：")
        sentence = _first_sentence(rest.lstrip())
        end = text.find(sentence, match.end()) + len(sentence)
        yield Mark(match.start(), tidy(sentence), end)


def _first_sentence(text: str) -> str:
    for match in _SENTENCE_END.finditer(text):
        before = text[: match.start()]
        if match[0] == "." and _ABBREVIATION.search(before[-12:]):
            continue  # `B. 12 cm`, `approx. 5`
        if before.strip():
            return before
    return text


def tidy(text: str) -> str:
    """Without the quotes, emphasis, closing dots and polite endings around an answer."""
    before = None
    while before != text:
        before = text
        text = text.strip().strip('*`"“”「」').rstrip(".。、,;!！")
        if text.count("$") == 2 and text.startswith("$") and text.endswith("$"):
            text = text[1:-1]
        text = _POLITE.sub("", text)
    return text
