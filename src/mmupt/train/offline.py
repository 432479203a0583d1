"""Rounds that learn from what the model of their start answered.

Self-training and self-rewarding go in rounds: M_t answers and judges, M_t+1 is trained on those
answers. M_t stands still, and every draw is a function of seed, stage and step. So a step's
prompts are answered when the step comes: the answers are those that a data set made beforehand
would hold, nothing has to be stored, and a killed run goes on bit for bit. Only in a second pass
over the prompts the answers are drawn anew instead of being repeated.

Prompts, completions and updates are as many as in a GRPO round with the same `train` section.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmupt.asking.prompt import Prompt
from mmupt.config import Config, ConsensusConfig, TrainConfig
from mmupt.consensus.equivalence import partition
from mmupt.errors import ConfigError
from mmupt.policy.model import Policy
from mmupt.train.checkpoint import load_state, save_state
from mmupt.train.judge import Judged, judge, summarise
from mmupt.train.labels import TeacherVotes
from mmupt.train.optim import (
    clip_and_step,
    freeze_vision,
    lr_factor,
    make_optimizer,
    set_learning_rate,
)
from mmupt.train.records import write_rollouts
from mmupt.train.rollout import Group
from mmupt.train.sft import batch_indices
from mmupt.train.stage import AfterStep, Run
from mmupt.train.update import ScoredGroup, UpdateStats
from mmupt.types import Completion, Sample

CHOICE_STREAM = 6
"""Keeps the draws of what is learned from apart from those of the answers."""


@dataclass(frozen=True)
class Lesson:
    """Completions of one view of a question that an update learns from.

    Attributes:
        group: all completions of the question.
        view: the view whose prompt they answer.
        picks: their places in the group.
        signs: one per pick: above 0 it becomes more likely, below 0 less likely.
    """

    group: Group
    view: int
    picks: tuple[int, ...]
    signs: tuple[float, ...]

    @property
    def prompt(self) -> Prompt:
        return self.group.prompts[self.view]

    @property
    def completions(self) -> tuple[Completion, ...]:
        return tuple(self.group.completions[i] for i in self.picks)


Choose = Callable[[Judged, np.random.Generator], list[Lesson]]
"""What one judged group teaches; empty where it teaches nothing."""

Loss = Callable[
    [Policy, Policy, Sequence[Lesson], Sequence[Lesson]], tuple[torch.Tensor, Mapping[str, float]]
]
"""Loss of a micro-batch, given policy, model of the start, the micro-batch and the whole update.

