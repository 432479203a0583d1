"""What a tracker is told of a run's events: figures at their step, and alerts. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmupt.events import Event

GROUPS = {
    "sft_step": "",
    "grpo_step": "",
    "lmsi_step": "",
    "self_reward_step": "",
    "guard_look": "guard/",
    "evaluated": "eval/",
}
"""Events with figures, and what stands between the stage and the figure in its name."""
INTERIM = "interim/"
"""The quick evaluations between two stages ask fewer rows, and are a curve of their own."""
NO_FIGURE = frozenset({"type", "time", "stage", "step"})

SETTINGS = ("train", "sft", "guard", "eval", "lora")
"""Sections whose plain values a tracker is told. All strings in them are words of the schema."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should look at."""

    title: str
    text: str
    serious: bool


@dataclass(frozen=True, slots=True)
class Message:
    """What one event is to a tracker.

    Attributes:
        stage: of the run.
        step: update of the stage; 0 is its start.
        values: figures by `stage/figure`.
        alert: where there is one.
    """

    stage: str
    step: int
    values: dict[str, float]
    alert: Alert | None = None


class Reader:
    """Makes messages of a run's events in their order, each at most once.

    A resumed run repeats the steps after its last saved point, to the same figures; what was told
    of them before is not told again. Only a stage that is thrown away, as its inputs changed, is
    told anew.
    """

    def __init__(self) -> None:
        self._told: set[tuple[Any, ...]] = set()
        self._last: dict[str, int] = {}

    def read(self, event: Event) -> Message | None:
        """The message of an event; None: it has none, or a former event had the same."""
        if event.get("type") == "step_discarded":
            self._forget(str(event.get("step", "")).partition("/")[0])
            return None
        stage = event.get("stage")
        if not isinstance(stage, str):
            return None
        step = event.get("step", self._last.get(stage, 0))
        if not isinstance(step, int):
            return None
        message = _message(event, re.sub(r"[^\w./ -]", "_", stage), step)
        if message is None:
            return None
        self._last[stage] = max(step, self._last.get(stage, 0))
        key = (stage, step, *sorted(message.values))
        if key in self._told:
            return None
        self._told.add(key)
        return message

    def _forget(self, stage: str) -> None:
        self._told = {key for key in self._told if key[0] != stage}
        self._last.pop(stage, None)


def _message(event: Event, stage: str, step: int) -> Message | None:
    kind = event["type"]
    if kind == "guard_finding":
        return _finding(event, stage, step)
    if kind == "best_checkpoint" and event.get("stopped_by"):
        rules = ", ".join(event["stopped_by"])
        text = f"ended after update {event['last_step']}, kept is update {step}: {rules}"
        values = {f"{stage}/guard/stopped": 1.0}
        return Message(stage, event["last_step"], values, Alert(f"{stage} stopped", text, True))
    if kind not in GROUPS:
        return None
    group, figures = GROUPS[kind], event
    if kind == "evaluated":
        group, figures = (INTERIM if event.get("interim") else group), event["metrics"]
    values = {f"{stage}/{group}{name}": value for name, value in numbers(figures)}
    return Message(stage, step, values) if values else None


def _finding(event: Event, stage: str, step: int) -> Message:
    """A broken rule by its figures; its sentence may hold an answer and stays here."""
    rule = str(event["rule"])
    measured = " against ".join(
        f"{event[key]:.4g}"
        for key in ("figure", "bound")
        if isinstance(event.get(key), int | float)
    )
    text = f"after update {step}: {rule} ({event['failure']}) {measured}; action: {event['action']}"
    alert = Alert(f"{stage}: {rule}"[:63], text, event["severity"] == "stop")
    return Message(stage, step, {f"{stage}/guard/finding/{rule}": 1.0}, alert)


def numbers(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The finite numbers at the top of a mapping; what is text, or nested, is no figure."""
    for name, value in figures.items():
        if name in NO_FIGURE or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if math.isfinite(value):
            yield name, float(value)


def settings(tree: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """What a tracker is told of the dumped configuration: no paths, addresses or wording."""
    found: dict[str, Any] = {"seed": tree["seed"], "model.dtype": tree["model"]["dtype"]}
    for section in SETTINGS:
        found |= {f"{section}.{key}": value for key, value in (tree[section] or {}).items()}
    consensus = tree["consensus"]
    found["consensus.teacher"] = consensus["teacher"]
    found["consensus.strategy"] = consensus["strategy"]["name"]
    found |= {f"consensus.{key}": value for key, value in numbers(consensus)}
    return {k: v for k, v in found.items() if isinstance(v, bool | int | float | str)}
