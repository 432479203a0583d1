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
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmupt.asking.answers import Reply
from mmupt.asking.maker import PromptMaker
from mmupt.clock import part, profiled
from mmupt.config import Config
from mmupt.events import EventLog
from mmupt.guard.probe import Probe, choose_samples
from mmupt.guard.rules import Finding
from mmupt.guard.watch import Audit, Guard, Outcome
from mmupt.policy.memory import RowLimit, row_limit, tell_halved
from mmupt.policy.model import Policy
from mmupt.processes import ALONE, Processes
from mmupt.train.advantage import batch_std, group_advantages
from mmupt.train.average import MovingAverage
from mmupt.train.checkpoint import load_state, save_state
from mmupt.train.labels import (
    Label,
    Labeller,
    TeacherVotes,
    TrueLabels,
    label_by_vote,
    reward_answers,
)
from mmupt.train.microbatch import TokenBudget
from mmupt.train.optim import freeze_vision, lr_factor, make_optimizer, set_learning_rate
from mmupt.train.profile import machine_rate, step_figures
from mmupt.train.records import write_rollouts
from mmupt.train.rollout import STUDENT_STREAM, Group, roll_out
from mmupt.train.sft import batch_indices
from mmupt.train.update import ScoredGroup, UpdateStats, update
from mmupt.types import LabelledSample, Sample

AfterStep = Callable[[int], None]
"""Told the number of each step after its update."""

KNOWN_STREAM = 9
"""Keeps the order of prompts with known labels apart from that of the others."""


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
        processes: who trains together; each rolls out and learns from its share of every step's
            prompts, and the update is that of one process.
    """

    config: Config
    prompts: PromptMaker
    log: EventLog
    stage: str
    key: int
    state_dir: Path
    rollouts_dir: Path
    processes: Processes = ALONE

    @property
    def seed(self) -> int:
        """One seed per run and stage."""
        return self.config.seed * 1009 + self.key


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


@dataclass(frozen=True)
class Judged:
    """A group with its label, answers and rewards.

    Every process judges all groups of a step; those that another one rolled out have no prompts.

    Attributes:
        anchor: whether the label was known and not voted on.
        spare: whether it is not trained on because the step had enough others already.
    """

    group: Group
    label: Label
    answers: tuple[str | None, ...]
    rewards: tuple[float, ...]
    scored: ScoredGroup
    anchor: bool = False
    spare: bool = False


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
    teacher = None
    if config.consensus.teacher != "online":
        teacher = policy.clone() if config.consensus.teacher == "ema" else policy.reference()
    labeller = None
    if teacher is not None:
        labeller = TeacherVotes(
            teacher, run.prompts, config.consensus, config.train.max_completion_length, run.seed,
            config.train.micro_batch_size, run.processes,
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
    optimizer = make_optimizer(policy.model, config.learning_rate, config.weight_decay)
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
            anchor_reward=_mean([r for j in judged if j.anchor for r in j.rewards]),
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


def votes_on(
    policy: Policy, samples: Sequence[Sample], run: Run, labeller: Labeller | None
) -> list[Label]:
    """What the round's own votes make of samples that are not trained on, as of step 0."""
    if isinstance(labeller, TeacherVotes) and run.config.consensus.strategy.name != "dual":
        return labeller.labels(samples, 0)
    return [judged.label for judged in judge(policy, samples, run, labeller, 0)]


