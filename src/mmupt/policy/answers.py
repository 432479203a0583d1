"""What a model answers when it is asked: completions with the answers in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mmupt.consensus.extract import extract
from mmupt.consensus.reorder import relabelled
from mmupt.policy.inputs import Prompt, encode
from mmupt.policy.model import Policy
from mmupt.policy.prompts import PromptMaker
from mmupt.policy.sampler import SamplingParams, sample_all, stream_seeds
from mmupt.types import Completion, Finish, Sample


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion with its final answer, None where it abstains."""

    completion: Completion
    answer: str | None


def final_answer(completion: Completion, prompt: Prompt, kind: str) -> str | None:
    """The completion's answer in the words of the question as it stands in the data.

    A truncated completion abstains. Where the view shuffled the options, labels are mapped back,
    also several of them and those with a text (`relabelled`); the text of an option, which needs no
    mapping, is kept or, if the kind reads it as a label, mapped like one.
    """
    if completion.finish is Finish.LENGTH:
        return None
    answer = extract(completion.text, kind=kind, prompt=prompt.problem)
    if answer is None or not prompt.labels:
        return answer
    return _in_json(answer, prompt) if kind == "json" else relabelled(answer, prompt.labels)


def _in_json(answer: str, prompt: Prompt) -> str:
    """`relabelled` for a JSON text, or for a list of labels."""
    value = json.loads(answer)
    if isinstance(value, str):
        return json.dumps(relabelled(value, prompt.labels), ensure_ascii=False)
    if isinstance(value, list) and all(isinstance(v, str) and v in prompt.labels for v in value):
        return json.dumps(sorted(prompt.labels[v] for v in value), ensure_ascii=False)
    return answer


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
