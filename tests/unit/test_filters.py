"""Which votes train: by hand, and whatever the order of the batch."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmupt.consensus.filters import Filters, entropy, keep, margin
from mmupt.consensus.vote import vote
from mmupt.types import Vote

answers = st.lists(st.sampled_from(["1", "2", "3", None]), max_size=8)
filters = st.builds(
    Filters,
    min_share=st.floats(0, 1),
    min_margin=st.floats(0, 1),
    min_entropy=st.floats(0, 0.7),
    max_entropy=st.floats(0.5, 1.5),
    easiest_fraction=st.floats(0.01, 1),
)


def won(share: float) -> Vote:
    """A vote with a label and nothing against it but its share."""
    return Vote("1", share, False, (0,), (1.0,))


def test_margin_and_entropy_by_hand() -> None:
    assert margin([0, 0, 0, 1, None]) == pytest.approx(2 / 5)
    assert margin([0, 0]) == 1.0
    assert margin([0, None, None]) == pytest.approx(1 / 3)  # abstentions count in the whole
    assert margin([0, 1, 2, 2, 1]) == 0.0
    assert margin([None]) == 0.0
    assert margin([]) == 0.0
    assert entropy([0, 0, 1, 1, None]) == pytest.approx(math.log(2))
    # 1/2 ln 2 + 2 x 1/4 ln 4 = 3/2 ln 2
    assert entropy([0, 1, 0, 2]) == pytest.approx(1.5 * math.log(2))
    assert entropy([0, 0, 0]) == 0.0
    assert entropy([None]) == 0.0
    assert entropy([]) == 0.0


@given(answers, st.randoms(use_true_random=False))
def test_margin_and_entropy_do_not_depend_on_order(
    given_answers: list[str | None], random: Random
) -> None:
    """And stay within their bounds: [0, 1], and [0, ln k] with k classes."""
    shuffled = random.sample(given_answers, len(given_answers))
    one, other = vote(given_answers).classes, vote(shuffled).classes
    assert margin(one) == margin(other)
    assert entropy(one) == entropy(other)
    assert 0.0 <= margin(one) <= 1.0
    classes = len(set(one) - {None})
    assert 0.0 <= entropy(one) <= math.log(max(classes, 1)) + 1e-12


def test_each_filter_alone() -> None:
    votes = [vote(["1"] * 4), vote(["1", "1", "1", "2"]), vote(["1", "1", "2", "3"])]
    assert keep(votes, Filters()) == [True, True, True]
    assert keep(votes, Filters(min_share=0.75)) == [True, True, False]
    assert keep(votes, Filters(min_margin=0.5)) == [True, True, False]  # 1, .5, .25
    assert keep(votes, Filters(min_entropy=0.1, max_entropy=1.0)) == [False, True, False]
    assert keep(votes, Filters(easiest_fraction=1 / 3)) == [True, False, False]
    assert keep(votes, Filters(easiest_fraction=2 / 3)) == [True, True, False]


def test_bounds_are_inclusive() -> None:
    seven = vote(["1"] * 7 + ["2"] * 2 + [None])  # share .7, lead .5
    assert keep([seven], Filters(min_share=0.7, min_margin=0.5)) == [True]
    assert keep([seven], Filters(min_share=0.71)) == [False]
    assert keep([seven], Filters(min_margin=0.51)) == [False]
    unanimous = vote(["1", "1"])
    assert keep([unanimous], Filters(min_entropy=0.0, max_entropy=0.0)) == [True]


def test_the_easiest_part_by_hand() -> None:
    """Half of five are three, not the two that 2.5 rounds to; floating point adds none."""
    shares = [0.9, 0.1, 0.7, 0.3, 0.5]
    votes = [won(share) for share in shares]
    assert keep(votes, Filters(easiest_fraction=0.5)) == [True, False, True, False, True]
    assert keep(votes, Filters(easiest_fraction=0.01)) == [True, False, False, False, False]
    assert 0.07 * 100 > 7  # 7.000000000000001
    hundred = [won(i / 100) for i in range(100)]
    assert sum(keep(hundred, Filters(easiest_fraction=0.07))) == 7


def test_equal_shares_are_taken_together() -> None:
    votes = [won(0.9), won(0.5), won(0.5), won(0.1)]
    assert keep(votes, Filters(easiest_fraction=0.5)) == [True, True, True, False]


def test_the_easiest_part_does_not_lower_the_other_bounds() -> None:
    votes = [won(0.9), won(0.5), won(0.4)]
    both = Filters(min_share=0.6, easiest_fraction=0.7)
    assert keep(votes, both) == [True, False, False]


def test_no_label_and_no_tie_is_ever_kept() -> None:
    assert keep([vote([None, None]), vote(["1", "2"])], Filters()) == [False, False]
    tied = vote(["1", "2"], tie="first-class-by-key")
    assert tied.label == "1"
    assert keep([tied], Filters()) == [False]
    assert keep([], Filters()) == []


@given(st.lists(answers, max_size=10), filters)
def test_only_votes_with_a_label_and_without_a_tie(
    groups: list[list[str | None]], filters: Filters
) -> None:
    votes = [vote(group) for group in groups]
    for one, kept in zip(votes, keep(votes, filters), strict=True):
        assert not kept or (one.label is not None and not one.tied)


@given(st.lists(answers, max_size=10), filters, st.randoms(use_true_random=False))
def test_the_order_of_the_batch_does_not_matter(
    groups: list[list[str | None]], filters: Filters, random: Random
) -> None:
    votes = [vote(group) for group in groups]
    kept = keep(votes, filters)
    order = random.sample(range(len(votes)), len(votes))
    assert keep([votes[i] for i in order], filters) == [kept[i] for i in order]


@given(st.lists(st.integers(1, 8), min_size=1, max_size=12), st.floats(0.01, 1.0))
def test_the_easiest_part(counts: list[int], fraction: float) -> None:
    """At least its part is kept, nothing easier is left out, and it would not do without any."""
    votes = [vote(["1"] * n + [None] * (8 - n)) for n in counts]
    kept = keep(votes, Filters(easiest_fraction=fraction))
    assert sum(kept) >= fraction * len(votes) - 1e-9
    chosen = [v.share for v, k in zip(votes, kept, strict=True) if k]
    left_out = [v.share for v, k in zip(votes, kept, strict=True) if not k]
    assert min(chosen) > max(left_out, default=0)
    without_the_hardest = sum(share > min(chosen) for share in chosen)
    assert without_the_hardest < max(1, fraction * len(votes))


def test_shares_decide_even_where_the_strategy_weighs() -> None:
    heavy = vote(["1", "2", "2"], "weighted", weights=[9.0, 1.0, 1.0])
    assert (heavy.label, heavy.share) == ("1", pytest.approx(1 / 3))
    assert keep([heavy], Filters(min_share=0.5)) == [False]
