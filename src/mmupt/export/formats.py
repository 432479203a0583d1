"""Writing a model's folder in the forms that others load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from mmupt.errors import ConfigError, ModelError
from mmupt.export.source import Source

if TYPE_CHECKING:
    from mmupt.policy.model import Policy

Format = Literal["hf", "peft", "merged", "gguf-ready"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

READ_BY_LLAMA_CPP: Final = frozenset(
    {
        "gemma3",
        "idefics3",
        "internvl",
        "qwen2_vl",
        "qwen2_5_vl",
        "qwen3_vl",
        "smolvlm",
    }
)
"""Model types whose pictures llama.cpp's converter knew when this was written; it changes often."""


def write_format(kind: Format, source: Source, folder: Path, dtype: str | None, base: str) -> None:
    """Write the files of a format into an empty folder; the card is not among them.

    Args:
        kind: "hf": the folder as transformers takes it, with the adapter by itself in ``adapter/``
            where there is one. "merged": the same as one model and nothing else. "peft": the
            adapter, with the processor it needs. "gguf-ready": "merged" in one file of weights of
            16 bits, with all that llama.cpp's converter looks for.
        source: what is exported.
        folder: exists and is empty.
        dtype: of the weights; None: as they are, for "gguf-ready" bfloat16.
        base: what "peft" says that its base model is called.

    Raises:
        ModelError: no adapter to write, or a model that cannot be loaded.
        ConfigError: a dtype with "peft".
    """
    if kind == "peft":
        if dtype is not None:
            raise ConfigError("--dtype changes whole models; with --format peft leave it out")
        _write_adapter(source, folder, base)
        return
    policy = loaded(source, dtype or ("bfloat16" if kind == "gguf-ready" else None))
    # A token that only the tokenizer names would end no turn elsewhere: generate() and servers go
    # by generation_config.json.
    policy.model.generation_config.eos_token_id = list(policy.stop_ids)
    one_file = {"max_shard_size": "1000GB"} if kind == "gguf-ready" else {}
    policy.model.save_pretrained(folder, safe_serialization=True, **one_file)
    policy.processor.save_pretrained(folder)
    if kind == "hf" and source.adapter is not None:
        shutil.copytree(source.adapter, folder / "adapter")
    if kind == "gguf-ready":
        _template_where_converters_look(policy, folder)


def loaded(source: Source, dtype: str | None = None) -> Policy:
    """The whole model on the CPU, its adapter merged.

    Args:
        source: what is exported.
        dtype: of the weights; None: as they are in the files.
    """
    from mmupt.policy.model import load_policy

    policy = load_policy(source.model, dtype=dtype or stored_dtype(source.model), device="cpu")
    if not source.merged and source.adapter is not None:
        put_on(policy.model, source.adapter)
        from mmupt.policy import adapters

        adapters.merge(policy.model)
    return policy


def put_on(model: Any, adapter: Path) -> None:
    """Attach a saved peft adapter to the model it belongs on, in place.

    Raises:
        ModelError: peft is missing, or the adapter does not fit.
    """
    from mmupt.policy import adapters

    adapters.check_installed()
    import peft
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (adapter / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"{adapter}: no adapter_model.safetensors in it; other weight formats are not loaded"
        )
    try:
        settings = peft.PeftConfig.from_pretrained(str(adapter))
        peft.inject_adapter_in_model(settings, model, adapter_name=adapters.NAME)
        saved = load_file(adapter / "adapter_model.safetensors")
        tensors = {name.removeprefix("base_model.model."): part for name, part in saved.items()}
        found: Any = peft.set_peft_model_state_dict(model, tensors, adapter_name=adapters.NAME)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{adapter}: does not go onto {type(model).__name__}: {first}") from error
    missing = [name for name in found.missing_keys if ".lora_" in name]
    if found.unexpected_keys or missing:
        name = [*found.unexpected_keys, *missing][0]
        raise ModelError(f"{adapter}: does not go onto {type(model).__name__}: {name} has no match")


def stored_dtype(folder: Path) -> str:
    """The type of most of a model's weights, of those that can be exported."""
    from safetensors import SafetensorError, safe_open

    names = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    sizes: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                for key in file.keys():  # noqa: SIM118
                    part = file.get_slice(key)
                    size = 1
                    for length in part.get_shape():
                        size *= length
                    sizes[part.get_dtype()] = sizes.get(part.get_dtype(), 0) + size
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    if not sizes:
        raise ModelError(f"{folder}: no *.safetensors in it; expected a model's folder")
    return names.get(max(sizes, key=lambda name: sizes[name]), "float32")


def _write_adapter(source: Source, folder: Path, base: str) -> None:
    if source.adapter is None:
        raise ModelError(
            f"{source.model}: there is no adapter beside it; the weights themselves were trained "
            "(section lora was not set). Choose --format hf or merged"
        )
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (source.adapter / name).is_file():
            raise ModelError(f"{source.adapter / name}: is missing")
        shutil.copy2(source.adapter / name, folder / name)
    path = folder / "adapter_config.json"
    try:
        settings = {**json.loads(path.read_text(encoding="utf-8"))}
    except (ValueError, TypeError) as error:
        raise ModelError(f"{source.adapter / path.name}: is no JSON object ({error})") from error
    settings["base_model_name_or_path"] = base
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    from transformers import AutoProcessor

    AutoProcessor.from_pretrained(
        source.model, local_files_only=True, trust_remote_code=False
    ).save_pretrained(folder)


def _template_where_converters_look(policy: Policy, folder: Path) -> None:
    """The chat template also in tokenizer_config.json: llama.cpp's converter reads it there."""
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["chat_template"] = policy.processor.chat_template
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
