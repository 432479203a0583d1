"""The four-dimensional score of We-Math (arXiv 2407.01284, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from mmupt.benchmarks.rows import BenchmarkRow, Score


@dataclass(frozen=True, slots=True)
class FourDimensional:
    """How N problems fell into the four kinds, with strict or loose reading of mastery.

    With s the steps asked alone and m the whole problem:

        IK  insufficient knowledge      some s wrong, m wrong
        IG  inadequate generalization   all s right, m wrong
        CM  complete mastery            m right; strict: all s right, loose: some s right
        RM  rote memorization           m right; strict: some s wrong, loose: all s wrong

    Attributes:
        ik, ig, cm, rm: numbers of problems; they add up to `problems`.
        problems: N, those whose questions are all scored. Published: 525 whatever was evaluated,
            so that a problem that is missing counts as mastered.
        score: (N - IG / 2 - RM - IK) / N, that is (CM + IG / 2) / N; NaN for N = 0.
        ik_rate, ig_rate, cm_rate: shares of N.
        rm_rate: RM / (CM + RM), of the problems that were solved; NaN if none was.
        left_out: problems with a question that is missing or unscored.
    """

    ik: int
    ig: int
    cm: int
    rm: int
    problems: int
    score: float
    ik_rate: float
    ig_rate: float
    cm_rate: float
    rm_rate: float
    left_out: int

    def as_json(self) -> dict[str, float]:
        """By name."""
        return asdict(self)


def four_dimensional(
    scored: Iterable[tuple[BenchmarkRow, Score]], *, strict: bool
) -> FourDimensional:
    """The score over whole problems.

    Args:
        scored: rows of We-Math with their scores, in any order.
        strict: mastery needs every step; loose: one of them.
    """
    problems: dict[str, dict[str, bool | None]] = {}
    sizes: dict[str, int] = {}
    for row, score in scored:
        problem = row.fields["problem"]
        sizes[problem] = int(row.fields["steps"])
        problems.setdefault(problem, {})[row.fields["step"]] = score.right
    counts = {"ik": 0, "ig": 0, "cm": 0, "rm": 0}
    left_out = 0
    for problem, answers in problems.items():
        kind = _kind(answers, sizes[problem], strict)
        if kind is None:
            left_out += 1
        else:
            counts[kind] += 1
    total = sum(counts.values())
    solved = counts["cm"] + counts["rm"]
    return FourDimensional(
        **counts,
        problems=total,
        score=_share(total - 0.5 * counts["ig"] - counts["rm"] - counts["ik"], total),
        ik_rate=_share(counts["ik"], total),
        ig_rate=_share(counts["ig"], total),
        cm_rate=_share(counts["cm"], total),
        rm_rate=_share(counts["rm"], solved),
        left_out=left_out,
    )


def _kind(answers: Mapping[str, bool | None], size: int, strict: bool) -> str | None:
    """Which of the four a problem is; None unless all of its questions are scored."""
    steps = [answers.get(str(number)) for number in range(1, size + 1)]
    whole = answers.get("multi")
    if whole is None or None in steps:
        return None
    if not whole:
        return "ig" if all(steps) else "ik"
    return "cm" if (all(steps) if strict else any(steps)) else "rm"


def _share(part: float, total: int) -> float:
    return part / total if total else math.nan
