"""What verbs share that can ask a server instead of a model here. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmupt.cli.options import Lang
    from mmupt.config import Config
    from mmupt.events import EventLog
    from mmupt.runs import RunFolder
    from mmupt.server.answerer import ServerAnswerer

REPLIES = "replies"
"""Folder within a run in which a server's replies are remembered."""


def with_server(
    config: Config,
    model: Path | None,
    server: str | None,
    server_model: str | None,
    api_key_env: str | None,
) -> Config:
    """The configuration with who answers: `model.path` or `server.url`, and not both.

    Args:
        config: its `server` section may name a server as well; `--model` goes before.
        model, server, server_model, api_key_env: as on the command line.

    Raises:
        ConfigError: both or neither of --model and --server, or an option of a server without one.
    """
    from mmupt.errors import ConfigError

    if model is not None and server is not None:
        raise ConfigError("--model and --server both answer; give one of them")
    if model is not None and (server_model or api_key_env):
        raise ConfigError("--server-model and --api-key-env belong to --server, not to --model")
    section = config.server
    if model is not None:
        section = section.model_copy(update={"url": None})
    else:
        own = {"url": server, "model": server_model, "api_key_env": api_key_env}
        update = {name: value for name, value in own.items() if value is not None}
        section = section.model_copy(update=update)
        if section.url is None:
            raise ConfigError("nobody answers; give one of --model FOLDER and --server URL")
    path = model.resolve() if model is not None else None
    return config.model_copy(
        update={"model": config.model.model_copy(update={"path": path}), "server": section}
    )


WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "asked": "{model} at {url}: {replies} replies, {remembered} of them remembered; "
        "{requests} requests, {prompt_tokens} + {completion_tokens} tokens",
        "failed": "{failed} replies did not come; they are no part of the votes",
    },
    "ja": {
        "asked": "{model}({url}):応答 {replies} 件(うち記憶済み {remembered} 件)、"
        "リクエスト {requests} 件、トークン {prompt_tokens} + {completion_tokens}",
        "failed": "応答のうち {failed} 件は得られず、投票に含まれていません",
    },
}


def served_lines(server: Mapping[str, Any], lang: Lang) -> Iterator[str]:
    """What a server was asked and what did not come, for the terminal; nothing without one.

    Args:
        server: as in `metrics.json`.
        lang: language of the lines.
    """
    if server:
        yield WORDS[lang]["asked"].format(**server)
    if server.get("failed"):
        yield WORDS[lang]["failed"].format(**server)


@contextmanager
def opened_server(config: Config, out: Path) -> Iterator[ServerAnswerer]:
    """The server of a configuration, with the memory of its replies; nothing is asked yet.

    Args:
        config: `server` is read; its `url` is set.
        out: the run's folder, where replies are remembered unless `server.cache` says where.
    """
    from mmupt.server.answerer import ServerAnswerer
    from mmupt.server.cache import Replies

    server = config.server
    assert server.url is not None  # noqa: S101
    replies = Replies(server.cache or out / REPLIES)
    with ServerAnswerer(server.url, server.model, server, replies=replies) as answerer:
        yield answerer


def recorded(config: Config, answerer: ServerAnswerer) -> Config:
    """The configuration as a run is known by: the model by name, wherever its server stands."""
    server = config.server.model_copy(update={"model": answerer.model}).identity()
    return config.model_copy(update={"server": server})


@contextmanager
def served_progress(
    folder: RunFolder, config: Config, lang: Lang, as_json: bool
) -> Iterator[EventLog]:
    """Events logged and bars drawn on standard error, as `common.progress` without a model."""
    from rich.console import Console

    from mmupt.console import LiveProgress
    from mmupt.events import EventLog
    from mmupt.trackers.send import tracked
    from mmupt.version import __version__

    with LiveProgress(Console(stderr=True, quiet=as_json), lang) as bars:
        log = EventLog(folder.events, (bars,))
        with tracked(log, config, folder):
            log.emit("run_started", seed=config.seed, version=__version__, processes=1)
            yield log
