"""Acceptance sampling of lots in the manner of ISO 2859-1, as manufacturers know it. Pure.

A round's pseudo-labels are the lot, a wrong label is a nonconforming item. The tables of the
standard are not reproduced: sample sizes, acceptance numbers and operating characteristics are
derived here from the hypergeometric distribution. So this is 2859-1-like, and a contract that names
the standard needs its tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mmupt.config_supervision import LotConfig

Severity = Literal["normal", "tightened", "reduced"]
Level = Literal["I", "II", "III"]

SAMPLES: Final = (2, 3, 5, 8, 13, 20, 32, 50, 80, 125, 200, 315, 500, 800, 1250, 2000)
"""Preferred sample sizes: each holds about 1.6 times (the fifth root of 10) as many as the last."""
LETTERS: Final = "ABCDEFGHJKLMNPQR"
"""Their code letters."""
_ROOTS: Final = {"I": 0.8, "II": 2.0, "III": 3.2}
"""A sample is at least so many times the root of the lot, in proportion 0.4 : 1 : 1.6."""
_ACCEPT: Final = 0.95
_TIGHTER: Final = 10 ** (-1 / 5)
"""One step of the AQL: 0.63 times."""
_REDUCED: Final = 2
"""Letters back for reduced inspection."""
_REDUCE_AT: Final = 30
"""Switching score from which inspection is reduced."""


@dataclass(frozen=True, slots=True)
class LotPlan:
    """A single sampling plan.

    Attributes:
        lot: items in the lot.
        level: general inspection level.
        aql: acceptance quality limit, share of wrong items.
        severity: normal, tightened or reduced inspection.
        code: letter of the sample size.
        sample: items to look at; the whole lot where it is smaller.
        acceptance: the lot is accepted with at most so many wrong ones.
    """

    lot: int
    level: Level
    aql: float
    severity: Severity
    code: str
    sample: int
    acceptance: int

    @property
    def rejection(self) -> int:
        """The lot is rejected with at least so many wrong ones."""
        return self.acceptance + 1


@dataclass(frozen=True, slots=True)
class LotResult:
    """What became of a lot.

    Attributes:
        plan: under which it was inspected.
        wrong: wrong items in its sample, those that nobody could tell included.
    """

    plan: LotPlan
    wrong: int

    @property
    def accepted(self) -> bool:
        return self.wrong <= self.plan.acceptance


@dataclass(frozen=True, slots=True)
class Switching:
    """How the next lot is inspected.

    Attributes:
        severity: of its inspection.
        score: switching score, under normal inspection; `reduced` from 30 on.
        discontinue: tightened inspection was not recovered from: stop and mend the process.
        reason: of the last switch, in words; empty before any.
    """

    severity: Severity
    score: int
    discontinue: bool
    reason: str


def lot_plan(lot: int, config: LotConfig, severity: Severity = "normal") -> LotPlan:
    """Single sampling plan of a lot.

    The sample is the smallest preferred size of at least 2 sqrt(lot) (level I: 0.8, III: 3.2). The
    acceptance number is the smallest under which a lot at the AQL is accepted with 95% or more,
    by the hypergeometric distribution. Tightened: the same sample, at an AQL one step (0.63 times)
    lower, and at least one less to accept where there is one. Reduced: a sample two sizes smaller.

    Args:
        lot: items, at least 1.
        config: AQL and level.
        severity: of the inspection.

    Raises:
        ValueError: an empty lot.
    """
    if lot < 1:
        raise ValueError(f"lot = {lot} is below 1")
    wanted = _ROOTS[config.level] * math.sqrt(lot)
    place = next((i for i, n in enumerate(SAMPLES) if n >= wanted), len(SAMPLES) - 1)
    if severity == "reduced":
        place = max(0, place - _REDUCED)
    sample = min(SAMPLES[place], lot)
    acceptance = _acceptance(lot, sample, config.aql)
    if severity == "tightened":
        tighter = _acceptance(lot, sample, config.aql * _TIGHTER)
        acceptance = max(0, min(tighter, acceptance - 1))
    return LotPlan(lot, config.level, config.aql, severity, LETTERS[place], sample, acceptance)


def oc(plan: LotPlan, p: float) -> float:
    """Operating characteristic: the chance that a lot with a share p of wrong items is accepted.

    Exact: P(X <= acceptance), X hypergeometric with round(p lot) wrong ones in the lot.

    Raises:
        ValueError: p outside 0..1.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"p = {p} is outside 0..1")
    return at_most(plan.acceptance, plan.lot, round(p * plan.lot), plan.sample)


