"""What a model said to one question and how each reply was judged; a line of `replies.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mmupt.errors import RunFolderError

VIEWS, ORDERS, PARAPHRASES = "views", "orders", "paraphrases"
WAYS = (VIEWS, ORDERS, PARAPHRASES)
"""Other ways to ask the same: the picture slightly changed, the options in another order, another
wording."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One reply with what was read out of it.

    Attributes:
        reply: as it was written; None: none came.
        answer: the final answer in it, in the labels of the data; None: none in it.
        right: None: unscored, as no reply came or there is no reference.
        rule: which part of the scoring rule decided.
        tokens: length of the reply; None where a server does not tell.
        truncated: cut at `max_completion_length`.
    """

    reply: str | None
    answer: str | None = None
    right: bool | None = None
    rule: str = ""
    tokens: int | None = 0
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Majority:
    """What the k sampled answers of a question agree on.

    Attributes:
        answer: the winning answer; None: nobody answered.
        right: None: unscored.
        share: of the k answers that are in the winning class.
        agreement: share of the pairs of sampled replies that say the same; an abstention agrees
            with nothing. NaN for k = 1.
    """

    answer: str | None
    right: bool | None
    share: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Way:
    """The most likely replies to the same question asked in other ways.

    Attributes:
        replies: the plain question's own reply first.
        agreement: share of the pairs of them that say the same.
    """

    replies: tuple[Judged, ...]
    agreement: float


@dataclass(frozen=True, slots=True)
class Summary:
    """How much the replies to a question say the same, as free text; see `evaluate.summaries`.

    Attributes:
        agreement: mean utility of the pairs of sampled replies.
        centrality: mean utility of the most likely reply against the sampled ones.
        chrf: of the most likely reply against the reference; NaN without one.
    """

    agreement: float
    centrality: float
    chrf: float


@dataclass(frozen=True)
class Record:
    """One question.

    Attributes:
        id: of the question.
        answer: the reference; None where there is none.
        pictures: questions about the same pictures share it.
        greedy: the most likely reply.
        sampled: k sampled replies.
        majority: of the sampled ones; None without any, or where one of them did not come.
        ways: name -> the question asked in other ways, where it can be.
        groups: column -> values, for figures by subset.
        fields: further columns that a benchmark's own figures need.
        summary: for free text.
        judged: what a judge said of the most likely reply; None: not asked, or no verdict.
    """

    id: str
    answer: str | None
    pictures: str
    greedy: Judged
    sampled: tuple[Judged, ...] = ()
    majority: Majority | None = None
    ways: Mapping[str, Way] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    summary: Summary | None = None
    judged: bool | None = None

    @property
    def complete(self) -> bool:
        """Whether every reply came."""
        ways = [reply for way in self.ways.values() for reply in way.replies]
        return all(one.reply is not None for one in (self.greedy, *self.sampled, *ways))

    def line(self) -> dict[str, Any]:
        """As a line of `replies.jsonl`; NaN stays, see `mmupt.events.jsonable`."""
        return {
            "id": self.id,
            "answer": self.answer,
            **_plain(self.greedy),
            "majority": None if self.majority is None else asdict(self.majority),
            "sampled": [_plain(one) for one in self.sampled],
            "ways": {
                name: {
                    "agreement": way.agreement,
                    "replies": [_plain(one) for one in way.replies[1:]],
                }
                for name, way in self.ways.items()
            },
            "summary": None if self.summary is None else asdict(self.summary),
            "judged": self.judged,
            "pictures": self.pictures,
            "groups": {name: list(values) for name, values in self.groups.items()},
            "fields": dict(self.fields),
        }


def record_of(line: Mapping[str, Any], place: str) -> Record:
    """`Record.line` undone.

    Args:
        line: one object of `replies.jsonl`.
        place: file and line, for the message.

    Raises:
        RunFolderError: not such a line.
    """
    try:
        greedy = _judged(line)
        majority, summary = line["majority"], line["summary"]
        return Record(
            id=line["id"],
            answer=line["answer"],
            pictures=line["pictures"],
            greedy=greedy,
            sampled=tuple(_judged(one) for one in line["sampled"]),
            majority=None if majority is None else Majority(**_numbers(majority, "agreement")),
            ways={
                name: Way(
                    (greedy, *(_judged(one) for one in way["replies"])),
                    _number(way["agreement"]),
                )
                for name, way in line["ways"].items()
            },
            groups={name: tuple(values) for name, values in line["groups"].items()},
            fields=line["fields"],
            summary=None if summary is None else Summary(**_numbers(summary, *summary)),
            judged=line["judged"],
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunFolderError(
            f"{place}: not a line of an evaluation's replies ({type(error).__name__}: {error}); "
            "evaluate again into a new --out"
        ) from error


def _plain(one: Judged) -> dict[str, Any]:
    return {
        "extracted": one.answer,
        "right": one.right,
        "rule": one.rule,
        "reply": one.reply,
        "tokens": one.tokens,
        "truncated": one.truncated,
    }


def _judged(line: Mapping[str, Any]) -> Judged:
    return Judged(
        line["reply"], line["extracted"], line["right"], line["rule"], line["tokens"],
        line["truncated"],
    )  # fmt: skip


def _numbers(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**values, **{name: _number(values[name]) for name in names}}


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
