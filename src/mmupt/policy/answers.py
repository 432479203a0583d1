"""What a model answers when it is asked: completions with the answers in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mmupt.asking import groups
from mmupt.asking.answerer import Draw, SamplingParams
from mmupt.asking.answers import Reply
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
                    decoded = decode(self.policy, prefix, [draw.count] * size, seeds, draw.params)
                    result += [[*group] for group in decoded]
                first += size
        return results


class StreamedAnswerer(LocalAnswerer):
    """As `LocalAnswerer`, for draws that share no prompts: prompts are let in as room appears.

    With a single draw no row waits for the longest of its batch.
    """

    def complete(
        self, prompts: Sequence[Prompt], draws: Sequence[Draw]
    ) -> list[list[list[Completion | None]]]:
        size = max(1, self.batch_size // 4)
        parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        results: list[list[list[Completion | None]]] = []
        for draw in draws:
            batches = ((encode(self.policy, part), [draw.count] * len(part)) for part in parts)
            room = self.batch_size * draw.count
            sampled = sample_all(self.policy, batches, draw.seeds, draw.params, room)
            results.append([[*group] for group in sampled])
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
    """`mmupt.asking.groups.ask` of a model here, where every reply comes.

    Args:
        batch_size: prompts that are answered at a time; it changes memory, not the result.
    """
    answerer = StreamedAnswerer(policy, batch_size)
    return _all(groups.ask(answerer, prompts, per_prompt, params, seeds, kind=kind))


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
    """`mmupt.asking.groups.ask_views` of a model here, where every reply comes.

    Args:
        batch_size: prompts that are answered at a time; it changes memory, not the result.
    """
    found = groups.ask_views(
        StreamedAnswerer(policy, batch_size), samples, maker, views=views, per_view=per_view,
        params=params, stream=stream, key=key, kind=kind, first=first,
    )  # fmt: skip
    return _all(found)


def _all(found: Sequence[Sequence[Reply | None]]) -> list[list[Reply]]:
    return [[reply for reply in group if reply is not None] for group in found]