def judge(plan: LotPlan, wrong: int, judged: int) -> Literal["accept", "reject", "open"]:
    """What is certain of the lot after some of the sample; stopping then changes no chances.

    Whether the lot is accepted depends on the whole sample alone, not on its order, so verdicts
    may come in any order and may be watched.

    Args:
        plan: of the lot.
        wrong: wrong ones so far, those that nobody could tell included.
        judged: verdicts so far.
    """
    if wrong > plan.acceptance:
        return "reject"
    return "accept" if wrong + plan.sample - judged <= plan.acceptance else "open"


def switching(history: Sequence[LotResult]) -> Switching:
    """The switching rules, over all lots of a process so far, oldest first.

    normal -> tightened: 2 of 5 or fewer consecutive lots are rejected. tightened -> normal: 5 in a
    row are accepted. normal -> reduced: the switching score reaches 30; an accepted lot adds 3 if
    it would have been accepted one AQL step tighter (2 where the acceptance number is 0 or 1), any
    other sets it to 0. reduced -> normal: a lot is rejected. Discontinue: 5 lots are rejected
    under tightened inspection before it is recovered from.
    """
    severity: Severity = "normal"
    score, recent, reason, refused = 0, list[bool](), "", 0
    for number, lot in enumerate(history, start=1):
        recent.append(lot.accepted)
        refused += severity == "tightened" and not lot.accepted
        if severity == "normal":
            score = _score(score, lot)
            if recent[-5:].count(False) >= 2:
                severity, reason = "tightened", f"2 of the last 5 lots were rejected (lot {number})"
            elif score >= _REDUCE_AT:
                severity, reason = "reduced", f"the switching score reached 30 (lot {number})"
            else:
                continue
        elif severity == "tightened" and len(recent) >= 5 and all(recent[-5:]):
            severity, reason = "normal", f"5 lots in a row were accepted (lot {number})"
        elif severity == "reduced" and not lot.accepted:
            severity, reason = "normal", f"a lot was rejected (lot {number})"
            recent, score, refused = [False], 0, 0
            continue
        else:
            if refused >= 5:
                reason = f"5 lots were rejected under tightened inspection (lot {number})"
                return Switching("tightened", 0, True, reason)
            continue
        recent, score, refused = [], 0, 0
    return Switching(severity, score, False, reason)


def _score(score: int, lot: LotResult) -> int:
    if not lot.accepted:
        return 0
    if lot.plan.acceptance <= 1:
        return score + 2
    tighter = _acceptance(lot.plan.lot, lot.plan.sample, lot.plan.aql * _TIGHTER)
    return score + 3 if lot.wrong <= min(tighter, lot.plan.acceptance - 1) else 0


def _acceptance(lot: int, sample: int, aql: float) -> int:
    wrong = math.floor(aql * lot + 1e-9)
    return next(c for c in range(sample + 1) if at_most(c, lot, wrong, sample) >= _ACCEPT)


def at_most(c: int, lot: int, wrong: int, sample: int) -> float:
    """P(X <= c) for X wrong ones in a sample without replacement."""
    total = _log_choose(lot, sample)
    terms = (
        math.exp(_log_choose(wrong, x) + _log_choose(lot - wrong, sample - x) - total)
        for x in range(max(0, sample - lot + wrong), min(c, wrong, sample) + 1)
    )
    return min(1.0, math.fsum(terms))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
