"""Label-free GRPO, round after round (MM-UPT, arXiv 2505.22453).

    for each step:
        labels   a teacher votes over views, or the policy's own rollouts vote
        rollouts G completions of every kept prompt
        rewards  r_i = [y_i ~ y*] through one partition of label and answers
        update   clipped policy gradient on A_i = r_i - mean r

`train_label_free` takes `Sample`, which has no answer; `train_supervised` is the upper bound that
evaluations compare with. Between the two, `train.anchors` mixes in questions that people answered.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmupt.clock import part, profiled
from mmupt.guard.probe import Probe, choose_samples
from mmupt.guard.rules import Finding
from mmupt.guard.watch import Audit, Guard, Outcome
from mmupt.policy.memory import RowLimit, row_limit, tell_halved
from mmupt.policy.model import Policy
from mmupt.train.average import MovingAverage
from mmupt.train.checkpoint import load_state, save_state
from mmupt.train.judge import Judged, judge, mean, summarise, votes_on
from mmupt.train.labels import (
    Label,
    Labeller,
    TeacherVotes,
    TrueLabels,
)
from mmupt.train.microbatch import TokenBudget
from mmupt.train.optim import freeze_vision, lr_factor, make_optimizer, set_learning_rate
from mmupt.train.profile import machine_rate, step_figures
from mmupt.train.records import write_rollouts
from mmupt.train.rollout import STUDENT_STREAM
from mmupt.train.sft import batch_indices
from mmupt.train.stage import AfterStep, Run
from mmupt.train.update import update
from mmupt.types import LabelledSample, Sample

KNOWN_STREAM = 9
"""Keeps the order of prompts with known labels apart from that of the others."""


@dataclass(frozen=True)
class Known:
    """Prompts at the end of every step's batch whose labels are known and not voted on.

    Attributes:
        samples: the questions.
        labeller: knows their labels.
        per_step: how many of a step's prompts they are; they come in a shuffled order of their own.
    """

    samples: Sequence[Sample]
    labeller: Labeller
    per_step: int

    def batch(self, step: int, seed: int) -> tuple[list[Sample], list[Label]]:
        """Questions and labels of 1-based `step`."""
        indices = batch_indices(len(self.samples), self.per_step, step, seed, KNOWN_STREAM)
        asked = [self.samples[i] for i in indices]
        return asked, self.labeller.labels(asked, step)


def train_label_free(
    policy: Policy,
    samples: Sequence[Sample],
    run: Run,
    *,
    after_step: AfterStep | None = None,
    audit: Audit | None = None,
) -> Outcome:
    """One label-free round, in place, watched by the guard.

    Args:
        policy: trained in place.
        samples: questions without answers.
        run: configuration and places.
        after_step: called with the step number after each update (interim evaluation).
        audit: tells a policy's accuracy on rows that people have checked; only the choice of the
            best checkpoint looks at it.

    Returns:
        How the round ended: to its end or stopped, and with which checkpoint.
    """
    return train_beside(policy, samples, run, None, after_step=after_step, audit=audit)


def train_beside(
    policy: Policy,
    samples: Sequence[Sample],
    run: Run,
    known: Known | None,
    *,
    after_step: AfterStep | None = None,
    audit: Audit | None = None,
) -> Outcome:
    """`train_label_free` on `samples`, beside prompts in every step whose labels are known."""
    config = run.config
    if config.train.freeze_vision:
        freeze_vision(policy.model)  # before the teacher, who shares what is frozen
    teacher, recorded = None, config.consensus.votes is not None
    if config.consensus.teacher != "online" and not recorded:
        teacher = policy.clone() if config.consensus.teacher == "ema" else policy.reference()
    labeller = None
    if teacher is not None or recorded:
        labeller = TeacherVotes(  # recorded votes are read, and nobody is asked
            policy if teacher is None else teacher, run.prompts, config.consensus,
            config.train.max_completion_length, run.seed, config.train.micro_batch_size,
            run.processes,
        )  # fmt: skip
    return _train(
        policy, samples, run, labeller, teacher, after_step, make_guard(samples, run, audit), known
    )


def make_guard(samples: Sequence[Sample], run: Run, audit: Audit | None = None) -> Guard | None:
    """The guard of a round on `samples`; None where the configuration switches it off."""
    config = run.config
    if config.guard.action == "none":
        return None
    probe = Probe(
        samples=choose_samples(samples, config.guard.probe_size, run.seed),
        maker=run.prompts,
        config=config.guard,
        kind=config.consensus.kind,
        rtol=config.consensus.rtol,
        max_completion_length=config.train.max_completion_length,
        batch_size=config.train.micro_batch_size,
        seed=run.seed,
        processes=run.processes,
    )
    return Guard(config.guard, probe, run.log, run.stage, audit)


def train_supervised(
    policy: Policy, rows: Sequence[LabelledSample], run: Run, *, after_step: AfterStep | None = None
) -> None:
    """GRPO towards true answers: what labels would have bought. Uses the labels it is given.

    Without `dynamic_sampling`, so that a step costs `prompts_per_step` labels.
    """
    train = run.config.train.model_copy(update={"dynamic_sampling": False})
    run = replace(run, config=run.config.model_copy(update={"train": train}))
    if run.config.train.freeze_vision:
        freeze_vision(policy.model)
    labeller = TrueLabels({row.sample.id: row.answer for row in rows})
    _train(policy, [row.sample for row in rows], run, labeller, None, after_step, None)


def _train(
    policy: Policy,
    samples: Sequence[Sample],
    run: Run,
    labeller: Labeller | None,
    teacher: Policy | None,
    after_step: AfterStep | None,
    guard: Guard | None,
    known: Known | None = None,
) -> Outcome:
    """A round, with one limit of memory for all that is sampled in it."""
    with row_limit() as limit:
        return _steps(
            policy, samples, run, labeller, teacher, after_step, guard, known, limit
        )  # fmt: skip


def _steps(
    policy: Policy,
    samples: Sequence[Sample],
    run: Run,
    labeller: Labeller | None,
    teacher: Policy | None,
    after_step: AfterStep | None,
    guard: Guard | None,
    known: Known | None,
    limit: RowLimit,
) -> Outcome:
    config, consensus = run.config.train, run.config.consensus
    moving = None
    if teacher is not None and consensus.teacher == "ema":
        moving = MovingAverage(teacher, policy, consensus.ema_decay)
    reference = None
    if config.beta:  # a frozen teacher is the model of the round's start already
        reference = teacher if teacher is not None and moving is None else policy.reference()
    optimizer = make_optimizer(
        policy.model, config.learning_rate, config.weight_decay, config.zero_stage, run.processes
    )
    extra = {} if moving is None else {"teacher": moving.averages}
    if guard is not None:
        extra["best"] = guard.best
    done, notes = load_state(run.state_dir, policy.model, optimizer, extra, run.processes)
    if moving is not None:
        moving.show()
    budget = TokenBudget(notes.get("micro_batch_tokens", config.micro_batch_tokens))
    limit.rows, limit.prompts = notes.get("sampling_rows"), notes.get("sampling_prompts")
    run.log.emit(
        "run_resumed" if done else "stage_started",
        stage=run.stage,
        step=done,
        total_steps=config.max_steps,
    )
    if guard is not None and done:
        guard.restore(notes["guard"])
    elif guard is not None:
        labels = votes_on(policy, guard.probe.samples, run, labeller)
        answers = [label.answer if label.kept else None for label in labels]
        guard.begin(policy, answers, views=config.views, stream=STUDENT_STREAM)
    speed = machine_rate(policy, config.bf16, run.log, run.stage, run.processes)
    saving = 0.0
    step, stopping = done, list[Finding]()
    batches = notes.get("batches", done)
    while step < config.max_steps and not stopping:
        step += 1
        started = time.perf_counter()
        rate = config.learning_rate * lr_factor(
            config.lr_scheduler_type, step, config.warmup_steps, config.max_steps
        )
        set_learning_rate(optimizer, rate)
        with profiled() as profile:
            judged, batches = _fill(policy, samples, run, labeller, known, step, batches)
            places = [i for i, j in enumerate(judged) if j.group.prompts and not j.spare]
            mine = [judged[i].scored for i in places]
            stats = update(
                policy, optimizer, mine, config, reference, run.processes, budget, places
            )
            with part("save"):
                if run.processes.main:
                    write_rollouts(run.rollouts_dir, run.stage, step, judged)
        for old, new in stats.halved:
            run.log.emit(
                "memory_halved",
                stage=run.stage, step=step, where="update", what="tokens", old=old, new=new,
            )  # fmt: skip
        tell_halved(limit, run.log, run.processes, stage=run.stage, step=step)
        if moving is not None:
            moving.update()
        figures = summarise(judged, stats)
        profile.seconds["save"] += saving  # the point after the step before, as no event followed
        seconds = time.perf_counter() - started + saving
        run.log.emit(
            "grpo_step",
            stage=run.stage,
            step=step,
            learning_rate=rate,
            **figures,
            prompts=sum(not j.anchor for j in judged),
            anchors=sum(j.anchor for j in judged),
            anchor_reward=mean([r for j in judged if j.anchor for r in j.rewards]),
            **step_figures(profile, seconds, speed, run.processes),
        )
        if guard is not None:
            stopping = guard.after(policy, step, figures["entropy"], config.max_steps)
        saving = 0.0
        if step % run.config.save_steps == 0 and step < config.max_steps and not stopping:
            kept: dict[str, Any] = {
                "micro_batch_tokens": budget.tokens,
                "sampling_rows": limit.rows,
                "sampling_prompts": limit.prompts,
                "batches": batches,
            }
            if guard is not None:
                kept["guard"] = guard.state()
            begun = time.perf_counter()
            save_state(run.state_dir, step, policy.model, optimizer, extra, kept, run.processes)
            saving = time.perf_counter() - begun
        if after_step is not None:
            after_step(step)
    outcome = guard.finish(policy, step, stopping) if guard is not None else Outcome(step)
    tell_halved(limit, run.log, run.processes, stage=run.stage, step=step)
    return outcome


def _fill(
    policy: Policy,
    samples: Sequence[Sample],
    run: Run,
    labeller: Labeller | None,
    known: Known | None,
    step: int,
    batches: int,
) -> tuple[list[Judged], int]:
    """The groups of one step, those with known labels last; and how many batches are used up.

    With `dynamic_sampling` (DAPO, arXiv 2503.14476) prompts come batch by batch until
    `prompts_per_step` groups teach, that is have an advantage that is not zero; anchors count
    whether they teach or not. The groups are all that were looked at, as figures of the teaching
    ones alone would tell of other votes; teaching groups beyond those needed are `spare`.

    Args:
        step: of the known ones.
        batches: those that former steps looked at; a batch's prompts, views and random numbers
            depend on its number alone.
    """
    config = run.config.train
    anchors, truths = known.batch(step, run.seed) if known is not None else ([], [])
    size = config.prompts_per_step - len(anchors)
    voted, at_end = list[Judged](), list[Judged]()
    for _ in range(1 + (config.max_resample if config.dynamic_sampling else 0)):
        batches += 1
        asked = [samples[i] for i in batch_indices(len(samples), size, batches, run.seed)]
        judged = judge(policy, [*asked, *anchors], run, labeller, batches, truths)
        voted += judged[:size]
        at_end += judged[size:]
        anchors, truths = [], []
        if sum(j.scored.teaches for j in voted) >= size:
            break
    teaching = [i for i, j in enumerate(voted) if j.scored.teaches]
    spare = frozenset(teaching[size:])
    return [replace(j, spare=i in spare) for i, j in enumerate(voted)] + at_end, batches
