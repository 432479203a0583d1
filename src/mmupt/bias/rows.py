"""The questions of a report: with answers where there are some, and the picture they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmupt.bias.chance import Ints
from mmupt.data.sources import LeftOut, read_mixed
from mmupt.types import LabelledSample, Sample


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its true answer, None where nobody gave one."""

    sample: Sample
    answer: str | None


@dataclass(frozen=True, slots=True)
class Questions:
    """The rows of a file.

    Attributes:
        rows: at least one.
        left_out: rows that could not be used.
    """

    rows: tuple[Question, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(row.sample for row in self.rows)


def read_questions(
    path: Path, *, data_root: Path | None = None, skip_bad: bool = False, limit: int | None = None
) -> Questions:
    """Read rows of which some or none have answers.

    Raises:
        InputError: a row that cannot be used, also one whose answer is there and no answer.
    """
    found = read_mixed(path, data_root=data_root, skip_bad=skip_bad, limit=limit)
    rows = tuple(
        Question(row.sample, row.answer) if isinstance(row, LabelledSample) else Question(row, None)
        for row in found
    )
    return Questions(rows, found.left_out)


def clusters(samples: Sequence[Sample]) -> Ints:
    """Cluster of each question: those about the same pictures are one, each without any its own."""
    names: dict[object, int] = {}
    keys = (sample.images or sample.id for sample in samples)
    return np.asarray([names.setdefault(key, len(names)) for key in keys], dtype=np.int64)
