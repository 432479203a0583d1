"""Rates, pass@k and We-Math's four dimensions, recomputed by hand; a benchmark end to end."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmupt.benchmarks.reading import chosen, number, same
from mmupt.benchmarks.results import Rate, Scored, summarise
from mmupt.benchmarks.rows import LETTERS, BenchmarkRow, Score
from mmupt.benchmarks.run import Replies, run_benchmark
from mmupt.benchmarks.wemath_metrics import four_dimensional
from mmupt.errors import ConfigError, InputError
from mmupt.types import Sample

RIGHT, WRONG = Score(True, "1", "r"), Score(False, "2", "r")
SILENT, OPEN = Score(False, None, "r"), Score(None, None, "no reply")


def row(name: str, **groups: tuple[str, ...]) -> BenchmarkRow:
    return BenchmarkRow(Sample(name, "?"), "1", groups=groups)


def test_rates_count_what_is_scored() -> None:
    rate = Rate.of([RIGHT, RIGHT, RIGHT, WRONG, SILENT, OPEN])
    assert (rate.n, rate.right, rate.accuracy) == (5, 3, 0.6)
    assert (rate.unscored, rate.unanswered) == (1, 1)
    # Wilson by hand: z = 1.959964, z^2 = 3.841459; centre (0.6 + 0.3841459) / 1.7682918,
    # half = z sqrt(0.6 * 0.4 / 5 + 3.841459 / 100) / 1.7682918
    assert rate.low == pytest.approx(0.556551 - 0.325828, abs=1e-5)
    assert rate.high == pytest.approx(0.556551 + 0.325828, abs=1e-5)


def test_a_rate_of_nothing_is_no_number() -> None:
    for scores in ([], [OPEN, OPEN]):
        rate = Rate.of(scores)
        assert rate.n == 0
        assert math.isnan(rate.accuracy)
        assert math.isnan(rate.low)


def test_subsets_with_several_values_a_row() -> None:
    results = summarise("mathvista", [
        Scored(row("1", skills=("algebra", "logic"), task=("math",)), RIGHT),
        Scored(row("2", skills=("logic",), task=("math",)), WRONG),
        Scored(row("3"), OPEN),
    ])  # fmt: skip
    assert {k: list(v) for k, v in results.subsets.items()} == {
        "skills": ["algebra", "logic"], "task": ["math"],
    }  # fmt: skip
    logic = results.subsets["skills"]["logic"]
    assert (logic.n, logic.right) == (2, 1)
    assert results.subsets["skills"]["algebra"].accuracy == 1.0
    assert (results.overall.n, results.overall.unscored) == (2, 1)
    assert results.extra == {}


def test_pass_at_k_against_enumeration() -> None:
    outcomes = [
        (True, False, False, True),
        (False, False, False, False),
        (True, False, False, False),
    ]
    scored = [
        Scored(row(str(i)), RIGHT, tuple(RIGHT if right else WRONG for right in group))
        for i, group in enumerate(outcomes)
    ]
    scored.append(Scored(row("open"), RIGHT, (RIGHT, OPEN, RIGHT, RIGHT)))  # not all are scored
    passes = {one.k: one for one in summarise("chartqa", scored).passes}
    assert list(passes) == [1, 2, 4]
    for k, one in passes.items():
        chances = [
            sum(any(drawn) for drawn in itertools.combinations(group, k)) / math.comb(4, k)
            for group in outcomes
        ]
        assert one.mean == pytest.approx(sum(chances) / 3)
        assert one.n == 3
        assert one.low <= one.mean <= one.high
    assert summarise("chartqa", [Scored(row("1"), RIGHT)]).passes == ()


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


# --- end to end -----------------------------------------------------------------------------------


def folder(tmp_path: Path) -> tuple[Path, Path]:
    data, work = tmp_path / "easy", tmp_path / "work"
    (data / "test" / "images").mkdir(parents=True)
    work.mkdir()
    Image.new("RGB", (64, 64), (0, 0, 255)).save(data / "test" / "images" / "3.png")
    (data / "test" / "questions.json").write_text(json.dumps([
        ["what shape is in the image?", "circle", 3],
        ["what color is the circle?", "blue", 3],
        ["is there a circle?", "yes", 3],
        ["is there a triangle?", "no", 3],
    ]))  # fmt: skip
    return data, work


def test_a_benchmark_end_to_end(tmp_path: Path) -> None:
    data, work = folder(tmp_path)
    batches: list[int] = []
    done: list[int] = []

    def ask(samples: Sequence[Sample]) -> list[Replies]:
        batches.append(len(samples))
        for sample in samples:
            assert len(sample.images) == sample.problem.count("<image>") == 1
        said: dict[str, Replies] = {
            "test-1": Replies("It is a circle.", ("circle", "triangle")),
            "test-2": Replies("red", ("blue", "blue")),
            "test-3": Replies("", ("no", "no")),
            "test-4": Replies(None, ("no", None)),
        }
        return [said[sample.id] for sample in samples]

    results = run_benchmark("easy-VQA", data, work, ask, batch_size=3, progress=done.append)
    assert (batches, done) == ([3, 1], [3, 4])
    rate = results.overall
    assert (rate.n, rate.right, rate.unscored, rate.unanswered) == (3, 1, 1, 1)
    assert results.subsets["kind"]["yes/no"].n == 1
    # pass@1: 1/2, 1, 0; pass@2: 1, 1, 0; the fourth is not scored in full.
    assert [(one.k, one.n, one.mean) for one in results.passes] == [
        (1, 3, pytest.approx(0.5)), (2, 3, pytest.approx(2 / 3)),
    ]  # fmt: skip
    lines = [json.loads(line) for line in (work / "easyvqa-replies.jsonl").read_text().splitlines()]
    assert [line["right"] for line in lines] == [True, False, False, None]
    assert lines[0] == {
        "id": "test-1", "answer": "circle", "extracted": "circle", "right": True,
        "rule": "exact word", "reply": "It is a circle.",
        "sampled": [{"extracted": "circle", "right": True, "reply": "circle"},
                    {"extracted": "triangle", "right": False, "reply": "triangle"}],
    }  # fmt: skip
    figures = json.loads((work / "easyvqa.json").read_text())
    assert figures["overall"]["accuracy"] == pytest.approx(1 / 3)
    assert figures["benchmark"] == "easyvqa"


def test_undefined_figures_are_null(tmp_path: Path) -> None:
    data, work = folder(tmp_path)
    run_benchmark("easyvqa", data, work, lambda s: [Replies(None)] * len(s))
    assert json.loads((work / "easyvqa.json").read_text())["overall"]["accuracy"] is None


def test_what_run_refuses(tmp_path: Path) -> None:
    data, work = folder(tmp_path)
    with pytest.raises(ConfigError, match="got 1 replies"):
        run_benchmark("easyvqa", data, work, lambda s: [Replies("x")])
    assert not list(work.glob("*.jsonl"))
    with pytest.raises(ConfigError, match="batch_size is 0"):
        run_benchmark("easyvqa", data, work, lambda s: [], batch_size=0)
    with pytest.raises(InputError, match="make it first"):
        run_benchmark("easyvqa", data, work / "gone", lambda s: [])
    (data / "test" / "images" / "3.png").unlink()
    with pytest.raises(InputError, match="no usable row"):
        run_benchmark("easyvqa", data, work, lambda s: [], skip_bad=True)
