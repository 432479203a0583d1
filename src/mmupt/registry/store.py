"""The registry of a project: versions, gate decisions, where the aliases point, and every move.

It lies in the project's SQLite file. Each method is one transaction; writers wait for each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmupt.database import open_database, reading, writing
from mmupt.errors import InputError, RefusedError
from mmupt.registry import moves, tables
from mmupt.registry.files import Progress
from mmupt.registry.moves import Move, State
from mmupt.registry.proof import check_json, refuse_unproven
from mmupt.registry.route import Route, route
from mmupt.registry.verify import Fault, glance, verify
from mmupt.registry.versions import (
    VERDICTS,
    Decision,
    Past,
    Version,
    check_name,
    decision_digest,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Registry:
    """The versions of a project's model.

    Args:
        place: the project's database, `project.db` in its folder; made where there is none.

    Raises:
        DatabaseError: it cannot be opened.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.project = place.parent
        self._engine = open_database(place, "mmupt.registry")

    def close(self) -> None:
        """Let the database go; a closed registry opens it again when it is asked."""
        self._engine.dispose()

    # What is recorded once

    def register(self, version: Version, *, by: str = "", reason: str = "") -> bool:
        """Record a version; True if it is new, False if this name has this digest already.

        Where it is known, what was recorded first stays.

        Raises:
            InputError: a name that is none.
            RefusedError: the name belongs to another digest, or the parent is unknown.
        """
        check_name(version.name)
        with writing(self._engine) as connection:
            known = tables.find(connection, version.name)
            if known is not None:
                if known.digest == version.digest:
                    return False
                raise RefusedError(
                    f"version {version.name} is registered with digest {known.digest[:12]}..., not "
                    f"{version.digest[:12]}...; versions do not change: use another name"
                )
            if version.lineage.parent is not None:
                tables.known(connection, version.lineage.parent)
            tables.write_version(connection, version)
            state = tables.state(connection)
            move = Move("register", version.name, state, state, f"{version.name} is registered")
            tables.write_move(connection, move, by=by, reason=reason)
        return True

    def add_decision(
        self,
        version: str,
        verdict: str,
        content: str,
        config_digest: str,
        *,
        version_digest: str | None = None,
    ) -> int:
        """Record what a gate said, and return its number; the same again keeps its number.

        Args:
            version: name.
            verdict: `pass`, `fail` or `insufficient`.
            content: the decision with its evidence, as JSON.
            config_digest: of the gate's settings.
            version_digest: of the model that the evidence is about; None: the registered one.

        Raises:
            InputError: no such verdict, or a content that is no JSON or too long.
            RefusedError: no such version.
        """
        if verdict not in VERDICTS:
            raise InputError(f"verdict {verdict[:40]!r}: expected one of {', '.join(VERDICTS)}")
        check_json(content)
        with writing(self._engine) as connection:
            registered = tables.known(connection, version).digest
            about = registered if version_digest is None else version_digest
            digest = decision_digest(version, about, verdict, content, config_digest)
            last = tables.latest(connection, version)
            if last is not None and last.digest == digest:
                return last.id
            return tables.write_decision(
                connection,
                version=version,
                version_digest=about,
                verdict=verdict,
                content=content,
                config_digest=config_digest,
                digest=digest,
            )

    # What moves

    def promote(
        self, name: str, rollout: str, *, by: str, reason: str, require_decision: bool = True
    ) -> Move:
        """Let a version serve: wholly, a share of the requests, or in the shadow.

        Args:
            name: of the version.
            rollout: `shadow`, `5%`, `25%` or `100%`.
            by: who promotes it.
            reason: why.
            require_decision: the gate must have let it pass; False for a base model alone.

        Raises:
            ConfigError: no such rollout.
            RefusedError: no such version, no pass of its gate for exactly this model, files that
                are gone, or a move that `moves.promote` refuses.
        """
        with writing(self._engine) as connection:
            row = tables.known(connection, name)
            move = moves.promote(tables.state(connection), name, rollout)
            if not move.changed:
                return move
            version = tables.read_version(row)
            decision = tables.latest(connection, name)
            refuse_unproven(version, decision, require_decision)
            self._refuse_gone(version)
            tables.write_move(
                connection,
                move,
                by=by,
                reason=reason,
                rollout=rollout,
                decision=decision if require_decision else None,
            )
        return move

    def set_challenger(self, name: str | None, *, by: str = "", reason: str = "") -> Move:
        """Name the version that is being examined; it serves nobody. None: no longer any.

        Raises:
            RefusedError: no such version, or what `moves.challenge` refuses.
        """
        with writing(self._engine) as connection:
            if name is not None:
                tables.known(connection, name)
            move = moves.challenge(tables.state(connection), name)
            if move.changed:
                tables.write_move(connection, move, by=by, reason=reason)
        return move

    def withdraw(self, *, by: str, reason: str) -> Move:
        """Take the challenger away; the champion serves alone.

        Raises:
            RefusedError: there is no challenger.
        """
        with writing(self._engine) as connection:
            move = moves.withdraw(tables.state(connection))
            tables.write_move(connection, move, by=by, reason=reason)
        return move

    def rollback(self, *, by: str, reason: str) -> Move:
        """Withdraw what is being introduced, or restore the champion before.

        Moves pointers and reads no model, so it takes milliseconds.

        Raises:
            RefusedError: there is nothing to go back to, or its folder is gone.
        """
        with writing(self._engine) as connection:
            move = moves.rollback(tables.state(connection))
            if move.kind == "rollback":
                version = tables.read_version(tables.known(connection, move.version))
                if not self.folder(version).is_dir():
                    raise RefusedError(
                        f"{move.version}: its folder {self.folder(version)} is gone; bring it back "
                        "from a backup, or promote another version"
                    )
            tables.write_move(connection, move, by=by, reason=reason)
        return move

    # What can be asked

    def current(self) -> State:
        """Where the aliases point."""
        with reading(self._engine) as connection:
            return tables.state(connection)

    def aliases(self) -> dict[str, str]:
        """Version by alias; an alias that points nowhere is left out."""
        return self.current().aliases

    def versions(self) -> tuple[Version, ...]:
        """All versions, in the order of their registration."""
        with reading(self._engine) as connection:
            return tables.all_versions(connection)

    def version(self, word: str) -> Version:
        """A version by its name, or by an alias.

        Raises:
            RefusedError: no such version.
        """
        with reading(self._engine) as connection:
            return tables.read_version(_named(connection, word))

    def folder(self, version: Version) -> Path:
        """Where a version lies."""
        return self.project / version.path

    def latest_decision(self, version: str) -> Decision | None:
        """What its gate said last; None: nothing yet."""
        with reading(self._engine) as connection:
            return tables.latest(connection, version)

    def decisions(self) -> tuple[Decision, ...]:
        """Everything that gates said, oldest first."""
        with reading(self._engine) as connection:
            return tables.all_decisions(connection)

    def history(self) -> tuple[Past, ...]:
        """Every move, oldest first."""
        with reading(self._engine) as connection:
            return tables.history(connection)

    def verify(self, word: str, progress: Progress | None = None) -> tuple[Fault, ...]:
        """Read all files of a version and compare them; nothing: as registered, byte for byte.

        Args:
            word: its name, or an alias.
            progress: told the bytes that are read.

        Raises:
            RefusedError: no such version.
        """
        with reading(self._engine) as connection:
            row = _named(connection, word)
        if not tables.intact(row):
            text = f"the record of {row.name} has been changed; restore it from a backup"
            return (Fault("record", self.place.name, text),)
        version = tables.read_version(row)
        return verify(self.folder(version), version.manifest, progress)

    def route(self, key: str) -> Route:
        """Which version answers a request.

        Raises:
            InputError: a key that is none.
            RefusedError: there is no champion.
        """
        with reading(self._engine) as connection:
            state = tables.state(connection)
            if state.champion is None:
                raise RefusedError("no version serves yet; promote one with `mmupt promote`")
            salt = tables.known(connection, state.challenger).digest if state.challenger else ""
        return route(key, state.champion, state.challenger, state.rollout, salt)

    def _refuse_gone(self, version: Version) -> None:
        faults = glance(self.folder(version), version.manifest)
        if faults:
            more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
            raise RefusedError(
                f"{version.name} is not as it was registered: {faults[0]}{more}; see `mmupt verify`"
            )


def _named(connection: Connection, word: str) -> Any:
    """The row of a version that is called by its name or an alias."""
    return tables.known(connection, tables.state(connection).aliases.get(word, word))
