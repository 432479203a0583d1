"""Laws of `mmupt bias`'s statistics, and their level and coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmupt.bias import chance
from mmupt.bias.chance import Counts, cluster_mean, gaps, kl, swap_test
from mmupt.bias.groups import Slicing, by_quantiles
from mmupt.bias.places import rotation_p, variation
from mmupt.stats import holm

numbers = st.floats(0, 1, allow_nan=False)
tables = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=8)


def counts(table_NC: np.ndarray) -> Counts:
    row, column = np.nonzero(table_NC)
    return Counts(row, column, table_NC[row, column].astype(float))


@given(st.lists(numbers, max_size=12))
def test_holm_is_between_the_value_and_bonferroni(ps: list[float]) -> None:
    adjusted = holm(ps)
    for p, q in zip(ps, adjusted, strict=True):
        assert p <= q <= min(1.0, p * len(ps)) + 1e-12
    for a, b in zip(np.argsort(ps, kind="stable"), np.argsort(ps, kind="stable")[1:], strict=False):
        assert adjusted[a] <= adjusted[b]


@given(st.lists(numbers, min_size=1, max_size=8), st.data())
def test_what_was_not_tested_does_not_count(ps: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(ps)))
    longer = holm([*ps[:place], math.nan, *ps[place:]])
    assert math.isnan(longer.pop(place))
    assert longer == holm(ps)


@given(tables, tables)
def test_kl_is_not_negative_and_zero_for_the_same(
    one: list[list[int]], two: list[list[int]]
) -> None:
    first, second = (np.asarray(t, float).sum(0) for t in (one, two))
    value = kl(first, second)
    assert math.isnan(value) or value >= 0
    assert math.isnan(kl(first, first)) or kl(first, first) == 0.0


@settings(max_examples=20)
@given(tables)
def test_the_same_answers_twice_never_differ(table: list[list[int]]) -> None:
    made = np.asarray(table, float)
    if made.sum():
        one = counts(made)
        assert swap_test(one, one, 3, kl, np.random.default_rng(0)) == (0.0, 1.0)


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=80))
def test_bins_are_in_order_and_hold_everything(values: list[float]) -> None:
    array = np.asarray(values)
    cut = by_quantiles(array, "x")
    if isinstance(cut, Slicing):
        assert (cut.index_N >= 0).all()
        tops = [array[cut.index_N == i].max() for i in range(len(cut.groups))]
        bottoms = [array[cut.index_N == i].min() for i in range(len(cut.groups))]
        assert all(top < bottom for top, bottom in zip(tops, bottoms[1:], strict=False))


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6))
def test_variation_is_bounded_and_does_not_mind_the_order(sizes: list[int]) -> None:
    table = np.asarray(sizes, float)
    if table.sum():
        value = variation(table)
        assert 0 <= value <= 1 - 1 / len(sizes) + 1e-12
        assert value == pytest.approx(variation(table[::-1]))


# By simulation; the bounds are three standard errors around the nominal 5% and 95%.

SETS = 120


def within(hits: int, nominal: float, sets: int = SETS) -> bool:
    return abs(hits / sets - nominal) <= 3 * math.sqrt(nominal * (1 - nominal) / sets) + 1e-9


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chance, "RESAMPLES", 199)  # p-values stay exact, (1 + 199) / 20 is whole
    monkeypatch.setattr("mmupt.bias.places.RESAMPLES", 199)


def test_the_permutation_test_has_its_level(fewer: None) -> None:
    rng, hits, found = np.random.default_rng(1), 0, 0
    for _ in range(SETS):
        law = rng.dirichlet(np.ones(5) * 0.4, 60)
        lots = [np.stack([rng.multinomial(8, p) for p in law]) for _ in range(2)]
        hits += swap_test(counts(lots[0]), counts(lots[1]), 5, kl, rng)[1] <= 0.05
        moved = lots[1].copy()
        moved[:15] = np.array([8, 0, 0, 0, 0])
        found += swap_test(counts(lots[0]), counts(moved), 5, kl, rng)[1] <= 0.05
    assert within(hits, 0.05)
    assert found > 0.8 * SETS


def test_the_rotation_test_has_its_level(fewer: None) -> None:
    rng, hits = np.random.default_rng(2), 0
    for _ in range(SETS):
        law = np.roll(np.array([0.7, 0.2, 0.1]), 0)
        turns = rng.integers(0, 3, 50)
        table = np.stack([rng.multinomial(3, np.roll(law, turn)) for turn in turns]).astype(float)
        hits += rotation_p(table, np.arange(50), rng) <= 0.05
    assert within(hits, 0.05)


def test_slices_have_their_level_and_intervals_their_coverage(fewer: None) -> None:
    rng, false, families, covered, means = np.random.default_rng(3), 0, 0, 0, 0
    for _ in range(SETS):
        cluster = np.repeat(np.arange(80), rng.integers(1, 4, 80))
        values = rng.normal(0, 0.2, 80)[cluster] + rng.normal(0, 0.2, len(cluster))
        member = rng.integers(0, 4, 80)[cluster][:, None] == np.arange(4)
        found = gaps(values - 0.1 * member[:, 0], member[:, :1], cluster, rng)[0]
        covered += found.low <= -0.1 <= found.high
        null = gaps(values, member, cluster, rng)
        false += null[0].p < 0.05
        families += min(holm([one.p for one in null])) < 0.05
        mean = cluster_mean(values + 0.3, cluster)
        means += mean.low <= 0.3 <= mean.high
    assert within(covered, 0.95)
    assert within(false, 0.05)
    assert within(families, 0.05) or families < 0.05 * SETS
    assert within(means, 0.95)
