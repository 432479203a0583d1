"""Loading and saving a Hugging Face image-text model. One path for every size of model."""

from __future__ import annotations

import copy
import inspect
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmupt.errors import ModelError
from mmupt.policy import adapters

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Policy:
    """A model with its processor.

    Attributes:
        model: any class that `AutoModelForImageTextToText` loads.
        processor: what `AutoProcessor` loads from the same folder.
        path: the folder it came from.
        max_prompt_length: longest prompt in tokens, images included; None: as the model allows.
    """

    model: Any
    processor: Any
    path: Path
    max_prompt_length: int | None = None

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @cached_property
    def pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.stop_ids[0])

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a turn: those of the generation config and the tokenizer's own."""
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        ids = list(configured) if isinstance(configured, list | tuple) else [configured]
        ids.append(self.tokenizer.eos_token_id)
        stops = tuple(dict.fromkeys(int(i) for i in ids if i is not None))
        if not stops:
            raise ModelError(
                f"{self.path}: neither generation_config.json nor the tokenizer names an end token"
            )
        return stops

    @cached_property
    def end_of_turn(self) -> int:
        """The token a reply is taught to end with: the tokenizer's own end token."""
        own = self.tokenizer.eos_token_id
        return int(own) if own is not None else self.stop_ids[0]

    @cached_property
    def forward_names(self) -> frozenset[str]:
        """Names of the arguments that the model's forward takes."""
        return frozenset(inspect.signature(self.model.forward).parameters)

    @cached_property
    def max_length(self) -> int:
        """Longest sequence the text model has positions for, in tokens."""
        text = self.model.config.get_text_config()
        return int(getattr(text, "max_position_embeddings", 1 << 20))

    def clone(self) -> Policy:
        """The policy as it is now, frozen: it stays while this one learns, or is moved by itself.

        What is trained is copied; every other tensor is shared with this policy and must not be
        changed, so that freezing comes first: with an adapter only the adapter is copied.
        """
        twin = _twin(self.model, (p for p in self.model.parameters() if not p.requires_grad))
        return Policy(twin, self.processor, self.path, self.max_prompt_length)

    def reference(self) -> Policy:
        """The policy as it is now, frozen: a reference, a teacher that stands still.

        As `clone`, but a new adapter, which changes nothing yet, is left out: then nothing is
        copied, and answers cost what they cost without an adapter.
        """
        frozen = self.clone()
        if adapters.idle(frozen.model):
            adapters.detach(frozen.model)
        return frozen


def _twin(model: Any, shared: Iterable[nn.Parameter]) -> Any:
    """A second tree of modules, frozen; parameters in `shared` keep their storage, others do not.

    The twin has `Parameter` objects and module state of its own: neither what is frozen nor
    Qwen's `rope_deltas` passes from one to the other.
    """
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in shared}
    twin = copy.deepcopy(model, memo)
    twin.requires_grad_(False)
    twin.eval()
    return twin


@contextmanager
def inference(policy: Policy) -> Iterator[None]:
    """Evaluation mode without gradients; the former mode comes back."""
    was_training = policy.model.training
    policy.model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        policy.model.train(was_training)


def pick_device(wanted: str) -> torch.device:
    """`auto` takes the first accelerator there is, otherwise the CPU."""
    if wanted != "auto":
        return torch.device(wanted)
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator if accelerator is not None else torch.device("cpu")


def check_folder(path: Path) -> str:
    """Refuse a folder that cannot be a model, cheaply; returns its model type.

    Raises:
        ModelError: no folder, no config.json, no safetensors in it, or an adapter.
    """
    if not path.is_dir():
        raise ModelError(f"{path}: not a folder; --model takes a local Hugging Face model folder")
    config_file = path / "config.json"
    if (path / "adapter_config.json").is_file():
        raise ModelError(
            f"{path}: an adapter{' beside a model' if config_file.is_file() else ' only'}; merge "
            "it into its base model (peft: merge_and_unload) and give the merged folder"
        )
    if not config_file.is_file():
        raise ModelError(f"{path}: no config.json in it; expected a Hugging Face model folder")
    try:
        model_type = json.loads(config_file.read_text(encoding="utf-8"))["model_type"]
    except (ValueError, TypeError, KeyError):
        raise ModelError(
            f"{config_file}: no JSON object with a model_type; expected a Hugging Face model folder"
        ) from None
    if not list(path.glob("*.safetensors")):
        raise ModelError(
            f"{path}: no *.safetensors in it; other weight formats are not loaded, "
            "convert them first"
        )
    return str(model_type)


