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
    ConfigOption,
    JsonOption,
    OutOption,
    SeedOption,
    SetOption,
    SkipBadOption,
)

if TYPE_CHECKING:
    from mmupt.asking.answerer import Answerer
    from mmupt.config import Config
    from mmupt.evaluate.asking import Plan
    from mmupt.evaluate.judge import Judge
    from mmupt.evaluate.judging import Item
    from mmupt.pipeline.stages import Stages
    from mmupt.runs import RunFolder


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.command("eval")(evaluate)


def evaluate(
    out: OutOption,
    model: Annotated[
        Path | None, typer.Option("--model", help="Local Hugging Face image-text model folder.")
    ] = None,
    server: Annotated[
        str | None, typer.Option("--server", help="Address of an OpenAI-compatible server instead.")
    ] = None,
    server_model: Annotated[
        str | None, typer.Option("--server-model", help="The model's name there.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="JSONL file with images, problem, answer, id.")
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
    config_file: ConfigOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    skip_bad: SkipBadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Accuracy, consistency and calibration on rows with answers or on a public benchmark."""
    from mmupt.errors import ConfigError
    from mmupt.evaluate.asking import Plan

    if (model is None) == (server is None):
        raise ConfigError("give one of --model FOLDER and --server URL")
    if (data is None) == (benchmark is None):
        raise ConfigError("give one of --data FILE and --benchmark NAME")
    if (benchmark is None) != (data_dir is None):
        raise ConfigError("--benchmark and --data-dir belong together")
    for given, option, needs in (
        (split, "--split", benchmark), (server_model, "--server-model", server),
        (judge_model, "--judge-model", judge),
    ):  # fmt: skip
        if given is not None and needs is None:
            raise ConfigError(f"{option} does nothing here; see mmupt eval --help")
    config = _config(config_file, settings, seed, model, skip_bad, data or data_dir, limit)
    plan = Plan(config.eval.num_samples if samples is None else samples, views, orders, paraphrases)
    source = _source(config, data, benchmark, data_dir, split)
    with ExitStack() as stack:
        answers = _answerer(config, model, server, server_model, out, stack)
        opinion = _judge(config, judge, judge_model, out, stack) if judge else None
        words = ["eval", source.command, f"--samples {plan.samples} --views {views}"]
        words += [f"--option-orders {orders} --paraphrases {paraphrases}"]
        words += [f"--server {answers.mark}"] if server else []
        words += [f"--judge {judge} {judge_model or ''}"] if judge else []
        if model is not None and data is not None:
            common.check_new_run(config, out, [item.sample for item in source.items(out)[0]])
        command = " ".join(word.strip() for word in words if word)
        with common.opened(out, config, command) as folder:
            metrics = _evaluated(folder, config, plan, source, answers, opinion, as_json)
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


@dataclass(frozen=True)
class _Answers:
    """Who answers.

    Attributes:
        name: in records.
        mark: another one is refused in the same folder.
        make: asks; gets the stages of the run, which hold the model.
        finish: what is told of it in the end; may end the command.
    """

    name: str
    mark: str
    make: Callable[[Stages], Answerer]
    finish: Callable[[], Mapping[str, Any]] = dict


def _config(
    config_file: Path | None,
    settings: list[str] | None,
    seed: int | None,
    model: Path | None,
    skip_bad: bool,
    data: Path | None,
    limit: int | None,
) -> Config:
    assert data is not None  # noqa: S101
    config = common.command_config(
        config_file, settings, seed, model or Path(), skip_bad, {"test": data}
    )
    if model is None:
        config = config.model_copy(update={"model": config.model.model_copy(update={"path": None})})
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
    check_downloaded(entry, data_dir)
    return _Source(
        entry.name,
        f"--benchmark {entry.name} --split {chosen}",
        {"benchmark": entry.name, "title": entry.title, "split": chosen, "data": str(data_dir)},
        lambda out: benchmark_items(entry.name, data_dir, out, config, chosen),
    )


def _answerer(
    config: Config,
    model: Path | None,
    server: str | None,
    server_model: str | None,
    out: Path,
    stack: ExitStack,
) -> _Answers:
    if model is not None:
        from mmupt.evaluate.run import model_mark
        from mmupt.policy.model import check_folder

        check_folder(model)

        def local(stages: Stages) -> Answerer:
            from mmupt.policy.answers import LocalAnswerer

            return LocalAnswerer(stages.policy("base"), config.eval.batch_size)

        return _Answers(str(model), model_mark(model), local)
    from mmupt.errors import ConfigError

    raise ConfigError("--server is not there yet")


def _judge(
    config: Config, judge: str, judge_model: str | None, out: Path, stack: ExitStack
) -> Callable[[], Judge]:
    from mmupt.errors import ConfigError

    raise ConfigError("--judge is not there yet")


def _evaluated(
    folder: RunFolder,
    config: Config,
    plan: Plan,
    source: _Source,
    answers: _Answers,
    judge: Callable[[], Judge] | None,
    as_json: bool,
) -> dict[str, Any]:
    """The figures; empty in processes that do not tell them."""
    from mmupt.evaluate.run import Evaluation, run_evaluation
    from mmupt.pipeline.about import about

    with common.progress(folder, config, "en", as_json) as stages:
        # pictures inside tables are written by one process, and found by the others
        if stages.processes.main:
            items, left_out = source.items(folder.root)
        stages.processes.wait()
        if not stages.processes.main:
            items, left_out = source.items(folder.root)
        evaluation = Evaluation(
            source.name, {**source.about, "model": answers.name}, items, left_out, plan,
            answers.mark, lambda: answers.make(stages), judge,
        )  # fmt: skip
        return run_evaluation(
            folder, evaluation, config, stages.log,
            about=lambda: {**about(config), **answers.finish()}, processes=stages.processes,
        )  # fmt: skip
