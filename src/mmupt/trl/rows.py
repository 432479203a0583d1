"""The questions of a round as a table of TRL's, one row per completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmupt.asking.prompt import IMAGE_MARK, Prompt
from mmupt.train.rollout import STUDENT_STREAM
from mmupt.train.sft import batch_indices
from mmupt.train.stage import Run
from mmupt.types import Sample


def in_order(samples: Sequence[Sample], run: Run) -> list[Sample]:
    """The questions of all steps in their order, those that the local engine would ask.

    One pass over this list is the whole round, so that a resumed trainer skips what is done. Over
    the questions themselves it would begin its shuffling anew.
    """
    train = run.config.train
    return [
        samples[index]
        for step in range(1, train.max_steps + 1)
        for index in batch_indices(len(samples), train.prompts_per_step, step, run.seed)
    ]


def rows_to_ask(samples: Sequence[Sample], run: Run) -> Any:
    """A table with one row per completion, as TRL takes it; pictures are read in their turn.

    A question's rows stand together, view by view. What tells groups apart is a question's place
    in the round, as one may come again.
    """
    import datasets

    rows = len(samples) * run.config.train.num_generations
    table = datasets.Dataset.from_dict({"row": list(range(rows))})
    return table.with_transform(_Shown(samples, run))


class _Shown:
    """Makes TRL's columns of row numbers."""

    def __init__(self, samples: Sequence[Sample], run: Run) -> None:
        train = run.config.train
        self._samples, self._prompts, self._stage = samples, run.prompts, run.stage
        self._size, self._per_view = train.num_generations, train.num_generations // train.views
        self._per_step = train.prompts_per_step
        self._pictured = any(sample.images for sample in samples)

    def __reduce__(self) -> tuple[Any, ...]:
        """Only hashed, never loaded: `datasets` names tables by what transforms them."""
        return str, (f"mmupt {self._stage}",)

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        rows: dict[str, list[Any]] = {
            name: [] for name in ("prompt", "images", "group", "problem", "view", "shown_labels")
        }
        made: dict[tuple[int, int], Prompt] = {}
        for row in batch["row"]:
            place, member = divmod(row, self._size)
            view = member // self._per_view
            if (place, view) not in made:
                made[place, view] = self._prompt(place, view)
            prompt = made[place, view]
            rows["prompt"].append([{"role": "user", "content": content(prompt.problem)}])
            rows["images"].append(list(prompt.images))
            rows["group"].append(place)
            rows["problem"].append(prompt.problem)
            rows["view"].append(view)
            rows["shown_labels"].append(dict(prompt.labels))
        if not self._pictured:
            del rows["images"]
        return rows

    def _prompt(self, place: int, view: int) -> Prompt:
        """The same view that the local engine shows in the same step."""
        step = place // self._per_step + 1
        return self._prompts.prompt(self._samples[place], view, STUDENT_STREAM, step)


def content(problem: str) -> list[dict[str, str]]:
    """A question's texts and pictures in their order, the texts stripped as everywhere here."""
    parts: list[dict[str, str]] = []
    for index, text in enumerate(problem.split(IMAGE_MARK)):
        if index:
            parts.append({"type": "image"})
        if text.strip():
            parts.append({"type": "text", "text": text.strip()})
    return parts
