"""Pilot and bias in a report: figures, both languages, and every file missing or broken once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from report_parts import made_bias, made_pilot, write_parts
from test_report_project import Seen, made_facts, run_dir
from typer.testing import CliRunner

import mmupt.report.bias_plot
import mmupt.report.pilot_page
from mmupt.cli import app
from mmupt.pipeline.reporting import facts_of
from mmupt.report.bias_page import bias_values
from mmupt.report.bias_read import BiasResult, read_biases
from mmupt.report.build import load_report, write_report
from mmupt.report.pilot_page import pilot_values, read_pilot
from mmupt.words import LANGUAGES

__all__ = ["run_dir"]  # a fixture


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Diagrams are drawn but not written as SVG, which takes most of a page's time."""

    def drawn(draw: Callable[[Any], Any], name: str, size: tuple[float, float] = (4, 3)) -> str:
        draw(Figure(figsize=size).add_subplot())
        return "<svg></svg>"

    for module in ("bias_plot", "pilot_page", "calibration", "plots"):
        monkeypatch.setattr(f"mmupt.report.{module}.svg", drawn)


@pytest.fixture
def full_dir(run_dir: Path) -> Path:
    write_parts(run_dir)
    rollout = {"sample_id": "s1", "stage": "round-1", "step": 2, "prompt": "<image>?",
               "images": ["0.png"], "completions": ["1"], "answers": ["1"],
               "teacher_answers": ["1"], "classes": [0], "pseudo_label": "1", "share": 1.0,
               "tied": False, "kept": True, "rewards": [1.0]}  # fmt: skip
    (run_dir / "rollouts").mkdir()
    pq.write_table(pa.Table.from_pylist([rollout]), run_dir / "rollouts" / "round-1-000002.parquet")
    return run_dir


def written(folder: Path, lang: str = "en", facts: Any = None) -> tuple[str, dict[str, Any]]:
    """The page as text, and its figures."""
    out = folder.parent / "page.html"
    write_report(folder, lang, facts=facts, out=out)
    figures = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    return Seen(out.read_text(encoding="utf-8")).text, figures


# --- what is shown ----------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_pilot_and_bias_stand_with_verdict_reasons_and_figures(full_dir: Path, lang: str) -> None:
    text, figures = written(full_dir, lang, made_facts())
    english = lang == "en"
    for said in (
        "SFT first." if english else "先にSFT。",  # the pilot's verdict and a reason
        "! Few questions." if english else "! 質問が少数です。",
        "73.2", "91.3", "0.53", "0.55 (0.48–0.62)", "17/20: 85.0 (62.1–96.8)",
        "Harm was found." if english else "害が見つかりました。",
        "✗ The dark ones lost." if english else "✗ 暗い画像で悪化しました。",
        "65.4 62.4–68.4", "53.2 50.2–56.2", "−12.2", "0.67 0.60–0.74", "−0.23",
        "brightness 10–19 (lowest of 4)" if english else "明るさ 10–19(最小)",
        "68.2 → 18.4", "−39.4", "< 0.001",
    ):  # fmt: skip
        assert said in text, said
    assert figures["pilot"] == json.loads(json.dumps(made_pilot()))
    assert figures["bias"] == [{"folder": "bias/round-1", **made_bias()}]
    assert figures["problems"] == []


@pytest.mark.usefixtures("quick")
def test_a_project_without_them_says_so_and_how_to_get_them(run_dir: Path) -> None:
    text, figures = written(run_dir, "en", made_facts())
    assert "No pilot has been run" in text
    assert "--out made/bias/NAME" in text
    assert (figures["pilot"], figures["bias"]) == (None, [])
    text, _ = written(run_dir)  # a run without a project was never meant to have them
    assert "pilot" not in text.lower()


