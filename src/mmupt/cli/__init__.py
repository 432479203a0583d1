"""The command line: verbs only. Heavy imports happen inside the verbs."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from mmupt.cli import (
    auditing,
    comparing,
    data,
    evaluating,
    exporting,
    launching,
    learning,
    measuring,
    pooling,
    reporting,
    reviewing,
    starting,
    supervising,
    synthesizing,
    trying,
)
from mmupt.errors import MmuptError
from mmupt.launch import GOES_ON, launched, leave_error
from mmupt.version import __version__

app = typer.Typer(
    name="mmupt",
    help="Improve a multimodal LLM without labels, in stages that people can supervise.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point: our own errors become one line and exit code 2."""
    try:
        app()
    except MmuptError as error:
        _end(str(error), 2)
    except KeyboardInterrupt:
        _end(f"interrupted; {GOES_ON}", 130)
    except SystemExit as end:
        # Typer makes an exit without a word of a Ctrl-C.
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            _end(f"interrupted; {GOES_ON}", 130)
        raise
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


for verbs in (
    starting,
    learning,
    supervising,
    reporting,
    auditing,
    reviewing,
    evaluating,
    measuring,
    comparing,
    data,
    synthesizing,
    pooling,
    exporting,
    trying,
    launching,
):  # in the order of the help page
    verbs.register(app)
