"""The command line: verbs only. Heavy imports happen inside the verbs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperGroup

from mmupt.errors import MmuptError
from mmupt.launch import GOES_ON, Launch, check_verb, launch, launched, leave_error
from mmupt.processes import connect, disconnect
from mmupt.version import __version__

if TYPE_CHECKING:
    from mmupt.config import Config
    from mmupt.pipeline.material import Material
    from mmupt.pipeline.stages import Stages
    from mmupt.runs import RunFolder
    from mmupt.types import LabelledSample, Sample

app = typer.Typer(
    name="mmupt",
    help="Improve a multimodal LLM without labels, in stages that people can supervise.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Lang = Literal["en", "ja"]
ModelOption = Annotated[
    Path, typer.Option("--model", help="Local Hugging Face image-text model folder.")
]
DataOption = Annotated[
    Path, typer.Option("--data", help="JSONL file with images, problem, answer, id.")
]
OutOption = Annotated[
    Path, typer.Option("--out", help="Run folder; an interrupted run in it goes on.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file, see docs/config.md.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting as key=value, such as train.max_steps=40."),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON and nothing else.")
]
LangOption = Annotated[Lang, typer.Option("--lang", help="Language of tables and pages.")]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out rows that cannot be used, and list them.")
]


def main() -> None:
    """Entry point: our own errors become one line and exit code 2."""
    try:
        app()
    except MmuptError as error:
        _end(str(error), 2)
    except KeyboardInterrupt:
        _end(f"interrupted; {GOES_ON}", 130)
    except Exception as error:
        if launched():
            leave_error(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
        raise


def _end(message: str, code: int) -> NoReturn:
    """One line, on the terminal or for the launcher, which tells it once for all processes."""
    if launched():
        leave_error(message)
    else:
        print(f"mmupt: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _version(show: bool) -> None:
    if show:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


@app.command()
def demo(
    out: OutOption = Path("runs/demo"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    lang: LangOption = "en",
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also train the supervised bound and the published recipe."),
    ] = False,
    as_json: JsonOption = False,
    settings: SetOption = None,
) -> None:
    """The main job: a small model gets better at real handwriting without labels."""
    from mmupt.config import load_config
    from mmupt.demo import demo_config, write_demo_data

    config = load_config(None, settings or [], demo_config(out.resolve() / "data", seed))
    command = "demo --compare" if compare else "demo"
    processes = connect()
    with _open(out, config, command) as folder:
        if processes.main and not (folder.root / "data" / "config.yaml").exists():
            write_demo_data(folder.root / "data", seed, truth=compare)
        processes.wait()
        truth = folder.root / "data" / "unlabelled-truth.jsonl"
        _staged(folder, config, _material(config, truth if compare else None), lang, as_json)


@app.command("demo-data")
def demo_data(
    folder: Annotated[Path, typer.Argument(help="Gets images/, *.jsonl, model/ and config.yaml.")],
    seed: Annotated[int, typer.Option("--seed", help="Which panels are drawn.")] = 0,
) -> None:
    """Write the demo's data, base model and preset as ordinary files."""
    from mmupt.demo import write_demo_data
    from mmupt.errors import RunFolderError

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder}: not an empty folder; choose a new one")
    write_demo_data(folder, seed, truth=True)
    typer.echo(f"{folder}: train.jsonl, unlabelled.jsonl, test.jsonl, images/, model/, config.yaml")


@app.command()
def run(
    config_file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file of the whole run.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; default: `out` of the file.")
    ] = None,
    settings: SetOption = None,
    lang: LangOption = "en",
    as_json: JsonOption = False,
) -> None:
    """The staged whole: base, SFT, label-free rounds, evaluation after each."""
    from mmupt.config import load_config
    from mmupt.errors import ConfigError

    config = load_config(config_file, settings or [])
    target = out or config.out
    if target is None:
        raise ConfigError(f"{config_file}: no out in it; add `out: FOLDER` or pass --out")
    for key, value in (
        ("model.path", config.model.path),
        ("data.unlabelled", config.data.unlabelled),
        ("data.test", config.data.test),
    ):
        if value is None:
            raise ConfigError(f"{config_file}: {key} is missing; `mmupt run` needs it")
    material = _material(config, None)
    questions = [
        *(row.sample for row in (*material.labelled, *material.test)),
        *material.unlabelled,
    ]
    _check_new_run(config, target, questions)
    with _open(target, config, "run") as folder:
        _staged(folder, config, material, lang, as_json)


