"""Does a round by TRL's trainer gain what the local engine gains?

    .venv-trl/bin/python benchmarks/trl_gain.py --out runs/trl-gain

The demo's base model is fine-tuned on 100 labelled panels; from the result one label-free round is
trained with the same settings by the local engine, by TRL in one process, and by TRL in two
processes through torchrun; and by the local engine with two other seeds, as intervals over
questions say nothing of what other draws would have given. Every model answers the 600 held-out
panels of other writers, 8 samples each; `mmupt compare` says what was gained and how surely.

Parts that are finished are not repeated. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mmupt.demo import write_demo_data

MMUPT = [
    sys.executable,
    "-c",
    "import sys; from mmupt.cli import main; sys.argv[0] = 'mmupt'; main()",
]
SAME = ("train.prompts_per_step=32", "train.num_generations=8", "train.views=4")
"""A quarter of the demo's rows, as TRL runs the prompt and its picture once per completion."""
METRICS = ("greedy", "mean")
"""The most likely reply, and the mean over the samples."""
ARMS = {
    "local": ([], "local", 0),
    "trl, one process": ([], "trl", 0),
    "trl, two processes": (["launch", "--nproc", "2"], "trl", 0),
    "local, seed 1": ([], "local", 1),
    "local, seed 2": ([], "local", 2),
}
"""How it is started, by which engine, and further from the seed of the data."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/trl-gain"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--micro-batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    data = args.out / "data"
    if not (data / "config.yaml").exists():
        write_demo_data(data, args.seed)
    settings = [
        *SAME, f"train.max_steps={args.steps}", f"train.micro_batch_size={args.micro_batch_size}",
        f"num_threads={args.threads}",
    ]  # fmt: skip
    common = ["--config", str(data / "config.yaml")]
    common += [word for one in settings for word in ("--set", one)]
    start = args.out / "sft"
    words = ["sft", "--model", data / "model", "--data", data / "train.jsonl", "--out", start]
    run([*words, *common], start / "metrics.json")
    before = evaluate(start, args.out / "eval" / "sft", data, common)
    arms: dict[str, Any] = {}
    for name, (launcher, engine, seed) in ARMS.items():
        folder = args.out / name.replace(", ", "-").replace(" ", "-")
        words = [*launcher, "train", "--engine", engine, "--model", start / "model"]
        words += ["--data", data / "unlabelled.jsonl", "--out", folder]
        words += ["--seed", args.seed + seed]
        took = run([*words, *common], folder / "metrics.json")
        after = evaluate(folder, args.out / "eval" / folder.name, data, common)
        arms[name] = {"seconds": took, **compared(before, after, args.out / f"{folder.name}.json")}
    for metric in METRICS:
        local = [arms[name][metric]["interval"] for name, arm in ARMS.items() if arm[1] == "local"]
        widest = [min(low for low, _ in local), max(high for _, high in local)]
        for arm in arms.values():
            found = arm[metric]
            found["within_local"] = local[0][0] <= found["gain"] <= local[0][1]
            found["within_local_seeds"] = widest[0] <= found["gain"] <= widest[1]
    for name, arm in arms.items():
        told = (f"{metric} {points(arm[metric])}" for metric in METRICS)
        print(f"{name}: {', '.join(told)}")
    print(json.dumps({"arms": arms, "settings": settings}, ensure_ascii=False))


def points(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{100 * figure['gain']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def run(words: list[Any], done: Path) -> float | None:
    """A verb of mmupt, unless its last file is there; the seconds it took."""
    if done.exists():
        return None
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*MMUPT, *map(str, words)], check=True, env=environment)
    return time.perf_counter() - started


def evaluate(model: Path, out: Path, data: Path, common: list[str]) -> Path:
    words = ["eval", "--model", model / "model", "--data", data / "test.jsonl", "--out", out]
    run([*words, "--samples", "8", *common], out / "metrics.json")
    return out


def compared(before: Path, after: Path, out: Path) -> dict[str, Any]:
    words = ["compare", str(before), str(after), "--out", str(out), "--json"]
    subprocess.run([*MMUPT, *words], check=True, stdout=subprocess.DEVNULL)
    figures = json.loads(out.read_text(encoding="utf-8"))["figures"]
    return {
        figure["metric"]: {
            "before": figure["before"], "after": figure["after"], "gain": figure["change"],
            "interval": [figure["low"], figure["high"]],
        }
        for figure in figures
        if figure["metric"] in METRICS
    }  # fmt: skip


if __name__ == "__main__":
    main()
