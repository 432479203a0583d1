"""Conditions of people's own: what they mean, and what is refused, with the place."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from mmupt.config import load_config
from mmupt.config_supervision import RuleConfig, RulesConfig
from mmupt.errors import ConfigError
from mmupt.expressions import FUNCTIONS, WORDS, World, judge, parse, read_condition, shown
from mmupt.expressions.parser import MAX_DEPTH
from mmupt.expressions.tokens import MAX_LENGTH
from mmupt.expressions.tree import Comparison, Literal, Logic, Negative, Not, Sum, Word


def number_of(text: str) -> float | None:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        return None


def ask(condition: str, **words: Any) -> bool | None:
    meta = words.pop("meta", {"site": "Nagoya", "nominal": "35"})
    world = World(words, meta, lambda a, b: a.strip() == b.strip(), number_of)
    return judge(read_condition(condition), world)


@pytest.mark.parametrize(
    ("condition", "words", "expected"),
    [
        ("share < 0.5", {"share": 0.4}, True),
        ("share < 0.5", {"share": 0.5}, False),
        ("share <= 0.5 and kept", {"share": 0.5, "kept": True}, True),
        ("not kept", {"kept": False}, True),
        ("not not kept", {"kept": True}, True),
        # and binds closer than or, not closer than both
        ("true or false and false", {}, True),
        ("(true or false) and false", {}, False),
        ("not false and false", {}, False),
        ("not (false and false)", {}, True),
        # products before sums, from the left
        ("number == 2 + 3 * 4", {"number": 14.0}, True),
        ("number == (2 + 3) * 4", {"number": 20.0}, True),
        ("number == 10 - 3 - 2", {"number": 5.0}, True),
        ("number == 10 - (3 - 2)", {"number": 9.0}, True),
        ("number == 24 / 4 / 2", {"number": 3.0}, True),
        ("number == -2 * -3", {"number": 6.0}, True),
        ("number == - - 2", {"number": 2.0}, True),
        ("number == 1.5e3 and number == .15e4", {"number": 1500.0}, True),
        ("number / 0 > 1", {"number": 1.0}, None),
        ("number in [1, -2, 3]", {"number": -2.0}, True),
        ("number not in [1, -2, 3]", {"number": -2.0}, False),
        ('label in ["OK", "NG"]', {"label": "NG"}, True),
        ('label not in ["OK", "NG"]', {"label": "ng"}, True),
        ('label == "OK"', {"label": "OK"}, True),
        ("label != 'OK'", {"label": "OK"}, False),
        (r'label == "a\"b\\c\n"', {"label": 'a"b\\c\n'}, True),
        ('meta("site") == "Nagoya"', {}, True),
        ('meta("site") < "Tokyo"', {}, True),
        ('meta("line") == none', {}, True),
        ('meta("line") != none', {}, False),
        ('abs(number - value(meta("nominal"))) > 5', {"number": 41.0}, True),
        ('abs(number - value(meta("nominal"))) > 5', {"number": 31.0}, False),
        ("value(label) > 0.3", {"label": "1/3"}, True),
        ("min(number, 3, 2) == 2", {"number": 5.0}, True),
        ("max(number, 3) == 5", {"number": 5.0}, True),
        ("len(label) == 3", {"label": "三千円"}, True),
        ('lower(label) == "mm"', {"label": "MM"}, True),
        ('plain(label) == "カタカナ abc 12"', {"label": "ｶﾀｶﾅ  ＡＢＣ\n１２"}, True),
        ('contains(replies, "cannot see")', {"replies": "I cannot see it"}, True),
        ('contains(replies, "Cannot")', {"replies": "I cannot see it"}, False),
        ('startswith(id, "a") and endswith(id, "z")', {"id": "a-z"}, True),
        ("same(blind, label)", {"blind": " 3", "label": "3"}, True),
        ("same(blind, label)", {"blind": "4", "label": "3"}, False),
        ("kept == true", {"kept": True}, True),
        ("(share > 0.5) == kept", {"share": 0.4, "kept": False}, True),
        ("votes\n  > 3\tand\r\n kept", {"votes": 4, "kept": True}, True),
    ],
)
def test_meaning(condition: str, words: dict[str, Any], expected: bool | None) -> None:
    assert ask(condition, **words) is expected


@pytest.mark.parametrize("missing", [{}, {"number": None}, {"number": math.nan}])
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        # A missing value makes every comparison false; the row counts as not judged.
        ("number > 5", None),
        ("number == 5", None),
        ("number != 5", None),
        ("number in [5]", None),
        ("number not in [5]", None),
        ("number + 1 > number", None),
        ("abs(number) >= 0", None),
        ("min(number, 1) == 1", None),
        ("-number < 0", None),
        # not turns that false around
        ("not number > 5", True),
        ("number > 5 or share > 0.5", True),
        ("number > 5 or share < 0.5", None),
        ("share < 0.5 and number > 5", False),
        # none asks for it
        ("number == none", True),
        ("none == number", True),
        ("number != none", False),
        ("number + 1 == none", True),
        ("number == none or number > 5", True),
        ("number != none and number < 5", False),
    ],
)
def test_missing_values(condition: str, expected: bool | None, missing: dict[str, Any]) -> None:
    assert ask(condition, share=0.7, **missing) is expected


def test_missing_texts_and_conditions() -> None:
    for condition in (
        'contains(label, "a")', 'startswith(label, "")', "same(label, label)", "len(label) == 0",
        'lower(label) == ""', "value(label) > 0", "kept", "kept == true", 'meta("x") == "a"',
    ):  # fmt: skip
        assert ask(condition, share=1.0) is None, condition
    assert ask("not kept") is True


def test_numbers_beyond_all_bounds() -> None:
    assert ask("number * 10 > 1", number=1e308) is True
    assert ask("number * 10 - number * 10 == 0", number=1e308) is None  # inf - inf is nothing
    assert ask("number > 1", number=math.inf) is True


def test_every_word_and_function_is_usable() -> None:
    for name, word in WORDS.items():
        condition = name if word.kind == "condition" else f"{name} != none"
        assert ask(condition) in (False, None)
    sample = {"number": "1", "text": '"1"', "condition": "true"}
    for name, function in FUNCTIONS.items():
        call = f"{name}({', '.join(sample[kind] for kind in function.takes)})"
        condition = call if function.gives == "condition" else f"{call} != none"
        assert ask(condition) in (True, False)


def test_the_tree() -> None:
    assert parse("not a and b or -c < 2 * d") == Logic(
        "or",
        (
            Logic("and", (Not(Word("a")), Word("b"))),
            Comparison("<", Negative(Word("c")), Sum("*", Literal(2.0), Word("d"))),
        ),
    )
    assert shown(parse("not((a))and(b)or(-c)<2*(d)")) == "not a and b or -c < 2 * d"
    assert shown(parse("a == 'b\n\t\"'")) == r'a == "b\n\t\""'
    assert shown(parse("(a or b) and not (c and d)")) == "(a or b) and not (c and d)"
    assert shown(parse("a - (b - c) - d / (e * -f)")) == "a - (b - c) - d / (e * -f)"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("shar < 0.5", "unknown word 'shar' at 1: ^shar < 0.5; did you mean share? known: id, "),
        ("share < 0.5 and knownn", "unknown word 'knownn' at 17: share < 0.5 and ^knownn; known: "),
        ("True", "unknown word 'True' at 1: ^True; write true; known: "),
        ("contians(label, 'a')", "unknown function 'contians' at 1: ^contians(label, 'a'); did "
                                 "you mean contains? known: meta, contains, "),
        ("share = 1", "'=' is not understood at 7: share ^= 1; write == for equal"),
        ("kept && kept", "'&' is not understood at 6: kept ^&& kept; write and"),
        ("share ＜ 1", "'＜' is not understood at 7: share ^＜ 1; write < in half width"),
        ("label == 「OK」", "'「' is not understood at 10: label == ^「OK」; texts stand in \" \""),
        ("label == 合格", "'合' is not understood at 10: label == ^合格; texts stand in \" \""),
        ("label.upper() == 'A'", "'.' is not understood at 6: label^.upper() == 'A'; there are no "
                                 "attributes"),
        ("number < 3mm", "'m' runs into the number 3 at 11: number < 3^mm; "),
        ("number < 1.2.3", "'.' runs into the number 1.2 at 13"),
        ("number < 1e999", "a number too large to hold at 10"),
        ("label == 'a", "a text that does not end at 10: label == ^'a; close it with '"),
        (r"label == '\x41'", r"unknown escape at 11: label == '^\x41'; known: \\, "),
        ("", "an empty expression at 1"),
        ("  ", "an empty expression at 1"),
        ("share <", "expected a word, a number or a text, found the end at 8: share <^"),
        ("share < 1 share", "expected and, or, or the end, found 'share' at 11"),
        ("(kept", "expected ) to close the bracket, found the end at 6"),
        ("kept)", "expected and, or, or the end, found ')' at 5"),
        ("0 < share < 1", "a second comparison at 11: 0 < share ^< 1; comparisons do not chain"),
        ("share not 1", "expected in after not, found '1' at 11"),
        ("label in 'abc'", "expected a list such as [\"a\", \"b\"], found a text at 10"),
        ("label in []", "expected a text or a number in the list, found ']' at 11"),
        ("label in ['a', 1]", "the list mixes texts and numbers at 7"),
        ("label in [label]", "expected a text or a number in the list, found 'label' at 11"),
        ("number in ['a']", "expected a text, found a number at 1"),
        (f"number in [{', '.join('1' * 51)}]", "more than 50 in a list at 11"),
        ("share", "expected a condition, found a number at 1"),
        ("none", "expected a condition, found none at 1: ^none; a missing value is told by x == "),
        ("label > 5", "a text is compared with a number at 7: label ^> 5; number is the label as"),
        ("kept == 1", "a condition is compared with a number at 6"),
        ("kept < true", "conditions have no order at 6"),
        ("none == none", "none is compared with none at 6"),
        ("number < none", "none has no order at 8: number ^< none; use == none or != none"),
        ("number + label > 1", "expected a number, found a text at 10: number + ^label > 1"),
        ("-label == 'a'", "expected a number, found a text at 2"),
        ("not number", "expected a condition, found a number at 5"),
        ("contains(label)", "contains(text, text) was given 1 at 1"),
        ("min(1) > 2", "min(number, number, ...) was given 1 at 1"),
        ("len() > 2", "len(text) was given 0 at 1"),
        ("contains == 1", "contains is a function at 1: ^contains == 1; write contains(text, text)"),
        ("share(1) > 2", "share is a word, not a function at 1"),
        ("meta(label) == 'a'", "meta needs a name written out at 6"),
        ("kept and " * 60 + "kept", f"expression has 544 characters, at most {MAX_LENGTH} are read"),
        ("(" * 40 + "kept" + ")" * 40, f"nested more than {MAX_DEPTH} deep at 34"),
        ("not " * 40 + "kept", f"nested more than {MAX_DEPTH} deep at "),
        ("number > " + "-" * 40 + "1", f"nested more than {MAX_DEPTH} deep at "),
        ("number > 0" + " + 1" * 40, f"nested more than {MAX_DEPTH} deep at 1"),
        ("kept and\n\n x", r"unknown word 'x' at 12: kept and\n\n ^x; "),
        ("kept and\x00", r"'\x00' is not understood at 9: kept and^\x00"),
    ],
)  # fmt: skip
def test_what_is_refused(condition: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_condition(condition)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_bounds_themselves_are_allowed() -> None:
    assert ask(f"number in [{', '.join('1' * 50)}]", number=1.0) is True
    assert ask("kept" + " " * (MAX_LENGTH - 4), kept=True) is True
    assert ask("(" * MAX_DEPTH + "kept" + ")" * MAX_DEPTH, kept=True) is True
    with pytest.raises(ConfigError, match="501 characters"):
        read_condition("kept" + " " * (MAX_LENGTH - 3))


def test_a_long_chain_of_conditions_is_not_deep() -> None:
    assert ask("kept and " * 50 + "kept", kept=True) is True


def test_the_configuration_refuses_a_bad_condition_with_its_place() -> None:
    setting = "rules.own=[{name: low, when: share < 0.5}, {name: bad, when: shar < 0.5}]"
    with pytest.raises(ConfigError, match=r"rules\.own\.1\.when: unknown word 'shar' at 1"):
        load_config(None, [setting])
    own = load_config(None, ["rules.own=[{name: low, when: share < 0.5}]"]).rules.own
    assert own == (RuleConfig(name="low", when="share < 0.5"),)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("number_range=[3, 1]", "no number is in this range"),
        ("number_range=[.nan, 1]", "no number is in this range"),
        ("number_range=[.inf, .inf]", "no number is in this range"),
        ("leave_out=[no-such-rule]", "rules.leave_out.0: Input should be 'unparseable'"),
        ("unit=' '", "rules.unit"),
        ("own=[{name: truncated, when: kept}]", "two rules have the name truncated"),
        ("own=[{name: a, when: kept}, {name: a, when: kept}]", "two rules have the name a"),
    ],
)
def test_other_settings_that_are_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [f"rules.{setting}"])
    assert load_config(None, ["rules.number_range=[0, .inf]"]).rules == RulesConfig(
        number_range=(0.0, math.inf)
    )
