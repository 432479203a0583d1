"""Rounds by TRL's own GRPOTrainer; run by `make test-trl`, skipped where TRL is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny
import torch
import yaml
from safetensors.torch import load_file

from mmupt import extract, vote
from mmupt.events import read_events

pytest.importorskip("trl")
pytest.importorskip("datasets")

MMUPT = [
    sys.executable,
    "-c",
    "import sys; from mmupt.cli import main; sys.argv[0] = 'mmupt'; main()",
]
TWO = [*MMUPT, "launch", "--nproc", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, talker: Path) -> Path:
    folder = tmp_path_factory.mktemp("trl")
    rows = []
    for i in range(9):
        tiny.picture(50 + i, 30, 24 + i).save(folder / f"{i}.png")
        rows.append({"id": f"s{i}", "problem": f"<image>read {i}?", "images": [f"{i}.png"]})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "unlabelled.jsonl").write_text(lines, encoding="utf-8")
    config = tiny.round_config("ema", save_steps=2, max_steps=4).model_dump(mode="json")
    tree: dict[str, Any] = {k: config[k] for k in ("seed", "save_steps", "consensus", "guard")}
    tree["train"] = {
        "max_steps": 4, "prompts_per_step": 4, "num_generations": 8, "temperature": 0.7,
        "max_completion_length": 3, "learning_rate": 3e-3, "warmup_steps": 1,
        "micro_batch_size": 8, "beta": 0.0,
    }  # fmt: skip
    tree["num_threads"] = 1
    tree["eval"] = {"max_completion_length": 3}
    (folder / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder


def command(
    material: Path, talker: Path, out: Path, together: list[str] = MMUPT, *more: str
) -> list[str]:
    return [
        *together, "train", "--engine", "trl", "--model", str(talker),
        "--data", str(material / "unlabelled.jsonl"), "--config", str(material / "config.yaml"),
        "--out", str(out), *more,
    ]  # fmt: skip


def train(*args: Any) -> Path:
    words = command(*args)
    run = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return Path(args[2])


@pytest.fixture(scope="module")
def alone(material: Path, talker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(material, talker, tmp_path_factory.mktemp("runs") / "alone")


def rollouts(out: Path) -> list[dict[str, Any]]:
    files = sorted((out / "rollouts").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_a_round_learns_and_leaves_the_same_records(alone: Path, talker: Path) -> None:
    events = list(read_events(alone / "events.jsonl"))
    steps = [event for event in events if event["type"] == "grpo_step"]
    assert [event["step"] for event in steps] == [1, 2, 3, 4]
    assert {event["engine"] for event in steps} == {"trl"}
    assert all(event["grad_norm"] > 0 for event in steps)
    assert any(event["type"] == "guard_look" for event in events)
    before, after = (
        load_file(talker / "model.safetensors"),
        load_file(alone / "model" / "model.safetensors"),
    )
    assert any(not torch.equal(before[name], after[name]) for name in after)
    rows = rollouts(alone)
    assert len(rows) == 16
    assert all(len(row["completions"]) == 8 and row["pseudo_label"] for row in rows if row["kept"])
    metrics = json.loads((alone / "metrics.json").read_text())
    assert metrics["labels_used"] == 0


def test_rewards_are_agreement_with_the_teacher_s_label(alone: Path) -> None:
    from mmupt import partition

    checked = 0
    for row in rollouts(alone):
        if not row["kept"]:
            assert set(row["rewards"]) == {0.0}
            continue
        label, *classes = partition([row["pseudo_label"], *row["answers"]])
        assert row["rewards"] == [float(one is not None and one == label) for one in classes]
        checked += 1
    assert checked


def test_two_processes_vote_on_whole_groups(material: Path, talker: Path, tmp_path: Path) -> None:
    """Online votes, two processes, four rows of each at a time: groups of 8 span both."""
    out = train(
        material, talker, tmp_path / "two", TWO,
        "--set", "consensus.teacher=online", "--set", "train.micro_batch_size=4",
        "--set", "train.prompts_per_step=1", "--set", "guard.action=none", "--set", "train.max_steps=6",
    )  # fmt: skip
    rows, split = rollouts(out), 0
    assert len(rows) == 6
    for row in rows:
        answers = [
            None if cut else extract(text, prompt=row["prompt"])
            for text, cut in zip(row["completions"], row["truncated"], strict=True)
        ]
        assert row["answers"] == answers
        assert row["rewards"] == list(vote(answers).rewards)
        plain = [*vote(answers[:4]).rewards, *vote(answers[4:]).rewards]
        split += plain != row["rewards"]
    assert split  # votes of each process by itself would have rewarded otherwise


def test_two_views_by_two_processes(material: Path, talker: Path, tmp_path: Path) -> None:
    out = train(
        material, talker, tmp_path / "views", TWO,
        "--set", "train.views=2", "--set", "train.max_steps=2", "--set", "guard.probe_views=2",
    )  # fmt: skip
    rows = rollouts(out)
    assert len(rows) == 8
    assert all(row["views"] == [0] * 4 + [1] * 4 for row in rows)


def test_a_killed_round_goes_on_and_ends_the_same(
    material: Path, talker: Path, alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    run = subprocess.Popen(command(material, talker, out), env=ENVIRONMENT, stderr=subprocess.PIPE)
    events = out / "events.jsonl"
    while run.poll() is None:
        if events.exists() and '"step": 3' in events.read_text(encoding="utf-8"):
            os.kill(run.pid, signal.SIGKILL)
            break
    run.communicate()
    assert list((out / "state" / "round-1" / "trl").glob("checkpoint-2"))
    train(material, talker, out)
    assert any(event["type"] == "run_resumed" for event in read_events(events))
    one, other = (load_file(p / "model" / "model.safetensors") for p in (alone, out))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_not_offered_costs_nothing(material: Path, talker: Path, tmp_path: Path) -> None:
    words = command(material, talker, tmp_path / "out", MMUPT, "--set", "train.dynamic_sampling=true")
    run = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.strip().splitlines()[-1].startswith("mmupt: train.dynamic_sampling is not offered")
    assert not (tmp_path / "out").exists()
