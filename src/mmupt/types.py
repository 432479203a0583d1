"""The nouns of the method. Nothing here imports anything of ours.

`Sample` has no field for an answer: what is label-free is label-free by type. Answers live in
`LabelledSample`, which only supervised fine-tuning, evaluation and audits accept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One question about zero or more images, without an answer.

    Attributes:
        id: unique within its data set.
        problem: the question; every ``<image>`` mark stands for one entry of `images`, in order.
        images: absolute paths of the image files.
        origin: where the row came from (``file:line``), for messages.
        meta: further columns of the row, as text, for slicing; never one named like an answer.
        paraphrases: other wordings of the problem with the same answer and the same marks; views
            may ask them instead.
    """

    id: str
    problem: str
    images: tuple[Path, ...] = ()
    origin: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    paraphrases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledSample:
    """A sample with its true answer; for SFT, evaluation and audits only.

    Attributes:
        sample: the question.
        answer: the true final answer.
        response: the whole response to imitate in SFT; `None` means ``\\boxed{answer}``.
    """

    sample: Sample
    answer: str
    response: str | None = None


class Finish(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    """The model ended its turn."""
    LENGTH = "length"
    """Cut at `max_completion_length`; a truncated response abstains from the vote."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled response.

    Attributes:
        text: decoded response without special tokens.
        token_ids: T generated tokens, the end-of-turn token included when it was generated.
        logprobs: T log-probabilities in nats under the policy that sampled, at its temperature.
        finish: why it ended.
        view: index of the image view it was sampled from; 0 is the picture as it is.
        self_certainty: mean over the tokens of KL(uniform || pi(.|x, o_<t)) in nats (arXiv
            2502.18581), at the temperature it was sampled at; NaN where nothing was sampled.
        count: number of tokens, where a server tells it but not which they are.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish
    view: int = 0
    self_certainty: float = float("nan")
    count: int | None = None

    @property
    def length(self) -> int | None:
        """Generated tokens; None where a server does not tell."""
        return self.count if self.count is not None else len(self.token_ids) or None


@dataclass(frozen=True, slots=True)
class Vote:
    """What a group of answers agrees on.

    Attributes:
        label: the winning class's most frequent writing (then the shortest, then the first by code
            point; for free text its answer with most agreement), or None: nobody answered, or a tie
            abstains.
        share: fraction of all G answers, abstentions included, in the winning class.
        tied: whether another class was as large.
        classes: class of each answer, numbered by first appearance; None for an abstention.
        rewards: one reward per answer.
    """

    label: str | None
    share: float
    tied: bool
    classes: tuple[int | None, ...]
    rewards: tuple[float, ...]
