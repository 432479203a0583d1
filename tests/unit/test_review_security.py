"""The review app against strangers, other sites, and what models and files hold."""

from __future__ import annotations

import io
import os
import re
import struct
import uuid
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from review_site import Browser, Site, make_project, payload, picture, png

from mmupt.errors import ConfigError, InputError
from mmupt.review.access import Access, host_is_ours, is_loopback, origin_is_ours
from mmupt.review.serve import check_reviewers

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><b>"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(make_project(tmp_path / "project", 6), ("aiko", "ben"))


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.browser()


PAGES = (
    "/", "/item?audit=round-1&item=0", "/progress", "/standing", "/disagreements", "/hold",
    "/image?audit=round-1&item=0&picture=0", "/nothing", "/docs", "/openapi.json", "/verdict", "/lang",
)  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_nothing_without_a_token(site: Site, path: str) -> None:
    stranger = site.browser(enter=False)
    assert stranger.get(path).status_code == 401
    assert stranger.post(path, data={"csrf": "x"}).status_code == 401
    assert stranger.get(path, params={"token": "wrong"}).status_code == 401
    assert "What does the meter show?" not in stranger.get(path).text


def test_a_token_is_good_once_and_becomes_a_strict_cookie(site: Site) -> None:
    token = site.access.tokens["aiko"]
    first, second = site.browser(enter=False), site.browser(enter=False)
    reply = first.get("/", params={"token": token})
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert token not in cookie
    assert token not in reply.text
    assert first.get("/").status_code == 200
    assert second.get("/", params={"token": token}).status_code == 401
    assert second.get("/", params={"token": site.access.tokens["aiko"]}).status_code == 200
    assert site.access.tokens["aiko"] != token


def test_sessions_are_of_one_reviewer_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmupt.review.access.MAX_SESSIONS", 2)
    told: list[tuple[str, str]] = []
    access = Access(["aiko", "ben"], lambda who, token: told.append((who, token)))
    sessions = [access.exchange(access.tokens[who]) for who in ("aiko", "ben", "ben")]
    assert access.session(sessions[0] or "") is None  # the oldest was forgotten
    kept = access.session(sessions[1] or "")
    assert kept is not None
    assert kept.reviewer == "ben"
    assert [who for who, _ in told] == ["aiko", "ben", "ben"]
    assert told[-1][1] == access.tokens["ben"]
    assert access.session("") is None
    assert access.exchange("") is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost@evil.example", "",
     "127.0.0.1:8000@evil.example", "evil.example#127.0.0.1", "[::1", "127.0.0.1:x"],
)  # fmt: skip
def test_a_foreign_host_is_refused(browser: Browser, host: str) -> None:
    assert browser.get("/", headers={"host": host}).status_code == 400
    assert browser.get("/static/review.css", headers={"host": host}).status_code == 400
    assert not host_is_ours(host, ["10.0.0.5"])


def test_our_own_hosts_are_not(browser: Browser) -> None:
    for host in ("127.0.0.1:8000", "localhost:9", "localhost", "[::1]:8000", "LOCALHOST:8000"):
        assert browser.get("/progress", headers={"host": host}).status_code == 200
    assert host_is_ours("10.0.0.5:80", [], "10.0.0.5")
    assert host_is_ours("box.lan:80", ["Box.lan"])
    assert not host_is_ours("10.0.0.5", ["10.0.0.6"], "10.0.0.7")


def test_forms_need_their_token(site: Site, browser: Browser) -> None:
    other = site.browser("ben")
    fields = {"audit": "round-1", "item": "0", "kind": "accept", "key": str(uuid.uuid4())}
    for token in ({}, {"csrf": ""}, {"csrf": "x"}, {"csrf": other.form}):
        assert browser.post("/verdict", data={**fields, **token}).status_code == 403
        assert browser.post("/lang", data={"lang": "ja", **token}).status_code == 403
        assert browser.post("/hold", data={**fields, **token}).status_code == 403
    own = {**fields, "csrf": browser.form}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9"):
        assert browser.post("/verdict", data=own, headers={"origin": origin}).status_code == 403
    assert browser.post("/verdict", json=own).status_code == 403
    assert not site.desk.store.verdicts("round-1")
    same = {"origin": "http://127.0.0.1:8000"}
    assert browser.post("/verdict", data=own, headers=same).status_code == 303
    assert [one.reviewer for one in site.desk.store.verdicts("round-1")] == ["aiko"]
    assert origin_is_ours("", "a")
    assert not origin_is_ours("http://[", "a")


