"""Intervals, calibration and comparisons against scipy, scikit-learn, enumeration, simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control, mannwhitneyu
from sklearn.metrics import brier_score_loss, roc_auc_score

from mmupt.errors import InputError, RunFolderError
from mmupt.evaluate.calibration import calibration
from mmupt.evaluate.comparing import (
    adjusted,
    benjamini_hochberg,
    compare,
    compared,
    flip_test,
    same_questions,
)
from mmupt.evaluate.figures import columns, figures, reaches
from mmupt.evaluate.judging import pairs
from mmupt.evaluate.records import Judged, Majority, Record, record_of
from mmupt.evaluate.resampling import RESAMPLES, Clusters, ratio
from mmupt.events import jsonable
from mmupt.stats import wilson

RNG = np.random.default_rng(3)


def record(name: str, greedy: bool | None, sampled: list[bool | None], picture: str = "") -> Record:
    told = [Judged("r" if right is not None else None, str(right), right) for right in sampled]
    there = [right for right in sampled if right is not None]
    majority = None
    if told and len(there) == len(told):
        wins = sum(there) * 2 >= len(there)
        share = max(sum(there), len(there) - sum(there)) / len(there)
        majority = Majority(str(wins), wins, share, pairs([int(right) for right in there]))
    return Record(
        name, "x", picture or name, Judged("r", "a", greedy, tokens=5), tuple(told), majority
    )


# Intervals


def test_alone_a_share_has_wilsons_interval() -> None:
    right = np.array([1.0, 0, 1, 1, math.nan, 0, 1])
    found = Clusters(range(7)).share(right)
    assert (found.value, found.n) == (pytest.approx(4 / 6), 6)
    assert (found.low, found.high) == wilson(4, 6)
    assert found.low == pytest.approx(binomtest(4, 6).proportion_ci(method="wilson").low)


def test_a_cluster_bootstrap_has_the_spread_of_the_sandwich() -> None:
    """Its standard error against the linearised one of a ratio of sums: the textbook's formula."""
    keys = RNG.integers(0, 60, 240)
    base = RNG.random(60)
    values = (RNG.random(240) < base[keys]).astype(float)
    clusters = Clusters(keys.tolist())
    sums = clusters.sums(np.column_stack([values, np.ones(240)]))
    error = (sums[:, 0] - values.mean() * sums[:, 1]).std(ddof=1) * math.sqrt(len(sums)) / 240
    found = clusters.share(values)
    assert found.value == values.mean()
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    # Taken one by one the interval would be too narrow.
    low, high = wilson(values.sum(), 240)
    assert found.high - found.low > 1.2 * (high - low)


def test_the_cluster_bootstrap_covers_the_truth() -> None:
    """Of 200 simulated sets, the nominal 95% intervals hold the mean in most."""
    rng = np.random.default_rng(11)
    held = naive = 0
    for _ in range(200):
        keys = np.repeat(np.arange(40), 5)
        chance = rng.beta(1.2, 0.8, 40)
        values = (rng.random(200) < chance[keys]).astype(float)
        found = Clusters(keys.tolist()).share(values)
        held += found.low <= 0.6 <= found.high
        low, high = wilson(values.sum(), 200)
        naive += low <= 0.6 <= high
    assert held >= 180
    assert naive < held - 20


def test_all_right_about_few_pictures_is_not_certain() -> None:
    found = Clusters(["a"] * 50 + ["b"] * 50).share(np.ones(100))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(wilson(2, 2).low)
    assert math.isnan(Clusters(["a", "a"]).share(np.array([1.0, 0.0])).low)
    assert Clusters([]).share(np.empty(0)).n == 0