def load_policy(
    path: Path,
    *,
    dtype: str = "float32",
    device: str = "auto",
    max_prompt_length: int | None = None,
) -> Policy:
    """Load model and processor from a local folder.

    Only safetensors are read, remote code is never run, nothing is fetched.

    Raises:
        ModelError: the folder is missing, is not an image-text model, or cannot be loaded.
    """
    model_type = check_folder(path)
    from transformers import AutoModelForImageTextToText

    processor = load_processor(path)
    with _loading(path, model_type):
        model, found = AutoModelForImageTextToText.from_pretrained(
            path,
            dtype=DTYPES[dtype],
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
        )
    _check_weights(path, found)
    _without_dropout(model)
    _patches_by_matmul(model)
    model.to(pick_device(device))
    return Policy(model, processor, path, max_prompt_length)


def load_processor(path: Path) -> Any:
    """The processor of a model folder alone: what turns text and pictures into tokens.

    Raises:
        ModelError: the folder is missing, is not an image-text model, or cannot be loaded.
    """
    model_type = check_folder(path)
    from transformers import AutoProcessor
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    with _loading(path, model_type):
        processor = AutoProcessor.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    if (
        getattr(processor, "image_processor", None) is None
        or getattr(processor, "tokenizer", None) is None
    ):
        raise ModelError(f"{path}: its processor handles no images; expected an image-text model")
    if not processor.chat_template:
        raise ModelError(f"{path}: no chat template in it; add chat_template.jinja to the folder")
    processor.tokenizer.padding_side = "left"  # the last prompt token is always at -1
    if processor.tokenizer.pad_token is None:  # padding is masked: any token will do
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


@contextmanager
def _loading(path: Path, model_type: str) -> Iterator[None]:
    """What transformers raises over a folder becomes one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{path}: model type {model_type!r} cannot be loaded as an image-text model: {first}"
        ) from error


def _check_weights(path: Path, found: dict[str, Any]) -> None:
    """Refuse weights that transformers would draw at random, with no more than a warning.

    Raises:
        ModelError: tensors are missing in the safetensors, or have another shape than config.json
            asks for.
    """
    if found["mismatched_keys"]:
        name, stored, wanted = sorted(found["mismatched_keys"])[0]
        raise ModelError(
            f"{path}: {len(found['mismatched_keys'])} weights do not have the shape that "
            f"config.json asks for, such as {name}: {tuple(stored)} in the file, "
            f"{tuple(wanted)} wanted"
        )
    if found["missing_keys"]:
        raise ModelError(
            f"{path}: {len(found['missing_keys'])} weights are missing in its *.safetensors, such "
            f"as {min(found['missing_keys'])}; the folder is incomplete or its config.json is that "
            "of another model"
        )


class PatchConv3d(nn.Conv3d):
    """A convolution of patches that are cut out already is a matrix product.

    Qwen's vision towers get every patch by itself and convolve it with a kernel of its size; on a
    CPU that takes about five times as long as the product, forward and backward.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        if input.shape[2:] != self.weight.shape[2:] or self.groups != 1:
            return super().forward(input)
        out = nn.functional.linear(input.flatten(1), self.weight.flatten(1), self.bias)
        return out[..., None, None, None]


def _patches_by_matmul(model: nn.Module) -> None:
    for module in model.modules():
        if type(module) is nn.Conv3d and not any(module.padding):
            module.__class__ = PatchConv3d


def _without_dropout(model: nn.Module) -> None:
    """Switch dropout off for good: a ratio of two noisy probabilities is no policy ratio."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def save_policy(policy: Policy, folder: Path, card: str) -> None:
    """Write a complete Hugging Face folder, atomically: it is there whole or not at all.

    With an adapter the folder holds the merged model, which everything loads as any other, and in
    `adapter/` the adapter by itself. The policy stays as it is.
    """
    temporary = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model = policy.model
    if adapters.adapted(model):
        adapters.save_adapter(model, temporary / "adapter", policy.path)
        model = _twin(model, model.parameters())
        adapters.merge(model)
    model.save_pretrained(temporary, safe_serialization=True)
    policy.processor.save_pretrained(temporary)
    (temporary / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)
