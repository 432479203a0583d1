"""Verbs on a pool larger than memory: pool vote, pool status, pool merge."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmupt.cli import common
from mmupt.cli.options import ConfigOption, JsonOption, SetOption, SkipBadOption

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from mmupt.pool.merge import Told
    from mmupt.pool.shards import Plan

pool = typer.Typer(help="Votes over a pool larger than memory, by any number of workers.")

PoolArgument = Annotated[
    Path, typer.Argument(help="Folder of .parquet shards: id, and answers or completions.")
]
VotesOption = Annotated[
    Path, typer.Option("--out", help="Folder of the votes; all workers on the pool name the same.")
]


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.add_typer(pool, name="pool", no_args_is_help=True)


@pool.command()
def vote(
    source: PoolArgument,
    out: VotesOption,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=1024, help="Processes on this machine.")
    ] = 1,
    part: Annotated[
        str,
        typer.Option("--part", help="Only every N-th shard: K/N; where locks do not work."),
    ] = "1/1",
    config_file: ConfigOption = None,
    settings: SetOption = None,
    skip_bad: SkipBadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Vote on every shard once. Start it anywhere, any number of times; killed ones are resumed."""
    from mmupt.pool.merge import merge as merged
    from mmupt.pool.shards import join_plan
    from mmupt.pool.work import done, own_shards
    from mmupt.pool.workers import run_workers

    own = _part(part)
    plan = _plan(source, out, config_file, settings, skip_bad)
    join_plan(plan)
    with _bars(as_json) as bars:
        task = bars.add_task("votes", total=sum(shard.rows for shard in own_shards(plan, own)))
        run_workers(
            plan, workers, own,
            lambda rows: bars.update(task, completed=rows),
            lambda line: bars.console.print(line, style="yellow", highlight=False, markup=False),
        )  # fmt: skip
    open_shards = [shard.name for shard in plan.shards if done(plan, shard) is None]
    if open_shards:
        result: dict[str, Any] = {"open_shards": len(open_shards)}
        if as_json:
            common.print_json(result)
        else:
            typer.echo(f"this part is done; {len(open_shards)} shards of other parts are not yet")
        return
    with _bars(as_json) as bars:
        result = merged(plan, told=_told(bars))
    _show(result, as_json, out)


@pool.command()
def status(
    source: PoolArgument,
    out: VotesOption,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    skip_bad: SkipBadOption = False,
    as_json: JsonOption = False,
) -> None:
    """How many shards are done, and what their votes add up to so far."""
    from mmupt.pool.counts import figures, total
    from mmupt.pool.shards import check_plan
    from mmupt.pool.work import done

    plan = _plan(source, out, config_file, settings, skip_bad)
    check_plan(plan)
    parts = [done(plan, shard) for shard in plan.shards]
    there = [counts for counts in parts if counts is not None]
    result = {"shards": len(parts), "done": len(there), **figures(total(there))}
    _show(result, as_json, None)


@pool.command()
def merge(
    source: PoolArgument,
    out: VotesOption,
    file: Annotated[
        Path | None, typer.Option("--file", help="Also write all votes into one parquet file.")
    ] = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    skip_bad: SkipBadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check the votes of all shards and write metrics.json; with --file one file of them all."""
    from mmupt.pool.merge import merge as merged
    from mmupt.pool.shards import join_plan

    plan = _plan(source, out, config_file, settings, skip_bad)
    join_plan(plan)
    with _bars(as_json) as bars:
        result = merged(plan, file, told=_told(bars))
    _show(result, as_json, out)
    if file is not None and not as_json:
        typer.echo(str(file))


def _plan(
    source: Path, out: Path, config_file: Path | None, settings: list[str] | None, skip_bad: bool
) -> Plan:
    from mmupt.config import load_config
    from mmupt.pool.shards import make_plan

    config = load_config(config_file, settings or [])
    return make_plan(source, out, config.consensus, skip_bad=skip_bad or config.data.skip_bad)


def _bars(as_json: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=Console(stderr=True, quiet=as_json),
    )


def _told(bars: Progress) -> Told:
    """One bar for each thing that is done."""
    from rich.markup import escape

    tasks: dict[str, TaskID] = {}

    def tell(what: str, done: int, of: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(escape(what), total=of)
        bars.update(tasks[what], completed=done, total=of)

    return tell


def _part(text: str) -> tuple[int, int]:
    from mmupt.errors import ConfigError

    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= parts:
        raise ConfigError(f"--part {text!r} is no part; expected K/N with K from 1 to N, as 2/8")
    return number, parts


def _show(result: dict[str, Any], as_json: bool, out: Path | None) -> None:
    if as_json:
        common.print_json(result)
        return
    for name, value in result.items():
        if isinstance(value, int | float):
            shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
            typer.echo(f"{name:12} {shown}")
    for reason in result.get("reasons", ()):
        typer.echo(f"left out {reason}", err=True)
    if out is not None:
        typer.echo(str(out / "metrics.json"))
