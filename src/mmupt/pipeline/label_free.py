"""Label-free rounds one after the other, unexamined: `mmupt train` and `LabelFreeTrainer`."""

from __future__ import annotations

from collections.abc import Sequence

from mmupt.pipeline.stages import LabelFree, Stages
from mmupt.types import Sample


def label_free_rounds(
    stages: Stages, samples: Sequence[Sample], method: LabelFree | None = None
) -> str:
    """`train.rounds` rounds on the same questions from the base model, until the guard stops one.

    Returns:
        The last round's stage.
    """
    stage = "base"
    for number in range(1, stages.config.train.rounds + 1):
        stage = stages.label_free(
            samples, after=stage, stage=f"round-{number}", key=number, method=method
        )
        if stages.guarded(stage).get("stopped_by"):
            break
    return stage
