"""What a new question has to be: first by its text, then by the votes on its answer."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from mmupt.asking.prompt import IMAGE_MARK
from mmupt.config_synthesis import SynthesisConfig
from mmupt.consensus.canonical import canonical
from mmupt.consensus.options import listing, options
from mmupt.consensus.text import words
from mmupt.consensus.vote import vote
from mmupt.consensus.writing import plain
from mmupt.synthesis.language import Language, language_of
from mmupt.types import Vote

_NO_NUMBER = frozenset({"choice", "choices", "bool", "text"})
_NUMBER = re.compile(r"(?<![\w.,])-?\d+(?:[.,/]\d+)*(?![\w]|[.,]\d)")
_EITHER = re.compile(r"\bor\b|または|もしくは|それとも|あるいは|/", re.IGNORECASE)


_BRACKETS = {")": "(", "]": "[", "}": "{", "）": "（", "」": "「"}
_INTERVAL = re.compile(r"[\[(]\s*-?[\d.a-z∞\\]+\s*,\s*-?[\d.a-z∞\\]+\s*[\])]")
_TWICE = re.compile(r"\b([^\W\d_]{2,})\s+\1\b(?!\s+\1\b)", re.IGNORECASE)
_MAY_BE_TWICE = frozenset({"that", "had", "is"})
# A question has its mark, or asks for something.
_ASKS = re.compile(
    r"[?？]|か[。.]?\s*$|(?:ください|下さい|なさい|せよ|めよ|えよ|けよ|べよ|答え|求め)"
    r"|^\W*(?:in|on|at|from|given|using|based|if|let|for|suppose|assume|note|find|calculate|compute"
    r"|determine|identify|name|list|describe|count|give|estimate|choose|select|state|read|tell"
    r"|compare|explain|solve|evaluate|write|fill|complete|look|point|measure|say|report|pick|mark"
    r"|sum|add|work|express|simplify|which|what|who|when|where|why|how)\b",
    re.IGNORECASE | re.MULTILINE,
)
_WORDS = re.compile(r"[^\W\d_]+")


def text_reason(
    question: str,
    *,
    language: Language | None,
    kind: str,
    strict: bool,
    config: SynthesisConfig,
    known: Container[str] | None = None,
) -> str | None:
    """Why a question is refused by its text alone; None if it is not.

    Args:
        question: with its image marks.
        language: it should be in; None: any.
        kind: that was asked for.
        strict: whether it must be of that kind.
        config: the bounds.
        known: the words that a question may have, in lower case; None: any.
    """
    body = question.replace(IMAGE_MARK, "").strip()
    if not config.min_length <= len(body) <= config.max_length:
        return "length"
    found = language_of(body)
    if language is not None and found is not None and found != language:
        return "language"
    if malformed(body, language):
        return "malformed"
    if known is not None and any(word not in known for word in words_of(body)):
        return "words"
    listed = options(body)
    if listed and len({canonical(text) for text in listed.values()}) < len(listed):
        return "kind"  # two options say the same: there is no single correct one
    if strict and kind != "any" and (kind == "choice") != bool(listed):
        return "kind"
    return None


def malformed(body: str, language: Language | None) -> bool:
    """Whether it is no sentence: brackets that do not match, a word twice in a row, nothing asked.

    Whether something is asked is looked at in English and Japanese alone.
    """
    open_: list[str] = []
    for c in _INTERVAL.sub("", body):
        if c in _BRACKETS.values():
            open_.append(c)
        elif c in _BRACKETS and not _closes(open_, c, body):
            return True
    twice = _TWICE.search(body)
    if open_ or (twice and twice[1].lower() not in _MAY_BE_TWICE):
        return True
    return language in ("en", "ja", None) and not _ASKS.search(body)


def _closes(open_: list[str], c: str, body: str) -> bool:
    """Whether a bracket closes the last open one; `A)` in front of an option closes nothing."""
    if open_ and open_[-1] == _BRACKETS[c]:
        open_.pop()
        return True
    return c in ")）" and not open_ and bool(listing(body))


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without the names of commands."""
    return [word.lower() for word in _WORDS.findall(text.replace(IMAGE_MARK, " "))]


def kind_of(question: str, label: str | None) -> str:
    """`choice` where options are listed, `number` where the majority's answer is one, or `free`."""
    if options(question):
        return "choice"
    return "number" if label is not None and is_number(label) else "free"


def is_number(label: str) -> bool:
    """Whether an answer is a quantity, an expression or the like: neither words nor a choice."""
    key = canonical(label)
    return key is not None and key[0] not in _NO_NUMBER


@dataclass(frozen=True, slots=True)
class Judged:
    """What the votes say about a question.

    Attributes:
        reason: why it is refused; None: it is kept.
        vote: the vote; its label goes into the record for audits and into no output row.
    """

    reason: str | None
    vote: Vote


def judge(
    question: str,
    answers: Sequence[str | None],
    config: SynthesisConfig,
    *,
    kind: str,
    strict: bool,
    answer_kind: str,
    rtol: float | None,
) -> Judged:
    """Whether G answers agree as they should, and whether the question gives its answer away.

    share = G(majority) / G, abstentions counted. Below `band`, tied or without a majority it is
    unanswerable, above trivial.
    """
    outcome = vote(answers, kind=answer_kind, rtol=rtol)
    low, high = config.band
    if outcome.label is None or outcome.tied or outcome.share < low - 1e-9:
        return Judged("unanswerable", outcome)
    if leaks(question, outcome.label):
        return Judged("leak", outcome)
    if strict and kind == "number" and not is_number(outcome.label):
        return Judged("kind", outcome)
    if strict and kind == "free" and is_number(outcome.label):
        return Judged("kind", outcome)
    if outcome.share > high + 1e-9:
        return Judged("trivial", outcome)
    return Judged(None, outcome)


def leaks(question: str, answer: str) -> bool:
    """Whether a question states its own (pseudo-)answer, in front of its options if it has some.

    A number leaks where the same number stands in the question, words where they stand in it as
    whole words. A choice between things that are named (`red or blue?`) and yes or no do not leak.
    A harmless question may be refused (`how many of the 4 ...?`, 4): there are others, and a model
    that copies a number out of a question agrees with itself.
    """
    body = question.replace(IMAGE_MARK, " ")
    listed = listing(body)
    stem = body[: listed[0].marker] if listed else body
    if listed:
        answer = options(body).get(answer.strip(), answer)
    key = canonical(answer)
    if key is None or key[0] in ("choice", "choices", "bool"):
        return False
    if key[0] != "text":
        return any(canonical(match[0]) == key for match in _NUMBER.finditer(plain(stem)))
    wanted, said = words(plain(answer)), words(plain(stem))
    if len(wanted) < 2 or _EITHER.search(stem):
        return False
    edge = r"(?<![a-z0-9]){}(?![a-z0-9])"
    return re.search(edge.format(re.escape(wanted)), said) is not None
