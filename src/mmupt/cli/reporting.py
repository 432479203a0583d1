"""Verbs for looking: the report, a live view of a run, one sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mmupt.cli import common
from mmupt.cli.options import JsonOption, LangOption

PageLang = Literal["en", "ja", "both"]

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder or a project, finished or not.")
]


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.command()(report)
    app.command()(watch)
    app.command()(show)


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_OR_PROJECT...", help="A folder; several with --compare."),
    ],
    compare: Annotated[
        bool, typer.Option("--compare", help="Lay the folders side by side on one page.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The page; its figures go beside it as .json. Default: index.html and "
            "report.json in the folder, with --compare compare.html here.",
        ),
    ] = None,
    lang: Annotated[
        PageLang, typer.Option("--lang", help="Of the page; both: one page with a switch.")
    ] = "en",
    as_json: JsonOption = False,
) -> None:
    """Write the page that people decide from: one file, no network, prints well."""
    from mmupt.errors import InputError
    from mmupt.pipeline.reporting import compare_on, report_on

    if compare:
        written = compare_on(folders, lang, out or Path("compare.html"))
    elif len(folders) > 1:
        raise InputError(f"{len(folders)} folders, expected one; several only with --compare")
    else:
        written = report_on(folders[0], lang, out)
    if as_json:
        common.print_json({"files": [str(path) for path in written]})
    else:
        for path in written:
            typer.echo(str(path))


def watch(folder: RunArgument, lang: LangOption = "en") -> None:
    """Follow a run: curves, signals, events, time left. q leaves; without a terminal: once."""
    from mmupt.report.live import follow

    follow(folder, lang)


def show(
    folder: RunArgument,
    sample: Annotated[str, typer.Argument(metavar="ID", help="Of the sample, as in the data.")],
    lang: LangOption = "en",
    as_json: JsonOption = False,
) -> None:
    """One sample: its picture, question, votes, completions, and what people said of it."""
    from rich.console import Console

    from mmupt.pipeline.reporting import sample_facts
    from mmupt.report.sample import sample_figures, sample_view

    facts = sample_facts(folder, sample)
    if as_json:
        common.print_json(sample_figures(folder, sample, facts))
    else:
        console = Console()
        for part in sample_view(folder, sample, facts, console, lang):
            console.print(part, highlight=False)
