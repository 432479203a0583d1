"""What one process knows of an audit's verdicts, so that it need not read all of them again.

Verdicts are only added, and their turns only rise: whoever has read up to a turn reads on from
there, and knows the same as one who has read everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from mmupt.audit.records import Verdict
from mmupt.audit.verdicts import differ, judges


@dataclass
class Seen:
    """The verdicts of one audit up to a turn.

    Attributes:
        turn: of the last verdict that was read; 0: none was.
        units: all units in the order in which people judge; they never change.
        by_unit: the standing verdict of each reviewer, by unit, as `verdicts.standing`.
        history: by reviewer, the units with a standing verdict of theirs; the last one judged last.
        judged: units that somebody has judged; a skip does not judge.
        differing: units on which verdicts differ, in the order in which that came to be seen.
        lock: to be held while it is read or changed.
    """

    turn: int = 0
    units: tuple[str, ...] = ()
    by_unit: dict[str, dict[str, Verdict]] = field(default_factory=dict)
    history: dict[str, dict[str, None]] = field(default_factory=dict)
    judged: int = 0
    differing: dict[str, None] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)
    _stacks: dict[tuple[str, str], list[Verdict]] = field(default_factory=dict)

    def take(self, verdicts: Iterable[tuple[int, Verdict]]) -> None:
        """Take in the verdicts that follow, each with its turn, in their order."""
        for turn, verdict in verdicts:
            self.turn = turn
            unit, who = verdict.unit, verdict.reviewer
            before = any(map(judges, self.of(unit).values()))
            stack = self._stacks.setdefault((unit, who), [])
            if verdict.kind != "undo":
                stack.append(verdict)
            elif stack:
                stack.pop()
            judged = self.history.setdefault(who, {})
            judged.pop(unit, None)
            if stack:
                self.by_unit.setdefault(unit, {})[who] = stack[-1]
                judged[unit] = None
            else:
                self.by_unit.get(unit, {}).pop(who, None)
            self.judged += any(map(judges, self.of(unit).values())) - before
            if not differ(self.of(unit)):
                self.differing.pop(unit, None)
            else:
                self.differing[unit] = None

    def forget(self) -> None:
        """Start anew, such as after the database went back to an older copy."""
        self.turn = self.judged = 0
        for known in (self.by_unit, self.history, self.differing, self._stacks):
            known.clear()

    def of(self, unit: str) -> Mapping[str, Verdict]:
        """The standing verdicts on a unit, by reviewer."""
        return self.by_unit.get(unit, {})
