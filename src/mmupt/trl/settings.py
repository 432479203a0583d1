"""Our settings in TRL's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmupt.config import Config
from mmupt.errors import ConfigError

SAME = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm",
    "num_generations", "max_completion_length", "temperature", "top_p", "top_k", "epsilon",
    "epsilon_high", "delta", "beta", "loss_type", "importance_sampling_level", "scale_rewards",
    "mask_truncated_completions", "num_iterations", "use_bias_correction_kl", "max_steps",
    "bf16",
)  # fmt: skip
"""Settings of section `train` that TRL has by the same name and meaning."""


def refuse_what_trl_has_not(config: Config) -> None:
    """Refuse settings that would silently do something else, or nothing.

    Raises:
        ConfigError: the first of them.
    """
    train = config.train
    wrong = (
        ("lora", config.lora is not None, "is attached by --engine local only"),
        ("train.dynamic_sampling", train.dynamic_sampling, "is not offered"),
        ("train.anchor_fraction", bool(train.anchor_fraction), "is not offered"),
        ("train.adv_estimator", train.adv_estimator != "grpo", "must be grpo"),
        ("train.kl_estimator", bool(train.beta) and train.kl_estimator != "k3", "must be k3"),
        ("train.num_mini_batches", train.num_mini_batches != 1, "must be 1"),
        ("train.stop_strings", bool(train.stop_strings), "are not offered"),
        ("train.freeze_vision", train.freeze_vision, "is not offered"),
        ("train.zero_stage", bool(train.zero_stage), "is DeepSpeed's there, in a trainer of yours"),
        (
            "consensus.strategy",
            config.consensus.strategy.name in ("weighted", "dual"),
            f"{config.consensus.strategy.name} is not offered",
        ),
        (
            "consensus.strategy",
            config.consensus.strategy.name == "restrain",
            "restrain takes its penalty off advantages, which a reward function cannot",
        ),
    )
    for name, found, why in wrong:
        if found:
            raise ConfigError(f"{name} {why} with --engine trl; change it, or take --engine local")


def batches(config: Config, processes: int) -> dict[str, int]:
    """Rows of a process at a time, and how often that goes into a step.

    A step's rows, prompts_per_step x num_generations, are shared by the processes; each takes at
    most `micro_batch_size` at a time.

    Raises:
        ConfigError: the processes cannot share the rows evenly.
    """
    rows = config.train.prompts_per_step * config.train.num_generations
    if rows % processes:
        raise ConfigError(
            f"prompts_per_step x num_generations is {rows}, which {processes} processes cannot "
            "share evenly; change one of them"
        )
    each = rows // processes
    size = max(n for n in range(1, min(config.train.micro_batch_size, each) + 1) if each % n == 0)
    return {"per_device_train_batch_size": size, "gradient_accumulation_steps": each // size}


def trl_arguments(
    config: Config, folder: Path, seed: int, processes: int, cpu: bool
) -> dict[str, Any]:
    """The arguments of TRL's GRPOConfig.

    Args:
        config: checked by `refuse_what_trl_has_not`.
        folder: of its checkpoints.
        seed: of the stage.
        processes: how many train together.
        cpu: keep off an accelerator.
    """
    train = config.train
    same = {name: getattr(train, name) for name in SAME}
    if train.gradient_checkpointing:
        same["activation_checkpointing"] = True
    if train.min_p:
        same["min_p"] = train.min_p
    return {
        **same,
        **batches(config, processes),
        "output_dir": str(folder),
        "seed": seed & 0x7FFFFFFF,
        "use_cpu": cpu,
        "save_steps": config.save_steps,
        # One would not do: the last whole point goes before what is ours is beside the new one.
        "save_total_limit": 2,
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "shuffle_dataset": False,  # the order is ours, see `rows.in_order`
        "dataloader_num_workers": 0,
        "disable_dropout": True,
        "ddp_find_unused_parameters": False,
        "log_level": "error",
    }
