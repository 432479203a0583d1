"""The final answer of a response."""

from __future__ import annotations

import threading

import pytest

from mmupt.consensus.equivalence import equivalent
from mmupt.consensus.extract import MAX_RESPONSE, extract
from mmupt.consensus.statements import stated_label
from mmupt.errors import ConfigError

PROMPT = (
    "<image>\nWhat is the sum of the digits? Put your final answer in \\boxed{}.\n"
    "Example: The answer is \\boxed{42}."
)
OPTIONS = "<image>\nWhich one is it?\nA. 12 cm\nB. 13 cm\nC. a dog\nD. a cat"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so \boxed{12}", "12"),
        (r"\boxed{3} no, \boxed{4}.", "4"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, \{2\}\}}", r"\{1, \{2\}\}"),
        (r"\boxed {5}", "5"),
        (r"\fbox{7}", "7"),
        (r"\boxed{3} \fbox{7}", "7"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{x = \boxed{5}}", "5"),
        (r"\boxed 12.", "12"),
        (r"$\boxed{12}$", "12"),
        (r"\\boxed{12}", "12"),
        (r"\boxed{None}", "None"),
        (r"\boxed{a \} b}", r"a \} b"),
        ("\\boxed{\n 12 \n}", "12"),
        (r"\boxed{12} and \boxed{3", None),
        (r"\boxed{3", None),
        (r"\boxed{{3}", None),
        (r"it is \boxed", None),
        (r"\boxed{}", None),
        (r"\boxed{3} \boxed{ }", None),
        (r"\boxedfoo{3}", None),
        ("12", None),
        ("", None),
    ],
)
def test_boxes(response: str, answer: str | None) -> None:
    assert extract(response, "boxed") == answer
    if "boxed" in response and "foo" not in response:
        assert extract(response) == answer


