"""Audits over generated frames, settings and verdicts."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mmupt.audit.agreement import krippendorff
from mmupt.audit.calibration import calibrate
from mmupt.audit.design import Plan, Unit, make_plan
from mmupt.audit.estimate import decision, precision, still_needed
from mmupt.audit.lots import LotResult, lot_plan, oc, switching
from mmupt.config_supervision import AuditConfig, LotConfig

SHARES = st.floats(0, 1)
MAYBE = st.one_of(st.just(math.nan), SHARES)


@st.composite
def audits(draw: st.DrawFn) -> tuple[Plan, dict[str, bool | None]]:
    """A plan and verdicts on some of it, in any order."""
    count = draw(st.integers(1, 40))
    units = [
        Unit(
            f"u{i}",
            draw(SHARES),
            draw(MAYBE),
            draw(MAYBE),
            tuple(draw(st.lists(st.sampled_from(["no-unit", "constant"]), max_size=2))),
            {"line": draw(st.sampled_from(["a", "b", "\u202e", ""]))},
        )
        for i in range(count)
    ]
    config = AuditConfig.model_validate(
        {
            "design": draw(st.sampled_from(["random", "stratified", "risk-first"])),
            "size": draw(st.sampled_from(["sequential", "fixed", "lot"])),
            "max_verdicts": draw(st.integers(1, 50)),
            "half_width": draw(st.sampled_from([0.02, 0.2])),
            "slices": draw(st.sampled_from([(), ("line",)])),
        }
    )
    plan = make_plan(
        units, config, seed=draw(st.integers(0, 99)), threshold=draw(st.sampled_from([None, 0.7]))
    )
    judged = draw(st.lists(st.sampled_from([one.id for one in plan.drawn]), unique=True))
    outcomes = {name: draw(st.sampled_from([True, True, False, None])) for name in judged}
    return plan, outcomes


@settings(max_examples=80, deadline=None)
@given(audits())
def test_what_holds_of_every_audit(audit: tuple[Plan, dict[str, bool | None]]) -> None:
    plan, outcomes = audit
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan
    assert len({one.id for one in plan.drawn}) == len(plan.drawn) <= plan.population
    assert all(0 < one.probability <= 1 for one in plan.drawn)
    found = precision(plan, outcomes)
    assert 0 <= found.low <= found.high <= 1
    assert found.n + found.waiting == len(outcomes)
    assert found.right + found.wrong + found.unsure == found.n
    started = plan.drawn[0].id in outcomes
    assert started != math.isnan(found.estimate)
    assert not started or found.low <= found.estimate <= found.high
    # what was seen is certain
    assert found.low <= 1 - found.wrong / plan.population + 1e-9
    assert found.high >= found.right / plan.population - 1e-9
    for group in (*found.strata, *(g for groups in found.slices.values() for g in groups)):
        assert 0 <= group.low <= group.high <= 1
    left = still_needed(plan, outcomes, 0.7)
    assert 0 <= left <= len(plan.drawn) - found.n
    decided = decision(found, 0.7) != "insufficient" or found.n == len(plan.drawn)
    assert (left == 0) == decided


@settings(max_examples=60, deadline=None)
@given(audits(), st.data())
def test_a_better_verdict_never_lowers_a_fixed_interval(
    audit: tuple[Plan, dict[str, bool | None]], data: st.DataObject
) -> None:
    plan, outcomes = audit
    if plan.size == "sequential" or not outcomes:
        return
    changed = data.draw(st.sampled_from(sorted(outcomes)))
    before, after = precision(plan, outcomes), precision(plan, {**outcomes, changed: True})
    assert after.low >= before.low - 1e-9
    assert after.high >= before.high - 1e-9


@settings(max_examples=100, deadline=None)
@given(audits())
def test_calibrations_rise(audit: tuple[Plan, dict[str, bool | None]]) -> None:
    plan, outcomes = audit
    if all(value is None for value in outcomes.values()):
        return
    shares = {one.id: (one.position * 7 % 5) / 4 for one in plan.drawn}
    found = calibrate(plan, outcomes, shares)
    values = [found.probability(share / 20) for share in range(21)]
    assert values == sorted(values)
    assert 0 <= values[0] <= values[-1] <= 1


RATINGS = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["right", "wrong"])), max_size=12
)


@settings(max_examples=100, deadline=None)
@given(RATINGS)
def test_alpha_by_counting_pairs(ratings: list[dict[str, str]]) -> None:
    """Disagreement within units against that between any two values."""
    units = [list(unit.values()) for unit in ratings if len(unit) > 1]
    values = [value for unit in units for value in unit]
    n = len(values)
    within = sum(sum(a != b for a in unit for b in unit) / (len(unit) - 1) for unit in units) / max(
        n, 1
    )
    among = sum(a != b for a in values for b in values) / max(n * (n - 1), 1)
    found = krippendorff(ratings, resamples=20).alpha
    if among == 0:
        assert math.isnan(found)
    else:
        assert abs(found - (1 - within / among)) < 1e-9


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.floats(0.001, 0.5), st.sampled_from(["I", "II", "III"]))
def test_lot_plans(lot: int, aql: float, level: Any) -> None:
    plan = lot_plan(lot, LotConfig(aql=aql, level=level))
    assert 1 <= plan.sample <= lot
    assert oc(plan, math.floor(aql * lot) / lot) >= 0.95
    tight = lot_plan(lot, LotConfig(aql=aql, level=level), "tightened")
    assert tight.acceptance <= plan.acceptance


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=40))
def test_switching_keeps_its_promises(wrong: list[int]) -> None:
    plan = lot_plan(1000, LotConfig())
    history = [LotResult(plan, count) for count in wrong]
    found = switching(history)
    accepted = [lot.accepted for lot in history]
    if len(accepted) >= 5 and not found.discontinue and all(accepted[-5:]):
        assert found.severity != "tightened"
    if accepted and not accepted[-1]:
        assert found.severity != "reduced"
    if sum(not one for one in accepted) < 2:
        assert found.severity != "tightened"
