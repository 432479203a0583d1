"""What a training stage needs besides model and data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmupt.asking.maker import PromptMaker
from mmupt.config import Config
from mmupt.events import EventLog
from mmupt.processes import ALONE, Processes

AfterStep = Callable[[int], None]
"""Told the number of each step after its update."""


@dataclass(frozen=True)
class Run:
    """What a training stage needs besides model and data.

    Attributes:
        config: the whole configuration.
        prompts: makes prompts of samples.
        log: where events go.
        stage: name of the stage, such as ``round-1``.
        key: makes this stage's random numbers its own.
        state_dir: points to resume from.
        rollouts_dir: where rollouts are written.
        processes: who trains together; each rolls out and learns from its share of every step's
            prompts, and the update is that of one process.
    """

    config: Config
    prompts: PromptMaker
    log: EventLog
    stage: str
    key: int
    state_dir: Path
    rollouts_dir: Path
    processes: Processes = ALONE

    @property
    def seed(self) -> int:
        """One seed per run and stage."""
        return self.config.seed * 1009 + self.key
