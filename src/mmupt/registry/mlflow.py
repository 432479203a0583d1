"""A copy of a project's registry in MLflow's, for companies that look at their models there.

One way: MLflow is told what the project says, and nothing is read back. Needs `mmupt[mlflow]`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mmupt.database import shown
from mmupt.errors import DatabaseError, InputError, RefusedError
from mmupt.registry.store import Registry
from mmupt.registry.versions import ALIASES, Version

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
PREFIX = "mmupt."
"""Of our tags; others are left alone."""
MAX_TAG = 5000
"""Longest tag that MLflow takes, in characters."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a mirroring has done.

    Attributes:
        name: the registered model in MLflow.
        created: versions that are new there.
        changed: versions there with other tags than before.
        moved: aliases that point elsewhere, or nowhere, now.
        numbers: MLflow's number of every version.
    """

    name: str
    created: tuple[str, ...]
    changed: tuple[str, ...]
    moved: tuple[str, ...]
    numbers: Mapping[str, str]


def mirror(registry: Registry, uri: str, name: str) -> Mirrored:
    """Copy versions, their tags and aliases; again: only what is new.

    The aliases are moved one by one: a reader of MLflow may see a moment between. What serves is
    what the project's own registry says.

    Args:
        registry: the project's.
        uri: of MLflow's registry, such as ``sqlite:////data/mlflow.db`` or ``http://host:5000``.
        name: of the registered model in MLflow; made where there is none.

    Raises:
        InputError: a name that MLflow does not take.
        RefusedError: under this name MLflow has versions of another project.
        DatabaseError: MLflow is not installed, or its registry cannot be reached.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name[:80]!r} is no name of a model in MLflow; expected letters, digits, spaces, "
            "`.`, `_` and `-`, at most 100"
        )
    aliases, versions = registry.aliases(), registry.versions()
    tags = {version.name: _tags(registry, version) for version in versions}
    with _client(uri) as client:
        there = _there(client, name)
        _refuse_foreign(there, versions, name)
        created, changed = [], []
        for version in versions:
            known = there.get(version.name)
            if known is None:
                source = _source(registry, version, uri, name)
                known = client.create_model_version(name, source, tags=tags[version.name])
                there[version.name] = known
                created.append(version.name)
            elif _retag(client, name, known, tags[version.name]):
                changed.append(version.name)
        numbers = {word: str(one.version) for word, one in there.items()}
        moved = _move(client, name, {alias: numbers[word] for alias, word in aliases.items()})
    return Mirrored(name, tuple(created), tuple(changed), moved, numbers)


def _tags(registry: Registry, version: Version) -> dict[str, str]:
    state, decision = registry.current(), registry.latest_decision(version.name)
    introduced = state.rollout if version.name == state.challenger else None
    serving = "100%" if version.name == state.champion else introduced
    return {
        f"{PREFIX}version": version.name,
        f"{PREFIX}digest": version.digest,
        f"{PREFIX}path": version.path[:MAX_TAG],
        f"{PREFIX}parent": version.lineage.parent or "",
        f"{PREFIX}lineage": version.lineage.json[:MAX_TAG],
        f"{PREFIX}verdict": decision.verdict if decision else "",
        f"{PREFIX}decision": decision.digest if decision else "",
        f"{PREFIX}rollout": serving or "",
    }


def _source(registry: Registry, version: Version, uri: str, name: str) -> str:
    """The folder; for a server, which refuses folders of other machines, a name of it."""
    if uri.startswith(("http:", "https:")):
        return f"mmupt://{name.replace(' ', '%20')}/{version.name}"
    return str(registry.folder(version).resolve())


def _there(client: Any, name: str) -> dict[str, Any]:
    """MLflow's versions by our names; the registered model is made where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found, page = [], None
    while page != "":
        part = client.search_model_versions(f"name='{name}'", page_token=page)
        found += part
        page = part.token or ""
    return {one.tags.get(f"{PREFIX}version", f"number {one.version}"): one for one in found}


def _refuse_foreign(there: Mapping[str, Any], versions: tuple[Version, ...], name: str) -> None:
    ours = {version.name: version.digest for version in versions}
    for word, one in there.items():
        if one.tags.get(f"{PREFIX}digest") != ours.get(word, "none"):
            raise RefusedError(
                f"MLflow's model {name!r} has a version {one.version} ({word}) that is not of this "
                "project; mirror under another name"
            )


def _retag(client: Any, name: str, known: Any, tags: Mapping[str, str]) -> bool:
    """Bring tags up to date; whether one was not."""
    # MLflow leaves out tags whose value is empty, on a server.
    changed = {key: value for key, value in tags.items() if known.tags.get(key, "") != value}
    for key, value in changed.items():
        client.set_model_version_tag(name, str(known.version), key, value)
    return bool(changed)


def _move(client: Any, name: str, wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Point our aliases at MLflow's numbers; returns those that pointed elsewhere."""
    now = {k: str(v) for k, v in client.get_registered_model(name).aliases.items()}
    moved = tuple(alias for alias in ALIASES if now.get(alias) != wanted.get(alias))
    for alias in moved:
        if alias in wanted:
            client.set_registered_model_alias(name, alias, wanted[alias])
        else:
            client.delete_registered_model_alias(name, alias)
    return moved


@contextmanager
def _client(uri: str) -> Iterator[Any]:
    """A client of MLflow's registry; its own errors become one line."""
    # MLflow tells its makers what is called unless this is set; a company's models are its own.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Its seven tries at a server that does not answer take minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        import alembic  # noqa: F401  (MLflow needs it for databases and does not ask for it)
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise DatabaseError(
            f"{shown(uri)}: needs MLflow ({error}); install mmupt[mlflow]"
        ) from error
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise DatabaseError(
            f"{shown(uri)}: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
        ) from error
