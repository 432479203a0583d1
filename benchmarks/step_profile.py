"""Where a step's time goes, and which share of the machine's matmul rate each part reaches.

    python benchmarks/step_profile.py [--image-tokens 256] [--group 8] [--new-tokens 16]
    python benchmarks/step_profile.py --compile layers

The steps of `step_vs_trl`, ours alone: eight prompts, two at a time, one thread. Of `--repeats`
steps after the first the fastest is shown, with what `grpo_step` events have by part; but in CPU
seconds, so that other work on the machine counts less.

`--compile` puts `torch.compile` (inductor, shapes of any size) around parts of the model first:
`layers` around every layer of both towers, `mlp` around their MLPs alone, which are all in one
graph. The last line then has the first step's `warm_up_cpu_s`, compilers and all they start
included, beside the steady step; what does not compile fails loudly.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch

PARTS = {
    "layers": ("Qwen2_5_VLDecoderLayer", "Qwen2_5_VLVisionBlock"),
    "mlp": ("Qwen2MLP", "Qwen2_5_VLMLP"),
}


def compile_parts(model: torch.nn.Module, names: tuple[str, ...]) -> int:
    """Compile every module of these classes; returns how many."""
    found = [module for module in model.modules() if type(module).__name__ in names]
    for module in found:
        module.compile(dynamic=True)
    assert found, names
    return len(found)


def all_cpu_seconds() -> float:
    """CPU seconds of this process and of those that it has started and seen end."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-tokens", type=int, default=256)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", choices=PARTS, help="what torch.compile is put around")
    given = parser.parse_args()
    torch.set_num_threads(1)
    import tiny_qwen
    from step_vs_trl import Ours

    from mmupt import clock
    from mmupt.clock import Profile, profiled
    from mmupt.policy import matmul

    for module in (clock, matmul):
        module.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_qwen.save_model(Path(scratch) / "model")
        ours = Ours(folder, given.image_tokens, given.group, given.new_tokens, batch=2)
        if given.compile:
            # Nothing that an earlier run has compiled, and in this process, so that it is seen.
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(scratch) / "compiled")
            import torch._inductor.config as inductor

            inductor.compile_threads = 1
            compile_parts(ours.policy.model, PARTS[given.compile])
        text = ours.policy.model.config.get_text_config()
        rate = matmul.matmul_rate(text.hidden_size, text.intermediate_size, torch.float32, "cpu")
        fastest, best = float("inf"), Profile()
        for turn in range(given.repeats + 1):
            everything, started = all_cpu_seconds(), time.process_time()
            with profiled() as profile:
                ours.step()
            seconds = time.process_time() - started
            if not turn:
                warm_up = all_cpu_seconds() - everything
            elif seconds < fastest:
                fastest, best = seconds, profile
    parts = {
        name: {
            "seconds": round(spent, 3),
            "gflop": round(best.flops.get(name, 0.0) / 1e9, 1),
            "matmul_share": round(best.flops.get(name, 0.0) / spent / rate, 3),
        }
        for name, spent in best.seconds.items()
    }
    for name, figures in parts.items():
        print(name, figures)
    total = sum(best.flops.values())
    whole = {
        "bench": "step_profile", "image_tokens": given.image_tokens, "group": given.group,
        "new_tokens": given.new_tokens, "seconds": round(fastest, 2),
        "gflop": round(total / 1e9, 1), "matmul_gflop_per_s": round(rate / 1e9, 1),
        "matmul_share": round(total / fastest / rate, 3), "parts": parts,
        "compile": given.compile, "warm_up_cpu_s": round(warm_up, 2),
    }  # fmt: skip
    print(json.dumps(whole))


if __name__ == "__main__":
    main()