The losses of the parts add up to that of the whole. With it come sums for the events: `tokens`,
`entropy` and what the method likes to report.
"""


@dataclass(frozen=True)
class Method:
    """A way to learn from one's own answers.

    Attributes:
        event: type of its event per step.
        learning_rate: before the schedule.
        choose: what of a group is learned from.
        loss: how.
        figures: from an update's sums to further fields of its event.
    """

    event: str
    learning_rate: float
    choose: Choose
    loss: Loss
    figures: Callable[[Mapping[str, float]], dict[str, Any]]


def check_teacher(config: Config) -> None:
    """Refuse a moving teacher: here the model of the round's start answers and votes.

    Raises:
        ConfigError: `consensus.teacher` is neither `frozen` nor `online`.
    """
    if config.consensus.teacher == "ema":
        raise ConfigError(
            "consensus.teacher is 'ema', but in these rounds the model of their start votes: set "
            "'frozen' (it answers views), or 'online' (the completions themselves vote)"
        )


def reaching(judged: Judged, consensus: ConsensusConfig) -> list[bool]:
    """Whether each completion of a kept prompt reaches the label; an abstention never does."""
    label, *classes = partition(
        [judged.label.answer, *judged.answers], kind=consensus.kind, rtol=consensus.rtol
    )
    right = judged.label.kept and label is not None
    return [right and number == label for number in classes]


def train_offline(
    policy: Policy,
    samples: Sequence[Sample],
    run: Run,
    method: Method,
    *,
    after_step: AfterStep | None = None,
) -> None:
    """One round, in place, on questions without answers.

    Raises:
        ConfigError: see `check_teacher`.
    """
    config = run.config
    check_teacher(config)
    train = config.train
    if train.freeze_vision:
        freeze_vision(policy.model)  # before the start, which shares what is frozen
    start = policy.reference()
    labeller = None
    if config.consensus.teacher != "online":
        labeller = TeacherVotes(
            start, run.prompts, config.consensus, train.max_completion_length, run.seed,
            train.micro_batch_size,
        )  # fmt: skip
    optimizer = make_optimizer(policy.model, method.learning_rate, train.weight_decay)
    done, _ = load_state(run.state_dir, policy.model, optimizer, {})
    run.log.emit(
        "run_resumed" if done else "stage_started",
        stage=run.stage,
        step=done,
        total_steps=train.max_steps,
    )
    for step in range(done + 1, train.max_steps + 1):
        started = time.perf_counter()
        rate = method.learning_rate * lr_factor(
            train.lr_scheduler_type, step, train.warmup_steps, train.max_steps
        )
        set_learning_rate(optimizer, rate)
        indices = batch_indices(len(samples), train.prompts_per_step, step, run.seed)
        judged = judge(start, [samples[i] for i in indices], run, labeller, step)
        lessons = [
            method.choose(j, np.random.default_rng([run.seed, CHOICE_STREAM, step, i]))
            for i, j in enumerate(judged)
        ]
        flat = [lesson for of_group in lessons for lesson in of_group]
        sums, norms = _update(policy, start, optimizer, flat, train, method)
        recorded = [_weighed(j, of_group) for j, of_group in zip(judged, lessons, strict=True)]
        write_rollouts(run.rollouts_dir, run.stage, step, recorded)
        run.log.emit(
            method.event,
            stage=run.stage,
            step=step,
            learning_rate=rate,
            **_figures(judged, flat, sums, norms, method),
            seconds=time.perf_counter() - started,
        )
        # Told before the step is saved: a run killed in between does both again, none is lost.
        if after_step is not None:
            after_step(step)
        if step % config.save_steps == 0 and step < train.max_steps:
            save_state(run.state_dir, step, policy.model, optimizer, {})


def _update(
    policy: Policy,
    start: Policy,
    optimizer: torch.optim.Optimizer,
    lessons: Sequence[Lesson],
    train: TrainConfig,
    method: Method,
) -> tuple[Counter[str], list[float]]:
    """All optimizer steps on one step's lessons; sums over them and the gradient norms."""
    sums: Counter[str] = Counter()
    norms: list[float] = []
    if not lessons:
        return sums, norms
    policy.model.train()
    parts = min(train.num_mini_batches, len(lessons))
    for _ in range(train.num_iterations):
        for i in range(parts):
            whole = lessons[i::parts]
            for part in _micro_batches(whole, train.micro_batch_size):
                loss, figures = method.loss(policy, start, part, whole)
                loss.backward()  # type: ignore[no-untyped-call]
                sums.update({"loss": float(loss.detach()), **figures})
            trained = (p for p in policy.model.parameters() if p.requires_grad)
            norms.append(clip_and_step(trained, optimizer, train.max_grad_norm))
    return sums, norms


def _micro_batches(lessons: Sequence[Lesson], size: int) -> Iterator[Sequence[Lesson]]:
    for start in range(0, len(lessons), size):
        yield lessons[start : start + size]


def _figures(
    judged: Sequence[Judged],
    lessons: Sequence[Lesson],
    sums: Mapping[str, float],
    norms: list[float],
    method: Method,
) -> dict[str, Any]:
    """Those of a GRPO step that mean something here, and the method's own."""
    stats = UpdateStats(
        loss=sums["loss"], tokens=sums["tokens"], entropy=sums["entropy"], grad_norms=norms
    )
    figures = summarise(judged, stats)
    for name in ("kl", "clip_fraction"):
        figures.pop(name, None)
    trained = sum(len(lesson.picks) for lesson in lessons)
    return {**figures, "trained": trained, **method.figures(sums)}


def _weighed(judged: Judged, lessons: Sequence[Lesson]) -> Judged:
    """For the records: in the place of advantages stands what each completion counted."""
    weights_G: npt.NDArray[np.float64] = np.zeros(len(judged.group.completions))
    for lesson in lessons:
        np.add.at(weights_G, list(lesson.picks), lesson.signs)
    return replace(judged, scored=ScoredGroup(judged.group, weights_G))
