"""Progress of a whole study: how many cells, how far, how long it will take."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from mmupt.config import Config
from mmupt.events import Event
from mmupt.pipeline.plan import BACKWARD
from mmupt.train.sft import total_steps


def sft_work(config: Config, labelled: int, test: int) -> float:
    """Sequences that the SFT cell runs through the model, training weighted (as in `plan`)."""
    assert config.sft is not None  # noqa: S101  checked where the study starts
    return total_steps(labelled, config.sft) * _sft_step(config) + _evaluation(config, test)


def arm_work(config: Config, method: str, test: int) -> float:
    """The same for the cell of an arm, evaluations at candidate steps included."""
    train = config.train
    looks = train.max_steps // config.eval.steps if config.eval.steps else 0
    at_end = 0 if config.eval.steps and train.max_steps % config.eval.steps == 0 else 1
    of_round = train.max_steps * _step(config, method) + (looks + at_end) * _evaluation(
        config, test
    )
    return train.rounds * of_round


def _sft_step(config: Config) -> float:
    assert config.sft is not None  # noqa: S101
    return config.sft.per_device_train_batch_size * BACKWARD


def _step(config: Config, method: str) -> float:
    train, consensus = config.train, config.consensus
    votes = method != "supervised" and consensus.teacher != "online"
    teacher = consensus.views * consensus.samples_per_view if votes else 0
    student = train.num_generations * (1.0 + BACKWARD * train.num_iterations)
    return train.prompts_per_step * (student + teacher)


def _evaluation(config: Config, test: int) -> float:
    return test * (1.0 + config.eval.num_samples)


class StudyProgress:
    """A listener of all cells' events: one bar for the study, one for what is running.

    The time left is what the work done so far took, per unit of work; what earlier processes did
    is taken off both sides. Use as a context manager around the study.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[figures]}"),
            console=console,
        )
        self._study = self.progress.add_task("study", total=None, figures="")
        self._part = self.progress.add_task("", total=None, figures="", visible=False)
        self._work: dict[str, float] = {}
        self._cells = (0, 0)
        self._before, self._within = 0.0, 0.0
        self._started = time.perf_counter()
        self._config: Config | None = None
        self._method, self._cell, self._steps = "", "", 0
        self._rows = 0

    def __enter__(self) -> StudyProgress:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def plan(self, work: dict[str, float], cells: int) -> None:
        """Work of every cell that is still to do, and how many cells there are in all."""
        self._work, self._cells = work, (cells - len(work), cells)
        self._started = time.perf_counter()

    def begin(self, cell: str, config: Config, method: str) -> None:
        self._cell, self._config, self._method, self._within = cell, config, method, 0.0

    def end(self, cell: str, summary: str) -> None:
        """A cell is finished, whatever of its plan it did not need."""
        self._before += self._work.pop(cell, 0.0)
        self._within = 0.0
        self._cells = (self._cells[0] + 1, self._cells[1])
        self.progress.update(self._part, visible=False)
        self.progress.console.print(f"{cell}: {summary}", highlight=False)
        self._draw()

    def __call__(self, event: Event) -> None:
        kind = str(event["type"])
        if self._config is None:
            return
        if kind in ("stage_started", "run_resumed"):
            self._steps = int(event["total_steps"])
            self._skip(event["step"] * self._unit(event))
            self._show(f"{self._cell}, {event['stage']}", event["step"], self._steps)
        elif kind.endswith("_step"):
            self._within += self._unit(event)
            self._show(f"{self._cell}, {event['stage']}", event["step"], self._steps)
        elif kind == "evaluation_progress":
            done, total = int(event["done"]), int(event["total"])
            self._within += _evaluation(self._config, done - self._rows)
            self._rows = 0 if done == total else done
            self._show(f"{self._cell}, evaluation", done, total)
        self._draw()

    def _unit(self, event: Event) -> float:
        assert self._config is not None  # noqa: S101
        sft = event["stage"] == "sft"
        return _sft_step(self._config) if sft else _step(self._config, self._method)

    def _skip(self, work: float) -> None:
        """An earlier process did this much of the cell: it is no longer to do."""
        if self._cell in self._work:
            self._work[self._cell] = max(0.0, self._work[self._cell] - work)

    def _show(self, description: str, done: int, total: int) -> None:
        self.progress.update(
            self._part,
            description=description,
            completed=done,
            total=total,
            figures=f"{done}/{total}",
            visible=True,
        )

    def _draw(self) -> None:
        left = sum(self._work.values())
        within = min(self._within, self._work.get(self._cell, 0.0))
        done, total = self._before + within, self._before + left
        figures = f"{self._cells[0]}/{self._cells[1]} cells"
        if done and total:
            spent = time.perf_counter() - self._started
            figures += f", {_clock(spent * (total - done) / done)} left"
        self.progress.update(self._study, completed=done, total=total or None, figures=figures)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
