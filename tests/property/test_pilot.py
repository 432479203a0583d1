"""What holds for the figures of a pilot whatever the answers are."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import judge

from mmupt.config import ConsensusConfig
from mmupt.pipeline.pilot_pictures import (
    PictureFigures,
    PictureRow,
    picture_figures,
    swaps,
)
from mmupt.pipeline.pilot_rows import agreement_between, entropy
from mmupt.pipeline.pilot_verdict import Evidence, Thresholds, findings, verdict_of
from mmupt.pipeline.pilot_words import TEXTS, VERDICTS, Verdict
from mmupt.stats import Ratio
from mmupt.types import Sample

CONFIG = ConsensusConfig(min_share=0.5)
ANSWER = st.sampled_from([None, "1", "2", "0.5", "1/2", "12 cm", "0.12 m", "red", "Red."])
VOTES = st.lists(st.tuples(ANSWER, st.integers(0, 3)), min_size=1, max_size=12)
FRACTION = st.floats(0, 1)


@given(VOTES)
def test_the_figures_of_a_row_are_bounded_and_hang_together(
    votes: list[tuple[str | None, int]],
) -> None:
    answers, views = [a for a, _ in votes], [v for _, v in votes]
    row = judge(answers, views, CONFIG)
    size = len(answers)
    assert sum(row.shares) == pytest.approx(1 - row.abstentions / size)
    assert row.share == max(row.shares, default=0.0)
    assert 0 <= row.margin <= row.share <= 1
    assert row.tied == (row.margin == 0 and row.share > 0)
    assert row.kept <= (row.pseudo_label is not None and row.share >= CONFIG.min_share)
    if row.abstentions == size:
        assert math.isnan(row.entropy)
        assert row.pseudo_label is None
    else:
        assert 0 <= row.entropy <= math.log(len(row.shares)) + 1e-12
        assert (row.entropy == 0) == (len(row.shares) == 1)
    assert math.isnan(row.view_agreement) or 0 <= row.view_agreement <= 1


@given(VOTES, st.randoms(use_true_random=False))
def test_a_row_does_not_depend_on_the_order_of_its_answers(
    votes: list[tuple[str | None, int]], random: Random
) -> None:
    mixed = random.sample(votes, len(votes))
    one, other = (judge([a for a, _ in v], [w for _, w in v], CONFIG) for v in (votes, mixed))
    assert sorted(one.shares) == sorted(other.shares)
    for name in ("pseudo_label", "share", "tied", "margin", "abstentions", "kept"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("entropy", "view_agreement"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), nan_ok=True), name


@given(VOTES, st.permutations(range(4)))
def test_views_have_no_names(votes: list[tuple[str | None, int]], names: list[int]) -> None:
    answers = [a for a, _ in votes]
    one = judge(answers, [v for _, v in votes], CONFIG)
    other = judge(answers, [names[v] for _, v in votes], CONFIG)
    assert one.view_agreement == pytest.approx(other.view_agreement, nan_ok=True)


@given(st.lists(st.integers(0, 9), max_size=8))
def test_entropy_is_largest_when_all_are_equal(counts: list[int]) -> None:
    value, classes = entropy(counts), sum(c > 0 for c in counts)
    assert math.isnan(value) if not classes else value <= math.log(classes) + 1e-12


@given(st.lists(st.integers(0, 2) | st.none(), max_size=6))
def test_agreement_with_itself_is_the_sum_of_squares(classes: list[int | None]) -> None:
    answered = [c for c in classes if c is not None]
    expected = (
        sum((answered.count(c) / len(answered)) ** 2 for c in set(answered))
        if answered
        else math.nan
    )
    assert agreement_between(classes, classes) == pytest.approx(expected, nan_ok=True)


PICTURED = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=40)


@given(PICTURED, st.integers(0, 99), st.integers(1, 50))
def test_nobody_is_shown_its_own_pictures(
    made: list[tuple[int, int]], seed: int, limit: int
) -> None:
    samples = [
        Sample(f"s{i}", "?", tuple(Path(f"{name}-{n}.png") for n in range(count)))
        for i, (name, count) in enumerate(made)
    ]
    pairs = swaps(samples, seed, limit)
    assert pairs == swaps(samples, seed, limit)
    assert len({pair.sample.id for pair in pairs}) == len(pairs) <= limit
    for pair in pairs:
        assert pair.swapped.images == pair.donor.images != pair.sample.images
        assert len(pair.donor.images) == len(pair.sample.images) > 0
        assert pair.swapped.problem == pair.sample.problem
    able = [
        s
        for s in samples
        if any(len(o.images) == len(s.images) and o.images != s.images for o in samples)
    ]
    assert len(pairs) == min(limit, len(able))


ROWS = st.lists(st.tuples(*[st.lists(ANSWER, min_size=4, max_size=4)] * 3), min_size=1, max_size=12)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_picture_test_is_bounded_and_blind_to_order(
    answers: list[tuple[list[str | None], ...]], random: Random
) -> None:
    rows = [
        PictureRow(f"s{i}", "d", tuple(own), tuple(other), tuple(blank), 0)
        for i, (own, other, blank) in enumerate(answers)
    ]
    labels = {row.id: judge(row.own, range(4), CONFIG).pseudo_label for row in rows}
    figures = picture_figures(rows, labels, CONFIG)
    mixed = [
        replace(
            row, **{k: tuple(random.sample(getattr(row, k), 4)) for k in ("own", "other", "blank")}
        )
        for row in random.sample(rows, len(rows))
    ]
    again = picture_figures(mixed, labels, CONFIG)
    for name in ("own", "other", "blank", "unchanged_own", "unchanged_other", "unchanged_blank"):
        value = getattr(figures, name)
        assert math.isnan(value) or 0 <= value <= 1
        assert value == pytest.approx(getattr(again, name), nan_ok=True)
    assert tuple(figures.kappa) == pytest.approx(tuple(again.kappa), nan_ok=True)
    assert math.isnan(figures.kappa.estimate) or figures.kappa.estimate <= 1 + 1e-12


UNKNOWN = FRACTION | st.just(math.nan)
PICTURES = st.builds(
    PictureFigures, tested=st.integers(0, 200), own=UNKNOWN, other=UNKNOWN, blank=UNKNOWN,
    kappa=st.tuples(st.floats(-1, 1) | st.just(math.nan), FRACTION | st.just(math.nan)).map(
        lambda pair: Ratio(pair[0], pair[0] - pair[1], pair[0] + pair[1])
    ),
    unchanged_own=UNKNOWN, unchanged_other=UNKNOWN, unchanged_blank=UNKNOWN,
)  # fmt: skip
EVIDENCE = st.builds(
    Evidence, n=st.integers(1, 500), pictured=st.integers(0, 500), abstained=FRACTION, truncated=FRACTION,
    share=FRACTION, kept=FRACTION, min_share=FRACTION, top=FRACTION, pictures=PICTURES,
    unanimous=FRACTION, views=st.integers(1, 8), per_view=st.integers(1, 4), temperature=FRACTION,
)  # fmt: skip


@given(EVIDENCE)
def test_every_verdict_has_its_sentences_in_both_languages(evidence: Evidence) -> None:
    found = findings(evidence, Thresholds())
    verdict = verdict_of(found)
    assert verdict in VERDICTS
    assert found[0].says in (verdict, Verdict.NOTE)
    for one in found:
        assert one.key in TEXTS
        for lang in ("en", "ja"):
            text = one.text(lang)
            assert text
            assert "{" not in text
            assert "nan" not in text.split()


@given(EVIDENCE, st.sampled_from(["share", "kept"]), FRACTION)
def test_more_agreement_never_makes_it_worse(evidence: Evidence, name: str, value: float) -> None:
    higher = replace(evidence, **{name: max(value, getattr(evidence, name))})
    order = [Verdict.READY, Verdict.SFT_FIRST, Verdict.NOT_SUITABLE]
    one, other = (verdict_of(findings(e, Thresholds())) for e in (evidence, higher))
    assert order.index(other) <= order.index(one)
