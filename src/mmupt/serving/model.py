"""The served model: one request after the other, and the vote on a group of its answers."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, Any, Final

from mmupt.asking.answerer import Draw, SamplingParams, stream_seeds
from mmupt.asking.answers import final_answer
from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.ballots import filters_of, strategy_options
from mmupt.consensus.filters import keep
from mmupt.consensus.vote import vote
from mmupt.errors import InputError, RefusedError
from mmupt.serving.chat import ChatRequest, Counted, check_text, read_prompt, reply
from mmupt.types import Completion, Finish, Sample

if TYPE_CHECKING:
    from mmupt.config import Config
    from mmupt.policy.model import Policy

WAITING: Final = 32
"""Requests that may wait; further ones are told to come again."""

MOST_ANSWERS: Final = 64
TRY_STREAM: Final = 31
"""Keeps the random numbers of the page apart from those of other uses."""


class Served:
    """A model with a name, and how it votes.

    Args:
        policy: the model.
        name: what requests call it.
        config: views, votes and limits.
    """

    def __init__(self, policy: Policy, name: str, config: Config) -> None:
        self.policy, self.name, self.config = policy, name, config
        self._lock, self._room = Lock(), Semaphore(WAITING)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One at a time.

        Raises:
            RefusedError: too many are waiting.
        """
        if not self._room.acquire(blocking=False):
            raise RefusedError(f"{WAITING} requests are waiting already; try again later")
        try:
            with self._lock:
                yield
        finally:
            self._room.release()

    def chat(self, request: ChatRequest) -> dict[str, Any]:
        """The reply to a chat completion request.

        The same seed gives the same choices; without one they are drawn anew each time.

        Raises:
            InputError: a request that cannot be answered.
            RefusedError: too many are waiting.
        """
        from mmupt.policy.answers import LocalAnswerer

        prompt = read_prompt(request.messages, self.config.model.max_pixels)
        seed = secrets.randbits(62) if request.seed is None else request.seed
        draw = Draw(request.params(), stream_seeds(seed, count=request.n), request.n)
        with self._turn():
            length = self._length(prompt, draw.params)
            ((found,),) = LocalAnswerer(self.policy, 1).complete([prompt], [draw])
            completions = [one for one in found if one is not None]
            # Within the turn: a tokenizer that pads another request must not be asked meanwhile.
            tokens = [[self._text([token]) for token in one.token_ids] for one in completions]
        counted = Counted(length, sum(len(one.token_ids) for one in completions))
        return reply(request, completions, tokens, counted)

    def ask(
        self, problem: str, pictures: Sequence[bytes], *, samples: int, views: int,
        temperature: float, seed: int,
    ) -> dict[str, Any]:  # fmt: skip
        """Answers to a question about pictures, spread over views, and their vote.

        Args:
            problem: the question, without marks.
            pictures: image files.
            samples: answers, a multiple of `views`.
            views: of each picture; the first is the picture itself.
            temperature: 0: the best answer of each view.
            seed: of views and answers.

        Raises:
            InputError: a question, picture or number that cannot be used.
            RefusedError: too many are waiting.
        """
        from mmupt.policy.answers import LocalAnswerer

        if not problem.strip():
            raise InputError("the question is empty")
        check_text(problem, "the question")
        if not 1 <= views <= samples <= MOST_ANSWERS or samples % views:
            raise InputError(
                f"{samples} answers over {views} views: expected at most {MOST_ANSWERS} answers, "
                "a multiple of the views"
            )
        began = time.perf_counter()
        maker = PromptMaker(
            self.config.views, max_pixels=self.config.model.max_pixels, seed=self.config.seed
        )
        with TemporaryDirectory() as folder:
            paths = []
            for number, picture in enumerate(pictures):
                paths.append(Path(folder) / f"{number}")
                paths[-1].write_bytes(picture)
            sample = Sample(
                f"try-{seed}", "<image>" * len(paths) + problem, tuple(paths), "the picture"
            )
            prompts = [maker.prompt(sample, view, TRY_STREAM) for view in range(views)]
        consensus = self.config.consensus
        per_view = samples // views
        draw = Draw(
            SamplingParams(
                temperature, max_completion_length=self.config.eval.max_completion_length
            ),
            stream_seeds(seed, TRY_STREAM, count=samples),
            per_view,
        )
        with self._turn():
            self._length(prompts[0], draw.params)
            (groups,) = LocalAnswerer(self.policy, views).complete(prompts, [draw])
        said = [
            (view, one, final_answer(one, prompt, consensus.kind))
            for view, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
            for one in group
            if one is not None
        ]
        outcome = vote([answer for _, _, answer in said], **_majority(self.config))
        (kept,) = keep([outcome], replace(filters_of(consensus), easiest_fraction=1.0))
        return {
            "label": outcome.label,
            "share": outcome.share,
            "tied": outcome.tied,
            "kept": kept,
            "min_share": consensus.min_share,
            "answers": [
                {"view": view, "answer": answer, "class": number, **_shown(one)}
                for (view, one, answer), number in zip(said, outcome.classes, strict=True)
            ],
            "seconds": time.perf_counter() - began,
        }

    def _length(self, prompt: Prompt, params: SamplingParams) -> int:
        """Tokens of a prompt.

        Raises:
            InputError: the model has no room for it and the longest reply.
        """
        from mmupt.policy.inputs import encode

        length = int(encode(self.policy, [prompt]).lengths[0])
        if length + params.max_completion_length > self.policy.max_length:
            raise InputError(
                f"{length} tokens with the pictures leave no room for a reply of "
                f"{params.max_completion_length}, the model takes {self.policy.max_length}; ask "
                "for less"
            )
        return length

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.policy.tokenizer.decode(list(ids)))


def _majority(config: Config) -> dict[str, Any]:
    """Kind and tolerance; the page shows the plain majority, whatever training would use."""
    options = strategy_options(config.consensus)
    return {key: options[key] for key in ("kind", "rtol")}


def _shown(one: Completion) -> dict[str, Any]:
    return {
        "text": one.text,
        "truncated": one.finish is Finish.LENGTH,
        "tokens": len(one.token_ids),
        "probability": math.exp(math.fsum(one.logprobs) / max(1, len(one.logprobs))),
    }