def test_a_reviewer_cannot_speak_for_another(site: Site, browser: Browser) -> None:
    browser.judge(0, "accept", reviewer="ben")
    assert [one.reviewer for one in site.desk.store.verdicts("round-1")] == ["aiko"]


def test_too_long_a_form_and_other_methods(browser: Browser) -> None:
    assert browser.judge(0, "accept", comment="x" * 500_000).status_code == 413
    assert browser.judge(0, "accept", comment="x" * 20_000).status_code == 400
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"):
        assert browser.client.request(method, "/").status_code == 405


@pytest.mark.parametrize("path", [*PAGES, "/static/review.js", "/static/nothing"])
def test_every_reply_forbids_what_pages_do_not_need(browser: Browser, path: str) -> None:
    for reply in (browser.get(path), browser.get(path, headers={"host": "evil.example"})):
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "same-origin"
        if not path.startswith("/static"):
            assert reply.headers["cache-control"] == "no-store"


def test_scripts_have_the_nonce_of_their_reply_and_nothing_is_inline(browser: Browser) -> None:
    nonces = set()
    for path in ("/", "/progress", "/item?audit=round-1&item=1", "/nothing"):
        reply = browser.get(path)
        nonce = re.search(r"script-src 'nonce-([^']+)'", reply.headers["content-security-policy"])
        assert nonce is not None
        nonces.add(nonce[1])
        tags = re.findall(r"<(?:script|link rel=\"stylesheet\")[^>]*>", reply.text)
        assert tags
        assert all(f'nonce="{nonce[1]}"' in tag for tag in tags)
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://", reply.text)
    assert len(nonces) == 4


def test_what_models_write_is_text(tmp_path: Path) -> None:
    """Question, label, answers, completions, strata, slices, rules, comments, names of people."""
    data = tmp_path / "data"
    data.mkdir()
    path = picture(data, "<b>'x'.png", "1")
    answers = [{"answer": HOSTILE, "count": 3, "completion": HOSTILE}]
    project = make_project(
        tmp_path / "project", 4, pseudo_label=HOSTILE, slices={HOSTILE: HOSTILE}, rules=(HOSTILE,),
        payload=payload([path, f"{data}/{HOSTILE}.png"], problem=HOSTILE, answers=answers),
        settings=("audit.reviewers=2",),
    )  # fmt: skip
    site = Site(project, ("aiko", HOSTILE), blind=False)
    browser, other = site.browser(), site.browser(HOSTILE)
    assert other.judge(0, "correct", answer=HOSTILE + "2", comment=HOSTILE).status_code == 303
    assert browser.judge(0, "accept", comment=HOSTILE).status_code == 303
    for path_ in (
        "/item?audit=round-1&item=0", "/item?audit=round-1&item=1", "/progress", "/disagreements"
    ):  # fmt: skip
        page = Page(browser.get(path_).text)
        assert HOSTILE in page.said
        for tag, attributes in page.tags:
            assert not any(name.startswith("on") or name == "style" for name in attributes)
            assert tag != "script" or attributes["src"].startswith("/static/review.js?")
            assert tag != "img" or attributes["src"].startswith("/image?audit=round-1&item=")
    error = browser.get("/", params={"audit": HOSTILE})
    assert error.status_code == 400
    assert {tag for tag, _ in Page(error.text).tags}.isdisjoint({"b", "img"})


