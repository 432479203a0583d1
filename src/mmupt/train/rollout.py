"""The student's rollouts: G completions of each prompt, spread over views of its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmupt.asking.answerer import SamplingParams, stream_seeds
from mmupt.asking.answers import Reply, final_answer
from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.config import TrainConfig
from mmupt.policy.inputs import PromptBatch, encode
from mmupt.policy.model import Policy
from mmupt.policy.sampler import sample_all
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
        config.temperature,
        config.top_p,
        config.top_k,
        config.max_completion_length,
        config.min_p,
        config.stop_strings,
    )
    per_view, per_sample = config.num_generations // config.views, config.num_generations
    count = (first + len(samples)) * per_sample
    seeds = stream_seeds(seed, STUDENT_STREAM, step, count=count)[first * per_sample :]
    if not samples:
        return []
    made: list[tuple[Prompt, ...]] = []
    lengths: list[int] = []

    def batches() -> Iterator[tuple[PromptBatch, list[int]]]:
        """A quarter of the room at a time, so that prompts come in while others are answered."""
        size = max(1, config.micro_batch_size // (4 * config.views))
        for start in range(0, len(samples), size):
            views = [
                tuple(prompts.prompt(s, v, STUDENT_STREAM, step) for v in range(config.views))
                for s in samples[start : start + size]
            ]
            made.extend(views)
            batch = encode(policy, [p for vs in views for p in vs])
            lengths.extend(batch.lengths.tolist())
            yield batch, [per_view] * len(batch)

    room = config.micro_batch_size * per_view
    sampled = sample_all(policy, batches(), seeds, params, room)
    return [
        Group(
            one,
            made[i],
            tuple(
                replace(c, view=v)
                for v in range(config.views)
                for c in sampled[i * config.views + v]
            ),
            tuple(lengths[i * config.views :][: config.views]),
        )
        for i, one in enumerate(samples)
    ]
