"""Questions on one picture: the vision tower once for all of them, against once for each.

    python benchmarks/one_image.py [--questions 8] [--group 8] [--new-tokens 16]

The Qwen2.5-VL of `tiny_qwen`, 256 and 1024 image tokens, one thread, CPU seconds, interleaved; the
least of `--repeats` of each: prefill, whole rollout, and forward and backward of training.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=16)
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
    print(json.dumps({"bench": "one_image", "cases": cases}))


def measure(policy: Any, image_tokens: int, given: argparse.Namespace) -> dict[str, Any]:
    import tiny_qwen

    from mmupt.asking.answerer import SamplingParams, stream_seeds
    from mmupt.asking.prompt import Prompt
    from mmupt.policy import shared
    from mmupt.policy.inputs import encode
    from mmupt.policy.model import inference
    from mmupt.policy.sampler import sample
    from mmupt.policy.score import completion_logprobs, token_batch

    count, group = given.questions, given.group
    one = tiny_qwen.picture(image_tokens, 0)
    batch = encode(policy, [Prompt(f"<image>How many of {i}?", (one,)) for i in range(count)])
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(100, 4000, (count * group, given.new_tokens), generator=generator)
    params = SamplingParams(1.0, max_completion_length=given.new_tokens)
    seeds = stream_seeds(1, count=count * group)

    def prefill() -> None:
        with inference(policy):
            shared.prefill(policy, batch)

    def rollout() -> None:
        sample(policy, batch, [group] * count, seeds, params)

    def train() -> None:
        completions = token_batch(policy, tokens.tolist())
        logps, _ = completion_logprobs(policy, batch, [group] * count, completions)
        logps.sum().backward()

    once = shared.seen_once
    found: dict[str, Any] = {"image_tokens": image_tokens, "questions": count, "group": group}
    for name, run in (("prefill", prefill), ("rollout", rollout), ("train", train)):
        times: dict[str, list[float]] = {"once": [], "each": []}
        for turn in range(given.repeats + 1):
            for way in times:
                shared.seen_once = once if way == "once" else (lambda *_: nullcontext())
                policy.model.zero_grad()
                started = time.process_time()
                run()
                if turn:
                    times[way].append(time.process_time() - started)
        shared.seen_once = once
        least = {way: min(seconds) for way, seconds in times.items()}
        found[f"{name}_once_cpu_s"] = round(least["once"], 2)
        found[f"{name}_each_cpu_s"] = round(least["each"], 2)
        found[f"{name}_speedup"] = round(least["each"] / least["once"], 2)
    print(found, flush=True)
    return found


if __name__ == "__main__":
    main()
