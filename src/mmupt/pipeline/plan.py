"""How much work a run is, before it starts, so that its time left can be told."""

from __future__ import annotations

from mmupt.config import Config
from mmupt.pipeline.material import Material
from mmupt.train.sft import total_steps

BACKWARD = 3.0
"""A training pass costs about three forward passes."""

BATCHES = 2.0
"""Batches of prompts that a step with dynamic sampling is expected to draw, as if every second
group taught something; how many it draws shows in training."""


def planned_work(config: Config, material: Material) -> dict[str, float]:
    """Sequences that each stage and each evaluation runs through the model, training weighted.

    Keys are stages, and ``evaluate {stage}`` for their evaluations.
    """
    train, consensus = config.train, config.consensus
    evaluation = len(material.test) * (1.0 + config.eval.num_samples)
    update = train.num_generations * BACKWARD * train.num_iterations
    student = train.num_generations + update
    teacher = consensus.views * consensus.samples_per_view if consensus.teacher != "online" else 0
    batches = BATCHES if train.dynamic_sampling else 1.0
    prompt = batches * (train.num_generations + teacher) + update
    round_work = train.max_steps * train.prompts_per_step * prompt
    work = {"evaluate base": evaluation}
    if config.sft is not None and material.labelled:
        rows = total_steps(len(material.labelled), config.sft)
        work["sft"] = rows * config.sft.per_device_train_batch_size * BACKWARD
        work["evaluate sft"] = evaluation
    for number in range(1, train.rounds + 1):
        work[f"round-{number}"] = round_work
        work[f"evaluate round-{number}"] = evaluation
    if material.truth:
        for arm in ("supervised", "published"):
            work[arm] = train.rounds * train.max_steps * train.prompts_per_step * student
            work[f"evaluate {arm}"] = evaluation
    return work
