"""Where the label of a prompt comes from: people never, except in the supervised arm and anchors.

A labeller looks at samples (and, when it is the policy itself, at the policy's own rollouts) and
gives each a label with the share of the vote behind it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from mmupt.asking.answerer import SamplingParams
from mmupt.asking.answers import Reply
from mmupt.asking.maker import PromptMaker
from mmupt.ballots import filters_of, strategy_options
from mmupt.clock import part
from mmupt.config import ConsensusConfig
from mmupt.config_votes import VetoVote, WeightedVote
from mmupt.consensus.checkers import arithmetic_holds, has_unit, in_range
from mmupt.consensus.equivalence import partition
from mmupt.consensus.filters import keep
from mmupt.consensus.reward import rewards_by_class
from mmupt.consensus.vote import vote
from mmupt.plugins import load_function
from mmupt.processes import ALONE, Processes
from mmupt.train.recorded import recorded_of
from mmupt.types import Completion, Sample, Vote

if TYPE_CHECKING:
    from mmupt.policy.model import Policy

TEACHER_STREAM = 1
"""Keeps the teacher's random numbers apart from the student's."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a prompt is trained towards.

    Attributes:
        vote: label, share, classes and the voters' rewards.
        answers: the answers that were voted on, None for abstentions.
        kept: whether the prompt is trained on.
        penalty: what every completion's advantage loses, whether kept or not; 0 but for strategy
            "restrain" where there is no consensus.
    """

    vote: Vote
    answers: tuple[str | None, ...]
    kept: bool
    penalty: float = 0.0

    @property
    def answer(self) -> str | None:
        """The label; None where there is none."""
        return self.vote.label

    @property
    def share(self) -> float:
        """Share of all votes behind the label, in [0, 1]."""
        return self.vote.share

    @property
    def trains(self) -> bool:
        """Whether the prompt's completions are looked at at all."""
        return self.kept or self.penalty > 0.0


def label_by_vote(
    groups: Sequence[Sequence[Reply]],
    samples: Sequence[Sample],
    config: ConsensusConfig,
    teachers: Sequence[Sequence[Reply]] = (),
) -> list[Label]:
    """The labels of a whole batch: strategies and filters may look at all of it.

    Args:
        groups: the voters' replies to each sample.
        samples: the questions, for a user's checker.
        config: strategy, its options and the filters.
        teachers: a teacher's replies, for the strategy "dual".
    """
    answers = [tuple(reply.answer for reply in group) for group in groups]
    prior = _shares_of_all(answers) if config.strategy.name == "prior" else {}
    votes = []
    for index, group in enumerate(groups):
        options: dict[str, Any] = strategy_options(config)
        if isinstance(config.strategy, WeightedVote):
            options["weights"] = [_weight(r.completion, config.strategy.weights) for r in group]
        if config.strategy.name == "harmony":
            options["views"] = [reply.completion.view for reply in group]
        if config.strategy.name == "prior":
            options["prior"] = prior
        if config.strategy.name == "dual":
            options["teacher_answers"] = [reply.answer for reply in teachers[index]]
        if isinstance(config.strategy, VetoVote):
            options["checker"] = partial(accepts, config.strategy, config, samples[index], group)
        with part("vote"):
            votes.append(vote(answers[index], config.strategy.name, **options))
    kept = keep(votes, filters_of(config))
    return [
        Label(one, own, _trainable(one, passed, config), _penalty(one, config))
        for one, own, passed in zip(votes, answers, kept, strict=True)
    ]


def reward_answers(
    label: Label, answers: Sequence[str | None], config: ConsensusConfig
) -> tuple[float, ...]:
    """The rewards of answers under a label: 0 for all where it is not kept.

    r_i = reward of the class of y_i in the vote; for a majority [y_i ~ y*] (arXiv 2505.22453). For
    free text (strategy "mbr") the mean agreement with the voters.
    """
    if not label.kept:
        return (0.0,) * len(answers)
    if config.strategy.name == "mbr":
        from mmupt.consensus.freetext import agreement

        return agreement(answers, label.answers, **strategy_options(config))
    return rewards_by_class(
        label.answers, label.vote.rewards, answers, kind=config.kind, rtol=config.rtol
    )


