"""A few answers that people gave, against the pseudo-labels: how often the majority is right."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mmupt.config import ConsensusConfig
from mmupt.consensus.ballot import tally
from mmupt.consensus.equivalence import partition
from mmupt.data.entries import read_entries
from mmupt.data.images import printable
from mmupt.data.rows import Number, decode
from mmupt.errors import InputError
from mmupt.pipeline.pilot_rows import RowFigures
from mmupt.stats import Interval, clopper_pearson, expected_calibration_error

EDGES = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Bins of the vote share, [lower, upper), the last one closed. Few, as audits are small."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many pseudo-labels are right.

    Attributes:
        n: audited pseudo-labels.
        right: of them, those that are equivalent to the true answer.
        interval: exact 95% interval of right / n.
        always: what answering always the most frequent true answer would give on the same rows.
    """

    n: int
    right: int
    interval: Interval
    always: float

    @property
    def value(self) -> float:
        return self.right / self.n if self.n else math.nan


@dataclass(frozen=True, slots=True)
class Bin:
    """The audited pseudo-labels with a share in [low, high)."""

    low: float
    high: float
    share: float
    """Mean share in the bin."""
    accuracy: Accuracy


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """What an audit says.

    Attributes:
        rows: audited rows, those without a pseudo-label included.
        labelled: accuracy of all pseudo-labels.
        kept: accuracy of those that training would keep.
        bins: accuracy by vote share; bins without a row are left out.
        ece: expected calibration error of the share as confidence that the label is right.
    """

    rows: int
    labelled: Accuracy
    kept: Accuracy
    bins: tuple[Bin, ...]
    ece: float


def read_audit(path: Path, ids: Collection[str]) -> dict[str, str]:
    """True answers by id, from rows with `id` and `answer`; other columns are not looked at.

    Args:
        path: a ``.jsonl`` or ``.json`` file.
        ids: the ids of the data; what is audited must be among them.

    Raises:
        InputError: no such file, a row without id or answer, an id that is not in the data or
            twice in the audit, or no row at all.
    """
    known = set(ids)
    answers: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            for entry in read_entries(file, path):
                try:
                    row = decode(entry.raw)
                    name, answer = (_column(row, key) for key in ("id", "answer"))
                    _check_id(name, known, answers)
                except InputError as error:
                    raise InputError(f"{entry.origin}: {error}") from error
                answers[name] = answer
    except OSError as error:
        raise InputError(f"{printable(path)} cannot be read ({error.strerror})") from error
    if not answers:
        raise InputError(f"{printable(path)} holds no rows, expected id and answer in each line")
    return answers


def audit_figures(
    votes: Mapping[str, RowFigures], truth: Mapping[str, str], config: ConsensusConfig
) -> AuditFigures:
    """The figures of an audit.

    Args:
        votes: the vote on every question by id.
        truth: true answer by id, of some of them.
        config: `kind` and `rtol` say when two answers are the same.
    """
    cases = [
        (votes[name], answer, _same(votes[name].pseudo_label, answer, config))
        for name, answer in truth.items()
        if votes[name].pseudo_label is not None
    ]
    bins = []
    for low, high in pairwise(EDGES):
        inside = [c for c in cases if low <= c[0].share < high or c[0].share == high == EDGES[-1]]
        if inside:
            share = math.fsum(case[0].share for case in inside) / len(inside)
            bins.append(Bin(low, high, share, _accuracy(inside, config)))
    return AuditFigures(
        rows=len(truth),
        labelled=_accuracy(cases, config),
        kept=_accuracy([case for case in cases if case[0].kept], config),
        bins=tuple(bins),
        ece=expected_calibration_error(
            [vote.share for vote, _, _ in cases], [float(right) for _, _, right in cases]
        ),
    )


def _accuracy(cases: Sequence[tuple[RowFigures, str, bool]], config: ConsensusConfig) -> Accuracy:
    right = sum(one for _, _, one in cases)
    counts = tally(partition([a for _, a, _ in cases], kind=config.kind, rtol=config.rtol))
    always = max(counts, default=0) / len(cases) if cases else math.nan
    return Accuracy(len(cases), right, clopper_pearson(right, len(cases)), always)


def _same(label: str | None, answer: str, config: ConsensusConfig) -> bool:
    first, second = partition([label, answer], kind=config.kind, rtol=config.rtol)
    return first is not None and first == second


def _column(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        columns = ", ".join(printable(key, 40) for key in list(row)[:10]) or "none"
        raise InputError(
            f'no usable "{name}" (columns: {columns}); an audit row needs "id" and "answer", '
            'such as {"id": "a-1", "answer": "2"}'
        )
    return str(value).strip() if name == "answer" or isinstance(value, Number) else value


def _check_id(name: str, known: Collection[str], seen: Mapping[str, str]) -> None:
    shown = printable(name, 60)
    if name not in known:
        raise InputError(
            f'id "{shown}" is not in the data that is voted on; audit rows of the same file'
        )
    if name in seen:
        raise InputError(f'id "{shown}" is audited twice; keep one answer')