class Page(HTMLParser):
    """A page as a browser takes it apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.said += data


def test_hidden_characters_of_models_do_not_reach_the_page(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", 2, pseudo_label="1\u202e2\x00", payload=payload([], problem="a\u2066b\u202ec"))  # fmt: skip
    text = Site(project).browser().get("/").text
    assert not set(text) & set("\u202e\u2066\x00")


@pytest.fixture
def pictures(tmp_path: Path) -> Browser:
    """Pictures 0 to 9 that are none, and 10, which is one but holds more."""
    data = tmp_path / "data"
    (data / "folder").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "data-beside").mkdir()
    (tmp_path / "data-beside" / "x.png").write_bytes(png())
    (data / "a.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")
    (data / "b.png").write_text("<!DOCTYPE html><script>alert(1)</script>")
    wide = png().replace(struct.pack(">II", 4, 3), struct.pack(">II", 10_000, 10_000))
    crc = struct.pack(">I", zlib.crc32(wide[12:29]))
    (data / "c.png").write_bytes(wide[:29] + crc + wide[33:])
    (data / "link.png").symlink_to(tmp_path / "secret.png")
    (data / "cut.png").write_bytes(png((300, 300))[:-40])
    os.mkfifo(data / "pipe.png")
    image = Image.new("RGB", (8, 6), (1, 2, 3))
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "where it was taken", 6
    image.save(data / "real.jpg", exif=exif)
    with (data / "real.jpg").open("ab") as file:
        file.write(b"<script>alert(1)</script>")
    names = [
        data / "a.png", data / "b.png", data / "c.png", data / "cut.png", data / "pipe.png",
        data / "link.png", tmp_path / "secret.png", f"{data}/../secret.png", "/etc/passwd",
        tmp_path / "data-beside" / "x.png", data / "real.jpg", "http://evil.example/x.png",
        data / "folder", data / "gone.png",
    ]  # fmt: skip
    project = make_project(tmp_path / "project", 1, payload=payload([str(one) for one in names]))
    return Site(project).browser()


@pytest.mark.parametrize(
    ("number", "status", "why"),
    [(0, 415, "SVG"), (1, 415, "web page"), (2, 415, "10000x10000"), (3, 415, "truncated"),
     (4, 415, "regular"), (5, 404, ""), (6, 404, ""), (7, 404, ""), (8, 404, ""), (9, 404, ""),
     (11, 404, ""), (12, 415, "folder"), (13, 415, "not exist"), (14, 404, "")],
)  # fmt: skip
def test_what_is_no_picture_of_the_project_is_not_served(
    pictures: Browser, number: int, status: int, why: str
) -> None:
    reply = pictures.get(f"/image?audit=round-1&item=0&picture={number}")
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith("text/plain")
    assert why in reply.text


def test_a_picture_is_written_anew_upright_and_without_what_it_carried(pictures: Browser) -> None:
    reply = pictures.get("/image?audit=round-1&item=0&picture=10")
    assert reply.headers["content-type"] == "image/jpeg"
    assert b"script" not in reply.content
    assert b"taken" not in reply.content
    with Image.open(io.BytesIO(reply.content)) as image:
        assert image.size == (6, 8)  # it lay on its side
        assert not image.getexif()


def test_the_page_says_which_pictures_cannot_be_shown(pictures: Browser) -> None:
    text = pictures.get("/").text
    assert text.count("This picture cannot be shown</b>") == 12  # of 14: a cut one has a header
    assert "10000x10000" in text
    assert "/etc/passwd" not in text


@pytest.mark.parametrize(
    "path",
    ["/image?audit=round-1&item=../../etc/passwd&picture=0", "/image?audit=round-1&item=0&picture=-1",
     "/image?audit=round-1&item=99999999999999999999&picture=0", "/static/../review/app.py",
     "/image?audit=round-1&item=0&picture=%2e%2e%2f", "/static/%2e%2e%2fapp.py", "/static/..%5capp.py",
     "/image?audit=round-1&item=²&picture=0", "/../../etc/passwd", "/image", "//etc/passwd"],
)  # fmt: skip
def test_paths_lead_nowhere(browser: Browser, path: str) -> None:
    reply = browser.get(path)
    assert reply.status_code == 404
    assert "root:" not in reply.text
    assert "import" not in reply.text


def test_the_language_form_leads_to_no_other_site(browser: Browser) -> None:
    for back in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:1", ""):
        reply = browser.post("/lang", data={"csrf": browser.form, "lang": "ja", "back": back})
        assert reply.headers["location"] == "/"
    reply = browser.post("/lang", data={"csrf": browser.form, "lang": "xx", "back": "/progress"})
    assert reply.headers["location"] == "/progress"
    assert "set-cookie" not in reply.headers


def test_others_on_the_network_need_names() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.7", "box.lan", "10.0.0.1"):  # noqa: S104
        assert not is_loopback(host)
        with pytest.raises(ConfigError, match="--reviewer NAME"):
            check_reviewers(host, [])
        assert check_reviewers(host, ["aiko", " ben "]) == ("aiko", "ben")
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"):
        assert check_reviewers(host, []) == ()
    with pytest.raises(InputError, match="twice"):
        check_reviewers("127.0.0.1", ["aiko", "aiko"])
    with pytest.raises(InputError, match="hidden"):
        check_reviewers("127.0.0.1", ["ai\u202eko"])
