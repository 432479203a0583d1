"""What every stage used up, as entries that are only ever added.

An entry is known by its key: booked again it changes nothing, so that a stage which is killed
between its end and its booking simply books again. What grows is booked bit by bit under keys of
its own, as review time is: one entry a verdict (`review_entries`). Totals are sums, and what
nothing was booked of is absent from them, not 0.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

from sqlalchemy import Connection, text

from mmupt.database import now, open_database, reading, writing
from mmupt.errors import InputError, RefusedError

Kind = Literal[
    "compute_seconds", "tokens", "energy_joules", "review_seconds", "labels", "audited_labels"
]
KINDS: tuple[Kind, ...] = get_args(Kind)

JUDGING = ("accept", "reject", "correct", "unsure")
"""Verdicts after which a person has looked at a pseudo-label."""

_STAGE = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
_LONGEST_STAGE, _LONGEST_KEY, _LONGEST_HOW = 100, 500, 200
_LARGEST = 1e15
"""Above it a quantity is a mistake (30 million years of seconds), and sums lose whole units."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One quantity that a stage used up.

    Attributes:
        key: unique in the project: stage, identity of what was done, and kind; see `entry`.
        stage: such as ``sft``, ``pilot``, ``round-1/train``, ``round-1/audit``.
        kind: what was used up. ``compute_seconds`` are seconds of the machine, however many
            processes shared it; ``labels`` were given to training, ``audited_labels`` are
            pseudo-labels that people looked at.
        quantity: how much, in the unit that the kind names; tokens and labels are counted.
        how: where the figure comes from, such as ``measured`` or ``estimated: 65 W x 620.0 s``.
        time: UTC, ISO 8601; empty: when it is booked.
    """

    key: str
    stage: str
    kind: Kind
    quantity: float
    how: str = "measured"
    time: str = ""


class Total(NamedTuple):
    """All that a stage used up of one kind.

    Attributes:
        quantity: sum over the entries.
        how: where the figures come from, each once.
    """

    quantity: float
    how: tuple[str, ...] = ("measured",)


Totals = Mapping[str, Mapping[Kind, Total]]
"""By stage and kind; a kind that nothing was booked of is not there."""


class Reviewed(Protocol):
    """What the ledger reads of a verdict."""

    @property
    def key(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def time(self) -> str: ...


def entry(
    stage: str, identity: str, kind: Kind, quantity: float, how: str = "measured", time: str = ""
) -> Entry:
    """An entry whose key is made of stage, identity and kind.

    Args:
        identity: of what was done, such as the hash that a finished stage is known by.
    """
    return Entry(f"{stage}|{kind}|{identity}", stage, kind, quantity, how, time)


def review_entries(stage: str, verdicts: Iterable[Reviewed]) -> tuple[Entry, ...]:
    """Review time by verdict, and every pseudo-label that people judged once.

    Book all of them after each verdict or once in a while: what is booked already stays. Time
    that led to nothing (skipped, taken back) was spent too; a label that somebody judged counts
    as audited also where the verdict was taken back.
    """
    seconds, audited = [], dict[str, Entry]()
    for one in verdicts:
        seconds.append(
            entry(stage, one.key, "review_seconds", one.seconds, "told by the reviewer", one.time)
        )
        if one.kind in JUDGING and one.unit not in audited:
            audited[one.unit] = entry(stage, one.unit, "audited_labels", 1.0, "counted", one.time)
    return (*seconds, *audited.values())


class Ledger:
    """The entries of a project.

    Args:
        place: the project's database, `project.db` in its folder, or a PostgreSQL URL.

    Raises:
        DatabaseError: it cannot be opened.
    """

    def __init__(self, place: Path | str) -> None:
        self._engine = open_database(place, "mmupt.ledger")

    def close(self) -> None:
        """Let the database go; a closed ledger opens it again when it is asked."""
        self._engine.dispose()

    def book(self, one: Entry) -> bool:
        """Add an entry; safe when it returns.

        Returns:
            False: it was there already, and what was booked first stays.

        Raises:
            InputError: a value that cannot be booked.
            RefusedError: its key belongs to another figure.
        """
        return self.book_all([one]) == 1

    def book_all(self, several: Iterable[Entry]) -> int:
        """Add entries, all of them or none; as `book`. Returns how many were new."""
        checked = [_checked(one) for one in several]
        with writing(self._engine) as connection:
            return sum(_insert(connection, one) for one in checked)

    def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first; those of one moment by key."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                text(
                    "SELECT entry_key, stage, kind, quantity, how, time FROM mmupt_ledger "
                    "ORDER BY time, entry_key"
                )
            )
            return tuple(Entry(*row) for row in rows)

    def totals(self) -> Totals:
        """Sums by stage, in the order in which stages were first booked, and by kind."""
        return totals_of(self.entries())


def totals_of(entries: Iterable[Entry]) -> Totals:
    """Sums by stage and kind; they do not depend on the order of the entries of a stage."""
    found: dict[str, dict[Kind, list[Entry]]] = {}
    for one in entries:
        found.setdefault(one.stage, defaultdict(list))[one.kind].append(one)
    return {
        stage: {
            kind: Total(
                math.fsum(one.quantity for one in kinds[kind]),
                tuple(sorted({one.how for one in kinds[kind]})),
            )
            for kind in KINDS
            if kind in kinds
        }
        for stage, kinds in found.items()
    }


def _insert(connection: Connection, one: Entry) -> bool:
    values = {
        "key": one.key, "stage": one.stage, "kind": one.kind, "quantity": one.quantity,
        "how": one.how, "time": one.time,
    }  # fmt: skip
    done = connection.execute(
        text(
            "INSERT INTO mmupt_ledger (entry_key, stage, kind, quantity, how, time) VALUES "
            "(:key, :stage, :kind, :quantity, :how, :time) ON CONFLICT (entry_key) DO NOTHING"
        ),
        values,
    )
    if done.rowcount == 1:
        return True
    there = connection.execute(
        text("SELECT stage, kind, quantity FROM mmupt_ledger WHERE entry_key = :key"), values
    ).one()
    if tuple(there) != (one.stage, one.kind, one.quantity):
        raise RefusedError(
            f"ledger entry {one.key} is booked as {there.quantity:g} {there.kind} of "
            f"{there.stage}, not as {one.quantity:g} {one.kind} of {one.stage}; entries do not "
            "change: what was used up besides needs a key of its own"
        )
    return False


def _checked(one: Entry) -> Entry:
    if len(one.stage) > _LONGEST_STAGE or _STAGE.fullmatch(one.stage) is None:
        raise InputError(
            f"ledger: stage {one.stage[:60]!r}: expected lower-case letters, digits, '.', '_' and "
            f"'-' in parts separated by '/', at most {_LONGEST_STAGE} characters"
        )
    if one.kind not in KINDS:
        raise InputError(f"ledger: kind {one.kind[:60]!r}: expected one of {', '.join(KINDS)}")
    if not (math.isfinite(one.quantity) and 0 <= one.quantity <= _LARGEST):
        raise InputError(
            f"ledger: {one.quantity!r} {one.kind} of {one.stage}: expected a number from 0 to "
            f"{_LARGEST:g}; what is not known is not booked"
        )
    for name, value, most in (("key", one.key, _LONGEST_KEY), ("how", one.how, _LONGEST_HOW)):
        if not 0 < len(value) <= most or not value.isprintable():
            raise InputError(
                f"ledger: {name} {value[:60]!r} of {one.stage}: expected 1 to {most} printable "
                "characters"
            )
    return replace(one, quantity=float(one.quantity), time=one.time or now())
