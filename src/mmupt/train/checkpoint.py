"""Points that a killed run resumes from, bit for bit.

Random numbers need no saving: every draw is a function of seed, stage and step.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmupt.events import jsonable


def save_state(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    extra: Mapping[str, Mapping[str, torch.Tensor]],
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write ``folder/{step}`` whole, then delete the older ones.

    Args:
        extra: further named tensors, such as a teacher's weights (see `weights`).
        notes: anything JSON, such as what a guard remembers.
    """
    temporary = folder / f".tmp-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(_contiguous(weights(model)), temporary / "model.safetensors")
    save_file(_optimizer_tensors(optimizer), temporary / "optimizer.safetensors")
    for name, tensors in extra.items():
        save_file(_contiguous(tensors), temporary / f"{name}.safetensors")
    state = jsonable({"step": step, "notes": notes or {}})
    (temporary / "state.json").write_text(json.dumps(state), encoding="utf-8")
    final = folder / f"{step:06d}"
    shutil.rmtree(final, ignore_errors=True)
    temporary.replace(final)
    for other in folder.iterdir():
        if other != final:
            shutil.rmtree(other, ignore_errors=True)


def load_state(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    extra: Mapping[str, dict[str, torch.Tensor]],
) -> tuple[int, dict[str, Any]]:
    """Restore the newest point in `folder`, the tensors in place.

    Returns:
        Its step and its notes; 0 and none where there is no point.
    """
    points = sorted(p for p in folder.glob("[0-9]*") if (p / "state.json").is_file())
    if not points:
        return 0, {}
    point = points[-1]
    _restore(weights(model), point / "model.safetensors")
    for name, tensors in extra.items():
        _restore(tensors, point / f"{name}.safetensors")
    tensors = load_file(point / "optimizer.safetensors")
    for index, parameter in enumerate(_parameters(optimizer)):
        prefix = f"{index}."
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if state:
            optimizer.state[parameter] = {
                k: v if k == "step" else v.to(parameter.device) for k, v in state.items()
            }
    state = json.loads((point / "state.json").read_text(encoding="utf-8"))
    return int(state["step"]), dict(state["notes"])


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters, tied ones once."""
    return {name: p.detach() for name, p in model.named_parameters()}


def _contiguous(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{index}.{key}": value.detach().clone().contiguous()
        for index, parameter in enumerate(_parameters(optimizer))
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Copy what the file holds into `tensors`; what is missing there is added."""
    with torch.no_grad():
        for name, saved in load_file(path).items():
            if name in tensors:
                tensors[name].copy_(saved)
            else:
                tensors[name] = saved
