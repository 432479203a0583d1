"""From the vote share to a probability, weighted to the frame."""

from __future__ import annotations

import numpy as np
import pytest

from mmupt.audit.calibration import calibrate
from mmupt.audit.design import Drawn, Plan, Unit, make_plan
from mmupt.config_supervision import AuditConfig
from mmupt.errors import InputError


def plan(strata: dict[str, int], drawn: list[str]) -> Plan:
    ones = dict.fromkeys(strata, 1.0)
    return Plan(
        "stratified", "fixed", 0, sum(strata.values()), strata, ones, ones, {},
        tuple(Drawn(f"u{i}", i, name, 1.0) for i, name in enumerate(drawn)), 0.95, None, 4,
    )  # fmt: skip


def test_by_hand() -> None:
    """Two strata, 90 clear and 10 doubtful units; two verdicts each, so 45 and 5 units a verdict."""
    made = plan({"clear": 90, "doubtful": 10}, ["clear", "clear", "doubtful", "doubtful"])
    outcomes = {"u0": True, "u1": True, "u2": True, "u3": False}
    found = calibrate(made, outcomes, {"u0": 1.0, "u1": 1.0, "u2": 0.5, "u3": 0.5})
    overall = 0.9 + 0.05
    # blocks of 1/2 and 2/2, each drawn to the overall precision by two verdicts
    low, high = (1 + 2 * overall) / 4, (2 + 2 * overall) / 4
    assert [(b.share, b.n) for b in found.blocks] == [(0.5, 2), (1.0, 2)]
    assert [b.probability for b in found.blocks] == pytest.approx([low, high])
    assert found.probability(0.2) == pytest.approx(low)
    assert found.probability(0.75) == pytest.approx((low + high) / 2)
    assert found.probability(1.0) == pytest.approx(high)
    assert found.n == 4


def test_violators_are_pooled() -> None:
    made = plan({"all": 40}, ["all"] * 4)
    found = calibrate(
        made,
        {"u0": True, "u1": False, "u2": True, "u3": None},
        {"u0": 0.5, "u1": 0.6, "u2": 0.9, "u3": 0.7},
    )
    # right, wrong is pooled to 1/2; the one that nobody could tell is left out
    first, second = found.blocks
    assert (first.share, first.n, second.n) == (pytest.approx(0.55), 2, 1)
    assert first.probability == pytest.approx((1 + 4 / 3) / 4)
    assert second.probability == pytest.approx((1 + 4 / 3) / 3)


def test_it_finds_the_truth_through_a_sample_of_doubtful_labels() -> None:
    generator = np.random.default_rng(0)
    shares = generator.choice([0.5, 0.75, 1.0], size=4000, p=[0.2, 0.3, 0.5])
    right = generator.random(4000) < np.select([shares == 0.5, shares == 0.75], [0.4, 0.7], 0.95)
    units = [Unit(f"u{i}", float(share)) for i, share in enumerate(shares)]
    for size in ("sequential", "fixed"):
        config = AuditConfig(size=size, max_verdicts=900, half_width=0.01)  # type: ignore[arg-type]
        made = make_plan(units, config, seed=0, threshold=0.7)
        found = calibrate(
            made,
            {one.id: bool(right[int(one.id[1:])]) for one in made.drawn},
            {unit.id: unit.share for unit in units},
        )
        for share, true in ((0.5, 0.4), (0.75, 0.7), (1.0, 0.95)):
            assert found.probability(share) == pytest.approx(true, abs=0.08)


def test_what_cannot_be_calibrated() -> None:
    made = plan({"all": 4}, ["all", "all"])
    with pytest.raises(InputError, match="no verdict says"):
        calibrate(made, {"u0": None}, {"u0": 1.0})
    with pytest.raises(InputError, match="has no vote share"):
        calibrate(made, {"u0": True}, {})
