"""`mmupt vote`: its figures by hand, its verdicts on made cases with real models, its files."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from tiny import judge

from mmupt import cli
from mmupt.asking.prompt import Prompt
from mmupt.config import Config, ConsensusConfig
from mmupt.data.handwriting import panels, write_pictures, write_rows
from mmupt.data.jsonl import write_jsonl
from mmupt.demo import embedded
from mmupt.errors import ConfigError, InputError
from mmupt.pipeline.pilot import with_votes
from mmupt.pipeline.pilot_audit import AuditFigures, audit_figures, read_audit
from mmupt.pipeline.pilot_pictures import (
    PictureFigures,
    PictureRow,
    blanked,
    picture_figures,
    swaps,
)
from mmupt.pipeline.pilot_verdict import (
    Evidence,
    Thresholds,
    depends,
    findings,
    percent,
    verdict_of,
)
from mmupt.pipeline.pilot_words import TEXTS
from mmupt.report.pilot_plot import write_pilot_png
from mmupt.report.pilot_table import PILOT_WORDS
from mmupt.stats import Ratio
from mmupt.types import Sample

CONFIG = ConsensusConfig(min_share=0.5)

# One question


def test_a_row_by_hand() -> None:
    # 8 answers in 4 views of 2: five say a half, two say 3, one abstains.
    answers = ["1/2", "0.5", "3", "0.5", "1/2", None, "3", "0.5"]
    row = judge(answers, [0, 0, 1, 1, 2, 2, 3, 3], CONFIG)
    assert row.classes == (0, 0, 1, 0, 0, None, 1, 0)
    assert row.shares == (5 / 8, 2 / 8)
    assert (row.pseudo_label, row.share, row.tied, row.kept) == ("0.5", 5 / 8, False, True)
    assert row.margin == 3 / 8
    assert row.abstentions == 1
    # p = 5/7, 2/7: -(5/7) ln(5/7) - (2/7) ln(2/7) = .2403375 + .3579323
    assert row.entropy == pytest.approx(0.5982696, abs=1e-6)
    # 21 pairs answered, of them 3 within a view: (0,0) agree, (3,3) and (1,1) not; all in all
    # C(5,2) + C(2,2) = 11 agree, so 10 of the 18 across views
    assert row.view_agreement == pytest.approx(10 / 18)


def test_ties_and_silence() -> None:
    tie = judge(["1", "2", "2", "1"], [0, 1, 2, 3], CONFIG)
    assert (tie.pseudo_label, tie.tied, tie.kept, tie.margin, tie.share) == (
        None,
        True,
        False,
        0.0,
        0.5,
    )
    silent = judge([None, None], [0, 1], CONFIG)
    assert (silent.pseudo_label, silent.share, silent.shares, silent.abstentions) == (
        None,
        0.0,
        (),
        2,
    )
    assert math.isnan(silent.entropy)
    assert math.isnan(silent.view_agreement)
    assert math.isnan(judge(["1", "1"], [0, 0], CONFIG).view_agreement)  # one view: no pair


# The pictures


def picture(own: str, other: str, blank: str, name: str = "a") -> PictureRow:
    """A row of one-letter answers; a dot abstains."""
    groups = ([None if c == "." else c for c in text] for text in (own, other, blank))
    one, two, three = (tuple(group) for group in groups)
    return PictureRow(name, "d", one, two, three, 0)


def test_kappa_by_hand() -> None:
    # a: own AAAB agree in 3 of 6 pairs, own with other ABBB: (3 * 1 + 1 * 3) / 16 = 6/16
    # b: own CCCC agree in 6 of 6, with other DDDC: 4 of 16
    rows = [picture("AAAB", "ABBB", "BBBB", "a"), picture("CCCC", "DDDC", "CCCC", "b")]
    figures = picture_figures(rows, {"a": "A", "b": "C"}, CONFIG)
    assert (figures.own, figures.other) == (pytest.approx(0.75), pytest.approx(5 / 16))
    assert figures.blank == pytest.approx((4 / 16 + 1) / 2)
    # (.75 - .3125) / (1 - .3125); means of ratio's parts, not the mean of ratios
    assert figures.kappa.estimate == pytest.approx(0.4375 / 0.6875)
    # the residuals are (.125 - R * .625) and its negative: se = |residual| / .6875 for two rows
    half = 12.7062047 * abs(0.125 - 0.4375 / 0.6875 * 0.625) / 0.6875
    assert figures.kappa.high - figures.kappa.estimate == pytest.approx(half, rel=1e-6)
    assert (figures.unchanged_own, figures.unchanged_other, figures.unchanged_blank) == (
        1.0,
        0.0,
        0.5,
    )
    assert figures.tested == 2


def test_kappa_where_it_is_undefined() -> None:
    same = picture_figures([picture("AAAA", "AAAA", "AAAA")], {"a": "A"}, CONFIG)
    assert (same.tested, same.other) == (1, 1.0)
    assert math.isnan(same.kappa.estimate)
    silent = [picture("AAAA", "BBBB", "AAAA", "a"), picture("A...", "BBBB", "AAAA", "b")]
    one = picture_figures(silent, {"a": "A", "b": None}, CONFIG)
    assert (one.tested, one.kappa.estimate) == (1, 1.0)  # a single answer makes no pair
    none = picture_figures([], {}, CONFIG)
    assert none.tested == 0
    assert math.isnan(none.kappa.estimate)
    assert math.isnan(none.unchanged_blank)


def test_pictures_go_round() -> None:
    def sample(name: str, *images: str) -> Sample:
        return Sample(name, "?", tuple(Path(image) for image in images))

    questions = [
        sample("a", "1"), sample("b", "2"), sample("c", "3"),
        sample("a again", "1"), sample("pair", "1", "2"), sample("text"),
    ]  # fmt: skip
    pairs = {pair.sample.id: pair.donor for pair in swaps(questions, 0)}
    assert set(pairs) == {"a", "b", "c", "a again"}  # nothing to swap a lone pair or a text with
    assert pairs["a"].images == pairs["a again"].images
    shown = {pairs[name].images for name in "abc"}
    assert shown == {(Path("1"),), (Path("2"),), (Path("3"),)}  # each picture once
    assert len(swaps(questions, 0, limit=2)) == 2
    drawn = {swaps(questions, seed)[0].sample.id for seed in range(20)}
    assert len(drawn) > 1  # which are tested does not hang on the order of the file


def test_blank_pictures_keep_size_and_median() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :4] = (200, 10, 90)
    image = Image.fromarray(pixels)
    blank = blanked(Prompt("<image>?", (image,), "o", {"A": "B"}))
    assert blank.images[0].size == (6, 4)
    assert blank.images[0].getcolors() == [(24, (200, 10, 90))]
    assert (blank.problem, blank.labels) == ("<image>?", {"A": "B"})
    assert image.getpixel((5, 0)) == (0, 0, 0)


# The audit


def test_an_audit_by_hand() -> None:
    votes = {
        "a": judge(["1"] * 4, range(4), CONFIG),  # share 1
        "b": judge(["2", "2", "2", "5"], range(4), CONFIG),  # .75
        "c": judge(["3", "3", "3", "5"], range(4), CONFIG),  # .75
        "d": judge(["4", "5", "6", "4"], range(4), CONFIG),  # .5
        "e": judge(["4", "4", "5", "5"], range(4), CONFIG),  # tied: no label
        "f": judge(["9"] * 4, range(4), CONFIG),  # not audited
        "g": judge(["7", "1", None, None], range(4), ConsensusConfig(min_share=0.9)),
    }
    truth = {"a": "1.0", "b": "2", "c": "2", "d": "7", "e": "4"}
    audit = audit_figures(votes, truth, CONFIG)
    assert (audit.rows, audit.labelled.n, audit.labelled.right) == (5, 4, 2)
    assert audit.kept == audit.labelled
    assert audit.labelled.always == 0.5  # "2" is the truth of two of the four
    assert audit.labelled.value == 0.5
    # exact interval of 2 of 4: 0.0675860 to 0.9324140
    assert audit.labelled.interval == pytest.approx((0.0675860, 0.9324140), abs=1e-6)
    assert [(b.low, b.high, b.accuracy.n, b.accuracy.right) for b in audit.bins] == [
        (0.5, 0.7, 1, 0), (0.7, 0.9, 2, 1), (0.9, 1.0, 1, 1)
    ]  # fmt: skip
    # bins of .1: {.5}: .5, {.75, .75}: |1 - 1.5| = .5, {1}: 0; (.5 + .5) / 4
    assert audit.ece == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ('{"id": "zz", "answer": "1"}', [":1", '"zz" is not in the data']),
        ('{"id": "a"}', [":1", 'no usable "answer"', "columns: id"]),
        ('{"answer": "1"}', [":1", 'no usable "id"']),
        ('{"id": "a", "answer": "1"}\n{"id": "a", "answer": "2"}', [":2", "audited twice"]),
        ('{"id": "a", "answer": " "}', [":1", 'no usable "answer"']),
        ("{", [":1", "not JSON"]),
        ("", ["holds no rows"]),
    ],
)
def test_bad_audits_are_named(tmp_path: Path, lines: str, parts: list[str]) -> None:
    (tmp_path / "audit.jsonl").write_text(lines, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_audit(tmp_path / "audit.jsonl", ["a", "b"])
    assert all(part in str(caught.value) for part in ["audit.jsonl", *parts])
    assert "\n" not in str(caught.value)


def test_audit_rows_may_be_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write_jsonl(
        path, [{"id": 7, "answer": 0.5, "problem": "<image>?", "images": ["x"], "response": "y"}]
    )
    assert read_audit(path, ["7"]) == {"7": "0.5"}


# The rule

SEEN = PictureFigures(100, 0.6, 0.15, 0.1, Ratio(0.53, 0.48, 0.58), 0.8, 0.15, 0.1)
HEALTHY = Evidence(
    n=100, pictured=100, abstained=0.0, truncated=0.0, share=0.8, kept=0.9, min_share=0.5, top=0.1,
    pictures=SEEN, unanimous=0.4,
)  # fmt: skip


def with_kappa(kappa: float, low: float, **more: Any) -> PictureFigures:
    return replace(SEEN, kappa=Ratio(kappa, low, 2 * kappa - low), **more)


def audited(right: int, n: int, always: str = "x") -> AuditFigures:
    """n kept labels, of which so many are right; the truths are all different but for `always`."""
    rows = {str(i): judge([f"w{i}"] * 4, range(4), CONFIG) for i in range(n)}
    truth = {str(i): f"w{i}" if i < right else f"v{i}" for i in range(n)}
    if always == "same":
        rows = {str(i): judge(["1" if i < right else "2"] * 4, range(4), CONFIG) for i in range(n)}
        truth = {str(i): "1" for i in range(n)}
    return audit_figures(rows, truth, CONFIG)


@pytest.mark.parametrize(
    ("change", "verdict", "key"),
    [
        ({}, "ready", "picture_seen"),
        ({"abstained": 0.6}, "sft-first", "unreadable"),
        ({"abstained": 0.6, "pictures": with_kappa(0.0, -0.1)}, "sft-first", "unreadable"),
        ({"pictures": with_kappa(0.1, 0.05)}, "not-suitable", "picture_ignored"),
        ({"pictures": with_kappa(0.25, 0.15)}, "sft-first", "picture_unsure"),
        ({"pictures": with_kappa(0.35, 0.3)}, "sft-first", "picture_weak"),
        ({"pictures": with_kappa(0.8, math.nan)}, "sft-first", "picture_unsure"),
        ({"pictures": with_kappa(math.nan, math.nan, other=1.0)}, "not-suitable", "picture_constant"),
        ({"share": 0.6}, "sft-first", "divided"),
        ({"kept": 0.2}, "sft-first", "few_kept"),
        ({"top": 0.95}, "sft-first", "one_answer"),
        ({"top": 0.95, "pictures": with_kappa(0.1, 0.05)}, "not-suitable", "one_answer"),
        ({"pictures": with_kappa(0.5, 0.4, unchanged_other=0.95)}, "sft-first", "any_picture"),
        ({"pictures": with_kappa(0.5, 0.4, unchanged_blank=0.95)}, "sft-first", "blank_suffices"),
        ({"pictures": with_kappa(0.1, 0.05, unchanged_blank=0.95)}, "not-suitable", "blank_suffices"),
        ({"audit": audited(18, 20)}, "ready", "audit_kept_right"),
        ({"audit": audited(9, 20)}, "sft-first", "audit_kept_wrong"),
        ({"audit": audited(1, 20)}, "not-suitable", "audit_kept_useless"),
        ({"audit": audited(19, 20, "same")}, "not-suitable", "audit_kept_useless"),
        ({"audit": audited(1, 5)}, "ready", "audit_small"),
        ({"n": 10}, "ready", "few_rows"),
        ({"pictured": 0, "pictures": picture_figures([], {}, CONFIG)}, "ready", "no_pictures"),
        ({"pictures": picture_figures([], {}, CONFIG)}, "ready", "no_other_picture"),
        ({"views": 1, "unanimous": 1.0}, "sft-first", "no_vote"),
        ({"views": 1, "per_view": 8, "unanimous": 1.0}, "sft-first", "no_vote"),
        ({"views": 1, "per_view": 8, "temperature": 0.7}, "ready", "one_view"),
        ({"per_view": 2}, "ready", "copies"),
    ],
)  # fmt: skip
def test_the_rule(change: dict[str, Any], verdict: str, key: str) -> None:
    found = findings(replace(HEALTHY, **change), Thresholds())
    assert verdict_of(found) == verdict
    assert key in [finding.key for finding in found]


def test_shown_is_more_than_estimated() -> None:
    limits = Thresholds()
    assert depends(HEALTHY, limits)
    assert not depends(replace(HEALTHY, pictures=with_kappa(0.5, 0.1)), limits)
    assert not depends(replace(HEALTHY, pictures=picture_figures([], {}, CONFIG)), limits)


def test_the_worst_case_of_an_audit_is_its_interval() -> None:
    found = findings(replace(HEALTHY, audit=audited(37, 40)), Thresholds())
    (text,) = [finding.text("en") for finding in found if finding.key == "audit_kept_right"]
    # Clopper-Pearson of 37 of 40: .796140 to .984265
    assert "37 of 40" in text
    assert "80% to 98%" in text
    assert "at worst 20% are wrong" in text


def test_words_match_between_the_languages() -> None:
    import string

    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for key, texts in [*TEXTS.items()]:
        assert set(texts) == {"en", "ja"}, key
        assert names(texts["en"]) == names(texts["ja"]), key
    assert set(PILOT_WORDS["en"]) == set(PILOT_WORDS["ja"])


def test_percentages_do_not_round_to_certainty() -> None:
    assert [percent(x) for x in (0.0, 0.004, 0.674, 0.996, 1.0)] == [
        "0%",
        "0.4%",
        "67%",
        "99.6%",
        "100%",
    ]
    assert percent(math.nan) == "–"


# How many answers


def test_samples_and_views() -> None:
    config = Config(consensus=ConsensusConfig(views=8, samples_per_view=2))

    def asked(samples: int | None, views: int | None) -> tuple[int, int]:
        consensus = with_votes(config, samples, views).consensus
        return consensus.views, consensus.samples_per_view

    assert asked(None, None) == (8, 2)
    assert asked(None, 4) == (4, 2)
    assert asked(8, None) == (8, 1)
    assert asked(12, 4) == (4, 3)
    for samples, views in ((10, None), (4, 8), (0, None), (None, 0), (-8, None)):
        with pytest.raises(ConfigError):
            asked(samples, views)


# Made cases, with real models

SEED = 3
ROWS = 64


def call(*words: str | Path) -> tuple[int, str]:
    """A command in this process: exit code and what it printed to standard output."""
    from contextlib import redirect_stdout
    from io import StringIO

    argv, sys.argv, out = sys.argv, ["mmupt", *map(str, words)], StringIO()
    try:
        with redirect_stdout(out):
            cli.main()
    except SystemExit as stop:
        return int(stop.code or 0), out.getvalue()
    finally:
        sys.argv = argv
    return 0, out.getvalue()


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """Data of the embedded task: pictures with questions, and the same questions without them."""
    folder = tmp_path_factory.mktemp("pilot")
    rng = np.random.default_rng(SEED)
    drawn = panels("unlabelled", ROWS, SEED)
    write_pictures(folder, "site", drawn)
    write_rows(folder / "site.jsonl", "site", drawn, answers=False)
    write_rows(folder / "truth.jsonl", "site", drawn, answers=True)
    rows = [json.loads(x) for x in (folder / "site.jsonl").read_text(encoding="utf-8").splitlines()]
    for kind in ("white", "noise"):
        for index in range(ROWS):
            grey = np.full((48, 48), 255) if kind == "white" else rng.integers(0, 256, (48, 48))
            Image.fromarray(grey.astype(np.uint8)).save(folder / "images" / f"{kind}-{index}.png")
        write_jsonl(
            folder / f"{kind}.jsonl",
            [{**row, "images": [f"images/{kind}-{i}.png"]} for i, row in enumerate(rows)],
        )
    hidden = "<image>What is the sum of the four digits of the next picture?"
    write_jsonl(folder / "hidden.jsonl", [{**row, "problem": hidden} for row in rows])

    learned = panels("labelled", 100, SEED)
    write_pictures(folder, "train", learned)
    write_rows(folder / "train.jsonl", "train", learned, answers=True)
    train = [
        json.loads(x) for x in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    write_jsonl(  # what the next picture shows, this one does not
        folder / "train-hidden.jsonl",
        [
            {
                "id": row["id"],
                "images": row["images"],
                "problem": hidden,
                "answer": str(sum(panel.digits)),
            }
            for row, panel in zip(train, [*learned[1:], learned[0]], strict=True)
        ],
    )
    by_question: dict[str, list[dict[str, Any]]] = {}
    for row in train:
        by_question.setdefault(row["problem"], []).append(row)
    permuted = []
    for same in by_question.values():
        for row, other in zip(same, rng.permutation(len(same)), strict=True):
            permuted.append(
                {**row, "answer": same[other]["answer"], "response": same[other]["response"]}
            )
    write_jsonl(folder / "train-permuted.jsonl", permuted)
    shutil.copytree(embedded("model"), folder / "base")
    preset = yaml.safe_load(embedded("preset.yaml").read_text(encoding="utf-8"))
    preset |= {"num_threads": 1, "seed": SEED}
    (folder / "config.yaml").write_text(yaml.safe_dump(preset), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tuned(place: Path) -> Callable[[str, int], Path]:
    """Models fine-tuned on one of the training files, each once."""

    def model(data: str, epochs: int) -> Path:
        out = place / f"sft-{data}"
        if not (out / "model").exists():
            code, _ = call(
                "sft", "--model", place / "base", "--data", place / f"{data}.jsonl", "--out", out,
                "--config", place / "config.yaml", "--set", f"sft.num_train_epochs={epochs}", "--json",
            )  # fmt: skip
            assert code == 0
        return out / "model"

    return model


def pilot(place: Path, model: Path, data: str, out: str, *more: str | Path) -> dict[str, Any]:
    code, printed = call(
        "vote", "--model", model, "--data", place / f"{data}.jsonl", "--out", place / out,
        "--config", place / "config.yaml", "--json", *more,
    )  # fmt: skip
    assert code == 0
    metrics: dict[str, Any] = json.loads(printed)
    assert metrics == json.loads((place / out / "metrics.json").read_text(encoding="utf-8"))
    return metrics


CASES = {
    # name: (training rows or None for the base model, epochs, voted rows, verdict, decisive)
    "healthy": ("train", 16, "site", "ready", "picture_seen"),
    "base": (None, 0, "site", "sft-first", "divided"),
    "white": ("train", 16, "white", "not-suitable", "picture_ignored"),
    "noise": ("train", 16, "noise", "not-suitable", "picture_ignored"),
    "hidden": ("train-hidden", 10, "hidden", "not-suitable", "picture_ignored"),
    "permuted": ("train-permuted", 6, "site", "not-suitable", "picture_ignored"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_made_cases_are_judged_right(
    name: str, place: Path, tuned: Callable[[str, int], Path]
) -> None:
    """The contract of the pilot: three kinds of cases, without a label; the lines are not near."""
    train, epochs, data, verdict, key = CASES[name]
    model = tuned(train, epochs) if train else place / "base"
    metrics = pilot(place, model, data, f"case-{name}")
    kappa, (low, high) = metrics["pictures"]["kappa"], metrics["pictures"]["kappa_ci"]
    assert metrics["verdict"] == verdict, (kappa, metrics["share"])
    assert key in [finding["key"] for finding in metrics["findings"] if finding["says"] == verdict]
    assert metrics["reasons"][0] == metrics["findings"][0]["en"]
    limits = metrics["thresholds"]
    if verdict == "not-suitable":
        assert high < limits["min_kappa"]
    else:
        assert low > limits["min_kappa"] - 0.02
        assert kappa > limits["min_kappa"] + 0.08
        assert (kappa > limits["ready_kappa"] + 0.04) == (verdict == "ready")
        assert (kappa < limits["ready_kappa"] - 0.04) == (verdict == "sft-first")
        assert metrics["pictures"]["unchanged_blank"] < 0.3
        assert (metrics["share"] > limits["ready_share"] + 0.04) == (verdict == "ready")
        assert (metrics["share"] < limits["ready_share"] - 0.04) == (verdict == "sft-first")


# Its files


def test_an_audit_is_added_to_a_finished_pilot(
    place: Path, tuned: Callable[[str, int], Path], tmp_path: Path
) -> None:
    model = tuned("train", 16)
    before = pilot(place, model, "site", "case-healthy")
    made = (place / "case-healthy" / "votes.parquet").stat().st_mtime_ns
    audit = tmp_path / "audit.jsonl"
    lines = (place / "truth.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:40]
    audit.write_text("".join(lines), encoding="utf-8")
    after = pilot(place, model, "site", "case-healthy", "--audit", audit, "--lang", "ja")
    assert (
        place / "case-healthy" / "votes.parquet"
    ).stat().st_mtime_ns == made  # nothing was asked
    figures = after["audit"]
    assert (before["audit"], before["labels_used"], after["labels_used"]) == (None, 0, 40)
    assert figures["rows"] == 40
    assert sum(one["n"] for one in figures["bins"]) == figures["labelled"]["n"] <= 40
    assert sum(one["right"] for one in figures["bins"]) == figures["labelled"]["right"]
    assert figures["kept"]["accuracy"] > 0.6 > figures["kept"]["always"]
    low, high = figures["kept"]["ci"]
    assert low < figures["kept"]["accuracy"] < high
    assert 0 <= figures["ece"] < 0.3
    assert after["verdict"] == "ready"
    assert after["reasons"] == [finding["ja"] for finding in after["findings"]]
    same = set(before) - {
        "verdict",
        "summary",
        "summaries",
        "reasons",
        "findings",
        "audit",
        "labels_used",
    }
    assert {key: before[key] for key in same} == {key: after[key] for key in same}


def test_the_table_holds_what_the_summary_says(
    place: Path, tuned: Callable[[str, int], Path]
) -> None:
    metrics = pilot(place, tuned("train", 16), "site", "case-healthy")
    folder = place / "case-healthy"
    rows = pq.read_table(folder / "votes.parquet").to_pylist()
    assert [row["id"] for row in rows] == [f"site-{i:05d}" for i in range(ROWS)]
    for row in rows:
        again = judge(row["answers"], row["views"], CONFIG)
        assert row["views"] == list(range(8))
        assert (row["pseudo_label"], row["share"], row["kept"]) == (
            again.pseudo_label,
            again.share,
            again.kept,
        )
        assert row["margin"] == again.margin
        assert row["entropy"] == again.entropy
        assert row["view_agreement"] == again.view_agreement
    assert metrics["n"] == ROWS
    assert metrics["share"] == pytest.approx(np.mean([row["share"] for row in rows]))
    assert metrics["kept"] == pytest.approx(np.mean([row["kept"] for row in rows]))
    assert metrics["unanimous"] == pytest.approx(np.mean([row["share"] == 1 for row in rows]))
    assert sum(metrics["shares"].values()) == ROWS
    tested = pq.read_table(folder / "pictures.parquet").to_pylist()
    assert metrics["tokens"] == sum(row["tokens"] for row in (*rows, *tested))
    assert metrics["pictures"]["tested"] == len(tested) == ROWS
    assert all(row["id"] != row["donor"] for row in tested)
    assert not (folder / "parts").exists()
    assert (folder / "summary.png").stat().st_size > 20_000


FEW = ("--views", "2", "--set", "eval.batch_size=4")
"""Parts of two questions each."""


def test_killed_and_resumed_is_as_if_nothing_had_happened(place: Path) -> None:
    lines = (place / "site.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:20]
    (place / "few.jsonl").write_text("".join(lines), encoding="utf-8")
    words = [
        "vote", "--model", place / "base", "--data", place / "few.jsonl",
        "--config", place / "config.yaml", "--json", *FEW,
    ]  # fmt: skip
    whole, torn = place / "whole", place / "torn"
    assert call(*words, "--out", whole)[0] == 0
    command = [sys.executable, "-m", "mmupt.cli", *map(str, words), "--out", str(torn)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(list((torn / "parts").glob("votes-*"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline, "the pilot does not move"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in (torn / "parts").glob("votes-*.parquet")}
    assert 3 <= len(kept) < 10
    assert not (torn / "votes.parquet").exists()

    code, printed = call(*words, "--out", torn)
    assert code == 0
    for name in ("votes.parquet", "pictures.parquet"):
        one, other = (pq.read_table(out / name).to_pylist() for out in (whole, torn))
        assert one == other, name
    expected = json.loads((whole / "metrics.json").read_text(encoding="utf-8"))
    found = json.loads(printed)
    expected.pop("seconds")
    found.pop("seconds")
    assert found == expected
    events = [
        json.loads(x) for x in (torn / "events.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    left = [e["left"] for e in events if e["type"] == "pilot_started" and e["stage"] == "votes"]
    assert left == [20, 20 - 2 * len(kept)]  # the parts that were there were not asked again


def test_other_questions_are_not_taken_for_these(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(
        tmp_path / "rows.jsonl", [{"id": f"t{i}", "problem": "How many?"} for i in range(4)]
    )
    words = ["vote", "--model", place / "base", "--data", tmp_path / "rows.jsonl", "--out", tmp_path / "o",
             "--config", place / "config.yaml", "--json", *FEW]  # fmt: skip
    assert call(*words)[0] == 0
    write_jsonl(
        tmp_path / "rows.jsonl", [{"id": f"t{i}", "problem": "How many more?"} for i in range(4)]
    )
    assert call(*words)[0] == 2
    assert "the data file was changed" in capsys.readouterr().err


def test_without_pictures_there_is_no_picture_test(place: Path, tmp_path: Path) -> None:
    rows = [{"id": f"t{i}", "problem": f"Which digit is the largest? {i}"} for i in range(12)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    words = ["vote", "--model", place / "base", "--data", tmp_path / "rows.jsonl", "--config",
             place / "config.yaml", *FEW]  # fmt: skip
    code, printed = call(*words, "--out", tmp_path / "a", "--json")
    assert code == 0
    metrics = json.loads(printed)
    assert metrics["pictures"]["kappa"] is None
    assert metrics["pictures"]["tested"] == 0
    keys = {finding["key"]: finding["says"] for finding in metrics["findings"]}
    assert keys["no_pictures"] == "note"
    assert keys["no_vote"] == metrics["verdict"] == "sft-first"  # temperature 0: all are copies
    assert (tmp_path / "a" / "summary.png").stat().st_size > 10_000
    code, printed = call(*words, "--out", tmp_path / "b", "--lang", "ja")
    assert code == 0
    assert "画像検査:実施できません" in printed
    assert "sft-first" in printed


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--samples", "10"], "--samples 10 is not a multiple of the 8 views"),
        (["--samples", "4"], "--samples 4 is not a multiple"),
        (["--views", "0"], "--views 0 is below 1"),
        (["--audit", "missing.jsonl"], "missing.jsonl cannot be read"),
        (["--audit", "train.jsonl"], 'id "train-00000" is not in the data'),
        (["--set", "consensus.vews=3"], "unknown key consensus.vews"),
        (["--model", "nowhere"], "nowhere: not a folder"),
    ],
)
def test_bad_input_is_one_line(
    more: list[str], part: str, place: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    code, printed = call(
        "vote", "--model", place / "base", "--data", "site.jsonl", "--out", "bad",
        "--config", "config.yaml", *more,
    )  # fmt: skip
    error = capsys.readouterr().err
    assert (code, printed) == (2, "")
    assert part in error
    assert error.count("\n") == 1
    assert not (place / "bad").exists()


def test_a_folder_of_another_pilot_is_refused(
    place: Path, tuned: Callable[[str, int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = tuned("train", 16)
    pilot(place, model, "site", "case-healthy")
    code, _ = call(
        "vote", "--model", model, "--data", place / "site.jsonl", "--out", place / "case-healthy",
        "--config", place / "config.yaml", "--views", "4",
    )  # fmt: skip
    assert code == 2
    assert "consensus.views was 8, now 4" in capsys.readouterr().err


def test_the_picture_is_drawn_from_the_metrics_alone(
    place: Path, tuned: Callable[[str, int], Path], tmp_path: Path
) -> None:
    pilot(place, tuned("train", 16), "site", "case-healthy")
    metrics = json.loads((place / "case-healthy" / "metrics.json").read_text(encoding="utf-8"))
    metrics["shares"] = {f"{i / 64:.4g}": i for i in range(65)}  # more than bars: counted in bins
    metrics["summaries"] = dict.fromkeys(("en", "ja"), "$x$ <b> " + "長い" * 40)
    for lang in ("en", "ja"):
        write_pilot_png(metrics, tmp_path / f"{lang}.png", lang)
        with Image.open(tmp_path / f"{lang}.png") as image:
            assert image.width == 1600
            assert 500 < image.height < 1200
            pixels = np.asarray(image.convert("L"))
        assert (pixels < 128).mean() > 0.01
        assert (pixels[:, :20] == 255).all()  # nothing runs over the edges
        assert (pixels[:, -20:] == 255).all()


def test_help_is_light() -> None:
    script = (
        "import json, sys\n"
        "sys.argv = ['mmupt', 'vote', '--help']\n"
        "from mmupt.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'scipy', 'matplotlib', 'pyarrow', 'PIL'}\n"
        "assert not heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    for option in ("--samples", "--views", "--audit", "--json", "--skip-bad", "--lang"):
        assert option in done.stdout
