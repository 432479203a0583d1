"""The report of a made run folder: what it says, what it survives, what it refuses."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from mmupt.errors import ConfigError, RunFolderError
from mmupt.report import fonts
from mmupt.report.build import page_values, write_index_html, write_report
from mmupt.report.curves import label_free_steps, running_mean, stage_length, window_of
from mmupt.report.examples import Bar, Case, case_of, choose_examples, question_of, tally
from mmupt.report.pictures import data_uri, picture
from mmupt.report.plots import HEIGHT, WIDTH, accuracy_svg, signals_svg, write_summary_png
from mmupt.report.read import Rollout, RunRecord, events_of, load_run
from mmupt.report.table import stages_table, verdict_lines
from mmupt.report.text import (
    cells,
    clean,
    clean_lines,
    duration,
    fit,
    percent,
    points,
    stage_title,
    words,
    wrap,
)
from mmupt.report.values import stages_of
from mmupt.words import LANGUAGES

HOSTILE = (
    '<script>alert(1)</script><img src=x onerror=alert(2)>" onload="$\\frac{1}{ {{7*7}} \x1b[31m'
)


# --- a made run -------------------------------------------------------------------------------


def made_stage(name: str, greedy: float, mean: float, labels: int) -> dict[str, Any]:
    stage: dict[str, Any] = {
        "name": name, "greedy": greedy, "mean": mean, "majority": mean + 0.04,
        "pass": 0.91, "vote_share": 0.84, "n": 600, "k": 8, "seconds": 31.4,
        "labels_used": labels,
    }  # fmt: skip
    for key in ("greedy", "mean", "majority", "pass", "vote_share"):
        stage[f"{key}_ci"] = [stage[key] - 0.03, stage[key] + 0.02]
    return stage


def made_metrics() -> dict[str, Any]:
    return {
        "stages": [
            made_stage("base", 0.462, 0.418, 0),
            made_stage("sft", 0.731, 0.6748, 200),
            made_stage("round-1", 0.752, 0.718, 0),
            made_stage("round-2", 0.768, 0.742, 0),
        ],
        "arms": {
            "supervised": made_stage("supervised", 0.792, 0.771, 1200),
            "published": made_stage("published", 0.312, 0.296, 0),
        },
        "recovered": {"mean": 0.698, "greedy": 0.607},
        "gain": {
            "mean": 0.0672, "mean_ci": [0.041, 0.094],
            "greedy": 0.037, "greedy_ci": [0.008, 0.066],
        },
        "labels_used": 200,
        "seed": 7,
        "device": "cpu",
        "versions": {"mmupt": "0.1.0", "torch": "2.13.0"},
        "seconds": 412.6,
    }  # fmt: skip


def made_row(number: int, stage: str, step: int, votes: list[str | None]) -> dict[str, Any]:
    """A row whose pseudo-label is the most frequent vote, kept from a share of 0.7 on."""
    numbering: dict[str, int] = {}
    classes = [None if v is None else numbering.setdefault(v, len(numbering)) for v in votes]
    label = max(numbering, key=votes.count)
    share = votes.count(label) / len(votes)
    return {
        "sample_id": f"{stage}-{step}-{number}", "stage": stage, "step": step,
        "prompt": f"<image>What is question {number % 3}?", "images": [f"data/{number % 4}.png"],
        "completions": [f"I read it. \\boxed{{{label}}}", "Hm. \\boxed{0}"], "views": [0, 1],
        "answers": [label, "0"], "teacher_answers": votes, "classes": classes,
        "pseudo_label": label, "share": share, "tied": False, "kept": share >= 0.7,
        "rewards": [1.0, 0.0], "advantages": [0.5, -0.5],
    }  # fmt: skip


VOTES: list[list[str | None]] = [
    ["12"] * 8,
    ["7"] * 6 + ["8", None],
    ["3"] * 3 + ["4"] * 2 + ["5", "6", "9"],
    ["12"] * 7 + ["13"],
]


def write_rollouts(run_dir: Path, stage: str, step: int, rows: list[dict[str, Any]]) -> Path:
    folder = run_dir / "rollouts"
    folder.mkdir(exist_ok=True)
    path = folder / f"{stage}-{step:06d}.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_events(run_dir: Path, events: list[dict[str, Any]], tail: str = "") -> None:
    lines = "".join(json.dumps(event) + "\n" for event in events)
    (run_dir / "events.jsonl").write_text(lines + tail, encoding="utf-8")


def made_events() -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [
        {"type": "run_started", "time": "2026-03-01T09:30:12Z", "seed": 7},
        {"type": "stage_started", "stage": "sft", "total_steps": 10},
    ]
    for step in range(1, 11):
        events.append({"type": "sft_step", "stage": "sft", "step": step, "loss": 1 / step})
    early = {"greedy": 0.6, "mean": 0.55, "majority": 0.58, "n": 100, "k": 8}
    events.append(
        {"type": "evaluated", "stage": "sft", "step": 5, "interim": True, "metrics": early}
    )
    for stage in ("round-1", "round-2", "published"):
        events.append({"type": "stage_started", "stage": stage, "total_steps": 20})
        events += [
            {
                "type": "grpo_step", "stage": stage, "step": step, "vote_share": 0.8 + step / 200,
                "kept": 0.5, "unanimous": 0.25,
            }
            for step in range(1, 21)
        ]  # fmt: skip
    events.append({"type": "run_finished", "seconds": 412.6})
    return events


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    (folder / "data").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(4):
        pixels = random.integers(0, 255, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "data" / f"{number}.png")
    (folder / "metrics.json").write_text(json.dumps(made_metrics()))
    (folder / "config.yaml").write_text("seed: 7\nrounds:\n- steps: 20\n")
    write_events(folder, made_events(), tail='{"type": "grpo_st')
    for stage in ("round-1", "round-2", "published"):
        rows = [made_row(number, stage, 20, VOTES[number % 4]) for number in range(12)]
        write_rollouts(folder, stage, 20, rows)
    return folder


@pytest.fixture(autouse=True)
def font_cache() -> Iterator[None]:
    """Which fonts there are is looked up once for each process; here it changes."""
    fonts.japanese_family.cache_clear()
    yield
    fonts.japanese_family.cache_clear()


def made_rollout(votes: list[str | None], **changes: Any) -> Rollout:
    row = made_row(0, "round-1", 1, votes) | changes
    return Rollout(
        sample_id=row["sample_id"], stage=row["stage"], step=row["step"], prompt=row["prompt"],
        images=tuple(row["images"]), completions=tuple(row["completions"]),
        answers=tuple(row["answers"]), votes=tuple(votes), classes=tuple(row["classes"]),
        pseudo_label=row["pseudo_label"], share=row["share"], tied=row["tied"], kept=row["kept"],
        rewards=tuple(row["rewards"]),
    )  # fmt: skip


def rendered(metrics: dict[str, Any], width: int, lang: str = "en") -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"), color_system=None)  # noqa: PTH123, SIM115
    with console.file:
        console.print(stages_table(metrics, lang))
        return console.export_text(styles=False)


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


# --- reading ----------------------------------------------------------------------------------


def test_a_whole_run_is_read_without_problems(run_dir: Path) -> None:
    run = load_run(run_dir)
    assert run.problems == ()
    assert [view.name for view in stages_of(run.metrics)] == ["base", "sft", "round-1", "round-2"]
    assert run.config["seed"] == 7
    assert len(run.rollouts) == 36
    # Newest label-free round first, the arm last although it ran last.
    assert [rollout.stage for rollout in run.rollouts[::12]] == ["round-2", "round-1", "published"]


def test_the_last_event_of_a_step_counts_and_a_torn_line_does_not(run_dir: Path) -> None:
    events: list[dict[str, Any]] = [
        {"type": "grpo_step", "stage": "round-1", "step": step, "vote_share": 0.5}
        for step in (1, 2, 3)
    ]
    events.append({"type": "run_resumed", "stage": "round-1", "step": 2})
    events += [
        {"type": "grpo_step", "stage": "round-1", "step": step, "vote_share": 0.9}
        for step in (2, 3)
    ]
    write_events(run_dir, events, tail='{"type": "grpo_step", "stage": "round-1", "step": 4, "vo')
    run = load_run(run_dir)
    shares = [event["vote_share"] for event in events_of(run, "grpo_step", "round-1")]
    assert shares == [0.5, 0.9, 0.9]
    assert run.problems == ()


def test_a_broken_line_within_is_a_problem_and_the_rest_is_read(run_dir: Path) -> None:
    good = json.dumps({"type": "grpo_step", "stage": "round-1", "step": 1})
    deep = "[" * 200_000
    lines = [good, '{"type": "gr' + good, "[1]", '{"no": "type"}', deep, "", good]
    (run_dir / "events.jsonl").write_text("\n".join(lines) + "\n")
    run = load_run(run_dir)
    assert len(run.events) == 1
    assert run.problems == (
        "events.jsonl: 4 lines are not events and were left out (line 2, 3, 4, 5)",
    )


@pytest.mark.parametrize("lang", LANGUAGES)
def test_an_empty_folder_is_told_in_words(tmp_path: Path, lang: str) -> None:
    run = load_run(tmp_path, lang)
    assert run.metrics == {}
    assert [
        name for problem in run.problems for name in re.findall(r"[a-z]+\.[a-z]+", problem)
    ] == [
        "metrics.json",
        "events.jsonl",
        "config.yaml",
    ]
    assert load_run(tmp_path / "nothing", lang).problems == run.problems


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("metrics.json", b"{", "metrics.json is not valid JSON"),
        ("metrics.json", b"[1, 2]", "metrics.json holds no JSON object"),
        ("metrics.json", b"\xff\xfe", "metrics.json is not UTF-8 text"),
        ("metrics.json", b" " * (16 * 2**20 + 1),
         "metrics.json is larger than 16 MiB and was left out"),
        ("config.yaml", b"a: [", "config.yaml is not valid YAML"),
        ("config.yaml", b"a: !!python/object/apply:os.getcwd []", "config.yaml is not valid YAML"),
        ("rollouts/round-9-000001.parquet", b"PAR1",
         "rollouts/round-9-000001.parquet is not a readable parquet file"),
    ],
)  # fmt: skip
def test_a_broken_file_is_told_in_words(
    run_dir: Path, name: str, content: bytes, problem: str
) -> None:
    (run_dir / name).write_bytes(content)
    assert load_run(run_dir).problems == (problem,)
    assert problem.split()[0] in Page(_html(load_run(run_dir))).text


def test_rollouts_of_another_shape_are_told_in_words(run_dir: Path) -> None:
    rows = [made_row(number, "round-3", 1, VOTES[0]) for number in range(3)]
    rows[1]["classes"] = [0]
    write_rollouts(run_dir, "round-3", 1, rows)
    for row in rows:
        del row["share"], row["kept"]
    write_rollouts(run_dir, "round-3", 2, rows)
    run = load_run(run_dir)
    assert run.problems == (
        "rollouts/round-3-000002.parquet lacks the columns share, kept",
        "rollouts/round-3-000001.parquet: 1 rows do not hold what their columns should, "
        "and were left out",
    )


def test_only_the_newest_rollouts_are_read(run_dir: Path) -> None:
    for step in range(1, 9):
        write_rollouts(run_dir, "round-2", step, [made_row(0, "round-2", step, VOTES[0])])
    steps = [rollout.step for rollout in load_run(run_dir).rollouts if rollout.stage == "round-2"]
    assert list(dict.fromkeys(steps)) == [20, 8, 7, 6, 5, 4]


def test_pictures_come_from_the_data_folders_only(run_dir: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (64, 64), "red").save(secret)
    (run_dir / "data" / "link.png").symlink_to(secret)
    (run_dir / "data" / "text.png").write_text("no picture")
    roots = load_run(run_dir).data_roots
    for name in (
        str(secret),
        "../secret.png",
        "data/link.png",
        "data/text.png",
        "data/no.png",
        "\0",
    ):
        assert picture(name, roots, 200) is None, name
    small = picture("data/0.png", roots, 200)
    assert small is not None
    assert small.size == (192, 192)  # 48 pixels four times as large
    assert picture(str(run_dir / "data" / "0.png"), roots, 100).size == (100, 100)  # type: ignore[union-attr]
    assert picture(str(secret), [tmp_path.resolve()], 64) is not None


def test_data_files_named_in_the_config_open_their_folders(run_dir: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    Image.new("RGB", (300, 200), "red").save(site / "a.jpg")
    (run_dir / "config.yaml").write_text(f"data:\n  unlabelled: {site}/unlabelled.jsonl\n")
    roots = load_run(run_dir).data_roots
    assert picture("a.jpg", roots, 150).size == (150, 100)  # type: ignore[union-attr]
    assert picture("a.jpg", load_run(run_dir, data_roots=[run_dir]).data_roots, 150) is None


# --- figures and words ------------------------------------------------------------------------


def test_figures_are_rounded_as_people_do() -> None:
    assert [percent(x) for x in (0.6745, 0.06, 1.0, 0.00049, math.nan)] == [
        "67.5", "6.0", "100.0", "0.0", "–",
    ]  # fmt: skip
    assert [points(x) for x in (0.0672, -0.02, 0.0001, -0.0004)] == ["+6.7", "−2.0", "±0.0", "±0.0"]
    assert [duration(s, "en") for s in (0.4, 59.6, 3600, 7500)] == [
        "0 s", "1 min 0 s", "1 h 0 min", "2 h 5 min",
    ]  # fmt: skip
    assert duration(412.6, "ja") == "6分53秒"
    assert [stage_title(name, "en") for name in ("base", "sft", "round-2", "other")] == [
        "base", "SFT", "round 2", "other",
    ]  # fmt: skip
    assert stage_title("round-2", "ja") == "ラウンド2"


def test_text_from_outside_is_bounded_and_visible() -> None:
    assert clean("a\x1b[31m\n\tb\u202ec\ud800", 40) == "a [31m b c"
    assert clean("x" * 100_000, 10) == "x" * 9 + "…"
    assert len(clean("\n" * 100_000, 10)) <= 10
    assert clean_lines("a\n  b\x00", 40) == "a\n  b "
    assert clean_lines("y" * 100_000, 10) == "y" * 10 + "…"


def test_lines_are_broken_by_columns() -> None:
    assert wrap("one two three", 8, 3) == ["one two", "three"]
    assert wrap("一二三四五六七", 8, 2) == ["一二三四", "五六七"]
    assert wrap("a" * 30, 10, 2) == ["a" * 10, "a" * 9 + "…"]
    assert wrap("", 8, 2) == []
    assert fit("一二三", 5) == "一二"
    assert cells("a一") == 3


def _placeholders(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_both_languages_have_the_same_texts() -> None:
    english, japanese = words("en"), words("ja")
    assert list(english) == list(japanese)
    for key in english:
        assert english[key].strip(), key
        assert japanese[key].strip(), key
        assert _placeholders(english[key]) == _placeholders(japanese[key]), key


def test_every_text_is_used_and_every_used_text_is_there() -> None:
    import mmupt.report

    folder = Path(mmupt.report.__file__).parent
    code = "\n".join(
        path.read_text() for path in folder.rglob("*") if path.suffix in (".py", ".j2")
    )
    used = set(re.findall(r"texts\[\"(\w+)\"\]", code)) | set(re.findall(r"\bt\.(\w+)", code))
    assert used <= set(words("en"))
    # These are looked up by a key that is put together.
    built = (
        "(stage|column|series|case|gain|figure|labels|outcome|no|accuracy|signals|loss|head_gain|"
        "project|step|state|gate|move|part|kind|ledger|change|compare|status|versions|pilot|bias|"
        "guard|reason|event)_"
    )
    unused = {key for key in words("en") if f'"{key}"' not in code and f"t.{key}" not in code}
    assert all(re.match(built, key) for key in unused), unused


def test_an_unknown_language_is_refused(run_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"lang = 'fr': expected one of en, ja"):
        write_report(run_dir, "fr")
    assert not (run_dir / "index.html").exists()


# --- the table --------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_table_fits_and_keeps_every_figure(width: int, lang: str) -> None:
    text = rendered(made_metrics(), width, lang)
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= width
    for figure in ("46.2", "67.5", "64.5–69.5", "74.2", "71.2–76.2", "29.6", "1,200", "600"):
        assert figure in text, figure
    assert "…" not in text
    for name in ("base", "sft", "round-1", "round-2", "supervised", "published"):
        assert stage_title(name, lang) in text


def test_wide_tables_have_one_line_for_each_stage() -> None:
    line = next(line for line in rendered(made_metrics(), 120).splitlines() if "round 2" in line)
    assert line.split() == [
        "round", "2", "0", "76.8", "73.8–78.8", "74.2", "71.2–76.2", "78.2", "75.2–80.2",
        "91.0", "88.0–93.0", "84.0", "81.0–86.0", "600", "31",
    ]  # fmt: skip
    narrow = rendered(made_metrics(), 80).splitlines()
    row = next(i for i, line in enumerate(narrow) if "round 2" in line)
    values = ["76.8", "74.2", "78.2", "91.0", "84.0"]
    assert narrow[row].split() == ["round", "2", "0", *values, "600", "31"]
    assert narrow[row + 1].split()[:2] == ["73.8–78.8", "71.2–76.2"]


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"stages": None, "arms": [], "recovered": 3, "gain": "x"},
        {"stages": [{}, "x", {"name": None, "greedy": "high", "greedy_ci": [1]}]},
        {"stages": [{"name": "sft", "mean": float("nan"), "k": 10**400, "n": True}]},
        {"arms": {"supervised": 1, "published": {}}},
        {"stages": [{"name": HOSTILE * 100, "mean": 0.5}]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("lang", LANGUAGES)
def test_broken_metrics_still_make_a_table_and_a_verdict(metrics: Any, lang: str) -> None:
    text = rendered(metrics, 100, lang)
    assert "\x1b" not in text
    assert verdict_lines(metrics, lang)[0]


def test_the_metrics_of_eval_are_one_stage() -> None:
    stage = made_stage("", 0.731, 0.6748, 0)
    del stage["name"]
    assert "67.5" in rendered(stage, 100)
    assert verdict_lines(stage) == [
        "model: sampled accuracy 67.5% (64.5–69.5), greedy accuracy 73.1% (70.1–75.1), "
        "on 600 held-out samples."
    ]


# --- the verdict ------------------------------------------------------------------------------


def test_the_verdict_of_a_comparison() -> None:
    assert verdict_lines(made_metrics()) == [
        "Without labels, sampled accuracy rose from 67.5% after SFT to 74.2%: "
        "+6.7 points (95% interval +4.1 to +9.4).",
        "Greedy accuracy rose from 73.1% to 76.8%: +3.7 points (95% interval +0.8 to +6.6).",
        "Labels used in the label-free rounds: 0 (in the whole run: 200).",
        "The label-free rounds recover 70% of what supervised training from the same start "
        "gains in sampled accuracy (greedy: 61%).",
        "The published recipe (online majority vote) from the same start: "
        "sampled 67.5% → 29.6% (−37.9), greedy 73.1% → 31.2% (−41.9).",
    ]


def test_the_verdict_in_japanese() -> None:
    lines = verdict_lines(made_metrics(), "ja")
    assert lines[0] == (
        "ラベルなしの学習で、サンプル正解率はSFT後の67.5%から74.2%に上がりました："
        "+6.7ポイント（95%信頼区間 +4.1〜+9.4）。"
    )
    assert len(lines) == 5
    assert all(line.endswith("。") for line in lines)


def test_a_gain_that_may_be_none_is_not_called_one() -> None:
    metrics = made_metrics()
    metrics["gain"] = {"mean": 0.004, "mean_ci": [-0.01, 0.018], "greedy": -0.03,
                       "greedy_ci": [-0.05, -0.01]}  # fmt: skip
    headline, greedy = verdict_lines(metrics)[:2]
    assert "rose" not in headline
    assert headline.endswith("The interval holds zero: no clear change.")
    assert greedy.startswith("Greedy accuracy fell from")


def test_a_gain_without_interval_says_so() -> None:
    metrics = made_metrics()
    del metrics["gain"]
    assert verdict_lines(metrics)[0] == (
        "Without labels, sampled accuracy went from 67.5% after SFT to 74.2%: +6.7 points. "
        "No interval was recorded."
    )


@pytest.mark.parametrize("recovered", [None, {"mean": None, "greedy": None}, {}])
def test_no_share_of_a_supervised_gain_that_is_none(recovered: Any) -> None:
    metrics = made_metrics() | {"recovered": recovered}
    assert "Supervised training gained nothing over SFT here" in verdict_lines(metrics)[3]


def test_labels_in_the_rounds_are_not_hidden() -> None:
    metrics = made_metrics()
    metrics["stages"][2]["labels_used"] = 40
    assert verdict_lines(metrics)[2] == (
        "Labels used in the rounds after SFT: 40, so they are not label-free "
        "(in the whole run: 200)."
    )
    del metrics["stages"][2]["labels_used"]
    assert not any("Labels used" in line for line in verdict_lines(metrics))


def test_a_run_that_stopped_after_sft() -> None:
    metrics = {"stages": made_metrics()["stages"][:2]}
    assert verdict_lines(metrics) == [
        "SFT: sampled accuracy 67.5% (64.5–69.5), greedy accuracy 73.1% (70.1–75.1), "
        "on 600 held-out samples."
    ]


# --- examples ---------------------------------------------------------------------------------


def test_votes_are_counted_by_class() -> None:
    assert tally(made_rollout(VOTES[1])) == [Bar("7", 6, chosen=True), Bar("8", 1), Bar(None, 1)]
    assert tally(made_rollout(VOTES[2])) == [
        Bar("3", 3, chosen=True), Bar("4", 2), Bar("5", 1), Bar("", 2, others=2),
    ]  # fmt: skip
    # Of two classes of one size the pseudo-label stands first; equal answers share a bar.
    votes: list[str | None] = ["1/2", "1", "0.5", "1"]
    tied = made_rollout(votes, classes=[0, 1, 0, 1], pseudo_label="1", tied=True)
    assert tally(tied) == [Bar("1", 2, chosen=True), Bar("1/2", 2)]


def test_examples_are_a_mix_of_different_samples(run_dir: Path) -> None:
    rollouts = load_run(run_dir).rollouts
    chosen = choose_examples(rollouts, 8)
    assert [case_of(rollout) for rollout in chosen] == [Case.CONFIDENT] * 3 + [
        Case.CONTESTED] * 3 + [Case.LEFT_OUT] * 2  # fmt: skip
    assert len({rollout.sample_id for rollout in chosen}) == 8
    assert {question_of(rollout) for rollout in chosen} == {
        f"What is question {number}?" for number in range(3)
    }
    assert choose_examples(rollouts, 8) == chosen
    assert len(choose_examples(rollouts[:2], 8)) == 2
    assert choose_examples([], 8) == []


# --- diagrams ---------------------------------------------------------------------------------


def test_running_mean_by_hand() -> None:
    values = np.array([1.0, 2.0, math.nan, 4.0])
    assert running_mean(values, 3) == pytest.approx([1.5, 1.5, 3.0, 4.0])
    assert running_mean(np.array([3.0]), 9) == pytest.approx([3.0])
    assert math.isnan(running_mean(np.array([math.nan]), 1)[0])
    assert [window_of(steps) for steps in (29, 30, 120, 10_000)] == [1, 3, 9, 51]


def test_steps_are_those_of_the_label_free_rounds(run_dir: Path) -> None:
    run = load_run(run_dir)
    assert [(stage, len(steps)) for stage, steps in label_free_steps(run)] == [
        ("round-1", 20), ("round-2", 20),
    ]  # fmt: skip
    assert stage_length(run, "sft") == 10
    assert stage_length(run, "base") == 0


def test_the_picture_is_as_large_as_said_and_not_blank(run_dir: Path) -> None:
    path = run_dir / "summary.png"
    write_summary_png(load_run(run_dir), path)
    with Image.open(path) as image:
        assert image.size == (WIDTH, HEIGHT)
        pixels = np.asarray(image.convert("L"))
    # Each of the eight cards shows a picture of noise in its left part.
    for row in (606 + 76, 606 + 240 + 76):
        for column in range(4):
            left = 52 + column * 381
            patch = pixels[row + 10 : row + 110, left + 10 : left + 110]
            assert patch.std() > 30


def test_the_picture_needs_no_japanese_font(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load_run(run_dir, "ja")
    monkeypatch.setattr(fonts, "JAPANESE_FAMILIES", ())
    write_summary_png(run, tmp_path / "ja.png", "ja")
    write_summary_png(run, tmp_path / "en.png", "en")
    assert (tmp_path / "ja.png").read_bytes() == (tmp_path / "en.png").read_bytes()
    assert fonts.printable("a漢\n→") == "a�\n→"
    # The page is drawn by the reader's browser, so there the words stay Japanese.
    svg = accuracy_svg(run, "ja")
    assert svg is not None
    assert "ラウンド1" in svg


def test_diagrams_are_elements_with_text(run_dir: Path) -> None:
    run = load_run(run_dir)
    accuracy, signals = accuracy_svg(run, "en"), signals_svg(run, "en")
    assert accuracy is not None
    assert signals is not None
    for svg in (accuracy, signals):
        assert svg.startswith("<svg ")
        assert "<style" not in svg
        assert "<metadata" not in svg
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (accuracy, signals)]
    assert ids[0]
    assert ids[1]
    assert not ids[0] & ids[1]  # two diagrams in one page do not clip each other
    assert accuracy_svg(run, "en") == accuracy
    for name in ("base", "SFT", "round 2", "supervised", "published", "74.2"):
        assert f">{name}<" in accuracy


# --- the page ---------------------------------------------------------------------------------


def _html(run: RunRecord, lang: str = "en") -> str:
    path = run.path / "page.html"
    write_index_html(run, path, lang)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_report_is_three_files_and_nothing_else(run_dir: Path, lang: str) -> None:
    before = {path.name for path in run_dir.iterdir()}
    names = ["summary.png", "index.html", "report.json"]
    assert write_report(run_dir, lang) == [run_dir / name for name in names]
    assert {path.name for path in run_dir.iterdir()} - before == set(names)
    page = Page((run_dir / "index.html").read_text(encoding="utf-8"))
    assert page.elements[0] == ("html", {"lang": lang})
    for text in (*verdict_lines(made_metrics(), lang), "71.2–76.2", "1,200", "2.13.0", "steps: 20"):
        assert text in page.text, text


def test_the_page_needs_nothing_from_outside(run_dir: Path) -> None:
    html = _html(load_run(run_dir))
    page = Page(html)
    tags = [tag for tag, _ in page.elements]
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(tags)
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), attributes
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name)
            assert target is None or target.startswith("data:image/" if tag == "img" else "#")
    assert not re.search(r"url\((?!#)|@import", html)


def test_pictures_stand_in_the_page_and_have_words(run_dir: Path) -> None:
    page = Page(_html(load_run(run_dir)))
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == 9
    for attributes in images:
        assert attributes["alt"]
        content = base64.b64decode(str(attributes["src"]).split(",", 1)[1])
        with Image.open(BytesIO(content)) as image:
            assert image.size == (192, 192)
    charts = [a["aria-label"] for tag, a in page.elements if a.get("role") == "img"]
    assert charts == [
        "Line chart of accuracy by stage. "
        "base: greedy 46.2%, sampled 41.8%, majority 45.8%. "
        "SFT: greedy 73.1%, sampled 67.5%, majority 71.5%. "
        "round 1: greedy 75.2%, sampled 71.8%, majority 75.8%. "
        "round 2: greedy 76.8%, sampled 74.2%, majority 78.2%. "
        "supervised: greedy 79.2%, sampled 77.1%, majority 81.1%. "
        "published: greedy 31.2%, sampled 29.6%, majority 33.6%.",
        "Line chart over 40 label-free steps. vote share: 80.5% at first, 90.0% at the end. "
        "kept by the filter: 50.0% at first, 50.0% at the end. "
        "equal rewards (skipped): 25.0% at first, 25.0% at the end.",
    ]


def hostile_run(run_dir: Path) -> RunRecord:
    """Every text that a model or a file can fill, filled with what must not work."""
    metrics = made_metrics()
    metrics["stages"][2]["name"] = HOSTILE
    metrics["arms"][HOSTILE] = made_stage("x", 0.5, 0.5, 0)
    metrics |= {"device": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    (run_dir / "metrics.json").write_text(json.dumps(metrics))
    (run_dir / "config.yaml").write_text(f"# {HOSTILE.replace(chr(27), '')}\n" + "# x\n" * 20_000)
    event = {"type": "grpo_step", "stage": HOSTILE, "step": 1, "vote_share": 0.5}
    write_events(run_dir, [{"type": "run_started", "time": HOSTILE}, event])
    for old in (run_dir / "rollouts").iterdir():
        old.unlink()
    votes: list[str | None] = [HOSTILE] * 6 + [HOSTILE + "2" * 100_000, None]
    row = made_row(0, "round-1", 1, votes) | {
        "sample_id": HOSTILE, "stage": HOSTILE, "prompt": "<image>" + HOSTILE * 1000,
        "completions": [HOSTILE, HOSTILE + "A" * 100_000],
        "images": [f"data/{HOSTILE}", "/dev/zero"],
    }  # fmt: skip
    write_rollouts(run_dir, "round-1", 1, [row])
    return load_run(run_dir)


def test_hostile_text_is_only_text(run_dir: Path) -> None:
    html = _html(hostile_run(run_dir))
    page = Page(html)
    tags = [tag for tag, _ in page.elements]
    assert "script" not in tags
    assert "img" not in tags  # neither pictures of its own nor of the hostile text
    assert not any(name.startswith("on") for _, a in page.elements for name in a)
    assert "<script>alert(1)</script>" in page.text
    assert "{{7*7}}" in page.text
    assert "49" not in page.text.replace("2505.22453", "")
    assert "\x1b" not in html
    assert "A" * 800 not in html
    assert "2" * 100 not in html
    assert len(html) < 200_000


def test_hostile_text_is_no_formula(run_dir: Path) -> None:
    """An unbalanced formula would raise while drawing."""
    write_summary_png(hostile_run(run_dir), run_dir / "summary.png")
    assert (run_dir / "summary.png").stat().st_size > 10_000


def test_a_page_of_large_noise_stays_below_five_megabytes(run_dir: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(4):
        pixels = random.integers(0, 255, (700, 700, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(run_dir / "data" / f"{number}.png")
    rows = [made_row(number, "round-2", 20, VOTES[number % 4]) for number in range(12)]
    for row in rows:
        row["images"] = [f"data/{number}.png" for number in range(4)]
    for old in (run_dir / "rollouts").iterdir():
        old.unlink()
    write_rollouts(run_dir, "round-2", 20, rows)
    steps = [
        {"type": "grpo_step", "stage": "round-1", "step": step, "vote_share": 0.8, "kept": 0.5,
         "unanimous": step % 7 / 7}
        for step in range(1, 20_001)
    ]  # fmt: skip
    write_events(run_dir, steps)
    html = _html(load_run(run_dir))
    assert html.count("data:image/jpeg") == 27
    assert "+1" in Page(html).text
    assert len(html) < 5_000_000


def test_drawings_stay_exact_and_photographs_small() -> None:
    assert data_uri(Image.new("RGB", (384, 384), "white")).startswith("data:image/png")
    noise = np.random.default_rng(0).integers(0, 255, (384, 384, 3), dtype=np.uint8)
    uri = data_uri(Image.fromarray(noise))
    assert uri.startswith("data:image/jpeg")
    assert len(uri) < 80_000 * 4 / 3 + 100


@pytest.mark.parametrize("lang", LANGUAGES)
def test_an_unfinished_run_has_a_report(tmp_path: Path, lang: str) -> None:
    write_events(tmp_path, [{"type": "run_started"}, {"type": "stage_started", "stage": "sft"}])
    write_report(tmp_path, lang)
    text = Page((tmp_path / "index.html").read_text(encoding="utf-8")).text
    for key in ("verdict_nothing", "unfinished", "no_rollouts", "problems_title", "limit_1"):
        assert words(lang)[key] in text, key


def test_a_run_of_one_stage_has_a_report(tmp_path: Path) -> None:
    stage = made_stage("eval", 0.731, 0.6748, 0)
    (tmp_path / "metrics.json").write_text(json.dumps(stage))
    write_report(tmp_path)
    values = page_values(load_run(tmp_path), "en")
    assert [row["title"] for row in values["stages"]] == ["model"]
    assert values["charts"] == []
    assert values["figures"] == []
    assert values["problems"] == ()
    with Image.open(tmp_path / "summary.png") as image:
        assert image.size == (WIDTH, 580)


def test_a_run_of_fine_tuning_alone_shows_its_loss(run_dir: Path) -> None:
    write_events(run_dir, made_events()[:13])
    run = load_run(run_dir)
    charts = page_values(run, "en")["charts"]
    assert [chart.title for chart in charts] == [
        "Accuracy by stage", "Loss of supervised fine-tuning",
    ]  # fmt: skip
    assert charts[1].alt == "Line chart of the loss over 10 steps: 1 at first, 0.1 at the end."
    write_summary_png(run, run_dir / "summary.png", "en")


def test_key_figures(run_dir: Path) -> None:
    values = page_values(load_run(run_dir), "en")
    assert values["figures"] == [
        ("+6.7", "points of sampled accuracy, 67.5% → 74.2%"),
        ("+3.7", "points of greedy accuracy, 73.1% → 76.8%"),
        ("0", "labels in the label-free rounds"),
        ("200", "labels in the whole run"),
        ("70%", "of the supervised gain in sampled accuracy"),
    ]
    assert ("started", "2026-03-01 09:30 UTC") in values["facts"]
    assert values["finished"]


def test_no_folder_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no such folder"):
        write_report(tmp_path / "nothing")


def test_a_failed_write_leaves_the_old_file(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(run_dir)
    old = (run_dir / "index.html").read_bytes()

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_index_html(load_run(run_dir), run_dir / "index.html", "ja")
    assert (run_dir / "index.html").read_bytes() == old
    assert not list(run_dir.glob(".*.tmp"))


def test_the_report_imports_no_torch() -> None:
    code = (
        "import sys, mmupt.report.build, mmupt.report.table; "
        "assert not {'torch', 'transformers', 'scipy', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
