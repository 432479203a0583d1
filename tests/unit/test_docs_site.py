"""`make docs`: the site of docs/, built strictly; it holds every page and fetches nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmupt

DOCS = Path(__file__).parents[2] / "docs"


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    words = ["-W", "--keep-going", "-q", "-b", "html", str(source), str(out)]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *words],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    run = build(DOCS, out)
    assert (run.returncode, run.stderr) == (0, "")
    return out


def test_every_page_is_in_the_navigation(site: Path) -> None:
    index = (site / "index.html").read_text(encoding="utf-8")
    shown = set(re.findall(r'href="([\w/-]+)\.html"', index))
    pages = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.md")}
    assert pages - {"index"} <= shown


def test_public_names_are_explained(site: Path) -> None:
    page = (site / "reference.html").read_text(encoding="utf-8")
    for name in mmupt.__all__:
        if name != "__version__":
            assert f'id="mmupt.{name}"' in page, name
    assert "end_ids" in page  # of the reward for TRL's trainer
    text = re.sub(r"<[^>]+>", "", page)
    assert "group_advantages(rewards" in text


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"|<link[^>]*\shref="([^"]+)"')
    found = [
        address
        for page in site.rglob("*.html")
        for match in fetched.findall(page.read_text(encoding="utf-8"))
        for address in match
        if re.match(r"(https?:)?//", address)
    ]
    assert found == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text("utf-8"))


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text((DOCS / "conf.py").read_text(encoding="utf-8"))
    (source / "index.md").write_text("# One\n\n[there](gone.md) and [here](#nowhere)\n")
    run = build(source, tmp_path / "site")
    assert run.returncode == 1
    assert "gone" in run.stderr
    assert "nowhere" in run.stderr
