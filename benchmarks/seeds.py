"""The demo over several seeds: `python benchmarks/seeds.py --seeds 0 1 2 --out runs/seeds`.

Runs `mmupt demo --compare` once per seed (about five minutes each on two cores; finished ones are
not repeated) and prints the table of README and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean


def run(seed: int, out: Path) -> dict:
    started = time.perf_counter()
    command = [sys.executable, "-m", "mmupt.cli", "demo", "--compare", "--seed", str(seed)]
    subprocess.run([*command, "--out", str(out), "--json"], check=True, capture_output=True)  # noqa: S603
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    print(f"seed {seed}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return metrics


def row(name: str, stage: dict) -> str:
    figures = " | ".join(
        f"{100 * stage[key]:.1f}" for key in ("greedy", "mean", "majority", "pass", "vote_share")
    )
    return f"| {name} | {stage['name']} | {stage['labels_used']} | {figures} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    args = parser.parse_args()
    results = {seed: run(seed, args.out / f"seed-{seed}") for seed in args.seeds}
    print("| seed | stage | labels | greedy | sampled | majority@8 | pass@8 | vote share |")
    print("|---|---|---|---|---|---|---|---|")
    for seed, metrics in results.items():
        for stage in [*metrics["stages"], *metrics["arms"].values()]:
            print(row(str(seed), stage))
    gains = {
        key: [100 * metrics["gain"][key] for metrics in results.values()]
        for key in ("greedy", "mean")
    }
    recovered = {
        key: [metrics["recovered"][key] for metrics in results.values()]
        for key in ("greedy", "mean")
    }
    summary = {
        "bench": "seeds",
        "seeds": args.seeds,
        "n": [m["stages"][0]["n"] for m in results.values()],
        "gain_points": {k: [round(v, 1) for v in values] for k, values in gains.items()},
        "gain_points_mean": {k: round(fmean(values), 1) for k, values in gains.items()},
        "recovered": {k: [round(v, 2) for v in values] for k, values in recovered.items()},
        "recovered_mean": {k: round(fmean(values), 2) for k, values in recovered.items()},
        "seconds": [round(m["seconds"]) for m in results.values()],
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
