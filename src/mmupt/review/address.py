"""The address that a server of ours is bound to, and the names it goes by."""

from __future__ import annotations

import socket

from mmupt.errors import ConfigError


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: name or address.
        port: 0: any that is free.

    Raises:
        ConfigError: the address cannot be bound.
    """
    bound = None
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
        if bound is not None:
            bound.close()
        raise ConfigError(
            f"--host {host} --port {port}: cannot be bound ({error}); choose another port"
        ) from error
    return bound


def site(host: str) -> str:
    """The host as it stands in an address; where every address is bound, this machine's name."""
    plain = host.strip("[]")
    if plain in ("0.0.0.0", "::"):  # noqa: S104 - asked for by whoever starts it
        return socket.getfqdn()
    return f"[{plain}]" if ":" in plain else plain


def names(host: str) -> tuple[str, ...]:
    """What the server is called by those who can reach it, beside loopback."""
    plain = host.strip("[]")
    if plain in ("0.0.0.0", "::"):  # noqa: S104
        return (socket.gethostname(), socket.getfqdn())
    return (plain,)
