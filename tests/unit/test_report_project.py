"""The report of a made project: figures, languages, missing parts, hostile text, comparison."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmupt.errors import ConfigError, InputError, RunFolderError
from mmupt.pipeline.reported_audits import Judged, by_share, by_step
from mmupt.report.build import write_report
from mmupt.report.changes import changes_between, pairs_of
from mmupt.report.compare import different_settings, write_comparison
from mmupt.report.read import load_run
from mmupt.report.supervision import current_decision, headline
from mmupt.report.text import words
from mmupt.stats import wilson
from mmupt.words import LANGUAGES

HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)>" onload="{{7*7}} \x1b[31m'


class Seen(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._quiet = False
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._quiet = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._quiet = False

    def handle_data(self, data: str) -> None:
        if not self._quiet:
            self.text += data


# --- a made project ---------------------------------------------------------------------------


def stage(name: str, greedy: float, mean: float) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "greedy": greedy, "mean": mean, "majority": mean + 0.01,
                           "pass": 0.9, "vote_share": 0.8, "n": 4, "k": 4, "labels_used": 0}  # fmt: skip
    for key in ("greedy", "mean", "majority", "pass", "vote_share"):
        row[f"{key}_ci"] = [row[key] - 0.031, row[key] + 0.029]
    return row


def both(text: str) -> dict[str, str]:
    return {"en": f"{text} en", "ja": f"{text} ja"}


def decision(version: str, verdict: str, number: int) -> dict[str, Any]:
    said = {"criterion": "audited precision", "verdict": "✓ pass", "figure": "34 of 40 right",
            "bound": "at least 70%", "sentence": "…"}  # fmt: skip
    check = {"name": "precision", "verdict": "pass", "figure": 0.731, "bound": 0.7,
             "values": {}, "words": dict.fromkeys(LANGUAGES, said)}  # fmt: skip
    return {"id": number, "version": version, "baseline": "sft", "verdict": verdict,
            "made": "2026-03-01T09:30:12+00:00", "explained": both(f"{version} is {verdict}"),
            "checks": [check]}  # fmt: skip


def audit(name: str) -> dict[str, Any]:
    wrong = {"sample_id": "q1", "pseudo_label": "7", "answer": "9", "times": 3, "share": 0.75,
             "rules": [], "question": "<image>Which digit?", "images": ["0.png"],
             "answers": [{"answer": "7", "count": 6}, {"answer": "9", "count": 2}]}  # fmt: skip
    return {
        "name": name, "created": "2026-03-01T09:00:00+00:00", "last_verdict": None,
        "asked": 60, "judged": 40, "still_needed": 5, "population": 238, "right": 34, "wrong": 6,
        "unsure": 0, "precision": 0.8765, "precision_ci": [0.7312, 0.9623], "alpha": 0.812,
        "by_share": [{"from": 0.6, "to": 0.7, "n": 8, "right": 6, "wrong": 2, "share": 0.65,
                      "precision": 0.7511, "precision_ci": [0.4093, 0.9285]}],
        "by_step": [{"from": 1, "to": 2, "n": 8, "right": 6, "wrong": 2,
                     "precision": 0.7511, "precision_ci": [0.4093, 0.9285]}],
        "calibration": [{"share": 0.65, "probability": 0.75, "n": 8}],
        "slices": {"kind": [{"name": "sum", "n": 9, "estimate": 0.6543, "low": 0.31, "high": 0.88}]},
        "wrong_majorities": [wrong],
        "reviewers": [{"reviewer": "Aoki", "verdicts": {"accept": 34}, "seconds": 240.0}],
    }  # fmt: skip


def made_facts() -> dict[str, Any]:
    figure = {"key": "label_free_cost", "title": "cost of the label-free part", "value": 8.01,
              "text": "8.01 USD", "formula": "rounds 8.01 USD"}  # fmt: skip
    roi = {"sentences": ["It cost 8.01 USD."], "notes": ["A note."], "figures": [figure],
           "booked": {"round-1/train": {"compute_seconds": {"quantity": 75.0},
                                        "tokens": {"quantity": 45805.0}}}}  # fmt: skip
    move = {"id": 1, "made": "2026-03-01T09:30:12+00:00", "kind": "promote", "version": "round-1",
            "rollout": "100%", "before": {"rollout": None}, "after": {}, "decision": 2,
            "by": "Sato", "reason": "good"}  # fmt: skip
    return {
        "format": 1, "state": "done", "stage": "round-1", "why": {}, "champion": "round-1",
        "challenger": None, "rollout": None, "steps": [],
        "versions": [
            {"name": "sft", "parent": "base", "digest": "a" * 64, "aliases": [], "gate": "pass",
             "greedy": 0.5, "greedy_ci": [0.4, 0.6], "data": {}, "audits": []},
            {"name": "round-1", "parent": "sft", "digest": "b" * 64, "aliases": ["champion"],
             "gate": "pass", "greedy": 0.75, "greedy_ci": [0.6, 0.9], "data": {}, "audits": []},
        ],
        "decisions": [decision("round-1", "pass", 1), decision("sft", "fail", 2)],
        "history": [move], "audits": [audit("round-1")],
        "roi": dict.fromkeys(LANGUAGES, roi), "problems": [],
    }  # fmt: skip


def made_metrics() -> dict[str, Any]:
    return {
        "stages": [stage("sft", 0.5, 0.4561), stage("round-1", 0.75, 0.5127)],
        "gain": {"mean": 0.0566, "mean_ci": [0.021, 0.092], "greedy": 0.25,
                 "greedy_ci": [-0.1, 0.5]},
        "labels_used": 120, "seed": 3, "seconds": 90.0,
    }  # fmt: skip


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "evaluations").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(made_metrics()))
    (folder / "config.yaml").write_text("seed: 3\ndata:\n  test: test.jsonl\n")
    events = [{"type": "grpo_step", "stage": "round-1", "step": s, "vote_share": 0.5 + s / 10,
               "kept": 0.6, "unanimous": 0.1, "entropy": 0.2, "kl": 0.0, "length": 9.0}
              for s in (1, 2)]  # fmt: skip
    look = {"type": "guard_look", "stage": "round-1", "step": 2, "kl": 0.0312}
    finding = {"type": "guard_finding", "stage": "round-1", "step": 2, "rule": "support-lost",
               "evidence": "support fell by 0.1"}  # fmt: skip
    kept = {"type": "best_checkpoint", "stage": "round-1", "step": 1, "last_step": 2}
    lines = "".join(json.dumps(event) + "\n" for event in (*events, look, finding, kept))
    (folder / "events.jsonl").write_text(lines)
    rows = {
        "sft": [("a", 0.0, 0.25), ("b", 1.0, 0.5), ("c", 1.0, 1.0), ("d", 0.0, 0.0)],
        "round-1": [("a", 1.0, 0.75), ("b", 0.0, 0.25), ("c", 1.0, 1.0), ("d", 0.0, 0.0)],
    }
    for name, scores in rows.items():
        columns = zip(*scores, strict=True)
        table = pa.table(dict(zip(("id", "greedy", "mean"), map(list, columns), strict=True)))
        replies = [f"{name} thinks so: {key}" for key, *_ in scores]
        table = table.append_column("reply", pa.array([*replies[:3], None], pa.string()))
        answers = [f"{name} says {key}" for key, *_ in scores]
        table = table.append_column("answer", pa.array([None, *answers[1:]], pa.string()))
        pq.write_table(table, folder / "evaluations" / f"{name}.parquet")
    test = [{"id": key, "problem": f"<image>Question {key}?", "answer": f"is {key}",
             "images": ["0.png"]} for key in "abcd"]  # fmt: skip
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test))
    Image.new("L", (20, 20), 128).save(folder / "0.png")
    return folder


def page_of(run_dir: Path, lang: str = "en", facts: dict[str, Any] | None = None) -> Seen:
    out = run_dir.parent / "page.html"
    write_report(run_dir, lang, facts=made_facts() if facts is None else facts, out=out)
    return Seen(out.read_text(encoding="utf-8"))


# --- what the page shows ----------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_shows_the_figures_of_the_files(run_dir: Path, lang: str) -> None:
    text = page_of(run_dir, lang).text
    for figure in (
        "45.6", "42.5–48.5", "51.3", "75.0",  # metrics.json: stages with intervals
        "+5.7", "+2.1", "+9.2",  # its gain
        "34 of 40 right", "at least 70%", f"sft is fail {lang}",  # the gate
        "It cost 8.01 USD.", "rounds 8.01 USD",  # the return
        "87.7", "73.1–96.2", "75.1", "40.9–92.9", "6 / 8", "0.81",  # the audit
        "65.4", "31.0–88.0", "Aoki", "Sato", "45,805", "b" * 12, "support-lost",
    ):  # fmt: skip
        assert figure in text, figure


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_first_sentence_is_the_decision_with_the_gain(run_dir: Path, lang: str) -> None:
    page = page_of(run_dir, lang)
    expected = {
        "en": "round 1 passed its gate and serves; without labels, sampled accuracy rose from "
        "45.6% to 51.3% (+5.7 points, 95% interval +2.1 to +9.2).",
        "ja": "ラウンド1はゲートを通過して稼働中で、ラベルなしの学習でサンプル正解率が45.6%から"
        "51.3%に上がりました（+5.7ポイント、95%信頼区間 +2.1〜+9.2）。",
    }
    assert headline(made_facts(), made_metrics(), lang) == expected[lang]
    assert expected[lang] in page.text


def test_a_gain_that_may_be_none_is_not_called_one() -> None:
    metrics = made_metrics()
    metrics["gain"]["mean_ci"] = [-0.01, 0.12]
    assert "no clear change" in headline(made_facts(), metrics, "en")
    metrics["gain"]["mean_ci"] = [-0.09, -0.01]
    assert "though without labels sampled accuracy fell" in headline(made_facts(), metrics, "en")


def test_a_refusal_says_why() -> None:
    facts = made_facts() | {"state": "refused", "why": both("refused because")}
    assert headline(facts, made_metrics(), "ja") == "refused because ja"
    facts |= {"state": "awaiting-audit", "why": {}}
    assert headline(facts, made_metrics(), "en") == "round 1 waits for its audit:"


def test_the_decision_on_the_newest_version_counts_not_the_newest_decision() -> None:
    facts = made_facts()
    assert current_decision(facts)["version"] == "round-1"
    facts["stage"] = "round-2"  # under way, not decided
    assert current_decision(facts)["version"] == "round-1"
    assert current_decision(facts | {"decisions": []}) == {}


def test_charts_mark_the_guard_and_the_audit_and_say_so(run_dir: Path) -> None:
    page = page_of(run_dir)
    labels = [str(a["aria-label"]) for _, a in page.elements if a.get("role") == "img"]
    assert any("Audited label precision, round 1, steps 1 to 2: 75.1% (40.9–92.9)" in one
               for one in labels)  # fmt: skip
    assert "Vote share 60 to 70%: 6 of 8 right, 75.1% (40.9–92.9)." in " ".join(labels)
    # The KL of the guard's look, not the zero of a loss without a KL term.
    assert any("KL to the round's start" in one and "0.0312" in one for one in labels)
    assert "round 1, update 2: support-lost. support fell by 0.1" in page.text
    assert "round 1: kept is update 1 of 2." in page.text


def test_words_that_the_system_wrote_in_english_are_japanese_on_a_japanese_page(
    run_dir: Path,
) -> None:
    with (run_dir / "events.jsonl").open("a") as file:
        file.write(json.dumps({
            "type": "guard_finding", "stage": "round-1", "step": 2, "rule": "kl-explosion",
            "evidence": "KL to the start is 9.87 nats per token", "figure": 9.8765, "bound": 2.0,
        }) + "\n")  # fmt: skip
    facts = made_facts()
    (move,) = facts["history"]
    said = {"the model of round-1": "ラウンド1のモデル", "its gate refused it": "ゲートが不合格と判定",
            "round-1 is pass en": "round-1 is pass ja"}  # fmt: skip
    facts["history"] = [move | {"by": "mmupt run", "reason": reason} for reason in said]
    facts["history"].append(move | {"reason": "the starting model"})  # a person's own words
    facts["audits"][0]["wrong_majorities"][0]["rules"] = ["low-margin", "own-rule"]
    text = page_of(run_dir, "ja", facts).text
    for expected in (*said.values(), "the starting model", "僅差の投票, own-rule",
                     "開始時からの離れすぎ（KL）：測定値 9.88、限度 2。"):  # fmt: skip
        assert expected in text, expected
    for reason in said:
        assert reason not in text, reason


def test_many_findings_of_the_guard_are_counted(run_dir: Path) -> None:
    with (run_dir / "events.jsonl").open("a") as file:
        for step in range(3, 13):
            event = {"type": "guard_finding", "stage": "round-1", "step": step, "rule": "r"}
            file.write(json.dumps(event) + "\n")
    text = page_of(run_dir).text
    assert "round 1, update 5: r" in text
    assert "round 1, update 6" not in text
    assert "round 1: 7 further findings" in text  # 11 of updates 2 to 12, 4 told


def test_wrong_majorities_and_changes_stand_with_their_pictures(run_dir: Path) -> None:
    page = page_of(run_dir)
    assert "votes 7, people 9" in page.text
    assert "3 times" in page.text
    assert "75.0% of the votes, wrong" in page.text
    assert "1 became right, 1 became wrong, 1 stayed right, 1 stayed wrong" in page.text
    assert "Question a?" in page.text
    assert "right answer is b" in page.text
    # Both answers stand beside the right one; a's replies had none.
    assert "SFT: sft says b (right)" in page.text
    assert "round 1: round-1 says b (wrong)" in page.text
    assert "SFT: no answer (wrong)" in page.text
    assert "sft thinks so: a" in page.text
    images = [a for tag, a in page.elements if tag == "img"]
    assert len(images) == 3
    assert all(str(a["src"]).startswith("data:image/") and a["alt"] for a in images)


# --- report.json ------------------------------------------------------------------------------


def test_report_json_holds_what_the_files_say(run_dir: Path) -> None:
    written = write_report(run_dir, facts=made_facts())
    assert [path.name for path in written] == ["summary.png", "index.html", "report.json"]
    figures = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
    metrics = json.loads((run_dir / "metrics.json").read_text())
    for row, original in zip(figures["stages"], metrics["stages"], strict=True):
        for key in ("greedy", "mean", "majority", "pass", "vote_share"):
            assert row[key] == original[key]
            assert row[f"{key}_ci"] == original[f"{key}_ci"]
    assert figures["gain"]["mean"] == {"value": 0.0566, "interval": [0.021, 0.092]}
    assert figures["curves"]["round-1"]["vote_share"] == [0.6, 0.7]
    assert figures["project"] == json.loads(json.dumps(made_facts()))
    assert figures["changes"]["better"] == 1
    assert figures["headline"]["en"].startswith("round 1 passed its gate")


def test_another_place_leaves_the_folder_alone(run_dir: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in run_dir.rglob("*"))
    written = write_report(run_dir, "ja", out=tmp_path / "for-the-board.html")
    assert written == [tmp_path / "for-the-board.html", tmp_path / "for-the-board.json"]
    assert sorted(path.name for path in run_dir.rglob("*")) == before
    with pytest.raises(RunFolderError, match="cannot be written"):
        write_report(run_dir, "en", out=tmp_path / "nowhere" / "page.html")


# --- both languages ---------------------------------------------------------------------------


def test_both_languages_in_one_page_without_a_script(run_dir: Path) -> None:
    page = page_of(run_dir, "both")
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(ids) == len(set(ids)), "an id stands twice"
    assert {"lang-en", "lang-ja", "page-en", "page-ja"} <= set(ids)
    assert "script" not in {tag for tag, _ in page.elements}
    for lang in LANGUAGES:
        assert headline(made_facts(), made_metrics(), lang) in page.text
    with pytest.raises(ConfigError, match="expected one of en, ja, both"):
        write_report(run_dir, "de")


def test_both_pages_hold_the_same_figures(run_dir: Path) -> None:
    """A figure that one language lacks would be a sentence that was forgotten."""
    english = page_of(run_dir, "en")
    japanese = page_of(run_dir, "ja")
    drawn = {
        "g",
        "text",
        "tspan",
        "path",
        "use",
        "rect",
        "defs",
        "clippath",
    }  # lines are broken anew
    tags = [[tag for tag, _ in page.elements if tag not in drawn] for page in (english, japanese)]
    assert tags[0] == tags[1]
    # Words of the English page that the Japanese one has too are names, not sentences.
    for key, text in words("en").items():
        if " " in text and "{" not in text and words("ja")[key] != text:
            assert text not in japanese.text, key


# --- hostile and missing ----------------------------------------------------------------------


def test_hostile_facts_are_only_text(run_dir: Path) -> None:
    facts = json.loads(json.dumps(made_facts()))

    def spoil(value: Any) -> Any:
        if isinstance(value, dict):
            keep = ("state", "stage", "kind", "verdict", "key")
            return {k: v if k in keep else spoil(v) for k, v in value.items()}
        if isinstance(value, list):
            return [spoil(one) for one in value]
        return HOSTILE if isinstance(value, str) else value

    clean_slices = facts["audits"][0]["slices"]
    facts = spoil(facts)
    facts["audits"][0]["slices"] = {HOSTILE: clean_slices["kind"]}
    facts["decisions"][0]["words"] = {}
    page = page_of(run_dir, "both", facts)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "form"}
    assert not any(name.startswith("on") for _, a in page.elements for name in a)
    assert "<script>alert(1)</script>" in page.text
    assert "49" not in re.sub(r"2505\.22453|49\.\d|\d49", "", page.text)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name)
            assert target is None or target.startswith("data:image/" if tag == "img" else "#")


@pytest.mark.parametrize("part", ["versions", "decisions", "history", "audits", "roi"])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_part_that_cannot_be_read_is_told_and_the_rest_stands(
    run_dir: Path, part: str, lang: str
) -> None:
    facts = made_facts() | {part: None, "problems": [{"part": part, "why": "torn page"}]}
    page = page_of(run_dir, lang, facts)
    assert words(lang)["problem_part"].format(part=words(lang)[f"part_{part}"], why="torn page") in page.text  # fmt: skip
    assert "51.3" in page.text


@pytest.mark.parametrize("gone", ["metrics.json", "events.jsonl", "config.yaml", "evaluations"])
def test_a_folder_that_lost_a_file_still_gives_a_report(run_dir: Path, gone: str) -> None:
    path = run_dir / gone
    if path.is_dir():
        for one in path.iterdir():
            one.write_bytes(b"PAR1 no")
    else:
        path.unlink()
    text = page_of(run_dir).text
    assert "87.7" in text  # of the audit
    assert gone == "evaluations" or f"{gone} is missing" in text
    # Without the config the questions are unknown, and the counts are not.
    assert ("became right" in text) == (gone in ("events.jsonl", "config.yaml"))


def test_a_full_page_in_both_languages_stays_below_five_megabytes(run_dir: Path) -> None:
    random = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(12)]
    for name in names:
        pixels = random.integers(0, 255, (500, 500, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(run_dir / name)
    facts = made_facts()
    wrong = facts["audits"][0]["wrong_majorities"][0]
    facts["audits"][0]["wrong_majorities"] = [
        wrong | {"pseudo_label": str(number), "images": names[:2]} for number in range(12)
    ]
    rows = [
        {"sample_id": f"s{n}", "stage": "round-1", "step": 2, "prompt": "<image>?",
         "images": names[:3], "completions": ["x" * 900] * 4, "answers": ["1"] * 4,
         "teacher_answers": ["1", "1", "2", "3"], "classes": [0, 0, 1, 2], "pseudo_label": "1",
         "share": 0.5, "tied": False, "kept": True, "rewards": [1.0, 0.0, 0.5, 0.2]}
        for n in range(12)
    ]  # fmt: skip
    (run_dir / "rollouts").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), run_dir / "rollouts" / "round-1-000002.parquet")
    out = run_dir.parent / "page.html"
    write_report(run_dir, "both", facts=facts, out=out)
    html = out.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg") >= 2 * (27 + 12)
    assert out.stat().st_size < 5_000_000


# --- what is not a vote -----------------------------------------------------------------------


def test_anchors_and_spares_are_not_shown_as_votes(run_dir: Path) -> None:
    row = {"sample_id": "x", "stage": "round-1", "step": 2, "prompt": "?", "images": [],
           "completions": ["1"], "answers": ["1"], "teacher_answers": ["1"], "classes": [0],
           "pseudo_label": "1", "share": 1.0, "tied": False, "kept": True, "rewards": [1.0]}  # fmt: skip
    rows = [
        row | {"sample_id": "vote", "anchor": False, "spare": False},
        row | {"sample_id": "anchor", "anchor": True, "spare": False},
        row | {"sample_id": "spare", "anchor": False, "spare": True},
        row | {"sample_id": "old", "anchor": None, "spare": None},
    ]
    (run_dir / "rollouts").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), run_dir / "rollouts" / "round-1-000002.parquet")
    run = load_run(run_dir)
    assert [one.sample_id for one in run.rollouts] == ["vote", "old"]
    assert not run.problems


# --- figures that are worked out --------------------------------------------------------------


def test_precision_by_share_by_hand() -> None:
    judged = [Judged(0.65, 1, True, 1.0), Judged(0.7, 2, False, 1.0), Judged(0.71, 3, True, 3.0),
              Judged(0.75, 4, False, 1.0)]  # fmt: skip
    low, high = by_share(judged)
    # (0.6, 0.7] closes at its upper end: one right of two, equal weights, so plain Wilson.
    assert (low["from"], low["to"], low["n"], low["right"]) == (0.6, 0.7, 2, 1)
    assert low["precision_ci"] == pytest.approx(list(wilson(1, 2)))
    # (0.7, 0.8]: 3 / 4 of the weight is right, at Kish's size (3 + 1)^2 / (9 + 1) = 1.6.
    assert (high["n"], high["right"], high["precision"]) == (2, 1, 0.75)
    assert high["precision_ci"] == pytest.approx(list(wilson(1.2, 1.6)))
    assert high["share"] == pytest.approx((3 * 0.71 + 0.75) / 4)


def test_precision_by_step_covers_every_verdict_once() -> None:
    judged = [Judged(0.9, step, step % 2 == 0, 1.0) for step in range(3, 16)]
    judged.append(Judged(0.9, None, True, 1.0))
    periods = by_step(judged)
    assert sum(one["n"] for one in periods) == 13
    assert periods[0]["from"] == 3
    assert periods[-1]["to"] == 15
    assert all(a["to"] + 1 == b["from"] for a, b in itertools.pairwise(periods))
    assert len(periods) <= 6
    assert by_step([Judged(0.9, None, True, 1.0)]) == []


def test_changes_compare_with_the_parent(run_dir: Path) -> None:
    versions = made_facts()["versions"]
    assert pairs_of(["base", "sft", "round-1"], versions) == ("sft", "round-1")
    assert pairs_of(["base", "sft", "round-1", "round-2"], []) == ("sft", "round-2")
    assert pairs_of(["base"], versions) is None
    run = load_run(run_dir)
    changes = changes_between(run_dir, "sft", "round-1", run.config)
    assert changes is not None
    assert [(one.kind, one.sample_id) for one in changes.examples] == [("better", "a"), ("worse", "b")]  # fmt: skip
    assert changes_between(run_dir, "sft", "../../secret", run.config) is None


# --- side by side -----------------------------------------------------------------------------


def test_runs_side_by_side(run_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    metrics = made_metrics() | {"seed": 4, "labels_used": 777}
    (other / "metrics.json").write_text(json.dumps(metrics))
    (other / "config.yaml").write_text("seed: 4\ndata:\n  test: test.jsonl\n")
    out = tmp_path / "compare.html"
    written = write_comparison([(run_dir, made_facts()), (other, None)], "both", out)
    assert written == [out, tmp_path / "compare.json"]
    page = Seen(out.read_text(encoding="utf-8"))
    for text in ("made", "other", "777", "120", "87.7", "+2.1 to +9.2", "+2.1〜+9.2", "seed",
                 "other: events.jsonl is missing", "8.01 USD"):  # fmt: skip
        assert text in page.text, text
    runs = json.loads((tmp_path / "compare.json").read_text())["runs"]
    assert [run["folder"] for run in runs] == ["made", "other"]
    with pytest.raises(InputError, match="1 folders to compare, expected 2 to 12"):
        write_comparison([(run_dir, None)], "en", out)
    with pytest.raises(RunFolderError, match="no such folder"):
        write_comparison([(run_dir, None), (tmp_path / "no", None)], "en", out)


def test_only_settings_that_differ_are_listed() -> None:
    found = different_settings([{"a": 1, "b": {"c": [1], "d": "x"}}, {"a": 1, "b": {"c": [2]}}])
    assert found == [("b.c", ["[1]", "[2]"]), ("b.d", ['"x"', "–"])]