@given(st.integers(1, 40), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_every_resample_draws_as_many_clusters_as_there_are(count: int, rows: int) -> None:
    clusters = Clusters([i % count for i in range(rows)])
    drawn = clusters.resampled(np.ones((clusters.count, 1)))
    assert drawn.shape == (RESAMPLES, 1)
    assert set(drawn.ravel().tolist()) == {float(clusters.count)}


# Calibration


def test_calibration_against_scikit_learn() -> None:
    share = RNG.integers(1, 9, 300) / 8
    right = (RNG.random(300) < share**2).astype(float)
    found = calibration(share, right, Clusters(range(300)))
    assert found["auroc"] == pytest.approx(roc_auc_score(right, share))
    u = mannwhitneyu(share[right == 1], share[right == 0]).statistic
    assert found["auroc"] == pytest.approx(u / (right.sum() * (300 - right.sum())))
    assert found["brier"] == pytest.approx(brier_score_loss(right, share))
    by_hand = 0.0
    for level in np.unique(share):  # every share has a bin of its own
        inside = share == level
        by_hand += inside.mean() * abs(right[inside].mean() - level)
    assert found["ece"] == pytest.approx(by_hand)
    for name in ("ece", "brier", "auroc"):
        low, high = found[f"{name}_ci"]
        assert low < found[name] < high
    # The bootstrap of AUROC, drawn the slow way
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(150):
        rows = rng.integers(0, 300, 300)
        drawn.append(roc_auc_score(right[rows], share[rows]))
    slow = np.percentile(drawn, [2.5, 97.5])
    assert found["auroc_ci"] == pytest.approx(slow, abs=0.03)
    assert sum(one["n"] for one in found["bins"]) == 300
    top = found["bins"][-1]
    assert (top["n"], top["share"]) == (int((share > 0.9).sum()), 1.0)
    assert top["accuracy"] == pytest.approx(right[share > 0.9].mean())
    assert top["accuracy_ci"] == wilson(right[share > 0.9].sum(), top["n"])


def test_calibration_leaves_out_what_is_unscored() -> None:
    share = np.array([0.5, 1.0, math.nan, 0.25, 1.0])
    right = np.array([1.0, 1.0, 1.0, math.nan, 0.0])
    found = calibration(share, right, Clusters("aabbc"))
    assert found["n"] == 3
    assert found["brier"] == pytest.approx((0.25 + 0 + 1) / 3)
    assert found["auroc"] == pytest.approx((0 + 0.5) / 2)
    nothing = calibration(np.array([math.nan]), np.array([math.nan]), Clusters("a"))
    assert nothing["n"] == 0
    assert all(math.isnan(nothing[name]) for name in ("ece", "brier", "auroc"))
    alike = calibration(np.array([0.5, 1.0]), np.ones(2), Clusters("ab"))
    assert math.isnan(alike["auroc"])


# Figures of records


def test_pass_at_k_and_agreement_against_enumeration() -> None:
    groups = [
        [True, False, False, True, False],
        [False] * 5,
        [True] * 5,
        [True, None] + [False] * 3,
    ]
    records = [record(str(i), True, group) for i, group in enumerate(groups)]
    assert reaches(5) == [1, 2, 4, 5]
    found = columns(records)
    for k in reaches(5):
        for i, group in enumerate(groups[:3]):
            drawn = [any(one) for one in itertools.combinations(group, k)]
            assert found[f"pass@{k}"][i] == pytest.approx(sum(drawn) / len(drawn))
        assert math.isnan(found[f"pass@{k}"][3])  # a reply is missing: never counted as wrong
    for i, group in enumerate(groups[:3]):
        same = [a == b for a, b in itertools.combinations(group, 2)]
        assert found["agreement"][i] == pytest.approx(sum(same) / len(same))
    assert math.isnan(found["agreement"][3])
    assert math.isnan(found["mean"][3])
    told = figures(records, 1.0)
    assert [one["n"] for one in told["pass_at"]] == [3] * 4
    assert told["mean"] == pytest.approx((2 / 5 + 0 + 1) / 3)


@given(st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=2, max_size=7))
def test_agreement_is_that_of_two_replies_drawn_at_random(classes: list[int | None]) -> None:
    same = [a is not None and a == b for a, b in itertools.combinations(classes, 2)]
    assert pairs(classes) == pytest.approx(sum(same) / len(same))


def test_records_come_back_from_their_lines() -> None:
    one = record("a", None, [True, None], "p")
    back = record_of(jsonable(one.line()), "here")
    assert back == one
    assert not back.complete
    with pytest.raises(RunFolderError, match="here: not a line"):
        record_of({"id": "a"}, "here")


def test_a_question_that_nobody_answered_has_no_majority_to_be_sure_of() -> None:
    silent = Record("s", "x", "s", Judged("", None, False), (Judged("", None, False),) * 2,
                    Majority(None, False, 0.0, 0.0))  # fmt: skip
    told = figures([record("a", True, [True, True]), silent], 1.0)
    assert (told["majority"], told["vote_share"], told["abstained"]) == (0.5, 0.5, 0.5)
    assert (told["calibration"]["n"], told["calibration"]["brier"]) == (1, 0.0)


# Two models


def values(first: list[float], second: list[float], keys: list[int] | None = None) -> object:
    clusters = Clusters(keys or list(range(len(first))))
    return compared("s", "m", np.array(first), np.array(second), clusters)


def test_mcnemar_and_tango_against_scipy_and_a_published_example() -> None:
    # Tango (1998), table 2 of the paper's example: n = 44, b = 1, c = 9.
    first = [1.0] * 1 + [0.0] * 9 + [1.0] * 20 + [0.0] * 14
    second = [0.0] * 1 + [1.0] * 9 + [1.0] * 20 + [0.0] * 14
    found = values(first, second)
    assert (found.only_before, found.only_after, found.test) == (1, 9, "mcnemar")
    assert found.p == pytest.approx(binomtest(1, 10, 0.5).pvalue)
    assert found.change == pytest.approx(8 / 44)
    # The score interval solves (c - b - n d)^2 = z^2 n (2 q(d) - d (1 + d)) at both ends.
    assert found.low == pytest.approx(_tango(44, 9, 1, -1), abs=1e-6)
    assert found.high == pytest.approx(_tango(44, 9, 1, 1), abs=1e-6)


