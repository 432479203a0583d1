"""Which rollouts are worth showing, and how their votes fell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mmupt.report.read import Rollout

CONFIDENT_SHARE = 0.85
"""From here on a kept vote is shown as confident. For display only; nothing trains on it."""


class Case(StrEnum):
    """Why an example is shown."""

    CONFIDENT = "confident"
    CONTESTED = "contested"
    LEFT_OUT = "left-out"


@dataclass(frozen=True, slots=True)
class Bar:
    """One class of answers: how it was first written and how many votes it got.

    `answer` is None for abstentions. `others` counts the further classes a bar stands for.
    """

    answer: str | None
    votes: int
    chosen: bool = False
    others: int = 0


def case_of(rollout: Rollout) -> Case:
    """Left out by the filter; otherwise by the share of the pseudo-label."""
    if not rollout.kept:
        return Case.LEFT_OUT
    return Case.CONTESTED if rollout.share < CONFIDENT_SHARE else Case.CONFIDENT


def choose_examples(rollouts: Sequence[Rollout], count: int = 8) -> list[Rollout]:
    """A mix for showing: confident, contested and left-out prompts, as different as possible.

    Takes the cases in turn (a case that is used up gives its turns to the others), each sample
    once, questions not shown yet first; otherwise in the given order. The result is sorted by
    case and falling share.
    """
    pools: dict[Case, list[Rollout]] = {case: [] for case in Case}
    seen: set[str] = set()
    for rollout in rollouts:
        if rollout.sample_id not in seen and rollout.votes:
            seen.add(rollout.sample_id)
            pools[case_of(rollout)].append(rollout)
    chosen: list[Rollout] = []
    while len(chosen) < count and any(pools.values()):
        for pool in pools.values():
            if pool and len(chosen) < count:
                shown = Counter(rollout.prompt for rollout in chosen)
                newest = min(pool, key=lambda rollout: shown[rollout.prompt])
                pool.remove(newest)
                chosen.append(newest)
    rank = {case: position for position, case in enumerate(Case)}
    return sorted(chosen, key=lambda r: (rank[case_of(r)], -_or_zero(r.share)))


def tally(rollout: Rollout, most: int = 4) -> list[Bar]:
    """The votes by class: largest first, then one bar for the rest, then abstentions.

    The class of the pseudo-label always has a bar of its own.
    """
    spelled: dict[int, str] = {}
    votes: Counter[int] = Counter()
    for index, answer in zip(rollout.classes, rollout.votes, strict=True):
        if index is not None:
            votes[index] += 1
            spelled.setdefault(index, answer or "")
    winner = next((i for i, text in spelled.items() if text == rollout.pseudo_label), None)
    if winner is None and rollout.pseudo_label is not None and votes:
        winner = votes.most_common(1)[0][0]  # the label may be recorded in a normal form
    ranked = sorted(votes, key=lambda i: (-votes[i], i != winner, i))
    room = most if len(ranked) <= most else most - 1
    bars = [Bar(spelled[i], votes[i], chosen=i == winner) for i in ranked[:room]]
    rest = ranked[room:]
    if rest:
        bars.append(Bar("", sum(votes[i] for i in rest), others=len(rest)))
    abstained = sum(index is None for index in rollout.classes)
    if abstained:
        bars.append(Bar(None, abstained))
    return bars


def question_of(rollout: Rollout) -> str:
    """The prompt without its image marks."""
    return rollout.prompt.replace("<image>", " ").strip()


def rewarded(rewards: Iterable[float]) -> int:
    """How many responses got a positive reward."""
    return sum(reward > 0 for reward in rewards)


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
