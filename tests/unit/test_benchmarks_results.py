"""We-Math's four dimensions recomputed by hand; numbers and choices read out of replies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmupt.benchmarks.reading import chosen, number, same
from mmupt.benchmarks.rows import LETTERS, BenchmarkRow, Score
from mmupt.benchmarks.wemath_metrics import four_dimensional
from mmupt.types import Sample

# --- We-Math --------------------------------------------------------------------------------------


def problem(name: str, steps: Sequence[bool | None], whole: bool | None) -> list[
    tuple[BenchmarkRow, Score]
]:  # fmt: skip
    """A problem's questions with their verdicts; the steps asked alone, then the whole."""
    named = [*((str(i), right) for i, right in enumerate(steps, start=1)), ("multi", whole)]
    return [
        (
            BenchmarkRow(
                Sample(f"{name}/{step}", "?"),
                "A",
                fields={"problem": name, "steps": str(len(steps)), "step": step},
            ),
            Score(right, "A", "option"),
        )
        for step, right in named
    ]


def test_the_four_kinds_of_a_problem() -> None:
    cases = {  # steps, whole -> strict, loose
        ((True, True), True): ("cm", "cm"),
        ((True, False), True): ("rm", "cm"),
        ((False, False), True): ("rm", "rm"),
        ((True, True), False): ("ig", "ig"),
        ((True, False), False): ("ik", "ik"),
        ((False, False), False): ("ik", "ik"),
        ((True, True, True), True): ("cm", "cm"),
        ((True, False, False), True): ("rm", "cm"),
        ((False, False, False), True): ("rm", "rm"),
        ((True, True, True), False): ("ig", "ig"),
        ((True, True, False), False): ("ik", "ik"),
    }
    for (steps, whole), kinds in cases.items():
        for strict, kind in zip((True, False), kinds, strict=True):
            found = four_dimensional(problem("p", steps, whole), strict=strict)
            assert [name for name in ("ik", "ig", "cm", "rm") if getattr(found, name)] == [kind]


def test_the_average_score_by_hand() -> None:
    """10 problems: 3 IK, 2 IG, strict 3 CM and 2 RM, loose 4 CM and 1 RM.

    strict: (10 - 0.5 * 2 - 2 - 3) / 10 = 4 / 10      RM rate 2 / (3 + 2)
    loose:  (10 - 0.5 * 2 - 1 - 3) / 10 = 5 / 10      RM rate 1 / (4 + 1)
    """
    scored = [
        *problem("a", (True, True), True),
        *problem("b", (True, True, True), True),
        *problem("c", (True, True), True),
        *problem("d", (True, False), True),
        *problem("e", (False, False), True),
        *problem("f", (True, True), False),
        *problem("g", (True, True, True), False),
        *problem("h", (False, True), False),
        *problem("i", (False, False, False), False),
        *problem("j", (True, False, True), False),
    ]
    for pairs in (scored, scored[::-1]):
        strict = four_dimensional(pairs, strict=True)
        loose = four_dimensional(pairs, strict=False)
        assert (strict.ik, strict.ig, strict.cm, strict.rm, strict.problems) == (3, 2, 3, 2, 10)
        assert (loose.ik, loose.ig, loose.cm, loose.rm, loose.problems) == (3, 2, 4, 1, 10)
        assert strict.score == pytest.approx(0.4)
        assert loose.score == pytest.approx(0.5)
        assert (strict.rm_rate, loose.rm_rate) == (pytest.approx(0.4), pytest.approx(0.2))
        assert (strict.ik_rate, strict.ig_rate, strict.cm_rate) == (0.3, 0.2, 0.3)


def test_the_published_example_of_525_problems() -> None:
    """The repository's formula with its own total: (525 - 0.5 IG - RM - IK) / 525.

    A model with 168 IK, 80 IG, 217 CM, 60 RM (strict): (525 - 40 - 60 - 168) / 525 = 257 / 525.
    """
    kinds = {"ik": ((False, True), False), "ig": ((True, True), False),
             "cm": ((True, True), True), "rm": ((True, False), True)}  # fmt: skip
    counts = {"ik": 168, "ig": 80, "cm": 217, "rm": 60}
    scored = [
        pair
        for kind, count in counts.items()
        for i in range(count)
        for pair in problem(f"{kind}{i}", *kinds[kind])
    ]
    found = four_dimensional(scored, strict=True)
    assert found.problems == 525
    assert found.score == pytest.approx(257 / 525)
    assert f"{found.score:.2%}" == "48.95%"
    # Loose, the 60 with one right step are mastered: (525 - 40 - 168) / 525
    assert four_dimensional(scored, strict=False).score == pytest.approx(317 / 525)


def test_missing_and_unscored_questions_are_left_out_and_not_mastered() -> None:
    whole = problem("a", (True, True), True)
    found = four_dimensional([*whole, *problem("b", (True, None), True), *whole[:0]], strict=True)
    assert (found.problems, found.left_out, found.score) == (1, 1, 1.0)
    found = four_dimensional(problem("c", (True, True, True), False)[1:], strict=True)
    assert (found.problems, found.left_out) == (0, 1)
    assert math.isnan(found.score)
    assert math.isnan(four_dimensional(problem("d", (True, False), False), strict=True).rm_rate)


@given(
    st.lists(st.tuples(st.lists(st.booleans(), min_size=2, max_size=3), st.booleans()), max_size=30)
)
def test_the_four_kinds_add_up(outcomes: list[tuple[list[bool], bool]]) -> None:
    scored = [
        pair for i, (steps, whole) in enumerate(outcomes) for pair in problem(str(i), steps, whole)
    ]
    strict, loose = (four_dimensional(scored, strict=s) for s in (True, False))
    for found in (strict, loose):
        assert found.ik + found.ig + found.cm + found.rm == len(outcomes) == found.problems
        if outcomes:
            assert found.score == pytest.approx((found.cm + found.ig / 2) / len(outcomes))
    assert (strict.ik, strict.ig) == (loose.ik, loose.ig)
    assert strict.cm <= loose.cm


# --- readings -------------------------------------------------------------------------------------


@given(st.integers(-(10**6), 10**6), st.integers(0, 3))
def test_a_number_is_read_with_and_without_its_unit(value: int, places: int) -> None:
    text = f"{value / 10**places:.{places}f}"
    for written in (text, f"{text} cm", f"{text}%", f"{text} widgets"):
        found = number(written)
        assert found is not None
        assert found.bare * 10**places == value
        assert found.places == places


@given(st.lists(st.sampled_from("pqrstuvw"), min_size=2, max_size=8, unique=True), st.data())
def test_a_choice_is_read_by_letter_and_by_text(texts: list[str], data: st.DataObject) -> None:
    choices = [f"the word {text}{text}" for text in texts]
    index = data.draw(st.integers(0, len(texts) - 1))
    for reply in (LETTERS[index], f"({LETTERS[index]})", choices[index], f"\\boxed{{{choices[index]}}}",
                  f"The answer is {LETTERS[index]}."):  # fmt: skip
        assert chosen(reply, choices) == LETTERS[index]


@pytest.mark.parametrize("text", ["9^9^9^9", "1e999999", "9" * 5000, "\\frac{1}{0}", "{" * 3000])
def test_hostile_answers_end_in_a_verdict(text: str) -> None:
    assert same("1", text) is False
    assert chosen(text, ["1", "2"]) is None
    number(text)
