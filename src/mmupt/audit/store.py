"""Audits and verdicts in a database that many reviewers write into at once.

Verdicts are only ever added. Writers of one audit take turns by counting it up: in PostgreSQL that
locks its row, in SQLite a writing transaction has the file for itself anyway. So a claim sees all
claims and verdicts before it, and verdicts have an order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from mmupt.audit import checks, rows
from mmupt.audit.records import Added, Audit, Item, NewAudit, NewItem, Outline, Verdict
from mmupt.audit.rows import Place
from mmupt.audit.seen import Seen
from mmupt.audit.verdicts import STATES, State, chosen, judges, resolve, standing, wanted
from mmupt.database import now as this_moment
from mmupt.database import open_database, reading, writing
from mmupt.errors import InputError, RefusedError


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an audit is.

    Attributes:
        items: pseudo-labels in the audit.
        states: how many of them are in which state; all states are there.
        verdicts: stored ones, those that were taken back included.
        judged: by reviewer, how many units they have judged.
        claimed: units that somebody is looking at.
        seconds: that all reviewers spent.
    """

    items: int
    states: Mapping[State, int]
    verdicts: int
    judged: Mapping[str, int]
    claimed: int
    seconds: float


class TakenError(RefusedError):
    """An item is somebody else's by now: others hold it, or have judged it, as many as it needs."""


