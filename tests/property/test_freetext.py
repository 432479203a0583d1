"""What holds for every group of free texts."""

from __future__ import annotations

import math
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import CHRF
from sacrebleu.metrics.helpers import extract_all_char_ngrams

from mmupt.consensus.equivalence import partition
from mmupt.consensus.freetext import agreement, chrf, measure
from mmupt.consensus.freetext_guards import claims, factor
from mmupt.consensus.mentions import in_digits, mentions, unnumbered
from mmupt.consensus.vote import vote
from mmupt.consensus.writing import plain

PIECES = [
    "The left valve is open. ", "the right valve is closed, ", "There are 12 people. ", "no dog ",
    "not ", "three red cars and two dogs ", "a blue car ", "one man ", "without a helmet ", "3.2 MPa ",
    "12:30 ", "左のバルブは開いている。", "右は閉、", "人はいない。", "三人の作業員", "異常なし。", "点灯", "消灯",
    "ません", "と", "1. ", "\n", "① ", "未着用", "赤い車", "No. 3 ", "black and white cat ", "on ", "off",
    "1 m 20 cm ", "2時間30分", "**", "\ue1000\ue101", "$", "\\frac{1}{2}", "isn't ", "第二",
]  # fmt: skip
pieced = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
written = pieced | st.text(max_size=40) | pieced.map(str.upper)
answers_ = st.lists(st.none() | written, max_size=9)
groups = st.tuples(answers_, st.integers(0, 3)).map(lambda t: t[0] + t[0][: t[1]])
options_ = st.fixed_dictionaries(
    {},
    optional={
        "guards": st.booleans(),
        "threshold": st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]),
        "tie": st.sampled_from(["abstain", "first-class-by-key"]),
        "min_share": st.sampled_from([0.0, 0.4]),
        "kind": st.sampled_from(["auto", "text"]),
    },
)


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=300)
def test_the_metric_is_sacrebleus(a: str, b: str) -> None:
    metric = CHRF()
    both = (metric.sentence_score(a, [b]).score + metric.sentence_score(b, [a]).score) / 200
    found = chrf(extract_all_char_ngrams(a, 6), extract_all_char_ngrams(b, 6))
    assert math.isclose(found, both, abs_tol=1e-12)
    assert 0.0 <= found <= 1.0


@given(written, written, st.booleans())
@settings(max_examples=300)
def test_utility_is_symmetric_and_bounded(a: str, b: str, guards: bool) -> None:
    there, back = measure([a, b], guards)(0, 1), measure([b, a], guards)(0, 1)
    assert there == back  # to the last bit: ties depend on it
    assert 0.0 <= there <= 1.0
    assert measure([a, b], guards)(0, 0) == 1.0
    assert there <= measure([a, b], guards=False)(0, 1)


@given(written, written)
@settings(max_examples=300)
def test_no_text_contradicts_itself(a: str, b: str) -> None:
    first, second = claims(plain(unnumbered(a))), claims(plain(unnumbered(b)))
    assert factor(first, first) == 1.0
    assert factor(first, second) == factor(second, first)
    assert 0.0 <= factor(first, second) <= 1.0


@given(written)
@settings(max_examples=300)
def test_marks_count_the_numbers(text: str) -> None:
    clean = plain(unnumbered(text))
    marked, found = mentions(clean)
    assert marked.count("\ue100") == marked.count("\ue101") == len(found)
    assert found or in_digits(clean) == marked == clean