class TestPrompt:
    def test_an_echo_of_the_prompt_does_not_count(self) -> None:
        assert extract(PROMPT, prompt=PROMPT) is None
        assert extract(PROMPT + " 3 and 4: \\boxed{7}", prompt=PROMPT) == "7"
        assert extract("user\n" + PROMPT + "\nassistant\n", prompt=PROMPT) is None

    def test_an_echo_may_differ_in_spacing_and_image_marks(self) -> None:
        echo = " ".join(PROMPT.replace("<image>", "").split())
        assert extract(echo, prompt=PROMPT) is None
        assert extract(echo + "\n\\boxed{7}", prompt=PROMPT) == "7"

    def test_an_echo_that_breaks_off_abstains(self) -> None:
        assert extract(PROMPT[:60], prompt=PROMPT) is None
        assert extract(PROMPT[:-3], prompt=PROMPT) is None

    def test_a_copied_example_does_not_count(self) -> None:
        assert extract("Example: The answer is \\boxed{42}.", prompt=PROMPT) is None
        assert extract("Example: The answer is \\boxed{42}.", "boxed", PROMPT) is None
        copied = "I get \\boxed{7}\nExample: The answer is \\boxed{42}."
        assert extract(copied, prompt=PROMPT) == "7"

    def test_the_same_answer_given_freely_counts(self) -> None:
        assert extract("3 + 39, so \\boxed{42}", prompt=PROMPT) == "42"
        assert extract("\\boxed{42}", prompt=PROMPT) == "42"
        both = "Example: The answer is \\boxed{42}. I think \\boxed{42}"
        assert extract(both, prompt=PROMPT) == "42"

    def test_placeholders_do_not_count(self) -> None:
        prompt = "How many? End with \\boxed{your answer}."
        assert extract("\\boxed{your answer}", prompt=prompt) is None
        assert extract("\\boxed{your answer} \\boxed{5}", prompt=prompt) == "5"
        tags = "Write <answer>answer</answer>."
        assert extract("<answer>answer</answer>", prompt=tags) is None
        assert extract("<answer>5</answer>", prompt=tags) == "5"

    def test_a_short_prompt_is_not_searched_for(self) -> None:
        assert extract("The Sum is 5. \\boxed{5} is the Sum", prompt="Sum") == "5"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<answer> 12 cm </answer>", "12 cm"),
        ("<ANSWER>3</ANSWER> <answer>4</answer>", "4"),
        (r"\boxed{3} <answer>4</answer>", "4"),
        (r"<answer>\boxed{4}</answer>", "4"),
        ("<answer>4", None),
        ("<answer></answer>", None),
        ("<think>maybe \\boxed{3}</think> The answer is 12.", "12"),
        ("<think> it could be 12", None),
        ("The answer is $\\frac{1}{2}$.", r"\frac{1}{2}"),
        ("The answer is 12. I am sure.", "12"),
        ("The answer is 3. No: the answer is 4.", "4"),
        ("The final answer is: **12**", "12"),
        ("**Answer:** B. 12 cm", "B. 12 cm"),
        ("Answer:\n12", "12"),
        ("the answer is 3.5 m. Then done", "3.5 m"),
        ("The answer is", None),
        ("答えは12個です。", "12個"),
        ("よって、答えは１２だ。", "１２"),
        ("計算すると\n答え：イ", "イ"),
        ("正解は「東京」です。", "東京"),
        ("#### 42", "42"),
        ('{"answer": 12, "why": "counted"}', "12"),
        ('```json\n{"answer": "B"}\n```', "B"),
        ('{"final_answer": ["a", 1]}', '["a", 1]'),
        ("12 cm", "12 cm"),
        ("B", "B"),
        ("(1, 2)", "(1, 2)"),
        ("blah 12 + 30 = 42.", "42"),
        ("There are 5 apples.", "5"),
        ("There are 5 in total", "5"),
        ("The length is 12 cm.", "12 cm"),
        ("First I count.\n\n12", "12"),
        ("合計は1200円です。", "1200円"),
        ("a red car", "a red car"),
        ("赤い車です。", "赤い車"),
        ("42<|im_end|>", "42"),
        ("42</s>\n", "42"),
        ("9^9^9^9", "9^9^9^9"),
        ("   ", None),
    ],
)
def test_auto(response: str, answer: str | None) -> None:
    assert extract(response) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("it costs ¥1,200 in total", "¥1,200"),
        ("between 3 and 5", "5"),
        ("so it is 3/4", "3/4"),
        ("x = -5", "x = -5"),
        ("The answer is about 12 apples", "12"),
        ("-3.5", "-3.5"),
        ("−3", "−3"),
        ("約12個あります", "12個"),
        ("no digits here", None),
        (r"\boxed{unknown}", None),
        (r"12 \boxed{unknown}", None),
    ],
)
def test_number(response: str, answer: str | None) -> None:
    assert extract(response, "number") == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("B. 13 cm", "B"),
        ("The answer is (B) because of the scale", "B"),
        ("I think it is B, not A.", "B"),
        ("Option C looks right", "C"),
        ("13cm", "B"),
        ("0.13 m", "B"),
        ("The answer is dog.", "C"),
        ("It shows a cat on a mat", "D"),
        ("A, C", "A, C"),
        ("\\boxed{AC}", "A, C"),
        ("\\boxed{E}", None),
        ("a bird", None),
        ("It is 99 cm", None),
    ],
)
def test_choice_with_options(response: str, answer: str | None) -> None:
    assert extract(response, "choice", OPTIONS) == answer


def test_choice_without_options() -> None:
    assert extract("I would pick A", "choice") == "A"
    assert extract("A cat sits there", "choice") is None
    assert extract("\\boxed{dog}", "choice") == "dog"
    assert extract("答えはイです。", "choice") == "イ"
    assert extract("選択肢Bが正しい", "choice") == "B"
    assert extract("2", "choice") == "2"


@pytest.mark.parametrize(
    ("options", "response", "answer"),
    [
        (("10", "100"), "I count 100 of them", "B"),
        (("10", "100"), "I count 10 of them", "A"),
        (("10", "100"), "I count 1000 of them", None),
        (("5", "7"), "It reads 3.5 now", None),
        (("5", "7"), "It reads 5.5 now", None),
        (("5", "7"), "It reads -5 now", None),
        (("5", "7"), "It is 1/5 full", None),
        (("5", "7"), "It is 5/8 full", None),
        (("5", "7"), "1,500 and 5,000 are too many", None),
        (("5", "7"), "I see 5.", "A"),
        (("5", "7"), "I see 5, surely", "A"),
        (("5", "7"), "I see x5 on it", None),
        (("1.5", "2.5"), "It reads 1.5 now", "A"),
        (("1.5", "2.5"), "It reads 11.5 now", None),
        (("cat", "dog"), "The category is unclear", None),
        (("cat", "dog"), "A CAT, surely", "A"),
        (("cat", "dog"), "two dogs", None),
        (("red", "red car"), "it shows a red car", "B"),
        (("red", "red car"), "it shows a red bus", "A"),
        (("red", "blue"), "it is not red but blue", "B"),
        (("red", "blue"), "red or blue", None),
        (("same", "same"), "the same", None),
        (("été", "thé"), "l'été dernier", "A"),
        (("thé", "lait"), "le théâtre", None),
        (("(+)", "(-)"), "it has the sign (+) on it", "A"),
        (("12", "15"), "答えは12個です", "A"),
        (("12", "15"), "答えは112個です", None),
        (("赤", "青"), "これは赤です", "A"),
        (("赤", "赤い車"), "写っているのは赤い車です", "B"),
    ],
)
def test_option_texts_count_as_whole_words_and_numbers(
    options: tuple[str, str], response: str, answer: str | None
) -> None:
    listed = "".join(f"\n{label}. {text}" for label, text in zip("AB", options, strict=True))
    assert stated_label(response, dict(zip("AB", options, strict=True))) == answer
    assert extract(response, "choice", f"Which?{listed}") == answer


