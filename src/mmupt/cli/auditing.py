"""Verbs of audits: what people are asked, what they said, what it proves."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmupt.cli import common
from mmupt.cli.options import JsonOption, LangOption
from mmupt.cli.supervising import ProjectArgument, printed

if TYPE_CHECKING:
    from mmupt.audit.store import AuditStore
    from mmupt.config import Config
    from mmupt.pipeline.project import Project

RoundOption = Annotated[
    str | None, typer.Option("--round", help="Such as round-1; default: the last audit.")
]

audits = typer.Typer(help="Samples of pseudo-labels that people judge.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.add_typer(audits, name="audit")


@audits.command("status")
def status(folder: ProjectArgument, lang: LangOption = "en", as_json: JsonOption = False) -> None:
    """How far each audit is, and what its verdicts prove so far."""
    from mmupt.pipeline.project import find_project
    from mmupt.pipeline.status import project_status
    from mmupt.report.status import audit_lines

    found = project_status(find_project(folder))["audits"]
    if as_json:
        common.print_json({"audits": found})
    elif found:
        printed(*audit_lines(found, lang))
    else:
        typer.echo("no audit yet; a round draws one when it is trained")


@audits.command("export")
def export(
    folder: ProjectArgument,
    out: Annotated[Path, typer.Option("--out", help="JSON file of tasks for Label Studio.")],
    audit: RoundOption = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Leave the votes out, so that nobody is led by them.")
    ] = False,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="Write the verdicts given so far instead, as JSONL.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write an audit for review elsewhere, with the labeling configuration beside it."""
    from mmupt.audit.exchange import export_tasks, export_verdicts, label_config, write_tasks
    from mmupt.errors import InputError
    from mmupt.runs import write_atomic

    _, _, store, name = _opened(folder, audit)
    rows = list(
        export_verdicts(store, name) if verdicts else export_tasks(store, name, blind=blind)
    )
    written = [str(out)]
    try:
        count = write_tasks(rows, out)
        if not verdicts:
            interface = out.with_suffix(".xml")
            write_atomic(interface, label_config(blind=blind, images=_most_images(rows)))
            written.append(str(interface))
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror})") from error
    if as_json:
        common.print_json({"audit": name, "rows": count, "files": written})
    else:
        typer.echo(f"{name}: {count} rows in {', '.join(written)}")


@audits.command("import")
def import_(
    folder: ProjectArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Verdicts as JSONL, or Label Studio's export.")
    ],
    audit: RoundOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in verdicts: all rows of a file or none; the same file again adds nothing."""
    from mmupt.audit.exchange import import_verdicts
    from mmupt.errors import InputError

    project, config, store, name = _opened(folder, audit)
    try:
        with file.open("rb") as lines:
            added = import_verdicts(store, name, lines, name=str(file))
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror})") from error
    _tell(project, config, store, name, {"added": added.added, "already": added.already}, as_json)


@audits.command("verdict")
def verdict(
    folder: ProjectArgument,
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="Id of the pseudo-label.")],
    kind: Annotated[
        Literal["accept", "reject", "correct", "unsure", "skip", "undo"],
        typer.Argument(metavar="VERDICT", help="accept, reject, correct, unsure, skip or undo."),
    ],
    reviewer: Annotated[str, typer.Option("--reviewer", help="Who says it.")],
    answer: Annotated[
        str | None, typer.Option("--answer", help="The right answer, for correct.")
    ] = None,
    comment: Annotated[str, typer.Option("--comment", help="Free text.")] = "",
    seconds: Annotated[
        float, typer.Option("--seconds", help="That the reviewer spent on it.")
    ] = 0.0,
    audit: RoundOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record one verdict."""
    from mmupt.audit.records import Verdict

    project, config, store, name = _opened(folder, audit)
    one = Verdict(str(uuid.uuid4()), name, unit, reviewer, kind, answer, comment, seconds)
    _tell(project, config, store, name, {"added": int(store.add(one))}, as_json)


@audits.command("next")
def following(
    folder: ProjectArgument,
    reviewer: Annotated[str, typer.Option("--reviewer", help="Who asks.")],
    audit: RoundOption = None,
    as_json: JsonOption = False,
) -> None:
    """The next pseudo-label that a reviewer is to judge; it is theirs for ten minutes."""
    import json

    from mmupt.database import now

    _, config, store, name = _opened(folder, audit)
    asked = config.audit
    item = store.claim(
        name,
        reviewer,
        reviewers=asked.reviewers,
        second=asked.second_review,
        lease=LEASE,
        now=now(),
    )
    if item is None:
        common.print_json({"audit": name, "item": None}) if as_json else typer.echo("none left")
        return
    shown = json.loads(item.payload)
    if as_json:
        found: dict[str, Any] = {
            "unit": item.unit, "pseudo_label": item.pseudo_label, "share": item.share,
            "rules": list(item.rules), "slices": dict(item.slices), **shown,
        }  # fmt: skip
        common.print_json({"audit": name, "item": found})
        return
    typer.echo(f"{item.unit}  {shown.get('problem', '')}")
    for image in shown.get("images", []):
        typer.echo(f"  {image}")
    typer.echo(f"  label {item.pseudo_label}, vote share {item.share:.2f}")


