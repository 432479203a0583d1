"""Verbs of people in charge: status, versions, promotion, rounds, return on investment."""

from __future__ import annotations

import getpass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmupt.cli import common
from mmupt.cli.options import JsonOption, LangOption, SetOption

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

ProjectArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder of `mmupt run` or `mmupt demo`.")
]
ByOption = Annotated[
    str | None, typer.Option("--by", help="Who does it; default: the user of this machine.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]

rounds = typer.Typer(help="Rounds on new material.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.command()(status)
    app.add_typer(rounds, name="round")
    app.command()(gate)
    app.command()(models)
    app.command()(promote)
    app.command()(rollback)
    app.command()(verify)
    app.command()(route)
    app.command()(roi)


def status(folder: ProjectArgument, lang: LangOption = "en", as_json: JsonOption = False) -> None:
    """Which stages are done, what the gates said, and what the project waits for."""
    from mmupt.pipeline.project import find_project
    from mmupt.pipeline.status import project_status
    from mmupt.report.status import status_view

    found = project_status(find_project(folder))
    if as_json:
        common.print_json(found)
    else:
        printed(*status_view(found, folder, lang))


@rounds.command("add")
def round_add(
    folder: ProjectArgument,
    data: Annotated[Path, typer.Option("--data", help="JSONL of new unlabelled questions.")],
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a round on new material behind the others; `mmupt run DIR` goes on with it."""
    from mmupt.config import load_config
    from mmupt.pipeline.project import find_project
    from mmupt.pipeline.rounds import add_round

    project = find_project(folder)
    config = load_config(None, settings or [], project.config())
    rows = common.samples(config, data)
    added = add_round(project.rounds, data, settings or [])
    if as_json:
        common.print_json({"round": added.number, "stage": added.stage, "rows": len(rows)})
    else:
        typer.echo(f"{added.stage}: {len(rows)} questions; go on with: mmupt run {folder}")


def gate(
    folder: ProjectArgument,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Such as round-1; default: the last.")
    ] = None,
    lang: LangOption = "en",
    as_json: JsonOption = False,
) -> None:
    """What a gate decided, criterion by criterion, with the evidence."""
    from mmupt.errors import RefusedError
    from mmupt.gates.decide import Decision
    from mmupt.gates.view import decision_view
    from mmupt.pipeline.project import find_project

    registry = find_project(folder).registry()
    names = [one.version for one in registry.decisions()]
    if not names:
        raise RefusedError(f"{folder}: no gate has decided yet; see `mmupt status {folder}`")
    wanted = registry.version(version).name if version else names[-1]
    found = registry.latest_decision(wanted)
    if found is None:
        raise RefusedError(f"{wanted} has no gate decision yet; decided are {', '.join(names)}")
    decision = Decision.from_json(found.content)
    if as_json:
        words = {language: decision.explain(language) for language in ("en", "ja")}
        common.print_json({"id": found.id, "explained": words, **decision.as_json()})
    else:
        printed(decision_view(decision, lang))


def models(
    folder: ProjectArgument,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", help="Also enter them into MLflow's registry at this URI."),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="With --mirror: the registered model's name.")
    ] = "mmupt",
    lang: LangOption = "en",
    as_json: JsonOption = False,
) -> None:
    """All versions of the model: where they come from, what their gates said, which one serves."""
    from mmupt.pipeline.project import find_project
    from mmupt.pipeline.versions import version_rows
    from mmupt.report.status import versions_view

    project = find_project(folder)
    rows = version_rows(project)
    mirrored: dict[str, Any] = {}
    if mirror:
        from mmupt.registry.mlflow import mirror as into_mlflow

        into_mlflow(project.registry(), mirror, name)
        mirrored = {"mirrored": mirror}
    if as_json:
        aliases = project.registry().aliases()
        common.print_json({"versions": rows, "aliases": aliases, **mirrored})
    else:
        printed(*versions_view(rows, lang))


def promote(
    folder: ProjectArgument,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Such as round-1.")],
    rollout: Annotated[
        str, typer.Option("--rollout", help="shadow, 5%, 25% or 100% of the requests.")
    ] = "100%",
    by: ByOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let a version serve that has passed its gate, wholly or for a share of the requests."""
    from mmupt.errors import RefusedError
    from mmupt.pipeline.project import find_project
    from mmupt.registry.moves import checked_rollout

    registry = find_project(folder).registry()
    checked_rollout(rollout)
    faults = registry.verify(version)
    if faults:
        raise RefusedError(
            f"{version} is not as it was registered: {faults[0]}; see `mmupt verify {folder}`"
        )
    _moved(registry.promote(version, rollout, by=_who(by), reason=reason), as_json)


def rollback(
    folder: ProjectArgument,
    by: ByOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take back what is being introduced, or restore the champion before."""
    from mmupt.pipeline.project import find_project

    _moved(find_project(folder).registry().rollback(by=_who(by), reason=reason), as_json)


def verify(
    folder: ProjectArgument,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="A version or alias; default: all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare models with what was registered, byte for byte. Exit code 1: something differs."""
    from rich.console import Console
    from rich.progress import Progress

    from mmupt.pipeline.project import find_project

    registry = find_project(folder).registry()
    names = [version] if version else [one.name for one in registry.versions()]
    found: dict[str, list[dict[str, str]]] = {}
    with Progress(console=Console(stderr=True, quiet=as_json), transient=True) as bars:
        for name in names:
            bar = bars.add_task(name, total=None)
            faults = registry.verify(name, partial(_show, bars, bar))
            found[name] = [{"kind": one.kind, "file": one.path, "text": str(one)} for one in faults]
    broken = any(found.values())
    if as_json:
        common.print_json({"intact": not broken, "versions": found})
    else:
        for name, faults_ in found.items():
            typer.echo(f"{name}: {'as registered' if not faults_ else 'NOT as registered'}")
            for fault in faults_:
                typer.echo(f"  {fault['text']}")
    raise typer.Exit(1 if broken else 0)


def route(
    folder: ProjectArgument,
    key: Annotated[
        str, typer.Option("--id", help="Of the request, customer or device; the same one each time")
    ],
    as_json: JsonOption = False,
) -> None:
    """Which version answers a request while a new one is being introduced."""
    from mmupt.pipeline.project import find_project

    registry = find_project(folder).registry()
    found = registry.route(key)
    if as_json:
        paths = {one.name: str(registry.folder(one)) for one in registry.versions()}
        shadow = {"shadow": found.shadow} if found.shadow else {}
        common.print_json(
            {"id": key, "serves": found.serves, **shadow, "model": paths[found.serves]}
        )
    else:
        typer.echo(found.serves + (f" (beside it, unseen: {found.shadow})" if found.shadow else ""))


def roi(folder: ProjectArgument, lang: LangOption = "en", as_json: JsonOption = False) -> None:
    """What the project cost, what it won, and when it pays, at your prices (section `roi`)."""
    from mmupt.ledger.view import roi_json, roi_view
    from mmupt.pipeline.accounts import project_roi
    from mmupt.pipeline.project import find_project

    found = project_roi(find_project(folder))
    if as_json:
        common.print_json(roi_json(found))
    else:
        printed(roi_view(found, lang))


def _show(bars: Progress, bar: TaskID, done: int, total: int) -> None:
    bars.update(bar, completed=done, total=total)


def _moved(move: Any, as_json: bool) -> None:
    if as_json:
        after = move.after
        common.print_json(
            {
                "moved": move.changed, "kind": move.kind, "version": move.version,
                "text": move.text, "champion": after.champion, "challenger": after.challenger,
                "rollout": after.rollout, "previous": after.previous,
            }
        )  # fmt: skip
    else:
        typer.echo(move.text)


def _who(by: str | None) -> str:
    if by:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no user of that number, as in some containers
        return "unknown"


def printed(*parts: Any) -> None:
    """For people, on standard output."""
    from rich.console import Console

    console = Console()
    for part in parts:
        console.print(part, highlight=False)
