from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmupt.data.handwriting import QUESTIONS, SPLITS, assemble, panels, scans, write_rows
from mmupt.data.sources import read_labelled, read_samples
from mmupt.demo import write_demo_data


def test_splits_share_no_scan() -> None:
    seen: set[int] = set()
    for scan_range in SPLITS.values():
        assert seen.isdisjoint(scan_range)
        seen |= set(scan_range)
    assert seen == set(range(1797))


def test_panels_draw_from_their_own_split_and_tell_the_truth() -> None:
    images, digits = scans()
    for split, allowed in SPLITS.items():
        for panel in panels(split, 40, seed=1):
            assert set(panel.scans) <= set(allowed)
            assert panel.digits == tuple(digits[list(panel.scans)])
            assert np.array_equal(panel.image, assemble(images[list(panel.scans)]))
            assert panel.response == f"{' '.join(map(str, panel.digits))} \\boxed{{{panel.answer}}}"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("What is the sum of the four digits?", 21),
        ("Which digit is the largest?", 9),
        ("Which digit is the smallest?", 0),
        ("How many digits are above five?", 2),
        ("Which digit is at the top left?", 7),
        ("Which digit is at the top right?", 0),
        ("Which digit is at the bottom left?", 9),
        ("Which digit is at the bottom right?", 5),
    ],
)
def test_answers_by_hand(text: str, answer: int) -> None:
    question = next(q for q in QUESTIONS if q.text == text)
    assert question.answer((7, 0, 9, 5)) == answer


def test_the_same_seed_draws_the_same() -> None:
    a, b, c = panels("test", 5, 3), panels("test", 5, 3), panels("test", 5, 4)
    assert [p.scans for p in a] == [p.scans for p in b] != [p.scans for p in c]


def test_unlabelled_rows_hold_no_answer(tmp_path: Path) -> None:
    drawn = panels("unlabelled", 20, 0)
    write_rows(tmp_path / "u.jsonl", "u", drawn, answers=False)
    for line in (tmp_path / "u.jsonl").read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) == {"id", "images", "problem", "kind"}


def test_demo_data_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("LABELLED", 4), ("UNLABELLED", 6), ("TEST", 5)):
        monkeypatch.setattr(f"mmupt.demo.{name}", count)
    write_demo_data(tmp_path, seed=2, truth=True)
    labelled = read_labelled(tmp_path / "train.jsonl")
    unlabelled = read_samples(tmp_path / "unlabelled.jsonl")
    truth = read_labelled(tmp_path / "unlabelled-truth.jsonl")
    assert (len(labelled), len(unlabelled), len(read_labelled(tmp_path / "test.jsonl"))) == (
        4,
        6,
        5,
    )
    assert [r.sample.id for r in truth] == [s.id for s in unlabelled]
    assert [r.sample.images for r in truth] == [s.images for s in unlabelled]
    assert (tmp_path / "model" / "config.json").is_file()
    assert (tmp_path / "config.yaml").is_file()
