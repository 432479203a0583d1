"""Views of questions: other wordings, other orders of the options, and answers read back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmupt.asking.answers import final_answer
from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.asking.questions import make_question
from mmupt.consensus.equivalence import partition
from mmupt.consensus.options import listing, options
from mmupt.consensus.reorder import movable, rearranged, relabelled
from mmupt.consensus.vote import vote
from mmupt.data.views import ViewsConfig
from mmupt.errors import InputError
from mmupt.types import Completion, Finish, Sample

PROBLEM = "How long is the rope?\nA. 10 cm\nB. 12 cm\nC. 15 cm\nD. 20 cm\nAnswer with the letter."
SAMPLE = Sample("rope-1", PROBLEM)
STILL = ViewsConfig(rotate=0, shear=0, scale=(1, 1), shift=0, contrast=(1, 1))
SHUFFLE = STILL.model_copy(update={"shuffle_options": True})
PARAPHRASE = STILL.model_copy(update={"paraphrase": True})
BOTH = STILL.model_copy(update={"shuffle_options": True, "paraphrase": True})


def said(text: str) -> Completion:
    return Completion(text, (), (), Finish.STOP)


def views(sample: Sample, config: ViewsConfig, count: int, seed: int = 0) -> list[Prompt]:
    maker = PromptMaker(config, max_pixels=10_000, seed=seed)
    return [maker.prompt(sample, view, 1) for view in range(count)]


def lines(problem: str) -> dict[str, str]:
    """Label -> text, read off the lines of a question, without the code under test."""
    return dict(re.findall(r"^([A-J])\. (.+)$", problem, re.MULTILINE))


def truthful(prompt: Prompt, text: str) -> str:
    """The label under which a question shows a text."""
    (label,) = [label for label, shown in lines(prompt.problem).items() if shown == text]
    return label


# --- votes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 8, 12])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("place", "ABCD")
def test_a_biased_answerer_votes_for_every_option_alike(count: int, seed: int, place: str) -> None:
    prompts = views(SAMPLE, SHUFFLE, count, seed)
    answers = [final_answer(said(f"\\boxed{{{place}}}"), prompt, "auto") for prompt in prompts]
    assert Counter(answers) == dict.fromkeys("ABCD", count // 4)
    outcome = vote(answers)
    assert outcome.tied
    assert outcome.share == 0.25


@pytest.mark.parametrize("kind", ["auto", "boxed", "choice", "text"])
def test_a_truthful_answerer_is_unanimous(kind: str) -> None:
    prompts = views(SAMPLE, SHUFFLE, 8)
    labels = [truthful(prompt, "15 cm") for prompt in prompts]
    assert set(labels) == set("ABCD")  # control: the option did move
    for writing in ("\\boxed{%s}", "\\boxed{(%s)}", "\\boxed{%s. 15 cm}", "\\boxed{Option %s}"):
        answers = [
            final_answer(said(f"I see. {writing % label}"), prompt, kind)
            for label, prompt in zip(labels, prompts, strict=True)
        ]
        assert len(set(answers)) == 1, writing
        assert partition([answers[0], "C"], kind="choice") == [0, 0]


@pytest.mark.parametrize("kind", ["auto", "choice"])
def test_the_text_of_an_option_is_its_label_in_the_data(kind: str) -> None:
    for prompt in views(SAMPLE, SHUFFLE, 8):
        assert final_answer(said("The answer is 15cm."), prompt, kind) == "C"
        assert final_answer(said("\\boxed{0.12 m}"), prompt, kind) == "B"


def test_free_answers_stay_as_they_are() -> None:
    for prompt in views(SAMPLE, SHUFFLE, 4):
        assert final_answer(said("\\boxed{17 cm}"), prompt, "auto") == "17 cm"
        assert final_answer(said("\\boxed{E}"), prompt, "auto") == "E"
        assert final_answer(said("\\boxed{15 cm}"), prompt, "boxed") == "15 cm"
        assert final_answer(said("nothing"), prompt, "choice") is None
        cut = Completion("\\boxed{A}", (), (), Finish.LENGTH)
        assert final_answer(cut, prompt, "auto") is None


def test_several_labels_are_mapped_and_sorted() -> None:
    """Shown A, B, C, D stand for C, A, D, B of the data."""
    prompt = Prompt("?", (), labels={"A": "C", "B": "A", "C": "D", "D": "B"})
    for text, kind, expected in (
        ("\\boxed{A, C}", "choice", "C, D"),
        ("\\boxed{CB}", "choice", "A, D"),
        ("\\boxed{A and D}", "auto", "B and C"),
        ("\\boxed{D, A}", "auto", "B, C"),
        ('{"answer": "A"}', "json", '"C"'),
        ('{"answer": ["A", "C", "D"]}', "json", '["B", "C", "D"]'),
        ('{"answer": {"x": 1}}', "json", '{"x": 1}'),
        ("\\boxed{12}", "number", "12"),
        ("yes", "yesno", "yes"),
    ):
        assert final_answer(said(text), prompt, kind) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A", "C"),
        ("a", "C"),
        ("(A)", "(C)"),
        ("$B$", "$A$"),
        ("\\text{B}", "\\text{A}"),
        ("Option A", "Option C"),
        ("B. 12 cm", "A. 12 cm"),
        ("A. a cat", "C"),
        ("Ｂ", "A"),
        ("A, B", "A, C"),
        ("BA", "AC"),
        ("C and A", "C and D"),
        ("A, A", "C"),
        ("A, E", "A, E"),
        ("12 cm", "12 cm"),
        ("a cat", "a cat"),
        ("2", "2"),
        ("", ""),
    ],
)
def test_relabelled(answer: str, expected: str) -> None:
    labels = {"A": "C", "B": "A", "C": "D", "D": "B"}
    assert relabelled(answer, labels) == expected
    assert relabelled(answer, {}) == answer


def test_relabelled_kana() -> None:
    labels = {"ア": "ウ", "イ": "ア", "ウ": "イ"}
    assert relabelled("ア", labels) == "ウ"
    assert relabelled("選択肢イ", labels) == "選択肢ア"
    assert relabelled("ウ、イ", labels) == "ア、イ"
    assert relabelled("アイス", labels) == "アイス"


# --- orders ---------------------------------------------------------------------------------------


def test_view_zero_and_views_that_are_off_ask_the_problem_itself() -> None:
    sample = Sample("a", PROBLEM, paraphrases=("Its length?\nA. 10 cm\nB. 12 cm",))
    assert make_question(sample, BOTH, 0, 3).problem == PROBLEM
    assert make_question(sample, BOTH, 0, 3).labels == {}
    for view in range(5):
        assert make_question(sample, STILL, view, 3).problem == PROBLEM
        assert make_question(sample, STILL, view, 3).labels == {}


def test_the_same_key_gives_the_same_order_and_another_key_another() -> None:
    orders = {
        (seed, name, stream): tuple(
            make_question(Sample(name, PROBLEM), SHUFFLE, v, seed, name, stream).problem
            for v in range(1, 4)
        )
        for seed in (0, 1)
        for name in "abc"
        for stream in (1, 2)
    }
    again = make_question(Sample("a", PROBLEM), SHUFFLE, 2, 0, "a", 1).problem
    assert orders[0, "a", 1][1] == again
    assert len(set(orders.values())) > 4  # of the 6 circles of four options


@pytest.mark.parametrize("count", [2, 3, 4, 5, 10])
def test_views_are_a_latin_square_without_a_fixed_option(count: int) -> None:
    listed = "\n".join(f"{label}. text {label.lower()}" for label in "ABCDEFGHIJ"[:count])
    sample = Sample("a", f"Which?\n{listed}")
    shown = [lines(p.problem) for p in views(sample, SHUFFLE, 3 * count)]
    for start in (0, count, 2 * count):
        for label in "ABCDEFGHIJ"[:count]:
            texts = [view[label] for view in shown[start : start + count]]
            assert len(set(texts)) == count
    for view in shown[1:count]:
        assert all(view[label] != shown[0][label] for label in view)


def test_only_the_texts_change_places() -> None:
    problem = (
        "Q: how long?  \n\n (A)\t10 cm,  (B) 12 cm ; (C) 15 cm or (D) 20 cm. \n\\boxed{letter}!"
    )
    for view, prompt in enumerate(views(Sample("a", problem), SHUFFLE, 8)):
        rest = re.sub(r"\d\d cm", "#", prompt.problem)
        assert rest == re.sub(r"\d\d cm", "#", problem)
        found = re.findall(r"\d\d cm", prompt.problem)
        assert sorted(found) == ["10 cm", "12 cm", "15 cm", "20 cm"]
        original = dict(zip(["10 cm", "12 cm", "15 cm", "20 cm"], "ABCD", strict=True))
        assert {a: prompt.labels.get(a, a) for a in "ABCD"} == dict(
            zip("ABCD", [original[text] for text in found], strict=True)
        )
        assert prompt.problem != problem or view % 4 in (0, 3)


def test_two_options_by_hand() -> None:
    sample = Sample("a", "Open?\nA. it is open\nB. it is shut")
    first, second = "it is open", "it is shut"
    places = [lines(p.problem)["A"] for p in views(sample, SHUFFLE, 6)]
    assert places[:2] == [first, second]
    assert [Counter(places[i : i + 2]) for i in (2, 4)] == [Counter([first, second])] * 2
    assert views(sample, SHUFFLE, 2)[1].labels == {"A": "B", "B": "A"}


def test_japanese_options() -> None:
    problem = "長さは？\nア．10cm　イ．12cm　ウ．15cm\n記号で答えよ。"
    for prompt in views(Sample("a", problem), SHUFFLE, 6):
        shown = re.findall(r"([アイウ])．(\d\dcm)", prompt.problem)
        assert re.sub(r"\d\dcm", "#", prompt.problem) == re.sub(r"\d\dcm", "#", problem)
        label = next(label for label, text in shown if text == "15cm")
        assert final_answer(said(f"答えは{label}です。"), prompt, "auto") == "ウ"
        assert final_answer(said("答えは12cmです。"), prompt, "auto") == "イ"


def test_pictures_move_with_their_options(tmp_path: Path) -> None:
    paths = []
    for i in range(4):
        Image.new("RGB", (3, 2), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
        paths.append(tmp_path / f"{i}.png")
    problem = "<image> Which picture shows the same?\nA. <image>\nB. <image>\nC. <image>"
    prompts = views(Sample("a", problem, tuple(paths)), SHUFFLE, 3)
    reds = [[image.getpixel((0, 0))[0] for image in prompt.images] for prompt in prompts]  # type: ignore[index]
    assert reds[0] == [0, 60, 120, 180]
    for red, prompt in zip(reds, prompts, strict=True):
        assert prompt.problem == problem
        assert red[0] == 0
        for place, label in enumerate("ABC"):
            meant = prompt.labels.get(label, label)
            assert red[1 + place] == 60 * (1 + "ABC".index(meant))
    assert sorted(red[1] for red in reds) == [60, 120, 180]


# --- what may not move ----------------------------------------------------------------------------

STANDING = [
    ("no list", "How long is it?"),
    ("one option", "How long?\nA. 10 cm"),
    ("the same text twice", "How long?\nA. 10 cm\nB. 10 cm"),
    ("an empty option", "How long?\nA. \nB. 10 cm"),
    ("points to others", "How long?\nA. 10 cm\nB. 12 cm\nC. Both A and B"),
    ("points to others", "How long?\nA. 10 cm\nB. 12 cm\nC. none of these"),
    ("points to others", "How long?\nA. 10 cm\nB. 12 cm\nC. All of the above"),
    ("points to others", "どれ？\nア．10cm\nイ．12cm\nウ．上記のすべて"),
    ("points to others", "どれ？\nア．10cm\nイ．12cm\nウ．アとイ"),
    ("is a label", "Which angle is largest?\nA. C\nB. A\nC. B"),
    ("is several labels", "Which side?\nA. AB\nB. BC\nC. AC"),
    ("longer than a line", "Which?\nA. first\nand more\nB. second"),
    ("facts", "Points A: (1, 2), B: (3, 4). What is the distance?"),
    ("facts", "Given A: (1, 2) and B: (3, 4), find the distance."),
    ("facts", "A: (1, 2)\nB: (3, 4)\nFind the distance AB. Answer in cm."),
    ("facts", "Do A) heat the water B) add the salt. Then find the mass."),
    ("no clear end", "Which? (A) 3 (B) 4 (C) 5 Answer with the letter of the right one"),
]


@pytest.mark.parametrize(("why", "problem"), STANDING, ids=range(len(STANDING)))
def test_lists_that_stay_in_order(why: str, problem: str) -> None:
    assert movable(problem) == (), why
    for prompt in views(Sample("a", problem), SHUFFLE, 4):
        assert prompt.problem == problem
        assert prompt.labels == {}


MOVING = [
    "How long?\nA. 10 cm\nB. 12 cm",
    "How long?\nA: 10 cm\nB: 12 cm\nAnswer with the option's letter.",
    "Find x.\n(A) 3 (B) 4 (C) 5",
    "Find x. (A) 3, (B) 4, (C) 5. Choose one.",
    "Where? (A) Paris (B) Rome (C) St. Louis",
    "Is it (A) red, (B) blue, or (C) green?\n<image>",
    "正しいものを選べ。\nア：赤\nイ：青",
    "Which variable?\nA. x\nB. y\nC. z",
    "Is it open?\nA. Yes\nB. No",
    "<image>\nA. red\nB. blue\n<image>\nThink step by step.",
]


@pytest.mark.parametrize("problem", MOVING)
def test_lists_that_move(problem: str) -> None:
    assert len(movable(problem)) == len(options(problem)) >= 2


def test_the_last_option_of_a_line_ends_before_the_next_sentence() -> None:
    assert options("Q? (A) 3 (B) 4, (C) 5 or (D) 6. Answer with the letter.") == {
        "A": "3",
        "B": "4",
        "C": "5",
        "D": "6",
    }
    assert options("Is it (A) red, (B) blue, or (C) green?")["C"] == "green"
    assert options("A. Red. B. Blue. C. Green. Choose.")["C"] == "Green."
    assert options("(A) Paris (B) Rome (C) St. Louis")["C"] == "St. Louis"
    assert options("A. He left. She stayed. B. He stayed. She left.")["B"] == (
        "He stayed. She left."
    )


word = st.text("abcdxyz0123456789 .,-+()<>か", min_size=1, max_size=12)


@settings(deadline=None, max_examples=200)
@given(
    texts=st.lists(word, min_size=2, max_size=6),
    before=word,
    after=st.sampled_from(["", "\nAnswer with the letter.", ". Choose one.", "\n\\boxed{}", " x"]),
    style=st.sampled_from(["\n{}. {}", " ({}) {}", "\n{}: {}", ", {}) {}"]),
    view=st.integers(1, 40),
)
def test_whatever_a_question_holds(
    texts: Sequence[str], before: str, after: str, style: str, view: int
) -> None:
    """Nothing is lost, labels form a permutation, and the shown options are those of the data."""
    body = "".join(style.format(label, text) for label, text in zip("ABCDEF", texts, strict=False))
    problem = f"{before}?{body}{after}"
    question = make_question(Sample("a", problem), SHUFFLE, view, 0)
    assert sorted(question.problem) == sorted(problem)
    assert set(question.labels) == set(question.labels.values())
    shown, data = options(question.problem), options(problem)
    assert list(shown) == list(data)
    for label, text in shown.items():
        assert data[question.labels.get(label, label)] == text


def test_rearranged_by_hand() -> None:
    problem = "Q A. x, B. y."
    listed = listing(problem)
    assert [(o.label, o.marker, o.start, o.stop) for o in listed] == [
        ("A", 2, 5, 6),
        ("B", 8, 11, 12),
    ]
    spans = rearranged(problem, listed, [1, 0])
    assert "".join(problem[a:b] for a, b in spans) == "Q A. y, B. x."


# --- wordings -------------------------------------------------------------------------------------


def test_views_ask_every_wording_in_turn() -> None:
    sample = Sample("a", "one?", paraphrases=("two?", "three?", "four?"))
    asked = [p.problem for p in views(sample, PARAPHRASE, 13)]
    assert asked[0] == asked[4] == asked[8] == asked[12] == "one?"
    for start in range(10):
        assert sorted(asked[start : start + 4]) == ["four?", "one?", "three?", "two?"]
    others = {tuple(p.problem for p in views(sample, PARAPHRASE, 4, seed)) for seed in range(30)}
    assert len(others) == 6  # the three paraphrases come in all orders
    assert {first for first, *_ in others} == {"one?"}


def test_a_sample_without_paraphrases_asks_its_problem() -> None:
    assert {p.problem for p in views(SAMPLE, PARAPHRASE, 5)} == {PROBLEM}


def test_every_wording_meets_every_rotation() -> None:
    listed = "\nA. 10 cm\nB. 12 cm\nC. 15 cm\nD. 20 cm"
    sample = Sample("a", f"one?{listed}", paraphrases=(f"two?{listed}",))
    prompts = views(sample, BOTH, 8)
    met = {(p.problem[:3], lines(p.problem)["A"]) for p in prompts}
    assert len(met) == 8
    assert Counter(truthful(p, "12 cm") for p in prompts[:4]) == dict.fromkeys("ABCD", 1)


@pytest.mark.parametrize("config", [PARAPHRASE, BOTH])
def test_options_of_a_paraphrase_are_matched_by_their_text(config: ViewsConfig) -> None:
    sample = Sample(
        "a",
        "How long?\nA. 10 cm\nB. 12 cm\nC. 15 cm",
        paraphrases=("The length?\nA. 0.15 m\nB. 10 cm\nC. 12cm",),
    )
    prompts = views(sample, config, 6)
    assert {p.problem.split("\n")[0] for p in prompts} == {"How long?", "The length?"}
    for prompt in prompts:
        shown = lines(prompt.problem)
        for text, label in (("10 cm", "A"), ("12", "B"), ("0.15 m|15 cm", "C")):
            (place,) = [p for p, t in shown.items() if re.match(text, t)]
            assert final_answer(said(f"\\boxed{{{place}}}"), prompt, "auto") == label
    if config is BOTH:
        # Orders are counted from the data's, so that every place still sees every option.
        firsts = [final_answer(said("\\boxed{A}"), prompt, "auto") for prompt in prompts]
        assert Counter(firsts[:3]) == Counter(firsts[3:]) == dict.fromkeys("ABC", 1)
    else:
        assert prompts[1].labels == {"A": "C", "B": "A", "C": "B"}


def test_options_worded_anew_keep_their_labels() -> None:
    sample = Sample("a", "Which?\nA. a dog\nB. a cat", paraphrases=("What?\nA. dogs\nB. cats",))
    for prompt in views(sample, BOTH, 8):
        (place,) = [p for p, t in lines(prompt.problem).items() if "dog" in t]
        assert final_answer(said(f"\\boxed{{{place}}}"), prompt, "auto") == "A"


def test_a_paraphrase_without_options_keeps_the_answers_as_they_are() -> None:
    sample = Sample("a", "Which?\nA. a dog\nB. a cat", paraphrases=("What animal is it?",))
    prompts = views(sample, BOTH, 4)
    assert prompts[1].problem == "What animal is it?"
    assert prompts[1].labels == {}
    other = Sample("a", "What animal is it?", paraphrases=("Which?\nA. a dog\nB. a cat",))
    assert views(other, BOTH, 2)[1].problem == "Which?\nA. a dog\nB. a cat"


def test_options_that_are_worded_anew_and_moved_are_refused() -> None:
    sample = Sample(
        "a",
        "Which?\nA. a dog\nB. a cat\nC. a cow",
        origin="rows.jsonl:3",
        paraphrases=("What?\nA. a cat\nB. dogs\nC. cows",),
    )
    with pytest.raises(InputError) as caught:
        views(sample, PARAPHRASE, 2)
    assert str(caught.value) == (
        "rows.jsonl:3: some options of paraphrases[0] stand under other labels than in the "
        "problem, others are worded anew; write their texts as in the problem"
    )


# --- prompts --------------------------------------------------------------------------------------


def test_targets_of_people_can_keep_the_question(tmp_path: Path) -> None:
    """For SFT: the picture is that of the view, question and labels are those of the data."""
    path = tmp_path / "a.png"
    Image.effect_noise((20, 20), 80).convert("RGB").save(path)
    sample = Sample("a", f"<image>{PROBLEM}", (path,), paraphrases=(f"<image>So? {PROBLEM}",))
    config = BOTH.model_copy(update={"rotate": 20.0})
    maker = PromptMaker(config, max_pixels=10_000, seed=0)
    kept, free = maker.prompt(sample, 1, 5, same_question=True), maker.prompt(sample, 1, 5)
    assert kept.problem == sample.problem
    assert kept.labels == {}
    assert free.problem != sample.problem
    assert [i.tobytes() for i in kept.images] == [i.tobytes() for i in free.images]
    assert kept.images[0].tobytes() != maker.prompt(sample).images[0].tobytes()
