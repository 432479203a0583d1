"""The report in Chromium, from disk: no request, the language switch, a phone, print, axe."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "unit")]

import chromium
from report_parts import write_parts
from test_report_project import made_facts, run_dir

from mmupt.report.build import write_report
from mmupt.report.compare import write_comparison

__all__ = ["run_dir"]  # a fixture


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.chromium() as found:
        yield found


class Opened:
    """A page from disk that notes whatever it asks for or complains about."""

    def __init__(self, browser: Any, path: Path, width: int = 1280) -> None:
        self.asked: list[str] = []
        self.said: list[str] = []
        # axe has to be put into the page, which its policy would refuse as it should.
        context = browser.new_context(viewport={"width": width, "height": 844}, bypass_csp=True)
        self.page = context.new_page()
        self.page.on("request", lambda one: self.asked.append(one.url))
        self.page.on("console", lambda one: self.said.append(one.text))
        self.page.goto(path.as_uri())
        self.page.wait_for_load_state("load")

    def overflow(self) -> int:
        root = "document.documentElement"
        return int(self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("lang", ["en", "ja", "both"])
def test_the_page_asks_for_nothing_fits_and_passes_axe(
    browser: Any, run_dir: Path, lang: str, width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    out = run_dir.parent / "page.html"
    write_parts(run_dir)
    write_report(run_dir, lang, facts=made_facts(), out=out)
    opened = Opened(browser, out, width)
    assert [one for one in opened.asked if not one.startswith("data:")] == [out.as_uri()]
    assert opened.said == []
    assert opened.overflow() <= 0
    found = Axe().run(opened.page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


def test_the_switch_works_by_mouse_and_by_keyboard(browser: Any, run_dir: Path) -> None:
    out = run_dir.parent / "page.html"
    write_report(run_dir, "both", facts=made_facts(), out=out)
    page = Opened(browser, out).page
    assert (page.locator("#page-en").is_visible(), page.locator("#page-ja").is_visible()) == (True, False)  # fmt: skip
    page.locator(".languages label[lang=ja]").click()
    assert (page.locator("#page-en").is_visible(), page.locator("#page-ja").is_visible()) == (False, True)  # fmt: skip
    page.keyboard.press("ArrowLeft")
    assert page.locator("#page-en").is_visible()


def test_it_prints_with_everything_decisive_on_the_first_page(browser: Any, run_dir: Path) -> None:
    out = run_dir.parent / "page.html"
    write_report(run_dir, facts=made_facts(), out=out)
    page = Opened(browser, out).page
    pdf = page.pdf(format="A4", prefer_css_page_size=True)
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 2 <= pages <= 8
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 1000})  # A4 within its margins
    for part in ("h1", ".stages", ".brief", ".roi"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] < 1000, part


def test_all_that_a_manager_decides_from_is_on_the_first_screen(
    browser: Any, run_dir: Path
) -> None:
    out = run_dir.parent / "page.html"
    write_report(run_dir, "both", facts=made_facts(), out=out)
    page = Opened(browser, out).page
    page.set_viewport_size({"width": 1280, "height": 800})
    for lang in ("en", "ja"):
        page.locator(f".languages label[lang={lang}]").click()
        for part in ("h1", ".stages", ".brief .stamp", ".checks", ".roi li >> nth=0"):
            box = page.locator(f"#page-{lang} {part}").bounding_box()
            assert box["y"] + box["height"] <= 800, (lang, part)


def test_runs_side_by_side_ask_for_nothing(browser: Any, run_dir: Path) -> None:
    out = run_dir.parent / "compare.html"
    write_comparison([(run_dir, made_facts()), (run_dir, None)], "both", out)
    for width in (1280, 390):
        opened = Opened(browser, out, width)
        assert opened.asked == [out.as_uri()]
        assert opened.overflow() <= 0
