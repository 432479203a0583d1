"""`report.json`: every figure that the page shows, for other programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmupt.events import jsonable
from mmupt.report.changes import Changes
from mmupt.report.curves import HEALTH_STYLES, SIGNAL_STYLES, label_free_steps
from mmupt.report.examples import tally
from mmupt.report.read import Rollout, RunRecord, events_of, step_of
from mmupt.report.table import gain_of, verdict_lines
from mmupt.report.values import StageView, arms_of, mapping, number, stages_of
from mmupt.words import LANGUAGES

FORMAT = 1
"""Of the file."""


def report_figures(
    run: RunRecord,
    facts: Mapping[str, Any] | None,
    changes: Changes | None,
    examples: Sequence[Rollout],
    headline: Mapping[str, str],
) -> dict[str, Any]:
    """Plain JSON; fractions are fractions, and what is not known is null.

    Args:
        run: from `load_run`.
        facts: of the project; None for a run alone.
        changes: between two stages.
        examples: the votes that are shown.
        headline: the page's first sentence by language.
    """
    found: dict[str, Any] = jsonable(
        {
            "format": FORMAT,
            "folder": run.path.resolve().name,
            "headline": dict(headline),
            "verdict": {lang: verdict_lines(run.metrics, lang) for lang in LANGUAGES},
            "stages": [_stage(view) for view in stages_of(run.metrics)],
            "arms": [_stage(view) for view in arms_of(run.metrics)],
            "gain": {key: _gain(run, key) for key in ("mean", "greedy")},
            "recovered": dict(mapping(run.metrics.get("recovered"))),
            "labels_used": number(run.metrics.get("labels_used")),
            "seed": number(run.metrics.get("seed")),
            "device": run.metrics.get("device"),
            "seconds": number(run.metrics.get("seconds")),
            "versions": dict(mapping(run.metrics.get("versions"))),
            "curves": {stage: _curve(steps) for stage, steps in label_free_steps(run)},
            "sft_loss": [
                [step_of(event.get("step")), number(event.get("loss"))]
                for event in events_of(run, "sft_step")
            ],
            "guard_looks": {
                stage: [dict(event) for event in events_of(run, "guard_look", stage)]
                for stage, _ in label_free_steps(run)
            },
            "guard": [
                dict(event)
                for kind in ("guard_finding", "best_checkpoint")
                for event in events_of(run, kind)
            ],
            "examples": [_example(rollout) for rollout in examples],
            "changes": None if changes is None else asdict(changes),
            "project": None if facts is None else dict(facts),
            "problems": list(run.problems),
        }
    )
    return found


def _stage(view: StageView) -> dict[str, Any]:
    return {
        "name": view.name,
        "n": view.n,
        "k": view.k,
        "labels_used": view.labels_used,
        "seconds": view.seconds,
        **{
            key: value
            for name, one in view.estimates.items()
            for key, value in ((name, one.value), (f"{name}_ci", list(one.interval)))
        },
    }


def _gain(run: RunRecord, key: str) -> dict[str, Any] | None:
    value, ends = gain_of(run.metrics, key)
    return None if math.isnan(value) else {"value": value, "interval": list(ends)}


def _curve(steps: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    keys = [style.key for style in (*SIGNAL_STYLES, *HEALTH_STYLES)]
    return {
        "step": [step_of(event.get("step")) for event in steps],
        **{key: [number(event.get(key)) for event in steps] for key in keys},
    }


def _example(rollout: Rollout) -> dict[str, Any]:
    return {
        "sample_id": rollout.sample_id,
        "stage": rollout.stage,
        "step": rollout.step,
        "pseudo_label": rollout.pseudo_label,
        "share": rollout.share,
        "kept": rollout.kept,
        "votes": [asdict(bar) for bar in tally(rollout)],
        "rewards": list(rollout.rewards),
    }