@given(groups, options_)
@settings(max_examples=200)
def test_votes_are_what_brute_force_finds(
    answers: list[str | None], options: dict[str, object]
) -> None:
    result = vote(answers, "mbr", **options)
    keys = partition(answers, str(options.get("kind", "auto")))
    guards, threshold = bool(options.get("guards", True)), options.get("threshold", 0.5)
    assert isinstance(threshold, float)
    names: dict[int, str] = {}
    for number in {key for key in keys if key is not None}:
        members = [a for a, key in zip(answers, keys, strict=True) if a and key == number]
        names[number] = min(members, key=lambda a: (-members.count(a), len(a), a))

    def utility(i: int, j: int) -> float:
        first, second = keys[i], keys[j]
        if first is None or second is None:
            return 0.0
        return 1.0 if first == second else measure([names[first], names[second]], guards)(0, 1)

    size = len(answers)
    means = [
        math.fsum(utility(i, j) for j in range(size) if j != i) / (size - 1) if size > 1 else 1.0
        for i in range(size)
    ]
    voters = [i for i in range(size) if keys[i] is not None]
    top = max((means[i] for i in voters), default=0.0)
    best = {names[keys[i]] for i in voters if means[i] == top}  # type: ignore[index]
    assert [number is None for number in result.classes] == [key is None for key in keys]
    if result.label is None:
        assert set(result.rewards) <= {0.0}
        refused = result.share < options.get("min_share", 0.0)  # type: ignore[operator]
        assert top == 0.0 or result.tied or refused
    else:
        assert result.label in best
        chosen = answers.index(result.label)
        assert result.rewards == tuple(means[i] if i in voters else 0.0 for i in range(size))
        # The label's class is what agrees with the label itself, unless its founder is a twin.
        assert result.share == result.classes.count(result.classes[chosen]) / size
        if not result.tied and len(best) == 1:
            agreeing = [i for i in voters if utility(chosen, i) >= threshold]
            inside = [i for i in voters if result.classes[i] == result.classes[chosen]]
            assert inside == agreeing


@given(groups, options_, st.integers(0, 10**6))
@settings(max_examples=200)
def test_votes_do_not_depend_on_order(
    answers: list[str | None], options: dict[str, object], seed: int
) -> None:
    order = list(range(len(answers)))
    Random(seed).shuffle(order)
    before = vote(answers, "mbr", **options)
    after = vote([answers[i] for i in order], "mbr", **options)
    assert (after.label, after.share, after.tied) == (before.label, before.share, before.tied)
    assert list(after.rewards) == [before.rewards[i] for i in order]
    shuffled = [before.classes[i] for i in order]
    renumbered: dict[int, int] = {}
    assert list(after.classes) == [
        None if number is None else renumbered.setdefault(number, len(renumbered))
        for number in shuffled
    ]


@given(written, st.integers(1, 5), st.integers(0, 3))
def test_identical_answers_reward_each_other(text: str, copies: int, silent: int) -> None:
    answers: list[str | None] = [text] * copies + [None] * silent
    result = vote(answers, "mbr")
    if partition([text]) == [None]:
        assert (result.label, result.rewards) == (None, (0.0,) * len(answers))
        return
    alone = copies == 1 and silent > 0  # nobody agrees: no label
    assert result.label == (None if alone else text)
    reward = 1.0 if len(answers) == 1 else (copies - 1) / (len(answers) - 1)
    assert result.rewards == (reward,) * copies + (0.0,) * silent
    assert result.share == (0.0 if alone else copies / len(answers))


@given(answers_, answers_, st.integers(0, 10**6), st.booleans())
@settings(max_examples=150)
def test_agreement_is_the_mean_over_the_voters(
    answers: list[str | None], voters: list[str | None], seed: int, guards: bool
) -> None:
    found = agreement(answers, voters, guards=guards)
    assert len(found) == len(answers)
    assert all(0.0 <= reward <= 1.0 for reward in found)
    shuffled = list(voters)
    Random(seed).shuffle(shuffled)
    assert agreement(answers, shuffled, guards=guards) == found
    silent = agreement(answers, [*voters, None], guards=guards)
    for answer, reward, lowered in zip(answers, found, silent, strict=True):
        if not answer:
            assert reward == 0.0
        assert math.isclose(lowered * (len(voters) + 1), reward * len(voters), abs_tol=1e-9)


@given(written, st.lists(written, min_size=1, max_size=5))
def test_agreement_with_one_voter_is_the_utility(text: str, voters: list[str]) -> None:
    classes = partition([text, *voters])
    assume(
        len({*classes} - {None}) == len({text, *voters} - {""})
    )  # no two spellings of one answer
    found = agreement([text], voters)[0]
    single = [agreement([text], [voter])[0] for voter in voters]
    assert math.isclose(found, math.fsum(single) / len(voters), abs_tol=1e-9)
