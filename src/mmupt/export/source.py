"""What is exported: a version of a project, the model of a run, a model's folder, or an adapter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmupt.errors import InputError, ModelError, RefusedError
from mmupt.registry.files import Progress


@dataclass(frozen=True)
class Source:
    """Where the weights lie and what is known about them.

    Attributes:
        model: a whole model's folder; with `adapter` alone the model it belongs on.
        adapter: a peft adapter's folder, if there is one.
        merged: whether `model` has the adapter in it already.
        base: of a merged model: the model that its adapter belongs on; None: as the adapter says.
        name: what the card calls it.
        version: the project's record of it (`pipeline.versions.version_rows`); empty outside one.
        decision: what the gate last said of it, as it was stored; None: nothing.
    """

    model: Path
    adapter: Path | None = None
    merged: bool = True
    base: Path | None = None
    name: str = ""
    version: Mapping[str, Any] = field(default_factory=dict)
    decision: Mapping[str, Any] | None = None

    @property
    def digest(self) -> str | None:
        """SHA-256 of the version's manifest."""
        found: str | None = self.version.get("digest")
        return found

    @property
    def passed(self) -> bool:
        """Whether the gate has passed exactly these files."""
        return self.version.get("gate") == "pass"


def find_source(
    place: Path,
    version: str | None = None,
    base: Path | None = None,
    progress: Progress | None = None,
) -> Source:
    """What a path given by a person holds.

    Args:
        place: a project, a run with a model, a model's folder, or an adapter's.
        version: of a project: a name or an alias; None: its champion.
        base: the model that an adapter belongs on, alone or beside a merged model; None: as it
            says itself.
        progress: told how many bytes of a version are verified.

    Raises:
        InputError: options that do not fit the place.
        ModelError: nothing that could be exported.
        RefusedError: a version whose files are not what was registered.
        DatabaseError: a version that does not exist.
    """
    if (place / "project.db").is_file() and (place / "config.yaml").is_file():
        return _with_base(_of_project(place, version, progress), base, place)
    if version is not None:
        raise InputError(f"{place}: is no project, so that --version {version} names nothing")
    if (place / "adapter_config.json").is_file():
        return _of_adapter(place, base)
    model = place / "model" if (place / "model" / "config.json").is_file() else place
    source = Source(model, _adapter_beside(model), name=place.resolve().name)
    return _with_base(source, base, place)


def _with_base(source: Source, base: Path | None, place: Path) -> Source:
    if base is not None and source.adapter is None:
        raise InputError(f"{place}: holds no adapter, so that --base does nothing")
    return replace(source, base=base)


def _of_project(root: Path, word: str | None, progress: Progress | None) -> Source:
    from mmupt.pipeline.project import find_project
    from mmupt.pipeline.versions import version_rows

    project = find_project(root)
    registry = project.registry()
    wanted = word or registry.aliases().get("champion")
    if wanted is None:
        raise RefusedError(
            f"{root}: no version is the champion yet; promote one (mmupt promote), or name one "
            "with --version"
        )
    version = registry.version(wanted)
    faults = registry.verify(version.name, progress)
    if faults:
        raise RefusedError(
            f"{version.name}: its files are not what was registered ({faults[0]}); see mmupt verify"
        )
    folder = registry.folder(version)
    decision = registry.latest_decision(version.name)
    (row,) = [one for one in version_rows(project) if one["name"] == version.name]
    return Source(
        folder,
        _adapter_beside(folder),
        name=f"{root.resolve().name}: {version.name}",
        version=row,
        decision=None if decision is None else json.loads(decision.content),
    )


def _adapter_beside(model: Path) -> Path | None:
    """What `save_policy` puts beside a merged model."""
    folder = model / "adapter"
    return folder if (folder / "adapter_config.json").is_file() else None


def _of_adapter(folder: Path, base: Path | None) -> Source:
    path, said = folder / "adapter_config.json", named_base(folder)
    model = base or adapter_base(folder)
    if model is None:
        named = f"names {said!r}, which is no folder here" if said else "names no base model"
        raise ModelError(f"{path}: {named}; give the base model's folder with --base")
    return Source(model, folder, merged=False, name=folder.resolve().name)


def named_base(adapter: Path) -> str | None:
    """What an adapter calls its base model."""
    try:
        text = (adapter / "adapter_config.json").read_text(encoding="utf-8")
        said = json.loads(text)["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return said if isinstance(said, str) and said else None


def adapter_base(adapter: Path) -> Path | None:
    """The folder of an adapter's base model, where the adapter says that it is."""
    said = named_base(adapter)
    return Path(said) if said is not None and Path(said).is_dir() else None
