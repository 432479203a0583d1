"""The verb that serves a model for trying it: serve."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from mmupt.cli.options import ConfigOption, LangOption, SetOption


def register(app: typer.Typer) -> None:
    """Add these verbs, in the order of the help page."""
    app.command()(serve)


def serve(
    place: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A project, a run, a model, or an adapter.")
    ],
    version: Annotated[
        str | None, typer.Option("--version", help="Of a project; default: its champion.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What requests call it; default: mmupt.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option("--base", help="Of an adapter alone: its base model's folder.")
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")
    ] = 8000,
    host: Annotated[
        str, typer.Option("--host", help="Address to bind; others than this machine's need a key.")
    ] = "127.0.0.1",
    key_variable: Annotated[
        str | None,
        typer.Option("--api-key-env", help="Environment variable with the key that requests need."),
    ] = None,
    config_file: ConfigOption = None,
    settings: SetOption = None,
    lang: LangOption = "en",
) -> None:
    """Try a model by hand: a page with answers and vote, and an OpenAI-compatible endpoint."""
    from mmupt.errors import ConfigError

    try:
        import uvicorn

        from mmupt.serving.app import create_app
    except ModuleNotFoundError as error:
        raise ConfigError(f"mmupt serve needs {error.name}; install mmupt[review]") from error
    from rich.console import Console

    from mmupt.config import load_config
    from mmupt.export.formats import loaded
    from mmupt.export.source import find_source
    from mmupt.review.access import is_loopback
    from mmupt.review.address import bind, names, site
    from mmupt.serving.model import Served

    key = os.environ.get(key_variable, "") if key_variable else None
    if key_variable and not key:
        raise ConfigError(
            f"--api-key-env {key_variable}: this variable is empty; put the key in it"
        )
    if key is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: others can reach it, so requests need a key; name the environment "
            "variable that holds it with --api-key-env"
        )
    config = load_config(config_file, settings or [])
    if config.num_threads:
        import torch

        torch.set_num_threads(config.num_threads)
    bound = bind(host, port)  # a taken port is told before a large model is read
    with bound:
        with Console(stderr=True).status("loading the model"):
            policy = loaded(find_source(place, version, base))
        served = Served(policy, name or "mmupt", config)
        start = f"http://{site(host)}:{bound.getsockname()[1]}"
        typer.echo(f"{start}      the page")
        typer.echo(f"{start}/v1   for clients; the model is called {served.name}")
        server = uvicorn.Config(
            create_app(served, key=key, hosts=names(host), lang=lang),
            log_level="warning", access_log=False, server_header=False, proxy_headers=False,
            lifespan="off", ws="none", timeout_graceful_shutdown=3,
        )  # fmt: skip
        with suppress(KeyboardInterrupt):  # how a server is ended
            uvicorn.Server(server).run(sockets=[bound])
