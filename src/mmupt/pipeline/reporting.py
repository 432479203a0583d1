"""What the report of a project shows, gathered from its folder as plain JSON; nothing is trained.

`report` renders this beside the run's own files, and `report.json` holds it as it is. A part that
cannot be read is named under ``problems``; the others stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmupt.errors import MmuptError
from mmupt.events import jsonable
from mmupt.gates.decide import Check, Decision
from mmupt.gates.words import filled, say
from mmupt.ledger.say import title
from mmupt.ledger.view import roi_json
from mmupt.pipeline.accounts import project_roi
from mmupt.pipeline.frame import read_frame
from mmupt.pipeline.project import Project, find_project
from mmupt.pipeline.reported_audits import reported_audits
from mmupt.pipeline.status import project_status
from mmupt.pipeline.versions import version_rows
from mmupt.registry.versions import Past
from mmupt.report.build import Lang, write_report
from mmupt.report.compare import write_comparison
from mmupt.words import LANGUAGES

FORMAT = 1
"""Of the facts."""

_MOST_MOVES = 60
"""Of the history; the newest."""


def report_on(folder: Path, lang: Lang = "en", out: Path | None = None) -> list[Path]:
    """Write the report of a run folder or a project.

    Args:
        folder: of `mmupt run`, `mmupt demo` or one of the verbs with ``--out``.
        lang: `en`, `ja` or `both`.
        out: the page; default: `index.html` in the folder.

    Returns:
        The files written, see `report.build.write_report`.

    Raises:
        RunFolderError: `folder` is none.
    """
    return write_report(folder, lang, facts=facts_of(folder), out=out)


def compare_on(folders: Sequence[Path], lang: Lang, out: Path) -> list[Path]:
    """Lay runs or projects side by side on one page.

    Raises:
        InputError: fewer than two folders, or more than fit.
        RunFolderError: one is no folder.
    """
    return write_comparison([(folder, facts_of(folder)) for folder in folders], lang, out)


def sample_facts(folder: Path, sample: str) -> list[dict[str, Any]]:
    """What people said of a sample, oldest first; nothing for a run that is no project."""
    project = Project(folder)
    if not project.database.is_file():
        return []
    store = find_project(folder).audits(project.config())
    found = []
    for audit in store.audits():
        units = {item.unit for item in store.items(audit.name) if item.sample_id == sample}
        found += [
            {
                "audit": audit.name, "time": one.time, "reviewer": one.reviewer,
                "kind": one.kind, "answer": one.answer, "comment": one.comment,
            }
            for one in store.verdicts(audit.name)
            if one.unit in units
        ]  # fmt: skip
    return found


def facts_of(folder: Path) -> dict[str, Any] | None:
    """The facts of the project in a folder; None where it is a run without one."""
    project = Project(folder)
    if project.database.is_file():
        return project_facts(project)
    if (folder / "project.id").is_file():  # one that lost its database, which reading would make
        gone = {"part": "database", "why": f"{project.database.name} is missing", "gone": True}
        return {"format": FORMAT, "problems": [gone]}
    return None


def project_facts(project: Project) -> dict[str, Any]:
    """Everything about a project that its report shows and its run files do not hold.

    Keys: ``state``, ``stage``, ``why``, ``champion``, ``challenger``, ``rollout``, ``steps``,
    ``versions``, ``decisions``, ``history``, ``audits``, ``roi``, ``problems``; plain JSON, with
    sentences in both languages. A part that cannot be read is missing and stands in
    ``problems`` as ``{"part", "why"}``.
    """
    problems: list[dict[str, Any]] = []
    facts: dict[str, Any] = {"format": FORMAT}
    status = _part("status", lambda: project_status(project), problems)
    if status is None:
        status = _part("aliases", lambda: asdict(project.registry().current()), []) or {}
    for name in ("state", "stage", "why", "champion", "challenger", "rollout", "previous"):
        facts[name] = status.get(name)
    facts["steps"] = status.get("stages", [])
    parts: Mapping[str, Callable[[], Any]] = {
        "versions": lambda: version_rows(project),
        "decisions": lambda: _decisions(project),
        "history": lambda: [_move(one) for one in project.registry().history()[-_MOST_MOVES:]],
        "audits": lambda: reported_audits(project),
        "roi": lambda: _roi(project),
    }
    for name, read in parts.items():
        facts[name] = _part(name, read, problems)
    facts["problems"] = [*problems, *_lost_frames(project, facts["audits"] or ())]
    found: dict[str, Any] = jsonable(facts)
    return found


def _lost_frames(project: Project, audits: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Audits whose frame is gone or broken: their verdicts stand, the steps are not known."""
    for audit in audits:
        path = project.frame(str(audit["name"]))
        try:
            read_frame(path)
        except (OSError, ValueError, KeyError, TypeError):
            yield {"part": "frame", "why": f"audits/{path.name}: missing or no readable parquet"}


def _part(name: str, read: Callable[[], Any], problems: list[dict[str, Any]]) -> Any:
    """One part; the edge at which broken files become words."""
    try:
        return read()
    except (MmuptError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = str(error).strip().partition("\n")[0][:300]
        if not why or isinstance(error, KeyError | TypeError | AttributeError):
            why = f"{type(error).__name__}: {why}"  # "'x'" alone would say nothing
        problems.append({"part": name, "why": why})
        return None


def _decisions(project: Project) -> list[dict[str, Any]]:
    """The latest decision on each version, in the order in which they were made."""
    registry = project.registry()
    latest = {stored.version: stored for stored in registry.decisions()}
    return [
        _decision(Decision.from_json(stored.content), stored.id)
        for stored in sorted(latest.values(), key=lambda one: one.id)
    ]


def _decision(decision: Decision, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "version": decision.subject.version,
        "baseline": decision.subject.baseline,
        "verdict": decision.verdict,
        "made": decision.made,
        "explained": {lang: decision.explain(lang) for lang in LANGUAGES},
        "checks": [_check(check) for check in decision.checks],
    }


def _check(check: Check) -> dict[str, Any]:
    """As `gates.view` shows it on a terminal."""
    measured = check.evidence and (check.name == "guard" or check.figure is not None)
    asked, bound = check.verdict != "not-applicable", check.bound or 0.0
    return {
        "name": check.name,
        "verdict": check.verdict,
        "figure": check.figure,
        "bound": check.bound,
        "values": dict(check.values),
        "words": {
            lang: {
                "criterion": say(f"criterion.{check.name}", lang),
                "verdict": say(f"verdict.{check.verdict}", lang),
                "figure": say(f"figure.{check.name}", lang, **filled(check.values, lang))
                if measured
                else None,
                "bound": say(f"bound.{check.name}", lang, bound=bound, points=100 * bound)
                if asked
                else None,
                "sentence": check.sentence(lang),
            }
            for lang in LANGUAGES
        },
    }


def _move(past: Past) -> dict[str, Any]:
    return {
        **{name: getattr(past, name) for name in ("id", "made", "kind", "version", "rollout")},
        "before": asdict(past.before),
        "after": asdict(past.after),
        "decision": past.decision,
        "by": past.by,
        "reason": past.reason,
    }


def _roi(project: Project) -> dict[str, Any]:
    """In both languages, every figure with its title."""
    roi = project_roi(project)
    told: dict[str, Any] = {lang: roi_json(roi, lang) for lang in LANGUAGES}
    for lang, one in told.items():
        for figure, row in zip(roi.figures, one["figures"], strict=True):
            row["title"] = title(figure, lang)
    return told
