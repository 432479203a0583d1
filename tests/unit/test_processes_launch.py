"""`mmupt launch` as a user meets it: results, resuming, and what is said when something fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny
import torch
import yaml
from safetensors.torch import load_file
from test_cli import call

from mmupt.events import Event, read_events

CLOSE = 1e-4
"""Relative, of weights after AdamW, which divides gradients by their size and their rounding with
them. Found: 2e-5. Gradients themselves: see `test_processes.py`."""
PATIENCE = 400.0
Together = tuple[str, ...]
ALONE: Together = ()
TWO: Together = ("launch", "--nproc", "2")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, talker: Path) -> Path:
    """Files of a short staged run of the talker: SFT, a round with a moving teacher, evaluation."""
    folder = tmp_path_factory.mktemp("launch")
    rows = []
    for i in range(9):
        tiny.picture(50 + i, 30, 24 + i).save(folder / f"{i}.png")
        rows.append(
            {"id": f"s{i}", "problem": f"<image>read {i % 4 * 'on '}?", "images": [f"{i}.png"]}
        )
    unlabelled = "".join(json.dumps(row) + "\n" for row in rows)
    labelled = "".join(json.dumps({**row, "answer": str(i)}) + "\n" for i, row in enumerate(rows))
    (folder / "unlabelled.jsonl").write_text(unlabelled, encoding="utf-8")
    (folder / "labelled.jsonl").write_text(labelled, encoding="utf-8")
    tree = tiny.round_config("ema", save_steps=1, max_steps=4).model_dump(mode="json")
    # As two processes they share the optimizer's state out; holding it whole, gradients are summed
    # as in test_processes.py.
    tree["train"]["zero_stage"] = 1
    tree = {k: tree[k] for k in ("seed", "save_steps", "consensus", "train", "guard")} | {
        "model": {"path": str(talker), "device": "cpu"},
        "data": {
            "labelled": "labelled.jsonl",
            "unlabelled": "unlabelled.jsonl",
            "test": "labelled.jsonl",
        },
        "sft": {"num_train_epochs": 1, "per_device_train_batch_size": 5, "learning_rate": 1e-3},
        "eval": {"num_samples": 2, "max_completion_length": 4, "steps": 2},
        "gate": None,  # nine rows prove nothing
        "pilot": {"rows": 6, "require": "nothing"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder


def start(how: Together, material: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["TMPDIR"] = str(material)  # a killed launcher leaves its logs behind
    words = [*how, "run", str(material / "config.yaml"), "--out", str(out), "--json", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "mmupt.cli", *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(how: Together, material: Path, out: Path) -> dict[str, Any]:
    process = start(how, material, out)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert stderr == ""
    metrics: dict[str, Any] = json.loads(stdout)  # once, by the main process
    return metrics


def wait_for(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ranks(out: Path) -> dict[str, int]:
    """Rank -> process id of what runs in a folder."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            settings = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(out).encode() in words:
            found |= {s[5:].decode(): int(folder.name) for s in settings if s.startswith(b"RANK=")}
    return found


def ended(out: Path) -> bool:
    """No process of the run is left, given a moment."""
    deadline = time.monotonic() + 10
    while ranks(out) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not ranks(out)


