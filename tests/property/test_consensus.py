"""What holds for every group of answers."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from mmupt.consensus.canonical import KINDS, canonical
from mmupt.consensus.equivalence import equivalent, partition
from mmupt.consensus.extract import extract
from mmupt.consensus.reward import rewards_by_class
from mmupt.consensus.vote import STRATEGIES, vote

SPELLINGS = [
    "12", "12.0", "１２", "十二", "twelve", "12個", "12 cm", "0.12 m", "12 m", "1,2", "(1,2)",
    "{1,2}", "{2,1}", "[1,2)", "1/2", "0.5", "\\frac{1}{2}", "50%", "50", "B", "(b)", "B. cat",
    "yes", "はい", "no", "いいえ", "left valve open", "Left valve open.", "left valve closed",
    "x=5", "y=5", "5", "\\sqrt{12}", "2\\sqrt{3}", "2024-03-05", "2024年3月5日", "3:4", "6:8",
    "", " ", "?", "A", "None", "3-5", "1200円", "¥1,200", "30°", "30", "9^9^9^9",
]  # fmt: skip
written = st.sampled_from(SPELLINGS) | st.text(max_size=12)
answers_ = st.lists(st.none() | written, max_size=16)
kinds = st.sampled_from(sorted(KINDS))
tolerances = st.none() | st.sampled_from([0.001, 0.05, 0.5])
mathematics = st.text(alphabet="0123456789.,+-*/^(){}[]\\ xyπ√=<>%°$abefrcsqtl|±∪∞!~:", max_size=24)


@given(answers_, kinds, tolerances)
@settings(max_examples=300, deadline=None)
def test_partition_is_an_equivalence_that_refines_string_equality(
    answers: list[str | None], kind: str, rtol: float | None
) -> None:
    classes = partition(answers, kind, rtol)
    assert len(classes) == len(answers)
    by_string: dict[str, int | None] = {}
    for answer, number in zip(answers, classes, strict=True):
        if answer is None:
            assert number is None
        else:
            assert by_string.setdefault(answer, number) == number
    # Numbered 0, 1, 2, ... by first appearance.
    seen = list(dict.fromkeys(number for number in classes if number is not None))
    assert seen == list(range(len(seen)))


@given(written, written, written, kinds)
@settings(max_examples=300, deadline=None)
def test_pairs_are_reflexive_symmetric_and_transitive(a: str, b: str, c: str, kind: str) -> None:
    assert equivalent(a, a, kind) == (canonical(a, kind) is not None)
    assert equivalent(a, b, kind) == equivalent(b, a, kind)
    if equivalent(a, b, kind) and equivalent(b, c, kind):
        assert equivalent(a, c, kind)


@given(answers_, kinds, tolerances, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_partition_does_not_depend_on_order(
    answers: list[str | None], kind: str, rtol: float | None, generator: object
) -> None:
    order = list(range(len(answers)))
    generator.shuffle(order)  # type: ignore[attr-defined]
    before = partition(answers, kind, rtol)
    after = partition([answers[index] for index in order], kind, rtol)
    for i, first in enumerate(order):
        for j, second in enumerate(order):
            assert (after[i] == after[j]) == (before[first] == before[second])


@given(
    st.lists(st.fractions(min_value=-3, max_value=3, max_denominator=50), min_size=1, max_size=8),
    st.sampled_from([0.01, 0.2, 0.9]),
)
def test_tolerance_gives_the_connected_components(values: list[Fraction], rtol: float) -> None:
    """Against components found by walking the tolerance graph, edge by edge."""
    classes = partition([f"{value}" for value in values], rtol=rtol)
    bound = Fraction(rtol)

    def linked(a: Fraction, b: Fraction) -> bool:
        return abs(a - b) <= bound * max(abs(a), abs(b))

    for index, value in enumerate(values):
        reached, frontier = {index}, [value]
        while frontier:
            here = frontier.pop()
            for other, candidate in enumerate(values):
                if other not in reached and linked(here, candidate):
                    reached.add(other)
                    frontier.append(candidate)
        assert {i for i, number in enumerate(classes) if number == classes[index]} == reached


@st.composite
def ballots(
    draw: st.DrawFn,
) -> tuple[str, list[str | None], dict[str, list[float]], dict[str, object]]:
    """Strategy, answers, options that belong to single answers, other options."""
    answers = draw(st.lists(st.none() | st.sampled_from(SPELLINGS), min_size=1, max_size=12))
    strategy = draw(st.sampled_from(sorted(STRATEGIES)))
    per_answer: dict[str, list[float]] = {}
    options: dict[str, object] = {
        "tie": draw(st.sampled_from(["abstain", "first-class-by-key"])),
        "min_share": draw(st.sampled_from([0.0, 0.3])),
    }
    size = len(answers)
    if strategy == "weighted":
        weight = st.floats(0, 10, allow_subnormal=False)
        per_answer["weights"] = draw(st.lists(weight, min_size=size, max_size=size))
    if strategy == "harmony":
        per_answer["views"] = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    if strategy == "prior":
        shares = st.floats(0, 1, allow_subnormal=False)
        options["prior"] = draw(st.dictionaries(st.sampled_from(SPELLINGS), shares, max_size=6))
    if strategy == "dual":
        options["teacher_answers"] = draw(st.lists(st.none() | st.sampled_from(SPELLINGS)))
    if strategy == "veto":
        refused = draw(st.sets(st.sampled_from(SPELLINGS)))
        options["checker"] = lambda label: label not in refused
    return strategy, answers, per_answer, options


@given(ballots(), st.randoms(use_true_random=False))
@settings(max_examples=500, deadline=None)
def test_votes_do_not_depend_on_order(
    ballot: tuple[str, list[str | None], dict[str, list[float]], dict[str, object]],
    generator: object,
) -> None:
    strategy, answers, per_answer, options = ballot
    order = list(range(len(answers)))
    generator.shuffle(order)  # type: ignore[attr-defined]
    before = vote(answers, strategy, **per_answer, **options)
    shuffled = {name: [values[index] for index in order] for name, values in per_answer.items()}
    after = vote([answers[index] for index in order], strategy, **shuffled, **options)
    assert (after.label, after.share, after.tied) == (before.label, before.share, before.tied)
    assert list(after.rewards) == [before.rewards[index] for index in order]


@given(ballots())
@settings(max_examples=500, deadline=None)
def test_what_every_vote_promises(
    ballot: tuple[str, list[str | None], dict[str, list[float]], dict[str, object]],
) -> None:
    strategy, answers, per_answer, options = ballot
    result = vote(answers, strategy, **per_answer, **options)
    assert len(result.rewards) == len(result.classes) == len(answers)
    classes = tuple(partition(answers))
    if strategy == "mbr":  # clusters of texts that agree; see test_freetext
        assert [n is None for n in result.classes] == [n is None for n in classes]
    else:
        assert result.classes == classes
    penalised = strategy == "restrain" and set(result.rewards) == {-1.0}
    for number, reward in zip(result.classes, result.rewards, strict=True):
        assert number is not None or reward == 0.0 or penalised
    if result.label is None:
        if strategy not in ("restrain", "veto"):
            assert set(result.rewards) == {0.0}
        return
    # The label is one of the answers, never an abstention, and its class is as large as it says.
    assert result.label in answers
    winner = result.classes[answers.index(result.label)]
    assert winner is not None
    assert result.share == Counter(result.classes)[winner] / len(answers)
    assert result.share >= options["min_share"]  # type: ignore[operator]
    if strategy not in ("frequency", "restrain", "mbr"):
        assert result.rewards == tuple(float(number == winner) for number in result.classes)
        assert result.rewards == rewards_by_class(answers, result.rewards, answers)


@given(answers_)
@settings(deadline=None)
def test_majority_wins_by_count(answers: list[str | None]) -> None:
    result = vote(answers)
    counts = Counter(number for number in result.classes if number is not None)
    top = max(counts.values(), default=0)
    assert result.share == (top / len(answers) if answers else 0.0)
    assert result.tied == (sum(count == top for count in counts.values()) > 1)
    assert (result.label is None) == (result.tied or not counts)


@given(mathematics | st.text(max_size=60), kinds)
@settings(max_examples=500, deadline=None)
def test_any_string_has_a_key_or_abstains(answer: str, kind: str) -> None:
    key = canonical(answer, kind)
    assert key is None or hash(key) == hash(canonical(answer, kind))


@given(st.integers(-(10**6), 10**6), st.integers(1, 999))
@settings(deadline=None)
def test_numbers_are_read_by_value(numerator: int, denominator: int) -> None:
    value = Fraction(numerator, denominator)
    fraction = f"\\frac{{{numerator}}}{{{denominator}}}"
    assert equivalent(fraction, f"{numerator}/{denominator}")
    assert equivalent(fraction, f"{value.numerator}/{value.denominator}")
    assert not equivalent(fraction, f"{value.numerator + value.denominator}/{value.denominator}")
    assert equivalent(f"{numerator}", f"{numerator:,}")
    assert equivalent(f"{denominator} cm", f"{denominator * 10} mm")
    assert not equivalent(f"{denominator} cm", f"{denominator} mm")


@given(
    st.text(max_size=80)
    | st.lists(
        st.sampled_from(
            ["\\boxed{", "}", "{", "<answer>", "</answer>", "The answer is ", "答えは", " 12",
             "B. ", "\n", "$", "**", "yes", "<think>", "</think>", "\\", '{"answer": ', "```json\n"]
        ),
        max_size=14,
    ).map("".join),
    kinds,
    st.none() | st.sampled_from(["Put it in \\boxed{}.", "A. cat\nB. dog\nThe answer is B."]),
)  # fmt: skip
@settings(max_examples=500, deadline=None)
def test_extraction_gives_an_answer_or_none(response: str, kind: str, prompt: str | None) -> None:
    found = extract(response, kind, prompt)
    assert found is None or (isinstance(found, str) and found.strip())


@given(st.text(alphabet=st.characters(exclude_characters="{}\\"), min_size=1, max_size=30))
def test_the_last_box_is_read_whatever_stands_before(content: str) -> None:
    response = f"\\boxed{{wrong}} then {{ and \\boxed{{ {content} }} done"
    assert extract(response) == (content.strip() or None)
