"""Points that a killed run resumes from, bit for bit.

Random numbers need no saving: every draw is a function of seed, stage and step.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


def save_state(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    extra: dict[str, nn.Module],
) -> None:
    """Write ``folder/{step}`` whole, then delete the older ones."""
    temporary = folder / f".tmp-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(_weights(model), temporary / "model.safetensors")
    save_file(_optimizer_tensors(optimizer), temporary / "optimizer.safetensors")
    for name, module in extra.items():
        save_file(_weights(module), temporary / f"{name}.safetensors")
    (temporary / "state.json").write_text(json.dumps({"step": step}), encoding="utf-8")
    final = folder / f"{step:06d}"
    shutil.rmtree(final, ignore_errors=True)
    temporary.replace(final)
    for other in folder.iterdir():
        if other != final:
            shutil.rmtree(other, ignore_errors=True)


def load_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, extra: dict[str, nn.Module]
) -> int:
    """Restore the newest point in `folder`; returns its step, 0 where there is none."""
    points = sorted(p for p in folder.glob("[0-9]*") if (p / "state.json").is_file())
    if not points:
        return 0
    point = points[-1]
    _restore(model, point / "model.safetensors")
    for name, module in extra.items():
        _restore(module, point / f"{name}.safetensors")
    tensors = load_file(point / "optimizer.safetensors")
    for index, parameter in enumerate(_parameters(optimizer)):
        prefix = f"{index}."
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if state:
            optimizer.state[parameter] = {
                k: v if k == "step" else v.to(parameter.device) for k, v in state.items()
            }
    return int(json.loads((point / "state.json").read_text(encoding="utf-8"))["step"])


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters, tied ones once."""
    return {name: p.detach().contiguous() for name, p in model.named_parameters()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{index}.{key}": value.detach().clone().contiguous()
        for index, parameter in enumerate(_parameters(optimizer))
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore(model: nn.Module, path: Path) -> None:
    tensors = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])
