"""The server's paths, and the wall around them."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from mmupt.data.images import printable
from mmupt.errors import InputError, MmuptError, RefusedError
from mmupt.review.access import host_is_ours, origin_is_ours
from mmupt.serving.chat import error, read_request
from mmupt.serving.model import Served
from mmupt.words import LANGUAGES, texts

MAX_BODY: Final = 48 * 2**20
"""Bytes of a request: pictures in base64."""


def create_app(
    served: Served, *, key: str | None = None, hosts: Sequence[str] = (), lang: str = "en"
) -> FastAPI:
    """The app.

    Args:
        served: the model.
        key: that every request but the page itself carries, as ``Authorization: Bearer KEY``; None:
            none is asked for, which is for loopback alone.
        hosts: names and addresses that the server goes by, beside loopback.
        lang: of the page, for those who have not chosen one.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = _Page(lang, key is not None, served.name)

    @app.middleware("http")
    async def guarded(request: Request, go_on: Any) -> Response:
        refused = _refused(request, key, hosts)
        response: Response = refused or await go_on(request)
        for name, value in _HEADERS:
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(MmuptError)
    async def failed(request: Request, problem: MmuptError) -> Response:
        status = 400 if isinstance(problem, InputError) else 500
        status = 429 if isinstance(problem, RefusedError) else status
        return JSONResponse(error(printable(str(problem), 500)), status)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {
            "object": "list",
            "data": [{"id": served.name, "object": "model", "owned_by": "mmupt"}],
        }

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = read_request(await _json(request))
        if asked.model != served.name:
            message = (
                f"model {printable(asked.model, 80)!r} is not served here; ask {served.name!r}"
            )
            return JSONResponse(error(message), 404)
        return JSONResponse(await run_in_threadpool(served.chat, asked))

    @app.post("/try")
    async def attempt(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(_attempt, served, await _json(request)))

    @app.get("/")
    async def home(request: Request) -> Response:
        return page.show(request.query_params.get("lang", ""))

    return app


_HEADERS: Final = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-resource-policy", "same-origin"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
)


def _refused(request: Request, key: str | None, hosts: Sequence[str]) -> Response | None:
    """Refuses what another site's page may have sent, and whoever has no key.

    A page of another site can send a form or plain text here without asking, but not JSON: for
    that browsers ask first, and are not answered.
    """
    headers = request.headers
    host = headers.get("host", "")
    local = str((request.scope.get("server") or ("",))[0])
    if not host_is_ours(host, hosts, local):
        return JSONResponse(error("this name leads elsewhere"), 400)
    if not origin_is_ours(headers.get("origin", ""), host):
        return JSONResponse(error("sent from another site's page"), 403)
    if request.method == "POST":
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return JSONResponse(error("expected Content-Type: application/json"), 415)
    if key is not None and request.url.path not in ("/", "/health"):
        # Bytes of a header are read as Latin-1, whatever they are.
        given = headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1")
        if not hmac.compare_digest(given, key.encode("utf-8", "surrogateescape")):
            return JSONResponse(error("no or another key", "authentication_error"), 401)
    return None


async def _json(request: Request) -> Any:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise InputError(f"the request is longer than {MAX_BODY // 2**20} MiB")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise InputError("the body is not JSON") from problem


def _attempt(served: Served, body: Any) -> dict[str, Any]:
    """What the page asks for."""
    fields = body if isinstance(body, dict) else {}
    problem, pictures = fields.get("problem"), fields.get("pictures")
    if not isinstance(problem, str) or not isinstance(pictures, list) or len(pictures) > 8:
        raise InputError("expected a question, and at most 8 pictures")
    numbers: dict[str, int] = {}
    for name, least, default in (("samples", 1, 8), ("views", 1, 1), ("seed", 0, 0)):
        value = fields.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 31:
            raise InputError(f'"{name}" is no whole number from {least}')
        numbers[name] = value
    temperature = fields.get("temperature", 1.0)
    if not isinstance(temperature, int | float) or not 0 <= temperature <= 5:
        raise InputError('"temperature" is no number from 0 to 5')
    try:
        files = [base64.b64decode(str(one), validate=True) for one in pictures]
    except ValueError as problem_:
        raise InputError("a picture is not base64") from problem_
    return served.ask(problem, files, temperature=float(temperature), **numbers)


class _Page:
    def __init__(self, lang: str, asks_key: bool, name: str) -> None:
        environment = Environment(
            loader=PackageLoader("mmupt.serving"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._template = environment.get_template("try.html")
        static = resources.files("mmupt.serving") / "static"
        self._style = (static / "try.css").read_text(encoding="utf-8")
        self._script = (static / "try.js").read_text(encoding="utf-8")
        self._lang, self._asks_key, self._name = lang, asks_key, name

    def show(self, wanted: str) -> Response:
        lang = wanted if wanted in LANGUAGES else self._lang
        nonce = secrets.token_urlsafe(18)
        words = texts("mmupt.serving", lang)
        other = next(one for one in LANGUAGES if one != lang)
        text = self._template.render(
            lang=lang, other=other, words=words, said=json.dumps(dict(words)), nonce=nonce,
            style=self._style, script=self._script, asks_key=self._asks_key, name=self._name,
        )  # fmt: skip
        policy = (
            "default-src 'none'; img-src data: blob:; connect-src 'self'; base-uri 'none'; "
            f"form-action 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
            "frame-ancestors 'none'"
        )
        return HTMLResponse(text, headers={"content-security-policy": policy})
