"""From what the writer wrote to the text of one question, or to the reason why it is none.

Nothing is executed or looked up: the result is a string, and its image marks are ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from mmupt.asking.prompt import IMAGE_MARK
from mmupt.audit.injection import suspicious
from mmupt.consensus.boxes import boxes
from mmupt.consensus.canonical import canonical
from mmupt.consensus.marks import phrases, tags
from mmupt.consensus.objects import last_object
from mmupt.consensus.options import listing
from mmupt.synthesis.wording import TEMPLATE
from mmupt.types import Finish

MAX_TEXT = 20_000
"""Longer writing is not read (characters)."""

_FIELDS = ("question", "質問", "問題")
_TAGGED = re.compile(r"<question>(.*?)</question>", re.DOTALL | re.IGNORECASE)
_FENCED = re.compile(r"```[a-z]{0,12}\s*\n(.*?)\n?```", re.DOTALL)
_HEAD = re.compile(
    r"^[ \t*#>]*(?:(?:the |a |my )?(?:new )?question(?: \d{1,2})?|Q\d{0,2}"
    r"|(?:新しい|新)?(?:質問|問題|問い|問)(?:\s?\d{1,2})?)[ \t*]*[:：][ \t*]*",
    re.MULTILINE | re.IGNORECASE,
)
# A line that only says that a question follows: `Sure! Here is a new question about the picture:`
_PREAMBLE = re.compile(
    r"\A[^\n?？]{0,200}(?:question|質問|問題)[^\n?？]{0,100}[:：][ \t*]*\n+", re.IGNORECASE
)
_TAIL = re.compile(
    r"^[ \t*#>]*(?:(?:the |correct |final ){0,2}answer|solution|explanation|reasoning|rationale"
    r"|(?:正しい|正)?(?:答え?|解答|回答|解|正解)|解説|理由)[ \t*]*[:：]",
    re.MULTILINE | re.IGNORECASE,
)
_TURN = re.compile(r"^\s*(?:system|user|assistant|human)\s*[:：]", re.MULTILINE | re.IGNORECASE)
_ADDRESS = re.compile(r"\b(?:https?|ftp|file)://|\bdata:[a-z]+/", re.IGNORECASE)
_EDGES = re.compile(r" ?\n\s*")
_SPACE = re.compile(r"[^\S\n]+")
_ENDS = '*_`"“”「」『』 \t\n'


@dataclass(frozen=True, slots=True)
class Written:
    """The question in a text, or the reason why there is none that can be used.

    Attributes:
        question: with one image mark per picture; None where it is refused.
        reason: None where it is not.
    """

    question: str | None
    reason: str | None = None


def read_question(
    text: str, finish: Finish, pictures: int, forbidden: Sequence[str] = ()
) -> Written:
    """The one question in a completion.

    Read are plain text, `Question: ...`, `<question>` tags and a JSON object's field `question`
    (other fields are passed over); an answer written behind the question is cut off. Reasons:
    `truncated`, `length`, `empty`, `several`, `marks`, `markup`, `instruction`, `leak`.

    Args:
        text: what the writer wrote.
        finish: why it ended.
        pictures: how many the question is about.
        forbidden: further texts that a question may not hold: the model's special tokens.
    """
    if finish is Finish.LENGTH:
        return Written(None, "truncated")
    if len(text) > MAX_TEXT:
        return Written(None, "length")
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    if "<think>" in text or "</think>" in text:
        _, closed, text = text.rpartition("</think>")
        if not closed or "<think>" in text:
            return Written(None, "truncated")
    if _hidden(text):
        return Written(None, "markup")
    found = _payload(text)
    if isinstance(found, Written):
        return found
    body = _without_frame(found)
    if isinstance(body, Written):
        return body
    placed = _marked(body, pictures)
    if placed is None:
        return Written(None, "marks")
    reason = _refused(placed.replace(IMAGE_MARK, ""), forbidden)
    return Written(None, reason) if reason else Written(placed)


def _hidden(text: str) -> bool:
    """Whether it holds what no reader sees: controls, directions, surrogates, broken bytes."""
    return any(
        (unicodedata.category(c) in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp") and c not in "\n\t")
        or c == "\ufffd"
        for c in text
    )


def _payload(text: str) -> str | Written:
    """What is inside tags, a fence or a JSON object; else the text."""
    tagged = _TAGGED.findall(text)
    if len(tagged) > 1:
        return Written(None, "several")
    if tagged:
        return str(tagged[0])
    stripped = text.strip()
    if stripped.startswith(("{", "```")):
        found = last_object(stripped)
        if isinstance(found, dict):
            fields = [found[name] for name in _FIELDS if isinstance(found.get(name), str)]
            value = str(fields[0]) if len(fields) == 1 else ""
            return value if value.strip() and not _hidden(value) else Written(None, "empty")
        fenced = _FENCED.fullmatch(stripped)
        return fenced[1] if fenced else text
    return text


def _without_frame(text: str) -> str | Written:
    """Without a heading in front and an answer behind."""
    text = text.strip().strip("`")
    heads = list(_HEAD.finditer(text))
    if len(heads) > 1:
        return Written(None, "several")
    text = text[heads[0].end() :] if heads else _PREAMBLE.sub("", text, count=1)
    tail = _TAIL.search(text)
    if tail:
        text = text[: tail.start()]
    text = _EDGES.sub("\n", _SPACE.sub(" ", text)).strip()
    pair = len(text) > 1 and text[0] in _ENDS and text[-1] in _ENDS
    return text.strip(_ENDS) if pair else text


def _marked(text: str, pictures: int) -> str | None:
    """The question with a mark per picture; None if its own marks stand for nothing."""
    inner = text
    while inner.startswith(IMAGE_MARK) or inner.endswith(IMAGE_MARK):
        inner = inner.removeprefix(IMAGE_MARK).removesuffix(IMAGE_MARK).strip()
    if IMAGE_MARK not in inner:
        return IMAGE_MARK * pictures + inner
    return text if text.count(IMAGE_MARK) == pictures else None


def _refused(body: str, forbidden: Sequence[str]) -> str | None:
    """The reason why a text without its marks is not a question to ask."""
    if not any(map(str.isalpha, body)):
        return "empty"
    if TEMPLATE.search(body) or _TURN.search(body) or _ADDRESS.search(body):
        return "markup"
    if any(token in body for token in forbidden):
        return "markup"
    if suspicious(body):
        return "instruction"
    if _gives_answer(body):
        return "leak"
    listed = listing(body)
    stem = body[: listed[0].marker] if listed else body
    if sum(stem.count(mark) for mark in "?？") > 1:
        return "several"
    return None


def _gives_answer(body: str) -> bool:
    r"""Whether it says an answer: a filled box or tag, `the answer is 12`; not `in \boxed{}`."""
    if any(mark.content for found in (boxes(body), tags(body)) for mark in found):
        return True
    keys = (canonical(mark.content) for mark in phrases(body) if mark.content)
    return any(key is not None and key[0] != "text" for key in keys)
