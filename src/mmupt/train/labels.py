"""Where the label of a prompt comes from: people never, except in the supervised arm.

A labeller looks at samples (and, when it is the policy itself, at the policy's own rollouts) and
gives each a label with the share of the vote behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mmupt.config import ConsensusConfig
from mmupt.consensus.vote import vote
from mmupt.policy.answers import ask_views
from mmupt.policy.model import Policy
from mmupt.policy.prompts import PromptMaker
from mmupt.policy.sampler import SamplingParams
from mmupt.types import Sample, Vote

TEACHER_STREAM = 1
"""Keeps the teacher's random numbers apart from the student's."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a prompt is trained towards.

    Attributes:
        answer: the label; None where there is none.
        share: share of all votes behind it, in [0, 1].
        tied: whether another answer had as many votes.
        kept: whether the prompt is trained on.
        answers: the answers that were voted on, None for abstentions.
        classes: their classes.
    """

    answer: str | None
    share: float
    tied: bool
    kept: bool
    answers: tuple[str | None, ...]
    classes: tuple[int | None, ...]


def label_by_vote(answers: Sequence[str | None], config: ConsensusConfig) -> Label:
    """The majority's label; ties and small majorities are not kept."""
    outcome: Vote = vote(answers, strategy="majority", kind=config.kind, rtol=config.rtol)
    kept = outcome.label is not None and not outcome.tied and outcome.share >= config.min_share
    return Label(outcome.label, outcome.share, outcome.tied, kept, tuple(answers), outcome.classes)


class Labeller(Protocol):
    """Labels prompts before the student answers."""

    def labels(self, samples: Sequence[Sample], step: int) -> list[Label]: ...


@dataclass
class TeacherVotes:
    """A teacher answers every view of a picture; the majority of its answers is the label."""

    teacher: Policy
    prompts: PromptMaker
    config: ConsensusConfig
    max_completion_length: int
    seed: int
    batch_size: int

    def labels(self, samples: Sequence[Sample], step: int) -> list[Label]:
        config = self.config
        replies = ask_views(
            self.teacher,
            samples,
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
        )
        return [label_by_vote([reply.answer for reply in group], config) for group in replies]


@dataclass
class TrueLabels:
    """Answers that people gave: the supervised arm, kept as an upper bound. Books what it uses."""

    answers: Mapping[str, str]

    def labels(self, samples: Sequence[Sample], step: int) -> list[Label]:
        del step
        return [
            Label(self.answers[s.id], 1.0, False, True, (self.answers[s.id],), (0,))
            for s in samples
        ]
