"""Asking a model: about the picture, another one, a blank one, none, and in other orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mmupt.asking.answerer import SamplingParams, stream_seeds
from mmupt.asking.answers import Reply
from mmupt.asking.maker import PromptMaker, blanked
from mmupt.asking.prompt import IMAGE_MARK, Prompt
from mmupt.bias.asked import BLANK, NONE, ORDERS, OWN, SWAPPED, Asked
from mmupt.bias.rows import Question
from mmupt.config import Config
from mmupt.consensus.canonical import canonical
from mmupt.consensus.options import listing, named, options
from mmupt.consensus.reorder import movable
from mmupt.data.views import ViewsConfig
from mmupt.policy.answers import ask
from mmupt.policy.model import Policy
from mmupt.types import Finish, Sample

BIAS_STREAM = 21
"""Keeps the random numbers of a report apart from those of other uses; both models share them."""

AS_IT_IS = ViewsConfig(
    rotate=0, shear=0, scale=(1, 1), shift=0, contrast=(1, 1), shuffle_options=True
)
"""Views that move options and leave the picture alone."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question as both models are asked.

    Attributes:
        question: with its answer, which nothing here looks at.
        swapped: the same with another question's pictures; None where there are none to show.
        blank: also ask about blank pictures.
        text: also ask without any picture.
        orders: how many orders of its options to show; 0: none.
    """

    question: Question
    swapped: Sample | None
    blank: bool
    text: bool
    orders: int


def order_count(sample: Sample) -> int:
    """Options of a question that may be shown in another order; 0 where there is no such list."""
    return len(movable(sample.problem))


def imageless(prompt: Prompt) -> Prompt:
    """The prompt without its pictures and their marks."""
    return replace(prompt, problem=prompt.problem.replace(IMAGE_MARK, "").strip(), images=())


def ask_part(
    policy: Policy, maker: PromptMaker, part: Sequence[Item], config: Config, number: int
) -> list[dict[str, Any]]:
    """All rows of a part of the questions; they depend on the part's number and nothing else."""
    prompts = [maker.prompt(item.question.sample) for item in part]
    shown: list[tuple[str, list[tuple[str, Prompt]]]] = [
        (OWN, [(i.question.sample.id, p) for i, p in zip(part, prompts, strict=True)]),
        (SWAPPED, [(i.swapped.id, maker.prompt(i.swapped)) for i in part if i.swapped]),
        (
            BLANK,
            [
                (i.question.sample.id, blanked(p))
                for i, p in zip(part, prompts, strict=True)
                if i.blank and p.images
            ],
        ),
        (
            NONE,
            [
                (i.question.sample.id, imageless(p))
                for i, p in zip(part, prompts, strict=True)
                if i.text and p.images
            ],
        ),
    ]
    rows: list[Asked] = []
    for place, (condition, asked) in enumerate(shown):
        rows += _asked(policy, condition, asked, config, (config.seed, BIAS_STREAM, number, place))
    return [asdict(row) for row in rows + _orders(policy, part, config)]


def _asked(
    policy: Policy, condition: str, shown: Sequence[tuple[str, Prompt]], config: Config,
    key: Sequence[int],
) -> list[Asked]:  # fmt: skip
    """k sampled answers in a condition, and about the own picture the most likely one."""
    if not shown:
        return []
    evaluation, prompts = config.eval, [prompt for _, prompt in shown]
    k = evaluation.num_samples
    groups = ask(
        policy, prompts, k,
        SamplingParams(
            evaluation.temperature, evaluation.top_p,
            max_completion_length=evaluation.max_completion_length,
        ),
        stream_seeds(*key, count=len(prompts) * k),
        kind=evaluation.kind, batch_size=evaluation.batch_size,
    )  # fmt: skip
    best = _greedy(policy, prompts, config) if condition == OWN else [None] * len(prompts)
    return [
        _row(name, condition, group, first.answer if first else None)
        for (name, _), group, first in zip(shown, groups, best, strict=True)
    ]


def _greedy(policy: Policy, prompts: Sequence[Prompt], config: Config) -> list[Reply]:
    params = SamplingParams(0.0, max_completion_length=config.eval.max_completion_length)
    groups = ask(
        policy, prompts, 1, params, np.zeros(len(prompts), np.uint64),
        kind=config.eval.kind, batch_size=config.eval.batch_size,
    )  # fmt: skip
    return [reply for (reply,) in groups]


def _orders(policy: Policy, part: Sequence[Item], config: Config) -> list[Asked]:
    """The most likely answer in each order of the options: every option once in every place."""
    maker = PromptMaker(AS_IT_IS, max_pixels=config.model.max_pixels, seed=config.seed)
    chosen = [item for item in part if item.orders]
    prompts = [
        maker.prompt(item.question.sample, view, BIAS_STREAM)
        for item in chosen
        for view in range(item.orders)
    ]
    replies, rows, start = _greedy(policy, prompts, config), [], 0
    for item in chosen:
        sample, mine = item.question.sample, slice(start, start + item.orders)
        places = tuple(
            chosen_place(reply.answer, prompt, sample)
            for reply, prompt in zip(replies[mine], prompts[mine], strict=True)
        )
        row = _row(sample.id, ORDERS, replies[mine], None)
        rows.append(replace(row, places=places, options=item.orders))
        start += item.orders
    return rows


def chosen_place(answer: str | None, prompt: Prompt, sample: Sample) -> int:
    """Place, as shown, of the option that an answer in the labels of the data names; -1: none."""
    key = canonical(answer) if answer else None
    if key is not None and key[0] == "choice":
        label: object = key[1]
    else:
        label = named(answer, options(sample.problem)) if answer else None
    shown = [prompt.labels.get(option.label, option.label) for option in listing(prompt.problem)]
    return shown.index(str(label)) if label in shown else -1


def _row(name: str, condition: str, group: Sequence[Reply], greedy: str | None) -> Asked:
    return Asked(
        name,
        condition,
        greedy,
        tuple(reply.answer for reply in group),
        tuple(len(reply.completion.token_ids) for reply in group),
        sum(reply.completion.finish is Finish.LENGTH for reply in group),
    )
