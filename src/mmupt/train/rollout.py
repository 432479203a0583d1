"""The student's rollouts: G completions of each prompt, spread over views of its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmupt.config import TrainConfig
from mmupt.policy.answers import Reply, final_answer
from mmupt.policy.inputs import Prompt, encode
from mmupt.policy.model import Policy
from mmupt.policy.prompts import PromptMaker
from mmupt.policy.sampler import SamplingParams, sample, stream_seeds
from mmupt.types import Completion, Sample

STUDENT_STREAM = 2


@dataclass(frozen=True)
class Group:
    """All completions of one sample.

    Attributes:
        sample: the question.
        prompts: one per view.
        completions: G completions, view by view.
        prompt_tokens: tokens of each prompt, pictures included; empty where nobody has counted.
    """

    sample: Sample
    prompts: tuple[Prompt, ...]
    completions: tuple[Completion, ...]
    prompt_tokens: tuple[int, ...] = ()

    @property
    def per_view(self) -> int:
        return len(self.completions) // len(self.prompts)

    def replies(self, kind: str) -> tuple[Reply, ...]:
        """The completions with their final answers."""
        return tuple(
            Reply(c, final_answer(c, self.prompts[c.view], kind)) for c in self.completions
        )


def roll_out(
    policy: Policy,
    samples: Sequence[Sample],
    prompts: PromptMaker,
    config: TrainConfig,
    *,
    seed: int,
    step: int,
    first: int = 0,
) -> list[Group]:
    """Sample `num_generations` completions of every sample.

    Args:
        first: place of the first of these samples among all of the step, which their random
            numbers depend on.

    Groups are whole by construction: a sample's completions are never split over batches of
    different calls, and nothing is cut by position.
    """
    params = SamplingParams(
        config.temperature, config.top_p, config.top_k, config.max_completion_length
    )
    per_view = config.num_generations // config.views
    per_batch = max(1, config.micro_batch_size // config.views)
    per_sample = config.num_generations
    count = (first + len(samples)) * per_sample
    all_seeds = stream_seeds(seed, STUDENT_STREAM, step, count=count)[first * per_sample :]
    groups: list[Group] = []
    for start in range(0, len(samples), per_batch):
        part = samples[start : start + per_batch]
        views = [
            tuple(prompts.prompt(s, v, STUDENT_STREAM, step) for v in range(config.views))
            for s in part
        ]
        batch = encode(policy, [p for vs in views for p in vs])
        repeats = [per_view] * len(batch)
        seeds = all_seeds[start * per_sample :][: sum(repeats)]
        lengths = batch.lengths.tolist()
        sampled = sample(policy, batch, repeats, seeds, params)
        for i, (one, prompts_of_one) in enumerate(zip(part, views, strict=True)):
            completions = tuple(
                replace(c, view=v)
                for v in range(config.views)
                for c in sampled[i * config.views + v]
            )
            counted = tuple(lengths[i * config.views :][: config.views])
            groups.append(Group(one, prompts_of_one, completions, counted))
    return groups
