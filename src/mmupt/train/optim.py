"""Optimizer, schedules and the gradient step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

Schedule = Literal["constant", "linear", "cosine"]


def make_optimizer(
    model: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only, not on norms and biases."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=learning_rate,
    )


def lr_factor(kind: Schedule, step: int, warmup_steps: int, total_steps: int) -> float:
    """Factor of the learning rate at 1-based `step`: a linear rise, then `kind`.

    linear falls to 0 in a straight line, cosine by half a cosine; constant stays.
    """
    if step <= warmup_steps:
        return step / (warmup_steps + 1)
    progress = (step - 1 - warmup_steps) / max(1, total_steps - warmup_steps)
    match kind:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - progress
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def clip_and_step(
    parameters: Iterable[nn.Parameter], optimizer: torch.optim.Optimizer, max_grad_norm: float
) -> float:
    """Clip the gradient by its norm, update, clear. Returns the norm before clipping."""
    norm = torch.nn.utils.clip_grad_norm_(list(parameters), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)


def freeze_vision(model: nn.Module) -> int:
    """Stop gradients into the vision tower and its connector; returns how many tensors."""
    frozen = 0
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("vision", "visual", "connector", "multi_modal_projector")):
            parameter.requires_grad_(False)
            frozen += 1
    return frozen