def test_option_text_names_its_label_in_auto_too() -> None:
    assert extract("The answer is a dog.", prompt=OPTIONS) == "C"
    assert extract("The answer is a bird.", prompt=OPTIONS) == "a bird"
    assert equivalent(extract("\\boxed{B. 13 cm}", prompt=OPTIONS), "B")
    japanese = "どれですか。\nア. 東京\nイ. 大阪"
    assert extract("答えは大阪です。", prompt=japanese) == "イ"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("Yes, it is open.", "yes"),
        ("No", "no"),
        ("The valve is closed. So no.", "no"),
        ("Yes at first sight. No, on reflection.", "no"),
        ("はい、開いています。", "yes"),
        ("いいえ。", "no"),
        ("答えははいです。", "yes"),
        ("その記述は正しい", "yes"),
        ("その記述は正しくない", "no"),
        ("\\boxed{true}", "yes"),
        ("\\boxed{n}", "no"),
        ("It cannot be seen", None),
        ("\\boxed{}", None),
    ],
)
def test_yesno(response: str, answer: str | None) -> None:
    assert extract(response, "yesno") == answer


def test_text() -> None:
    assert extract(" Room 101 is left. ", "text") == "Room 101 is left."
    assert extract("I see \\boxed{Room 101}", "text") == "Room 101"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ('{"answer": "12"}', '"12"'),
        ('{"b": 1, "a": [2]}', '{"a": [2], "b": 1}'),
        ('text {"a": 1} more {"b": [1, 2]} end', '{"b": [1, 2]}'),
        ('```json\n{"答え": "東京"}\n```', '"東京"'),
        ("[1, 2]", "[1, 2]"),
        ('{"a": ', None),
        ('{"answer": null}', None),
        ('{"a": NaN}', None),
        ("no json", None),
    ],
)
def test_json(response: str, answer: str | None) -> None:
    assert extract(response, "json") == answer


def test_unknown_kind() -> None:
    with pytest.raises(ConfigError, match="'maths' is unknown"):
        extract("1", "maths")


HOSTILE = [
    "{" * 100_000,
    "\\boxed{" * 15_000,
    "\\boxed{" + "{" * 50_000 + "}" * 50_001,
    "\\boxed{1}" * 11_000,
    "\\" * 100_000,
    "<answer>" * 12_000,
    "the answer is " * 7_000,
    "answer" * 16_000,
    "9" * 100_000,
    "1," * 50_000,
    "[" * 100_000,
    '{"a":' * 20_000,
    "```json\n" * 12_000,
    "A. " * 33_000,
    "yes. " * 20_000,
    " " * 100_000,
    "\n" * 100_000,
    "<|a|>" * 20_000,
    "だ" * 100_000,
    "*" * 100_000,
]


@pytest.mark.parametrize("response", HOSTILE, ids=lambda text: text[:10].encode("unicode_escape"))
@pytest.mark.parametrize("prompt", [None, PROMPT, OPTIONS])
def test_hostile_responses_end(response: str, prompt: str | None) -> None:
    """Read in a thread of its own, which has to be over long before the tests' patience is."""
    kinds = ["auto", "boxed", "number", "choice", "yesno", "text", "json"]
    done: list[str] = []

    def read() -> None:
        for kind in kinds:
            extract(response, kind, prompt)
            done.append(kind)

    worker = threading.Thread(target=read, daemon=True)
    worker.start()
    worker.join(60)
    assert done == kinds


def test_open_braces_abstain() -> None:
    assert extract("\\boxed{" + "{" * 100_000) is None
    assert extract("x" * (MAX_RESPONSE + 1)) is None
