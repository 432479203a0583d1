"""The rounds of a project: those that its configuration plans, and those that people add."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmupt.config import Config, load_config
from mmupt.data.sources import data_sha256
from mmupt.database import now
from mmupt.errors import ConfigError, InputError, RunFolderError

_FILE = re.compile(r"round-([1-9][0-9]{0,5})\.json")


@dataclass(frozen=True)
class Round:
    """A label-free round.

    Attributes:
        number: from 1.
        data: its questions; None: the project's own (`data.unlabelled`).
        settings: what is different from the project's configuration, as ``key=value``.
        sha256: of the data file when it was added; empty for the project's own.
        planned: by `train.rounds`; otherwise a person has added it.
        added: when.
    """

    number: int
    data: str | None = None
    settings: tuple[str, ...] = ()
    sha256: str = ""
    planned: bool = True
    added: str = ""

    @property
    def stage(self) -> str:
        """Name of its stage and of its version."""
        return f"round-{self.number}"

    def config(self, config: Config) -> Config:
        """The configuration of this round.

        Raises:
            ConfigError: a setting that is unknown or out of range.
        """
        return load_config(None, self.settings, config) if self.settings else config

    def source(self, config: Config) -> str:
        """What its questions are told apart by; the project's own file may also be added."""
        own = config.data.unlabelled
        return self.data or (str(own.resolve()) if own else "")

    def path(self, config: Config) -> Path:
        """Its data file.

        Raises:
            InputError: the file is not what it was when it was added.
        """
        if self.data is None:
            assert config.data.unlabelled is not None  # noqa: S101  checked at the start
            return config.data.unlabelled
        path = Path(self.data)
        if self.sha256 != file_sha256(path):
            raise InputError(
                f"{path}: changed since it was added for {self.stage}; put it back, or add what is "
                "new as a round of its own (mmupt round add)"
            )
        return path


def read_rounds(folder: Path) -> list[Round]:
    """All rounds in their order.

    Raises:
        RunFolderError: a file that is none of ours.
    """
    rounds = []
    for path in folder.glob("round-*.json"):
        match = _FILE.fullmatch(path.name)
        if match is None:
            continue
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            found = Round(**{**tree, "settings": tuple(tree["settings"])})
            if found.number != int(match[1]):
                raise ValueError(f"number {str(found.number)[:20]}")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunFolderError(
                f"{path}: is no round ({error}); restore it or remove it"
            ) from error
        rounds.append(found)
    return sorted(rounds, key=lambda one: one.number)


def plan_rounds(folder: Path, config: Config) -> list[Round]:
    """All rounds, with those that `train.rounds` asks for and that are not there yet."""
    rounds = read_rounds(folder)
    while sum(one.planned for one in rounds) < config.train.rounds:
        rounds.append(_write(folder, rounds, Round(0, added=now())))
    return rounds


SECTIONS = ("consensus", "train", "guard")
"""What a round may have of its own; anything else holds for the whole project."""


def add_round(folder: Path, data: Path, settings: Sequence[str] = ()) -> Round:
    """Put a round behind the others.

    Raises:
        ConfigError: a setting that is not a round's own.
        InputError: a data file that cannot be read.
    """
    for setting in settings:
        key = setting.partition("=")[0].strip()
        if key.partition(".")[0] not in SECTIONS or key == "train.rounds":
            raise ConfigError(
                f"--set {setting}: {key} holds for the whole project; a round has its own "
                f"{', '.join(SECTIONS)}, such as train.max_steps=40"
            )
    sha256 = file_sha256(data)
    return _write(
        folder,
        read_rounds(folder),
        Round(0, str(data.resolve()), tuple(settings), sha256, planned=False, added=now()),
    )


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes; of a folder or a pattern that of its files.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        try:
            return data_sha256(path)
        except InputError:
            raise InputError(f"{path} cannot be read ({error.strerror})") from error


def _write(folder: Path, rounds: Sequence[Round], wanted: Round) -> Round:
    """Under the next number that nobody else has taken, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    number = max((one.number for one in rounds), default=0) + 1
    while True:
        found = Round(**{**asdict(wanted), "number": number, "settings": wanted.settings})
        temporary = folder / f".round.tmp-{os.getpid()}"
        temporary.write_text(
            json.dumps(asdict(found), ensure_ascii=False, indent=2) + "\n", "utf-8"
        )
        try:
            os.link(temporary, folder / f"round-{number}.json")
        except FileExistsError:
            number += 1
            continue
        finally:
            temporary.unlink()
        return found
