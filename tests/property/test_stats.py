"""What holds for intervals whatever the counts."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmupt.stats import (
    clopper_pearson,
    expected_calibration_error,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    pass_at_k,
    wilson,
)

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
CONFIDENCES = st.floats(0.01, 0.999)
FRACTIONS = st.lists(st.integers(0, 8).map(lambda c: c / 8), min_size=2, max_size=60)


@given(COUNTS, CONFIDENCES)
def test_wilson_holds_the_estimate_and_stays_inside(
    counts: tuple[int, int], confidence: float
) -> None:
    successes, n = counts
    low, high = wilson(successes, n, confidence)
    assert 0 <= low <= successes / n <= high <= 1


@given(COUNTS)
def test_wilson_is_symmetric(counts: tuple[int, int]) -> None:
    successes, n = counts
    low, high = wilson(successes, n)
    mirrored = wilson(n - successes, n)
    assert (1 - high, 1 - low) == pytest.approx(tuple(mirrored), abs=1e-12)


@given(COUNTS, CONFIDENCES, CONFIDENCES)
def test_more_confidence_is_wider(counts: tuple[int, int], one: float, other: float) -> None:
    narrow, wide = wilson(*counts, min(one, other)), wilson(*counts, max(one, other))
    assert wide.low <= narrow.low + 1e-12
    assert narrow.high <= wide.high + 1e-12


@given(FRACTIONS)
def test_fractions_stay_inside_and_hold_the_mean(values: list[float]) -> None:
    low, high = mean_interval(values, fractions=True)
    mean = sum(values) / len(values)
    assert 0 <= low <= mean + 1e-12
    assert mean - 1e-12 <= high <= 1


@given(st.lists(st.integers(0, 1), min_size=3, max_size=200).filter(lambda v: 0 < sum(v) < len(v)))
def test_right_or_wrong_values_nearly_give_the_plain_wilson_interval(values: list[int]) -> None:
    """For 0/1 values n_eff = N - 1 and t is above z: never narrower than N independent trials."""
    plain = wilson(sum(values), len(values))
    low, high = mean_interval([float(value) for value in values], fractions=True)
    assert low <= plain.low + 1e-12
    assert plain.high <= high + 1e-12


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=50))
def test_paired_difference_turns_round(pairs: list[tuple[float, float]]) -> None:
    before, after = [a for a, _ in pairs], [b for _, b in pairs]
    forth, back = paired_difference(before, after), paired_difference(after, before)
    assert forth.low <= forth.estimate <= forth.high
    assert (-forth.estimate, -forth.high, -forth.low) == pytest.approx(tuple(back), abs=1e-12)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_k_rises_with_k_from_the_mean(counts: tuple[int, int]) -> None:
    n, c = counts
    values = [pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert values[0] == pytest.approx(c / n)
    assert values == sorted(values)
    assert values[-1] == (1.0 if c else 0.0)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_a_symmetric_probability(b: int, c: int) -> None:
    p = mcnemar_exact(b, c)
    assert 0 < p <= 1
    assert p == mcnemar_exact(c, b)
    assert not math.isnan(p)


@given(COUNTS, CONFIDENCES)
def test_clopper_pearson_is_symmetric_and_holds_the_estimate(
    counts: tuple[int, int], confidence: float
) -> None:
    successes, n = counts
    low, high = clopper_pearson(successes, n, confidence)
    assert 0 <= low <= successes / n <= high <= 1
    mirrored = clopper_pearson(n - successes, n, confidence)
    assert (1 - high, 1 - low) == pytest.approx(tuple(mirrored), abs=1e-9)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_calibration_error_is_bounded_and_blind_to_order(
    pairs: list[tuple[float, bool]], bins: int, random: Random
) -> None:
    confidence, correct = [c for c, _ in pairs], [float(r) for _, r in pairs]
    error = expected_calibration_error(confidence, correct, bins)
    # never below the gap of the means (one bin), never above the mean gap (a bin for each)
    overall = abs(sum(correct) - sum(confidence)) / len(pairs)
    single = sum(abs(r - c) for c, r in zip(confidence, correct, strict=True)) / len(pairs)
    assert overall - 1e-12 <= error <= single + 1e-12
    mixed = random.sample(pairs, len(pairs))
    again = expected_calibration_error([c for c, _ in mixed], [float(r) for _, r in mixed], bins)
    assert again == pytest.approx(error, abs=1e-12)
