"""A run's folder: one configuration, one writer at a time, nothing half-written."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmupt.config import Config, dump_config
from mmupt.errors import RunFolderError
from mmupt.events import jsonable


@dataclass(frozen=True)
class RunFolder:
    """Where everything of a run lies."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def rollouts(self) -> Path:
        return self.root / "rollouts"

    @property
    def model(self) -> Path:
        """The final model of `sft` and `train`."""
        return self.root / "model"

    def checkpoint(self, stage: str) -> Path:
        return self.root / "checkpoints" / stage

    def state(self, stage: str) -> Path:
        return self.root / "state" / stage

    def scores(self, stage: str) -> Path:
        return self.root / "evaluations" / f"{stage}.parquet"


@contextmanager
def open_run(
    root: Path, config: Config, command: str, *, goes_on: bool = False
) -> Iterator[RunFolder]:
    """Take a new or interrupted run folder for this configuration and lock it.

    Args:
        root: the folder.
        config: what runs in it.
        command: the verb.
        goes_on: the configuration may change between two runs, as in a project, whose stages know
            themselves what they were made with.

    Raises:
        RunFolderError: the folder holds something else, another run's configuration, or is in use.
    """
    folder = RunFolder(root)
    if root.exists() and not root.is_dir():
        raise RunFolderError(f"{root}: is a file; --out takes a folder")
    if (
        root.is_dir()
        and not folder.config.exists()
        and any(p.name != ".lock" for p in root.iterdir())
    ):
        raise RunFolderError(f"{root}: not empty and no run of mmupt; choose a new --out")
    text = f"# written by `mmupt {command}`\n{dump_config(config)}"
    if folder.config.exists() and not goes_on:
        _refuse_other(folder.config, text)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / ".lock").open("w")
    except OSError as error:
        raise RunFolderError(f"{root}: cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(
                f"{root}: another mmupt is running in it; wait for it, or choose a new --out"
            ) from None
        if not folder.config.exists():
            write_atomic(folder.config, text)
        yield folder


def _refuse_other(path: Path, text: str) -> None:
    old = path.read_text(encoding="utf-8")
    if old == text:
        return
    was, now = _decisive(old), _decisive(text)
    if was == now and old.splitlines()[0] == text.splitlines()[0]:
        return
    changed = [k for k in {**was, **now} if was.get(k) != now.get(k)]
    if changed:
        first = changed[0]
        what = f"{first} was {was.get(first)!r}, now {now.get(first)!r}"
    else:
        what = f"it was {old.splitlines()[0].lstrip('# ')!r}"
    raise RunFolderError(
        f"{path.parent}: holds another run ({what}"
        f"{f' and {len(changed) - 1} more' if len(changed) > 1 else ''}); "
        "choose a new --out, or repeat the former command to resume it"
    )


def _decisive(text: str) -> dict[str, Any]:
    """What a run is known by: its settings, but not who is told of it."""
    flat = _flat(yaml.safe_load(text))
    return {key: value for key, value in flat.items() if not key.startswith("trackers.")}


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        k: v
        for key, value in tree.items()
        for k, v in _flat(value, f"{prefix}.{key}".lstrip(".")).items()
    }


def write_atomic(path: Path, text: str) -> None:
    """Replace `path` by `text`; a reader sees the old or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder so that the target is there whole or not at all."""
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_atomic(path, json.dumps(jsonable(value), ensure_ascii=False, indent=2) + "\n")