class AuditStore:
    """The audits of one project.

    Args:
        place: path of an SQLite file, or a PostgreSQL URL; several projects may share a database.
        project: id of the project.

    Raises:
        DatabaseError: it cannot be opened.
        InputError: a project id that cannot be used.
    """

    def __init__(self, place: Path | str, project: str) -> None:
        self.project = checks.name(project, "project")
        self._engine = open_database(place, "mmupt.audit")
        self._seen: dict[str, Seen] = {}
        self._idle: Connection | None = None

    def stay(self) -> None:
        """Keep one idle connection for good, as a server does.

        SQLite tidies its journal up whenever the last connection is closed; with one that stays,
        statements take half the time. PostgreSQL does not gain by it.
        """
        if self._engine.dialect.name == "sqlite" and self._idle is None:
            self._idle = self._engine.connect()

    # --- writing ----------------------------------------------------------------------------------

    def create(self, audit: NewAudit, items: Sequence[NewItem]) -> None:
        """Store an audit with its items; once, however often it is asked for.

        Raises:
            RefusedError: there is one of this name over another frame.
            InputError: a value that cannot be used, a unit or a position that is there twice.
        """
        audit = checks.new_audit(audit)
        items = checks.new_items(items)
        with writing(self._engine) as connection:
            if rows.insert_audit(self._place(connection, audit.name), audit, items):
                return
            there = rows.read_audit(self._place(connection, audit.name))
            if there is not None and there.frame != audit.frame:
                raise RefusedError(
                    f"audit {audit.name} of {self.project} is over frame {there.frame}, not over "
                    f"{audit.frame}; another frame needs an audit of another name"
                )

    def add(self, verdict: Verdict) -> bool:
        """Store a verdict, and give back what its reviewer had claimed; safe when it returns.

        Returns:
            False: its key was there already, nothing is added.

        Raises:
            InputError: a value that cannot be used, no such audit or unit.
            RefusedError: its key belongs to another verdict.
        """
        return self.add_all(verdict.audit, [verdict]).added == 1

    def add_all(self, audit: str, verdicts: Sequence[Verdict]) -> Added:
        """Store verdicts on one audit, all of them or none; as `add`."""
        given = [checks.verdict(verdict) for verdict in verdicts]
        with writing(self._engine) as connection:
            place = self._place(connection, audit)
            last = self._turn(place, len(given))
            added = sum(
                _add(place, verdict, turn)
                for turn, verdict in enumerate(given, start=last - len(given) + 1)
            )
        return Added(added, len(given) - added)

    def add_held(
        self, verdict: Verdict, *, reviewers: int, second: float = 0.0, now: str | None = None
    ) -> bool:
        """As `add`, of an item that its reviewer had claimed, and only while it is still theirs.

        A claim that ran out does no harm as long as nobody else has taken the item.

        Raises:
            TakenError: others have; nothing is stored.
        """
        verdict, moment = checks.verdict(verdict), _seconds(now)
        with writing(self._engine) as connection:
            place = self._place(connection, verdict.audit)
            turn = self._turn(place, 1)
            sent_again = rows.has_verdict(place, verdict.key)
            if not sent_again and not self._free(
                place, verdict.unit, verdict.reviewer, reviewers, second, moment
            ):
                raise TakenError(f"{verdict.unit} is another reviewer's by now; nothing was stored")
            return _add(place, verdict, turn)

    def claim(
        self,
        audit: str,
        reviewer: str,
        *,
        reviewers: int,
        lease: float,
        now: str | None = None,
        second: float = 0.0,
        among: Collection[str] | None = None,
    ) -> Item | None:
        """The next item for a reviewer, who has it for a while; None: nothing is left for them.

        In order, the first item that this reviewer has neither judged nor skipped, and that is
        not yet judged or held by as many others as it needs: `reviewers`, and one more while they
        differ. What the reviewer holds already comes first, so that a page may be loaded again.

        Args:
            audit: name of the audit.
            reviewer: who asks.
            reviewers: how many judge each item.
            lease: seconds until a claim that led to no verdict is void.
            now: this moment, as ISO 8601.
            second: share of the items, 0 to 1, that need one reviewer more.
            among: units that are wanted, what the reviewer holds included; None: all.

        Raises:
            InputError: no such audit, or a name that cannot be used.
        """
        reviewer, moment = checks.name(reviewer, "reviewer"), _seconds(now)
        with writing(self._engine) as connection:
            place = self._place(connection, audit)
            self._turn(place, 1)
            rows.delete_claims(place, moment)
            held = rows.read_claims(place, moment)
            seen = self._read_on(place)
            with seen.lock:
                if not seen.units:
                    seen.units = rows.read_units(place)
                unit = _next(seen, audit, reviewer, reviewers, held, second, among)
            if unit is None:
                return None
            rows.write_claim(place, unit, reviewer, moment + lease)
            return rows.read_items(place, unit)[0]

    def hold(
        self, audit: str, unit: str, reviewer: str, *, lease: float, now: str | None = None
    ) -> None:
        """Claim an item whoever has it, such as after its reviewer took a verdict back.

        Raises:
            InputError: no such audit or unit, or a name that cannot be used.
        """
        reviewer, moment = checks.name(reviewer, "reviewer"), _seconds(now)
        with writing(self._engine) as connection:
            place = self._place(connection, audit)
            self._turn(place, 1)
            if rows.read_label(place, unit) is None:
                raise InputError(f"no unit {checks.shown(unit)} in audit {audit}")
            rows.write_claim(place, unit, reviewer, moment + lease)

    def renew(
        self,
        audit: str,
        unit: str,
        reviewer: str,
        *,
        reviewers: int,
        lease: float,
        now: str | None = None,
        second: float = 0.0,
    ) -> bool:
        """Prolong a claim, or claim an item that is free, as `claim`.

        Returns:
            False: it is not theirs, and others hold or have judged it, as many as it needs.

        Raises:
            InputError: no such audit or unit, or a name that cannot be used.
        """  # fmt: skip
        reviewer, moment = checks.name(reviewer, "reviewer"), _seconds(now)
        with writing(self._engine) as connection:
            place = self._place(connection, audit)
            self._turn(place, 1)
            if rows.read_label(place, unit) is None:
                raise InputError(f"no unit {checks.shown(unit)} in audit {audit}")
            if not self._free(place, unit, reviewer, reviewers, second, moment):
                return False
            rows.write_claim(place, unit, reviewer, moment + lease)
            return True

    def release(self, audit: str, unit: str, reviewer: str) -> None:
        """Give a claimed item back; nothing happens where it is not claimed."""
        with writing(self._engine) as connection:
            rows.delete_claim(
                self._place(connection, audit), unit, checks.name(reviewer, "reviewer")
            )

    # --- reading ----------------------------------------------------------------------------------

    def audits(self) -> tuple[Audit, ...]:
        """All audits of the project, oldest first."""
        with reading(self._engine) as connection:
            names = rows.read_names(connection, self.project)
            return tuple(self._audit(connection, name) for name in names)

    def names(self) -> tuple[str, ...]:
        """Names of all audits of the project, oldest first."""
        with reading(self._engine) as connection:
            return rows.read_names(connection, self.project)

    def audit(self, name: str) -> Audit:
        """One audit.

        Raises:
            InputError: there is none of this name; names those that are.
        """
        with reading(self._engine) as connection:
            return self._audit(connection, name)

    def items(self, name: str) -> tuple[Item, ...]:
        """The items of an audit in the order in which people judge them."""
        with reading(self._engine) as connection:
            self._known(connection, name)
            return rows.read_items(self._place(connection, name))

    def verdicts(self, name: str) -> tuple[Verdict, ...]:
        """The verdicts on an audit in the order in which they were stored."""
        with reading(self._engine) as connection:
            self._known(connection, name)
            return rows.read_verdicts(self._place(connection, name))

    def item(self, name: str, position: int) -> Item | None:
        """The item at a place in the order of an audit; None: there is none."""
        with reading(self._engine) as connection:
            return rows.read_item(self._place(connection, name), position)

    def outline(self, name: str) -> tuple[Outline, ...]:
        """The items of an audit in their order, without what a page shows of them."""
        with reading(self._engine) as connection:
            return tuple(rows.read_outline(self._place(connection, name)))

    def seen(self, name: str, *, fresh: bool = True) -> Seen:
        """The verdicts on an audit, kept between calls; hold its lock to read it.

        Args:
            name: of the audit.
            fresh: up to now; else what is known, such as just after a claim, which reads on too.
        """
        if not fresh and name in self._seen:
            return self._seen[name]
        with reading(self._engine) as connection:
            return self._read_on(self._place(connection, name))

    def progress(
        self, name: str, *, reviewers: int = 1, second: float = 0.0, now: str | None = None
    ) -> Progress:
        """How far an audit is, where `reviewers` judge each item and one more a share of them."""
        with reading(self._engine) as connection:
            items = self._audit(connection, name).items
            place = self._place(connection, name)
            verdicts = rows.read_verdicts(place)
            claimed = len(rows.read_claims(place, _seconds(now)))
        found = Counter(one.state for one in resolve(verdicts, reviewers, second).values())
        states: dict[State, int] = {state: found[state] for state in STATES}
        states["open"] = items - sum(found[state] for state in STATES if state != "open")
        judged = Counter(
            who for by in standing(verdicts).values() for who, one in by.items() if judges(one)
        )
        return Progress(
            items=items,
            states=states,
            verdicts=len(verdicts),
            judged=dict(sorted(judged.items())),
            claimed=claimed,
            seconds=math.fsum(verdict.seconds for verdict in verdicts),
        )

    # --- within a transaction ---------------------------------------------------------------------

    def _place(self, connection: Connection, audit: str) -> Place:
        return Place(connection, self.project, audit)

    def _audit(self, connection: Connection, name: str) -> Audit:
        found = rows.read_audit(self._place(connection, name))
        if found is None:
            raise self._missing(connection, name)
        return found

    def _known(self, connection: Connection, name: str) -> None:
        if name not in rows.read_names(connection, self.project):
            raise self._missing(connection, name)

    def _missing(self, connection: Connection, name: str) -> InputError:
        there = ", ".join(rows.read_names(connection, self.project)[-10:]) or "none yet"
        return InputError(f"no audit {checks.shown(name)} in {self.project}; there is: {there}")

    def _read_on(self, place: Place) -> Seen:
        seen = self._seen.setdefault(place.audit, Seen())
        with seen.lock:
            if rows.read_turn(place) < seen.turn:
                seen.forget()
            seen.take(rows.read_verdicts_after(place, seen.turn))
        return seen

    def _free(
        self, place: Place, unit: str, reviewer: str, reviewers: int, second: float, moment: float
    ) -> bool:
        """Whether an item is held by a reviewer, or could be."""
        holding = rows.read_claims(place, moment).get(unit, set())
        if reviewer in holding:
            return True
        seen = self._read_on(place)
        with seen.lock:
            return _wants(seen, place.audit, unit, reviewer, reviewers, second, holding)

    def _turn(self, place: Place, steps: int) -> int:
        last = rows.take_turns(place, steps)
        if last is None:
            raise self._missing(place.connection, place.audit)
        return last


