"""Runs the review app: binds, prints one link a reviewer, serves until it is stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import uvicorn

from mmupt.audit import checks
from mmupt.errors import ConfigError, InputError
from mmupt.review.access import Access, is_loopback
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
    names = tuple(checks.name(one, "reviewer") for one in reviewers)
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--reviewer {name} is there twice; name each reviewer once")
    return names


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
    bound = _bind(host, port)
    port = bound.getsockname()[1]
    site = f"http://{_site(host)}:{port}"
    access = Access(reviewers, lambda who, token: tell(who, f"{site}/?token={token}", False))
    app = create_app(desk, access, hosts=_names(host), port=port, lang=lang)
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
        lifespan="off", ws="none", http="h11", timeout_graceful_shutdown=3,
    )  # fmt: skip
    for who, token in access.tokens.items():
        tell(who, f"{site}/?token={token}", True)
    desk.store.stay()
    with bound:
        uvicorn.Server(settings).run(sockets=[bound])


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM
        )[0]
        # With its protocol named asyncio sends small pieces at once, instead of 40 ms later.
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen(128)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot be bound ({error}); choose another port"
        ) from error
    return bound


def _site(host: str) -> str:
    """The host as it stands in an address; where every address is bound, this machine's name."""
    plain = host.strip("[]")
    if plain in ("0.0.0.0", "::"):  # noqa: S104 - asked for by whoever starts it
        return socket.getfqdn()
    return f"[{plain}]" if ":" in plain else plain


def _names(host: str) -> tuple[str, ...]:
    plain = host.strip("[]")
    if plain in ("0.0.0.0", "::"):  # noqa: S104
        return (socket.gethostname(), socket.getfqdn())
    return (plain,)
