"""LMSI: fine-tuning on one's own majority responses (arXiv 2210.11610), without labels.

    for each step of a round:
        answers  the model of the round's start gives G completions of every prompt
        label    the majority, by `consensus`; a prompt with a small majority is left out
        loss     -log pi of the completions that reach the majority's answer

A baseline for comparison. Against the paper: a filter by vote share (`consensus.min_share`), votes
over views where the teacher is `frozen` (as published the completions themselves vote: `online`),
no mixture of prompt formats, and as many updates as a GRPO round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mmupt.config import Config
from mmupt.policy.inputs import encode
from mmupt.policy.model import Policy
from mmupt.policy.score import completion_logprobs, token_batch
from mmupt.train.judge import Judged
from mmupt.train.offline import Lesson, Method, reaching, train_offline
from mmupt.train.stage import AfterStep, Run
from mmupt.types import Sample


def train_lmsi(
    policy: Policy, samples: Sequence[Sample], run: Run, *, after_step: AfterStep | None = None
) -> None:
    """One round of self-training, in place; several rounds are several calls.

    Args:
        policy: trained in place.
        samples: questions without answers.
        run: configuration and places; `config.lmsi` holds what is LMSI's own.
        after_step: called with the step number after each update.
    """
    train_offline(policy, samples, run, lmsi(run.config), after_step=after_step)


def lmsi(config: Config) -> Method:
    def choose(judged: Judged, rng: np.random.Generator) -> list[Lesson]:
        return majority_lessons(
            judged, reaching(judged, config.consensus), config.lmsi.responses_per_prompt, rng
        )

    return Method(
        event="lmsi_step",
        learning_rate=config.lmsi.learning_rate or config.train.learning_rate,
        choose=choose,
        loss=majority_loss,
        figures=lambda _: {},
    )


def majority_lessons(
    judged: Judged, reaches: Sequence[bool], most: int | None, rng: np.random.Generator
) -> list[Lesson]:
    """The completions that reach the label, view by view; at most `most`, drawn at random."""
    chosen = [i for i, right in enumerate(reaches) if right]
    if most is not None and len(chosen) > most:
        chosen = sorted(int(i) for i in rng.permutation(chosen)[:most])
    completions = judged.group.completions
    lessons = []
    for view in range(len(judged.group.prompts)):
        picks = tuple(i for i in chosen if completions[i].view == view)
        if picks:
            lessons.append(Lesson(judged.group, view, picks, (1.0,) * len(picks)))
    return lessons


def majority_loss(
    policy: Policy, start: Policy, part: Sequence[Lesson], whole: Sequence[Lesson]
) -> tuple[torch.Tensor, Mapping[str, float]]:
    """Mean negative log-likelihood of the chosen completions' tokens.

        loss = -sum_t log pi(o_t | x, o_<t) / number of tokens in the update

    At temperature 1, whatever they were sampled at, as in any fine-tuning: completions sampled
    colder make the model colder.
    """
    del start
    tokens = token_batch(policy, [c.token_ids for lesson in part for c in lesson.completions])
    logps_NT, entropy_NT = completion_logprobs(
        policy,
        encode(policy, [lesson.prompt for lesson in part]),
        [len(lesson.picks) for lesson in part],
        tokens,
    )
    total = sum(len(c.token_ids) for lesson in whole for c in lesson.completions)
    loss = -(logps_NT * tokens.mask_NT).sum() / total
    entropy = float((entropy_NT * tokens.mask_NT).sum())
    return loss, {"tokens": float(tokens.mask_NT.sum()), "entropy": entropy}
