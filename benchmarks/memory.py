"""Predicted against measured peak memory of a training step: `mmupt check` and the real thing.

    .venv/bin/python benchmarks/memory.py

For each setting one process predicts, and another runs the steps - rollouts and update with AdamW,
the whole `prompts_per_step` with full-length replies - and tells the peak of its resident memory
above what it had before the model was loaded. The last line is one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SETTINGS: tuple[dict[str, Any], ...] = (
    {"hidden": 128, "image_tokens": 16, "generations": 8, "reply": 32, "prompts": 8},
    {"hidden": 256, "image_tokens": 64, "generations": 8, "reply": 32, "prompts": 8},
    {"hidden": 256, "image_tokens": 256, "generations": 4, "reply": 16, "prompts": 8},
    {"hidden": 256, "image_tokens": 256, "generations": 16, "reply": 32, "prompts": 4},
    {"hidden": 512, "image_tokens": 64, "generations": 8, "reply": 16, "prompts": 8},
    {"hidden": 512, "image_tokens": 256, "generations": 8, "reply": 16, "prompts": 8,
     "more": ["train.micro_batch_size=2"]},
    {"hidden": 512, "image_tokens": 64, "generations": 4, "reply": 16, "prompts": 8,
     "more": ["train.beta=0.1", "consensus.teacher=frozen"]},
    {"hidden": 512, "image_tokens": 64, "generations": 8, "reply": 16, "prompts": 8,
     "more": ["model.dtype=bfloat16"]},
)  # fmt: skip
WITHIN = 0.25


def main() -> None:
    rows, worst = [], 0.0
    for setting in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), setting)
            predicted = ask("predict", folder, setting)
            measured = ask("measure", folder, setting)
        error = predicted / measured - 1
        worst = max(worst, abs(error))
        rows.append({**setting, "predicted_mb": predicted, "measured_mb": measured,
                     "error": round(error, 3)})  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"settings": len(rows), "worst_error": round(worst, 3), "within": WITHIN,
                      "ok": worst <= WITHIN}))  # fmt: skip


def prepare(folder: Path, setting: dict[str, Any]) -> None:
    """Write the model and one picture for each prompt."""
    run("prepare", str(folder), setting)


def ask(what: str, folder: str, setting: dict[str, Any]) -> float:
    return float(run(what, folder, setting).splitlines()[-1])


def run(what: str, folder: str, setting: dict[str, Any]) -> str:
    command = [sys.executable, __file__, what, folder, json.dumps(setting)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def configured(setting: dict[str, Any]) -> Any:
    from mmupt.config import load_config

    return load_config(
        None,
        [
            "consensus.teacher=online",
            "guard.action=none",
            f"train.prompts_per_step={setting['prompts']}",
            f"train.num_generations={setting['generations']}",
            f"train.max_completion_length={setting['reply']}", *setting.get("more", ()),
        ],
    )  # fmt: skip


def worker(what: str, folder: Path, setting: dict[str, Any]) -> None:
    import torch

    sys.path.insert(0, str(Path(__file__).parent))
    import tiny_qwen

    torch.set_num_threads(1)
    if what == "prepare":
        tiny_qwen.save_model(folder / "model", hidden=setting["hidden"])
        for i in range(setting["prompts"]):
            tiny_qwen.picture(setting["image_tokens"], i).save(folder / f"{i}.png")
        return
    tiny_qwen.operators()
    from mmupt.types import Sample

    samples = [
        Sample(str(i), "<image>What does it show?", (folder / f"{i}.png",))
        for i in range(setting["prompts"])
    ]
    function = predict if what == "predict" else measure
    print(function(folder / "model", samples, configured(setting)))


def predict(model: Path, samples: list[Any], config: Any) -> float:
    from mmupt.check.run import run_check

    report = run_check(model, samples, config)
    assert report.exit_code == 0, report.json()
    assert report.memory_mb is not None
    return report.memory_mb


def measure(model: Path, samples: list[Any], config: Any) -> float:
    """Three steps; the first makes the optimizer's moments."""
    import gc

    import numpy as np
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from mmupt.asking.maker import PromptMaker
    from mmupt.policy.model import load_policy
    from mmupt.train.optim import make_optimizer
    from mmupt.train.rollout import roll_out
    from mmupt.train.update import ScoredGroup, update

    AutoProcessor.from_pretrained(model)
    assert AutoModelForImageTextToText
    maker = PromptMaker(config.views, max_pixels=config.model.max_pixels, seed=0)
    before = status("VmRSS")
    policy = load_policy(model, device="cpu", dtype=config.model.dtype)
    policy.__dict__["stop_ids"] = (2**31 - 1,)  # full-length replies: nothing ends a turn
    teacher = policy.reference() if config.consensus.teacher == "frozen" else None
    optimizer = make_optimizer(policy.model, config.train.learning_rate, config.train.weight_decay)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of loading is not that of a step
    for step in range(3):
        groups = roll_out(policy, samples, maker, config.train, seed=0, step=step)
        assert all(len(c.token_ids) == config.train.max_completion_length
                   for g in groups for c in g.completions)  # fmt: skip
        advantages = np.resize([0.5, -0.5], config.train.num_generations)
        scored = [ScoredGroup(group, advantages) for group in groups]
        update(policy, optimizer, scored, config.train, teacher if config.train.beta else None)
    return round((status("VmHWM") - before) / 1e6, 1)


def status(name: str) -> int:
    """A figure of this process's memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        worker(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
    else:
        main()
