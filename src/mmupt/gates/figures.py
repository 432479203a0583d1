"""Figures of evidence as typed values; what is missing, mistyped or inconsistent is named.

Figures come from files, databases and other people's code, so every one is looked at before it is
believed: no bool is a number here, no number is taken from a text, and nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmupt.gates.evidence import Reason

LONGEST = 1_000_000
"""Most values in a list."""
_SLACK = 1e-9
"""Rounding that an estimate may lie outside its interval."""


class UnusableError(ValueError):
    """A figure that cannot be used; carries the reason for people."""

    def __init__(self, key: str, **values: Any) -> None:
        super().__init__(key)
        self.reason = Reason(key, values)


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """How many audited pseudo-labels are right.

    Attributes:
        n: audited pseudo-labels.
        right, wrong: those with a clear verdict.
        population: pseudo-labels in all.
        estimate, low, high: precision in the population and its interval.
        confidence: of the interval.
        still_needed: verdicts until the gate can probably decide; None where nobody knows.
        accepted: what a lot plan said; None where there is none.
    """

    n: int
    right: int
    wrong: int
    population: int
    estimate: float
    low: float
    high: float
    confidence: float
    still_needed: int | None
    accepted: bool | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Values of the same questions, before and after."""

    before_N: Sequence[float]
    after_N: Sequence[float]


@dataclass(frozen=True, slots=True)
class GuardFigures:
    """What the guard of a round saw."""

    watched: bool
    stopped_by: Sequence[str]
    best_step: int
    steps: int


def read_audit(figures: Mapping[str, Any]) -> AuditFigures:
    """Raises UnusableError: a figure is missing, mistyped, out of range, or against another."""
    n, right, wrong, unsure, population = (
        _count(figures, name) for name in ("n", "right", "wrong", "unsure", "population")
    )
    # `n` may count the samples with an unclear verdict or leave them out.
    if not right + wrong <= n <= right + wrong + unsure:
        raise UnusableError("counts", what=f"right {right} + wrong {wrong}, n {n}")
    if n > population:
        raise UnusableError("counts", what=f"n {n}, population {population}")
    if right + wrong == 0:
        raise UnusableError("no-verdicts")
    estimate, low, high = (_fraction(figures, name) for name in ("estimate", "low", "high"))
    # `high` may lie below the estimate: a confidence sequence keeps the smallest one it has seen.
    if not low <= min(estimate + _SLACK, high):
        raise UnusableError("counts", what=f"low {low}, estimate {estimate}, high {high}")
    if right == 0 and low > 0:
        raise UnusableError("counts", what=f"right {right}, low {low}")
    _text(figures, "design")
    _text(figures, "size")
    needed = None if figures.get("still_needed") is None else _count(figures, "still_needed")
    return AuditFigures(
        n=n, right=right, wrong=wrong, population=population,
        estimate=estimate, low=low, high=high, confidence=_fraction(figures, "confidence"),
        still_needed=needed, accepted=_accepted(figures),
    )  # fmt: skip


def read_pair(figures: Mapping[str, Any], name: str, *, binary: bool) -> Pair:
    """`{name}_before` and `{name}_after` as lists of equal length, values 0 or 1, or in [0, 1].

    With an empty name the columns are `before` and `after`.
    """
    prefix = f"{name}_" if name else ""
    before, after = (
        _values(figures, f"{prefix}{end}", binary=binary) for end in ("before", "after")
    )
    if len(before) != len(after):
        raise UnusableError("lengths", what=name, before=len(before), after=len(after))
    return Pair(before, after)


def read_held_out(figures: Mapping[str, Any]) -> dict[str, Pair]:
    """Greedy accuracy, sampled accuracy, vote share, unreadable and truncated replies."""
    _text(figures, "ids_sha256")
    pairs = {
        name: read_pair(figures, name, binary=name == "greedy")
        for name in ("greedy", "mean", "share", "abstained", "truncated")
    }
    sizes = {name: len(pair.before_N) for name, pair in pairs.items()}
    for name, size in sizes.items():
        if size != sizes["greedy"]:
            raise UnusableError("lengths", what=name, before=sizes["greedy"], after=size)
    return pairs


def read_slices(figures: Mapping[str, Any], columns: Sequence[str]) -> dict[tuple[str, str], Pair]:
    """Greedy accuracy by (column, group) of the wanted columns."""
    found: dict[tuple[str, str], Pair] = {}
    for column in columns:
        groups = figures.get(column)
        if not isinstance(groups, Mapping) or not groups:
            raise UnusableError("no-column", column=column)
        for group, pair in groups.items():
            if not isinstance(pair, Mapping):
                raise UnusableError("figure", what=f"{column}={group}")
            found[column, group] = read_pair(pair, "", binary=True)
    return found


def read_guard(figures: Mapping[str, Any]) -> GuardFigures:
    """What the guard says of its round."""
    watched, stopped = figures.get("watched"), figures.get("stopped_by")
    if not isinstance(watched, bool):
        raise UnusableError("figure", what="watched")
    if not isinstance(stopped, list) or not all(isinstance(name, str) for name in stopped):
        raise UnusableError("figure", what="stopped_by")
    best, steps = _count(figures, "best_step"), _count(figures, "steps")
    if best > steps:
        raise UnusableError("counts", what=f"best_step {best}, steps {steps}")
    return GuardFigures(watched, tuple(stopped), best, steps)


def _accepted(figures: Mapping[str, Any]) -> bool | None:
    lot = figures.get("lot")
    if lot is None:
        return None
    accepted = lot.get("accepted") if isinstance(lot, Mapping) else None
    if not isinstance(accepted, bool):
        raise UnusableError("lot-open")
    return accepted


def _count(figures: Mapping[str, Any], name: str) -> int:
    value = figures.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UnusableError("figure", what=name)
    return value


def _fraction(figures: Mapping[str, Any], name: str) -> float:
    value = figures.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UnusableError("figure", what=name)
    return float(value)


def _text(figures: Mapping[str, Any], name: str) -> str:
    value = figures.get(name)
    if not isinstance(value, str) or not value:
        raise UnusableError("figure", what=name)
    return value


def _values(figures: Mapping[str, Any], name: str, *, binary: bool) -> list[float]:
    values = figures.get(name)
    if not isinstance(values, list) or not 0 < len(values) <= LONGEST:
        raise UnusableError("figure", what=name)
    # By whole types and ends, as lists are long; bool is a type of its own here.
    if not set(map(type, values)) <= {int, float} or min(values) < 0 or max(values) > 1:
        raise UnusableError("figure", what=name)
    if binary and not set(values) <= {0, 1}:
        raise UnusableError("figure", what=name)
    return values
