"""What a step cost: seconds, tokens and FLOPs by part, and the share of the machine reached."""

from __future__ import annotations

from typing import Any

import torch

from mmupt.clock import Profile
from mmupt.events import EventLog
from mmupt.policy.matmul import ROWS, matmul_rate
from mmupt.policy.model import Policy
from mmupt.processes import Processes

COMPUTING = ("prefill", "decode", "reference", "forward", "backward")
"""Parts whose FLOPs are counted, see `mmupt.policy.flops`."""
TOKENS = {
    "prefill_tokens": "prefill_tokens",
    "sampled_tokens": "sampled_tokens",
    "train_prompt_tokens": "prompt_tokens",
    "train_tokens": "train_tokens",
}
"""Name in the event -> name of the count."""


def machine_rate(
    policy: Policy, bf16: bool, log: EventLog, stage: str, processes: Processes
) -> float:
    """The matmul rate of all processes together, in FLOPs per second; told as an event.

    At the model's hidden size, in the type that it computes in; all processes measure at once.
    """
    text = policy.model.config.get_text_config()
    hidden = int(text.hidden_size)
    inner = getattr(text, "intermediate_size", None) or 4 * hidden
    inner = max(inner) if isinstance(inner, list | tuple) else int(inner)  # Gemma3n: by layer
    dtype = torch.bfloat16 if bf16 else policy.model.dtype
    rate = processes.sum([matmul_rate(hidden, inner, dtype, str(policy.device))])[0]
    log.emit(
        "machine_measured",
        stage=stage,
        device=str(policy.device),
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        processes=processes.count,
        shape=[ROWS, hidden, inner],
        matmul_flops_per_second=rate,
    )
    return rate


def step_figures(
    profile: Profile, seconds: float, rate: float, processes: Processes
) -> dict[str, Any]:
    """Fields of a step's event; a meeting of all processes, whose tokens and FLOPs are summed.

    Args:
        profile: of this process.
        seconds: of the whole step.
        rate: what `machine_rate` found.
    """
    counted = [profile.counts.get(name, 0.0) for name in TOKENS.values()]
    flops = [profile.flops.get(name, 0.0) for name in COMPUTING]
    summed = processes.sum([*counted, *flops])
    tokens, flops = summed[: len(TOKENS)], summed[len(TOKENS) :]
    reached = sum(flops) / seconds
    return {
        **{name: int(value) for name, value in zip(TOKENS, tokens, strict=True)},
        "part_seconds": {name: round(s, 4) for name, s in profile.seconds.items()},
        "part_flops": {n: int(f) for n, f in zip(COMPUTING, flops, strict=True) if f},
        "flops": int(sum(flops)),
        "flops_per_second": reached,
        "matmul_share": reached / rate,
        "seconds": seconds,
    }
