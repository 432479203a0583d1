"""Rows of the registry's tables; every function is part of its caller's transaction."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, text

from mmupt.database import now
from mmupt.errors import RefusedError
from mmupt.registry.manifest import read_manifest
from mmupt.registry.moves import Move, State, read_state
from mmupt.registry.versions import NAME, Decision, Past, Version, read_lineage


def find(connection: Connection, name: str) -> Any | None:
    """The row of a version; None: no such version."""
    if not NAME.fullmatch(name):
        return None
    return connection.execute(
        text("SELECT * FROM versions WHERE name = :name"), {"name": name}
    ).first()


def known(connection: Connection, name: str) -> Any:
    """The row of a version.

    Raises:
        RefusedError: no such version; names those that there are.
    """
    row = find(connection, name)
    if row is None:
        names = connection.execute(text("SELECT name FROM versions ORDER BY number")).scalars()
        there = ", ".join(list(names)[-20:])
        raise RefusedError(
            f"version {name[:80]!r} is not registered; there "
            f"{f'are {there}' if there else 'is none yet'}"
        )
    return row


def all_versions(connection: Connection) -> tuple[Version, ...]:
    """In the order of their registration."""
    rows = connection.execute(text("SELECT * FROM versions ORDER BY number"))
    return tuple(read_version(row) for row in rows)


def read_version(row: Any) -> Version:
    """Raises DatabaseError: what the row says cannot be read."""
    manifest, lineage = read_manifest(row.manifest), read_lineage(row.lineage)
    return Version(row.name, row.path, manifest, row.config, lineage, row.created)


def intact(row: Any) -> bool:
    """Whether the row of a version says what was written into it."""
    parts = (row.name, row.path, row.manifest, row.config, row.lineage)
    return bool(
        row.record == _record(*parts)
        and row.digest == sha256(row.manifest.encode("utf-8")).hexdigest()
    )


def write_version(connection: Connection, version: Version) -> None:
    parts = (
        version.name,
        version.path,
        version.manifest.json,
        version.config,
        version.lineage.json,
    )
    connection.execute(
        text(
            "INSERT INTO versions (name, number, digest, path, manifest, config, lineage, record, "
            "created) VALUES (:name, :number, :digest, :path, :manifest, :config, :lineage, "
            ":record, :created)"
        ),
        {
            **dict(zip(("name", "path", "manifest", "config", "lineage"), parts, strict=True)),
            "number": _next(connection, "number", "versions"),
            "digest": version.digest,
            "record": _record(*parts),
            "created": now(),
        },
    )


def latest(connection: Connection, version: str) -> Decision | None:
    """The decision about a version that was made last."""
    row = connection.execute(
        text("SELECT * FROM decisions WHERE version = :name ORDER BY id DESC LIMIT 1"),
        {"name": version},
    ).first()
    return None if row is None else Decision(**row._mapping)


def all_decisions(connection: Connection) -> tuple[Decision, ...]:
    """Oldest first."""
    rows = connection.execute(text("SELECT * FROM decisions ORDER BY id"))
    return tuple(Decision(**row._mapping) for row in rows)


def write_decision(connection: Connection, **parts: str) -> int:
    """Returns its number."""
    number = _next(connection, "id", "decisions")
    connection.execute(
        text(
            "INSERT INTO decisions (id, version, version_digest, verdict, content, config_digest, "
            "digest, made) VALUES (:id, :version, :version_digest, :verdict, :content, "
            ":config_digest, :digest, :made)"
        ),
        {**parts, "id": number, "made": now()},
    )
    return number


def state(connection: Connection) -> State:
    """Where the aliases point."""
    rows = list(connection.execute(text("SELECT * FROM aliases")))
    rollouts = [row.rollout for row in rows if row.alias == "challenger"]
    return State(**{row.alias: row.version for row in rows}, rollout=next(iter(rollouts), None))


def write_move(
    connection: Connection,
    move: Move,
    *,
    by: str,
    reason: str,
    rollout: str | None = None,
    decision: Decision | None = None,
) -> None:
    """Point the aliases where they point after a move, and add it to the history."""
    if move.changed:
        connection.execute(text("DELETE FROM aliases"))
    for alias, version in move.after.aliases.items() if move.changed else ():
        part = move.after.rollout if alias == "challenger" else None
        connection.execute(
            text("INSERT INTO aliases (alias, version, rollout) VALUES (:alias, :version, :part)"),
            {"alias": alias, "version": version, "part": part},
        )
    connection.execute(
        text(
            "INSERT INTO history (id, made, kind, version, rollout, state_before, state_after, "
            "decision, author, reason) VALUES (:id, :made, :kind, :version, :rollout, :before, "
            ":after, :decision, :author, :reason)"
        ),
        {
            "id": _next(connection, "id", "history"),
            "made": now(),
            "kind": move.kind,
            "version": move.version,
            "rollout": rollout,
            "before": move.before.json,
            "after": move.after.json,
            "decision": decision.id if decision else None,
            "author": _text(by, 200),
            "reason": _text(reason, 2000),
        },
    )


def history(connection: Connection) -> tuple[Past, ...]:
    """Oldest first."""
    rows = connection.execute(
        text(
            "SELECT history.*, decisions.digest AS digest FROM history LEFT JOIN decisions "
            "ON decisions.id = history.decision ORDER BY history.id"
        )
    )
    return tuple(
        Past(
            id=row.id,
            made=row.made,
            kind=row.kind,
            version=row.version,
            rollout=row.rollout,
            before=read_state(row.state_before),
            after=read_state(row.state_after),
            decision=row.decision,
            decision_digest=row.digest,
            by=row.author,
            reason=row.reason,
        )
        for row in rows
    )


def _record(*parts: str) -> str:
    """Digest of what a row of a version says."""
    return sha256(json.dumps(parts).encode("ascii")).hexdigest()


def _next(connection: Connection, column: str, table: str) -> int:
    """The next number of a table; both names are ours."""
    query = f"SELECT COALESCE(MAX({column}), 0) + 1 FROM {table}"  # noqa: S608
    return int(connection.execute(text(query)).scalar_one())


def _text(value: str, limit: int) -> str:
    """What a database takes: an argument of the command line may not be text."""
    return value[:limit].encode("utf-8", "replace").decode("utf-8")
