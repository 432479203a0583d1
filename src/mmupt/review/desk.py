"""What a reviewer sees: the next sample, one sample with its votes, and what lies around it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from mmupt.audit.records import Item, Outline, Verdict
from mmupt.audit.store import AuditStore
from mmupt.config import Config
from mmupt.errors import InputError
from mmupt.report.text import clean, clean_lines
from mmupt.review.figures import Board
from mmupt.review.pictures import Pictures

LEASE = 600.0
"""Seconds for which a sample is a reviewer's own."""

MAX_ANSWERS = 12
"""Distinct answers that are shown."""

QUESTION, ANSWER, COMPLETION = 4000, 300, 4000
"""Characters that are shown of each."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which samples a reviewer wants; empty: all.

    Attributes:
        stratum: name of a stratum.
        rule: name of a rule that was hit.
        group: column and group of a slice, as ``column=group``.
    """

    stratum: str = ""
    rule: str = ""
    group: str = ""

    def fits(self, one: Outline) -> bool:
        column, _, value = self.group.partition("=")
        return (
            (not self.stratum or one.stratum == self.stratum)
            and (not self.rule or self.rule in one.rules)
            and (not self.group or one.slices.get(column) == value)
        )

    @property
    def query(self) -> dict[str, str]:
        """As parameters of an address."""
        given = {"stratum": self.stratum, "rule": self.rule, "group": self.group}
        return {key: value for key, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class Vote:
    """One distinct answer: how many said it, one completion that did, and whether it won."""

    answer: str
    count: int
    share: float
    completion: str
    wins: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a sample: its address, or why it cannot be shown."""

    address: str
    problem: str


@dataclass(frozen=True, slots=True)
class View:
    """A sample as one reviewer may see it.

    Attributes:
        position, unit, sample_id, label, share, stratum, rules: of the item.
        slices: its groups by column.
        question: without picture marks.
        pictures: in their order.
        votes: distinct answers, the most frequent first; empty while they are hidden.
        total: votes in all.
        agreement: share of the model's answers to views of the picture that are the label; NaN
            where the audit does not know it.
        hidden: whether the votes wait for the reviewer's own verdict.
        mine: the reviewer's standing verdict.
        others: those of the others; none while the reviewer has not judged.
        previous, following: addresses of the samples judged before and after it; following is
            the next one of the queue after the last.
        undo: position and unit of the sample that undo takes back; None: nothing to take back.
    """

    position: int
    unit: str
    sample_id: str
    label: str
    share: float
    stratum: str
    rules: tuple[str, ...]
    slices: Mapping[str, str]
    question: str
    pictures: tuple[Picture, ...]
    votes: tuple[Vote, ...]
    total: int
    agreement: float
    hidden: bool
    mine: Verdict | None
    others: tuple[Verdict, ...]
    previous: str
    following: str
    undo: tuple[int, str] | None


class Desk:
    """The audits of one project, for its reviewers.

    Args:
        store: has the audits.
        config: of the project.
        pictures: of the project.
        blind: votes are shown only after the reviewer's own verdict.
        second: share of the samples that one reviewer more judges.
    """

    def __init__(
        self, store: AuditStore, config: Config, pictures: Pictures, *, blind: bool = True,
        second: float = 0.0,
    ) -> None:  # fmt: skip
        self.store, self.config, self.pictures = store, config, pictures
        self.blind, self.second = blind, second
        self.board = Board(store, config)
        self._names: tuple[str, ...] = ()
        self._outlines: dict[str, dict[str, Outline]] = {}
        self.units = lru_cache(maxsize=16)(self._units)

    def names(self) -> tuple[str, ...]:
        """The audits, oldest first."""
        self._names = self.store.names()
        return self._names

    def has(self, audit: str) -> bool:
        """Whether there is such an audit; they do not go away."""
        return audit in self._names or audit in self.names()

    def claim(self, audit: str, reviewer: str, wanted: Filter) -> Item | None:
        """The next sample for a reviewer; None: nothing is left for them."""
        among = self.units(audit, wanted) if wanted.query else None
        return self.store.claim(
            audit, reviewer, reviewers=self.config.audit.reviewers, lease=LEASE,
            second=self.second, among=among,
        )  # fmt: skip

    def item(self, audit: str, position: int) -> Item:
        """A sample by its place.

        Raises:
            InputError: there is none.
        """
        found = self.store.item(audit, position) if 0 <= position < 2**31 else None
        if found is None:
            raise InputError(f"no sample {position} in this audit")
        return found

    def image(self, audit: str, position: int, number: int) -> tuple[bytes, str]:
        """A picture of a sample, and its content type.

        Raises:
            InputError, RefusedError: as `Pictures.encoded`.
            LookupError: no such sample or picture.
        """
        item = self.store.item(audit, position) if 0 <= position < 2**31 else None
        if item is None:
            raise LookupError(f"no sample {position}")
        paths = _images(_shown(item))
        if not 0 <= number < len(paths):
            raise LookupError(f"no picture {number}")
        return self.pictures.encoded(paths[number])

    def place(self, audit: str, unit: str) -> int:
        """Where a unit is in the order."""
        return self._outline(audit, unit).position

    def view(self, item: Item, reviewer: str, wanted: Filter, *, fresh: bool = True) -> View:
        """A sample as a reviewer may see it; `fresh` as in `AuditStore.seen`."""
        shown = _shown(item)
        seen = self.store.seen(item.audit, fresh=fresh)
        with seen.lock:
            by = dict(seen.of(item.unit))
            judged = seen.history.get(reviewer, {})
            before, after = _around(judged, item.unit)
            last = next(reversed(judged), None)
        mine = by.pop(reviewer, None)
        hidden = self.blind and (mine is None or mine.kind == "skip")
        votes, total = _votes(shown, item.pseudo_label)
        undo = item.unit if mine is not None else last
        return View(
            position=item.position,
            unit=item.unit,
            sample_id=item.sample_id,
            label=clean(item.pseudo_label, ANSWER),
            share=item.share,
            stratum=item.stratum,
            rules=item.rules,
            slices=item.slices,
            question=_question(shown),
            pictures=tuple(
                Picture(
                    address(
                        "/image", audit=item.audit, item=str(item.position), picture=str(number)
                    ),
                    self.pictures.check(path),
                )
                for number, path in enumerate(_images(shown))
            ),
            votes=() if hidden else votes,
            total=total,
            agreement=_agreement(shown),
            hidden=hidden,
            mine=mine,
            others=() if mine is None else tuple(by[who] for who in sorted(by)),
            previous=self._at(item.audit, before, wanted) if before else "",
            following=self._at(item.audit, after, wanted)
            if after
            else address("/", audit=item.audit, **wanted.query),
            undo=None if undo is None else (self.place(item.audit, undo), undo),
        )

    def skipped(self, audit: str, reviewer: str) -> tuple[int, ...]:
        """Places of the samples that a reviewer has skipped."""
        seen = self.store.seen(audit)
        with seen.lock:
            units = [
                unit
                for unit in seen.history.get(reviewer, {})
                if seen.by_unit[unit][reviewer].kind == "skip"
            ]
        return tuple(sorted(self.place(audit, unit) for unit in units))

    def latest(self, audit: str, reviewer: str, count: int) -> list[tuple[Outline, Verdict]]:
        """A reviewer's last verdicts with what they are on, the last one first."""
        seen = self.store.seen(audit)
        with seen.lock:
            units = list(seen.history.get(reviewer, {}))[-count:][::-1]
            found = [seen.by_unit[unit][reviewer] for unit in units]
        return [(self._outline(audit, one.unit), one) for one in found]

    def choices(self, audit: str) -> dict[str, list[str]]:
        """What one can filter by."""
        outline = self.board.outline(audit)
        return {
            "stratum": sorted({one.stratum for one in outline}),
            "rule": sorted({rule for one in outline for rule in one.rules}),
            "group": sorted({f"{k}={v}" for one in outline for k, v in one.slices.items() if v}),
        }

    def _outline(self, audit: str, unit: str) -> Outline:
        if audit not in self._outlines:
            self._outlines[audit] = {one.unit: one for one in self.board.outline(audit)}
        return self._outlines[audit][unit]

    def _units(self, audit: str, wanted: Filter) -> frozenset[str]:
        return frozenset(one.unit for one in self.board.outline(audit) if wanted.fits(one))

    def _at(self, audit: str, unit: str, wanted: Filter) -> str:
        return address("/item", audit=audit, item=str(self.place(audit, unit)), **wanted.query)


def address(path: str, **values: str) -> str:
    """An address on this server."""
    return f"{path}?{urlencode(values)}" if values else path


def _around(judged: Mapping[str, None], unit: str) -> tuple[str | None, str | None]:
    """The units judged just before and just after one; before a new one comes the last."""
    if unit not in judged:
        return next(reversed(dict.fromkeys(judged)), None) if judged else None, None
    units = list(judged)
    at = units.index(unit)
    return units[at - 1] if at else None, units[at + 1] if at + 1 < len(units) else None


def _shown(item: Item) -> dict[str, Any]:
    """The payload; whatever is not as expected is left out, not trusted."""
    tree = json.loads(item.payload)
    return tree if isinstance(tree, dict) else {}


def _agreement(shown: Mapping[str, Any]) -> float:
    value = shown.get("agreement")
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else math.nan


def _question(shown: Mapping[str, Any]) -> str:
    text = str(shown.get("problem", "")).replace("<image>", " ")
    return clean_lines(text, QUESTION).strip()


def _images(shown: Mapping[str, Any]) -> list[str]:
    images = shown.get("images")
    return [str(path) for path in images] if isinstance(images, list) else []


def _votes(shown: Mapping[str, Any], label: str) -> tuple[tuple[Vote, ...], int]:
    answers = shown.get("answers")
    rows = [row for row in answers if isinstance(row, dict)] if isinstance(answers, list) else []
    counts = [row["count"] if isinstance(row.get("count"), int) else 0 for row in rows]
    total = max(1, sum(counts))
    votes = [
        Vote(
            answer=clean(str(row.get("answer", "")), ANSWER),
            count=count,
            share=count / total,
            completion=clean_lines(str(row.get("completion") or ""), COMPLETION),
            wins=str(row.get("answer", "")) == label,
        )
        for row, count in zip(rows, counts, strict=True)
    ]
    return tuple(votes[:MAX_ANSWERS]), sum(counts)
