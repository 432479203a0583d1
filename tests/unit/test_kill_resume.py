"""`mmupt demo` killed with SIGKILL again and again ends as if nothing had happened."""

from __future__ import annotations

import json
import random
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import demo_worker
from safetensors.numpy import load_file

SMALL = {
    "num_threads": 1,
    "save_steps": 1,
    "sft.num_train_epochs": 2,
    "train.rounds": 2,
    "train.max_steps": 4,
    "train.prompts_per_step": 4,
    "train.num_generations": 4,
    "train.views": 2,
    "consensus.views": 2,
    "guard.probe_size": 8,
    "guard.probe_views": 2,
    "guard.jury_views": 2,
    "guard.action": "warn",  # so small a model changes too much; both rounds have to run
    "consensus.min_share": 0.5,
    "consensus.teacher": "ema",
    "eval.num_samples": 2,
    "eval.limit": 20,
    "eval.steps": 2,
    "pilot.rows": 12,
    "gate": "null",  # nor can it prove anything; both rounds are to follow each other
}
KILLS = 5
PATIENCE = 300.0
"""Seconds after which a run that does not move is taken for hung."""


def start(out: Path) -> ForkServerProcess:
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    words = ["demo", "--out", str(out), "--seed", "3", "--json", *settings]
    return demo_worker.start(words, out.with_suffix(".out"), out.with_suffix(".err"))


def progress(out: Path) -> int:
    """Steps and evaluations so far, repeated ones included."""
    path = out / "events.jsonl"
    text = path.read_bytes() if path.exists() else b""
    return sum(
        text.count(b'"type": "%s"' % kind) for kind in (b"sft_step", b"grpo_step", b"evaluated")
    )


def kill_after(out: Path, more: int, jitter: float) -> bool:
    """Kill a run some steps from now; False when it was done before."""
    wanted, process = progress(out) + more, start(out)
    deadline = time.monotonic() + PATIENCE
    while process.is_alive() and progress(out) < wanted:
        assert time.monotonic() < deadline, "the run does not move"
        time.sleep(0.005)
    time.sleep(jitter)
    if not process.is_alive():
        return False
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def finish(out: Path) -> dict[str, object]:
    process = start(out)
    process.join(PATIENCE)
    assert process.exitcode == 0, out.with_suffix(".err").read_text(encoding="utf-8")
    metrics: dict[str, object] = json.loads(out.with_suffix(".out").read_bytes())
    return metrics


def test_five_kills_change_nothing(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    expected = finish(whole)
    total = progress(whole)
    rng = random.Random(7)
    killed = sum(
        kill_after(torn, rng.randint(1, total // KILLS), rng.random() * 0.2) for _ in range(KILLS)
    )
    assert killed == KILLS
    found = finish(torn)
    for stage in ("sft", "round-1", "round-2"):
        a, b = (
            load_file(out / "checkpoints" / stage / "model.safetensors") for out in (whole, torn)
        )
        assert a.keys() == b.keys()
        for name, tensor in a.items():
            assert tensor.tobytes() == b[name].tobytes(), (stage, name)
    timings = {"seconds", "evaluation_seconds", "part_seconds"}
    for one, other in zip(expected["stages"], found["stages"], strict=True):  # type: ignore[call-overload]
        assert {k: v for k, v in one.items() if k not in timings} == {
            k: v for k, v in other.items() if k not in timings
        }
    kinds = [
        json.loads(line)["type"]
        for line in (torn / "events.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert "run_resumed" in kinds
    for file in sorted(p.name for p in (whole / "rollouts").iterdir()):
        assert (torn / "rollouts" / file).is_file(), file
