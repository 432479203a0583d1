"""Verbs that make data: synthesize."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmupt.cli import common
from mmupt.cli.options import (
    ConfigOption,
    DataOption,
    JsonOption,
    LangOption,
    SeedOption,
    SetOption,
    SkipBadOption,
)

if TYPE_CHECKING:
    from mmupt.config import Config
    from mmupt.events import EventLog
    from mmupt.runs import RunFolder
    from mmupt.synthesis.sources import Source


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.command()(synthesize)


def synthesize(
    model: Annotated[
        Path, typer.Option("--model", help="Local Hugging Face image-text model folder.")
    ],
    data: DataOption,
    n: Annotated[int, typer.Option("--n", min=1, help="New questions that are wanted.")],
    out: Annotated[
        Path,
        typer.Option("--out", help="FILE.jsonl, or a folder; an interrupted run in it goes on."),
    ],
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
            "--sft-questions", min=1,
            help="First teach a copy to write, on so many of the rows' own questions.",
        ),
    ] = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    skip_bad: SkipBadOption = False,
    lang: LangOption = "en",
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """The model writes new questions for its unlabelled pictures. Exit code 1: fewer than N."""
    from mmupt.pipeline.digests import FileHashes
    from mmupt.runs import open_run
    from mmupt.synthesis.output import places, write_files
    from mmupt.synthesis.run import Wanted
    from mmupt.synthesis.sources import read_sources, with_pictures

    own: dict[str, object] = {
        "mode": mode, "band": band, "language": language,
        "kinds": kinds or None, "keep": keep or None,
    }  # fmt: skip
    base = common.command_config(config_file, settings, seed, model, skip_bad, {"unlabelled": data})
    config = _with_options(base, own)
    _check_tuned(config, sft_questions)
    where = places(out)
    samples = with_pictures(rows := common.samples(config, data), config.synthesis)
    wanted = Wanted(n, max_attempts or 10 * n)
    _check_model(config, samples, where.folder)
    with open_run(where.folder, config, "synthesize") as folder:
        hashes = FileHashes(folder.root / ".hashes.json")
        sources = read_sources(samples, config.synthesis, hashes)
        inputs = {
            "model": hashes.folder(model.resolve()),
            "data": hashes.data([source.sample for source in sources]),
            "sft_questions": sft_questions,
        }
        hashes.save()
        _same_inputs(folder, inputs)
        with _watched(folder, config, lang, as_json) as log:
            outcome, tuned = _run(folder, config, sources, wanted, sft_questions, log)
        facts = {
            "fingerprint": f"{model.resolve().name}@{str(inputs['model'])[:12]}",
            "model": {"path": str(model.resolve()), "sha256": inputs["model"]},
            "writer": str(tuned) if tuned else None,
            "sft_questions": sft_questions,
            "data": {"file": str(data), "rows": len(rows), "sha256": inputs["data"]},
        }
        report = write_files(where, outcome, sources, config, wanted, facts)
    _show(report, lang, as_json)
    raise typer.Exit(0 if report["ended"] == "wanted" else 1)


def _with_options(config: Config, own: dict[str, object]) -> Config:
    """The configuration with the command's own options in section `synthesis`, checked alike."""
    from mmupt.config import load_config

    tree = config.model_dump(mode="json")
    tree["synthesis"] |= {key: value for key, value in own.items() if value is not None}
    import json

    return load_config(None, [f"synthesis={json.dumps(tree['synthesis'])}"], config)


def _check_tuned(config: Config, sft_questions: int | None) -> None:
    from mmupt.errors import ConfigError

    if sft_questions is None:
        return
    if config.synthesis.mode != "direct":
        raise ConfigError(
            "--sft-questions teaches to write from the picture alone; it goes with --mode direct"
        )
    if config.synthesis.kinds is not None:
        raise ConfigError(
            "--kind asks for a kind, and a writer made by --sft-questions is asked for none; "
            "leave one of them out"
        )


def _check_model(config: Config, samples: Any, folder: Path) -> None:
    """Refuse a folder that is no model before anything is written."""
    from mmupt.errors import InputError
    from mmupt.policy.model import check_folder
    from mmupt.synthesis.run import longest_requests

    assert config.model.path is not None  # noqa: S101
    check_folder(config.model.path)
    room = config.synthesis.max_completion_length
    train = config.train.model_copy(update={"max_completion_length": room})
    asked = longest_requests(samples, config.synthesis)
    try:
        common.check_new_run(config.model_copy(update={"train": train}), folder, asked)
    except InputError as error:
        raise InputError(
            f"{error} (this is the request for a new question, its reply bounded by "
            "synthesis.max_completion_length)"
        ) from error


def _same_inputs(folder: RunFolder, now: dict[str, Any]) -> None:
    """What a folder was begun with must not have changed.

    Raises:
        RunFolderError: it did.
    """
    import json

    from mmupt.errors import RunFolderError
    from mmupt.runs import write_json

    path = folder.root / "inputs.json"
    if not path.exists():
        write_json(path, now)
        return
    was = json.loads(path.read_text(encoding="utf-8"))
    changed = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    if changed:
        raise RunFolderError(
            f"{folder.root}: was begun with other inputs ({changed[0]} differs); choose a new --out"
        )


@contextmanager
def _watched(folder: RunFolder, config: Config, lang: str, as_json: bool) -> Iterator[EventLog]:
    """Events logged, bars drawn on standard error."""
    from rich.console import Console

    from mmupt.console import LiveProgress
    from mmupt.events import EventLog
    from mmupt.version import __version__

    with LiveProgress(Console(stderr=True, quiet=as_json), lang) as bars:
        log = EventLog(folder.events, (bars,))
        log.emit("run_started", seed=config.seed, version=__version__, processes=1)
        yield log


def _run(
    folder: RunFolder, config: Config, sources: list[Source], wanted: Any,
    sft_questions: int | None, log: EventLog,
) -> Any:  # fmt: skip
    """The outcome, and the writer's folder where one was made."""
    import torch

    from mmupt.policy.answers import LocalAnswerer
    from mmupt.policy.model import load_policy
    from mmupt.synthesis.record import Record
    from mmupt.synthesis.run import Synthesis
    from mmupt.synthesis.writer import special_tokens, trained_writer

    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    assert config.model.path is not None  # noqa: S101
    own, size = config.model, config.eval.batch_size
    policy = load_policy(
        config.model.path, dtype=own.dtype, device=own.device,
        max_prompt_length=own.max_prompt_length,
    )  # fmt: skip
    voter = LocalAnswerer(policy, size)
    tuned = trained_writer(folder, config, sources, sft_questions, log) if sft_questions else None
    writer = LocalAnswerer(tuned, size) if tuned else voter
    outcome = Synthesis(
        config, sources, writer, voter, Record(folder.root / "attempts"), log,
        forbidden=special_tokens(policy), tuned=tuned is not None,
    ).run(wanted)  # fmt: skip
    return outcome, tuned.path if tuned else None


def _show(report: dict[str, Any], lang: str, as_json: bool) -> None:
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
