"""Verbs that train: demo, demo-data, run, sft, train."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmupt.cli import common
from mmupt.cli.options import (
    ConfigOption,
    DataOption,
    JsonOption,
    LangOption,
    ModelOption,
    OutOption,
    SeedOption,
    SetOption,
    SkipBadOption,
)
from mmupt.processes import connect


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.command()(demo)
    app.command("demo-data")(demo_data)
    app.command()(run)
    app.command()(sft)
    app.command()(train)


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
    from mmupt.demo import demo_answers, demo_config, write_demo_data
    from mmupt.pipeline.reviewer import answer_key

    config = load_config(None, settings or [], demo_config(out.resolve() / "data", seed))
    command = "demo --compare" if compare else "demo"
    processes = connect()
    with common.opened(out, config, command) as folder:
        if processes.main and not (folder.root / "data" / "config.yaml").exists():
            write_demo_data(folder.root / "data", seed, truth=compare)
        processes.wait()
        truth = folder.root / "data" / "unlabelled-truth.jsonl"
        material = common.material(config, truth if compare else None)
        # The demo drew the panels itself: it is the one project whose reviewer knows the answers.
        reviewer = answer_key(demo_answers(seed), "demo answer key")
        common.staged(folder, config, material, lang, as_json, reviewer)


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


def run(
    config_file: Annotated[
        Path,
        typer.Argument(metavar="CONFIG", help="YAML file of the whole project, or its folder."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Project folder; default: `out` of the file.")
    ] = None,
    settings: SetOption = None,
    lang: LangOption = "en",
    as_json: JsonOption = False,
) -> None:
    """The staged whole: base, SFT, pilot, then rounds with evaluation, audit, gate, promotion."""
    from mmupt.config import load_config
    from mmupt.errors import ConfigError

    folder_given = config_file.is_dir()
    file = config_file / "config.yaml" if folder_given else config_file
    config = load_config(file, settings or [])
    its_own = folder_given and ((config_file / "project.db").exists() or not config.out)
    target = out or (config_file if its_own else config.out)
    if target is None:
        raise ConfigError(f"{file}: no out in it; add `out: FOLDER` or pass --out")
    for key, value in (
        ("model.path", config.model.path),
        ("data.unlabelled", config.data.unlabelled),
        ("data.test", config.data.test),
    ):
        if value is None:
            raise ConfigError(f"{file}: {key} is missing; `mmupt run` needs it")
    material = common.material(config, None)
    questions = [
        *(row.sample for row in (*material.labelled, *material.test)),
        *material.unlabelled,
    ]
    common.check_new_run(config, target, questions)
    with common.opened(target, config, "run", goes_on=True) as folder:
        common.staged(folder, config, material, lang, as_json)


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
    config = common.command_config(config_file, settings, seed, model, skip_bad, {"labelled": data})
    rows = common.labelled(config, data)
    common.check_new_run(config, out, [row.sample for row in rows])
    with common.single_stage(config, out, "sft", as_json) as (stages, result):
        result |= {"labels_used": len(rows), **common.finish(stages, stages.sft(rows))}


def train(
    model: ModelOption,
    data: DataOption,
    out: OutOption,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    engine: Annotated[
        Literal["local", "trl"],
        typer.Option("--engine", help="Who rolls out and updates; trl is docs/trl.md."),
    ] = "local",
    skip_bad: SkipBadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Label-free GRPO on rows without answers; the model goes to OUT/model."""
    from mmupt.train.recorded import check_recorded

    config = common.command_config(
        config_file, settings, seed, model, skip_bad, {"unlabelled": data}
    )
    if engine == "trl":
        from mmupt.trl.engine import check_installed
        from mmupt.trl.settings import refuse_what_trl_has_not

        check_installed()
        refuse_what_trl_has_not(config)
    samples = common.samples(config, data)
    check_recorded(config.consensus, samples)
    common.check_new_run(config, out, samples)
    audited = common.labelled(config, config.data.audited) if config.data.audited else ()
    with common.single_stage(config, out, "train", as_json) as (stages, result):
        from mmupt.pipeline.label_free import label_free_rounds

        stages.audited, learn = audited, None
        if engine == "trl":
            from mmupt.trl.engine import train_with_trl

            learn = partial(train_with_trl, audit=stages.audit())
        stage = label_free_rounds(stages, samples, learn)
        result |= {"labels_used": 0, "labels_audited": len(audited), "rows": len(samples)}
        result |= {"guard": stages.guarded(stage), **common.finish(stages, stage)}
