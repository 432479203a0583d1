"""Verbs that give a model to others: export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmupt.cli import common
from mmupt.cli.options import JsonOption

if TYPE_CHECKING:
    from mmupt.asking.prompt import Prompt


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.command()(export)


def export(
    place: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A project, a run, a model, or an adapter.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The new folder.")],
    kind: Annotated[
        Literal["hf", "peft", "merged", "gguf-ready"], typer.Option("--format", help="Its form.")
    ] = "hf",
    version: Annotated[
        str | None, typer.Option("--version", help="Of a project; default: its champion.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option("--base", help="An adapter's base model, if it moved.")
    ] = None,
    base_name: Annotated[
        str | None, typer.Option("--base-name", help="What --format peft calls its base model.")
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option("--dtype", help="Of the weights; default: as they are."),
    ] = None,
    license_name: Annotated[
        str | None, typer.Option("--license", help="Default: what the source's card says.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Data set whose first 16 questions check the export."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model for others, with its card, and check that it answers as before."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from mmupt.export.run import run_export
    from mmupt.export.source import find_source

    console = Console(stderr=True, quiet=as_json)
    with Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn(),
        console=console, transient=True,
    ) as bars:  # fmt: skip
        task = bars.add_task("verifying", total=None)
        source = find_source(
            place, version, base,
            lambda done, total: bars.update(task, completed=done, total=total),
        )  # fmt: skip
        record = run_export(
            kind, source, out,
            dtype=dtype, base_name=base_name, license_name=license_name,
            prompts=_prompts(data) if data else (),
            say=lambda what: bars.update(task, description=what, total=None),
        )  # fmt: skip
    if as_json:
        common.print_json(record)
        return
    check = record["check"]
    typer.echo(
        f"{out}: {kind}, {check['equal']} of {check['prompts']} greedy answers as before, "
        "chat template and end of turn intact"
    )
    if source.version and not source.passed:
        typer.echo(
            "the gate has not passed this version: its card says that it is for trying, not for use"
        )


def _prompts(data: Path) -> list[Prompt]:
    from mmupt.asking.maker import PromptMaker
    from mmupt.config import load_config

    config = load_config(None, [])
    maker = PromptMaker(config.views, max_pixels=config.model.max_pixels, seed=0)
    return [maker.prompt(sample) for sample in common.samples(config, data)[:16]]
