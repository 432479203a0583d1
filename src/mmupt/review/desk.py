"""What a reviewer sees: the next sample, one sample with its votes, and what lies around it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from mmupt.audit.records import Item, Outline, Verdict
from mmupt.audit.store import AuditStore
from mmupt.audit.verdicts import State, chosen, judges, state_of
from mmupt.config import Config
from mmupt.errors import InputError
from mmupt.report.text import clean, clean_lines
from mmupt.review.figures import Board
from mmupt.review.pictures import Pictures

LEASE = 600.0
"""Seconds for which a sample is a reviewer's own; an open page renews it."""

RENEWALS = 5
"""In the time of a lease."""

DISPUTED = "disputed"
"""The queue of samples on which reviewers differ."""

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
        queue: `DISPUTED`: those on which reviewers differ.
    """

    stratum: str = ""
    rule: str = ""
    group: str = ""
    queue: str = ""

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
        given = {**self.chosen, "queue": self.queue}
        return {key: value for key, value in given.items() if value}

    @property
    def chosen(self) -> dict[str, str]:
        """What was chosen among the samples' marks."""
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
class Dispute:
    """A sample on which reviewers differ, as one reviewer may see it.

    Attributes:
        position, unit, label: of the item.
        mine: the reviewer's standing verdict; None: they have not judged, and may settle it.
        others: those of the others; empty while they are hidden.
    """

    position: int
    unit: str
    label: str
    mine: Verdict | None
    others: tuple[Verdict, ...]


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
        agreement: of pairs of votes from different views of the pictures, the share that are the
            same answer; NaN where the audit does not know it.
        hidden: whether the votes wait for the reviewer's own verdict.
        mine: the reviewer's standing verdict.
        others: those of the others; none while the reviewer has not judged.
        state: what the verdicts amount to; ``open`` while the reviewer may not know.
        disputed: whether reviewers differ, so that one more is asked; everybody may know that.
        held: whether the sample is the reviewer's to judge; if not, a verdict is one more.
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
    state: State
    disputed: bool
    held: bool
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
        lease: seconds for which a sample is a reviewer's own.
    """

    def __init__(
        self, store: AuditStore, config: Config, pictures: Pictures, *, blind: bool = True,
        lease: float = LEASE,
    ) -> None:  # fmt: skip
        self.store, self.config, self.pictures = store, config, pictures
        self.blind, self.lease = blind, lease
        self.reviewers, self.second = config.audit.reviewers, config.audit.second_review
        self.board = Board(store, config)
        self._names: tuple[str, ...] = ()
        self._outlines: dict[str, dict[str, Outline]] = {}
        self._disputed: dict[str, tuple[int, tuple[str, ...]]] = {}
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
        among = self.units(audit, replace(wanted, queue="")) if wanted.chosen else None
        if wanted.queue:
            disputed = frozenset(self.disputed(audit))
            among = disputed if among is None else among & disputed
            if not among:
                return None
        return self.store.claim(
            audit, reviewer, reviewers=self.reviewers, lease=self.lease, second=self.second,
            among=among,
        )  # fmt: skip

    def keep(self, audit: str, unit: str, reviewer: str) -> bool:
        """Renew a claim, or claim a sample that was asked for; False: others have it."""
        return self.store.renew(
            audit, unit, reviewer, reviewers=self.reviewers, lease=self.lease, second=self.second
        )

    def add(self, verdict: Verdict, *, claimed: bool) -> bool:
        """Store a verdict; one on a sample that was claimed only while it is the reviewer's.

        Raises:
            TakenError: it is another's by now.
        """
        if claimed and verdict.kind != "undo":
            return self.store.add_held(verdict, reviewers=self.reviewers, second=self.second)
        added = self.store.add(verdict)
        if verdict.kind == "undo":
            self.store.hold(verdict.audit, verdict.unit, verdict.reviewer, lease=self.lease)
        return added

    def needs(self, audit: str, unit: str) -> int:
        """How many reviewers a sample needs before they differ."""
        return self.reviewers + chosen(audit, unit, self.second)

    def disputed(self, audit: str, *, fresh: bool = True) -> tuple[str, ...]:
        """Units on which reviewers differ, in the order of the queue; `fresh` as in `view`."""
        seen = self.store.seen(audit, fresh=fresh)
        with seen.lock:
            turn, known = self._disputed.get(audit, (-1, ()))
            if turn == seen.turn:
                return known
            turn = seen.turn
            found = [
                unit
                for unit in seen.differing
                if state_of(seen.of(unit), self.needs(audit, unit)) == "disputed"
            ]
        known = tuple(sorted(found, key=lambda unit: self.place(audit, unit)))
        self._disputed[audit] = turn, known
        return known

    def disputes(self, audit: str, reviewer: str) -> list[Dispute]:
        """The samples on which reviewers differ, as one of them may see them."""
        found = []
        units = self.disputed(audit)
        seen = self.store.seen(audit, fresh=False)
        for unit in units:
            with seen.lock:
                by = dict(seen.of(unit))
            mine = by.pop(reviewer, None)
            shown = not self.blind or (mine is not None and judges(mine))
            one = self._outline(audit, unit)
            others = tuple(by[who] for who in sorted(by)) if shown else ()
            label = clean(one.pseudo_label, ANSWER)
            found.append(Dispute(one.position, unit, label, mine, others))
        return found

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

    def view(
        self, item: Item, reviewer: str, wanted: Filter, *, held: bool = False, fresh: bool = True
    ) -> View:
        """A sample as a reviewer may see it.

        Args:
            item: the sample.
            reviewer: who looks.
            wanted: what they go through.
            held: whether it has just been claimed for them; if not, and it is free, it is now.
            fresh: as in `AuditStore.seen`.
        """
        shown = _shown(item)
        seen = self.store.seen(item.audit, fresh=fresh)
        with seen.lock:
            by = dict(seen.of(item.unit))
            judged = seen.history.get(reviewer, {})
            before, after = _around(judged, item.unit)
            last = next(reversed(judged), None)
        mine = by.pop(reviewer, None)
        told = mine is not None and judges(mine)
        hidden = self.blind and not told
        state = state_of(
            by if mine is None else {**by, reviewer: mine}, self.needs(item.audit, item.unit)
        )
        if not told and not held:
            held = self.keep(item.audit, item.unit, reviewer)
        previous = self._at(item.audit, before, wanted) if before else ""
        following = (
            self._at(item.audit, after, wanted)
            if after
            else address("/", audit=item.audit, **wanted.query)
        )
        if wanted.queue:
            previous, following = self._around_dispute(item, reviewer, wanted)
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
            others=() if hidden else tuple(by[who] for who in sorted(by)),
            state="open" if hidden else state,
            disputed=state == "disputed",
            held=held,
            previous=previous,
            following=following,
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

    def _around_dispute(self, item: Item, reviewer: str, wanted: Filter) -> tuple[str, str]:
        """The samples before and after one in the queue of disagreements.

        Those that the reviewer has judged are to be talked over, and can be opened; one that they
        have not judged is claimed, as long as nobody else has it.
        """
        units = self.disputed(item.audit, fresh=False)
        places = {unit: self.place(item.audit, unit) for unit in units}
        seen = self.store.seen(item.audit, fresh=False)
        with seen.lock:
            spoken = {unit for unit in units if reviewer in seen.of(unit)}
        before = [unit for unit in units if places[unit] < item.position and unit in spoken]
        after = [unit for unit in units if places[unit] > item.position]
        following = address("/", audit=item.audit, **wanted.query)
        if after and after[0] in spoken:
            following = self._at(item.audit, after[0], wanted)
        return self._at(item.audit, before[-1], wanted) if before else "", following

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
            wins=str(row.get("answer", "")) == label or row.get("wins") is True,
        )
        for row, count in zip(rows, counts, strict=True)
    ]
    return tuple(votes[:MAX_ANSWERS]), sum(counts)
