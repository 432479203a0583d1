"""A project that is killed wherever it can hurt ends like one that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

BOUNDARIES = [
    "base", "base/evaluate", "sft", "sft/evaluate", "sft/gate", "sft/promote", "pilot",
    *(f"round-1/{part}" for part in ("train", "evaluate", "audit", "gate", "promote")),
    *(f"round-2/{part}" for part in ("train", "evaluate", "audit", "gate", "promote")),
]  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two projects of two rounds, the second added: one undisturbed, one killed 33 times."""
    folder = tmp_path_factory.mktemp("project")
    worker = Path(__file__).with_name("project_worker.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(worker), str(folder)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads((folder / "found.json").read_text(encoding="utf-8")))


def test_every_stage_is_finished_once_in_its_order(found: dict[str, Any]) -> None:
    assert found["whole"]["finished"] == BOUNDARIES
    # The event of a step that was killed between its record and the event is the one thing lost.
    assert found["torn"]["finished"] == BOUNDARIES
    # Every boundary, and some points between two of them.
    assert found["deaths of round-1"] + found["deaths of round-2"] >= len(BOUNDARIES) + 12


def test_models_verdicts_and_aliases_are_those_of_the_undisturbed_run(
    found: dict[str, Any],
) -> None:
    whole, torn = found["whole"], found["torn"]
    assert list(whole["versions"]) == ["base", "sft", "round-1", "round-2"]
    assert len(set(whole["versions"].values())) == 4  # control: training did change them
    for key in ("versions", "lineage", "aliases", "history", "audits", "verdicts", "taken"):
        assert torn[key] == whole[key], key
    assert whole["aliases"] == {"champion": "round-2", "previous": "round-1"}
    assert [name for name, *_ in torn["audits"]] == ["round-1", "round-2"]
    for name, subject, _, items in torn["audits"]:
        assert subject == torn["versions"][name]
        units = [unit for unit, *_ in torn["verdicts"][name]]
        assert len(units) == len(set(units)) <= items  # each judged once
    assert torn["state"] == whole["state"] == "done"


def test_every_version_is_let_through_and_promoted_once(found: dict[str, Any]) -> None:
    torn = found["torn"]
    promoted = [version for kind, version, _ in torn["history"] if kind == "promote"]
    assert promoted == ["base", "sft", "round-1", "round-2"]
    assert sorted(map(tuple, torn["decisions"])) == [
        (name, "pass") for name in ("round-1", "round-2", "sft")
    ]


def test_the_ledger_has_everything_once(found: dict[str, Any]) -> None:
    ledgers = [
        {key: (stage, kind, quantity) for key, stage, kind, quantity in found[name]["ledger"]}
        for name in ("whole", "torn")
    ]
    whole, torn = ledgers
    assert whole.keys() == torn.keys()
    assert len(torn) == len(found["torn"]["ledger"])
    for key, (stage, kind, quantity) in whole.items():
        if kind in ("labels", "audited_labels", "review_seconds"):
            assert torn[key][2] == quantity, key
        elif kind == "tokens":  # those of updates that were made again were used up, too
            assert torn[key][2] >= quantity, key
        else:
            assert torn[key][2] > 0, key
        assert torn[key][:2] == (stage, kind)
    labels = {stage: n for stage, kind, n in torn.values() if kind == "labels"}
    anchors = len(found["torn"]["taken"]["anchors"])
    assert labels == {"sft": 60, "round-1/train": 0, "round-2/train": anchors}
    audited = Counter(stage for stage, kind, _ in torn.values() if kind == "audited_labels")
    assert audited == {
        f"{name}/audit": len(given) for name, given in found["torn"]["verdicts"].items()
    }


def test_the_second_round_takes_what_people_said_of_the_first(found: dict[str, Any]) -> None:
    """Worked out from the verdicts: wrong labels stay out, right answers are anchors, confirmed
    ones choose the checkpoint."""
    torn = found["torn"]
    said = {unit: (kind, answer) for unit, kind, answer in torn["verdicts"]["round-1"]}
    corrected = sorted([1, unit, answer] for unit, (kind, answer) in said.items() if answer)
    accepted = [unit for unit, (kind, _) in said.items() if kind == "accept"]
    assert torn["taken"]["anchors"] == corrected
    assert torn["taken"]["quarantined"] == [unit for _, unit, _ in corrected]
    assert [unit for _, unit, _ in torn["taken"]["audited"]] == sorted(accepted)
    assert corrected, "control: there is something to learn from"
    assert accepted, "control: and something to choose by"
    assert torn["anchored"] >= found["whole"]["anchored"] == 5 * 2  # a quarter of 8, five updates
    assert torn["lineage"]["round-2"]["audits"] == ["round-1"]
    # What people were asked about once is not asked again: it is not trained on by votes.
    again = {unit for unit, *_ in torn["verdicts"]["round-2"]}
    assert not again & set(said)


def test_metrics_are_the_same_but_for_time(found: dict[str, Any]) -> None:
    timings = {"seconds", "evaluation_seconds"}
    whole, torn = (found[name]["metrics"] for name in ("whole", "torn"))
    for one, other in zip(whole["stages"], torn["stages"], strict=True):
        assert {k: v for k, v in one.items() if k not in timings} == {
            k: v for k, v in other.items() if k not in timings
        }
    assert torn["labels_used"] == 60 + len(found["torn"]["taken"]["anchors"])
    assert whole["project"] == torn["project"]


def test_run_again_a_finished_project_does_nothing(found: dict[str, Any]) -> None:
    assert found["again"] == found["torn"]