def accepts(
    strategy: VetoVote, config: ConsensusConfig, sample: Sample, group: Sequence[Reply], label: str
) -> bool:
    """Whether a majority passes every check that is set."""
    bounded = strategy.integer or strategy.minimum is not None or strategy.maximum is not None
    if bounded and not in_range(
        label, strategy.minimum, strategy.maximum, strategy.integer,
        unit=strategy.unit, kind=config.kind,
    ):  # fmt: skip
        return False
    if strategy.unit is not None and not has_unit(label, strategy.unit, config.kind):
        return False
    answers = [reply.answer for reply in group]
    classes = partition(answers, kind=config.kind, rtol=config.rtol)
    winner = classes[answers.index(label)]
    behind = [r.completion.text for r, k in zip(group, classes, strict=True) if k == winner]
    if strategy.arithmetic and not arithmetic_holds(behind):
        return False
    if strategy.program is None:
        return True
    program: Callable[[str, str, list[str]], object] = load_function(
        strategy.program, "consensus.strategy.program"
    )
    return bool(program(label, sample.problem, behind))


class Labeller(Protocol):
    """Labels prompts before the student answers."""

    def labels(self, samples: Sequence[Sample], step: int) -> list[Label]: ...


@dataclass
class TeacherVotes:
    """A teacher answers every view of a picture; the vote of its answers is the label.

    With `consensus.votes` its answers are those of that file, and nobody is asked.
    """

    teacher: Policy
    prompts: PromptMaker
    config: ConsensusConfig
    max_completion_length: int
    seed: int
    batch_size: int
    processes: Processes = ALONE

    def __post_init__(self) -> None:
        self.recorded = None if self.config.votes is None else recorded_of(self.config)

    def replies(self, samples: Sequence[Sample], step: int) -> list[list[Reply]]:
        """The teacher's replies, view by view; each process asks its share of the samples."""
        if self.recorded is not None:
            return self.recorded.replies(samples)
        from mmupt.policy.answers import ask_views  # votes of a server are counted without torch

        config = self.config
        mine = self.processes.share(len(samples))
        own = ask_views(
            self.teacher,
            samples[mine],
            self.prompts,
            views=config.views,
            per_view=config.samples_per_view,
            params=SamplingParams(
                config.temperature, max_completion_length=self.max_completion_length
            ),
            stream=TEACHER_STREAM,
            key=(self.seed, TEACHER_STREAM, step),
            kind=config.kind,
            batch_size=self.batch_size,
            first=mine.start,
        )
        return self.processes.join(own)

    def labels(self, samples: Sequence[Sample], step: int) -> list[Label]:
        replies = self.replies(samples, step)
        return self.processes.told(lambda: label_by_vote(replies, samples, self.config))


@dataclass
class TrueLabels:
    """Answers that people gave: those of the supervised arm, an upper bound, and of anchors."""

    answers: Mapping[str, str]

    def labels(self, samples: Sequence[Sample], step: int) -> list[Label]:
        del step
        truths = [self.answers[s.id] for s in samples]
        return [Label(Vote(t, 1.0, False, (0,), (1.0,)), (t,), True) for t in truths]


def _trainable(one: Vote, passed: bool, config: ConsensusConfig) -> bool:
    """A vetoed majority has no label and still teaches: its residual rewards sum to zero."""
    return passed or (config.strategy.name == "veto" and one.label is None and any(one.rewards))


def _penalty(one: Vote, config: ConsensusConfig) -> float:
    """RESTRAIN's negative advantage where there is no consensus (arXiv 2510.02172)."""
    lost = config.strategy.name == "restrain" and one.label is None and any(one.rewards)
    return -min(one.rewards) if lost else 0.0


def _weight(completion: Completion, kind: str) -> float:
    if kind == "self-certainty":
        return max(0.0, completion.self_certainty)
    count = len(completion.logprobs)
    return math.exp(math.fsum(completion.logprobs) / count) if count else 0.0


def _shares_of_all(answers: Sequence[Sequence[str | None]]) -> dict[str, float]:
    """Share of each written answer among all votes of the batch, abstentions included."""
    counts = Counter(a for group in answers for a in group if a)
    total = sum(map(len, answers))
    return {answer: count / total for answer, count in counts.items()}
