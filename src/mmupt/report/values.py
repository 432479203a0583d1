"""`metrics.json` as values one can rely on. A field that is missing or broken becomes NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mmupt.stats import UNDEFINED, Interval, Ratio

ACCURACIES = ("greedy", "mean", "majority", "pass")
"""Shares of right answers; `vote_share` is agreement and no accuracy."""

ESTIMATES = (*ACCURACIES, "vote_share")

MAX_STAGES = 60
"""More stages or arms than any run has; the rest of a file that lists more is not shown."""


class Kind(StrEnum):
    """What a stage is in the plan of the run."""

    BASE = "base"
    SFT = "sft"
    LABEL_FREE = "label-free"
    ARM = "arm"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A fraction with its interval; NaN where it was not measured."""

    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class StageView:
    """One evaluated stage or arm.

    Attributes:
        name: as in `metrics.json`, also the name of its checkpoint folder.
        kind: its place in the plan.
        estimates: by name, all of `ESTIMATES`.
        n: held-out samples; NaN if unknown, as the following.
        k: sampled completions for each.
        labels_used: labels that its training saw.
        seconds: its duration.
    """

    name: str
    kind: Kind
    estimates: Mapping[str, Estimate]
    n: float
    k: float
    labels_used: float
    seconds: float


def number(value: object) -> float:
    """`value` as a finite float, or NaN if it is anything else (a bool is not a number)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        result = float(value)
    except OverflowError:
        return math.nan
    return result if math.isfinite(result) else math.nan


def interval(value: object) -> Interval:
    """`[low, high]` as an interval, or an undefined one."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return UNDEFINED
    low, high = number(value[0]), number(value[1])
    return UNDEFINED if math.isnan(low) or math.isnan(high) else Interval(low, high)


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is a mapping, otherwise an empty one."""
    return value if isinstance(value, Mapping) else {}


def rows_in(value: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """A list of mappings under a key; empty where it holds something else."""
    found = value.get(key)
    return [mapping(one) for one in found] if isinstance(found, list) else []


def ratio(value: object) -> Ratio:
    """`{"estimate", "low", "high"}` as a ratio; what is missing is NaN."""
    told = mapping(value)
    return Ratio(number(told.get("estimate")), number(told.get("low")), number(told.get("high")))


def stage_view(name: str, kind: Kind, stage: Mapping[str, Any]) -> StageView:
    """One entry of `stages` or `arms`, or the `metrics` of an `evaluated` event."""
    return StageView(
        name=name,
        kind=kind,
        estimates={
            key: Estimate(number(stage.get(key)), interval(stage.get(f"{key}_ci")))
            for key in ESTIMATES
        },
        n=number(stage.get("n")),
        k=number(stage.get("k")),
        labels_used=number(stage.get("labels_used")),
        seconds=number(stage.get("seconds")),
    )


def stages_of(metrics: Mapping[str, Any]) -> list[StageView]:
    """The stages in order, without the arms.

    `mmupt eval` writes the keys of a single stage at the top; that counts as one stage.
    """
    listed = metrics.get("stages")
    if not isinstance(listed, list):
        listed = [metrics] if any(key in metrics for key in ESTIMATES) else []
    views = []
    for position, stage in enumerate(listed[:MAX_STAGES]):
        if isinstance(stage, Mapping):
            name = str(stage.get("name") or ("eval" if len(listed) == 1 else f"#{position + 1}"))
            views.append(stage_view(name, kind_of(name), stage))
    return views


def arms_of(metrics: Mapping[str, Any]) -> list[StageView]:
    """The arms of a comparison, in the order of the file."""
    arms = mapping(metrics.get("arms"))
    return [
        stage_view(str(name), Kind.ARM, arm)
        for name, arm in list(arms.items())[:MAX_STAGES]
        if isinstance(arm, Mapping)
    ]


def kind_of(name: str) -> Kind:
    """The kind of a stage by its name: what is neither base nor SFT learned without labels."""
    if name in ("base", "eval"):
        return Kind.BASE
    return Kind.SFT if name == "sft" else Kind.LABEL_FREE


def find(views: list[StageView], kind: Kind) -> StageView | None:
    """The last stage of a kind."""
    return next((view for view in reversed(views) if view.kind is kind), None)
