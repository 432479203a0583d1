"""The nouns of an audit: what is judged, and what people said. `checks` says what they may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["accept", "reject", "correct", "unsure", "skip", "undo"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class NewAudit:
    """A round's pseudo-labels before people.

    Attributes:
        name: of the round, such as ``round-1``; unique in the project.
        subject: digest of the model version that it is about.
        frame: SHA-256 of the frame, all pseudo-labels that could have been drawn.
        plan: JSON text of the plan that drew them.
        created: UTC, ISO 8601.
    """

    name: str
    subject: str
    frame: str
    plan: str
    created: str


@dataclass(frozen=True, slots=True)
class Audit(NewAudit):
    """An audit as it is stored.

    Attributes:
        items: how many pseudo-labels people are asked about.
    """

    items: int


@dataclass(frozen=True, slots=True)
class NewItem:
    """One pseudo-label that people are asked about.

    Attributes:
        position: place in the order in which people judge, from 0.
        unit: id of the pseudo-label, unique in the audit.
        sample_id: id of the sample that it labels.
        pseudo_label: the label.
        share: its share of the votes, 0 to 1.
        stratum: the stratum it was drawn from.
        probability: with which it was drawn, above 0, at most 1.
        slices: value by column of the data, of the columns whose groups are looked at.
        rules: names of the rules that its rollouts hit.
        payload: JSON text of what a review page shows: an object with ``problem``, ``images``
            (list of paths), ``answers`` (list of ``{"answer", "count", "completion"}``) and
            ``agreement`` (of pairs of votes from different views, 0 to 1, where it is known).
    """

    position: int
    unit: str
    sample_id: str
    pseudo_label: str
    share: float
    stratum: str
    probability: float
    slices: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    payload: str = "{}"


@dataclass(frozen=True, slots=True)
class Item(NewItem):
    """An item as it is stored.

    Attributes:
        audit: name of its audit.
    """

    audit: str = ""


@dataclass(frozen=True, slots=True)
class Outline:
    """What lists and filters need of an item; 100,000 of them fit into memory.

    Attributes:
        position, unit, pseudo_label, share, stratum, slices, rules: of the item.
    """

    position: int
    unit: str
    pseudo_label: str
    share: float
    stratum: str
    slices: Mapping[str, str]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one reviewer said of one pseudo-label. Verdicts are added, never changed.

    Attributes:
        key: a UUID made by whoever asks for it to be stored: a repeated request adds nothing.
        audit: name of the audit.
        unit: the item.
        reviewer: who says it.
        kind: ``correct`` rejects with the right answer; ``skip`` leaves it to others; ``undo``
            takes back the reviewer's last verdict on this unit that still stands.
        answer: the right answer, for ``correct`` alone.
        comment: free text.
        seconds: that the reviewer spent on it.
        time: UTC, ISO 8601; empty: when it is stored.
    """

    key: str
    audit: str
    unit: str
    reviewer: str
    kind: Kind
    answer: str | None = None
    comment: str = ""
    seconds: float = 0.0
    time: str = ""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of verdicts that were handed in.

    Attributes:
        added: new ones.
        already: those whose key was there.
    """

    added: int
    already: int
