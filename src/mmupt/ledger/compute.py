"""Seconds and tokens of a stage, from what it told in its events."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from mmupt.events import Event

Part = Literal["all", "train", "evaluate"]

LARGEST = 1e15
"""A figure above it is none."""


class Compute(NamedTuple):
    """What a stage cost the machine.

    Attributes:
        seconds: wall time of the main process; the others work beside it.
        tokens: completions that were rolled out and trained on, and answers that people wrote and
            SFT trained on; of evaluations the sampled answers. What a teacher or the guard
            generates, greedy answers and prompts are not in events, and not counted.
    """

    seconds: float
    tokens: int


def compute_of(events: Iterable[Event], stage: str, part: Part = "all") -> Compute:
    """Seconds and tokens of `stage`, also those of steps that were done again after a kill.

    A stage that came to its end counts from its last start or resumption to its end. What came
    before counts as far as it was told: finished steps, looks of the guard, interim evaluations
    of all held-out rows; a step that was killed half way is in no event.

    Args:
        events: of the whole run, in order.
        stage: as events name it: ``round-1`` has both its training and its evaluation.
        part: training, evaluation after it, or both.
    """
    trained, evaluated = list[float](), list[float]()
    attempt: list[float] = []
    train_tokens = evaluate_tokens = 0
    for event in events:
        if not isinstance(event, dict) or event.get("stage") != stage:
            continue
        kind = event.get("type")
        if kind in ("stage_started", "run_resumed"):
            trained += attempt
            attempt = []
        elif kind == "stage_finished":
            # All of this attempt, also what is between its steps; never less than they took.
            trained.append(max(figure(event, "seconds"), math.fsum(attempt)))
            attempt = []
        elif kind == "evaluated":
            metrics = event.get("metrics")
            metrics = metrics if isinstance(metrics, dict) else {}
            sampled = round(figure(metrics, "n") * figure(metrics, "k") * figure(metrics, "length"))
            if event.get("interim"):
                attempt.append(figure(metrics, "seconds"))
                train_tokens += sampled
            else:
                evaluated.append(figure(metrics, "seconds"))
                evaluate_tokens += sampled
        elif kind == "guard_look" or (isinstance(kind, str) and kind.endswith("_step")):
            attempt.append(figure(event, "seconds"))
            train_tokens += round(figure(event, "tokens"))
    trained += attempt
    train = Compute(math.fsum(trained), train_tokens)
    after = Compute(math.fsum(evaluated), evaluate_tokens)
    if part == "all":
        return Compute(train.seconds + after.seconds, train.tokens + after.tokens)
    return train if part == "train" else after


def figure(fields: dict[str, Any], name: str) -> float:
    """A figure of an event; 0 where it is missing or none, as null and NaN are."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 <= value <= LARGEST else 0.0
