"""Who may use the review app: one-time links, sessions, form tokens, hosts. Pure but for its state.

As in Jupyter, the link with the token is what proves that somebody was invited. Here a token is
good for one browser: it is exchanged for a session cookie, and a new link is told to whoever runs
the server. All comparisons are of SHA-256 digests or in constant time.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from urllib.parse import urlsplit

MAX_SESSIONS = 1000
"""Browsers that are remembered; the oldest is forgotten first."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Session:
    """One browser of one reviewer.

    Attributes:
        reviewer: whose verdicts come from it.
        form: token that each of its forms carries.
    """

    reviewer: str
    form: str


class Access:
    """The links and sessions of one server.

    Args:
        reviewers: who is invited; names as the store knows them.
        announce: called with a reviewer and a fresh token when theirs was used.
    """

    def __init__(
        self, reviewers: Sequence[str], announce: Callable[[str, str], None] | None = None
    ) -> None:
        self._announce = announce
        self._lock = Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._tokens = {reviewer: secrets.token_urlsafe(32) for reviewer in reviewers}

    @property
    def tokens(self) -> dict[str, str]:
        """The token of each reviewer that is good now."""
        with self._lock:
            return dict(self._tokens)

    def exchange(self, token: str) -> str | None:
        """A session id for a token, which is void from now on; None: it is no good."""
        with self._lock:
            found = None
            for reviewer, good in self._tokens.items():  # all are looked at, whichever it is
                if hmac.compare_digest(good.encode(), token.encode("utf-8", "replace")):
                    found = reviewer
            if found is None:
                return None
            fresh = self._tokens[found] = secrets.token_urlsafe(32)
            session = secrets.token_urlsafe(32)
            self._sessions[_digest(session)] = Session(found, secrets.token_urlsafe(32))
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        if self._announce is not None:
            self._announce(found, fresh)
        return session

    def session(self, cookie: str) -> Session | None:
        """The session of a cookie; None: there is none."""
        with self._lock:
            return self._sessions.get(_digest(cookie)) if cookie else None


def form_is_ours(session: Session, token: str) -> bool:
    """Whether a form was sent from a page of this session."""
    return hmac.compare_digest(session.form.encode(), token.encode("utf-8", "replace"))


def host_is_ours(header: str, hosts: Sequence[str], local: str = "") -> bool:
    """Whether a request's Host header names this server, so that no other site's name leads here.

    Args:
        header: the header; a port is not looked at, as one may be forwarded.
        hosts: names and addresses that the server goes by, beside loopback.
        local: address at which the request's connection arrived.
    """
    name = _name(header)
    return bool(name) and name in {*LOOPBACK, *(host.lower() for host in hosts), local.lower()}


def origin_is_ours(header: str, host: str) -> bool:
    """Whether an Origin header, where there is one, is the site that the request asks for."""
    if not header:
        return True
    try:
        return urlsplit(header).netloc.lower() == host.lower()
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what is bound to this host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _name(header: str) -> str:
    """The host of a Host header, lower case, without port; empty: it cannot be read."""
    try:
        found = urlsplit(f"//{header}")
        _ = found.port
    except ValueError:
        return ""
    plain = found.username is None and not found.path and not found.query and not found.fragment
    return (found.hostname or "").lower().rstrip(".") if plain else ""


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "replace")).hexdigest()
