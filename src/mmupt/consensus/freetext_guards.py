"""Whether two texts say opposite things, however alike they are worded.

`the light on the panel is on` and `... is off` share nine tenths of their characters, and a metric
over strings calls them alike. So the clauses of one text are held against those of the other:

    contradicted   the clause of the other text that is most about the same thing states another
                   number, the opposite side of a pair (`antonyms`), or denies what is said here
    omitted        a number, or a side such as open or closed, of which the other text says nothing
    upheld         otherwise

    v(clause) = 0, 1/2, 1        factor(A, B) = min(mean_A v, mean_B v) * (1/2 if any v = 0 else 1)

So two single statements that contradict each other have factor 0, and texts of any length with one
contradiction stay below 1/2. The factor 1/2 for an omission is there because of what rewards do:
with 1, a text that leaves the number out agrees with everybody and beats the majority that reads
12 as soon as somebody reads 13. One thing left out of a long text costs little.

Not seen: opposites outside the list, contradiction by other nouns (`car` and `truck`), by world
knowledge, or between languages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mmupt.consensus.antonyms import OPPOSITES
from mmupt.consensus.clauses import Clause, clauses
from mmupt.consensus.parts import Key

_SAME_TOPIC = 0.5
_ONE: Key = ("num", 1, 1, ())


@dataclass(frozen=True, slots=True)
class Claims:
    """What a text asserts.

    Attributes:
        clauses: its clauses, and how often it says each.
        numbers: all numbers mentioned.
        groups: all groups of opposites of which it states a side.
    """

    clauses: Counter[Clause]
    numbers: frozenset[Key]
    groups: frozenset[str]


def claims(text: str) -> Claims:
    """Read a text once, to compare it with many.

    Args:
        text: after `mentions.unnumbered` and `writing.plain`.
    """
    found = Counter(clauses(text))
    return Claims(
        clauses=found,
        numbers=frozenset(key for clause in found for key in clause.numbers),
        groups=frozenset(group for clause in found for group in clause.sides),
    )


def factor(first: Claims, second: Claims) -> float:
    """What a similarity of two texts is multiplied with, in [0, 1]; see the module's formula."""
    verdicts = [_verdicts(first, second), _verdicts(second, first)]
    contradicted = any(verdict == 0.0 for side in verdicts for verdict in side)
    means = [sum(side) / len(side) if side else 1.0 for side in verdicts]
    return min(means) * (0.5 if contradicted else 1.0)


def _verdicts(text: Claims, other: Claims) -> list[float]:
    return [
        verdict
        for clause, times in text.clauses.items()
        for verdict in [_verdict(clause, other)] * times
    ]


def _verdict(clause: Clause, other: Claims) -> float:
    # A clause that both say is its own nearest counterpart; most are, as samples go.
    if not clause.marked or clause in other.clauses:
        return 1.0
    about = [(_overlap(clause, found), found) for found in other.clauses]
    if _contradicted(clause, [pair for pair in about if pair[0] >= _SAME_TOPIC]):
        return 0.0
    # `a man` is one man: leaving the 1 out leaves nothing out.
    unsaid = any(key not in other.numbers and key != _ONE for key in clause.numbers) or any(
        group not in other.groups and group in OPPOSITES and OPPOSITES[group].stated
        for group in clause.sides
    )
    return 0.5 if unsaid else 1.0


def _contradicted(clause: Clause, about: Sequence[tuple[float, Clause]]) -> bool:
    """Whether, in any concern of a clause, all nearest clauses that bear on it conflict with it."""
    concerns: list[Callable[[Clause], bool]] = [_counts] if clause.numbers else []
    concerns += [partial(_states, group) for group in clause.sides]
    concerns += [partial(_mentions, run) for run in clause.denied]
    for concern in concerns:
        bearing = [(overlap, found) for overlap, found in about if concern(found)]
        nearest = max((overlap for overlap, _ in bearing), default=0.0)
        rivals = [found for overlap, found in bearing if overlap == nearest]
        if rivals and all(_conflict(clause, found) for found in rivals):
            return True
    return False


def _overlap(a: Clause, b: Clause) -> float:
    """Share of the smaller content that both have; a clause without content might mean anything."""
    if not a.content or not b.content:
        return 1.0 if a.content == b.content else _SAME_TOPIC
    return len(a.content & b.content) / min(len(a.content), len(b.content))


def _conflict(a: Clause, b: Clause) -> bool:
    return _numbers_conflict(a, b) or _sides_conflict(a, b) or _denies(a, b) or _denies(b, a)


def _numbers_conflict(a: Clause, b: Clause) -> bool:
    """Each has a number that the other has not, or has less often; repeating one is no conflict."""
    differ = a.numbers.keys() != b.numbers.keys()
    return differ and bool(a.numbers - b.numbers) and bool(b.numbers - a.numbers)


def _sides_conflict(a: Clause, b: Clause) -> bool:
    for group in a.sides.keys() & b.sides.keys():
        for mine, mine_holds in a.sides[group] - b.sides[group]:
            for theirs, theirs_holds in b.sides[group] - a.sides[group]:
                if mine_holds != theirs_holds if mine == theirs else mine_holds and theirs_holds:
                    return True
    return False


def _denies(a: Clause, b: Clause) -> bool:
    """Whether a denies something that b mentions without denying it."""
    undone = {word for run in b.denied for word in run}
    return any(_mentions(run, b) and run[-1] not in undone for run in a.denied)


def _counts(clause: Clause) -> bool:
    return bool(clause.numbers)


def _states(group: str, clause: Clause) -> bool:
    return group in clause.sides


def _mentions(run: tuple[str, ...], clause: Clause) -> bool:
    """Whether the head of a denied run, its last word, and at least half of the run are there."""
    there = sum(word in clause.content for word in run)
    return run[-1] in clause.content and 2 * there >= len(run)
