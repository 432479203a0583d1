"""A whole run from an order to its files, whoever writes and answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmupt.asking.answerer import Answerer
from mmupt.config import Config, load_config
from mmupt.errors import ConfigError, RunFolderError
from mmupt.events import EventLog
from mmupt.pipeline.digests import FileHashes
from mmupt.runs import RunFolder, write_json
from mmupt.synthesis.output import Places, write_files
from mmupt.synthesis.record import Record
from mmupt.synthesis.run import Synthesis, Wanted
from mmupt.synthesis.sources import Source
from mmupt.types import Sample


@dataclass(frozen=True)
class Order:
    """What is wanted.

    Attributes:
        data: the file of the rows, for the report.
        rows: how many it has, those without pictures included.
        samples: those with pictures.
        wanted: when to stop.
        where: the files.
        sft_questions: rows that a writer is taught with first; None: the model itself writes.
    """

    data: Path
    rows: int
    samples: Sequence[Sample]
    wanted: Wanted
    where: Places
    sft_questions: int | None = None


@dataclass(frozen=True)
class Team:
    """Who writes and who answers.

    Attributes:
        writer, voter: most often the same.
        fingerprint: lineage column `model` of the new rows.
        about: on the model, for the report.
        forbidden: texts that no question may hold: the model's special tokens.
        tuned: the writer was taught with the rows' questions.
    """

    writer: Answerer
    voter: Answerer
    fingerprint: str
    about: dict[str, Any]
    forbidden: tuple[str, ...] = ()
    tuned: bool = False


def with_options(config: Config, **own: Any) -> Config:
    """The configuration with a command's own options in section `synthesis`, checked alike.

    Raises:
        ConfigError: one of them is out of range.
    """
    given = {key: value for key, value in own.items() if value}
    return load_config(None, [f"synthesis={json.dumps(given)}"], config) if given else config


def check_writer(config: Config, sft_questions: int | None) -> None:
    """Refuse what a writer made of plain questions cannot do.

    Raises:
        ConfigError: mode in-context, kinds, or a server.
    """
    if sft_questions is None:
        return
    if config.synthesis.mode != "direct":
        raise ConfigError(
            "--sft-questions teaches to write from the picture alone; it goes with --mode direct"
        )
    if config.synthesis.kinds is not None:
        raise ConfigError(
            "--kind asks for a kind, and a writer made by --sft-questions is asked for none; "
            "leave one of them out"
        )
    if config.server.url is not None:
        raise ConfigError("--sft-questions trains a model; it goes with --model, not with --server")
    if config.sft is None:
        raise ConfigError("--sft-questions fine-tunes by the section sft, which is null; set it")


def check_inputs(
    folder: RunFolder, hashes: FileHashes, sources: Sequence[Source], order: Order, model: str
) -> str:
    """The digest of the rows; what a folder was begun with must not have changed.

    Raises:
        RunFolderError: it did.
    """
    now = {
        "model": model,
        "data": hashes.data([source.sample for source in sources]),
        "sft_questions": order.sft_questions,
    }
    path = folder.root / "inputs.json"
    if not path.exists():
        write_json(path, now)
        return str(now["data"])
    try:
        was = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        was = {}
    changed = [key for key in now if was.get(key) != now[key]]
    if changed:
        raise RunFolderError(
            f"{folder.root}: was begun with other inputs ({changed[0]} differs); choose a new --out"
        )
    return str(now["data"])


def write_questions(
    folder: RunFolder,
    config: Config,
    sources: Sequence[Source],
    order: Order,
    team: Team,
    log: EventLog,
    sha256: str,
) -> dict[str, Any]:
    """Go on until enough questions are kept, then write the files; returns the report.

    Args:
        sha256: of the rows, from `check_inputs`.
    """
    outcome = Synthesis(
        config, sources, team.writer, team.voter, Record(folder.root / "attempts"), log,
        forbidden=team.forbidden, tuned=team.tuned,
    ).run(order.wanted)  # fmt: skip
    facts = {
        "fingerprint": team.fingerprint,
        "model": team.about,
        "sft_questions": order.sft_questions,
        "data": {"file": str(order.data), "rows": order.rows, "sha256": sha256},
    }
    report = write_files(order.where, outcome, sources, config, order.wanted, facts)
    log.emit("run_finished", accepted=report["accepted"], ended=report["ended"])
    return report
