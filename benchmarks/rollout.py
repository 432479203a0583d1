"""Sampling G completions of each prompt: ours against `generate(num_return_sequences=G)`.

    python benchmarks/rollout.py [--group 8] [--new-tokens 32]

The Qwen2.5-VL of `tiny_qwen`, eight prompts, 256 and 1024 image tokens, one thread, CPU seconds,
interleaved; the least of `--repeats` of each. Both draw the same number of tokens of every row.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

PROMPTS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    import tiny_qwen

    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_qwen.save_model(Path(scratch) / "model")
        from mmupt.policy.model import load_policy

        policy = load_policy(folder, device="cpu")
        vars(policy)["stop_ids"] = (tiny_qwen.VOCABULARY,)  # none: all rows run to the end
        cases = [measure(policy, tokens, given) for tokens in (256, 1024)]
    print(json.dumps({"bench": "rollout", "cases": cases}))


def measure(policy: Any, image_tokens: int, given: argparse.Namespace) -> dict[str, Any]:
    import tiny_qwen

    from mmupt.asking.answerer import SamplingParams, stream_seeds
    from mmupt.asking.prompt import Prompt
    from mmupt.policy.inputs import encode
    from mmupt.policy.sampler import sample

    prompts = [
        Prompt("<image>How many are there?", (tiny_qwen.picture(image_tokens, i),))
        for i in range(PROMPTS)
    ]
    batch = encode(policy, prompts)
    rows = PROMPTS * given.group

    def ours() -> int:
        params = SamplingParams(1.0, max_completion_length=given.new_tokens)
        found = sample(policy, batch, [given.group] * PROMPTS, stream_seeds(1, count=rows), params)
        return sum(len(c.token_ids) for group in found for c in group)

    def theirs() -> int:
        with torch.no_grad():
            out = policy.model.generate(
                **batch.features, do_sample=True, top_k=0, top_p=1.0, temperature=1.0,
                num_return_sequences=given.group, max_new_tokens=given.new_tokens,
                min_new_tokens=given.new_tokens,
            )  # fmt: skip
        return int(out[:, batch.features["input_ids"].shape[1] :].numel())

    times: dict[str, list[float]] = {"ours": [], "generate": []}
    for turn in range(given.repeats + 1):
        for name, run in (("ours", ours), ("generate", theirs)):
            started = time.process_time()
            assert run() == rows * given.new_tokens
            if turn:
                times[name].append(time.process_time() - started)
    ours_s, theirs_s = min(times["ours"]), min(times["generate"])
    found = {
        "image_tokens": image_tokens, "group": given.group, "new_tokens": given.new_tokens,
        "ours_cpu_s": round(ours_s, 2), "generate_cpu_s": round(theirs_s, 2),
        "speedup": round(theirs_s / ours_s, 2),
    }  # fmt: skip
    print(found, flush=True)
    return found


if __name__ == "__main__":
    main()
