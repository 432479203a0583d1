"""The wall around the app: host, session, form token, size, and what every reply forbids."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, parse_qsl

from mmupt.review.access import Access, Session, form_is_ours, host_is_ours, origin_is_ours

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_FORM = 400_000
"""Bytes of a form: an answer and a comment of 10,000 characters each, percent-encoded."""


class Guard:
    """Lets through only what comes from a page of ours in a browser that was let in.

    Args:
        app: what is guarded; finds ``session``, ``form`` and ``nonce`` in ``scope["mmupt"]``.
        access: links and sessions.
        hosts: names and addresses that the server goes by.
        cookie: name of the session cookie.
        refuse: makes the page of a refusal, from status, nonce and language cookie.
    """

    def __init__(
        self, app: App, access: Access, hosts: Sequence[str], cookie: str,
        refuse: Callable[[Scope, int], bytes],
    ) -> None:  # fmt: skip
        self._app, self._access, self._hosts = app, access, tuple(hosts)
        self._cookie, self._refuse = cookie, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        nonce = secrets.token_urlsafe(18)
        told: dict[str, Any] = {"nonce": nonce, "session": None, "form": {}, "enter": ""}
        scope["mmupt"] = told
        static = scope["path"].startswith("/static/")

        async def forbidding(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_headers(nonce, static)]
            await send(message)

        status, body = await self._check(scope, receive, static)
        if status:
            await _reply(forbidding, status, self._refuse(scope, status))
            return
        await self._app(scope, _again(body), forbidding)

    async def _check(self, scope: Scope, receive: Receive, static: bool) -> tuple[int, bytes]:
        """Status of the refusal (0: none) and the body of the form."""
        headers = _headers_of(scope)
        host = headers.get("host", "")
        local = (scope.get("server") or ("",))[0]
        if not host_is_ours(host, self._hosts, str(local)):
            return 400, b""
        if scope["method"] not in ("GET", "POST"):
            return 405, b""
        told = scope["mmupt"]
        told["cookies"] = _cookies(headers.get("cookie", ""))
        if static:
            return (405 if scope["method"] == "POST" else 0), b""
        session = self._access.session(told["cookies"].get(self._cookie, ""))
        if scope["method"] == "GET" and scope["path"] == "/" and session is None:
            given = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token", "")
            told["enter"] = (self._access.exchange(given) if given else None) or ""
            return (0 if told["enter"] else 401), b""
        if session is None:
            return 401, b""
        told["session"] = session
        if scope["method"] == "GET":
            return 0, b""
        return await self._form(scope, receive, session, headers)

    async def _form(
        self, scope: Scope, receive: Receive, session: Session, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        if not origin_is_ours(headers.get("origin", ""), headers.get("host", "")):
            return 403, b""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > MAX_FORM:
                return 413, b""
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                break
        try:
            fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=50,
                              errors="strict")  # fmt: skip
        except ValueError:
            return 403, b""
        form = {key: values[-1] for key, values in fields.items()}
        if not form_is_ours(session, form.pop("csrf", "")):
            return 403, b""
        scope["mmupt"]["form"] = form
        return 0, body


def _headers(nonce: str, static: bool) -> list[tuple[bytes, bytes]]:
    policy = (
        "default-src 'none'; img-src 'self'; connect-src 'self'; form-action 'self'; "
        f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    kept = "public, max-age=31536000, immutable" if static else "no-store"
    return [
        (b"content-security-policy", policy.encode()),
        (b"cache-control", kept.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        (b"x-frame-options", b"DENY"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    ]


def _headers_of(scope: Scope) -> dict[str, str]:
    """By lower-case name; of a Host that is there twice nothing is believed."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        twice = key in found
        found[key] = "?" if twice and key in ("host", "origin") else value.decode("latin-1")
    return found


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def _again(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _reply(send: Send, status: int, page: bytes) -> None:
    headers = [(b"content-type", b"text/html; charset=utf-8"),
               (b"content-length", str(len(page)).encode())]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": page})
