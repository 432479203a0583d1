"""Where the figures of a run go besides its own folder."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from mmupt.config_votes import Section


class TrackersConfig(Section):
    """Experiment trackers, through accelerate (`mmupt[trackers]`). See docs/trackers.md."""

    report_to: tuple[str, ...] = ()
    """`tensorboard`, `wandb`, `mlflow`, `trackio`, `comet_ml`, `aim`, `clearml`, `dvclive`,
    `swanlab`, or a class of yours as `package.module:Tracker`; one or a list. They get figures,
    never pictures, questions or replies."""
    project: str = Field(default="mmupt", min_length=1)
    """Project (MLflow: experiment) that the run is shown in."""
    run_name: str | None = None
    """Name of the run there; None: that of its folder."""

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        """As in transformers: a single name, and `none`."""
        if isinstance(value, str):
            value = [value]
        return [] if value is None or value == ["none"] else value

    @field_validator("report_to")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))