@app.command()
def sft(
    model: ModelOption,
    data: DataOption,
    out: OutOption,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    skip_bad: SkipBadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Supervised fine-tuning on rows with answers; the model goes to OUT/model."""
    config = _command_config(config_file, settings, seed, model, skip_bad, {"labelled": data})
    rows = _labelled(config, data)
    _check_new_run(config, out, [row.sample for row in rows])
    with _single_stage(config, out, "sft", as_json) as (stages, result):
        result |= {"labels_used": len(rows), **_finish(stages, stages.sft(rows))}


@app.command()
def train(
    model: ModelOption,
    data: DataOption,
    out: OutOption,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    skip_bad: SkipBadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Label-free GRPO on rows without answers; the model goes to OUT/model."""
    config = _command_config(config_file, settings, seed, model, skip_bad, {"unlabelled": data})
    samples = _samples(config, data)
    _check_new_run(config, out, samples)
    audited = _labelled(config, config.data.audited) if config.data.audited else ()
    with _single_stage(config, out, "train", as_json) as (stages, result):
        stages.audited, stage = audited, "base"
        for number in range(1, config.train.rounds + 1):
            stage = stages.label_free(samples, after=stage, stage=f"round-{number}", key=number)
            if stages.guarded(stage).get("stopped_by"):
                break
        result |= {"labels_used": 0, "labels_audited": len(audited), "rows": len(samples)}
        result |= {"guard": stages.guarded(stage), **_finish(stages, stage)}


@app.command("eval")
def evaluate(
    model: ModelOption,
    data: DataOption,
    out: OutOption,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    skip_bad: SkipBadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Accuracy and consistency on rows with answers; the figures go to OUT/metrics.json."""
    config = _command_config(config_file, settings, seed, model, skip_bad, {"test": data})
    rows = _labelled(config, data)[: config.eval.limit]
    _check_new_run(config, out, [row.sample for row in rows])
    with _single_stage(config, out, "eval", as_json) as (stages, result):
        stages.test = rows
        result |= {"name": "eval", **stages.evaluate("base").metrics(), "labels_used": 0}


@app.command()
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
    config = _command_config(config_file, settings, None, model, False, rows)
    if config.num_threads:
        import torch

        torch.set_num_threads(config.num_threads)
    report = run_check(model, _samples(config, data) if data else (), config)
    if as_json:
        _print_json(report.json())
    else:
        from rich.console import Console

        Console().print(report.table())
        for line in report.lines():
            typer.echo(line)
    raise typer.Exit(report.exit_code)


@app.command()
def vote(
    model: ModelOption,
    data: DataOption,
    out: OutOption,
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
    from mmupt.pipeline.pilot import run_pilot, with_votes
    from mmupt.pipeline.pilot_audit import read_audit
    from mmupt.report.pilot_plot import write_pilot_png
    from mmupt.runs import open_run

    own = _command_config(config_file, settings, seed, model, skip_bad, {"unlabelled": data})
    config = with_votes(own, samples, views)
    rows = _samples(config, data)
    truth = read_audit(audit, [row.id for row in rows]) if audit else None
    _check_new_run(config, out, rows)
    with open_run(out, config, "vote") as folder:
        with _progress(folder, config, lang, as_json) as stages:
            metrics = run_pilot(stages, rows, truth, lang)
        write_pilot_png(metrics, folder.root / "summary.png", lang)
    if as_json:
        _print_json(metrics)
        return
    from rich.console import Console

    from mmupt.report.pilot_table import pilot_view

    console = Console()
    for part in pilot_view(metrics, lang):
        console.print(part, highlight=False)
    for name in ("votes.parquet", "metrics.json", "summary.png"):
        console.print(f"[dim]{out / name}[/dim]", soft_wrap=True)


@app.command()
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
        material = _material(base, plan.truth)
        questions = [r.sample for r in (*material.labelled, *material.test)]
        _check_new_run(base, plan.folder(plan.seeds[0]) / "sft", [*questions, *material.unlabelled])
    if plan.base(plan.seeds[0]).num_threads:
        import torch

        torch.set_num_threads(plan.base(plan.seeds[0]).num_threads)
    with StudyProgress(Console(stderr=True, quiet=as_json)) as progress:
        result = run_study(plan, _material, progress)
    if as_json:
        _print_json(result)
        return
    typer.echo((out / "table.md").read_text(encoding="utf-8"))
    typer.echo(f"{out / 'table.md'}, {out / 'study.png'}, {out / 'study.json'}")


@app.command(
    "launch",
    context_settings={"allow_interspersed_args": False},
)
def launch_verb(
    context: typer.Context,
    words: Annotated[
        list[str], typer.Argument(metavar="VERB ARGS...", help="A verb of mmupt with its options.")
    ],
    nproc: Annotated[int, typer.Option("--nproc", min=1, help="Processes on this node.")],
    nnodes: Annotated[int, typer.Option("--nnodes", min=1, help="As of torchrun.")] = 1,
    node_rank: Annotated[int | None, typer.Option("--node-rank", help="As of torchrun.")] = None,
    rdzv_backend: Annotated[
        str | None, typer.Option("--rdzv-backend", help="As of torchrun.")
    ] = None,
    rdzv_endpoint: Annotated[
        str | None, typer.Option("--rdzv-endpoint", help="As of torchrun.")
    ] = None,
    rdzv_id: Annotated[str | None, typer.Option("--rdzv-id", help="As of torchrun.")] = None,
    master_addr: Annotated[
        str | None, typer.Option("--master-addr", help="As of torchrun.")
    ] = None,
    master_port: Annotated[
        int | None, typer.Option("--master-port", help="As of torchrun.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command instead of running it.")
    ] = False,
) -> None:
    """A verb in several processes (torchrun): train, run, sft, demo or eval."""
    check_verb(words)
    given = {
        "--node-rank": node_rank, "--rdzv-backend": rdzv_backend, "--rdzv-endpoint": rdzv_endpoint,
        "--rdzv-id": rdzv_id, "--master-addr": master_addr, "--master-port": master_port,
    }  # fmt: skip
    options = tuple(f"{name}={value}" for name, value in given.items() if value is not None)
    root = context.parent.command if context.parent else None
    assert isinstance(root, TyperGroup)  # noqa: S101
    # A mistyped option ends here, before anything starts.
    root.commands[words[0]].make_context(words[0], list(words[1:]), parent=context.parent)
    plan = Launch(nproc, tuple(words), nnodes, options)
    if dry_run:
        typer.echo(plan.command())
        return
    raise typer.Exit(launch(plan))


def _material(config: Config, truth: Path | None) -> Material:
    """All data of a staged run, read before anything is written."""
    from mmupt.pipeline.material import Material

    data = config.data
    assert data.unlabelled is not None  # noqa: S101
    assert data.test is not None  # noqa: S101
    return Material(
        labelled=_labelled(config, data.labelled) if data.labelled else (),
        unlabelled=_samples(config, data.unlabelled),
        test=_labelled(config, data.test)[: config.eval.limit],
        truth=_labelled(config, truth) if truth else (),
        audited=_labelled(config, data.audited) if data.audited else (),
    )


def _staged(
    folder: RunFolder, config: Config, material: Material, lang: Lang, as_json: bool
) -> None:
    from mmupt.pipeline.staged import run_staged
    from mmupt.report.build import write_report
    from mmupt.report.table import stages_table, verdict_lines

    with _progress(folder, config, lang, as_json) as stages:
        metrics = run_staged(stages, material)
    if not stages.processes.main:
        return
    written = write_report(folder.root, lang)
    if as_json:
        _print_json(metrics)
        return
    from rich.console import Console

    console = Console()
    console.print(stages_table(metrics, lang))
    for line in verdict_lines(metrics, lang):
        console.print(line, highlight=False)
    for path in written:
        console.print(f"[dim]{path}[/dim]", soft_wrap=True)


@contextmanager
def _single_stage(
    config: Config, out: Path, command: str, as_json: bool
) -> Iterator[tuple[Stages, dict[str, Any]]]:
    """A command that is one stage: opens the run, shows progress, writes `metrics.json`."""
    from mmupt.pipeline.staged import about
    from mmupt.runs import write_json

    result: dict[str, Any] = {}
    with _open(out, config, command) as folder:
        with _progress(folder, config, "en", as_json) as stages:
            yield stages, result
            result |= about(config)
        if not stages.processes.main:
            return
        write_json(folder.metrics, result)
    if as_json:
        _print_json(result)
    else:
        guard = {f"guard {key}": value for key, value in result.get("guard", {}).items()}
        for name, value in {**result, **guard}.items():
            if isinstance(value, float | int | str):
                shown = f"{value:.4f}" if isinstance(value, float) else value
                typer.echo(f"{name:16} {shown}")


@contextmanager
def _open(root: Path, config: Config, command: str) -> Iterator[RunFolder]:
    """`open_run` by the main process; the others come in once it has the folder."""
    from mmupt.runs import RunFolder, open_run

    processes = connect()
    if not processes.main:
        processes.wait()
        yield RunFolder(root)
        return
    with open_run(root, config, command) as folder:
        processes.wait()
        yield folder


@contextmanager
def _progress(folder: RunFolder, config: Config, lang: Lang, as_json: bool) -> Iterator[Stages]:
    """Threads set, events logged, bars drawn on standard error."""
    import torch
    from rich.console import Console

    from mmupt.console import LiveProgress
    from mmupt.events import EventLog, SilentLog
    from mmupt.pipeline.stages import Stages

    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    processes = connect()
    console = Console(stderr=True, quiet=as_json or not processes.main)
    with LiveProgress(console, lang) as bars:
        log = EventLog(folder.events, (bars,)) if processes.main else SilentLog()
        log.emit("run_started", seed=config.seed, version=__version__, processes=processes.count)
        yield Stages(folder, config, log, processes=processes)
    disconnect()


def _command_config(
    config_file: Path | None,
    settings: Sequence[str] | None,
    seed: int | None,
    model: Path,
    skip_bad: bool,
    data: dict[str, Path],
) -> Config:
    """The file's settings, with the command's own model and data in their places."""
    from mmupt.config import load_config

    config = load_config(config_file, settings or [])
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


def _check_new_run(config: Config, out: Path, samples: Sequence[Sample]) -> None:
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


def _samples(config: Config, path: Path) -> Sequence[Sample]:
    from mmupt.data.sources import read_samples

    dataset = read_samples(path, data_root=config.data.root, skip_bad=config.data.skip_bad)
    _report_left_out(dataset.left_out)
    return dataset.rows


def _labelled(config: Config, path: Path) -> Sequence[LabelledSample]:
    from mmupt.data.sources import read_labelled

    dataset = read_labelled(path, data_root=config.data.root, skip_bad=config.data.skip_bad)
    _report_left_out(dataset.left_out)
    return dataset.rows


def _finish(stages: Stages, stage: str) -> dict[str, Any]:
    """Put the final model at OUT/model."""
    from mmupt.runs import copy_folder

    if stages.processes.main:
        copy_folder(stages.folder.checkpoint(stage), stages.folder.model)
    return {"model": str(stages.folder.model), "stage": stage}


def _report_left_out(left_out: Sequence[Any]) -> None:
    for row in left_out if connect().main else ():
        typer.echo(f"left out {row.origin}: {row.reason}", err=True)


def _print_json(value: dict[str, Any]) -> None:
    from mmupt.events import jsonable

    typer.echo(json.dumps(jsonable(value), ensure_ascii=False))


if __name__ == "__main__":
    main()
