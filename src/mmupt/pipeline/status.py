"""Where a project stands, read from its folder; nothing is changed, and no model is loaded."""

from __future__ import annotations

import fcntl
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

from mmupt.config import Config
from mmupt.events import read_events
from mmupt.pipeline.auditing import Standing, standing_of
from mmupt.pipeline.project import Project
from mmupt.pipeline.rounds import Round, read_rounds
from mmupt.pipeline.steps import Record, read_record
from mmupt.registry.moves import State

StateName = Literal[
    "done", "awaiting-audit", "refused", "insufficient", "passed", "introducing", "stopped"
]
"""Where a run may halt."""

ROUND_STEPS = ("train", "evaluate", "audit", "gate", "promote")


def project_status(project: Project) -> dict[str, Any]:
    """Everything that `mmupt status` tells, ready for JSON.

    A stage is `waiting`, `running`, `interrupted` (it goes on with the next run), `finished`, or
    for gates what they said.
    """
    config = project.config()
    registry = project.registry()
    current = registry.current()
    rounds = read_rounds(project.rounds)
    busy = in_use(project.root)
    halt = _halt(project.root)
    steps = [_step(project, name, busy) for name in step_names(config, rounds, current)]
    if busy:
        state = "running"
    elif any(one["state"] == "interrupted" for one in steps):
        state = "interrupted"
    else:
        state = str(halt.get("state"))
        if state not in get_args(StateName):
            state = "interrupted"
        elif state in ("done", "refused", "insufficient") and _added(project, rounds):
            state = "waiting"  # for its next run
    store = project.audits(config)
    audits = {
        audit.name: audit_figures(standing)
        for audit in store.audits()
        if (standing := standing_of(store, audit.name, config)) is not None
    }
    return {
        "project": str(project.root),
        "id": project.id(),
        "state": state,
        "stage": halt.get("stage", ""),
        "why": halt.get("why", {}),
        "champion": current.champion,
        "challenger": current.challenger,
        "rollout": current.rollout,
        "previous": current.previous,
        "stages": steps,
        "rounds": [asdict(one) for one in rounds],
        "audits": audits,
    }


def _added(project: Project, rounds: list[Round]) -> bool:
    """Whether people have added a round that has not begun."""
    added = [one for one in rounds if not one.planned]
    return any(read_record(project.steps, f"{one.stage}/train") is None for one in added)


def step_names(config: Config, rounds: list[Round], current: State) -> list[str]:
    """The stages of a project in their order, planned ones included."""
    gated = ("gate", "promote") if config.gate is not None else ()
    names = ["base", "base/evaluate"]
    if config.sft is not None and config.data.labelled is not None:
        names += ["sft", "sft/evaluate", *(f"sft/{one}" for one in gated)]
    if config.pilot.rows:
        names.append("pilot")
    stages = [one.stage for one in rounds]
    planned = sum(one.planned for one in rounds)
    stages += [f"round-{len(rounds) + n + 1}" for n in range(max(0, config.train.rounds - planned))]
    for stage in stages:
        names += [
            f"{stage}/{one}" for one in ROUND_STEPS if gated or one not in ("gate", "promote")
        ]
    return names


def audit_figures(standing: Standing) -> dict[str, Any]:
    """An audit in figures."""
    found, agreement, calibration = standing.precision, standing.agreement, standing.calibration
    return {
        "asked": len(standing.plan.drawn),
        "judged": standing.judged,
        "still_needed": standing.needed,
        "population": found.population,
        "right": found.right,
        "wrong": found.wrong,
        "unsure": found.unsure,
        "precision": found.estimate,
        "precision_ci": [found.low, found.high],
        "confidence": found.confidence,
        "method": found.method,
        "design": standing.plan.design,
        "size": standing.plan.size,
        "waiting": found.waiting,
        "strata": [asdict(group) for group in found.strata],
        "slices": {
            column: [asdict(group) for group in groups] for column, groups in found.slices.items()
        },
        "alpha": agreement.alpha,
        "alpha_ci": list(agreement.interval),
        "alpha_units": agreement.units,
        "calibration": [asdict(block) for block in calibration.blocks] if calibration else None,
        "lot": standing.lot,
    }


def in_use(root: Path) -> bool:
    """Whether a run is at work in a folder."""
    try:
        with (root / ".lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no run yet, or a reader who may not open it
        return False
    return False


def _step(project: Project, name: str, busy: bool) -> dict[str, Any]:
    record = read_record(project.steps, name)
    step: dict[str, Any] = {"name": name, "state": "waiting"}
    if record is None:
        return step
    step["state"] = _state(record, busy)
    step |= {key: getattr(record, key) for key in ("identity", "code", "started", "finished")}
    if record.state == "finished":
        step["seconds"] = record.seconds
        step["outputs"] = dict(record.outputs)
    elif name.endswith("/train") or name == "sft":
        step["progress"] = _progress(project, name.partition("/")[0])
    return step


def _state(record: Record, busy: bool) -> str:
    if record.state == "finished":
        return "finished"
    return "running" if busy else "interrupted"


def _progress(project: Project, stage: str) -> list[int] | None:
    """Updates done, and all of them."""
    done, total = 0, 0
    for event in read_events(project.run.events):
        if event.get("stage") != stage:
            continue
        if event["type"] in ("stage_started", "run_resumed"):
            done, total = event["step"], event["total_steps"]
        elif event["type"] in ("sft_step", "grpo_step"):
            done = event["step"]
    return [done, total] if total else None


def _halt(root: Path) -> dict[str, Any]:
    try:
        found = json.loads((root / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
