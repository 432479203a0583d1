"""Plans: what is drawn, with which chance, in which order."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest

from mmupt.audit import design_draw
from mmupt.audit.design import Plan, Unit, make_plan
from mmupt.audit.lots import lot_plan
from mmupt.config_supervision import AuditConfig, LotConfig
from mmupt.errors import InputError


def frame(size: int = 400) -> list[Unit]:
    """Shares 0.5 to 1 in eighths, two groups."""
    return [
        Unit(f"u{i:04d}", share=(4 + i % 5) / 8, slices={"line": "a" if i % 4 else "b"})
        for i in range(size)
    ]


def plan(design: str = "random", size: str = "fixed", **settings: object) -> Plan:
    config = AuditConfig.model_validate({"design": design, "size": size, **settings})
    return make_plan(frame(), config, seed=3, threshold=0.7)


@pytest.mark.parametrize("size", ["sequential", "fixed", "lot"])
@pytest.mark.parametrize("design", ["random", "stratified", "risk-first"])
def test_a_plan_survives_json(design: str, size: str) -> None:
    made = plan(design, size, slices=("line",))
    assert Plan.from_json(json.loads(json.dumps(made.as_json()))) == made
    assert len({one.id for one in made.drawn}) == len(made.drawn)
    assert [one.position for one in made.drawn] == list(range(len(made.drawn)))
    assert all(0 < one.probability <= 1 for one in made.drawn)
    assert sum(made.strata.values()) == made.population == 400
    assert sum(made.groups["line"]["b"].values()) == 100


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"design": "clever"},
        {"population": 7},
        {"strata": None},
        {"drawn": [["u", 99, 1.0, {}]]},
        {"groups": 3},
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"audit plan cannot be read.*draw the audit again"):
        Plan.from_json({**plan().as_json(), **change})
    for text in (None, [], "x", {}):
        with pytest.raises(InputError):
            Plan.from_json(text)


def test_a_plan_depends_on_the_frame_and_the_seed_alone() -> None:
    config = AuditConfig()
    first = make_plan(frame(), config, seed=1, threshold=0.7)
    assert first == make_plan(frame()[::-1], config, seed=1, threshold=0.7)
    assert first.drawn != make_plan(frame(), config, seed=2, threshold=0.7).drawn


def test_fixed_size_by_hand() -> None:
    # 1.959964^2 / 4 / 0.05^2 = 384.1459, + 1 / 0.05 = 404.1459
    assert design_draw.fixed_size(10**9, 0.05, 0.95, 0.5) == 405
    # 404.1459 / (1 + 403.1459 / 400) = 201.283
    assert design_draw.fixed_size(400, 0.05, 0.95, 0.5) == 202
    assert plan(half_width=0.05).wanted == 202
    assert len(plan(half_width=0.05, max_verdicts=150).drawn) == 150
    assert design_draw.fixed_size(3, 0.01, 0.95, 0.5) == 3


def test_fixed_keeps_inclusion_probabilities() -> None:
    made = plan("random", max_verdicts=100)
    assert {one.probability for one in made.drawn} == {100 / 400}
    made = plan("stratified", max_verdicts=100)
    counts = Counter(one.stratum for one in made.drawn)
    assert set(counts) == set(made.strata)
    for one in made.drawn:
        assert one.probability == counts[one.stratum] / made.strata[one.stratum]
        # in proportion, up to one
        assert abs(counts[one.stratum] - made.strata[one.stratum] / 4) <= 1


def test_every_start_of_a_stratified_order_is_nearly_proportional() -> None:
    made = plan("stratified", max_verdicts=100)
    for n in range(1, 101):
        counts = Counter(one.stratum for one in made.drawn[:n])
        for name, size in made.strata.items():
            assert abs(counts[name] - n * size / 400) <= 1.5


def test_strata_are_bins_of_the_share_times_slices() -> None:
    # share 0.5 belongs to [0.5, 0.7), 0.7 would belong to the next
    made = plan("stratified", slices=("line",))
    assert set(made.strata) == {
        f"share {bounds}; line={line}"
        for bounds in ("0.5-0.7", "0.7-0.9", "0.9-1")
        for line in "ab"
    }
    assert made.strata["share 0.5-0.7; line=b"] == 40  # shares 4/8 and 5/8 of every fourth unit


def test_small_groups_are_put_together_and_hostile_names_cleaned() -> None:
    units = [
        Unit(f"u{i}", 0.8, slices={"line": f"g{i}" if i < 30 else "big\n\u202e"})
        for i in range(500)
    ]
    config = AuditConfig(design="stratified", size="fixed", slices=("line",))
    made = make_plan(units, config, seed=0, threshold=None)
    assert set(made.strata) == {"share 0.7-0.9; others", "share 0.7-0.9; line=big\\n\\u202e"}
    assert made.strata["share 0.7-0.9; others"] == 30


def test_groups_that_look_alike_stay_apart() -> None:
    units = [Unit(f"u{i}", 0.8, slices={"x": "\n" if i % 2 else "\\n"}) for i in range(100)]
    config = AuditConfig(design="stratified", size="fixed", slices=("x",))
    assert sorted(make_plan(units, config, seed=0, threshold=None).strata.values()) == [50, 50]


def test_sequential_chances_by_hand() -> None:
    made = plan("risk-first", "sequential", max_verdicts=50)
    left = sum(size * made.weights[name] for name, size in made.strata.items())
    assert left == pytest.approx(400)
    for one in made.drawn:
        assert one.probability == pytest.approx(made.weights[one.stratum] / left)
        left -= made.weights[one.stratum]


def test_risk_first_asks_about_doubtful_labels_more_often() -> None:
    made = plan("risk-first", "sequential")
    by_risk = sorted(made.strata, key=lambda name: made.predicted[name])
    assert made.weights[by_risk[0]] > 1.3 * made.weights[by_risk[-1]]
    made = plan("risk-first", "fixed")
    counts = Counter(one.stratum for one in made.drawn)
    assert made.predicted["doubtful"] < made.predicted["clear"]
    assert counts["doubtful"] / made.strata["doubtful"] > counts["clear"] / made.strata["clear"]


def test_successive_draws_have_the_stated_chances() -> None:
    """First draw of two classes, 30 units of weight 2 and 70 of weight 0.5: 60 / 95."""
    parted = design_draw.Strata(
        ("a", "b"), np.repeat([0, 1], [30, 70]), np.array([30, 70]), np.array([0.5, 0.9])
    )
    firsts = [
        parted.of_N[design_draw.successive(parted, np.array([2.0, 0.5]), 1, seed)[0][0]]
        for seed in range(4000)
    ]
    expected = 35 / 95
    assert abs(np.mean(firsts) - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)


def test_default_probability_by_hand() -> None:
    def value(unit: Unit) -> float:
        return design_draw.default_probability(unit)

    assert value(Unit("a", 1.0)) == pytest.approx(1 / (1 + math.exp(-3)))
    assert value(Unit("a", 0.5)) == 0.5
    assert value(Unit("a", 1.0, 1.0, 1.0)) == pytest.approx(1 / (1 + math.exp(-3)))
    # votes (0.6 + 0.7) / 2 = 0.65, with agreement 0.45: c = 0.55; one rule: 0.3 - 1
    assert value(Unit("a", 0.6, 0.4, 0.45, ("no-unit",))) == pytest.approx(1 / (1 + math.exp(0.7)))


def test_fastest_weights_are_the_saddle_point() -> None:
    """At the best weights every class tells as much, and no other weights do better."""
    r, share, m = np.array([0.5, 0.8, 0.97]), np.array([0.2, 0.3, 0.5]), 0.7

    def growth(w: np.ndarray) -> float:
        """min over s with mean m of sum q KL(r || s), by its own condition on s."""
        low, high = 0.0, 1e3
        for _ in range(200):
            price = (low + high) / 2
            a = price / w  # rho_j / q_j = 1 / w_j
            s = ((a + 1) - np.sqrt((a + 1) ** 2 - 4 * a * r)) / (2 * a)
            low, high = (price, high) if share @ s > m else (low, price)
        return float((share * w) @ (r * np.log(r / s) + (1 - r) * np.log((1 - r) / (1 - s))))

    best = design_draw.fastest(r, share, m)
    assert share @ best == pytest.approx(1)
    top = growth(best)
    for seed in range(200):
        other = best * np.exp(np.random.default_rng(seed).normal(scale=0.3, size=3))
        assert growth(other / (share @ other)) <= top + 1e-9
    assert growth(np.ones(3)) < top


def test_neyman_allocation_by_hand() -> None:
    parted = design_draw.Strata(
        ("a", "b"), np.repeat([0, 1], [100, 100]), np.array([100, 100]), np.array([0.5, 0.9])
    )
    # sqrt(.25) : sqrt(.09) = 5 : 3
    assert design_draw.allocation(parted, "risk-first", 80).tolist() == [50, 30]
    assert design_draw.allocation(parted, "risk-first", 190).tolist() == [100, 90]
    assert design_draw.allocation(parted, "stratified", 7).sum() == 7


def test_given_probabilities_replace_the_guess() -> None:
    config = AuditConfig(design="risk-first", size="fixed", half_width=0.05)
    likely = {unit.id: 0.98 if int(unit.id[1:]) >= 100 else 0.5 for unit in frame()}
    made = make_plan(frame(), config, seed=0, threshold=0.7, right_probability=likely)
    assert made.strata == {"clear": 300, "doubtful": 100}
    assert made.predicted["doubtful"] == 0.5
    assert made.wanted < 202  # planned for the mean, 0.86, and not for the worst
    with pytest.raises(InputError, match="probability of being right is nan"):
        make_plan(frame(), config, seed=0, threshold=0.7, right_probability={})


def test_a_lot_is_drawn_at_random_and_whole() -> None:
    made = plan("risk-first", "lot", max_verdicts=5, lot={"aql": 0.04})
    expected = lot_plan(400, LotConfig(aql=0.04))
    assert made.design == "random"
    assert len(made.drawn) == expected.sample == made.wanted
    assert made.acceptance == expected.acceptance


@pytest.mark.parametrize("design", ["random", "stratified", "risk-first"])
@pytest.mark.parametrize("size", ["sequential", "fixed", "lot"])
def test_small_and_uniform_frames(design: str, size: str) -> None:
    config = AuditConfig.model_validate({"design": design, "size": size})
    for count in (1, 2, 7):
        units = [Unit(f"u{i}", 1.0) for i in range(count)]
        made = make_plan(units, config, seed=0, threshold=0.7)
        assert 1 <= len(made.drawn) <= count
        assert len(made.strata) == 1


def test_frames_that_cannot_be_used() -> None:
    config = AuditConfig(slices=("line",))
    with pytest.raises(InputError, match="found none"):
        make_plan([], config, seed=0, threshold=None)
    with pytest.raises(InputError, match="twice"):
        make_plan([*frame(3), *frame(1)], config, seed=0, threshold=None)
    with pytest.raises(InputError, match=r"share 1\.5"):
        make_plan([Unit("a", 1.5, slices={"line": "a"})], config, seed=0, threshold=None)
    with pytest.raises(InputError, match="has no column 'line'"):
        make_plan([Unit("a", 0.5)], config, seed=0, threshold=None)
