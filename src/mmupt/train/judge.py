"""One step's groups: rolled out, labelled and rewarded; and their figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmupt.asking.answers import Reply
from mmupt.clock import part
from mmupt.config import Config
from mmupt.policy.model import Policy
from mmupt.processes import ALONE, Processes
from mmupt.train.advantage import batch_std, group_advantages
from mmupt.train.labels import Label, Labeller, TeacherVotes, label_by_vote, reward_answers
from mmupt.train.rollout import Group, roll_out
from mmupt.train.stage import Run
from mmupt.train.update import ScoredGroup, UpdateStats
from mmupt.types import Sample


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
        "reward_mean": mean(rewards),
        "reward_std": mean([float(np.std(j.rewards)) for j in answered]),
        "reward_best": mean([max(j.rewards) for j in answered]),
        "vote_share": mean([label.share for label in labels]),
        "unanimous": mean([float(not j.scored.teaches) for j in answered]),
        "kept": mean([float(label.kept) for label in labels]),
        "label_answers": len({label.answer for label in labels if label.answer is not None}),
        "top_answer_share": top[0][1] / len(labels) if top else 0.0,
        "abstained": mean([float(a is None) for j in judged for a in j.answers]),
        "truncated": mean([float(c.finish == "length") for c in completions]),
        "length": mean([float(len(c.token_ids)) for c in completions]),
        "entropy": stats.entropy / stats.tokens if stats.tokens else float("nan"),
        "kl": stats.kl / tokens,
        "clip_fraction": stats.clipped / tokens,
        "grad_norm": mean(stats.grad_norms),
        "completions": len(whole),
        "tokens": sum(len(c.token_ids) for c in whole),
    }


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
