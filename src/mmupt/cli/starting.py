"""The verb that writes a first configuration: init."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmupt.cli import common
from mmupt.cli.asking import Asking, flag, number, path_of, share, yes_or_no
from mmupt.cli.options import JsonOption, Lang
from mmupt.errors import InputError, ModelError, RunFolderError

if TYPE_CHECKING:
    from mmupt.starter import Answers

FIRST_ROWS = 20
"""Rows of each data file that are read, with the headers of their pictures."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Gets config.yaml.")],
    model: Annotated[
        Path | None, typer.Option("--model", help="Local Hugging Face image-text model folder.")
    ] = None,
    unlabelled: Annotated[
        Path | None, typer.Option("--unlabelled", help="JSONL for the label-free rounds.")
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option("--labelled", help="JSONL with answers for SFT; may be missing.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Held-out JSONL with true answers.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="auto, number, choice, yesno, text, boxed, json.")
    ] = None,
    lora: Annotated[
        bool | None,
        typer.Option("--lora/--no-lora", help="Default: LoRA from 1 GiB of weights on."),
    ] = None,
    currency: Annotated[
        str | None, typer.Option("--currency", help="ISO 4217; default: USD, with ja JPY.")
    ] = None,
    label_price: Annotated[
        float | None, typer.Option("--label-price", help="One label by people.")
    ] = None,
    reviewer_wage: Annotated[
        float | None, typer.Option("--reviewer-wage", help="One hour of a reviewer.")
    ] = None,
    machine_price: Annotated[
        float | None, typer.Option("--machine-price", help="One hour of the machine.")
    ] = None,
    min_precision: Annotated[
        float | None,
        typer.Option("--min-precision", help="Precision that a round's audit must prove."),
    ] = None,
    lang: Annotated[
        Lang, typer.Option("--lang", help="Language of questions and comments.")
    ] = "en",
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing; what is not given has its default.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """A few questions, answered at the terminal or by options, become a commented config.yaml."""
    from mmupt.starter import config_text
    from mmupt.words import texts

    given = {
        "model": model, "unlabelled": unlabelled, "labelled": labelled, "test": test, "kind": kind,
        "lora": lora, "currency": currency, "label_price": label_price,
        "reviewer_wage": reviewer_wage, "machine_price": machine_price,
        "min_precision": min_precision,
    }  # fmt: skip
    target = _free(folder)
    words = texts("mmupt.starter", lang)
    asks = sys.stdin.isatty() and sys.stdout.isatty() and not (yes or as_json)
    answers = _answers(Asking(words, given, asks), "JPY" if lang == "ja" else "USD")
    text = config_text(answers, folder.resolve(), lang)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise RunFolderError(f"{target}: cannot be written ({error.strerror})") from error
    steps = _next(answers, target)
    notes = [words["note.peft"]] if answers.lora and not _peft() else []
    if as_json:
        common.print_json({"config": str(target), "next": steps, "notes": notes})
        return
    typer.echo("\n".join([words["written"].format(path=target), *notes, words["next"]]))
    for step in steps:
        typer.echo(f"  {step}")


def _answers(asking: Asking, currency: str) -> Answers:
    """All answers, each checked before the next question."""
    from mmupt import starter

    words = asking.words
    code = starter.check_currency(str(asking.given["currency"] or currency), "--currency")
    prices = ("label_price", "reviewer_wage", "machine_price")
    typical = code in starter.TYPICAL_PRICES
    asking.missing("model", "unlabelled", "test", *(() if typical else prices))

    model = asking.about("model", _model)
    unlabelled = asking.about("unlabelled", lambda text: _rows(asking, text, answers=False))
    labelled = asking.about(
        "labelled", lambda text: _rows(asking, text, answers=True) if text else None, ""
    )
    others = [path for path in (unlabelled, labelled) if path]
    test = asking.about("test", lambda text: _rows(asking, text, answers=True, others=others))
    kind = asking.about(
        "kind", lambda text: starter.check_kind(text, "--kind"), "auto",
        kinds=", ".join(starter.KINDS),
    )  # fmt: skip
    size = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    large = starter.is_large(size)
    lora = asking.about(
        "lora", lambda text: yes_or_no(text, words), "y" if large else "n",
        size=f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB",
    )  # fmt: skip
    code = asking.about("currency", lambda text: starter.check_currency(text, "--currency"), code)
    assumed = starter.TYPICAL_PRICES.get(code, (None, None, None))

    def cost(name: str, assumed: float | None) -> float:
        def check(text: str) -> float:
            return starter.check_price(number(text, name), flag(name))

        return asking.about(name, check, None if assumed is None else f"{assumed:g}")

    label, wage, machine = map(cost, prices, assumed)
    precision = asking.about(
        "min_precision", lambda text: starter.check_share(share(text), "--min-precision"), "0.7"
    )
    return starter.Answers(
        model, unlabelled, test, labelled, kind, label, wage, machine, code, precision, lora,
        large,
    )  # fmt: skip


def _model(text: str) -> Path:
    """A folder that looks like a model, as an absolute path."""
    from mmupt.policy.model import check_folder

    if not text:
        raise ModelError("a folder is needed, such as models/qwen")
    path = path_of(text)
    check_folder(path)
    return path.resolve()


def _rows(asking: Asking, text: str, *, answers: bool, others: list[Path] | None = None) -> Path:
    """A data file whose first rows can be used, as an absolute path that keeps its own name."""
    from mmupt.data.images import printable
    from mmupt.data.sources import read_labelled, read_samples

    if not text:
        raise InputError("a file is needed, such as data/rows.jsonl")
    path = path_of(text)
    try:
        if answers:
            first = read_labelled(path, limit=FIRST_ROWS).rows[0]
            question, answer = first.sample.problem, first.answer
        else:
            question, answer = read_samples(path, limit=FIRST_ROWS).rows[0].problem, ""
    except InputError as error:
        # That option is not one of this verb; a config says `data.skip_bad`.
        raise InputError(str(error).removesuffix(" or pass --skip-bad")) from None
    if any(path.samefile(other) for other in others or ()):
        raise InputError(
            f"{printable(path)} is trained on already; held-out rows have to be others, or the "
            "evaluation shows what the model has learned by heart"
        )
    if asking.asks:
        found = asking.words["read_answer" if answers else "read"]
        shown = found.format(problem=printable(question, 60), answer=printable(answer, 40))
        typer.secho(f"  {shown}", dim=True)
    return path.parent.resolve() / path.name


def _free(folder: Path) -> Path:
    """Where the file will be; nothing is there yet."""
    target = folder / "config.yaml"
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder}: is a file; give the project's folder")
    if target.exists() or target.is_symlink():
        raise RunFolderError(
            f"{target}: is there already and is not overwritten; edit it, or choose another folder"
        )
    return target


def _next(answers: Answers, target: Path) -> list[str]:
    """The commands that come now, as one types them."""
    import shlex

    def shown(path: Path) -> str:
        text = str(path)
        return shlex.quote(f"./{text}" if text.startswith("-") else text)

    config = shown(target)
    data = shown(answers.unlabelled)
    return [
        f"mmupt check --model {shown(answers.model)} --data {data} --config {config}",
        f"mmupt run {config}",
    ]


def _peft() -> bool:
    from importlib.util import find_spec

    return find_spec("peft") is not None
