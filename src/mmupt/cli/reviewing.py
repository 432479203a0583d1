"""The verb that lets people review in a browser."""

from __future__ import annotations

import getpass
import threading
import webbrowser
from typing import Annotated

import typer

from mmupt.cli.auditing import audits
from mmupt.cli.options import LangOption
from mmupt.cli.supervising import ProjectArgument

DELAY = 0.7
"""Seconds until a browser is opened: the server is listening before, it only has to be awake."""


def register(app: typer.Typer) -> None:
    """Add the verb to those of audits."""
    del app
    audits.command("serve")(serve)


def serve(
    folder: ProjectArgument,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")
    ] = 8765,
    host: Annotated[
        str, typer.Option("--host", help="Address to bind; others than this machine's need names.")
    ] = "127.0.0.1",
    reviewer: Annotated[
        list[str] | None,
        typer.Option("--reviewer", help="Who reviews, once for each; default: the user."),
    ] = None,
    lang: LangOption = "en",
    blind: Annotated[
        bool, typer.Option("--blind/--no-blind", help="Votes are shown only after the verdict.")
    ] = True,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")
    ] = True,
) -> None:  # fmt: skip
    """Review pseudo-labels in the browser; prints a link for each reviewer."""
    try:
        from mmupt.review.serve import check_reviewers
        from mmupt.review.serve import serve as run
    except ModuleNotFoundError as error:
        from mmupt.errors import ConfigError

        raise ConfigError(f"the review app needs {error.name}; install mmupt[review]") from error
    from mmupt.pipeline.project import find_project
    from mmupt.review.desk import Desk
    from mmupt.review.pictures import Pictures, data_roots

    names = check_reviewers(host, reviewer or ()) or (getpass.getuser(),)
    project = find_project(folder)
    config = project.config()
    pictures = Pictures(data_roots(project, config))
    desk = Desk(project.audits(config), config, pictures, blind=blind)
    needed = config.audit.reviewers + (config.audit.second_review > 0.0)
    if len(names) < needed:
        typer.echo(
            f"samples need up to {needed} reviewers (audit.reviewers, audit.second_review), and "
            f"here is {len(names)}: those wait for others before they count; --reviewer names more"
        )

    def tell(who: str, link: str, first: bool) -> None:
        if first:
            typer.echo(f"{who}: {link}")
        else:
            typer.echo(f"{who} is in; for another browser: {link}")
        if first and browser and len(names) == 1:
            threading.Timer(DELAY, webbrowser.open, (link,)).start()

    typer.echo("review app; each link is good for one browser, Ctrl+C ends it")
    run(desk, names, host=host, port=port, lang=lang, tell=tell)
