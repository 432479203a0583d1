"""What verbs share: settings, data, the run folder, progress, results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mmupt.processes import connect, disconnect
from mmupt.version import __version__

if TYPE_CHECKING:
    from mmupt.cli.options import Lang
    from mmupt.config import Config
    from mmupt.pipeline.machine import Reviewer
    from mmupt.pipeline.material import Material
    from mmupt.pipeline.rounds import Round
    from mmupt.pipeline.stages import Stages
    from mmupt.runs import RunFolder
    from mmupt.types import LabelledSample, Sample


def material(config: Config, truth: Path | None) -> Material:
    """All data of a staged run, read before anything is written."""
    from mmupt.pipeline.material import Material

    data = config.data
    assert data.unlabelled is not None  # noqa: S101
    assert data.test is not None  # noqa: S101
    return Material(
        labelled=labelled(config, data.labelled) if data.labelled else (),
        unlabelled=samples(config, data.unlabelled),
        test=labelled(config, data.test)[: config.eval.limit],
        truth=labelled(config, truth) if truth else (),
        audited=labelled(config, data.audited) if data.audited else (),
    )


def staged(
    folder: RunFolder,
    config: Config,
    material: Material,
    lang: Lang,
    as_json: bool,
    reviewer: Reviewer | None = None,
) -> None:
    """Go on with a project, write its report, and say where it stands."""
    from mmupt.pipeline.reporting import report_on
    from mmupt.pipeline.staged import run_staged
    from mmupt.report.table import stages_table, verdict_lines

    with progress(folder, config, lang, as_json) as stages:
        metrics = run_staged(stages, material, read=round_samples, reviewer=reviewer, lang=lang)
    if not stages.processes.main:
        return
    written = report_on(folder.root, lang)
    if as_json:
        print_json(metrics)
        return
    from rich.console import Console

    from mmupt.report.project import project_lines

    console = Console()
    console.print(stages_table(metrics, lang))
    for line in verdict_lines(metrics, lang):
        console.print(line, highlight=False)
    for part in project_lines(metrics["project"], folder.root, lang):
        console.print(part, highlight=False, soft_wrap=True)
    for path in written:
        console.print(f"[dim]{path}[/dim]", soft_wrap=True)


def round_samples(config: Config, one: Round) -> Sequence[Sample]:
    """The questions of a round."""
    return samples(config, one.path(config))


@contextmanager
def single_stage(
    config: Config, out: Path, command: str, as_json: bool
) -> Iterator[tuple[Stages, dict[str, Any]]]:
    """A command that is one stage: opens the run, shows progress, writes `metrics.json`."""
    from mmupt.pipeline.about import about
    from mmupt.runs import write_json

    result: dict[str, Any] = {}
    with opened(out, config, command) as folder:
        with progress(folder, config, "en", as_json) as stages:
            yield stages, result
            result |= about(config)
        if not stages.processes.main:
            return
        write_json(folder.metrics, result)
    if as_json:
        print_json(result)
    else:
        guard = {f"guard {key}": value for key, value in result.get("guard", {}).items()}
        for name, value in {**result, **guard}.items():
            if isinstance(value, float | int | str):
                shown = f"{value:.4f}" if isinstance(value, float) else value
                typer.echo(f"{name:16} {shown}")


@contextmanager
def opened(
    root: Path, config: Config, command: str, *, goes_on: bool = False
) -> Iterator[RunFolder]:
    """`open_run` by the main process; the others come in once it has the folder."""
    from mmupt.runs import RunFolder, open_run
    from mmupt.trackers.send import check_trackers

    processes = connect()
    check_trackers(config)
    if not processes.main:
        processes.wait()
        yield RunFolder(root)
        return
    with open_run(root, config, command, goes_on=goes_on) as folder:
        processes.wait()
        yield folder


@contextmanager
def progress(folder: RunFolder, config: Config, lang: Lang, as_json: bool) -> Iterator[Stages]:
    """Threads set, events logged, bars drawn on standard error."""
    import torch
    from rich.console import Console

    from mmupt.console import LiveProgress
    from mmupt.events import EventLog, SilentLog
    from mmupt.pipeline.stages import Stages
    from mmupt.trackers.send import tracked

    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    processes = connect()
    console = Console(stderr=True, quiet=as_json or not processes.main)
    with LiveProgress(console, lang) as bars:
        log = EventLog(folder.events, (bars,)) if processes.main else SilentLog()
        with tracked(log, config, folder) if processes.main else nullcontext():
            log.emit(
                "run_started", seed=config.seed, version=__version__, processes=processes.count
            )
            yield Stages(folder, config, log, processes=processes)
    disconnect()


def command_config(
    config_file: Path | None,
    settings: Sequence[str] | None,
    seed: int | None,
    model: Path,
    skip_bad: bool,
    data: dict[str, Path],
) -> Config:
    """The file's settings, with the command's own model and data in their places."""
    from mmupt.config import load_config
    from mmupt.trackers.send import check_trackers

    config = load_config(config_file, settings or [])
    check_trackers(config)
    places = dict.fromkeys(("labelled", "unlabelled", "test")) | {
        k: v.resolve() for k, v in data.items()
    }
    return config.model_copy(
        update={
            "seed": config.seed if seed is None else seed,
            "model": config.model.model_copy(update={"path": model.resolve()}),
            "data": config.data.model_copy(
                update={**places, "skip_bad": skip_bad or config.data.skip_bad}
            ),
        }
    )


def check_new_run(config: Config, out: Path, samples: Sequence[Sample]) -> None:
    """Refuse a folder that is no model, and prompts that are too long, while nothing is written."""
    if (out / "config.yaml").exists():
        return
    from mmupt.pipeline.stages import check_prompts
    from mmupt.policy.model import load_policy

    assert config.model.path is not None  # noqa: S101
    model = config.model
    policy = load_policy(
        config.model.path,
        dtype=model.dtype,
        device=model.device,
        max_prompt_length=model.max_prompt_length,
    )
    check_prompts(policy, samples, config)


def samples(config: Config, path: Path) -> Sequence[Sample]:
    from mmupt.data.sources import read_samples

    dataset = read_samples(path, data_root=config.data.root, skip_bad=config.data.skip_bad)
    report_left_out(dataset.left_out)
    return dataset.rows


def labelled(config: Config, path: Path) -> Sequence[LabelledSample]:
    from mmupt.data.sources import read_labelled

    dataset = read_labelled(path, data_root=config.data.root, skip_bad=config.data.skip_bad)
    report_left_out(dataset.left_out)
    return dataset.rows


def finish(stages: Stages, stage: str) -> dict[str, Any]:
    """Put the final model at OUT/model."""
    from mmupt.runs import copy_folder

    if stages.processes.main:
        copy_folder(stages.folder.checkpoint(stage), stages.folder.model)
    return {"model": str(stages.folder.model), "stage": stage}


def report_left_out(left_out: Sequence[Any]) -> None:
    for row in left_out if connect().main else ():
        typer.echo(f"left out {row.origin}: {row.reason}", err=True)


def print_json(value: dict[str, Any]) -> None:
    from mmupt.events import jsonable

    typer.echo(json.dumps(jsonable(value), ensure_ascii=False))
