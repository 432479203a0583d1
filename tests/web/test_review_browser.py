"""The review app in Chromium: by keyboard alone, by two at once, in both languages, on a phone."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

import chromium
from review_site import Site, make_project, payload, picture

from mmupt.review.desk import LEASE

SHOTS: Path | None = None
"""A folder for screenshots, where somebody wants to look at them."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.chromium() as found:
        yield found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Site, str]]:
    site = Site(make_project(tmp_path / "project", 30), ("aiko", "ben"))
    with chromium.serving(site.app) as address:
        yield site, address


class Desk:
    """One reviewer's browser, which fails where the page complains or asks another host."""

    def __init__(
        self, browser: Any, site: Site, address: str, who: str = "aiko", *,
        clock: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        self.wrong: list[str] = []
        options = {"viewport": {"width": 1280, "height": 800}, **options}
        self.context = browser.new_context(**options)
        self.page = page = self.context.new_page()
        page.on("console", lambda said: said.type == "error" and self.wrong.append(said.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda one: one.url.startswith(address) or self.wrong.append(one.url))
        if clock:
            page.clock.install()
        page.goto(f"{address}/?token={site.access.tokens[who]}")
        self.ready()

    def ready(self, selector: str = "#verdict") -> None:
        self.page.wait_for_selector(selector, state="attached")
        self.page.wait_for_load_state("load")

    def key(self, *keys: str, then: str = "#verdict") -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.ready(then)

    def position(self) -> int:
        return int(self.page.locator('#verdict [name="item"]').input_value())

    def shot(self, name: str) -> None:
        if SHOTS is not None:
            self.page.screenshot(path=SHOTS / f"{name}.png")

    def close(self) -> None:
        assert self.wrong == []
        self.context.close()


def test_thirty_samples_by_keyboard_alone(browser: Any, site: tuple[Site, str]) -> None:
    """Every kind of verdict, a comment, two undone, back and forth; no mouse."""
    app, address = site
    desk = Desk(browser, *site)
    page = desk.page
    desk.key("?", then="dialog[open]")
    desk.key("Escape")
    desk.key("a", then=".judged .said-accept")
    desk.shot("judged")
    desk.key("u")  # undone: asked again
    assert desk.position() == 0
    desk.key("c")
    page.keyboard.type("13ar")  # letters in a field are no commands
    desk.key("Enter", then=".judged .said-correct")
    desk.key("Enter")
    assert desk.position() == 1
    desk.key("m")
    page.keyboard.type("glare at the left")
    page.keyboard.press("Escape")
    desk.key("r", then=".judged .said-reject")
    assert "glare at the left" in page.locator(".said").inner_text()
    desk.key("v", then=".judged")
    desk.key("n")  # from now on without a look at the votes
    kinds = {2: "d", 3: "s", 7: "r", 11: "d"}
    for position in range(2, 30):
        assert desk.position() == position
        page.keyboard.press(kinds.get(position, "a"))
        if position < 29:
            page.wait_for_function(
                "p => document.readyState === 'complete' && "
                "document.querySelector('#verdict [name=item]')?.value === String(p)", arg=position + 1,
            )  # fmt: skip
    desk.ready("body.done")
    assert "You have skipped 1." in page.locator(".lead").inner_text()
    desk.shot("done")
    page.goto(address + "/item?audit=round-1&item=3")
    desk.key("a", then="body.done")
    stored = app.desk.store.verdicts("round-1")
    assert Counter(one.kind for one in stored) == {
        "accept": 26, "undo": 1, "correct": 1, "reject": 2, "unsure": 2, "skip": 1
    }  # fmt: skip
    by_kind = {one.kind: one for one in stored}
    assert by_kind["correct"].answer == "13ar"
    assert [one.comment for one in stored if one.comment] == ["glare at the left"]
    assert len({one.key for one in stored}) == len(stored)
    assert all(0 <= one.seconds < 60 for one in stored)
    assert sum(one.seconds for one in stored) > 1
    desk.close()


def test_two_at_once_never_have_the_same_sample(browser: Any, site: tuple[Site, str]) -> None:
    app, _ = site
    desks = [Desk(browser, *site, who) for who in ("aiko", "ben")]
    for desk in desks:
        desk.key("v")
    for _ in range(6):
        assert desks[0].position() != desks[1].position()
        for desk in desks:
            was = desk.position()
            desk.page.keyboard.press("a")
            desk.page.wait_for_function(
                "p => document.readyState === 'complete' && "
                "document.querySelector('#verdict [name=item]')?.value !== String(p)", arg=was,
            )  # fmt: skip
    stored = app.desk.store.verdicts("round-1")
    assert Counter(one.reviewer for one in stored) == {"aiko": 6, "ben": 6}
    assert len({one.unit for one in stored}) == 12
    for desk in desks:
        desk.close()


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_accessible_in_both_languages(browser: Any, site: tuple[Site, str], lang: str) -> None:
    """No serious finding of axe on the pages that reviewers see, wide and on a phone."""
    desk = Desk(browser, *site)
    if lang == "ja":
        desk.key("l", then='html[lang="ja"] #verdict')
        assert "擬似ラベル" in desk.page.inner_text(".panel")
    check(desk, f"open-{lang}")
    desk.key("?", then="dialog[open]")
    check(desk, f"help-{lang}")
    desk.key("Escape")
    desk.key("r", then=".judged")
    check(desk, f"votes-{lang}")
    desk.key("g", then="body.reading")
    check(desk, f"progress-{lang}")
    desk.page.set_viewport_size({"width": 390, "height": 844})
    check(desk, f"phone-progress-{lang}")
    desk.close()


def check(desk: Desk, name: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    desk.page.wait_for_timeout(50)
    desk.shot(name)
    found = Axe().run(desk.page).response["violations"]
    bad = [
        (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not bad, (name, bad)


def test_a_phone(browser: Any, site: tuple[Site, str]) -> None:
    app, _ = site
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    desk = Desk(browser, *site, device_scale_factor=2, **phone)
    page = desk.page
    desk.shot("phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in (".accept", ".reject", "#answer", ".frame img"):
        box = page.locator(selector).first.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] + box["height"] <= 844  # without scrolling
    check(desk, "phone-axe")
    page.tap(".reject")
    desk.ready(".judged")
    page.tap(".go")
    desk.ready()
    assert [one.kind for one in app.desk.store.verdicts("round-1")] == ["reject"]
    desk.close()


def test_disagreements_by_keyboard(browser: Any, tmp_path: Path) -> None:
    """A third settles one of two, blind; then those who differ on the other talk it over."""
    project = make_project(tmp_path / "project", 6, settings=("audit.reviewers=2",))
    site = Site(project, ("aiko", "ben", "cleo"))
    with chromium.serving(site.app) as address:
        for who, kinds in (("aiko", ["accept"] * 2), ("ben", ["reject"] * 2)):
            for position, kind in enumerate(kinds):
                site.browser(who).judge(position, kind)
        cleo = Desk(browser, site, address, "cleo")
        cleo.key("q", then="body.disputes")
        check(cleo, "disputed-list")
        assert cleo.page.locator("ul.disputes > li").count() == 2
        cleo.key("Enter")
        assert cleo.position() == 0
        assert cleo.page.locator(".said").count() == 0
        check(cleo, "disputed-open")
        cleo.key("r", then=".judged .settled")
        assert cleo.page.locator(".said.other").count() == 2
        cleo.close()
        aiko = Desk(browser, site, address, "aiko")
        aiko.key("q", then="body.disputes")
        aiko.key("Enter", then=".judged #verdict")
        assert "ben: wrong" in aiko.page.inner_text(".panel")
        check(aiko, "disputed-talk")
        aiko.key("m")
        aiko.page.keyboard.type("Ben is right")
        aiko.key("Escape")
        aiko.key("r", then=".judged .settled")
        assert aiko.page.locator("#verdict").count() == 0
        aiko.key("Enter", then="body.disputes")
        assert aiko.page.locator("ul.disputes").count() == 0
        aiko.close()
    last = site.desk.store.verdicts("round-1")[-1]
    assert (last.reviewer, last.kind, last.comment) == ("aiko", "reject", "Ben is right")


def test_a_sample_that_was_taken_meanwhile(browser: Any, site: tuple[Site, str]) -> None:
    """An open page renews its claim; one that slept may have lost it, and says so."""
    app, _ = site
    desk = Desk(browser, *site, clock=True)
    page, store = desk.page, app.desk.store

    def take(position: int) -> None:
        """Aiko's claim runs out, and Ben's begins."""
        unit = app.desk.item("round-1", position).unit
        store.release("round-1", unit, "aiko")
        assert app.desk.keep("round-1", unit, "ben")

    page.mouse.move(600, 300)
    with page.expect_response("**/hold") as reply:
        page.clock.fast_forward(1000 * LEASE / 4)
    assert reply.value.status == 200
    take(0)
    page.keyboard.press("a")  # late: said, and not stored
    page.wait_for_selector("#lost:not([hidden])")
    check(desk, "taken")
    assert page.locator("#verdict .accept").is_disabled()
    assert store.verdicts("round-1") == ()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#verdict [name=item]')?.value === '1'")
    take(1)
    page.mouse.move(500, 300)
    page.clock.fast_forward(1000 * LEASE / 4)  # told without doing anything
    page.wait_for_selector("#lost:not([hidden])")
    desk.wrong = [one for one in desk.wrong if "409" not in one]
    desk.close()


def test_pictures_zoom_move_and_brighten(browser: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    paths = [picture(data, f"{n}.png", str(n), (640, 480)) for n in range(2)]
    site = Site(make_project(tmp_path / "project", 1, payload=payload(paths)))
    with chromium.serving(site.app) as address:
        desk = Desk(browser, site, address)
        page = desk.page
        assert page.locator("[data-frame]").count() == 2

        def state(number: int) -> tuple[str, str]:
            image = page.locator(".frame img").nth(number)
            return image.evaluate("i => [i.style.transform, i.style.filter]")

        page.wait_for_function(
            "[...document.images].every((i) => i.complete && i.naturalWidth === 640)"
        )
        desk.key("2", "+", "+")
        assert "scale(1.96)" in state(1)[0]
        assert "scale(1)" in state(0)[0]
        before = state(1)[0]
        desk.key("Shift+ArrowRight")
        assert state(1)[0] != before
        desk.key("]", "]")
        assert state(0)[1] == "brightness(120%)"
        desk.shot("two-pictures")
        desk.key("0")
        assert state(1)[0] == "translate(0px, 0px) scale(1)"
        desk.key("f")
        page.wait_for_function("document.fullscreenElement?.classList.contains('stage')")
        desk.close()


def test_a_verdict_is_sent_until_it_is_stored(browser: Any, site: tuple[Site, str]) -> None:
    """The first answers are lost on the way, after the server has stored the verdict."""
    app, _ = site
    desk = Desk(browser, *site)
    lost = []

    def lose(route: Any) -> None:
        if len(lost) < 2:
            lost.append(route.fetch(max_redirects=0).status)
            route.abort()
        else:
            route.continue_()

    desk.page.route("**/verdict", lose)
    desk.key("a", then=".judged")
    assert lost == [200, 200]
    assert [one.kind for one in app.desk.store.verdicts("round-1")] == ["accept"]
    desk.wrong = [one for one in desk.wrong if "net::ERR_FAILED" not in one]
    desk.close()


def test_without_javascript(browser: Any, site: tuple[Site, str]) -> None:
    app, _ = site
    desk = Desk(browser, *site, java_script_enabled=False)
    page = desk.page
    page.fill("#answer", "13")
    page.press("#answer", "Enter")
    desk.ready(".judged .said-correct")
    page.click("#undo button")
    desk.ready()
    page.click(".accept")
    desk.ready(".judged .said-accept")
    page.click(".go")
    desk.ready()
    page.click('button[name="lang"]')
    desk.ready('html[lang="ja"]')
    kinds = [one.kind for one in app.desk.store.verdicts("round-1")]
    assert kinds == ["correct", "undo", "accept"]
    desk.close()


def test_what_a_model_writes_does_not_run(browser: Any, tmp_path: Path) -> None:
    said = "<img src=/nothing onerror='document.title=\"owned\"'><script>document.title='owned'</script>"
    site = Site(
        make_project(
            tmp_path / "project",
            1,
            pseudo_label=said,
            payload=payload([], label=said, problem=said),
        )
    )
    with chromium.serving(site.app) as address:
        desk = Desk(browser, site, address)
        desk.key("a", then=".judged")
        assert "owned" not in desk.page.title()
        assert said in desk.page.inner_text(".votes")
        desk.page.evaluate(
            "() => { const s = document.createElement('script'); s.textContent = 'document.title = \"owned\"'; document.head.append(s); }"
        )
        assert "owned" not in desk.page.title()  # the policy holds even there
        desk.wrong = [one for one in desk.wrong if "Content Security Policy" not in one]
        desk.close()
