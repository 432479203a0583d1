"""Asks the fixed prompts of the guard, and remembers what the start said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from mmupt.asking.answerer import SamplingParams, stream_seeds
from mmupt.asking.answers import Reply
from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.config import GuardConfig
from mmupt.guard.signals import Estimate, Look, Replies, look_at, repetition, surplus
from mmupt.policy.answers import ask
from mmupt.policy.inputs import encode
from mmupt.policy.model import Policy, inference
from mmupt.policy.score import completion_logprobs, token_batch
from mmupt.processes import ALONE, Processes
from mmupt.types import Finish, Sample

GUARD_STREAM = 4
"""Keeps the guard's views and random numbers apart from those of training."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the model said that the round started from.

    Attributes:
        replies: its greedy replies over the views that every look asks.
        jury_NJ: its greedy answers over other views, against which support is measured.
        token_ids, logprobs: one sampled completion per prompt, for the KL.
    """

    replies: Replies
    jury_NJ: tuple[tuple[str | None, ...], ...]
    token_ids: tuple[tuple[int, ...], ...]
    logprobs: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Start:
        replies = dict(tree["replies"])
        replies["answers_NV"] = tuple(map(tuple, replies["answers_NV"]))
        replies["lengths"] = tuple(replies["lengths"])
        return cls(
            Replies(**replies),
            tuple(map(tuple, tree["jury_NJ"])),
            tuple(map(tuple, tree["token_ids"])),
            tuple(tree["logprobs"]),
        )


@dataclass(frozen=True)
class Probe:
    """The guard's questions: which prompts, how they are shown, how they are answered.

    Attributes:
        samples: the fixed prompts.
        maker: makes their views.
        config: the guard's settings.
        kind, rtol: how answers are read and compared, as in the vote.
        max_completion_length: longest reply.
        batch_size: prompts per forward pass.
        seed: of views and of the one sampled completion.
        processes: who asks together; each its share of the prompts, and all get all replies.
    """

    samples: tuple[Sample, ...]
    maker: PromptMaker
    config: GuardConfig
    kind: str
    rtol: float | None
    max_completion_length: int
    batch_size: int
    seed: int
    processes: Processes = ALONE

    @property
    def views(self) -> tuple[int, ...]:
        """The views of every look: the picture itself, and some that are not the jury's."""
        first = self.config.jury_views + 1
        return (0, *range(first, first + self.config.probe_views - 1))

    def start(self, policy: Policy) -> Start:
        """Ask the start: the looks' views, the jury's views, and one sampled reply."""
        replies = self._replies(policy, self.views, kl=0.0)
        jury = self._replies(policy, range(1, self.config.jury_views + 1), kl=0.0)
        drawn = self._ask(policy, self._prompts((0,)), 1.0)
        completions = [group[0].completion for group in drawn]
        return Start(
            replies,
            jury.answers_NV,
            tuple(c.token_ids for c in completions),
            tuple(float(np.sum(c.logprobs)) for c in completions),
        )

    def surplus(
        self, policy: Policy, labels: Sequence[str | None], start: Start, views: int, stream: int
    ) -> Estimate:
        """How much better the labels are than the student's best answers on its own views.

        Args:
            policy: the student at the start.
            labels: the label of each prompt of the probe, None where it is not trained on.
            views: views that the student trains on.
            stream: where those views are drawn from.
        """
        shown = [self.maker.prompt(s, v, stream) for s in self.samples for v in range(views)]
        flat = [group[0].answer for group in self._ask(policy, shown, 0.0)]
        own = [flat[i : i + views] for i in range(0, len(flat), views)]
        return self.processes.told(
            lambda: surplus(labels, own, start.jury_NJ, self.kind, self.rtol)
        )

    def look(self, policy: Policy, start: Start, step: int) -> Look:
        """The figures of `policy` after update `step`."""
        replies = self._replies(policy, self.views, self._kl(policy, start))
        return self.processes.told(
            lambda: look_at(step, replies, start.replies, start.jury_NJ, self.kind, self.rtol)
        )

    def _replies(self, policy: Policy, views: Sequence[int], kl: float) -> Replies:
        groups = self._ask(policy, self._prompts(views), 0.0)
        flat = [group[0] for group in groups]
        rows = [flat[i : i + len(views)] for i in range(0, len(flat), len(views))]
        completions = [reply.completion for reply in flat]
        return Replies(
            answers_NV=tuple(tuple(reply.answer for reply in row) for row in rows),
            lengths=tuple(len(c.token_ids) for c in completions),
            truncated=float(np.mean([c.finish is Finish.LENGTH for c in completions])),
            repetition=float(np.mean([repetition(c.token_ids) for c in completions])),
            kl=kl,
        )

    def _prompts(self, views: Sequence[int]) -> list[Prompt]:
        return [self.maker.prompt(s, v, GUARD_STREAM) for s in self.samples for v in views]

    def _ask(
        self, policy: Policy, prompts: Sequence[Prompt], temperature: float
    ) -> list[list[Reply]]:
        mine = self.processes.share(len(prompts))
        own = ask(
            policy, prompts[mine], 1,
            SamplingParams(temperature, max_completion_length=self.max_completion_length),
            stream_seeds(self.seed, GUARD_STREAM, count=len(prompts))[mine],
            kind=self.kind, batch_size=self.batch_size,
        )  # fmt: skip
        return self.processes.join(own)

    def _kl(self, policy: Policy, start: Start) -> float:
        """KL(start || policy) per token in nats, from completions that the start sampled.

            1/T sum_t log start(y_t) - log policy(y_t),   y ~ start

        Unbiased for the KL of whole completions, and needs no second model in memory.
        """
        mine = self.processes.share(len(self.samples))
        prompts, token_ids = self._prompts((0,))[mine], start.token_ids[mine]
        total = 0.0
        with inference(policy):
            for i in range(0, len(prompts), self.batch_size):
                part = slice(i, i + self.batch_size)
                tokens = token_batch(policy, token_ids[part])
                batch = encode(policy, prompts[part])
                logps_NT, _ = completion_logprobs(policy, batch, [1] * len(batch), tokens)
                total += float((logps_NT * tokens.mask_NT).sum(dtype=torch.float64))
        (total,) = self.processes.sum([total])
        return (sum(start.logprobs) - total) / sum(map(len, start.token_ids))


def choose_samples(samples: Sequence[Sample], count: int, seed: int) -> tuple[Sample, ...]:
    """`count` of the pool's samples, the same for the same seed; all where there are fewer."""
    rng = np.random.default_rng([seed, GUARD_STREAM])
    chosen = rng.permutation(len(samples))[:count]
    return tuple(samples[int(i)] for i in sorted(chosen))
