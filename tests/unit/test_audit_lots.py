"""Lot plans in the manner of ISO 2859-1."""

from __future__ import annotations

from itertools import pairwise
from math import comb

import pytest

from mmupt.audit.lots import (
    LETTERS,
    SAMPLES,
    LotPlan,
    LotResult,
    judge,
    lot_plan,
    oc,
    switching,
)
from mmupt.config_supervision import LotConfig

LOTS = (100, 280, 500, 1200, 2387, 10_000, 150_000, 1_000_000)
AQLS = (0.01, 0.025, 0.04, 0.10)


def accept_chance(plan: LotPlan, wrong: int) -> float:
    """By counting samples."""
    good = sum(
        comb(wrong, x) * comb(plan.lot - wrong, plan.sample - x)
        for x in range(min(plan.acceptance, wrong) + 1)
    )
    return good / comb(plan.lot, plan.sample)


@pytest.mark.parametrize("aql", AQLS)
@pytest.mark.parametrize("lot", LOTS)
def test_a_lot_at_the_aql_is_accepted_with_95_percent(lot: int, aql: float) -> None:
    plan = lot_plan(lot, LotConfig(aql=aql))
    wrong = int(aql * lot + 1e-9)
    assert accept_chance(plan, wrong) >= 0.95
    if plan.acceptance:
        fewer = LotPlan(lot, "II", aql, "normal", plan.code, plan.sample, plan.acceptance - 1)
        assert accept_chance(fewer, wrong) < 0.95
    assert plan.rejection == plan.acceptance + 1


def test_the_default_plan() -> None:
    # 2 sqrt(1000) = 63.2, so 80, letter J
    plan = lot_plan(1000, LotConfig())
    assert (plan.code, plan.sample, plan.acceptance) == ("J", 80, 12)
    assert lot_plan(1000, LotConfig(level="I")).sample == 32
    assert lot_plan(1000, LotConfig(level="III")).sample == 125
    assert lot_plan(3, LotConfig()).sample == 3  # the whole lot
    assert len(SAMPLES) == len(LETTERS)
    with pytest.raises(ValueError, match="below 1"):
        lot_plan(0, LotConfig())


@pytest.mark.parametrize("lot", LOTS)
def test_severities_are_ordered(lot: int) -> None:
    config = LotConfig(aql=0.10)
    normal, tightened, reduced = (
        lot_plan(lot, config, severity)
        for severity in ("normal", "tightened", "reduced")  # type: ignore[arg-type]
    )
    assert tightened.sample == normal.sample
    assert tightened.acceptance < normal.acceptance
    assert reduced.sample < normal.sample
    assert oc(tightened, 0.2) < oc(normal, 0.2) <= oc(reduced, 0.2)


def test_oc_is_exact_and_falls() -> None:
    plan = lot_plan(500, LotConfig(aql=0.04))
    curve = [oc(plan, k / 100) for k in range(101)]
    assert curve[0] == 1.0
    assert curve[-1] == pytest.approx(0.0, abs=1e-12)
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(curve))
    for k in (1, 4, 10, 20):
        assert curve[k] == pytest.approx(accept_chance(plan, 5 * k), rel=1e-9)
    with pytest.raises(ValueError, match="outside"):
        oc(plan, 1.2)


def test_a_lot_is_judged_as_soon_as_it_is_certain() -> None:
    plan = lot_plan(1000, LotConfig())  # 80, 12
    assert judge(plan, wrong=13, judged=20) == "reject"
    assert judge(plan, wrong=12, judged=79) == "open"
    assert judge(plan, wrong=11, judged=79) == "accept"
    assert judge(plan, wrong=0, judged=67) == "open"
    assert judge(plan, wrong=0, judged=68) == "accept"
    assert judge(plan, wrong=12, judged=80) == "accept"


PLAN = lot_plan(1000, LotConfig())
GOOD, FAIR, BAD = LotResult(PLAN, 0), LotResult(PLAN, PLAN.acceptance), LotResult(PLAN, 80)


def test_two_of_five_rejected_tighten() -> None:
    assert switching([]).severity == "normal"
    assert switching([BAD]).severity == "normal"
    assert switching([BAD, BAD]).severity == "tightened"
    assert switching([BAD, GOOD, GOOD, GOOD, BAD]).severity == "tightened"
    assert switching([BAD, GOOD, GOOD, GOOD, GOOD, BAD]).severity == "normal"
    assert "2 of the last 5" in switching([BAD, BAD]).reason


def test_five_accepted_in_a_row_recover() -> None:
    tight = [BAD, BAD]
    assert switching([*tight, *[GOOD] * 4]).severity == "tightened"
    assert switching([*tight, *[GOOD] * 5]).severity == "normal"
    assert switching([*tight, *[GOOD] * 4, BAD, *[GOOD] * 4]).severity == "tightened"
    # what led to tightening does not count again after recovery
    assert switching([*tight, *[GOOD] * 5, BAD]).severity == "normal"


def test_five_rejected_under_tightened_inspection_end_it() -> None:
    tight = [BAD, BAD]
    assert not switching([*tight, *[BAD] * 4]).discontinue
    ended = switching([*tight, *[BAD] * 5, *[GOOD] * 9])
    assert ended.discontinue
    assert "5 lots were rejected" in ended.reason
    assert not switching([*tight, *[BAD] * 4, *[GOOD] * 5, *tight, *[BAD] * 4]).discontinue
    assert switching([*tight, BAD, GOOD, BAD, GOOD, BAD, GOOD, BAD, GOOD, BAD]).discontinue


def test_the_switching_score_reduces() -> None:
    # acceptance above 1: 3 points where it would pass one AQL step tighter
    assert switching([GOOD] * 9) == switching([GOOD] * 9)
    assert (switching([GOOD] * 9).score, switching([GOOD] * 9).severity) == (27, "normal")
    assert switching([GOOD] * 10).severity == "reduced"
    assert switching([*[GOOD] * 9, FAIR]).score == 0  # accepted, but only just
    assert switching([*[GOOD] * 9, BAD]).score == 0
    assert switching([*[GOOD] * 10, BAD]).severity == "normal"
    assert switching([*[GOOD] * 10, BAD, BAD]).severity == "tightened"
    small = lot_plan(20, LotConfig(aql=0.01))
    assert small.acceptance <= 1
    assert switching([LotResult(small, 0)] * 3).score == 6
