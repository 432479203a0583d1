"""The documentation against the program: links lead somewhere, verbs and options exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mmupt.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "recipes" / "README.md"]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
CALL = re.compile(r"(?<!from )(?<![\w'\[.=-])(?:\.venv/bin/)?mmupt +(?=[a-z-])([^|;&#`]*)")
OPTION = re.compile(r"--[a-z][a-z-]*")


@cache
def program() -> Any:
    return get_command(app)


def split(text: str) -> tuple[str, list[str]]:
    """A page's prose without code, and its code: blocks line by line, and spans."""
    prose: list[str] = []
    code: list[str] = []
    fence = False
    for line in re.sub(r" *\\\n\s*", " ", text).splitlines():
        if line.lstrip().startswith("```"):
            fence = not fence
        elif fence or (re.match(r"    +\S", line) and not line.lstrip().startswith(("-", "*"))):
            code.append(line)
        else:
            prose.append(line)
    together = "\n".join(prose)
    code += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", together)]
    return re.sub(r"`[^`]*`", "", together), code


@cache
def anchors(page: Path) -> frozenset[str]:
    """Names of a page's headings, as GitHub makes them."""
    found: list[str] = []
    fence = False
    for line in page.read_text(encoding="utf-8").splitlines():
        fence ^= line.startswith("```")
        if not fence and (heading := re.match(r"#+ +(.*)", line)):
            words = re.sub(r"[^\w\- ]", "", heading[1].lower()).strip().replace(" ", "-")
            again = sum(
                re.fullmatch(rf"{re.escape(words)}(-\d+)?", one) is not None for one in found
            )
            found.append(f"{words}-{again}" if again else words)
    return frozenset(found)


def calls(code: list[str]) -> Iterator[list[str]]:
    for line in code:
        for match in CALL.finditer(line):
            yield match[1].split()


def wrong(words: list[str]) -> str:
    """What of a call of mmupt the program does not know; empty: nothing."""
    command = program()
    path = ["mmupt"]
    words = [*words]
    while words:
        word = words.pop(0).strip("'\"()[]{},.…")
        if option := OPTION.match(word):
            own = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
            if option[0] not in own:
                return f"{' '.join(path)} has no option {option[0]}"
        elif hasattr(command, "commands"):
            if not re.fullmatch(r"[a-z][a-z-]*", word):
                return ""  # VERB, or three dots
            if word not in command.commands:
                return f"{' '.join(path)} has no verb {word}"
            command = command.commands[word]
            path.append(word)
        elif path[-1] == "launch" and word in program().commands:
            command, path = program().commands[word], ["mmupt", word]
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    page = ROOT / name
    prose, _ = split(page.read_text(encoding="utf-8"))
    for found in LINK.finditer(prose):
        target = found[1] or found[2]
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        assert place.exists(), f"{name}: {target}: no such file"
        assert place.is_relative_to(ROOT), f"{name}: {target}: outside the repository"
        assert not heading or heading in anchors(place), f"{name}: {target}: no such heading"


@pytest.mark.parametrize("name", NAMES)
def test_verbs_and_options_exist(name: str) -> None:
    _, code = split((ROOT / name).read_text(encoding="utf-8"))
    assert [problem for words in calls(code) if (problem := wrong(words))] == []


def test_every_verb_is_told_of() -> None:
    """And controls: what the tests above read is not nothing."""
    told = {
        tuple(words[:1])
        for page in PAGES
        for words in calls(split(page.read_text(encoding="utf-8"))[1])
    }
    verbs = {(verb,) for verb in program().commands}
    assert verbs - told == set()


def test_what_is_wrong_is_found() -> None:
    assert wrong(["train", "--model", "M", "--engine", "trl"]) == ""
    assert wrong(["launch", "--nproc", "2", "train", "--engine", "trl"]) == ""
    assert wrong(["trian", "--model", "M"]) == "mmupt has no verb trian"
    assert wrong(["audit", "nxt", "DIR"]) == "mmupt audit has no verb nxt"
    assert wrong(["train", "--modle", "M"]) == "mmupt train has no option --modle"
    assert wrong(["launch", "--engnie", "trl", "train"]) == "mmupt launch has no option --engnie"
    prose, code = split(
        "see [a](b.md#c) and `mmupt\neval`\n\n    mmupt vote \\\n      --data D # x\n"
    )
    assert LINK.findall(prose) == [("b.md#c", "")]
    assert list(calls(code)) == [["vote", "--data", "D"], ["eval"]]
    assert "写真と質問から最初のゲートまで" in anchors(ROOT / "docs" / "start.md")
