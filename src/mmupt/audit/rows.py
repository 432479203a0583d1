"""The tables of the audits, one statement a function; each runs in its caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, text

from mmupt.audit.records import Audit, Item, NewAudit, NewItem, Outline, Verdict
from mmupt.database import now


@dataclass(frozen=True, slots=True)
class Place:
    """Which audit of which project, in an open transaction.

    Attributes:
        connection: the transaction.
        project: id of the project.
        audit: name of the audit; it need not be there.
    """

    connection: Connection
    project: str
    audit: str

    def run(self, statement: str, **values: object) -> Any:
        """Run a statement that may name `:project`, `:audit` and further values."""
        return self.connection.execute(
            text(statement), {"project": self.project, "audit": self.audit, **values}
        )


def take_turns(place: Place, steps: int) -> int | None:
    """Wait until no other writer is in the audit, and take so many numbers.

    Returns:
        The last of the numbers; None: there is no such audit.
    """
    done = place.run(
        "UPDATE mmupt_audits SET turn = turn + :steps WHERE project = :project AND name = :audit",
        steps=steps,
    )
    if done.rowcount != 1:
        return None
    return int(
        place.run(
            "SELECT turn FROM mmupt_audits WHERE project = :project AND name = :audit"
        ).scalar_one()
    )


def insert_audit(place: Place, audit: NewAudit, items: Sequence[NewItem]) -> bool:
    """False: there is an audit of this name, nothing is inserted."""
    done = place.run(
        "INSERT INTO mmupt_audits (project, name, subject, frame, created, items, turn) VALUES "
        "(:project, :audit, :subject, :frame, :created, :items, 0) ON CONFLICT DO NOTHING",
        items=len(items),
        subject=audit.subject,
        frame=audit.frame,
        created=audit.created,
    )
    if done.rowcount == 0:
        return False
    place.run("INSERT INTO mmupt_audit_plans VALUES (:project, :audit, :plan)", plan=audit.plan)
    if items:
        place.connection.execute(
            text(
                "INSERT INTO mmupt_audit_items VALUES (:project, :audit, :unit, :position, "
                ":sample_id, :pseudo_label, :share, :stratum, :probability, :slices, :rules, "
                ":payload)"
            ),
            [{"project": place.project, "audit": place.audit, **_item(item)} for item in items],
        )
    return True


def read_names(connection: Connection, project: str) -> tuple[str, ...]:
    """Names of all audits of a project, oldest first; a plan may be long, so without them."""
    rows = Place(connection, project, "").run(
        "SELECT name FROM mmupt_audits WHERE project = :project ORDER BY created, name"
    )
    return tuple(rows.scalars())


def read_audit(place: Place) -> Audit | None:
    """An audit; None: there is none of this name."""
    row = place.run(
        "SELECT name, subject, frame, plan, created, items FROM mmupt_audits AS a "
        "JOIN mmupt_audit_plans AS p ON p.project = a.project AND p.audit = a.name "
        "WHERE a.project = :project AND a.name = :audit"
    ).one_or_none()
    return None if row is None else Audit(*row)


def read_items(place: Place, unit: str | None = None) -> tuple[Item, ...]:
    """The items of an audit in their order, or the one with this unit."""
    if unit is None:
        found = place.run(
            "SELECT position, unit, sample_id, pseudo_label, share, stratum, probability, slices, "
            "rules, payload, audit FROM mmupt_audit_items WHERE project = :project "
            "AND audit = :audit ORDER BY position"
        )
    else:
        found = place.run(
            "SELECT position, unit, sample_id, pseudo_label, share, stratum, probability, slices, "
            "rules, payload, audit FROM mmupt_audit_items WHERE project = :project "
            "AND audit = :audit AND unit = :unit",
            unit=unit,
        )
    return tuple(
        replace(
            Item(*row),
            pseudo_label=json.loads(row.pseudo_label),
            slices=json.loads(row.slices),
            rules=tuple(json.loads(row.rules)),
        )
        for row in found
    )


def read_item(place: Place, position: int) -> Item | None:
    """The item at a place in the order; None: there is none."""
    unit = place.run(
        "SELECT unit FROM mmupt_audit_items WHERE project = :project AND audit = :audit "
        "AND position = :position",
        position=position,
    ).scalar_one_or_none()
    return None if unit is None else read_items(place, unit)[0]


def read_outline(place: Place) -> Iterator[Outline]:
    """The items of an audit in their order, without what a page shows of them."""
    known: dict[str, Any] = {}  # few groups and rules: each text is read and kept once
    for row in place.run(
        "SELECT position, unit, pseudo_label, share, stratum, slices, rules "
        "FROM mmupt_audit_items WHERE project = :project AND audit = :audit ORDER BY position"
    ):
        for said in (row.slices, row.rules):
            if said not in known:
                known[said] = json.loads(said)
        yield Outline(
            position=row.position,
            unit=row.unit,
            pseudo_label=json.loads(row.pseudo_label),
            share=row.share,
            stratum=known.setdefault(f"={row.stratum}", row.stratum),
            slices=known[row.slices],
            rules=known.setdefault(f"#{row.rules}", tuple(known[row.rules])),
        )


def read_units(place: Place) -> tuple[str, ...]:
    """The units of an audit in their order."""
    found = place.run(
        "SELECT unit FROM mmupt_audit_items WHERE project = :project AND audit = :audit "
        "ORDER BY position"
    )
    return tuple(found.scalars())


def read_label(place: Place, unit: str) -> str | None:
    """The pseudo-label of a unit; None: there is no such unit."""
    found = place.run(
        "SELECT pseudo_label FROM mmupt_audit_items WHERE project = :project "
        "AND audit = :audit AND unit = :unit",
        unit=unit,
    ).scalar_one_or_none()
    return None if found is None else str(json.loads(found))


def insert_verdict(place: Place, verdict: Verdict, turn: int) -> bool:
    """False: there is a verdict with this key, nothing is inserted."""
    values = _values(verdict, "audit")
    done = place.run(
        "INSERT INTO mmupt_audit_verdicts VALUES (:project, :key, :audit, :turn, :unit, "
        ":reviewer, :kind, :answer, :comment, :seconds, :time) ON CONFLICT DO NOTHING",
        **{**values, "turn": turn, "time": verdict.time or now()},
    )
    return bool(done.rowcount)


def read_verdicts(place: Place) -> tuple[Verdict, ...]:
    """The verdicts on an audit in the order in which they were stored."""
    found = place.run(
        "SELECT verdict_key, audit, unit, reviewer, kind, answer, comment, seconds, time "
        "FROM mmupt_audit_verdicts WHERE project = :project AND audit = :audit ORDER BY turn"
    )
    return tuple(Verdict(*row) for row in found)


def read_verdicts_after(place: Place, turn: int) -> Iterator[tuple[int, Verdict]]:
    """The verdicts after a turn, each with its own, in the order in which they were stored."""
    found = place.run(
        "SELECT turn, verdict_key, audit, unit, reviewer, kind, answer, comment, seconds, time "
        "FROM mmupt_audit_verdicts WHERE project = :project AND audit = :audit AND turn > :turn "
        "ORDER BY turn",
        turn=turn,
    )
    return ((turn, Verdict(*verdict)) for turn, *verdict in found)


def read_turn(place: Place) -> int:
    """How many turns writers have taken in an audit; 0: none, or there is no such audit."""
    found = place.run(
        "SELECT turn FROM mmupt_audits WHERE project = :project AND name = :audit"
    ).scalar_one_or_none()
    return int(found or 0)


def has_verdict(place: Place, key: str) -> bool:
    """Whether the project has a verdict with this key."""
    found = place.run(
        "SELECT 1 FROM mmupt_audit_verdicts WHERE project = :project AND verdict_key = :key",
        key=key,
    )
    return found.scalar_one_or_none() is not None


def read_verdict(place: Place, key: str) -> Verdict:
    """The verdict of the project that has this key."""
    row = place.run(
        "SELECT verdict_key, audit, unit, reviewer, kind, answer, comment, seconds, time "
        "FROM mmupt_audit_verdicts WHERE project = :project AND verdict_key = :key",
        key=key,
    ).one()
    return Verdict(*row)


def write_claim(place: Place, unit: str, reviewer: str, expires: float) -> None:
    """Claim a unit, or prolong a claim; `expires` in seconds since 1970."""
    place.run(
        "INSERT INTO mmupt_audit_claims VALUES (:project, :audit, :unit, :reviewer, :expires) "
        "ON CONFLICT (project, audit, unit, reviewer) DO UPDATE SET expires = excluded.expires",
        unit=unit,
        reviewer=reviewer,
        expires=expires,
    )


def delete_claim(place: Place, unit: str, reviewer: str) -> None:
    """Give a unit back."""
    place.run(
        "DELETE FROM mmupt_audit_claims WHERE project = :project AND audit = :audit "
        "AND unit = :unit AND reviewer = :reviewer",
        unit=unit,
        reviewer=reviewer,
    )


def delete_claims(place: Place, moment: float) -> None:
    """Delete the claims of an audit that are over."""
    place.run(
        "DELETE FROM mmupt_audit_claims WHERE project = :project AND audit = :audit "
        "AND expires <= :moment",
        moment=moment,
    )


def read_claims(place: Place, moment: float) -> dict[str, set[str]]:
    """Who holds which unit of an audit."""
    held: dict[str, set[str]] = {}
    for unit, reviewer in place.run(
        "SELECT unit, reviewer FROM mmupt_audit_claims WHERE project = :project "
        "AND audit = :audit AND expires > :moment",
        moment=moment,
    ):
        held.setdefault(unit, set()).add(reviewer)
    return held


def _values(record: Any, but: str) -> dict[str, object]:
    return {f.name: getattr(record, f.name) for f in fields(record) if f.name != but}


def _item(item: NewItem) -> dict[str, object]:
    """As JSON text a label may hold what a database takes for no text, such as U+0000."""
    return {
        **{f.name: getattr(item, f.name) for f in fields(NewItem)},
        "pseudo_label": json.dumps(item.pseudo_label, ensure_ascii=False),
        "slices": json.dumps(dict(item.slices), ensure_ascii=False),
        "rules": json.dumps(list(item.rules), ensure_ascii=False),
    }
