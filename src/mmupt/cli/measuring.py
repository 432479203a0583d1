"""Verbs that measure and leave the model as it is, and the study: check, vote, study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmupt.cli import common
from mmupt.cli.options import (
    AnyModelOption,
    ApiKeyEnvOption,
    ConfigOption,
    DataOption,
    JsonOption,
    LangOption,
    ModelOption,
    OutOption,
    SeedOption,
    ServerModelOption,
    ServerOption,
    SetOption,
    SkipBadOption,
)

if TYPE_CHECKING:
    from mmupt.cli.options import Lang
    from mmupt.config import Config
    from mmupt.types import Sample


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.command()(check)
    app.command()(vote)
    app.command()(study)


def check(
    model: ModelOption,
    data: Annotated[
        Path | None, typer.Option("--data", help="JSONL whose two largest rows are tried.")
    ] = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Does a model work here, exactly, and what does a training step cost? Exit code 0, 1 or 2."""
    from mmupt.check.run import run_check

    rows = {"unlabelled": data} if data else {}
    config = common.command_config(config_file, settings, None, model, False, rows)
    if config.num_threads:
        import torch

        torch.set_num_threads(config.num_threads)
    report = run_check(model, common.samples(config, data) if data else (), config)
    if as_json:
        common.print_json(report.json())
    else:
        from rich.console import Console

        Console().print(report.table())
        for line in report.lines():
            typer.echo(line)
    raise typer.Exit(report.exit_code)


def vote(
    data: DataOption,
    out: OutOption,
    model: AnyModelOption = None,
    server: ServerOption = None,
    server_model: ServerModelOption = None,
    api_key_env: ApiKeyEnvOption = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Answers to each question (G).")
    ] = None,
    views: Annotated[
        int | None, typer.Option("--views", help="Views they are spread over; divides G.")
    ] = None,
    audit: Annotated[
        Path | None, typer.Option("--audit", help="JSONL with id and true answer of some rows.")
    ] = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    skip_bad: SkipBadOption = False,
    lang: LangOption = "en",
    as_json: JsonOption = False,
) -> None:
    """Pilot: votes without training, and whether label-free training is worth a run."""
    from mmupt.cli.served import served_lines, with_server
    from mmupt.pipeline.pilot import with_votes
    from mmupt.pipeline.pilot_audit import read_audit
    from mmupt.report.pilot_plot import write_pilot_png

    own = common.command_config(
        config_file, settings, seed, model or Path(), skip_bad, {"unlabelled": data}
    )
    asked = with_server(own, model, server, server_model, api_key_env)
    config = with_votes(asked, samples, views)
    rows = common.samples(config, data)
    truth = read_audit(audit, [row.id for row in rows]) if audit else None
    run = _vote_here if config.server.url is None else _vote_there
    metrics = run(config, out, rows, truth, lang, as_json)
    write_pilot_png(metrics, out / "summary.png", lang)
    if as_json:
        common.print_json(metrics)
        return
    from rich.console import Console

    from mmupt.report.pilot_table import pilot_view

    console = Console()
    for part in pilot_view(metrics, lang):
        console.print(part, highlight=False)
    for line in served_lines(metrics.get("server", {}), lang):
        console.print(line, highlight=False, markup=False)
    for name in ("votes.parquet", "metrics.json", "summary.png"):
        console.print(f"[dim]{out / name}[/dim]", soft_wrap=True)


def _vote_here(
    config: Config,
    out: Path,
    rows: Sequence[Sample],
    truth: Mapping[str, str] | None,
    lang: Lang,
    as_json: bool,
) -> dict[str, Any]:
    from mmupt.pipeline.pilot import run_pilot
    from mmupt.runs import open_run

    common.check_new_run(config, out, rows)
    with (
        open_run(out, config, "vote") as folder,
        common.progress(folder, config, lang, as_json) as stages,
    ):
        return run_pilot(stages, rows, truth, lang)


def _vote_there(
    config: Config,
    out: Path,
    rows: Sequence[Sample],
    truth: Mapping[str, str] | None,
    lang: Lang,
    as_json: bool,
) -> dict[str, Any]:
    from mmupt.asking.maker import PromptMaker
    from mmupt.cli.served import opened_server, recorded, served_progress
    from mmupt.pipeline.pilot import run_votes
    from mmupt.pipeline.pilot_asked import There, check_served
    from mmupt.runs import open_run

    with opened_server(config, out) as answerer:
        if not (out / "config.yaml").exists():
            check_served(rows, config, answerer)
        with (
            open_run(out, recorded(config, answerer), "vote") as folder,
            served_progress(folder, config, lang, as_json) as log,
        ):
            maker = PromptMaker(config.views, max_pixels=config.model.max_pixels, seed=config.seed)
            return run_votes(There(answerer, folder.root, config, log, maker), rows, truth, lang)


def study(
    out: OutOption = Path("runs/study"),
    arms: Annotated[
        list[str] | None,
        typer.Option("--arms", help="Names with commas, or a YAML file with arms of your own."),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Such as 0..4 or 0,2,5.")] = "0..2",
    preset: Annotated[
        Literal["demo"] | None, typer.Option("--preset", help="The task; default: demo.")
    ] = None,
    eval_steps: Annotated[
        int, typer.Option("--eval-steps", min=0, help="Updates between two candidates.")
    ] = 20,
    config_file: ConfigOption = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="With --config: the starting model's folder.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="With --config: the unlabelled rows' answers.")
    ] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare arms over seeds, from one SFT model per seed: a table, a plot, study.json."""
    from rich.console import Console

    from mmupt.config import load_config
    from mmupt.errors import ConfigError
    from mmupt.pipeline.study import Plan, check_plan, run_study
    from mmupt.pipeline.study_arms import choose_arms, parse_seeds
    from mmupt.pipeline.study_progress import StudyProgress

    if (config_file and preset) or ((model or truth) and not config_file):
        raise ConfigError("--preset is a task of ours; --config, --model and --truth are yours")
    own = load_config(config_file) if config_file else None
    if own and model:
        own = load_config(None, [f"model.path={json.dumps(str(model.resolve()))}"], own)
    plan = Plan(
        out, choose_arms(arms or [], truth=not own or truth is not None), parse_seeds(seeds),
        tuple(settings or ()), eval_steps, own, truth.resolve() if truth else None,
    )  # fmt: skip
    check_plan(plan)
    if own:
        base = plan.base(plan.seeds[0])
        material = common.material(base, plan.truth)
        questions = [r.sample for r in (*material.labelled, *material.test)]
        common.check_new_run(
            base, plan.folder(plan.seeds[0]) / "sft", [*questions, *material.unlabelled]
        )
    if plan.base(plan.seeds[0]).num_threads:
        import torch

        torch.set_num_threads(plan.base(plan.seeds[0]).num_threads)
    with StudyProgress(Console(stderr=True, quiet=as_json)) as progress:
        result = run_study(plan, common.material, progress)
    if as_json:
        common.print_json(result)
        return
    typer.echo((out / "table.md").read_text(encoding="utf-8"))
    typer.echo(f"{out / 'table.md'}, {out / 'study.png'}, {out / 'study.json'}")
