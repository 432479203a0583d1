"""Points that a killed run resumes from, bit for bit.

Random numbers need no saving: every draw is a function of seed, stage and step. A point holds whole
tensors by the names of their parameters and knows nothing of processes: what several have saved,
any number goes on from.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmupt.errors import RunFolderError
from mmupt.events import jsonable
from mmupt.processes import ALONE, Processes
from mmupt.train.optim import ShardedAdamW


def save_state(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    extra: Mapping[str, Mapping[str, torch.Tensor]],
    notes: Mapping[str, Any] | None = None,
    processes: Processes = ALONE,
) -> None:
    """Write ``folder/{step}`` whole, then delete the older ones. Only the main process writes.

    Args:
        extra: further named tensors, such as a teacher's weights (see `weights`).
        notes: anything JSON, such as what a guard remembers.
    """
    kept = _optimizer_tensors(model, optimizer)
    if isinstance(optimizer, ShardedAdamW):
        kept = processes.collect(kept)
    if not processes.main:
        return
    temporary = folder / f".tmp-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(_contiguous(weights(model)), temporary / "model.safetensors")
    save_file(kept, temporary / "optimizer.safetensors")
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
    processes: Processes = ALONE,
) -> tuple[int, dict[str, Any]]:
    """Restore the newest point in `folder`, the tensors in place, in every process.

    Returns:
        Its step and its notes; 0 and none where there is no point.

    Raises:
        RunFolderError: the point is of another model.
    """
    point = processes.told(lambda: _newest(folder))
    if point is None:
        return 0, {}
    parameters = dict(model.named_parameters())
    saved = load_file(point / "model.safetensors")
    if foreign := saved.keys() - parameters.keys():
        raise RunFolderError(
            f"{point}: holds weights of another model, such as {min(foreign)}; remove the folder "
            "to start the stage anew"
        )
    _restore(parameters, saved)
    for name, tensors in extra.items():
        _restore(tensors, load_file(point / f"{name}.safetensors"))
    _restore_optimizer(parameters, optimizer, load_file(point / "optimizer.safetensors"))
    state = json.loads((point / "state.json").read_text(encoding="utf-8"))
    return int(state["step"]), dict(state["notes"])


def weights(model: nn.Module, names: Collection[str] | None = None) -> dict[str, torch.Tensor]:
    """The parameters that are trained, or those of `names`; tied ones once."""
    return {
        name: p.detach()
        for name, p in model.named_parameters()
        if (p.requires_grad if names is None else name in names)
    }


def _newest(folder: Path) -> Path | None:
    points = sorted(p for p in folder.glob("[0-9]*") if (p / "state.json").is_file())
    return points[-1] if points else None


def _contiguous(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.detach().clone().contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore_optimizer(
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    saved: Mapping[str, torch.Tensor],
) -> None:
    own = [p for group in optimizer.param_groups for p in group["params"]]
    # Points of version 0.1 name a parameter by its number among the optimizer's.
    places = {str(number): p for number, p in enumerate(own)} | dict(parameters)
    for key, value in saved.items():
        name, _, kind = key.rpartition(".")
        parameter = places[name]
        if isinstance(optimizer, ShardedAdamW) and not optimizer.owns(parameter):
            continue
        optimizer.state[parameter][kind] = value if kind == "step" else value.to(parameter.device)


def _restore(tensors: dict[str, Any], saved: Mapping[str, torch.Tensor]) -> None:
    """Copy what was saved into `tensors`; what is missing there is added."""
    with torch.no_grad():
        for name, value in saved.items():
            if name in tensors:
                tensors[name].copy_(value)
            else:
                tensors[name] = value
