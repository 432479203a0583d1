"""Verbs about data sets themselves: data check, data convert."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmupt.cli import common
from mmupt.cli.options import JsonOption, SkipBadOption

To = Literal[
    "jsonl", "json", "parquet", "webdataset", "folder", "easyr1", "verl", "trl", "llava",
    "sharegpt", "llama-factory", "alpaca", "openai",
]  # fmt: skip
SchemaName = Literal[
    "mmupt", "easyr1", "verl", "trl", "llava", "sharegpt", "messages", "llama-factory", "openai",
    "alpaca",
]  # fmt: skip

app = typer.Typer(
    name="data", help="Check a data set, or write it in another schema.", no_args_is_help=True
)
SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help=".jsonl, .json, .parquet, .tar, a pattern, a folder or hf:ORG/NAME."
    ),
]
SchemaOption = Annotated[
    SchemaName | None, typer.Option("--schema", help="Default: told from the rows.")
]
RootOption = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder of the images; default: that of the data."),
]


def register(root: typer.Typer) -> None:
    """Add `data` with its verbs."""
    root.add_typer(app)


@app.command("check")
def check(
    path: SourceArgument,
    test: Annotated[
        Path | None, typer.Option("--test", help="Held-out data; nothing of it should be in FILE.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Model folder whose processor counts tokens.")
    ] = None,
    schema: SchemaOption = None,
    data_root: RootOption = None,
    listing: Annotated[
        int, typer.Option("--listing", help="Broken rows that are listed; 0: all.")
    ] = 100,
    distance: Annotated[
        int, typer.Option("--distance", help="Bits of 64 in which pictures that look alike differ.")
    ] = 4,
    model_rows: Annotated[
        int, typer.Option("--model-rows", help="Rows whose tokens are counted.")
    ] = 256,
    as_json: JsonOption = False,
) -> None:
    """Broken rows, duplicates, leakage, privacy, sizes. Exit code 0: clean, 2: rows are broken."""
    from mmupt.datacheck.check import Wish
    from mmupt.datacheck.check import check as run

    wish = Wish(path, test, model, data_root, schema, listing, distance, model_rows)
    with _progress(as_json) as tell:
        found = run(wish, tell)
    if as_json:
        common.print_json(found.json())
    else:
        from rich.console import Console

        for line in found.broken_lines():
            typer.echo(line)
        Console().print(found.table())
    raise typer.Exit(found.exit_code)


@app.command("convert")
def convert(
    path: SourceArgument,
    to: Annotated[To, typer.Option("--to", help="Schema or kind of file to write.")],
    out: Annotated[Path, typer.Option("--out", help="The file, or with --to folder the folder.")],
    images: Annotated[
        Literal["copy", "link", "embed"] | None,
        typer.Option(
            "--images", help="Beside the file (copies, hard links) or inside; default: by the file."
        ),
    ] = None,
    labels: Annotated[
        Literal["keep", "drop"], typer.Option("--labels", help="drop: answers are not even read.")
    ] = "keep",
    schema: SchemaOption = None,
    data_root: RootOption = None,
    skip_bad: SkipBadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a data set in another schema or kind of file, whole or not at all."""
    from mmupt.data.convert import Wish
    from mmupt.data.convert import convert as run

    with _progress(as_json) as tell:
        done = run(
            path, Wish(to, out, images, labels), data_root=data_root, schema=schema,
            skip_bad=skip_bad, tell=lambda rows, total: tell(path.name, rows, total),
        )  # fmt: skip
    if as_json:
        common.print_json({
            "out": str(out), "to": to, "schema": done.schema, "rows": done.rows,
            "labelled": done.labelled, "images": done.images,
            "left_out": [{"origin": row.origin, "reason": row.reason} for row in done.left_out],
        })  # fmt: skip
        return
    common.report_left_out(done.left_out)
    labelled = f"{done.labelled:,} with an answer, {done.images:,} images"
    typer.echo(f"{out}: {done.rows:,} rows, {labelled}")


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar with the time left, on standard error; without a known end a count."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    from mmupt.data.images import printable

    bars = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(bar_width=16),
        MofNCompleteColumn(), Left(compact=True, elapsed_when_finished=True),
        console=Console(stderr=True, quiet=quiet), transient=True,
    )  # fmt: skip
    tasks = {}

    def tell(name: str, done: int, total: int | None) -> None:
        if name not in tasks:
            bars.start()  # not before: an error about the arguments stands alone
            tasks[name] = bars.add_task(printable(name, 40), total=total)
        bars.update(tasks[name], completed=done, total=total)

    try:
        yield tell
    finally:
        if tasks:
            bars.stop()
