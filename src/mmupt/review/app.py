"""The review app: pages over a desk, behind a guard."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from jinja2 import Environment, PackageLoader, StrictUndefined

from mmupt.audit.records import KINDS, Item, Verdict
from mmupt.audit.store import TakenError
from mmupt.errors import DatabaseError, InputError, MmuptError, RefusedError
from mmupt.report.text import clean, duration, percent
from mmupt.review.access import Access, Session
from mmupt.review.desk import DISPUTED, RENEWALS, Desk, Filter, address
from mmupt.review.guard import App, Guard, Scope
from mmupt.words import LANGUAGES, texts

LANG_COOKIE = "mmupt_review_lang"
LATEST = 20
"""Verdicts of a reviewer that the overview lists."""

STATUS: tuple[tuple[type[MmuptError], int], ...] = (
    (InputError, 400), (RefusedError, 409), (DatabaseError, 503),
)  # fmt: skip


def create_app(
    desk: Desk, access: Access, *, hosts: Sequence[str] = (), port: int = 0, lang: str = "en"
) -> App:
    """The guarded app.

    Args:
        desk: the audits.
        access: who may come in.
        hosts: names and addresses that the server goes by, beside loopback.
        port: tells the cookies of several servers on one machine apart.
        lang: language of those who have not chosen one.
    """
    pages = Pages(desk, access, f"mmupt_review_{port}", lang)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for path, methods, page in (
        ("/", ["GET"], pages.home), ("/item", ["GET"], pages.item),
        ("/image", ["GET"], pages.image), ("/progress", ["GET"], pages.progress),
        ("/standing", ["GET"], pages.standing), ("/disagreements", ["GET"], pages.disagreements),
        ("/verdict", ["POST"], pages.verdict), ("/hold", ["POST"], pages.hold),
        ("/lang", ["POST"], pages.language),
        ("/static/{name}", ["GET"], pages.static),
    ):  # fmt: skip
        app.add_api_route(path, page, methods=methods, response_model=None)
    app.add_exception_handler(MmuptError, pages.failed)
    app.add_exception_handler(404, pages.missing)
    return Guard(app, access, hosts, pages.cookie, pages.refusal)


class Pages:
    """The pages of one server; each is a plain function of a request."""

    def __init__(self, desk: Desk, access: Access, cookie: str, lang: str) -> None:
        self.desk, self.access, self.cookie, self.lang = desk, access, cookie, lang
        self._environment = Environment(
            loader=PackageLoader("mmupt.review"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._static = {
            file.name: file.read_bytes()
            for file in (resources.files("mmupt.review") / "static").iterdir()
        }
        self._mark = uuid.uuid4().hex[:8]  # a new server, new files

    # --- pages ------------------------------------------------------------------------------------

    def home(self, request: Request) -> Response:
        """The next sample of the queue; or, for one who has just come in, the way to it."""
        told = request.scope["mmupt"]
        if told["enter"]:
            reply = self._page(request.scope, "enter.html")
            reply.set_cookie(self.cookie, told["enter"], httponly=True, samesite="strict", path="/")
            return reply
        session, audit, wanted = self._asked(request)
        item = self.desk.claim(audit, session.reviewer, wanted) if audit else None
        if item is None and wanted.queue:
            return self.disagreements(request)
        if item is None:
            return self._overview(request, done=True)
        return self._sample(request, item, wanted, held=True, fresh=False)

    def item(self, request: Request) -> Response:
        """One sample, such as one that was judged already."""
        _, audit, wanted = self._asked(request)
        return self._sample(request, self.desk.item(audit, _number(request, "item")), wanted)

    def image(self, request: Request) -> Response:
        """A picture, by its sample and its number there."""
        _, audit, _ = self._asked(request)
        try:
            content, kind = self.desk.image(
                audit, _number(request, "item"), _number(request, "picture")
            )
        except (LookupError, RefusedError):
            return PlainTextResponse("no such picture", 404)
        except InputError as error:
            return PlainTextResponse(clean(str(error), 500), 415)
        return Response(content, media_type=kind)

    def progress(self, request: Request) -> Response:
        """Where the audit stands, and what the reviewer has done."""
        return self._overview(request, done=False)

    def disagreements(self, request: Request) -> Response:
        """The samples on which reviewers differ, as a queue to work through."""
        session, audit, wanted = self._asked(request)
        if not audit:
            return self._page(request.scope, "message.html", status=0, line="")
        wanted = Filter()
        found = self.desk.disputes(audit, session.reviewer)
        return self._page(
            request.scope, "disputed.html", audit=audit, wanted=wanted,
            **self._stands(audit, wait=True),
            waiting=[one for one in found if one.mine is None],
            spoken=[one for one in found if one.mine is not None],
            comes_back=address("/disagreements", audit=audit),
        )  # fmt: skip

    def standing(self, request: Request) -> Response:
        """The line on where the audit stands, alone: pages fetch it anew."""
        _, audit, _ = self._asked(request)
        return self._page(request.scope, "_standing.html", **self._stands(audit))

    def verdict(self, request: Request) -> Response:
        """Store a verdict; it is safe when the reply comes."""
        form: dict[str, str] = request.scope["mmupt"]["form"]
        session: Session = request.scope["mmupt"]["session"]
        audit, wanted = form.get("audit", ""), _filter(form)
        item = self.desk.item(audit, _whole(form.get("item", "")))
        kind = next((one for one in KINDS if one == form.get("kind")), None)
        if kind is None:
            raise InputError(f'"kind" is {form.get("kind", "")!r:.60}')
        given = Verdict(
            key=form.get("key", ""),
            audit=audit,
            unit=item.unit,
            reviewer=session.reviewer,
            kind=kind,
            answer=form.get("answer", "").strip() or None if kind == "correct" else None,
            comment="" if kind == "undo" else form.get("comment", "").strip(),
            seconds=_seconds(form.get("seconds", "")),
        )
        added = self.desk.add(given, claimed=form.get("claimed") == "1")
        here = address("/item", audit=audit, item=str(item.position), **wanted.query)
        stays = kind == "undo" or (
            self.desk.blind and kind != "skip" and form.get("then") != "next"
        )
        following = here if stays else address("/", audit=audit, **wanted.query)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"added": added, "next": following})
        return RedirectResponse(following, 303)

    def hold(self, request: Request) -> Response:
        """Keep a sample while its page is open; refused where others have it by now."""
        form: dict[str, str] = request.scope["mmupt"]["form"]
        session: Session = request.scope["mmupt"]["session"]
        audit = form.get("audit", "")
        unit = self.desk.item(audit, _whole(form.get("item", ""))).unit
        if not self.desk.keep(audit, unit, session.reviewer):
            raise TakenError(f"{unit} is another reviewer's by now")
        return JSONResponse({"held": True})

    def language(self, request: Request) -> Response:
        """Change the language of the pages."""
        form: dict[str, str] = request.scope["mmupt"]["form"]
        back = form.get("back", "/")
        ours = back.startswith("/") and not back.startswith(("//", "/\\"))
        reply = RedirectResponse(back if ours else "/", 303)
        if form.get("lang") in LANGUAGES:
            reply.set_cookie(
                LANG_COOKIE, form["lang"], max_age=31536000, httponly=True, samesite="strict"
            )
        return reply

    def static(self, request: Request) -> Response:
        """A file of the package; nothing else has an address."""
        name = request.path_params["name"]
        if name not in self._static:
            return PlainTextResponse("not found", 404)
        kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
        return Response(self._static[name], media_type=kinds[name.rpartition(".")[2]])

    # --- what went wrong --------------------------------------------------------------------------

    def failed(self, request: Request, error: Exception) -> Response:
        """An error of ours in one line."""
        status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
        line = clean(str(error), 500)
        if isinstance(error, TakenError):
            line = texts("mmupt.review", self._lang(request.scope))["taken"]
        if "application/json" in request.headers.get("accept", ""):
            told = {"taken": True} if isinstance(error, TakenError) else {}
            return JSONResponse({"error": line, **told}, status)
        reply = self._page(request.scope, "message.html", status=status, line=line)
        reply.status_code = status
        return reply

    def missing(self, request: Request, _error: Exception) -> Response:
        """There is no such page."""
        reply = self._page(request.scope, "message.html", status=404, line="")
        reply.status_code = 404
        return reply

    def refusal(self, scope: Scope, status: int) -> bytes:
        """The page that says why the guard let nothing through."""
        return bytes(self._page(scope, "message.html", status=status, line="").body)

    # --- parts ------------------------------------------------------------------------------------

    def _asked(self, request: Request) -> tuple[Session, str, Filter]:
        """Who asks, for which audit (where none is named, the last), and which samples of it."""
        audit = request.query_params.get("audit") or (self.desk.names() or ("",))[-1]
        if audit and not self.desk.has(audit):
            there = ", ".join(self.desk.names()[-10:])
            raise InputError(f"no audit {clean(audit, 60)!r}; there is: {there}")
        return request.scope["mmupt"]["session"], audit, _filter(dict(request.query_params))

    def _sample(
        self, request: Request, item: Item, wanted: Filter, *, held: bool = False,
        fresh: bool = True,
    ) -> Response:  # fmt: skip
        session: Session = request.scope["mmupt"]["session"]
        view = self.desk.view(item, session.reviewer, wanted, held=held, fresh=fresh)
        return self._page(
            request.scope, "item.html", view=view, audit=item.audit, wanted=wanted,
            key=str(uuid.uuid4()), undo_key=str(uuid.uuid4()),
            renew=round(self.desk.lease / RENEWALS, 3),
            skip_to=address("/", audit=item.audit, **wanted.query),
            **self._stands(item.audit, fresh=False),
            comes_back=address("/item", audit=item.audit, item=str(item.position), **wanted.query),
        )  # fmt: skip

    def _overview(self, request: Request, *, done: bool) -> Response:
        session, audit, wanted = self._asked(request)
        if not audit:
            return self._page(request.scope, "message.html", status=0, line="")
        stands = self._stands(audit, wait=True)
        return self._page(
            request.scope, "progress.html", done=done, audit=audit, wanted=wanted,
            names=self.desk.names(), **stands, choices=self.desk.choices(audit),
            skipped=self.desk.skipped(audit, session.reviewer),
            latest=self.desk.latest(audit, session.reviewer, LATEST),
            comes_back=address("/progress", audit=audit, **wanted.query),
        )  # fmt: skip

    def _stands(self, audit: str, *, fresh: bool = True, wait: bool = False) -> dict[str, Any]:
        seen = self.desk.store.seen(audit, fresh=fresh)
        with seen.lock:
            turn, judged = seen.turn, seen.judged
        return {
            "figures": self.desk.board.figures(audit, turn, wait=wait), "turn": turn,
            "done_units": judged,
            "disputes": len(self.desk.disputed(audit, fresh=False)),
        }  # fmt: skip

    def _lang(self, scope: Scope) -> str:
        """The language of whoever asks."""
        chosen = scope["mmupt"].get("cookies", {}).get(LANG_COOKIE, "")
        return chosen if chosen in LANGUAGES else self.lang

    def _page(self, scope: Scope, name: str, **values: Any) -> HTMLResponse:
        told = scope["mmupt"]
        lang = self._lang(scope)
        words = texts("mmupt.review", lang)
        known = {
            "t": words, "lang": lang, "nonce": told["nonce"], "session": told["session"],
            "mark": self._mark, "percent": percent, "clean": clean, "address": address,
            "duration": lambda seconds: duration(seconds, lang), "isnan": math.isnan,
            "blind": self.desk.blind, "reviewers": self.desk.reviewers,
            "second": self.desk.second, "comes_back": "/", "audit": "", "wanted": Filter(),
            "disputes": 0, "queue": DISPUTED,
            "rule_title": lambda rule: words.get(f"rule_{rule.replace('-', '_')}", rule),
        }  # fmt: skip
        return HTMLResponse(self._environment.get_template(name).render({**known, **values}))


def _filter(values: dict[str, str]) -> Filter:
    queue = DISPUTED if values.get("queue") == DISPUTED else ""
    return Filter(values.get("stratum", ""), values.get("rule", ""), values.get("group", ""), queue)


def _number(request: Request, name: str) -> int:
    return _whole(request.query_params.get(name, ""))


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return -1  # no such sample or picture
    return int(text)


def _seconds(text: str) -> float:
    """Seconds that a page measured; what cannot be one counts as none."""
    try:
        found = float(text or 0)
    except ValueError:
        return 0.0
    return round(min(max(found, 0.0), 86_400.0), 1) if math.isfinite(found) else 0.0
