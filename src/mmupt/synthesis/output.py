"""The files of a run: questions as ordinary unlabelled rows, what was refused, and the report.

A row's text comes from the model; its id, its pictures, its columns and every path come from here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmupt.config import Config
from mmupt.data.images import printable
from mmupt.data.jsonl import write_jsonl
from mmupt.errors import ConfigError, InputError, RunFolderError
from mmupt.runs import write_json
from mmupt.synthesis.record import Attempt
from mmupt.synthesis.run import Outcome, Wanted
from mmupt.synthesis.sources import Source
from mmupt.version import __version__

FORMAT = 1
"""Of `report.json`; raised where a field changes its meaning."""

SHOWN = 2_000
"""Characters of a refused text in `rejected.jsonl`."""


@dataclass(frozen=True)
class Places:
    """Where everything goes.

    Attributes:
        questions: the new rows.
        folder: the run's folder, with the report and the record.
        pictures: gets the pictures that are not below the rows' folder.
    """

    questions: Path
    folder: Path
    pictures: Path

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    @property
    def rejected(self) -> Path:
        return self.folder / "rejected.jsonl"


def places(out: Path) -> Places:
    """`--out FILE.jsonl` with its folder `FILE.synthesis` beside it, or `--out FOLDER`.

    Raises:
        ConfigError: another kind of file.
        RunFolderError: a file that this run has not made.
    """
    out = out.absolute()
    suffix = out.suffix.lower()
    if suffix in (".json", ".csv", ".parquet", ".txt"):
        raise ConfigError(f"--out {out}: rows are written as .jsonl; name such a file or a folder")
    if suffix not in (".jsonl", ".ndjson"):
        return Places(out / "questions.jsonl", out, out / "images")
    folder = out.with_name(f"{out.stem}.synthesis")
    if out.is_dir():
        raise RunFolderError(f"{out}: is a folder; name a file, or a folder without .jsonl")
    if out.exists() and not (folder / "config.yaml").exists():
        raise RunFolderError(f"{out}: is there already, and not from here; choose a new --out")
    if not out.parent.is_dir():
        raise RunFolderError(f"{out.parent}: no such folder; make it, or choose another --out")
    return Places(out, folder, out.with_name(f"{out.stem}-images"))


def write_files(
    where: Places,
    outcome: Outcome,
    sources: Sequence[Source],
    config: Config,
    wanted: Wanted,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Write rows, refusals and, last, the report; returns the report.

    Args:
        facts: about model, data and writer, for the report; `fingerprint` is the lineage column
            `model`.
    """
    paths = _placed(where, [sources[one.source] for one in outcome.accepted])
    rows = [
        row_of(one, sources[one.source], paths, config, str(facts["fingerprint"]))
        for one in outcome.accepted
    ]
    write_jsonl(where.questions, rows)
    kept = {one.number for one in outcome.accepted}
    write_jsonl(
        where.rejected, (_refusal(one) for one in outcome.attempts if one.number not in kept)
    )
    report = _report(where, outcome, sources, config, wanted, facts)
    write_json(where.report, report)
    return report


def row_of(
    one: Attempt, source: Source, paths: Mapping[Path, str], config: Config, fingerprint: str
) -> dict[str, object]:
    """A new question as a row: no column of it is an answer."""
    assert one.question is not None  # noqa: S101
    own = config.synthesis
    problem = one.question + own.suffix
    return {
        "id": question_id(source, problem),
        "images": [paths[path] for path in source.sample.images],
        "problem": problem,
        "source_id": source.sample.id,
        "mode": own.mode,
        "model": fingerprint,
        "seed": config.seed,
        "share": one.share,
        "question_kind": one.question_kind,
        **{name: source.sample.meta[name] for name in own.keep if name in source.sample.meta},
    }


def question_id(source: Source, problem: str) -> str:
    """The same for the same question about the same pictures, whichever run wrote it."""
    text = json.dumps([source.pictures, problem], ensure_ascii=True)
    return f"new-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _placed(where: Places, sources: Sequence[Source]) -> dict[Path, str]:
    """Path of each picture relative to the rows; one that is not below them is linked or copied."""
    root = where.questions.parent.resolve()
    found: dict[Path, str] = {}
    for source in sources:
        for path, sha256 in zip(source.sample.images, source.pictures, strict=True):
            if path in found:
                continue
            if path.is_relative_to(root):
                found[path] = path.relative_to(root).as_posix()
                continue
            target = where.pictures / f"{sha256[:24]}{_suffix(path)}"
            _link(path, target)
            found[path] = target.relative_to(where.questions.parent).as_posix()
    return found


def _suffix(path: Path) -> str:
    """Readers go by content; a name from outside is not carried further than this."""
    suffix = path.suffix.lower()
    return suffix if suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) < 8 else ""


def _link(path: Path, target: Path) -> None:
    if target.exists():
        return
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, temporary)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _refusal(one: Attempt) -> dict[str, object]:
    """What a person needs to judge a refusal; the votes stand here and in no new question."""
    return {
        "attempt": one.number,
        "source_id": one.source_id,
        "reason": one.reason or "surplus",
        "asked": {"kind": one.kind, "difficulty": one.difficulty, "language": one.language},
        "question": one.question,
        "text": None if one.text is None else printable(one.text, SHOWN),
        "share": one.share,
        "votes": dict(one.votes),
    }


def _report(
    where: Places,
    outcome: Outcome,
    sources: Sequence[Source],
    config: Config,
    wanted: Wanted,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    attempts, accepted = outcome.attempts, outcome.accepted
    outcomes = Counter(one.outcome for one in attempts)
    surplus = outcomes["accepted"] - len(accepted)
    outcomes["accepted"] = len(accepted)
    if surplus:
        outcomes["surplus"] = surplus
    voted = [one for one in attempts if one.share is not None]
    bar = config.consensus.min_share
    return {
        "format": FORMAT,
        "mmupt": __version__,
        "mode": config.synthesis.mode,
        "ended": outcome.ended,
        "wanted": wanted.n,
        "accepted": len(accepted),
        "attempts": len(attempts),
        "budget": wanted.budget,
        "outcomes": dict(outcomes.most_common()),
        "ways": _ways(attempts),
        "shares": _counted(one.share for one in voted),
        "accepted_shares": _counted(one.share for one in accepted),
        "accepted_kinds": _counted(one.question_kind for one in accepted),
        "pictures": len({sources[one.source].pictures for one in accepted}),
        "rows_with_pictures": len(sources),
        "below_min_share": sum((one.share or 0.0) < bar for one in accepted),
        "min_share": bar,
        "settings": {
            "seed": config.seed,
            **config.synthesis.model_dump(mode="json"),
            "votes": {
                name: getattr(config.consensus, name)
                for name in ("views", "samples_per_view", "temperature", "kind", "rtol")
            },
        },
        **facts,
        "files": {
            "questions": str(where.questions),
            "rejected": str(where.rejected),
            "report": str(where.report),
        },
    }


def _ways(attempts: Sequence[Attempt]) -> list[dict[str, object]]:
    tried = Counter((one.kind, one.difficulty) for one in attempts)
    kept = Counter((one.kind, one.difficulty) for one in attempts if one.reason is None)
    return [
        {
            "kind": kind, "difficulty": difficulty, "attempts": count,
            "accepted": kept[kind, difficulty], "yield": kept[kind, difficulty] / count,
        }
        for (kind, difficulty), count in sorted(tried.items())
    ]  # fmt: skip


def _counted(values: Any) -> dict[str, int]:
    """How often each value occurs, in order."""
    return {str(value): count for value, count in sorted(Counter(values).items())}
