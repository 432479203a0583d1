"""Results of `mmupt bias` that belong to a run: where they lie, and which can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmupt.report.read import read_object
from mmupt.report.text import clean, words
from mmupt.report.values import mapping

FOLDER, FILE = "bias", "bias.json"
"""`bias.json` is looked for in the folder itself, in `bias/`, and in the folders within `bias/`."""

_FORMAT = 1
_MOST = 4
"""Results that are shown, the newest; the others are counted."""


@dataclass(frozen=True, slots=True)
class BiasResult:
    """One comparison of two models.

    Attributes:
        name: of its folder, seen from the run's.
        document: the content of `bias.json`.
    """

    name: str
    document: Mapping[str, Any]

    @property
    def models(self) -> tuple[str, str]:
        """What was compared, by the last parts of the paths: stage names within a project."""
        told = mapping(self.document.get("models"))
        return _model(told.get("before")), _model(told.get("after"))


def read_biases(run_dir: Path, lang: str, problems: list[str]) -> tuple[BiasResult, ...]:
    """The results in a run's folder, the newest first.

    Args:
        run_dir: a run, a project, or the folder of `mmupt bias` itself.
        lang: language of the problems.
        problems: what is broken is added, in words.
    """
    texts, found = words(lang), []
    for folder in _folders(run_dir):
        inside = folder.relative_to(run_dir).as_posix()
        name = FILE if inside == "." else f"{clean(inside, 60)}/{FILE}"
        document = read_object(folder / FILE, texts, problems, name)
        if not document:
            continue
        if document.get("format") != _FORMAT or not isinstance(document.get("verdict"), str):
            problems.append(texts["problem_no_bias"].format(file=name))
            continue
        found.append(BiasResult("" if inside == "." else inside, document))
    return tuple(found[:_MOST])


def _folders(run_dir: Path) -> Sequence[Path]:
    """Folders of results, the newest first. One that was begun and has no `bias.json` counts, so
    that the page says what is missing."""
    home = run_dir / FOLDER
    inner = sorted(path for path in home.glob("*") if path.is_dir() and path.name != "parts")
    begun = ("inputs.json", FILE)
    chosen = [
        path for path in (run_dir, home, *inner) if any((path / name).is_file() for name in begun)
    ]
    if run_dir in chosen and not (run_dir / FILE).is_file():
        chosen.remove(run_dir)  # other runs have inputs too
    return sorted(chosen, key=_time, reverse=True)


def _time(folder: Path) -> float:
    try:
        return (folder / FILE).stat().st_mtime
    except OSError:
        return 0.0


def _model(value: object) -> str:
    """`…/checkpoints/round-1` is `round-1`; `…/sft/model` is `sft/model`."""
    parts = Path(str(value)).parts if isinstance(value, str) else ()
    kept = parts[-2:] if parts and parts[-1] == "model" else parts[-1:]
    return clean("/".join(kept), 60)
