"""Verbs that score models: eval, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmupt.cli import common
from mmupt.cli.options import (
    AnyModelOption,
    ApiKeyEnvOption,
    ConfigOption,
    JsonOption,
    OutOption,
    SeedOption,
    ServerModelOption,
    ServerOption,
    SetOption,
    SkipBadOption,
)

if TYPE_CHECKING:
    from mmupt.config import Config
    from mmupt.evaluate.asking import Plan
    from mmupt.evaluate.judge import Judge
    from mmupt.evaluate.judging import Item


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.command("eval")(evaluate)
    app.command()(compare)
    app.command("eval-task")(eval_task)


def evaluate(
    out: OutOption,
    model: AnyModelOption = None,
    server: ServerOption = None,
    server_model: ServerModelOption = None,
    api_key_env: ApiKeyEnvOption = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Data set (docs/data.md): images, problem, answer, id."),
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--benchmark",
            help="Or a public set: mathvista, mathverse, mathvision, wemath, geometry3k, geoqa, "
            "chartqa, easyvqa.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder that it was downloaded to.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Its split; default: the one usually reported.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first so many questions.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=0, help="Sampled replies to each question; 0: greedy only."),
    ] = None,
    views: Annotated[
        int, typer.Option("--views", min=1, help="Also ask about so many views of each picture.")
    ] = 1,
    orders: Annotated[
        int, typer.Option("--option-orders", min=1, help="Also show options in so many orders.")
    ] = 1,
    paraphrases: Annotated[
        int, typer.Option("--paraphrases", min=1, help="Also ask so many wordings of a question.")
    ] = 1,
    judge: Annotated[
        str | None, typer.Option("--judge", help="Server whose model judges replies as well.")
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option("--judge-model", help="The judge's name there.")
    ] = None,
    judge_api_key_env: Annotated[
        str | None, typer.Option("--judge-api-key-env", help="Variable with the judge's key.")
    ] = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    skip_bad: SkipBadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Accuracy, consistency and calibration on rows with answers or on a public benchmark."""
    from mmupt.cli.served import with_server
    from mmupt.errors import ConfigError
    from mmupt.evaluate.asking import Plan

    _check_source(data, benchmark, data_dir, split)
    for given, option, needs, other in (
        (judge_model, "--judge-model", judge, "--judge"),
        (judge_api_key_env, "--judge-api-key-env", judge, "--judge"),
    ):
        if given is not None and needs is None:
            raise ConfigError(f"{option} does nothing without {other}")
    config = _config(config_file, settings, seed, skip_bad, data or data_dir, limit)
    config = with_server(config, model, server, server_model, api_key_env)
    plan = Plan(config.eval.num_samples if samples is None else samples, views, orders, paraphrases)
    source = _source(config, data, benchmark, data_dir, split)
    words = [
        "eval", source.command, f"--samples {plan.samples} --views {views}",
        f"--option-orders {orders} --paraphrases {paraphrases}",
    ]  # fmt: skip
    with ExitStack() as stack:
        opinion = None
        if judge is not None:
            section = config.server.model_copy(
                update={"url": judge, "model": judge_model, "api_key_env": judge_api_key_env}
            )
            opinion = _judge(config.model_copy(update={"server": section}), out, stack)
            words.append(f"--judge {opinion.answerer.name}")
        command = " ".join(word for word in words if word)
        asked = _local if model is not None else _served
        metrics = asked(config, plan, source, opinion, out, command, as_json)
    if not metrics:
        return  # another process of the same launch tells
    if as_json:
        common.print_json(metrics)
        return
    from rich.console import Console

    from mmupt.evaluate.table import evaluation_view

    console = Console()
    for part in evaluation_view(metrics):
        console.print(part, highlight=False)
    for name in ("replies.jsonl", "metrics.json"):
        console.print(f"[dim]{out / name}[/dim]", soft_wrap=True)


