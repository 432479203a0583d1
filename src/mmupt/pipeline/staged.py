"""The staged method: base -> sft -> label-free rounds, evaluated after each, arms beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmupt.config import Config
from mmupt.config_votes import MajorityVote
from mmupt.evaluate.scores import Scores
from mmupt.events import read_events
from mmupt.pipeline.about import about
from mmupt.pipeline.machine import Machine, Reviewer
from mmupt.pipeline.material import Material
from mmupt.pipeline.plan import planned_work
from mmupt.pipeline.project import Project
from mmupt.pipeline.rounds import Round, read_rounds
from mmupt.pipeline.stages import Stages
from mmupt.pipeline.steps import read_record
from mmupt.runs import RunFolder, write_json
from mmupt.stats import paired_difference
from mmupt.types import Sample


def run_staged(
    stages: Stages,
    material: Material,
    *,
    read: Callable[[Config, Round], Sequence[Sample]],
    reviewer: Reviewer | None = None,
    lang: str = "en",
) -> dict[str, Any]:
    """Go on with a project as far as it goes, and write `metrics.json`. Returns the metrics.

    Args:
        stages: of the project's folder.
        material: the data of its configuration.
        read: reads the questions of a round that was added.
        reviewer: judges audits by itself; None: people do.
        lang: of the pilot's reasons.
    """
    started = time.perf_counter()
    config = stages.config
    project = Project(stages.folder.root)
    stages.test, stages.audited = material.test, material.audited
    stages.log.emit("run_planned", work=planned_work(config, material))
    machine = Machine(project, stages, material, read, reviewer, lang)
    halt = machine.advance()
    done = stages.processes.told(lambda: evaluated(project))
    start = "sft" if "sft" in done else "base"
    arms: list[str] = []
    if material.truth:
        arms = run_arms(stages, material, after=start)
    metrics = collect_metrics(stages, done, arms, start)
    metrics["project"] = stages.processes.told(lambda: machine.overview(halt))
    if stages.processes.main:
        write_json(stages.folder.metrics, metrics)
    stages.log.emit("run_finished", seconds=time.perf_counter() - started)
    return metrics


def evaluated(project: Project) -> list[str]:
    """The versions that have been measured, in the order in which they were made."""
    rounds = [one.stage for one in read_rounds(project.rounds)]
    records = {name: read_record(project.steps, f"{name}/evaluate") for name in STAGES + rounds}
    return [name for name, found in records.items() if found and found.state == "finished"]


STAGES = ["base", "sft"]


def run_arms(stages: Stages, material: Material, *, after: str) -> list[str]:
    """Supervised GRPO and the published recipe from the same checkpoint, as many updates each."""
    config = stages.config
    steps = config.train.rounds * config.train.max_steps
    together = config.model_copy(
        update={"train": config.train.model_copy(update={"max_steps": steps})}
    )
    stages.supervised(material.truth, after=after, stage="supervised", key=101, config=together)
    stages.evaluate("supervised")
    stages.label_free(
        material.unlabelled,
        after=after,
        stage="published",
        key=102,
        config=published_recipe(together),
    )
    stages.evaluate("published")
    return ["supervised", "published"]


def published_recipe(config: Config) -> Config:
    """MM-UPT as published (arXiv 2505.22453), at this run's learning rate and batch.

    The policy's own rollouts vote on one view, every majority counts, rewards are divided by the
    group's deviation; temperature 0.7, top-p 0.99, upper clip 0.3, KL weight 0.01. Nothing is
    filtered and nothing watches it.
    """
    return config.model_copy(
        update={
            "consensus": config.consensus.model_copy(
                update={
                    "teacher": "online",
                    "strategy": MajorityVote(),
                    "min_share": 0.0,
                    "min_margin": 0.0,
                    "entropy_window": None,
                    "easiest_fraction": 1.0,
                }
            ),
            "guard": config.guard.model_copy(update={"action": "none"}),
            "train": config.train.model_copy(
                update={
                    "views": 1,
                    "temperature": 0.7,
                    "top_p": 0.99,
                    "epsilon": 0.2,
                    "epsilon_high": 0.3,
                    "beta": 0.01,
                    "scale_rewards": "group",
                    "loss_type": "dapo",
                    "dynamic_sampling": False,
                }
            ),
        }
    )


def collect_metrics(
    stages: Stages, done: Sequence[str], arms: Sequence[str], start: str
) -> dict[str, Any]:
    """Everything that `metrics.json` holds, from what the stages left on disk."""
    booked = _booked(stages.folder)
    last = _last_unrefused(stages.folder, done)
    scores = {name: stages.evaluate(name) for name in (*done, *arms)}
    table = {name: _stage_row(name, scores[name], booked) for name in scores}
    for name in table:
        if guard := stages.guarded(name):
            table[name]["guard"] = guard
    metrics: dict[str, Any] = {"stages": [table[name] for name in done]}
    if arms:
        metrics["arms"] = {name: table[name] for name in arms}
        metrics["recovered"] = {
            key: _recovered(scores[start], scores[last], scores["supervised"], key)
            for key in ("mean", "greedy")
        }
    metrics["gain"] = _gain(scores[start], scores[last])
    metrics["labels_used"] = sum(int(table[name]["labels_used"]) for name in done)
    metrics["labels_audited"] = len(stages.audited)
    metrics |= about(stages.config)
    metrics["seconds"] = sum(float(row["seconds"]) for row in table.values())
    return metrics


def _last_unrefused(folder: RunFolder, done: Sequence[str]) -> str:
    """The last version whose gate has not refused it; the last one where it refused all rounds."""
    steps = Project(folder.root).steps
    for name in reversed(done):
        gate = read_record(steps, f"{name}/gate")
        if name in STAGES:
            break
        if gate is None or gate.outputs.get("verdict") != "fail":
            return name
    return done[-1]


def _stage_row(
    name: str, scores: Scores, booked: Mapping[str, tuple[int, float]]
) -> dict[str, Any]:
    labels, seconds = booked.get(name, (0, 0.0))
    row = {"name": name, **scores.metrics(), "labels_used": labels}
    row["evaluation_seconds"], row["seconds"] = scores.seconds, seconds + scores.seconds
    if name != "base":
        row["checkpoint"] = f"checkpoints/{name}"
    return row


def _gain(before: Scores, after: Scores) -> dict[str, Any]:
    """Last stage minus the stage before the label-free rounds, question by question."""
    gain: dict[str, Any] = {}
    for key in ("mean", "greedy"):
        difference = paired_difference(getattr(before, key), getattr(after, key))
        gain[key] = difference.estimate
        gain[f"{key}_ci"] = [difference.low, difference.high]
    return gain


def _recovered(before: Scores, after: Scores, supervised: Scores, key: str) -> float | None:
    """Share of the supervised gain that the label-free rounds reach; None without such a gain."""
    bound = float(getattr(supervised, key).mean() - getattr(before, key).mean())
    reached = float(getattr(after, key).mean() - getattr(before, key).mean())
    return reached / bound if bound > 0 else None


def _booked(folder: RunFolder) -> dict[str, tuple[int, float]]:
    """Labels used and seconds trained per stage, from the events; repeated steps count once."""
    labels: dict[str, int] = {}
    steps: dict[tuple[str, str, int], float] = {}
    for event in read_events(folder.events):
        if event["type"] in ("sft_step", "grpo_step", "guard_look"):
            steps[event["stage"], event["type"], event["step"]] = float(event["seconds"])
        elif event["type"] == "stage_finished":
            labels[event["stage"]] = int(event["labels_used"])
    names = {stage for stage, *_ in steps} | set(labels)
    return {
        name: (labels.get(name, 0), sum(s for (stage, *_), s in steps.items() if stage == name))
        for name in names
    }
