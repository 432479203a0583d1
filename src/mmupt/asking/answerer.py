"""Who answers: a model in this process or a server elsewhere, through one interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mmupt.asking.prompt import Prompt
from mmupt.types import Completion


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample. `temperature` 0 is greedy; names as in TRL and transformers."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_completion_length: int = 256
    min_p: float = 0.0
    stop_strings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draw:
    """Completions that are asked for of every prompt.

    Attributes:
        params: how to sample.
        seeds: one per completion, N * count for N prompts, prompts in order. The same seed gives
            the same completion whatever else is asked with it, as far as the answerer can.
        count: completions of each prompt.
    """

    params: SamplingParams
    seeds: npt.NDArray[np.uint64]
    count: int = 1


class Answerer(Protocol):
    """Answers prompts. Views, votes and scores are made of what it says, whoever it is."""

    @property
    def name(self) -> str:
        """What it is called in records: a model's folder, or a server and its model."""

    def complete(
        self, prompts: Sequence[Prompt], draws: Sequence[Draw]
    ) -> list[list[list[Completion | None]]]:
        """Completions of N prompts, ``[draw][prompt][number]``.

        All draws share one pass over a prompt and its pictures where the answerer can. None stands
        for one that did not come (a server that failed for good): unscored, never wrong.
        """


def greedy(prompts: int, params: SamplingParams) -> Draw:
    """The most likely completion of each of some prompts."""
    return Draw(replace(params, temperature=0.0), np.zeros(prompts, np.uint64))


def stream_seeds(*key: int, count: int) -> npt.NDArray[np.uint64]:
    """`count` independent row seeds that depend on `key` alone."""
    return np.random.SeedSequence(list(key)).generate_state(count, np.uint64).astype(np.uint64)
