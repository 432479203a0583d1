"""Supervised fine-tuning on the labelled rows: the base that label-free rounds stand on."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmupt.asking.maker import PromptMaker
from mmupt.config import SftConfig
from mmupt.events import EventLog
from mmupt.policy.inputs import encode
from mmupt.policy.model import Policy
from mmupt.policy.score import completion_logprobs, token_batch
from mmupt.processes import ALONE, Processes
from mmupt.train.checkpoint import load_state, save_state
from mmupt.train.optim import (
    clip_and_step,
    lr_factor,
    make_optimizer,
    set_learning_rate,
    sum_gradients,
)
from mmupt.types import LabelledSample


def target_text(row: LabelledSample) -> str:
    """What the model learns to say: the row's response, or its answer in a box."""
    return row.response if row.response is not None else f"\\boxed{{{row.answer}}}"


def target_ids(policy: Policy, row: LabelledSample) -> list[int]:
    """Tokens of the target with the end of the turn."""
    ids = policy.tokenizer(target_text(row), add_special_tokens=False)["input_ids"]
    return [*ids, policy.end_of_turn]


def total_steps(rows: int, config: SftConfig) -> int:
    return math.ceil(rows * config.num_train_epochs / config.per_device_train_batch_size)


def batch_indices(rows: int, size: int, step: int, *key: int) -> list[int]:
    """Rows of 1-based `step`: shuffled anew in each pass, a function of the key alone."""
    wanted = range((step - 1) * size, step * size)
    orders = {
        epoch: np.random.default_rng([*key, epoch]).permutation(rows)
        for epoch in {i // rows for i in wanted}
    }
    return [int(orders[i // rows][i % rows]) for i in wanted]


def run_sft(
    policy: Policy,
    rows: Sequence[LabelledSample],
    config: SftConfig,
    prompts: PromptMaker,
    log: EventLog,
    *,
    state_dir: Path,
    save_steps: int,
    seed: int,
    stage: str = "sft",
    processes: Processes = ALONE,
    zero_stage: int = 0,
) -> None:
    """Minimise the mean negative log-likelihood of the target tokens, in place.

    loss = -sum_t log pi(y_t | x, y_<t) / number of target tokens in the batch

    Each process takes its share of every batch; gradients are summed over them.
    """
    steps = total_steps(len(rows), config)
    optimizer = make_optimizer(
        policy.model, config.learning_rate, config.weight_decay, zero_stage, processes
    )
    done, _ = load_state(state_dir, policy.model, optimizer, {}, processes)
    log.emit("run_resumed" if done else "stage_started", stage=stage, step=done, total_steps=steps)
    policy.model.train()
    for step in range(done + 1, steps + 1):
        started = time.perf_counter()
        batch = [
            rows[i]
            for i in batch_indices(len(rows), config.per_device_train_batch_size, step, seed)
        ]
        rate = config.learning_rate * lr_factor(
            config.lr_scheduler_type, step, round(config.warmup_ratio * steps), steps
        )
        set_learning_rate(optimizer, rate)
        view = 1 if config.augment else 0
        tokens = sum(len(target_ids(policy, r)) for r in batch)
        own = 0.0
        if part := batch[processes.share(len(batch))]:
            shown = [prompts.prompt(r.sample, view, step, same_question=True) for r in part]
            encoded = encode(policy, shown)
            targets = token_batch(policy, [target_ids(policy, r) for r in part])
            logps_NT, _ = completion_logprobs(policy, encoded, [1] * len(part), targets)
            loss = -(logps_NT * targets.mask_NT).sum() / tokens
            loss.backward()  # type: ignore[no-untyped-call]
            own = float(loss.detach())
        sum_gradients(policy.model.parameters(), optimizer, processes)
        (total,) = processes.sum([own])
        norm = clip_and_step(policy.model.parameters(), optimizer, config.max_grad_norm)
        log.emit(
            "sft_step",
            stage=stage,
            step=step,
            loss=total,
            learning_rate=rate,
            grad_norm=norm,
            tokens=tokens,
            seconds=time.perf_counter() - started,
        )
        if step % save_steps == 0 and step < steps:
            save_state(state_dir, step, policy.model, optimizer, {}, processes=processes)
