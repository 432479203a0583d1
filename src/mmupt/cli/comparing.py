"""Verbs that compare two models: bias."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmupt.cli import common
from mmupt.cli.options import (
    ConfigOption,
    DataOption,
    JsonOption,
    LangOption,
    OutOption,
    SeedOption,
    SetOption,
    SkipBadOption,
)


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.command()(bias)


def bias(
    before: Annotated[Path, typer.Option("--before", help="Model folder before training.")],
    after: Annotated[Path, typer.Option("--after", help="Model folder after it.")],
    data: DataOption,
    out: OutOption = Path("runs/bias"),
    forgetting: Annotated[
        list[Path] | None,
        typer.Option("--forgetting", help="JSONL that training was not about; repeatable."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--slice", help="Column to slice by; repeatable. Default: all."),
    ] = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    skip_bad: SkipBadOption = False,
    lang: LangOption = "en",
    as_json: JsonOption = False,
) -> None:
    """Bias and side effects of training: pictures, slices, options, answers, forgetting."""
    from mmupt.bias.groups import by_columns
    from mmupt.bias.plot import write_bias_pictures
    from mmupt.bias.rows import Questions, read_questions
    from mmupt.bias.run import Asking, check_inputs, run_bias
    from mmupt.errors import ConfigError
    from mmupt.policy.model import check_folder
    from mmupt.runs import open_run

    for model in (before, after):
        check_folder(model)
    config = common.command_config(config_file, settings, seed, before, skip_bad, {"test": data})

    def read(path: Path) -> Questions:
        found = read_questions(
            path, data_root=config.data.root, skip_bad=config.data.skip_bad,
            limit=config.eval.limit,
        )  # fmt: skip
        common.report_left_out(found.left_out)
        return found

    questions = read(data)
    by_columns(questions.samples, columns or ())  # a wrong name ends here
    others: dict[str, Questions] = {}
    for path in forgetting or ():
        if path.stem in others:
            raise ConfigError(f"--forgetting {path}: a second file named {path.stem}; rename one")
        others[path.stem] = read(path)
    asked = [*questions.samples, *(s for one in others.values() for s in one.samples)]
    for model in (before, after):
        own = config.model.model_copy(update={"path": model.resolve()})
        common.check_new_run(config.model_copy(update={"model": own}), out, asked)
    asking = Asking(before.resolve(), after.resolve(), questions, others, tuple(columns or ()))
    with open_run(out, config, "bias") as folder:
        check_inputs(folder, asking)
        with common.progress(folder, config, lang, as_json) as stages:
            report = run_bias(folder, config, asking, stages.log, lang)
        write_bias_pictures(report, folder.root, lang)
    if as_json:
        common.print_json(report.document)
        return
    from rich.console import Console

    from mmupt.bias.table import bias_view

    console = Console()
    for part in bias_view(report, lang):
        console.print(part, highlight=False)
    for name in ("bias.json", "bias.png", "bias.svg"):
        console.print(f"[dim]{out / name}[/dim]", soft_wrap=True)
