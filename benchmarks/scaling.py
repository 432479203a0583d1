"""What a GRPO step of ours costs against G, image tokens, prompts and processes.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --only processes

The step of `step_vs_trl`: eight prompts, 256 image tokens, G = 8 and 16 new tokens where not said
otherwise; one thread, CPU seconds; the least of two after one that warms up.

Processes are started by torchrun as `mmupt launch` does it, with gloo and one thread each, and
share the same eight prompts and one update. Of the fastest step, by its slowest process, the CPU
seconds of each process are told and the wall seconds of the step: those only count on a machine
with as many idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import step_vs_trl
import tiny_qwen
import torch

AGAINST = {
    "group": (4, 8, 16, 32, 64),
    "image_tokens": (16, 64, 256, 1024),
    "prompts": (2, 4, 8, 16),
}
PROCESSES = (1, 2)


def seconds(folder: Path, image_tokens: int, group: int, prompts: int) -> float:
    """CPU seconds of a step."""
    step_vs_trl.PROMPTS = prompts
    ours = step_vs_trl.Ours(folder, image_tokens, group, 16, 2)
    took = []
    for _ in range(3):
        started = time.process_time()
        ours.step()
        took.append(time.process_time() - started)
    return round(min(took[1:]), 2)


def work(folder: Path) -> None:
    """One of several processes: the steps that they do together."""
    from mmupt.processes import connect, disconnect

    processes = connect()
    ours = step_vs_trl.Ours(folder, 256, 8, 16, 2, processes)
    steps = []
    for _ in range(3):
        processes.wait()
        cpu, wall = time.process_time(), time.perf_counter()
        ours.step()
        own = time.process_time() - cpu, time.perf_counter() - wall
        steps.append(processes.gather(own))
    if processes.main:
        fastest = min(steps[1:], key=lambda step: max(cpu for cpu, _ in step))
        found = {
            "cpu_s": [round(cpu, 2) for cpu, _ in fastest],
            "wall_s": round(max(wall for _, wall in fastest), 2),
        }
        (folder.parent / "found.json").write_text(json.dumps(found))
    disconnect()


def together(folder: Path, count: int) -> dict[str, Any]:
    """CPU seconds of each of `count` processes, and wall seconds, of a step."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={count}", __file__, "--work", str(folder)],
        check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found: dict[str, Any] = json.loads((folder.parent / "found.json").read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[*AGAINST, "processes"], help="one of the four alone")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.work:
        work(given.work)
        return
    found: dict[str, Any] = {"bench": "scaling"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_qwen.save_model(Path(scratch) / "model")
        usual = {"image_tokens": 256, "group": 8, "prompts": 8}
        for name, values in AGAINST.items():
            if given.only in (None, name):
                found[f"{name}_cpu_s"] = {
                    str(v): seconds(folder, **{**usual, name: v}) for v in values
                }
        if "group_cpu_s" in found:
            group = found["group_cpu_s"]
            found["g64_over_g8"] = round(group["64"] / group["8"], 2)
        if given.only in (None, "processes"):
            found["processes"] = {str(n): together(folder, n) for n in PROCESSES}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
