"""What questions and their answers scored; light, so that reports and gates need no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmupt.stats import mean_interval, wilson

Floats = npt.NDArray[np.float64]

COLUMNS = ("greedy", "mean", "majority", "passed", "share", "abstained", "truncated", "length")
"""The arrays of `Scores`; without sampling only `greedy` is filled."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said to one question, and how it was read.

    Attributes:
        reply: the most likely reply as it was written; None if it did not come.
        answer: the final answer in it, in the words of the data; None: none in it.
        right: whether that is right; None: unscored.
        sampled: the k sampled replies; None for one that did not come.
        answers: the final answer of each.
        sampled_right: whether each is right.
    """

    reply: str | None
    answer: str | None
    right: bool | None
    sampled: tuple[str | None, ...] = ()
    answers: tuple[str | None, ...] = ()
    sampled_right: tuple[bool | None, ...] = ()


@dataclass(frozen=True)
class Scores:
    """What N questions with k sampled answers each gave; every array has one entry a question.

    Attributes:
        ids: sample ids.
        greedy: whether the most likely answer is right, 0 or 1.
        mean: fraction of the k sampled answers that are right.
        majority: whether the majority of the k sampled answers is right; a tie goes to the answer
            that `vote` orders first, which does not depend on the order of the samples.
        passed: whether any of the k is right (pass@k with n = k).
        share: share of the majority among the k.
        abstained, truncated, length: means over the k sampled responses.
        k: sampled answers per question; 0 when only greedy was asked for.
        seconds: wall time.
        said: the replies themselves, one entry a question; empty where they were not kept.

    With k = 0 all arrays but `greedy` are of size 0. NaN stands for a question that is unscored, as
    a reply to it did not come.
    """

    ids: tuple[str, ...]
    greedy: Floats
    mean: Floats
    majority: Floats
    passed: Floats
    share: Floats
    abstained: Floats
    truncated: Floats
    length: Floats
    k: int
    temperature: float
    seconds: float
    said: tuple[Said, ...] = ()

    @classmethod
    def from_columns(
        cls,
        ids: Sequence[str],
        columns: Mapping[str, Floats],
        *,
        k: int,
        temperature: float,
        seconds: float,
        said: Sequence[Said] = (),
    ) -> Scores:
        """From one array per name of `COLUMNS`."""
        c = columns
        return cls(
            tuple(ids), c["greedy"], c["mean"], c["majority"], c["passed"], c["share"],
            c["abstained"], c["truncated"], c["length"], k, temperature, seconds, tuple(said),
        )  # fmt: skip

    def metrics(self) -> dict[str, Any]:
        """A stage of `metrics.json`: estimates with 95% intervals."""
        n = len(self.ids)
        stage: dict[str, Any] = {"n": n, "k": self.k, "temperature": self.temperature}
        for name, values in (
            ("greedy", self.greedy),
            ("majority", self.majority),
            ("pass", self.passed),
        ):
            stage[name] = _mean(values)
            stage[f"{name}_ci"] = list(wilson(float(values.sum()), n)) if len(values) else None
        for name, values in (("mean", self.mean), ("vote_share", self.share)):
            stage[name] = _mean(values)
            stage[f"{name}_ci"] = (
                list(mean_interval(values, fractions=True)) if len(values) else None
            )
        for name, values in (
            ("abstained", self.abstained), ("truncated", self.truncated), ("length", self.length),
        ):  # fmt: skip
            stage[name] = _mean(values)
        stage["seconds"] = self.seconds
        return stage


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
