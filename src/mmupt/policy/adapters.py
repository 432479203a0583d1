"""LoRA and DoRA inside a Hugging Face model, by peft (arXiv 2106.09685, 2402.09353).

    LoRA   W' = W + (alpha / r) B A
    DoRA   W' = m * (W + (alpha / r) B A) / |W + (alpha / r) B A|      one m and norm per output row

W stands still; A, B (B from zero) and m (from |W|) are trained. A stage attaches a new adapter and
merges it at its end, so the model without its adapter is the one that the stage started from.

The model stays the class it is: linear layers are replaced in place, nothing is wrapped.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from mmupt.config import LoraConfig
from mmupt.errors import ConfigError, ModelError

NAME = "default"
"""What peft calls the only adapter there is."""


def check_installed() -> None:
    """Refuse to begin what needs peft without it.

    Raises:
        ModelError: peft is not installed.
    """
    try:
        import peft  # noqa: F401
    except ImportError:
        raise ModelError(
            "section lora needs peft, which is not installed: pip install 'mmupt[lora]'"
        ) from None


def attach(model: Any, config: LoraConfig, seed: int) -> None:
    """Put a new adapter into the model, in place. Its outputs stay what they are, bit for bit.

    The adapter is held in float32 whatever the weights are; only it has gradients from now on.

    Args:
        model: a Hugging Face image-text model.
        config: how large the adapter is, and where.
        seed: draws A.

    Raises:
        ModelError: peft is not installed, or there is an adapter already.
        ConfigError: `target_modules` name nothing, or something that is no linear layer.
    """
    check_installed()
    import peft

    if adapted(model):
        raise ModelError("the model has an adapter already; merge it before the next is attached")
    wanted = config.target_modules
    if wanted == "all-linear":
        wanted = language_linears(model)
    settings = peft.LoraConfig(
        r=config.r,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules=wanted if isinstance(wanted, str) else list(wanted),
        use_dora=config.use_dora,
        bias=config.bias,
    )
    with torch.random.fork_rng(devices=[]):  # peft draws on the CPU, from the global generator
        torch.default_generator.manual_seed(seed)
        try:
            peft.inject_adapter_in_model(settings, model, adapter_name=NAME)
        except (ValueError, re.error) as error:
            raise ConfigError(f"lora.target_modules: {str(error).splitlines()[0]}") from error
    head = model.get_output_embeddings()
    for name, layer in adapted(model).items():
        if not isinstance(layer.get_base_layer(), nn.Linear) or layer is head:
            kind = "the output layer" if layer is head else type(layer.get_base_layer()).__name__
            raise ConfigError(
                f"lora.target_modules: {name} is {kind}; name linear layers inside the model"
            )
        for part, parameter in layer.named_parameters():
            if part.startswith("lora_"):
                parameter.data = parameter.data.float()
        for magnitude in layer.lora_magnitude_vector.values():
            # peft takes |W| in the weights' own type, but divides by the norm in float32.
            norm = torch.linalg.norm(layer.get_base_layer().weight.detach().float(), dim=1)
            magnitude.weight.data = norm


def language_linears(model: Any) -> str:
    """A regular expression for all linear layers of the language model, by their full names.

    peft's own "all-linear" would take those of the vision tower and its connector as well.

    Raises:
        ConfigError: the language model cannot be told from the rest.
    """
    decoder = model.get_decoder()
    place = next(name for name, module in model.named_modules() if module is decoder)
    kinds = {
        name.rpartition(".")[2]
        for name, module in decoder.named_modules()
        if isinstance(module, nn.Linear)
    }
    if not place or not kinds:
        raise ConfigError(
            f"lora.target_modules: 'all-linear' finds no language model in "
            f"{type(model).__name__}; name the layers"
        )
    return rf"{re.escape(place)}\.(?:.*\.)?(?:{'|'.join(sorted(map(re.escape, kinds)))})"


def adapted(model: nn.Module) -> dict[str, Any]:
    """The layers that carry an adapter, by name; empty where there is none."""
    return {
        name: module
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and hasattr(module, "get_base_layer")
    }


@torch.no_grad()
def idle(model: nn.Module) -> bool:
    """Whether the adapter changes nothing: every B is zero, every m is the norm of its rows."""
    return all(
        not layer.lora_B[NAME].weight.any()
        and all(
            torch.equal(
                magnitude.weight,
                torch.linalg.norm(layer.get_base_layer().weight.float(), dim=1),
            )
            for magnitude in layer.lora_magnitude_vector.values()
        )
        for layer in adapted(model).values()
    )


def detach(model: nn.Module) -> None:
    """Take the adapter out, in place; what it had learned is gone."""
    for name, layer in adapted(model).items():
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def merge(model: nn.Module) -> None:
    """Make the adapter part of the weights, in place, for good; all of them are trained again.

    Each new weight is a new tensor in the weights' own type: whoever shares the old one keeps it.

    Raises:
        ModelError: a merged weight is not finite.
    """
    layers = adapted(model)
    if not layers:
        return
    for name, layer in layers.items():
        try:
            layer.merge(safe_merge=True)
        except ValueError:
            raise ModelError(
                f"{name}: its weights are not finite once the adapter is merged; the training "
                "diverged, lower the learning rate"
            ) from None
    detach(model)
    model.requires_grad_(True)


def save_adapter(model: Any, folder: Path, base: Path) -> None:
    """Write what peft loads: adapter_config.json and adapter_model.safetensors.

    Args:
        folder: is made.
        base: the model that the adapter belongs on.
    """
    import peft

    folder.mkdir()
    tensors = peft.get_peft_model_state_dict(model, adapter_name=NAME, save_embedding_layers=False)
    save_file(
        {f"base_model.model.{name}": tensor.contiguous() for name, tensor in tensors.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    settings = {
        **model.peft_config[NAME].to_dict(),
        "base_model_name_or_path": str(base.resolve()),
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(
        # peft keeps names in sets, whose order changes from process to process
        json.dumps(settings, default=sorted, indent=2, sort_keys=True) + "\n",
        encoding="utf-8",
    )