def compare(
    before: Annotated[
        Path, typer.Argument(help="What `mmupt eval --out` wrote, or a folder of such folders.")
    ],
    after: Annotated[Path, typer.Argument(help="The same of the other model.")],
    out: Annotated[Path | None, typer.Option("--out", help="Also write this JSON file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Is one model better? Two evaluations of the same questions, tested question by question."""
    from mmupt.evaluate.comparing import compare as compared
    from mmupt.evaluate.comparing import document, read_pairs
    from mmupt.runs import write_json

    found = compared(read_pairs(before, after))
    told = document(found, before, after)
    if out is not None:
        write_json(out, told)
    if as_json:
        common.print_json(told)
        return
    from rich.console import Console

    from mmupt.evaluate.table import comparison_view

    for part in comparison_view(found):
        Console().print(part, highlight=False)


def eval_task(
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    name: Annotated[
        str, typer.Option("--name", help="What lmms-eval calls it: letters, digits and _.")
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Data set (docs/data.md): images, problem, answer, id."),
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", help="Or a public set, see mmupt eval.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder that it was downloaded to.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Its split; default: the one usually reported.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first so many questions.")
    ] = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    skip_bad: SkipBadOption = False,
) -> None:
    """Write questions with their scoring rule as a task folder that lmms-eval runs."""
    from tempfile import TemporaryDirectory

    from mmupt.bridges.lmms import write_task

    _check_source(data, benchmark, data_dir, split)
    config = _config(config_file, settings, None, skip_bad, data or data_dir, limit)
    with TemporaryDirectory() as scratch:
        items, left_out = _source(config, data, benchmark, data_dir, split).items(Path(scratch))
        for line in left_out:
            typer.echo(f"left out {line}", err=True)
        written = write_task(out, name, items, config.eval.max_completion_length)
    for path in written:
        typer.echo(str(path))
    typer.echo(f"python -m lmms_eval --include_path {out} --tasks {name} --model ...")


def _check_source(
    data: Path | None, benchmark: str | None, data_dir: Path | None, split: str | None
) -> None:
    """One file, or a benchmark with its folder."""
    from mmupt.errors import ConfigError

    if (data is None) == (benchmark is None):
        raise ConfigError("give one of --data FILE and --benchmark NAME")
    if (benchmark is None) != (data_dir is None):
        raise ConfigError("--benchmark and --data-dir belong together")
    if split is not None and benchmark is None:
        raise ConfigError("--split does nothing without --benchmark")


@dataclass(frozen=True)
class _Source:
    """Where the questions are from.

    Attributes:
        name: for bars and records.
        command: how they were named on the command line, beyond the data's path.
        about: what `metrics.json` says of them.
        items: run folder -> questions, and lines on rows that were left out.
    """

    name: str
    command: str
    about: Mapping[str, Any]
    items: Callable[[Path], tuple[Sequence[Item], Sequence[str]]]


def _config(
    config_file: Path | None,
    settings: list[str] | None,
    seed: int | None,
    skip_bad: bool,
    data: Path | None,
    limit: int | None,
) -> Config:
    assert data is not None  # noqa: S101
    config = common.command_config(config_file, settings, seed, Path(), skip_bad, {"test": data})
    if limit is not None:
        config = config.model_copy(update={"eval": config.eval.model_copy(update={"limit": limit})})
    return config


def _source(
    config: Config,
    data: Path | None,
    benchmark: str | None,
    data_dir: Path | None,
    split: str | None,
) -> _Source:
    if benchmark is None or data_dir is None:
        from mmupt.evaluate.reading import own_items

        assert data is not None  # noqa: S101
        own = own_items(data, config)  # read before anything is written
        return _Source("eval", "", {"data": str(data)}, lambda out: own)
    from mmupt.benchmarks.catalog import benchmark as find
    from mmupt.benchmarks.catalog import check_downloaded
    from mmupt.evaluate.reading import benchmark_items

    entry = find(benchmark)
    chosen = split or entry.split
    check_downloaded(entry, data_dir, chosen)
    return _Source(
        entry.name,
        f"--benchmark {entry.name} --split {chosen}",
        {"benchmark": entry.name, "title": entry.title, "split": chosen, "data": str(data_dir)},
        lambda out: benchmark_items(entry.name, data_dir, out, config, chosen),
    )


def _local(
    config: Config,
    plan: Plan,
    source: _Source,
    judge: Judge | None,
    out: Path,
    command: str,
    as_json: bool,
) -> dict[str, Any]:
    """A model in this process, or in all of a launch; empty where another process tells."""
    from mmupt.evaluate.run import Evaluation, model_mark, run_evaluation
    from mmupt.pipeline.about import about
    from mmupt.pipeline.stages import check_prompts
    from mmupt.policy.answers import LocalAnswerer
    from mmupt.policy.model import check_folder

    path = config.model.path
    assert path is not None  # noqa: S101
    check_folder(path)
    if not source.command:
        common.check_new_run(config, out, [item.sample for item in source.items(out)[0]])
    with (
        common.opened(out, config, command) as folder,
        common.progress(folder, config, "en", as_json) as stages,
    ):
        if stages.processes.main:
            items, left_out = source.items(folder.root)
        stages.processes.wait()
        if not stages.processes.main:  # the pictures of tables are there now
            items, left_out = source.items(folder.root)

        def answerer() -> LocalAnswerer:
            policy = stages.policy("base")
            if source.command:  # after hours a prompt that is too long would be a pity
                check_prompts(policy, [item.sample for item in items], config)
            return LocalAnswerer(policy, config.eval.batch_size)

        evaluation = Evaluation(
            source.name, {**source.about, "model": str(path)}, items, left_out, plan,
            model_mark(path), answerer, judge,
        )  # fmt: skip
        return run_evaluation(
            folder, evaluation, config, stages.log, about=lambda: about(config),
            processes=stages.processes,
        )  # fmt: skip


def _served(
    config: Config,
    plan: Plan,
    source: _Source,
    judge: Judge | None,
    out: Path,
    command: str,
    as_json: bool,
) -> dict[str, Any]:
    """A model behind a server. No torch."""
    from mmupt.cli.served import opened_server, recorded, served_progress
    from mmupt.errors import ConfigError
    from mmupt.evaluate.run import Evaluation, run_evaluation
    from mmupt.launch import launched
    from mmupt.version import __version__

    if launched():
        raise ConfigError("one process is enough to ask a server; leave `mmupt launch` out")
    with opened_server(config, out) as answerer:
        config = recorded(config, answerer)
        with (
            common.opened(out, config, command) as folder,
            served_progress(folder, config, "en", as_json) as log,
        ):
            items, left_out = source.items(folder.root)
            evaluation = Evaluation(
                source.name, {**source.about, "model": answerer.name}, items, left_out, plan,
                answerer.model, lambda: answerer, judge,
            )  # fmt: skip
            metrics = run_evaluation(
                folder, evaluation, config, log,
                about=lambda: {
                    "seed": config.seed,
                    "server": answerer.figures(),
                    "versions": {"mmupt": __version__},
                },
            )  # fmt: skip
        answerer.check_failures()
    return metrics


def _judge(config: Config, out: Path, stack: ExitStack) -> Judge:
    from mmupt.cli.served import opened_server
    from mmupt.evaluate.judge import Judge

    # its replies are remembered apart: the same address may answer and judge
    return Judge(stack.enter_context(opened_server(config, out / "judge")))
