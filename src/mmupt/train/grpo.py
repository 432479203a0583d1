"""Label-free GRPO, round after round (MM-UPT, arXiv 2505.22453).

    for each step:
        labels   a teacher votes over views, or the policy's own rollouts vote
        rollouts G completions of every kept prompt
        rewards  r_i = [y_i ~ y*] through one partition of label and answers
        update   clipped policy gradient on A_i = r_i - mean r

`train_label_free` takes `Sample`, which has no answer; `train_supervised` is the upper bound that
evaluations compare with.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmupt.config import Config
from mmupt.consensus.reward import rewards_against
from mmupt.events import EventLog
from mmupt.policy.model import Policy
from mmupt.policy.prompts import PromptMaker
from mmupt.train.advantage import group_advantages
from mmupt.train.checkpoint import load_state, save_state
from mmupt.train.labels import (
    Label,
    Labeller,
    TeacherVotes,
    TrueLabels,
    label_by_vote,
)
from mmupt.train.optim import freeze_vision, lr_factor, make_optimizer, set_learning_rate
from mmupt.train.records import write_rollouts
from mmupt.train.rollout import Group, roll_out
from mmupt.train.sft import batch_indices
from mmupt.train.update import ScoredGroup, UpdateStats, update
from mmupt.types import LabelledSample, Sample

AfterStep = Callable[[int], None]
"""Told the number of each step after its update."""


@dataclass(frozen=True)
class Run:
    """What a training stage needs besides model and data.

    Attributes:
        config: the whole configuration.
        prompts: makes prompts of samples.
        log: where events go.
        stage: name of the stage, such as ``round-1``.
        key: makes this stage's random numbers its own.
        state_dir: points to resume from.
        rollouts_dir: where rollouts are written.
    """

    config: Config
    prompts: PromptMaker
    log: EventLog
    stage: str
    key: int
    state_dir: Path
    rollouts_dir: Path

    @property
    def seed(self) -> int:
        """One seed per run and stage."""
        return self.config.seed * 1009 + self.key


@dataclass(frozen=True)
class Judged:
    """A group with its label, answers and rewards."""

    group: Group
    label: Label
    answers: tuple[str | None, ...]
    rewards: tuple[float, ...]
    scored: ScoredGroup


def train_label_free(
    policy: Policy, samples: Sequence[Sample], run: Run, *, after_step: AfterStep | None = None
) -> None:
    """One label-free round, in place.

    Args:
        policy: trained in place.
        samples: questions without answers.
        run: configuration and places.
        after_step: called with the step number after each update (interim evaluation).
    """
    config = run.config
    teacher = policy.clone() if config.consensus.teacher != "online" else None
    labeller = None
    if teacher is not None:
        labeller = TeacherVotes(
            teacher, run.prompts, config.consensus, config.train.max_completion_length, run.seed,
            config.train.micro_batch_size,
        )  # fmt: skip
    _train(policy, samples, run, labeller, teacher, after_step)


def train_supervised(
    policy: Policy, rows: Sequence[LabelledSample], run: Run, *, after_step: AfterStep | None = None
) -> None:
    """GRPO towards true answers: what labels would have bought. Uses the labels it is given."""
    labeller = TrueLabels({row.sample.id: row.answer for row in rows})
    _train(policy, [row.sample for row in rows], run, labeller, None, after_step)


def _train(
    policy: Policy,
    samples: Sequence[Sample],
    run: Run,
    labeller: Labeller | None,
    teacher: Policy | None,
    after_step: AfterStep | None,
) -> None:
    config = run.config.train
    reference = policy.clone() if config.beta else None
    if config.freeze_vision:
        freeze_vision(policy.model)
    optimizer = make_optimizer(policy.model, config.learning_rate, config.weight_decay)
    extra = {"teacher": teacher.model} if teacher and run.config.consensus.teacher == "ema" else {}
    done = load_state(run.state_dir, policy.model, optimizer, extra)
    run.log.emit(
        "run_resumed" if done else "stage_started",
        stage=run.stage,
        step=done,
        total_steps=config.max_steps,
    )
    for step in range(done + 1, config.max_steps + 1):
        started = time.perf_counter()
        rate = config.learning_rate * lr_factor(
            config.lr_scheduler_type, step, config.warmup_steps, config.max_steps
        )
        set_learning_rate(optimizer, rate)
        indices = batch_indices(len(samples), config.prompts_per_step, step, run.seed)
        judged = judge(policy, [samples[i] for i in indices], run, labeller, step)
        stats = update(policy, optimizer, [j.scored for j in judged], config, reference)
        if extra and teacher is not None:
            _move_average(teacher, policy, run.config.consensus.ema_decay)
        write_rollouts(run.rollouts_dir, run.stage, step, judged)
        run.log.emit(
            "grpo_step",
            stage=run.stage,
            step=step,
            learning_rate=rate,
            **summarise(judged, stats),
            seconds=time.perf_counter() - started,
        )
        if step % run.config.save_steps == 0 and step < config.max_steps:
            save_state(run.state_dir, step, policy.model, optimizer, extra)
        if after_step is not None:
            after_step(step)


def judge(
    policy: Policy, samples: Sequence[Sample], run: Run, labeller: Labeller | None, step: int
) -> list[Judged]:
    """Label, roll out and reward one step's samples, in their order.

    With a labeller, a prompt that is not kept is never rolled out: its group is empty. Without one
    the policy's own rollouts vote (online), and a prompt that is not kept gets no reward.
    """
    config = run.config
    labels = labeller.labels(samples, step) if labeller is not None else None
    wanted = [labels is None or labels[i].kept for i in range(len(samples))]
    asked = [s for s, want in zip(samples, wanted, strict=True) if want]
    groups = roll_out(policy, asked, run.prompts, config.train, seed=run.seed, step=step)
    in_order = iter(groups)
    judged = []
    for i, sample in enumerate(samples):
        group = next(in_order) if wanted[i] else Group(sample, (), ())
        answers = group.answers(config.consensus.kind)
        label = labels[i] if labels is not None else label_by_vote(answers, config.consensus)
        judged.append(reward(group, label, answers, config))
    return judged


def reward(group: Group, label: Label, answers: tuple[str | None, ...], config: Config) -> Judged:
    """r_i = [y_i ~ y*] for the answers of a group, and their advantages."""
    target = label.answer if label.kept else None
    consensus = config.consensus
    rewards = rewards_against(target, answers, kind=consensus.kind, rtol=consensus.rtol)
    advantages_G = group_advantages(rewards, config.train.scale_rewards)
    return Judged(group, label, answers, rewards, ScoredGroup(group, advantages_G))


def summarise(judged: Sequence[Judged], stats: UpdateStats) -> dict[str, Any]:
    """The figures of one step; NaN where there is nothing to average."""
    labels = [j.label for j in judged]
    answered = [j for j in judged if j.group.completions]
    rewards = [r for j in judged for r in j.rewards]
    completions = [c for j in judged for c in j.group.completions]
    top = Counter(label.answer for label in labels if label.answer is not None).most_common(1)
    tokens = max(stats.tokens, 1.0)
    return {
        "loss": stats.loss / max(1, len(stats.grad_norms)),
        "reward_mean": _mean(rewards),
        "reward_std": _mean([float(np.std(j.rewards)) for j in answered]),
        "vote_share": _mean([label.share for label in labels]),
        "unanimous": _mean([float(not j.scored.teaches) for j in answered]),
        "kept": _mean([float(label.kept) for label in labels]),
        "label_answers": len({label.answer for label in labels if label.answer is not None}),
        "top_answer_share": top[0][1] / len(labels) if top else 0.0,
        "abstained": _mean([float(a is None) for j in judged for a in j.answers]),
        "truncated": _mean([float(c.finish == "length") for c in completions]),
        "length": _mean([float(len(c.token_ids)) for c in completions]),
        "entropy": stats.entropy / tokens,
        "kl": stats.kl / tokens,
        "clip_fraction": stats.clipped / tokens,
        "grad_norm": _mean(stats.grad_norms),
        "completions": len(completions),
        "tokens": sum(len(c.token_ids) for c in completions),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


@torch.no_grad()
def _move_average(teacher: Policy, policy: Policy, decay: float) -> None:
    """teacher <- decay * teacher + (1 - decay) * policy"""
    for slow, fast in zip(teacher.model.parameters(), policy.model.parameters(), strict=True):
        slow.lerp_(fast.detach(), 1.0 - decay)
