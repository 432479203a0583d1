"""Which addresses are asked: TLS, or plain HTTP within one's own walls."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, urlsplit, urlunsplit

from mmupt.data.images import printable
from mmupt.errors import ConfigError, ServerError

_EXAMPLE = "such as http://localhost:8000/v1"


def base_url(text: str, *, plain_http: bool = False) -> str:
    """The address of the API that `text` means; ``/v1`` where it names a host alone.

    Args:
        text: ``http(s)://host[:port][/path]``. Nothing in it may be secret, as it is written into
            records: no user, no password, no query.
        plain_http: allow ``http`` also to public hosts.

    Raises:
        ConfigError: not such an address, or plain HTTP to a public host.
        ServerError: plain HTTP to a name that nobody knows.
    """
    shown = printable(text, 120)
    try:
        parts = urlsplit(text.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f'server "{shown}" is no address; give one {_EXAMPLE}') from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f'server "{shown}" is no http(s) address; give one {_EXAMPLE}')
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            "the server's address holds a user or password, and it is written into records; put a "
            "key into an environment variable and name that with --api-key-env"
        )
    if parts.query or parts.fragment:
        raise ConfigError(
            f'server "{shown.partition("?")[0].partition("#")[0]}" is followed by ? or #; give the '
            f"base address alone, {_EXAMPLE}"
        )
    if parts.scheme == "http" and not plain_http and not _within(host, parts.port or 80):
        raise ConfigError(
            f'server "{shown}" would get pictures, questions and the key readable for everyone on '
            "the way; use https, or set server.plain_http to true"
        )
    path = parts.path.rstrip("/") or "/v1"
    return urlunsplit(SplitResult(parts.scheme, parts.netloc, path, "", ""))


def _within(host: str, port: int) -> bool:
    """Whether a host is this machine or in a private network, by all of its addresses."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, port)}
    except (OSError, UnicodeError):
        raise ServerError(
            f'server "{printable(host, 80)}" is not known by that name; check the address'
        ) from None
    addresses = [ipaddress.ip_address(one.partition("%")[0]) for one in found]
    return all(one.is_loopback or one.is_private or one.is_link_local for one in addresses)