@pytest.mark.usefixtures("quick")
def test_the_folders_of_vote_and_bias_have_reports_of_their_own(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    write_parts(made)
    text, figures = written(made / "pilot")
    assert "SFT first. " in text
    assert "No stage has been evaluated yet." not in text
    assert figures["headline"] == {"en": "SFT first.", "ja": "先にSFT。"}
    pictures = [path.name for path in write_report(made / "bias" / "round-1")]
    assert pictures == ["index.html", "report.json"]  # no summary.png over their own pictures
    _, figures = written(made / "bias" / "round-1", "ja")
    assert figures["headline"]["ja"] == "害が見つかりました。"
    assert not any("metrics.json" in one for one in figures["problems"])


def test_the_newest_result_of_bias_comes_first(tmp_path: Path) -> None:
    import os

    for age, name in ((300, "bias/old"), (100, "bias/new"), (200, "bias")):
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bias.json").write_text(json.dumps(made_bias()))
        os.utime(folder / "bias.json", (10**9 - age, 10**9 - age))
    problems: list[str] = []
    found = read_biases(tmp_path, "en", problems)
    assert [one.name for one in found] == ["bias/new", "bias", "bias/old"]
    assert found[0].models == ("sft", "round-1")
    assert not problems


# --- missing and broken -----------------------------------------------------------------------

FILES = (
    "metrics.json",
    "events.jsonl",
    "config.yaml",
    "evaluations/sft.parquet",
    "evaluations/round-1.parquet",
    "rollouts/round-1-000002.parquet",
    "pilot/metrics.json",
    "pilot/votes.parquet",
    "bias/round-1/bias.json",
    "test.jsonl",
)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["gone", "empty", "binary", "torn"])
def test_whatever_file_is_lost_the_report_is_made_and_names_it(full_dir: Path, how: str) -> None:
    (full_dir / "bias" / "round-1" / "inputs.json").write_text("{}")  # it had been begun
    for name in FILES:
        path = full_dir / name
        whole = path.read_bytes()
        if how == "gone":
            path.unlink()
        else:
            broken = {"empty": b"", "binary": b"\xff\xfe\x00PAR1\n" * 9, "torn": whole[:-9]}
            path.write_bytes(broken[how])
        problems = load_report(full_dir, "en", facts=made_facts()).run.problems
        told = " | ".join(problems)
        # Of rollouts that are gone nobody knows; a torn last line, an empty file of events and
        # an empty config are what a run looks like that has just begun.
        quiet = (how == "gone" and name.startswith("rollouts")) or (
            how in ("torn", "empty") and name in ("events.jsonl", "config.yaml", "test.jsonl")
        )
        assert quiet or name in told or (name == "bias/round-1/bias.json" and "bias" in told), name
        if how == "gone" and "/" in name:  # those of the top folder: test_report_project.py
            text, _ = written(full_dir, "ja", made_facts())
            assert "87.7" in text, name  # of the audit
        path.write_bytes(whole)
    assert load_report(full_dir, "en", facts=made_facts()).run.problems == ()


@pytest.mark.usefixtures("quick")
def test_a_project_that_lost_its_database_says_so(full_dir: Path) -> None:
    (full_dir / "project.id").write_text("x\n")
    out = full_dir.parent / "page.html"
    done = CliRunner().invoke(app, ["report", str(full_dir), "--out", str(out), "--lang", "ja"])
    assert done.exit_code == 0, done.output
    assert "project.db（版・判定・費用の記録）" in out.read_text(encoding="utf-8")
    assert not (full_dir / "project.db").exists()  # looking makes none
    (full_dir / "project.id").unlink()
    assert facts_of(full_dir) is None


WEIRD = st.sampled_from([None, True, -1, 10**400, 0.5, "x", "", [], [1], {}, {"a": 1}, "<b>$x^2$"])


def spoiled(value: Any, choose: random.Random, weird: Any) -> Any:
    """A copy in which one value somewhere within is another."""
    if isinstance(value, dict) and value and choose.random() < 0.9:
        key = choose.choice(sorted(value))
        return value | {key: spoiled(value[key], choose, weird)}
    if isinstance(value, list) and value and choose.random() < 0.9:
        place = choose.randrange(len(value))
        return [*value[:place], spoiled(value[place], choose, weird), *value[place + 1 :]]
    return weird


@given(st.randoms(use_true_random=False), WEIRD, st.sampled_from(LANGUAGES))
@settings(max_examples=25, deadline=None)
def test_any_value_may_be_another_and_the_rest_is_shown(
    choose: random.Random, weird: Any, lang: str
) -> None:
    def drawn(draw: Callable[[Any], Any], name: str, size: tuple[float, float] = (4, 3)) -> str:
        draw(Figure(figsize=size).add_subplot())
        return "<svg></svg>"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmupt.report.bias_plot, "svg", drawn)
        patch.setattr(mmupt.report.pilot_page, "svg", drawn)
        pilot = spoiled(made_pilot(), choose, weird)
        if isinstance(pilot, dict) and pilot.keys() == made_pilot().keys():
            assert pilot_values(pilot, lang)
        document = spoiled(made_bias(), choose, weird)
        if isinstance(document, dict) and document.keys() == made_bias().keys():
            values = bias_values(BiasResult("bias", document), lang)
            assert values["rows"] or values["slices"] or values["findings"]


def test_files_that_hold_something_else_are_named(tmp_path: Path) -> None:
    for name, content in (("pilot/metrics.json", {"a": 1}), ("bias/bias.json", {"format": 7})):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(json.dumps(content))
    problems: list[str] = []
    assert read_pilot(tmp_path / "pilot", "en", problems) == {}
    assert read_biases(tmp_path, "en", problems) == ()
    assert problems == [
        "pilot/metrics.json does not hold the figures of a pilot",
        "bias/bias.json does not hold a result of this version of mmupt bias",
    ]
    (tmp_path / "pilot" / "metrics.json").write_text(json.dumps(made_pilot()))
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "pilot" / "votes.parquet")
    problems.clear()
    assert read_pilot(tmp_path / "pilot", "en", problems)["n"] == 40
    assert problems == ["pilot/votes.parquet holds 1 questions, its metrics.json speaks of 40"]
