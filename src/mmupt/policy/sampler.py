"""Sampling completions: each prompt prefilled once, finished rows dropped.

Every row draws from its own counter-based stream, so a completion depends on its seed alone and
not on the batch it was sampled in (up to the floating-point noise of the logits).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mmupt.asking.answerer import SamplingParams
from mmupt.asking.prompt import Prompt
from mmupt.policy.decoding import Decoding, prefill_counted, too_large
from mmupt.policy.inputs import PromptBatch, encode
from mmupt.policy.memory import give_back, open_limit, out_of_memory
from mmupt.policy.model import Policy, inference
from mmupt.policy.shared import Prefix
from mmupt.types import Completion


def sample(
    policy: Policy,
    batch: PromptBatch,
    repeats: Sequence[int],
    seeds: npt.NDArray[np.uint64],
    params: SamplingParams,
) -> list[list[Completion]]:
    """Sample `repeats[b]` completions of prompt b.

    Args:
        batch: B encoded prompts.
        repeats: completions per prompt, B numbers.
        seeds: one seed per completion, R = sum(repeats), prompts in order.

    Returns:
        B lists of completions, each with its tokens and their log-probabilities.
    """
    return sample_all(policy, iter([(batch, repeats)]), seeds, params)


def sample_all(
    policy: Policy,
    batches: Iterator[tuple[PromptBatch, Sequence[int]]],
    seeds: npt.NDArray[np.uint64],
    params: SamplingParams,
    room: int | None = None,
) -> list[list[Completion]]:
    """`sample` for a stream of batches: the next is let in as soon as its rows have room.

    Args:
        batches: encoded prompts with the completions of each, made when they are let in.
        seeds: one seed per completion of all batches.
        params: how to sample.
        room: most rows at a time, but for a batch that has more alone; None: no bound. Where memory
            runs out it is halved, see `memory.row_limit`.

    Raises:
        MmuptError: out of memory with a single row or prompt.
    """
    with inference(policy):
        return Decoding(policy, seeds, params, room).run(batches)


def decode(
    policy: Policy,
    prefix: Prefix,
    repeats: Sequence[int],
    seeds: npt.NDArray[np.uint64],
    params: SamplingParams,
) -> list[list[Completion]]:
    """The decoding half of `sample`; a prefix can be decoded from any number of times."""
    with inference(policy):
        return Decoding(policy, seeds, params, None).run(iter([(prefix, repeats)]))


def prefilled(policy: Policy, prompts: Sequence[Prompt]) -> Iterator[tuple[Prefix, int]]:
    """Prompts ready for `decode`, all of them at once or, where memory runs out, half by half.

    Returns:
        Prefixes with the number of prompts in each, in order.

    Raises:
        MmuptError: out of memory with a single prompt.
    """
    limit, start = open_limit(), 0
    while start < len(prompts):
        part = prompts[start : start + (limit.prompts or len(prompts))]
        prefix = None
        try:
            with inference(policy):
                prefix = prefill_counted(policy, encode(policy, part))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        if prefix is not None:
            yield prefix, len(part)
            start += len(part)
        elif len(part) == 1:
            raise too_large(part)
        else:
            give_back()
            limit.halve_prompts(len(part))
