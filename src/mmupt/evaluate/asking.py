"""Asking the questions of an evaluation, a part at a time, through any answerer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmupt.asking.answerer import Answerer, Draw, SamplingParams, greedy, stream_seeds
from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.config import Config
from mmupt.consensus.reorder import movable
from mmupt.data.views import ViewsConfig
from mmupt.evaluate.judge import Judge
from mmupt.evaluate.judging import ByAnswer, Item
from mmupt.evaluate.records import ORDERS, PARAPHRASES, VIEWS, Record, Way
from mmupt.evaluate.summaries import summary
from mmupt.types import Completion, Sample

EVALUATION_STREAM = 3
"""Keeps the random numbers of an evaluation apart from those of other uses."""

_STILL = ViewsConfig(rotate=0, shear=0, scale=(1, 1), shift=0, contrast=(1, 1))
"""Views that leave the picture alone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of every question besides its most likely reply.

    Attributes:
        samples: sampled replies.
        views: views of its pictures, the pictures as they are included; 1: only those.
        orders: orders of its options, their own included.
        paraphrases: wordings, its own included.
    """

    samples: int
    views: int = 1
    orders: int = 1
    paraphrases: int = 1


class Asker:
    """Asks parts of the questions; a part's records depend on the part alone.

    Args:
        answerer: who answers.
        plan: what is asked.
        config: `eval`, `views`, `seed` and `model.max_pixels` are read.
        judge: judges the most likely replies, too.
    """

    def __init__(
        self, answerer: Answerer, plan: Plan, config: Config, *, judge: Judge | None = None
    ) -> None:
        self.answerer, self.plan, self.config, self.judge = answerer, plan, config, judge
        pixels, seed = config.model.max_pixels, config.seed
        moved = config.views.model_copy(update={"shuffle_options": False, "paraphrase": False})
        self._plain = PromptMaker(_STILL, max_pixels=pixels, seed=seed)
        self._views = PromptMaker(moved, max_pixels=pixels, seed=seed)
        self._orders = PromptMaker(
            _STILL.model_copy(update={"shuffle_options": True}), max_pixels=pixels, seed=seed
        )
        self._wordings = PromptMaker(
            _STILL.model_copy(update={"paraphrase": True}), max_pixels=pixels, seed=seed
        )

    def ask(self, items: Sequence[Item], first: int) -> list[Record]:
        """The records of some questions.

        Args:
            items: N questions.
            first: place of the first of them among all, which their random numbers depend on.
        """
        settings, k = self.config.eval, self.plan.samples
        params = SamplingParams(
            settings.temperature, settings.top_p, 0, settings.max_completion_length
        )
        prompts = [self._plain.prompt(item.sample) for item in items]
        draws = [greedy(len(items), params)]
        if k:
            until = (first + len(items)) * k
            seeds = stream_seeds(self.config.seed, EVALUATION_STREAM, count=until)[first * k :]
            draws.append(Draw(params, seeds, k))
        best, *drawn = self.answerer.complete(prompts, draws)
        others = self._others(items)
        shown = [prompt for ways in others for _, prompts in ways for prompt in prompts]
        answers = self.answerer.complete(shown, [greedy(len(shown), params)])[0] if shown else []
        flat = iter([group[0] for group in answers])
        records = []
        for i, item in enumerate(items):
            sampled = drawn[0][i] if drawn else []
            said = {name: [(prompt, next(flat)) for prompt in asked] for name, asked in others[i]}
            records.append(self._record(item, prompts[i], best[i][0], sampled, said))
        return records if self.judge is None else self.judge.judged(items, records)

    def _record(
        self,
        item: Item,
        prompt: Prompt,
        best: Completion | None,
        sampled: Sequence[Completion | None],
        said: dict[str, list[tuple[Prompt, Completion | None]]],
    ) -> Record:
        rule = item.rule
        first, *drawn = rule.judge([(prompt, best), *((prompt, one) for one in sampled)])
        ways = {}
        for name, replies in said.items():
            judged = (first, *rule.judge(replies))
            ways[name] = Way(judged, rule.agreement(judged))
        free = isinstance(rule, ByAnswer) and rule.kind == "text"
        return Record(
            item.sample.id, rule.answer, item.pictures, first, tuple(drawn),
            rule.majority(drawn), ways, item.groups, item.fields,
            summary(rule.answer, first, drawn) if free else None,
        )  # fmt: skip

    def _others(self, items: Sequence[Item]) -> list[list[tuple[str, list[Prompt]]]]:
        """For each question, the ways in which it can be asked as well, with their prompts."""
        found = []
        for item in items:
            ways = [
                (VIEWS, self._seen(item.sample)),
                (ORDERS, self._reordered(item.sample)),
                (PARAPHRASES, self._reworded(item.sample)),
            ]
            found.append([(name, prompts) for name, prompts in ways if prompts])
        return found

    def _seen(self, sample: Sample) -> list[Prompt]:
        if not sample.images:
            return []
        return [
            self._views.prompt(sample, view, EVALUATION_STREAM, same_question=True)
            for view in range(1, self.plan.views)
        ]

    def _reordered(self, sample: Sample) -> list[Prompt]:
        if self.plan.orders < 2:
            return []
        count = min(self.plan.orders, len(movable(sample.problem)))
        prompts = (self._orders.prompt(sample, view, EVALUATION_STREAM) for view in range(1, count))
        return [prompt for prompt in prompts if prompt.labels]

    def _reworded(self, sample: Sample) -> list[Prompt]:
        count = min(self.plan.paraphrases, 1 + len(sample.paraphrases))
        return [self._wordings.prompt(sample, view, EVALUATION_STREAM) for view in range(1, count)]
