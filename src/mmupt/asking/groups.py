"""Replies to questions, view by view, from whoever answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mmupt.asking.answerer import Answerer, Draw, SamplingParams, stream_seeds
from mmupt.asking.answers import Reply, final_answer
from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.types import Sample


def ask(
    answerer: Answerer,
    prompts: Sequence[Prompt],
    per_prompt: int,
    params: SamplingParams,
    seeds: npt.NDArray[np.uint64],
    *,
    kind: str,
) -> list[list[Reply | None]]:
    """`per_prompt` replies to every prompt; None for those that did not come.

    Args:
        answerer: who answers.
        prompts: N prompts.
        per_prompt: replies to each.
        params: how to sample.
        seeds: one per reply, N * per_prompt, prompts in order.
        kind: kind of answer, see `mmupt.extract`.
    """
    if not prompts:
        return []
    (groups,) = answerer.complete(prompts, [Draw(params, seeds, per_prompt)])
    return [
        [None if c is None else Reply(c, final_answer(c, prompt, kind)) for c in group]
        for prompt, group in zip(prompts, groups, strict=True)
    ]


def ask_views(
    answerer: Answerer,
    samples: Sequence[Sample],
    maker: PromptMaker,
    *,
    views: int,
    per_view: int,
    params: SamplingParams,
    stream: int,
    key: Sequence[int],
    kind: str,
    first: int = 0,
) -> list[list[Reply | None]]:
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
    flat = ask(answerer, prompts, per_view, params, seeds, kind=kind)
    return [
        [
            reply and Reply(replace(reply.completion, view=view), reply.answer)
            for view in range(views)
            for reply in flat[index * views + view]
        ]
        for index in range(len(samples))
    ]
