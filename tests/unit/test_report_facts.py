"""The facts of a real project's audits, and the verbs that show them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from review_site import make_project
from typer.testing import CliRunner

from mmupt.audit.records import Kind, Verdict
from mmupt.cli import app
from mmupt.pipeline.project import Project
from mmupt.pipeline.reporting import project_facts, report_on, sample_facts
from mmupt.stats import wilson


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Ten labels "12"; people said: 5 right, 2 that it is 13, 1 wrong, 1 unsure; 1 is open."""
    made = make_project(tmp_path / "project", 10)
    store = made.audits(made.config())
    units = [item.unit for item in store.items("round-1")]
    kinds: list[tuple[Kind, str | None]] = [
        *[("accept", None)] * 5, *[("correct", "13")] * 2, ("reject", None), ("unsure", None),
    ]  # fmt: skip
    for unit, (kind, answer) in zip(units, kinds, strict=False):
        verdict = Verdict(str(uuid.uuid4()), "round-1", unit, "Aoki", kind, answer, seconds=3.0)
        store.add(verdict)
    return made


def test_the_facts_of_an_audit_by_hand(project: Project) -> None:
    facts = project_facts(project)
    json.dumps(facts, allow_nan=False)
    (audit,) = facts["audits"]
    assert (audit["right"], audit["wrong"], audit["unsure"], audit["judged"]) == (5, 3, 1, 9)
    (one,) = audit["by_share"]
    assert (one["from"], one["to"], one["n"], one["right"]) == (0.7, 0.8, 8, 5)
    assert one["precision"] == pytest.approx(5 / 8)
    assert one["precision_ci"] == pytest.approx(list(wilson(5, 8)))
    assert audit["by_step"] == []  # no frame says at which step a label was used
    wrong = audit["wrong_majorities"]
    assert [(row["answer"], row["times"]) for row in wrong] == [("13", 2), ("13", 2), (None, 1)]
    assert wrong[0]["question"] == "<image>What does the meter show?"
    assert wrong[0]["answers"][0] == {"answer": "12", "count": 6}
    assert audit["reviewers"] == [
        {"reviewer": "Aoki", "seconds": 27.0,
         "verdicts": {"accept": 5, "correct": 2, "reject": 1, "unsure": 1}}
    ]  # fmt: skip


def test_a_verdict_that_was_taken_back_is_none(project: Project) -> None:
    store = project.audits(project.config())
    unit = store.items("round-1")[5].unit
    store.add(Verdict(str(uuid.uuid4()), "round-1", unit, "Aoki", "undo", seconds=1.0))
    (audit,) = project_facts(project)["audits"]
    assert audit["judged"] == 8
    assert [row["times"] for row in audit["wrong_majorities"]] == [1, 1]
    assert audit["reviewers"][0]["verdicts"]["correct"] == 1
    assert audit["reviewers"][0]["seconds"] == 28.0
    assert [one["kind"] for one in sample_facts(project.root, unit)] == ["correct", "undo"]


def test_broken_parts_are_named_and_the_rest_is_there(project: Project) -> None:
    (project.root / "config.yaml").write_text("train: [")
    problems = {one["part"] for one in project_facts(project)["problems"]}
    assert {"status", "audits", "roi"} <= problems
    assert not problems & {"versions", "decisions", "history"}
    project.database.write_bytes(b"no database" * 100)
    facts = project_facts(project)
    assert {one["part"] for one in facts["problems"]} == {
        "status", "versions", "decisions", "history", "audits", "roi",
    }  # fmt: skip
    page = report_on(project.root)[1].read_text(encoding="utf-8")
    assert "the versions cannot be read" in page


def test_the_verbs(project: Project, tmp_path: Path) -> None:
    runner, root = CliRunner(), str(project.root)
    out = tmp_path / "page.html"
    done = runner.invoke(app, ["report", root, "--lang", "both", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["files"] == [str(out), str(tmp_path / "page.json")]
    figures = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))
    assert figures["project"]["audits"][0]["right"] == 5
    assert figures["problems"]  # metrics.json and events.jsonl are missing
    page = out.read_text(encoding="utf-8")
    assert page.count("data:image/") >= 4  # the wrong majorities, in both languages
    unit = figures["project"]["audits"][0]["wrong_majorities"][0]["sample_id"]
    shown = runner.invoke(app, ["show", root, unit, "--lang", "ja"])
    assert shown.exit_code == 0, shown.output
    assert "Aoki：誤り。正しくは 13" in shown.output
    (project.root / "events.jsonl").write_text('{"type": "run_finished"}\n')
    assert "finished" in runner.invoke(app, ["watch", root]).output
    side = tmp_path / "side.html"
    both = runner.invoke(app, ["report", "--compare", root, root, "--out", str(side)])
    assert both.exit_code == 0, both.output
    assert "project (1)" in side.read_text(encoding="utf-8")
    refused = runner.invoke(app, ["report", root, root])
    assert "several only with --compare" in str(refused.exception)
