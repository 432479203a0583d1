"""What is recorded with a version: where it lies, what it is, and what it came from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from mmupt.errors import DatabaseError, InputError
from mmupt.registry.files import Progress
from mmupt.registry.manifest import Manifest, build_manifest
from mmupt.registry.moves import State
from mmupt.version import __version__

Verdict = Literal["pass", "fail", "insufficient"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ALIASES = ("champion", "challenger", "previous")


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a version came from.

    Attributes:
        parent: the version that its training started from; None: the base model.
        stage: the stage that made it, such as `base`, `sft` or `round-1`.
        identity: hash of what determines the stage's output; None: nothing made it here.
        data: SHA-256 of every data file that it was trained on, by name.
        rounds: label-free rounds up to this version, by name.
        audits: audits whose verdicts went into its training or its gate.
        code: version of mmupt that made it.
    """

    parent: str | None
    stage: str
    identity: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    rounds: tuple[str, ...] = ()
    audits: tuple[str, ...] = ()
    code: str = __version__

    @property
    def json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Version:
    """A model that does not change any more.

    Attributes:
        name: such as `base`, `sft` or `round-1`.
        path: its folder, relative to the project's; absolute where it lies outside.
        manifest: its files.
        config: the configuration that it was made with, as text.
        lineage: what it came from.
        created: when it was registered; empty before.
    """

    name: str
    path: str
    manifest: Manifest
    config: str
    lineage: Lineage
    created: str = ""

    @property
    def digest(self) -> str:
        """Of the manifest: what the model is."""
        return self.manifest.digest


@dataclass(frozen=True, slots=True)
class Decision:
    """What a gate said about a version; never changed, a later one stands beside it.

    Attributes:
        id: number in the project.
        version: name.
        version_digest: of the model that the evidence was gathered on.
        verdict: `pass`, `fail` or `insufficient`.
        content: the decision with its evidence, as JSON.
        config_digest: of the gate's settings.
        digest: SHA-256 of all of the above but the id.
        made: when.
    """

    id: int
    version: str
    version_digest: str
    verdict: Verdict
    content: str
    config_digest: str
    digest: str
    made: str


@dataclass(frozen=True, slots=True)
class Past:
    """One move in the history.

    Attributes:
        id: number, rising.
        made: when.
        kind: `register`, `challenger`, `promote`, `raise`, `withdraw` or `rollback`.
        version: the version it was about.
        rollout: how far it was introduced, for `promote` and `raise`.
        before, after: where the aliases pointed.
        decision: id of the gate's decision that allowed it.
        decision_digest: what that decision was.
        by: who moved it.
        reason: why.
    """

    id: int
    made: str
    kind: str
    version: str
    rollout: str | None
    before: State
    after: State
    decision: int | None
    decision_digest: str | None
    by: str
    reason: str


def make_version(
    project: Path,
    name: str,
    folder: Path,
    *,
    config: str,
    lineage: Lineage,
    progress: Progress | None = None,
) -> Version:
    """A version of what a folder holds now.

    Args:
        project: the project's folder.
        name: of the version.
        folder: of the model, inside the project's or elsewhere.
        config: the configuration that it was made with, as text.
        lineage: what it came from.
        progress: told the bytes that are read.

    Raises:
        ModelError: see `build_manifest`.
        InputError: a name that is none.
    """
    check_name(name)
    inside, root = folder.resolve(), project.resolve()
    path = inside.relative_to(root) if inside.is_relative_to(root) else inside
    return Version(name, path.as_posix(), build_manifest(folder, progress), config, lineage)


def check_name(name: str) -> None:
    """Raises InputError: not a version's name."""
    if not NAME.fullmatch(name) or name in ALIASES:
        raise InputError(
            f"version {name[:80]!r}: expected small letters, digits, `.`, `_` and `-`, at most 64, "
            f"and none of {', '.join(ALIASES)}"
        )


def read_lineage(text: str) -> Lineage:
    """The lineage of a text that `Lineage.json` gave.

    Raises:
        DatabaseError: it is no such text.
    """
    try:
        value: dict[str, Any] = json.loads(text)
        for key in ("rounds", "audits"):
            value[key] = tuple(value[key])
        return Lineage(**value)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DatabaseError(f"lineage {text[:80]!r} is not one of mmupt's") from error


def decision_digest(
    version: str, version_digest: str, verdict: str, content: str, config_digest: str
) -> str:
    """SHA-256 over the parts of a decision, as a JSON list."""
    parts = json.dumps([version, version_digest, verdict, content, config_digest])
    return sha256(parts.encode("ascii")).hexdigest()