def judge(
    policy: Policy,
    samples: Sequence[Sample],
    run: Run,
    labeller: Labeller | None,
    step: int,
    known: Sequence[Label] = (),
) -> list[Judged]:
    """Label, roll out and reward one step's samples, in their order.

    The processes share the rolling out; each gets all groups, the others' without their prompts,
    as labels, filters and deviations may look at a whole step.

    With a labeller, a prompt that is not kept is never rolled out: its group is empty. Without one
    the policy's own rollouts vote (online), and a prompt that is not kept gets no reward.

    Args:
        known: labels of the last samples, as many as there are; they take no part in the vote.
    """
    config = run.config
    consensus, processes = config.consensus, run.processes
    count = len(samples) - len(known)
    voted = samples[:count]
    both = consensus.strategy.name == "dual" and isinstance(labeller, TeacherVotes)
    labels = labeller.labels(voted, step) if labeller is not None and not both else None
    wanted = [True] * count if labels is None else [label.trains for label in labels]
    wanted += [label.trains for label in known]
    asked = [s for s, want in zip(samples, wanted, strict=True) if want]
    answered = iter(_answer_together(policy, asked, run, step))
    groups, replies = zip(
        *(
            next(answered) if want else (Group(sample, (), ()), ())
            for sample, want in zip(samples, wanted, strict=True)
        ),
        strict=True,
    )
    if labels is None:
        teachers = labeller.replies(voted, step) if isinstance(labeller, TeacherVotes) else ()
        labels = processes.told(lambda: label_by_vote(replies[:count], voted, consensus, teachers))
    with part("reward"):
        judged = reward(groups, [*labels, *known], replies, config, processes)
    return judged[:count] + [replace(j, anchor=True) for j in judged[count:]]


def _answer_together(
    policy: Policy, samples: Sequence[Sample], run: Run, step: int
) -> list[tuple[Group, tuple[Reply, ...]]]:
    """Every sample's group with its replies; this process rolls out and reads its own share."""
    mine = run.processes.share(len(samples))
    own = roll_out(
        policy, samples[mine], run.prompts, run.config.train,
        seed=run.seed, step=step, first=mine.start,
    )  # fmt: skip
    answered = [(group, group.replies(run.config.consensus.kind)) for group in own]
    # Pictures stay where they are: the others' groups are voted on and recorded, not trained on.
    bare = [(replace(group, prompts=()), replies) for group, replies in answered]
    everyone = run.processes.join(bare)
    everyone[mine] = answered
    return everyone


def reward(
    groups: Sequence[Group],
    labels: Sequence[Label],
    replies: Sequence[Sequence[Reply]],
    config: Config,
    processes: Processes = ALONE,
) -> list[Judged]:
    """Rewards and advantages of a step's groups; a penalty is taken off the advantages."""
    answers = [tuple(reply.answer for reply in group) for group in replies]
    mine = processes.share(len(groups))
    rewards = processes.join(
        [
            reward_answers(label, own, config.consensus)
            for label, own in zip(labels[mine], answers[mine], strict=True)
        ]
    )
    spread = batch_std([r for r, label in zip(rewards, labels, strict=True) if label.kept])
    return [
        Judged(
            group, label, own, got,
            ScoredGroup(
                group,
                group_advantages(
                    got, config.train.scale_rewards, spread, config.train.adv_estimator
                )
                - label.penalty,
            ),
        )
        for group, label, own, got in zip(groups, labels, answers, rewards, strict=True)
    ]  # fmt: skip


def summarise(judged: Sequence[Judged], stats: UpdateStats) -> dict[str, Any]:
    """The figures of one step; NaN where there is nothing to average.

    Those of votes, rewards and completions are of the prompts without a known label, so that they
    compare with other rounds; those of the update, `completions` and `tokens` are of all.
    """
    whole = [c for j in judged for c in j.group.completions]
    judged = [j for j in judged if not j.anchor]
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
        "reward_best": _mean([max(j.rewards) for j in answered]),
        "vote_share": _mean([label.share for label in labels]),
        "unanimous": _mean([float(not j.scored.teaches) for j in answered]),
        "kept": _mean([float(label.kept) for label in labels]),
        "label_answers": len({label.answer for label in labels if label.answer is not None}),
        "top_answer_share": top[0][1] / len(labels) if top else 0.0,
        "abstained": _mean([float(a is None) for j in judged for a in j.answers]),
        "truncated": _mean([float(c.finish == "length") for c in completions]),
        "length": _mean([float(len(c.token_ids)) for c in completions]),
        "entropy": stats.entropy / stats.tokens if stats.tokens else float("nan"),
        "kl": stats.kl / tokens,
        "clip_fraction": stats.clipped / tokens,
        "grad_norm": _mean(stats.grad_norms),
        "completions": len(whole),
        "tokens": sum(len(c.token_ids) for c in whole),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
