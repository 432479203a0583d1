"""Optimizer, schedules and the gradient step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn

from mmupt.errors import ConfigError

Schedule = Literal["constant", "linear", "cosine"]


class MasterAdamW(torch.optim.AdamW):
    """AdamW that keeps a float32 copy, the master, of each bfloat16 parameter that it trains.

    bfloat16 has 8 bits: an update below 1/512 of a weight would be rounded away, step after step.
    Here updates add up in the master, and the parameter is the master rounded. Masters are part of
    the optimizer's state, under `master`, and are saved and restored with it. Moments are float32
    as well, and gradients add up in float32 over micro-batches where torch has `grad_dtype`.

    For float32 parameters this is AdamW itself.
    """

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        for parameter in self._rounded():
            if hasattr(parameter, "grad_dtype"):
                parameter.grad_dtype = torch.float32

    def _rounded(self) -> list[nn.Parameter]:
        return [
            p for group in self.param_groups for p in group["params"] if p.dtype == torch.bfloat16
        ]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """As AdamW, on the masters; parameters without a gradient are left alone."""
        rounded = [(p, p.data, p.grad) for p in self._rounded() if p.grad is not None]
        for parameter, low, gradient in rounded:
            parameter.grad = None
            parameter.data = self.state[parameter].get("master", low).float()
            parameter.grad = gradient.float()
        result = super().step(closure)
        for parameter, low, gradient in rounded:
            self.state[parameter]["master"] = parameter.data
            low.copy_(parameter.data)
            parameter.grad = None
            parameter.data = low
            parameter.grad = gradient
        return result


def make_optimizer(
    model: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW on what is trained; weight decay on matrices only, not on norms and biases.

    Raises:
        ConfigError: nothing is trained, or the model is held in float16.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ConfigError(
            "nothing is trained: train.freeze_vision freezes all that lora.target_modules names"
        )
    if any(p.dtype == torch.float16 for p in model.parameters()):
        raise ConfigError(
            "model.dtype is 'float16', in which small gradients become zero; train in 'bfloat16' "
            "or 'float32'"
        )
    return MasterAdamW(
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


def freeze_vision(model: Any) -> int:
    """Freeze all but the language model: the vision tower and what connects it to the text.

    Of a Hugging Face model these are the parameters outside its decoder and its output layer,
    whatever they are called (`visual`, `vision_tower` and `multi_modal_projector`,
    `vision_model` and `connector`, `image_newline`, ...). Without a parameter that is trained
    no graph is kept of the tower's forward.

    Returns:
        How many tensors are frozen.

    Raises:
        ConfigError: the model's language model cannot be told from the rest.
    """
    head = model.get_output_embeddings()
    text = {id(p) for p in model.get_decoder().parameters()}
    text |= {id(p) for p in head.parameters()} if head is not None else set()
    vision = [p for p in model.parameters() if id(p) not in text]
    if not vision:
        raise ConfigError(
            f"train.freeze_vision: no vision tower found in {type(model).__name__}; set it to false"
        )
    for parameter in vision:
        parameter.requires_grad_(False)
    return len(vision)
