"""Verbs that make data: synthesize."""

from __future__ import annotations

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
    Lang,
    LangOption,
    SeedOption,
    ServerModelOption,
    ServerOption,
    SetOption,
    SkipBadOption,
)

if TYPE_CHECKING:
    from mmupt.config import Config
    from mmupt.synthesis.session import Order


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.command()(synthesize)


def synthesize(
    data: DataOption,
    n: Annotated[int, typer.Option("--n", min=1, help="New questions that are wanted.")],
    out: Annotated[
        Path,
        typer.Option("--out", help="FILE.jsonl, or a folder; an interrupted run in it goes on."),
    ],
    model: AnyModelOption = None,
    server: ServerOption = None,
    server_model: ServerModelOption = None,
    api_key_env: ApiKeyEnvOption = None,
    mode: Annotated[
        Literal["in-context", "direct"] | None,
        typer.Option("--mode", help="With an example question and its vote, or the picture alone."),
    ] = None,
    band: Annotated[
        tuple[float, float] | None,
        typer.Option("--band", metavar="LOW HIGH", help="Vote share that questions must have."),
    ] = None,
    max_attempts: Annotated[
        int | None,
        typer.Option("--max-attempts", min=1, help="Attempts at most; default: 10 for each of N."),
    ] = None,
    language: Annotated[
        Literal["auto", "en", "ja"] | None,
        typer.Option("--language", help="Of the questions; auto: as each source question."),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only choice, number or free; repeatable."),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", help="Column about the picture to copy; repeatable."),
    ] = None,
    sft_questions: Annotated[
        int | None,
        typer.Option(
            "--sft-questions",
            min=1,
            help="First teach a copy to write, on so many of the rows' own questions.",
        ),
    ] = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    skip_bad: SkipBadOption = False,
    lang: LangOption = "en",
    as_json: JsonOption = False,
) -> None:
    """The model writes new questions for its unlabelled pictures. Exit code 1: fewer than N."""
    from mmupt.cli.served import with_server
    from mmupt.synthesis.output import places
    from mmupt.synthesis.run import Wanted
    from mmupt.synthesis.session import Order, check_writer, with_options
    from mmupt.synthesis.sources import with_pictures

    own = common.command_config(
        config_file, settings, seed, model or Path(), skip_bad, {"unlabelled": data}
    )
    asked = with_server(own, model, server, server_model, api_key_env)
    config = with_options(asked, mode=mode, band=band, language=language, kinds=kinds, keep=keep)
    check_writer(config, sft_questions)
    where = places(out)
    rows = common.samples(config, data)
    order = Order(
        data, len(rows), with_pictures(rows, config.synthesis),
        Wanted(n, max_attempts or 10 * n), where, sft_questions,
    )  # fmt: skip
    run = _synthesize_here if config.server.url is None else _synthesize_there
    _show(report := run(config, order, lang, as_json), lang, as_json)
    raise typer.Exit(0 if report["ended"] == "wanted" else 1)


def _synthesize_here(config: Config, order: Order, lang: Lang, as_json: bool) -> dict[str, Any]:
    """A model in this process writes and answers."""
    import torch

    from mmupt.cli.served import served_progress
    from mmupt.pipeline.digests import FileHashes
    from mmupt.policy.answers import LocalAnswerer
    from mmupt.runs import open_run
    from mmupt.synthesis.session import Team, check_inputs, write_questions
    from mmupt.synthesis.sources import read_sources
    from mmupt.synthesis.writer import load, special_tokens, trained_writer

    path, root = config.model.path, order.where.folder
    assert path is not None  # noqa: S101
    _check_room(config, order)
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    with (
        open_run(root, config, "synthesize") as folder,
        served_progress(folder, config, lang, as_json) as log,
    ):
        hashes = FileHashes(root / ".hashes.json")
        sha256 = hashes.folder(path)
        sources = read_sources(order.samples, config.synthesis, hashes)
        of_rows = check_inputs(folder, hashes, sources, order, sha256)
        policy, taught = load(config, path), None
        if order.sft_questions:
            taught = trained_writer(folder, config, sources, order.sft_questions, log)
        voter = LocalAnswerer(policy, config.eval.batch_size)
        writer = LocalAnswerer(taught, config.eval.batch_size) if taught else voter
        team = Team(
            writer, voter, f"{path.name}@{sha256[:12]}",
            {"path": str(path), "sha256": sha256, "writer": str(taught.path) if taught else None},
            special_tokens(policy), taught is not None,
        )  # fmt: skip
        return write_questions(folder, config, sources, order, team, log, of_rows)


def _synthesize_there(config: Config, order: Order, lang: Lang, as_json: bool) -> dict[str, Any]:
    """A model behind a server writes and answers."""
    from mmupt.cli.served import opened_server, recorded, served_progress
    from mmupt.data.images import printable
    from mmupt.pipeline.digests import FileHashes
    from mmupt.runs import open_run
    from mmupt.synthesis.session import Team, check_inputs, write_questions
    from mmupt.synthesis.sources import read_sources

    root = order.where.folder
    with opened_server(config, root) as answerer:
        known = recorded(config, answerer)
        with (
            open_run(root, known, "synthesize") as folder,
            served_progress(folder, config, lang, as_json) as log,
        ):
            hashes = FileHashes(root / ".hashes.json")
            sources = read_sources(order.samples, config.synthesis, hashes)
            of_rows = check_inputs(folder, hashes, sources, order, answerer.model)
            name = "@".join(filter(None, (answerer.model, config.server.revision)))
            team = Team(
                answerer, answerer, printable(name, 120),
                {"name": answerer.model, "server": answerer.url},
            )  # fmt: skip
            report = write_questions(folder, config, sources, order, team, log, of_rows)
            return {**report, "server": answerer.figures()}


def _check_room(config: Config, order: Order) -> None:
    """Refuse a folder that is no model, and requests too long for it, before anything is written.

    Raises:
        ModelError: no model.
        InputError: a request for a question with its reply is longer than the model takes.
    """
    from mmupt.errors import InputError
    from mmupt.policy.model import check_folder
    from mmupt.synthesis.run import longest_requests

    assert config.model.path is not None  # noqa: S101
    check_folder(config.model.path)
    room = config.synthesis.max_completion_length
    train = config.train.model_copy(update={"max_completion_length": room})
    brief = order.sft_questions is not None
    asked = longest_requests(order.samples, config.synthesis, brief=brief)
    try:
        common.check_new_run(config.model_copy(update={"train": train}), order.where.folder, asked)
    except InputError as error:
        raise InputError(
            f"{error} (this is the request for a new question, its reply bounded by "
            "synthesis.max_completion_length)"
        ) from error


def _show(report: dict[str, Any], lang: Lang, as_json: bool) -> None:
    if as_json:
        common.print_json(report)
        return
    from rich.console import Console

    from mmupt.synthesis.table import synthesis_view

    console = Console()
    for part in synthesis_view(report, lang):
        console.print(part, highlight=False)
    for path in report["files"].values():
        console.print(f"[dim]{path}[/dim]", soft_wrap=True)
