"""Which votes train: by hand, and whatever the order of the batch."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmupt.consensus.filters import Filters, entropy, keep, margin
from mmupt.consensus.vote import vote
from mmupt.types import Vote


def test_margin_and_entropy_by_hand() -> None:
    assert margin([0, 0, 0, 1, None]) == pytest.approx(2 / 5)
    assert margin([0, 0]) == 1.0
    assert margin([None]) == 0.0
    assert margin([]) == 0.0
    assert entropy([0, 0, 1, 1, None]) == pytest.approx(math.log(2))
    assert entropy([0, 0, 0]) == 0.0
    assert entropy([None]) == 0.0


def test_each_filter_alone() -> None:
    votes = [vote(["1"] * 4), vote(["1", "1", "1", "2"]), vote(["1", "1", "2", "3"])]
    assert keep(votes, Filters()) == [True, True, True]
    assert keep(votes, Filters(min_share=0.75)) == [True, True, False]
    assert keep(votes, Filters(min_margin=0.5)) == [True, True, False]  # 1, .5, .25
    assert keep(votes, Filters(min_entropy=0.1, max_entropy=1.0)) == [False, True, False]
    assert keep(votes, Filters(easiest_fraction=1 / 3)) == [True, False, False]
    assert keep(votes, Filters(easiest_fraction=2 / 3)) == [True, True, False]


def test_no_label_and_no_tie_is_ever_kept() -> None:
    assert keep([vote([None, None]), vote(["1", "2"])], Filters()) == [False, False]
    tied = vote(["1", "2"], tie="first-class-by-key")
    assert tied.label == "1"
    assert keep([tied], Filters()) == [False]
    assert keep([], Filters()) == []


@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=12),
    st.floats(0.01, 1.0),
    st.randoms(use_true_random=False),
)
def test_the_easiest_part(counts: list[int], fraction: float, random: object) -> None:
    """At least its part is kept, the same whatever the order, and nothing easier is left out."""
    votes = [vote(["1"] * n + ["2"] * 0 + [None] * (8 - n)) for n in counts]
    filters = Filters(easiest_fraction=fraction)
    kept = keep(votes, filters)
    assert sum(kept) >= max(1, round(fraction * len(votes)))
    left_out = [v.share for v, k in zip(votes, kept, strict=True) if not k]
    assert all(v.share > max(left_out, default=0) for v, k in zip(votes, kept, strict=True) if k)
    order = list(range(len(votes)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert keep([votes[i] for i in order], filters) == [kept[i] for i in order]


def test_shares_decide_even_where_the_strategy_weighs() -> None:
    heavy = vote(["1", "2", "2"], "weighted", weights=[9.0, 1.0, 1.0])
    assert isinstance(heavy, Vote)
    assert (heavy.label, heavy.share) == ("1", pytest.approx(1 / 3))
    assert keep([heavy], Filters(min_share=0.5)) == [False]
