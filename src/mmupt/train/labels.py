"""Where the label of a prompt comes from: people never, except in the supervised arm.

A labeller looks at samples (and, when it is the policy itself, at the policy's own rollouts) and
gives each a label with the share of the vote behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mmupt.config import ConsensusConfig
from mmupt.consensus.extract import extract
from mmupt.consensus.vote import vote
from mmupt.policy.inputs import encode
from mmupt.policy.model import Policy
from mmupt.policy.prompts import PromptMaker
from mmupt.policy.sampler import SamplingParams, sample, stream_seeds
from mmupt.types import Completion, Finish, Sample, Vote

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


def final_answer(completion: Completion, problem: str, kind: str) -> str | None:
    """The completion's answer; a truncated one abstains."""
    if completion.finish is Finish.LENGTH:
        return None
    return extract(completion.text, kind=kind, prompt=problem)


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
        params = SamplingParams(
            config.temperature, max_completion_length=self.max_completion_length
        )
        views = [(s, v) for s in samples for v in range(config.views)]
        count = len(views) * config.samples_per_view
        all_seeds = stream_seeds(self.seed, TEACHER_STREAM, step, count=count)
        texts: list[list[str | None]] = []
        for start in range(0, len(views), self.batch_size):
            part = views[start : start + self.batch_size]
            batch = encode(
                self.teacher, [self.prompts.prompt(s, v, TEACHER_STREAM) for s, v in part]
            )
            repeats = [config.samples_per_view] * len(part)
            seeds = all_seeds[start * config.samples_per_view :][: sum(repeats)]
            for (s, _), group in zip(
                part, sample(self.teacher, batch, repeats, seeds, params), strict=True
            ):
                texts.append([final_answer(c, s.problem, config.kind) for c in group])
        answers = [
            [a for view in texts[i * config.views : (i + 1) * config.views] for a in view]
            for i in range(len(samples))
        ]
        return [label_by_vote(a, config) for a in answers]


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
