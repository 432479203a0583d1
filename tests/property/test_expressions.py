"""The language of conditions, on generated texts and trees."""

from __future__ import annotations

import math
import operator
import re
import unicodedata
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmupt.errors import ConfigError
from mmupt.expressions import FUNCTIONS, WORDS, Kind, World, judge, parse, read_condition, shown
from mmupt.expressions.parser import MAX_DEPTH
from mmupt.expressions.tokens import MAX_LENGTH
from mmupt.expressions.tree import (
    Call,
    Comparison,
    Literal,
    Logic,
    Member,
    Negative,
    Node,
    Not,
    Sum,
    Word,
    height,
)

PIECES = [
    *WORDS, *FUNCTIONS, "and", "or", "not", "in", "true", "false", "none", "==", "!=", "<", "<=",
    ">", ">=", "+", "-", "*", "/", "(", ")", "[", "]", ",", '"a"', "'", '"', "\\", "1", "0.5", ".",
    "1e9", "e", "=", "&", "「", "＜", "\n", "\x00", "__class__", "lambda", "import",
]  # fmt: skip
texts = st.text(max_size=MAX_LENGTH + 5) | st.lists(st.sampled_from(PIECES), max_size=40).map(
    " ".join
)


@given(texts)
@settings(max_examples=1500)
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        tree = read_condition(text)
    except ConfigError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 900
    else:
        assert height(tree) <= MAX_DEPTH


@given(st.integers(1, 600), st.sampled_from(["(", "-", "not ", "abs(", "[", "1+", "kept and "]))
def test_depth_never_exhausts_the_stack(times: int, piece: str) -> None:
    for text in (piece * times, "number > " + piece * times, piece * times + "1"):
        try:
            read_condition(text)
        except ConfigError:
            continue


def numbers(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.builds(Negative, children) | st.builds(
        Sum, st.sampled_from(["+", "-", "*", "/"]), children, children
    )


words_of = {
    kind: [name for name, word in WORDS.items() if word.kind is kind] for kind in Kind
}  # fmt: skip
positive = st.floats(0, allow_nan=False, allow_infinity=False).map(abs)
text_leaf: st.SearchStrategy[Node] = st.builds(
    Word, st.sampled_from(words_of[Kind.TEXT])
) | st.builds(Literal, st.text(max_size=6))
number_leaf: st.SearchStrategy[Node] = st.builds(
    Word, st.sampled_from(words_of[Kind.NUMBER])
) | st.builds(Literal, positive)
text_node = text_leaf | st.builds(
    lambda name, text: Call(name, (text,)), st.sampled_from(["lower", "plain"]), text_leaf
)
number_node = st.recursive(
    number_leaf,
    lambda inner: (
        numbers(inner)
        | st.builds(lambda a, b: Call("min", (a, b)), inner, inner)
        | st.builds(lambda text: Call("len", (text,)), text_node)
    ),
    max_leaves=8,
)
compared = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
floats = st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)
condition_leaf: st.SearchStrategy[Node] = (
    st.builds(Comparison, compared, number_node, number_node)
    | st.builds(Comparison, compared, text_node, text_node)
    | st.builds(Comparison, st.sampled_from(["==", "!="]), number_node, st.just(Literal(None)))
    | st.builds(
        Member, number_node, st.lists(floats, min_size=1, max_size=3).map(tuple), st.booleans()
    )
    | st.builds(
        Member,
        text_node,
        st.lists(st.text(max_size=3), min_size=1, max_size=3).map(tuple),
        st.booleans(),
    )
    | st.builds(lambda a, b: Call("contains", (a, b)), text_node, text_node)
    | st.builds(Literal, st.booleans())
    | st.just(Word("kept"))
)
condition_node = st.recursive(
    condition_leaf,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(
            Logic,
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=2, max_size=4).map(tuple),
        )
    ),
    max_leaves=6,
)


@given(condition_node)
@settings(max_examples=600)
def test_a_printed_tree_is_read_as_the_same_tree(tree: Node) -> None:
    text = shown(tree)
    assume(len(text) <= MAX_LENGTH and height(tree) <= MAX_DEPTH)
    again = parse(text)
    assert unplaced(again) == unplaced(tree)
    assert again == tree
    assert shown(again) == text
    assert read_condition(text) == tree  # built of fitting kinds, so it passes the check


def unplaced(node: Node) -> str:
    """The tree as text, without the positions; 1 and true differ here."""
    return re.sub(r", at=\d+|at=\d+", "", repr(node))


@given(
    condition_node,
    st.fixed_dictionaries(
        {},
        optional={
            name: {
                Kind.NUMBER: st.floats(),
                Kind.TEXT: st.text(max_size=8),
                Kind.CONDITION: st.booleans(),
            }[word.kind]
            for name, word in WORDS.items()
        },
    ),
)
@settings(max_examples=600)
def test_judging_is_python_with_missing_values_false(tree: Node, words: dict[str, Any]) -> None:
    world = World(words, {}, operator.eq, lambda text: None)
    assert judge(tree, world) in (True, False, None)
    assert (judge(tree, world) is True) is holds(tree, words)


def holds(node: Node, words: dict[str, Any]) -> bool:
    """The condition by the rules of docs/rules.md, written once more with Python's own operators."""
    value = worth(node, words)
    return value is True


def worth(node: Node, words: dict[str, Any]) -> Any:
    compare = {
        "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
        ">": operator.gt, ">=": operator.ge,
    }  # fmt: skip
    compute = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
    match node:
        case Literal(value):
            return value
        case Word(name):
            found = words.get(name)
            return None if found is None or found != found else found
        case Negative(operand):
            found = worth(operand, words)
            return None if found is None else -found
        case Sum(sign, left, right):
            pair = worth(left, words), worth(right, words)
            if None in pair:
                return None
            try:
                found = compute[sign](*pair)
            except ZeroDivisionError:
                return None
            return None if math.isnan(found) else found
        case Comparison(sign, left, Literal(None)):
            return (worth(left, words) is None) is (sign == "==")
        case Comparison(sign, left, right):
            pair = worth(left, words), worth(right, words)
            return None not in pair and compare[sign](*pair)
        case Member(item, options, negated):
            found = worth(item, words)
            return found is not None and (found not in options if negated else found in options)
        case Not(operand):
            return not holds(operand, words)
        case Logic(sign, parts):
            return (all if sign == "and" else any)([holds(part, words) for part in parts])
        case Call(name, arguments):
            given_ = [worth(one, words) for one in arguments]
            if None in given_:
                return False if name == "contains" else None
            return PYTHON[name](*given_)


def folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


PYTHON: dict[str, Any] = {
    "contains": lambda text, part: part in text,
    "lower": str.lower,
    "plain": folded,
    "len": len,
    "min": min,
}
