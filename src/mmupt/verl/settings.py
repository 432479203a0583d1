"""Our settings as overrides of verl's Hydra configuration (verl 0.9.1, `ppo_trainer`)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmupt.config import Config
from mmupt.errors import ConfigError

TRAINER = "mmupt"
"""Name under which our trainer is registered with verl."""

LOADS = "VERL_USE_EXTERNAL_MODULES"
"""verl imports what this variable names."""

AGGREGATED = {
    "dapo": "token-mean",
    "grpo": "seq-mean-token-mean",
    "dr_grpo": "seq-mean-token-sum-norm",
}
"""`train.loss_type` -> verl's `loss_agg_mode`, where both mean the same."""

LONGEST_PROMPT = 8192
"""Tokens, pictures included, where `model.max_prompt_length` is not set; verl wants a number."""

UNBOUNDED = 1e9
"""verl always bounds the ratio where the advantage is negative: high enough never to matter."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a round of verl finds its material and leaves its results.

    Attributes:
        model: folder of the model.
        table: the questions as verl reads them, parquet.
        config: our settings, YAML; read by our trainer in verl's process.
        reward: source of the reward function that verl calls (`mmupt.verl.zero`).
        out: folder of events, rollouts and checkpoints.
        nnodes: machines of the Ray cluster.
        n_gpus_per_node: GPUs of each.
    """

    model: Path
    table: Path
    config: Path
    reward: Path
    out: Path
    nnodes: int = 1
    n_gpus_per_node: int = 1


def refuse_what_verl_has_not(config: Config) -> None:
    """Refuse settings that would silently do something else, or nothing.

    Raises:
        ConfigError: the first of them.
    """
    train, consensus = config.train, config.consensus
    strategy = consensus.strategy.name
    wrong = (
        ("lora", config.lora is not None, "is attached by --engine local only"),
        ("train.views", train.views != 1, "must be 1: a group of verl answers one prompt"),
        ("train.dynamic_sampling", train.dynamic_sampling, "is not offered"),
        ("train.anchor_fraction", bool(train.anchor_fraction), "is not offered"),
        ("train.min_p", bool(train.min_p), "is not offered"),
        ("train.stop_strings", bool(train.stop_strings), "are not offered"),
        (
            "train.loss_type",
            train.loss_type not in AGGREGATED,
            f"must be one of {', '.join(AGGREGATED)}",
        ),
        (
            "train.lr_scheduler_type",
            train.lr_scheduler_type not in ("constant", "cosine"),
            "must be constant or cosine",
        ),
        ("train.kl_estimator", bool(train.beta) and train.kl_estimator != "k3", "must be k3"),
        (
            "train.use_bias_correction_kl",
            bool(train.beta) and train.use_bias_correction_kl,
            "is not offered",
        ),
        (
            "train.mask_truncated_completions",
            train.mask_truncated_completions,
            "is not offered",
        ),
        ("train.zero_stage", bool(train.zero_stage), "is FSDP there"),
        (
            "consensus.strategy",
            strategy in ("weighted", "dual", "harmony"),
            f"{strategy} is not offered",
        ),
        (
            "consensus.teacher",
            consensus.teacher != "online" and consensus.votes is None,
            "must be online, or consensus.votes name a teacher's votes: its model has no place",
        ),
        (
            "guard.action",
            config.guard.action != "none",
            "must be none: the guard asks the model itself, which verl keeps in its workers; "
            "compare checkpoints by `mmupt eval` instead",
        ),
    )  # fmt: skip
    for name, found, why in wrong:
        if found:
            raise ConfigError(f"{name} {why} with --engine verl; change it, or take another engine")
    if train.prompts_per_step % train.num_mini_batches:
        raise ConfigError(
            f"train.prompts_per_step is {train.prompts_per_step}, which {train.num_mini_batches} "
            "mini-batches (train.num_mini_batches) cannot share evenly; change one of them"
        )