def _add(place: Place, verdict: Verdict, turn: int) -> bool:
    if verdict.audit != place.audit:
        raise InputError(f"verdict {verdict.key} is on {verdict.audit}, not on {place.audit}")
    label = rows.read_label(place, verdict.unit)
    if label is None:
        raise InputError(f"no unit {checks.shown(verdict.unit)} in audit {place.audit}")
    checks.contradiction(verdict, label)
    if not rows.insert_verdict(place, verdict, turn):
        there = rows.read_verdict(place, verdict.key)
        if _said(there) != _said(verdict):
            raise RefusedError(
                f"verdict {verdict.key} is stored as {there.kind} by {there.reviewer} on "
                f"{there.unit}, not as {verdict.kind} by {verdict.reviewer} on {verdict.unit}; "
                "a new verdict needs a new key"
            )
        return False
    rows.delete_claim(place, verdict.unit, verdict.reviewer)
    return True


def _said(verdict: Verdict) -> tuple[str | None, ...]:
    """What must be the same in a request that is repeated; its clock may have gone on."""
    return (
        verdict.audit,
        verdict.unit,
        verdict.reviewer,
        verdict.kind,
        verdict.answer,
        verdict.comment,
    )


def _next(
    seen: Seen, audit: str, reviewer: str, reviewers: int, held: Mapping[str, set[str]],
    second: float, among: Collection[str] | None,
) -> str | None:  # fmt: skip
    def wants(unit: str) -> bool:
        if reviewer in seen.of(unit) or (among is not None and unit not in among):
            return False
        return _wants(seen, audit, unit, reviewer, reviewers, second, held.get(unit, set()))

    mine = {unit for unit, who in held.items() if reviewer in who}
    own = (unit for unit in seen.units if unit in mine) if mine else ()
    return next(filter(wants, own), None) or next(filter(wants, seen.units), None)


def _wants(
    seen: Seen, audit: str, unit: str, reviewer: str, reviewers: int, second: float,
    holding: Collection[str],
) -> bool:  # fmt: skip
    """Whether an item needs a verdict of this reviewer beside those of the others."""
    by = seen.of(unit)
    others = {who for who, one in by.items() if judges(one)} | set(holding)
    asked = reviewers + chosen(audit, unit, second)
    return len(others - {reviewer}) < wanted(by, asked)


def _seconds(now: str | None) -> float:
    """Since 1970."""
    return datetime.fromisoformat(checks.moment(now or this_moment(), "now")).timestamp()