def weights(out: Path, stage: str = "round-1") -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / stage / "model.safetensors")


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """But for biases of keys: they cancel in the softmax, their gradients are rounding alone."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if not name.endswith("k_proj.bias"):
            assert float((found[name] - tensor).norm() / tensor.norm()) < CLOSE, name


def events(out: Path) -> list[Event]:
    return list(read_events(out / "events.jsonl"))


def records(out: Path) -> list[Any]:
    paths = sorted((out / "rollouts").iterdir())
    assert [path.name for path in paths] == [f"round-1-{step:06d}.parquet" for step in (1, 2, 3, 4)]
    return [pq.read_table(path).to_pylist() for path in paths]


@pytest.fixture(scope="module")
def one(material: Path) -> tuple[Path, dict[str, Any]]:
    out = material / "one"
    return out, finish(ALONE, material, out)


@pytest.fixture(scope="module")
def two(material: Path) -> tuple[Path, dict[str, Any]]:
    out = material / "two"
    return out, finish(TWO, material, out)


def test_a_run_in_two_processes_is_that_of_one(
    one: tuple[Path, dict[str, Any]], two: tuple[Path, dict[str, Any]], talker: Path
) -> None:
    for stage in ("sft", "round-1"):
        assert_close(weights(two[0], stage), weights(one[0], stage))
    before, after = load_file(talker / "model.safetensors"), weights(one[0])
    assert max(float((after[name] - t).norm() / t.norm()) for name, t in before.items()) > 0.01
    assert records(two[0]) == records(one[0])  # labels, answers, rewards, advantages
    for mine, theirs in zip(two[1]["stages"], one[1]["stages"], strict=True):
        assert [k for k in theirs if "seconds" not in k and mine[k] != theirs[k]] == []
    kinds = [[event["type"] for event in events(out)] for out in (one[0], two[0])]
    assert kinds[0] == kinds[1]  # written by one of them, once
    assert kinds[0].count("grpo_step") == 4
    first = events(two[0])[0]
    assert (first["type"], first["processes"]) == ("run_started", 2)


@pytest.fixture(scope="module")
def killed(material: Path) -> Path:
    """A run whose second process was killed after the first update of the round."""
    out = material / "killed"
    process = start(TWO, material, out)
    wait_for((out / "state" / "round-1" / "000001").exists, process)
    os.kill(ranks(out)["1"], signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert ended(out)
    assert process.returncode == 128 + signal.SIGKILL
    assert stdout == ""
    said = (
        "mmupt: process 1 was ended by SIGKILL; the same command goes on where this stopped; logs: "
    )
    assert stderr.startswith(said)
    assert stderr.count("\n") == 1  # no traceback, of torchrun or of the other process
    logs = Path(stderr.removeprefix(said).strip())
    assert "exitcode: -9" in (logs / "torchrun.log").read_text(encoding="utf-8")
    shutil.rmtree(logs)
    assert not (out / "checkpoints" / "round-1").exists()
    return out


def test_two_go_on_where_two_were_killed(
    material: Path, killed: Path, two: tuple[Path, dict[str, Any]]
) -> None:
    out = material / "two again"
    shutil.copytree(killed, out)
    finish(TWO, material, out)
    resumed = [e for e in events(out) if e["type"] == "run_resumed"]
    assert [(e["stage"], e["step"] >= 1) for e in resumed] == [("round-1", True)]
    expected = weights(two[0])
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(out).items())


def test_one_goes_on_where_two_were_killed(
    material: Path, killed: Path, one: tuple[Path, dict[str, Any]]
) -> None:
    out = material / "two, then one"
    shutil.copytree(killed, out)
    finish(ALONE, material, out)
    assert_close(weights(out), weights(one[0]))
    assert records(out) == records(one[0])


def test_two_go_on_where_one_was_killed(material: Path, one: tuple[Path, dict[str, Any]]) -> None:
    out = material / "one, then two"
    process = start(ALONE, material, out)
    wait_for((out / "state" / "round-1" / "000001").exists, process)
    process.kill()
    process.communicate()
    finish(TWO, material, out)
    assert_close(weights(out), weights(one[0]))
    assert records(out) == records(one[0])


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_ending_the_launcher_ends_all(material: Path, tmp_path: Path, name: str) -> None:
    """Ctrl-C is one line; and a launcher that is killed leaves nobody behind."""
    out = tmp_path / "out"
    process = start(TWO, material, out)
    wait_for((out / "events.jsonl").exists, process)
    process.send_signal(signal.Signals[name])
    _, stderr = process.communicate(timeout=PATIENCE)
    assert ended(out)
    if name == "SIGINT":
        assert process.returncode == 130
        assert stderr == "mmupt: interrupted; the same command goes on where this stopped\n"


def test_an_error_of_all_is_told_once(material: Path, tmp_path: Path) -> None:
    process = start(TWO, material, tmp_path / "out", "--set", "train.views=5")
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout) == (2, "")
    assert "num_generations (16) is not a multiple of views (5)" in stderr
    assert stderr.startswith("mmupt: ")
    assert stderr.count("\n") == 1


# What is decided before anything starts


def test_dry_run_prints_a_command_of_torchrun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    code, out, _ = call(
        monkeypatch, capsys, "launch", "--nproc", "3", "--nnodes", "2", "--rdzv-backend", "c10d",
        "--rdzv-endpoint", "far:29400", "--dry-run", "sft", "--model", "m", "--data", "a b", "--out", "o",
    )  # fmt: skip
    assert code == 0
    assert out == (
        "OMP_NUM_THREADS=2 MMUPT_PROCESSES=6 "
        f"{sys.executable} -m torch.distributed.run --nnodes=2 --rdzv-backend=c10d "
        "--rdzv-endpoint=far:29400 --nproc-per-node=3 --redirects=1:3,2:3 -m mmupt.cli "
        "sft --model m --data 'a b' --out o\n"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["vote"], "'vote' is none of them"),
        (["training"], "'training' is none of them"),
        (["train", "--modl", "m"], "No such option"),
        (["train", "--model", "m"], "Missing option"),
        (["--nproc", "0", "train"], "greater than or equal to 1"),
    ],
)
def test_a_mistake_ends_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: str,
) -> None:
    code, out, err = call(monkeypatch, capsys, "launch", "--nproc", "2", *words)
    assert (code, out) == (2, "")
    assert expected in " ".join(err.split())