def overrides(config: Config, place: Place) -> list[str]:
    """The words after `python -m verl.trainer.main_ppo`.

    Args:
        config: checked by `refuse_what_verl_has_not`.
        place: files, and size of the cluster.

    Raises:
        ConfigError: a path that Hydra cannot be told.
    """
    train = config.train
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    longest, prompt = train.max_completion_length, config.model.max_prompt_length or LONGEST_PROMPT
    high = train.epsilon if train.epsilon_high is None else train.epsilon_high
    settings: dict[str, Any] = {
        "data.train_files": place.table,
        "data.val_files": place.table,  # verl reads it even where it never validates
        "data.train_batch_size": train.prompts_per_step,
        "data.max_prompt_length": prompt,
        "data.max_response_length": longest,
        "data.seed": config.seed,
        "data.dataloader_num_workers": 0,
        "data.image_key": "images",
        "data.trust_remote_code": False,
        "actor_rollout_ref.model.path": place.model,
        "actor_rollout_ref.model.trust_remote_code": False,
        "actor_rollout_ref.model.enable_gradient_checkpointing": train.gradient_checkpointing,
        f"{actor}.optim.lr": train.learning_rate,
        f"{actor}.optim.lr_warmup_steps": train.warmup_steps,
        f"{actor}.optim.lr_scheduler_type": train.lr_scheduler_type,
        f"{actor}.optim.weight_decay": train.weight_decay,
        f"{actor}.optim.clip_grad": train.max_grad_norm,
        f"{actor}.ppo_mini_batch_size": train.prompts_per_step // train.num_mini_batches,
        f"{actor}.ppo_epochs": train.num_iterations,
        f"{actor}.use_dynamic_bsz": True,
        f"{actor}.ppo_max_token_len_per_gpu": max(
            train.micro_batch_tokens or 16384, prompt + longest
        ),
        f"{actor}.clip_ratio": train.epsilon,
        f"{actor}.clip_ratio_low": train.epsilon,
        f"{actor}.clip_ratio_high": high,
        f"{actor}.clip_ratio_c": UNBOUNDED if train.delta is None else train.delta,
        f"{actor}.loss_agg_mode": AGGREGATED[train.loss_type],
        f"{actor}.loss_scale_factor": longest if train.loss_type == "dr_grpo" else None,
        f"{actor}.policy_loss.loss_mode": (
            "gspo" if train.importance_sampling_level == "sequence" else "vanilla"
        ),
        f"{actor}.entropy_coeff": 0,
        f"{actor}.calculate_entropy": True,
        f"{actor}.use_kl_loss": bool(train.beta),
        f"{actor}.kl_loss_coef": train.beta,
        f"{actor}.kl_loss_type": "low_var_kl",
        f"{actor}.freeze_vision_tower": train.freeze_vision,
        f"{actor}.checkpoint.save_contents": ["model", "optimizer", "extra", "hf_model"],
        f"{rollout}.name": "vllm",
        f"{rollout}.n": train.num_generations,
        f"{rollout}.seed": config.seed,
        f"{rollout}.temperature": train.temperature,
        f"{rollout}.top_p": train.top_p,
        f"{rollout}.top_k": train.top_k or -1,
        f"{rollout}.tensor_model_parallel_size": 1,
        "algorithm.adv_estimator": "grpo",  # no critic; the advantages themselves are ours
        "algorithm.use_kl_in_reward": False,
        "reward.custom_reward_function.path": place.reward,
        "reward.custom_reward_function.name": "compute_score",
        "trainer.v1.trainer_mode": TRAINER,
        # A failed reply would leave a group smaller than it is voted on.
        "trainer.v1.sampler.sync_refill_failed_groups": True,
        "data.gen_batch_size": 1,
        "trainer.total_training_steps": train.max_steps,
        "trainer.total_epochs": train.max_steps,
        "trainer.save_freq": config.save_steps,
        "trainer.test_freq": -1,
        "trainer.val_before_train": False,
        "trainer.logger": ["console"],
        "trainer.project_name": "mmupt",
        "trainer.experiment_name": place.out.name,
        "trainer.default_local_dir": place.out / "checkpoints",
        "trainer.nnodes": place.nnodes,
        "trainer.n_gpus_per_node": place.n_gpus_per_node,
        # Ray's actors look trainers up in their own processes.
        f"+ray_kwargs.ray_init.runtime_env.env_vars.{LOADS}": "mmupt.verl.trainer",
        "hydra.run.dir": place.out / "verl" / "hydra",
        "+mmupt.config": place.config,
        "+mmupt.out": place.out,
    }
    return [f"{name}={_word(name, value)}" for name, value in settings.items()]


def _word(name: str, value: Any) -> str:
    """A value in Hydra's grammar; text is quoted where the grammar would read something else."""
    if not isinstance(value, str | Path):
        return json.dumps(value)
    text = str(value)
    if re.fullmatch(r"[A-Za-z0-9_./-]+", text) and not _is_no_text(text):
        return text
    if "${" in text or "\n" in text or text.endswith("\\"):
        raise ConfigError(f"{name}: {text!r} cannot be told to Hydra; take another folder")
    escaped = text.replace("\\'", "\\\\'").replace("'", "\\'")
    return f"'{escaped}'"


def _is_no_text(text: str) -> bool:
    if text.lower() in ("null", "true", "false"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
