"""A project's folder: a run folder whose stages, rounds, versions and verdicts outlive a run."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from mmupt.config import Config, dump_config
from mmupt.errors import RunFolderError
from mmupt.runs import RunFolder, write_atomic

if TYPE_CHECKING:
    from mmupt.audit.store import AuditStore
    from mmupt.ledger.book import Ledger
    from mmupt.registry.store import Registry


@dataclass(frozen=True)
class Project:
    """Where everything of a project lies; reading needs no lock."""

    root: Path

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.root)

    @property
    def database(self) -> Path:
        """Versions, ledger, and unless the configuration says otherwise audits."""
        return self.root / "project.db"

    @property
    def rounds(self) -> Path:
        return self.root / "rounds"

    @property
    def steps(self) -> Path:
        return self.root / "stages"

    @property
    def pilot(self) -> Path:
        return self.root / "pilot"

    def frame(self, stage: str) -> Path:
        """The pseudo-labels of a round that an audit draws from."""
        return self.root / "audits" / f"{stage}.parquet"

    def rules(self, stage: str) -> Path:
        """What the error-detection rules say of a round."""
        return self.root / "audits" / f"{stage}.rules.json"

    def id(self) -> str:
        """Names the project among others in one database; made once."""
        path = self.root / "project.id"
        if not path.exists():
            write_atomic(path, f"{uuid.uuid4()}\n")
        return path.read_text(encoding="utf-8").strip()

    def config(self) -> Config:
        """The configuration as the last run wrote it.

        Raises:
            RunFolderError: there is none, or it cannot be read.
        """
        path = self.run.config
        try:
            return Config.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except FileNotFoundError:
            raise RunFolderError(
                f"{self.root}: no project; expected the folder of `mmupt run` or `mmupt demo`"
            ) from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
            first = str(error).strip().splitlines()[0]
            raise RunFolderError(f"{path}: cannot be read ({first})") from error

    def keep(self, config: Config) -> None:
        """Write a run's configuration down for the other verbs; what a person wrote stays."""
        path = self.run.config
        head, _, body = path.read_text(encoding="utf-8").partition("\n")
        text = dump_config(config)
        if head.startswith("# written by `mmupt") and body != text:
            write_atomic(path, f"{head}\n{text}")

    def registry(self) -> Registry:
        from mmupt.registry.store import Registry

        return Registry(self.database)

    def ledger(self) -> Ledger:
        from mmupt.ledger.book import Ledger

        return Ledger(self.database)

    def audits(self, config: Config) -> AuditStore:
        from mmupt.audit.store import AuditStore

        return AuditStore(config.audit.url or self.database, self.id())


def find_project(root: Path) -> Project:
    """The project in a folder.

    Raises:
        RunFolderError: there is none.
    """
    project = Project(root)
    if not project.database.is_file() or not project.run.config.is_file():
        raise RunFolderError(
            f"{root}: no project; expected the folder of `mmupt run` or `mmupt demo`"
        )
    return project
