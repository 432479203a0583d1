"""What a GRPO step of ours costs against G, image tokens and prompts.

    python benchmarks/scaling.py

The step of `step_vs_trl`, 256 image tokens, G = 8 and 16 new tokens where not said otherwise, one
thread, CPU seconds; the least of two after one that warms up.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import step_vs_trl
import tiny_qwen
import torch


def seconds(folder: Path, image_tokens: int, group: int, prompts: int) -> float:
    step_vs_trl.PROMPTS = prompts
    ours = step_vs_trl.Ours(folder, image_tokens, group, 16, 2)
    took = []
    for _ in range(3):
        started = time.process_time()
        ours.step()
        took.append(time.process_time() - started)
    return round(min(took[1:]), 2)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_qwen.save_model(Path(scratch) / "model")
        group = {str(g): seconds(folder, 256, g, 8) for g in (4, 8, 16, 32, 64)}
        image = {str(t): seconds(folder, t, 8, 8) for t in (16, 64, 256, 1024)}
        prompts = {str(n): seconds(folder, 256, 8, n) for n in (2, 4, 8, 16)}
    found = {
        "bench": "scaling",
        "group_cpu_s": group,
        "image_tokens_cpu_s": image,
        "prompts_cpu_s": prompts,
        "g64_over_g8": round(group["64"] / group["8"], 2),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
