"""The questions of a report: with answers where there are some, and the picture they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmupt.bias.chance import Ints
from mmupt.data.sources import LeftOut, read_labelled, read_samples
from mmupt.errors import InputError
from mmupt.types import Sample

_UNLABELLED = "row has no answer"
"""How the reader of answers begins to say that there is none."""


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
    samples = read_samples(path, data_root=data_root, skip_bad=skip_bad, limit=limit)
    answers: dict[str, str] = {}
    try:
        # images were checked with the questions
        known = read_labelled(path, data_root=data_root, skip_bad=True, check_images=False)
        answers = {row.sample.id: row.answer for row in known}
        odd = [row for row in known.left_out if not row.reason.startswith(_UNLABELLED)]
    except InputError as error:
        if _UNLABELLED not in str(error):
            raise
        odd = []
    usable = {sample.origin for sample in samples}
    for row in odd if not skip_bad else ():
        if row.origin in usable:
            raise InputError(f"{row.origin}: {row.reason}; fix the row or pass --skip-bad")
    rows = tuple(Question(sample, answers.get(sample.id)) for sample in samples)
    return Questions(rows, samples.left_out)


def clusters(samples: Sequence[Sample]) -> Ints:
    """Cluster of each question: those about the same pictures are one, each without any its own."""
    names: dict[object, int] = {}
    keys = (sample.images or sample.id for sample in samples)
    return np.asarray([names.setdefault(key, len(names)) for key in keys], dtype=np.int64)
