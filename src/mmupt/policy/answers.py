"""What a model answers when it is asked: completions with the answers in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mmupt.asking.answerer import Draw, SamplingParams, stream_seeds
from mmupt.asking.answers import Reply, final_answer
from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.policy.inputs import encode
from mmupt.policy.model import Policy
from mmupt.policy.sampler import decode, prefilled, sample_all
from mmupt.types import Completion, Sample


class LocalAnswerer:
    """A model in this process, as an `mmupt.asking.answerer.Answerer`.

    Args:
        policy: the model.
        batch_size: prompts that are answered at a time; it changes memory, not the result.
    """

    def __init__(self, policy: Policy, batch_size: int) -> None:
        self.policy, self.batch_size = policy, batch_size

    @property
    def name(self) -> str:
        return str(self.policy.path)

    def complete(
        self, prompts: Sequence[Prompt], draws: Sequence[Draw]
    ) -> list[list[list[Completion | None]]]:
        """Completions, ``[draw][prompt][number]``; each prompt is prefilled once for all draws."""
        results: list[list[list[Completion | None]]] = [[] for _ in draws]
        for start in range(0, len(prompts), self.batch_size):
            first = start
            # more than one prefix where memory is short
            for prefix, size in prefilled(self.policy, prompts[start : start + self.batch_size]):
                for draw, result in zip(draws, results, strict=True):
                    seeds = draw.seeds[first * draw.count : (first + size) * draw.count]
                    groups = decode(self.policy, prefix, [draw.count] * size, seeds, draw.params)
                    result += [[*group] for group in groups]
                first += size
        return results


def ask(
    policy: Policy,
    prompts: Sequence[Prompt],
    per_prompt: int,
    params: SamplingParams,
    seeds: npt.NDArray[np.uint64],
    *,
    kind: str,
    batch_size: int,
) -> list[list[Reply]]:
    """`per_prompt` replies to every prompt; batches change memory, not the result.

    Args:
        policy: who answers.
        prompts: N prompts.
        per_prompt: replies to each.
        params: how to sample.
        seeds: one per reply, N * per_prompt, prompts in order.
        kind: kind of answer, see `mmupt.extract`.
        batch_size: prompts that are answered at a time.
    """
    if not prompts:
        return []
    size = max(1, batch_size // 4)  # let in as room appears
    parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    batches = ((encode(policy, part), [per_prompt] * len(part)) for part in parts)
    groups = sample_all(policy, batches, seeds, params, batch_size * per_prompt)
    return [
        [Reply(c, final_answer(c, prompt, kind)) for c in group]
        for prompt, group in zip(prompts, groups, strict=True)
    ]


def ask_views(
    policy: Policy,
    samples: Sequence[Sample],
    maker: PromptMaker,
    *,
    views: int,
    per_view: int,
    params: SamplingParams,
    stream: int,
    key: Sequence[int],
    kind: str,
    batch_size: int,
    first: int = 0,
) -> list[list[Reply]]:
    """views * per_view replies to every sample, view by view, each completion knowing its view.

    Args:
        stream: keeps views and random numbers apart from those of other uses; the views of a
            sample are the same whenever the stream is.
        key: seed and step of the draws.
        first: place of the first of these samples among all of the step, which their random
            numbers depend on.
    """
    prompts = [maker.prompt(s, v, stream) for s in samples for v in range(views)]
    before = first * views * per_view
    seeds = stream_seeds(*key, count=before + len(prompts) * per_view)[before:]
    flat = ask(policy, prompts, per_view, params, seeds, kind=kind, batch_size=batch_size)
    return [
        [
            Reply(replace(reply.completion, view=view), reply.answer)
            for view in range(views)
            for reply in flat[index * views + view]
        ]
        for index in range(len(samples))
    ]
