"""What several verdicts on one pseudo-label amount to. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, get_args

from mmupt.audit.records import Kind, Verdict

State = Literal["right", "wrong", "unsure", "open", "disputed"]
STATES: tuple[State, ...] = get_args(State)

_SAYS: Final[Mapping[Kind, State]] = {
    "accept": "right",
    "reject": "wrong",
    "correct": "wrong",
    "unsure": "unsure",
}
"""Kinds that judge; `skip` leaves a unit to others."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What people say of a pseudo-label.

    Attributes:
        state: ``open`` until enough reviewers have judged it; ``disputed`` where they differ.
        answer: the right answer where the label is wrong and all who gave one gave the same.
        reviewers: who judged it, sorted.
        seconds: that everybody spent on it, verdicts that were taken back included.
    """

    state: State
    answer: str | None
    reviewers: tuple[str, ...]
    seconds: float


def standing(verdicts: Iterable[Verdict]) -> dict[str, dict[str, Verdict]]:
    """The last verdict of each reviewer that was not undone, by unit and reviewer.

    An `undo` takes back the last one that stands, so that two of them take back two.

    Args:
        verdicts: in the order in which they were stored.
    """
    return {
        unit: {reviewer: stack[-1] for reviewer, stack in by.items() if stack}
        for unit, by in _stacks(verdicts).items()
    }


def chosen(audit: str, unit: str, share: float) -> bool:
    """Whether a unit is among the share of units that one more reviewer judges.

    It depends on the names alone: all processes choose the same, whoever judges when.
    """
    if share <= 0.0:
        return False
    mark = sha256(f"{audit}\n{unit}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(mark[:8]) < share * 2**64


def resolve(
    verdicts: Iterable[Verdict], reviewers: int = 1, second: float = 0.0
) -> dict[str, Resolution]:
    """What is settled about each unit that has a verdict; the others are open.

    Per reviewer the last verdict that was not undone counts, and a `skip` is none. With fewer
    than the unit needs it is open. So many settle it if they agree; if not it is disputed until,
    with a further reviewer, more than half of all say the same.

    Args:
        verdicts: of one audit, in the order in which they were stored.
        reviewers: how many judge each unit, at least 1.
        second: share of the units that need one more, see `chosen`.
    """
    if reviewers < 1:
        raise ValueError(f"reviewers = {reviewers} is below 1")
    given = list(verdicts)
    spent: dict[str, list[float]] = {}
    for verdict in given:
        spent.setdefault(verdict.unit, []).append(verdict.seconds)
    found = {}
    for unit, by in standing(given).items():
        judged = {who: verdict for who, verdict in by.items() if verdict.kind in _SAYS}
        some = next(iter(by.values()), None)
        needs = reviewers + (some is not None and chosen(some.audit, unit, second))
        state = state_of(by, needs)
        answers = {verdict.answer for verdict in judged.values() if verdict.answer is not None}
        found[unit] = Resolution(
            state=state,
            answer=answers.pop() if state == "wrong" and len(answers) == 1 else None,
            reviewers=tuple(sorted(judged)),
            seconds=math.fsum(spent[unit]),
        )
    return found


def state_of(by: Mapping[str, Verdict], reviewers: int) -> State:
    """What the standing verdicts on one unit amount to, where it needs so many reviewers."""
    said = [_SAYS[verdict.kind] for verdict in by.values() if verdict.kind in _SAYS]
    if len(said) < reviewers:
        return "open"
    top, votes = Counter(said).most_common(1)[0]
    agreed = votes == len(said) or (len(said) > reviewers and 2 * votes > len(said))
    return top if agreed else "disputed"


def differ(by: Mapping[str, Verdict]) -> bool:
    """Whether two of the standing verdicts on one unit say different things."""
    return len({_SAYS[verdict.kind] for verdict in by.values() if verdict.kind in _SAYS}) > 1


def wanted(by: Mapping[str, Verdict], reviewers: int) -> int:
    """How many reviewers a unit needs in all: one more than it has where they differ.

    Args:
        by: the standing verdicts on one unit, by reviewer.
        reviewers: how many judge each unit.
    """
    if state_of(by, reviewers) != "disputed":
        return reviewers
    return sum(map(judges, by.values())) + 1


def judges(verdict: Verdict) -> bool:
    """Whether a verdict says something about the label, be it that one cannot tell."""
    return verdict.kind in _SAYS


def outcomes(resolutions: Mapping[str, Resolution]) -> dict[str, bool | None]:
    """Right (True), wrong (False) or not to be told (None) for every unit that is not open.

    People who differ leave it as untold as one who is unsure: estimates treat both alike.
    """
    told = {"right": True, "wrong": False}
    return {
        unit: told.get(resolution.state)
        for unit, resolution in resolutions.items()
        if resolution.state != "open"
    }


def ratings(verdicts: Iterable[Verdict]) -> list[dict[str, str]]:
    """Who said what of each judged unit, for an agreement coefficient: reviewer -> value.

    The values are ``right`` and ``wrong``. A reviewer who was unsure or skipped has not rated the
    unit, as Krippendorff's alpha has it for missing values. What counts is each reviewer's first
    judgment that was not undone: one that was changed after seeing those of others is not
    independent of them, and would make reviewers look more alike than they are.

    Args:
        verdicts: of one audit, in the order in which they were stored.
    """
    firsts = [
        {who: next(filter(judges, stack), None) for who, stack in by.items()}
        for by in _stacks(verdicts).values()
    ]
    told = [
        {who: _SAYS[one.kind] for who, one in by.items() if one and one.kind != "unsure"}
        for by in firsts
    ]
    return [dict(values) for values in told if values]


def _stacks(verdicts: Iterable[Verdict]) -> dict[str, dict[str, list[Verdict]]]:
    """By unit and reviewer, the verdicts that were not undone, the first one first."""
    stacks: dict[str, dict[str, list[Verdict]]] = {}
    for verdict in verdicts:
        stack = stacks.setdefault(verdict.unit, {}).setdefault(verdict.reviewer, [])
        if verdict.kind != "undo":
            stack.append(verdict)
        elif stack:
            stack.pop()
    return stacks