def _tango(n: int, b: int, c: int, side: int) -> float:
    """An end of Tango's interval for (b - c) / n by a plain search, formulas as in the paper."""

    def statistic(delta: float) -> float:
        a = -b - c + (2 * n - b + c) * delta
        d = -c * delta * (1 - delta)
        q = (math.sqrt(max(0.0, a * a - 8 * n * d)) - a) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        return (b - c - n * delta) / math.sqrt(variance)

    low, high = ((b - c) / n, 0.999999) if side > 0 else (-0.999999, (b - c) / n)
    for _ in range(80):
        middle = (low + high) / 2
        outside = abs(statistic(middle)) > 1.959963985
        if outside == (side > 0):
            high = middle
        else:
            low = middle
    return (low + high) / 2


def test_where_nothing_differs_there_is_no_test_and_no_certainty() -> None:
    found = values([1, 0, 1] * 4, [1, 0, 1] * 4)
    assert math.isnan(found.p)
    assert found.low < 0 < found.high
    z = 1.959963985
    assert found.high == pytest.approx(z * z / (12 + z * z), abs=1e-6)
    assert math.isnan(values([0.5, 0.2], [0.5, 0.2]).low)
    assert values([math.nan, 1.0], [1.0, math.nan]) is None
    assert [one.p_holm for one in adjusted([found, values([0, 0], [1, 1])])][1] == 0.5


def test_sign_flips_against_all_signs() -> None:
    difference = np.array([0.5, -0.25, 0.25, 1.0, 0.0, 0.125])
    keys = np.array([0, 0, 1, 2, 3, 4])
    sums = [0.25, 0.25, 1.0, 0.125]
    observed = sum(sums)
    beyond = sum(
        abs(sum(s * d for s, d in zip(signs, sums, strict=True))) >= observed
        for signs in itertools.product((1, -1), repeat=4)
    )
    assert flip_test(difference, keys) == beyond / 16
    assert flip_test(np.zeros(3), np.arange(3)) == 1.0
    # 0 and 1 without shared pictures: the flips of single questions are McNemar's coins.
    coins = np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 5)
    assert flip_test(coins, np.arange(16)) == pytest.approx(binomtest(2, 11, 0.5).pvalue)
    many = np.concatenate([np.ones(30), -np.ones(14)])
    assert flip_test(many, np.arange(44)) == pytest.approx(binomtest(14, 44).pvalue, abs=0.012)


def test_a_false_alarm_is_as_rare_as_it_says() -> None:
    """Two models that are the same one, 8 questions a picture: 5% of comparisons are called."""
    rng = np.random.default_rng(8)
    keys = np.repeat(np.arange(12), 8)
    called = naive = 0
    for _ in range(150):
        habit = rng.choice([-1, 0, 1], 12)[keys]  # a whole picture goes better or worse
        first = np.zeros(96)
        second = first + habit * (rng.random(96) < 0.7)
        called += flip_test(second - first, keys) <= 0.05
        naive += flip_test(second - first, np.arange(96)) <= 0.05
    assert called / 150 <= 0.08
    assert naive / 150 > 0.25  # control: without clusters it would cry wolf


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_benjamini_hochberg_as_in_scipy(p_K: list[float]) -> None:
    assert benjamini_hochberg(p_K) == pytest.approx(false_discovery_control(p_K))


def test_comparisons_over_sets_are_corrected_together() -> None:
    before = [record(f"{i}", i % 2 == 0, [i % 2 == 0] * 2) for i in range(40)]
    after = [record(f"{i}", i % 8 != 1, [i % 8 != 1] * 2) for i in range(40)]
    one = compare({"a": (before, after)})
    two = compare({"a": (before, after), "b": (before, before)})
    greedy = next(c for c in one if c.metric == "greedy")
    assert (greedy.before, greedy.after, greedy.only_before, greedy.only_after) == (
        0.5,
        0.875,
        0,
        15,
    )
    assert greedy.p == pytest.approx(2 * 0.5**15)
    tests = [c for c in one if not math.isnan(c.p)]
    assert greedy.p_holm == pytest.approx(len(tests) * greedy.p)
    # A set in which nothing differs adds no tests.
    assert [c.p_holm for c in two if c.set == "a"] == pytest.approx(
        [c.p_holm for c in one], nan_ok=True
    )


def test_only_the_same_questions_are_compared() -> None:
    first, second = [record("a", True, []), record("b", True, [])], [record("a", True, [])]
    with pytest.raises(InputError, match="two lacks question 'b' of"):
        same_questions(first, second, "one", "two")
    with pytest.raises(InputError, match="one lacks question 'b' of"):
        same_questions(second, first, "one", "two")
    with pytest.raises(InputError, match="another picture in two"):
        same_questions(second, [record("a", True, [], "other")], "one", "two")
    mine, theirs = same_questions(first, first[::-1], "one", "two")
    assert [r.id for r in mine] == [r.id for r in theirs] == ["a", "b"]


def test_ratio_of_nothing_is_undefined() -> None:
    assert math.isnan(ratio(np.array([[1.0, 0.0]]))[0])
