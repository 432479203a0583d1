"""Optimizer, schedules and the gradient step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from mmupt.errors import ConfigError
from mmupt.processes import ALONE, Processes

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


class ShardedAdamW(MasterAdamW):
    """MasterAdamW whose state is shared out over the processes (ZeRO stage 1, arXiv 1910.02054).

    Every trained parameter has an owner, which alone gets the sum of its gradients, keeps its
    moments and master, and moves it; then it hands the result to the others. The update is that of
    `MasterAdamW`, as AdamW treats each number by itself.

    Attributes:
        owners: rank of each parameter's owner, in the order of the parameter groups.
    """

    def __init__(self, params: Any, lr: float, processes: Processes) -> None:
        super().__init__(params, lr)
        self.processes = processes
        self._all = [p for group in self.param_groups for p in group["params"]]
        self.owners = share_out([p.numel() for p in self._all], processes.count)
        self._mine = {
            id(p)
            for p, owner in zip(self._all, self.owners, strict=True)
            if owner == processes.rank
        }
        self._there = [False] * len(self._all)

    def owns(self, parameter: nn.Parameter) -> bool:
        """Whether this process has the state of a parameter."""
        return id(parameter) in self._mine

    def reduce_gradients(self) -> None:
        """Sum the gradients of all processes, each in its owner alone."""
        self._there = self.processes.reduce_gradients(self._all, self.owners)

    def clip(self, max_grad_norm: float) -> float:
        """Scale the gradients, of all owners alike; returns the norm over all parameters."""
        own = [p.grad for p in self._all if p.grad is not None]
        squares = [float(torch.linalg.vector_norm(g, dtype=torch.float64)) ** 2 for g in own]
        (whole,) = self.processes.sum([sum(squares)])
        norm = math.sqrt(whole)
        for gradient in own:
            gradient.mul_(min(1.0, max_grad_norm / (norm + 1e-6)))
        return norm

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move what this process owns, and get the rest from its owners."""
        result = super().step(closure)
        moved = [
            (p.data, owner)
            for p, owner, there in zip(self._all, self.owners, self._there, strict=True)
            if there
        ]
        self.processes.hand_out([t for t, _ in moved], [owner for _, owner in moved])
        return result


def share_out(sizes: Sequence[int], count: int) -> list[int]:
    """Which of `count` owners each item goes to: the largest first, each to whoever has least."""
    loads, owners = [0] * count, [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        owners[index] = loads.index(min(loads))
        loads[owners[index]] += sizes[index]
    return owners


def make_optimizer(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    zero_stage: int = 0,
    processes: Processes = ALONE,
) -> torch.optim.AdamW:
    """AdamW on what is trained; weight decay on matrices only, not on norms and biases.

    Args:
        zero_stage: 1: its state is shared out over `processes`, where there are several.

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
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    if zero_stage and processes.count > 1:
        return ShardedAdamW(groups, learning_rate, processes)
    return MasterAdamW(groups, lr=learning_rate)


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


def sum_gradients(
    parameters: Iterable[nn.Parameter], optimizer: torch.optim.Optimizer, processes: Processes
) -> None:
    """Sum the processes' gradients where the optimizer needs them; a meeting."""
    if isinstance(optimizer, ShardedAdamW):
        optimizer.reduce_gradients()
    else:
        processes.sum_gradients(parameters)


def clip_and_step(
    parameters: Iterable[nn.Parameter], optimizer: torch.optim.Optimizer, max_grad_norm: float
) -> float:
    """Clip the gradient by its norm, update, clear. Returns the norm before clipping."""
    if isinstance(optimizer, ShardedAdamW):
        norm: float | torch.Tensor = optimizer.clip(max_grad_norm)
    else:
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