@audits.command("anchors")
def anchors(
    folder: ProjectArgument,
    out: Annotated[Path, typer.Option("--out", help="JSONL with answers, for `mmupt sft`.")],
    accepted: Annotated[
        bool, typer.Option("--accepted", help="Also pseudo-labels that people confirmed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the answers that people gave as labelled rows, for the next fine-tuning."""
    from mmupt.pipeline.anchors import write_anchors
    from mmupt.pipeline.project import find_project

    project = find_project(folder)
    count = write_anchors(project, project.config(), out, accepted=accepted)
    if as_json:
        common.print_json({"rows": count, "file": str(out)})
    else:
        typer.echo(f"{count} labelled rows in {out}")


@audits.command("rules")
def rules(folder: ProjectArgument, audit: RoundOption = None, as_json: JsonOption = False) -> None:
    """What the error-detection rules found in a round, with the ids."""
    import json

    from mmupt.errors import RunFolderError

    project, _, _, name = _opened(folder, audit)
    path = project.rules(name)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: cannot be read; restore it from a backup") from error
    if as_json:
        common.print_json({"audit": name, **found})
        return
    for hit in found["rules"]:
        ids = ", ".join(hit["ids"][:SHOWN]) + (" ..." if len(hit["ids"]) > SHOWN else "")
        typer.echo(f"{hit['rule']:24} {hit['count']:6} of {hit['of']}  {ids}")


@audits.command("plan")
def plan(
    labels: Annotated[int, typer.Option("--labels", min=1, help="Pseudo-labels in the lot.")],
    aql: Annotated[
        float, typer.Option("--aql", help="Share of wrong labels that is still acceptable.")
    ] = 0.10,
    level: Annotated[
        Literal["I", "II", "III"], typer.Option("--level", help="General inspection level.")
    ] = "II",
    severity: Annotated[
        Literal["normal", "tightened", "reduced"],
        typer.Option("--severity", help="Of the inspection."),
    ] = "normal",
    as_json: JsonOption = False,
) -> None:
    """A lot plan and its operating characteristic, before any audit (`audit.size: lot`)."""
    from mmupt.audit.lots import lot_plan, oc
    from mmupt.config import load_config

    settings = [f"audit.lot.aql={aql}", f"audit.lot.level={level}"]
    config = load_config(None, settings).audit.lot
    found = lot_plan(labels, config, severity)
    shares = sorted(
        {aql / 4, aql / 2, aql, min(1.0, aql * 1.5), min(1.0, aql * 2), min(1, aql * 3)}
    )
    curve = [{"wrong": share, "accepted": oc(found, share)} for share in shares]
    if as_json:
        common.print_json(
            {
                "labels": labels, "code": found.code, "sample": found.sample,
                "accept": found.acceptance, "reject": found.rejection, "severity": severity,
                "curve": curve,
            }
        )  # fmt: skip
        return
    typer.echo(
        f"letter {found.code}: judge {found.sample} of {labels}; accept with at most "
        f"{found.acceptance} wrong, reject with {found.rejection} or more"
    )
    for point in curve:
        typer.echo(f"  {point['wrong']:6.1%} wrong: accepted {point['accepted']:6.1%} of the time")


LEASE = 600.0
"""Seconds for which a claimed pseudo-label is a reviewer's own."""

SHOWN = 5
"""Ids of a rule that are shown; all of them are in the JSON."""


def _most_images(tasks: list[dict[str, Any]]) -> int:
    """As `label_config` counts them: 0 or 1 where all tasks have so many."""
    counts = {len(task["data"]["images"]) for task in tasks}
    return counts.pop() if len(counts) == 1 else max([2, *counts])


def _opened(folder: Path, audit: str | None) -> tuple[Project, Config, AuditStore, str]:
    """The project, its configuration and its audits, and the name of the one that is meant."""
    from mmupt.errors import InputError
    from mmupt.pipeline.project import find_project

    project = find_project(folder)
    config = project.config()
    store = project.audits(config)
    names = [one.name for one in store.audits()]
    if not names:
        raise InputError(f"{folder}: no audit yet; a round draws one when it is trained")
    name = audit or names[-1]
    store.audit(name)
    return project, config, store, name


def _tell(
    project: Project, config: Config, store: AuditStore, name: str, counts: dict[str, int],
    as_json: bool,
) -> None:  # fmt: skip
    """What was added, and where the audit stands now."""
    from mmupt.pipeline.auditing import standing_of
    from mmupt.pipeline.status import audit_figures
    from mmupt.report.status import audit_lines

    standing = standing_of(store, name, config)
    figures = audit_figures(standing) if standing else {}
    if as_json:
        common.print_json({"audit": name, **counts, **figures})
        return
    typer.echo(", ".join(f"{key} {value}" for key, value in counts.items()))
    printed(*audit_lines({name: figures}, "en"))
    if not figures.get("still_needed"):
        typer.echo(f"the gate can decide: mmupt run {project.root}")
