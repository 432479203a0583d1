"""Runs the review app: binds, prints one link a reviewer, serves until it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import uvicorn

from mmupt.audit import checks
from mmupt.errors import ConfigError, InputError
from mmupt.review.access import Access, is_loopback
from mmupt.review.address import bind, names, site
from mmupt.review.app import create_app
from mmupt.review.desk import Desk


def check_reviewers(host: str, reviewers: Sequence[str]) -> tuple[str, ...]:
    """The names of the reviewers as the store knows them.

    Raises:
        ConfigError: others can reach the host, and nobody is named.
        InputError: a name that cannot be used, or is there twice.
    """
    if not reviewers and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: others can reach it, so each reviewer needs a name and a link; "
            "give --reviewer NAME for each"
        )
    known = tuple(checks.name(one, "reviewer") for one in reviewers)
    for name in known:
        if known.count(name) > 1:
            raise InputError(f"--reviewer {name} is there twice; name each reviewer once")
    return known


def serve(
    desk: Desk, reviewers: Sequence[str], *, host: str, port: int, lang: str,
    tell: Callable[[str, str, bool], None],
) -> None:  # fmt: skip
    """Serve until interrupted.

    Args:
        desk: the audits.
        reviewers: see `check_reviewers`; at least one.
        host: address to bind.
        port: to bind; 0: any that is free.
        lang: of those who have not chosen one.
        tell: called with a reviewer, a link that is good once, and whether it is the first.

    Raises:
        ConfigError: the address cannot be bound.
    """
    bound = bind(host, port)
    port = bound.getsockname()[1]
    start = f"http://{site(host)}:{port}"
    access = Access(reviewers, lambda who, token: tell(who, f"{start}/?token={token}", False))
    app = create_app(desk, access, hosts=names(host), port=port, lang=lang)
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
        lifespan="off", ws="none", http="h11", timeout_graceful_shutdown=3,
    )  # fmt: skip
    for who, token in access.tokens.items():
        tell(who, f"{start}/?token={token}", True)
    desk.store.stay()
    with bound:
        uvicorn.Server(settings).run(sockets=[bound])
