"""Training forward and backward: the shared prompt against duplicated rows.

    python benchmarks/train.py [--group 8] [--new-tokens 32]

The Qwen2.5-VL of `tiny_qwen`, two prompts, 256 and 1024 image tokens, one thread, CPU seconds,
interleaved; the least of `--repeats` of each. Duplicated rows: prompt and completion side by side
in G rows through the model's plain forward, the head on completion tokens only. Gradients of both
are compared. The share of the matmul rate counts the FLOPs of matrix products and attention that
the shared step needs (PyTorch's counter) against products of 2048 x 2048 matrices in the same run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

PROMPTS = 2


def matmul_rate() -> float:
    """FLOPs per CPU second of a large product."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    a @ b
    started = time.process_time()
    for _ in range(3):
        a @ b
    return 3 * 2 * 2048**3 / (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    import tiny_qwen

    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_qwen.save_model(Path(scratch) / "model")
        from mmupt.policy.model import load_policy

        policy = load_policy(folder, device="cpu")
        cases = [measure(policy, tokens, given) for tokens in (256, 1024)]
    print(json.dumps({"bench": "train", "cases": cases}))


def measure(policy: Any, image_tokens: int, given: argparse.Namespace) -> dict[str, Any]:
    import tiny_qwen

    from mmupt.asking.prompt import Prompt
    from mmupt.policy.inputs import encode
    from mmupt.policy.score import completion_logprobs, token_batch

    model, group = policy.model, given.group
    prompts = [
        Prompt("<image>How many are there?", (tiny_qwen.picture(image_tokens, i),))
        for i in range(PROMPTS)
    ]
    batch = encode(policy, prompts)
    many = encode(policy, [p for p in prompts for _ in range(group)])
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(100, 4000, (PROMPTS * group, given.new_tokens), generator=generator)
    weight = torch.randn(tokens.shape, generator=generator)

    def shared() -> None:
        completions = token_batch(policy, tokens.tolist())
        logps, _ = completion_logprobs(policy, batch, [group] * PROMPTS, completions)
        (logps * weight).sum().backward()

    def duplicated() -> None:
        features = dict(many.features)
        features["input_ids"] = torch.cat([features["input_ids"], tokens], dim=1)
        features["attention_mask"] = torch.cat(
            [features["attention_mask"], torch.ones_like(tokens)], dim=1
        )
        kinds = features["mm_token_type_ids"]
        features["mm_token_type_ids"] = torch.cat(
            [kinds, torch.zeros_like(tokens).to(kinds)], dim=1
        )
        logits = model(**features, use_cache=False, logits_to_keep=given.new_tokens + 1).logits
        logps = logits[:, :-1].log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
        (logps * weight).sum().backward()

    times: dict[str, list[float]] = {"shared": [], "duplicated": []}
    gradients: dict[str, torch.Tensor] = {}
    rates = []
    for _ in range(given.repeats + 1):
        rates.append(matmul_rate())
        for name, run in (("shared", shared), ("duplicated", duplicated)):
            model.zero_grad()
            started = time.process_time()
            run()
            times[name].append(time.process_time() - started)
            gradients[name] = torch.cat([p.grad.flatten() for p in model.parameters()])
    difference = float((gradients["shared"] - gradients["duplicated"]).norm())
    difference /= float(gradients["duplicated"].norm())
    assert difference < 1e-4, difference
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        shared()
    ours, theirs = min(times["shared"][1:]), min(times["duplicated"][1:])
    found = {
        "image_tokens": image_tokens, "group": group, "new_tokens": given.new_tokens,
        "shared_cpu_s": round(ours, 2), "duplicated_cpu_s": round(theirs, 2),
        "speedup": round(theirs / ours, 2), "gradient_rel_diff": difference,
        "gflop": round(counter.get_total_flops() / 1e9, 1),
        "matmul_gflop_per_s": round(max(rates) / 1e9, 1),
        "share_of_matmul_rate": round(counter.get_total_flops() / ours / max(rates), 3),
    }  # fmt: skip
    print(found, flush=True)
    return found


if __name__ == "__main__":
    main()
