"""What holds for every data file: rows survive writing, no named answer reaches a Sample."""

from __future__ import annotations

import json
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmupt.data.answers import is_answer_column
from mmupt.data.jsonl import write_jsonl
from mmupt.data.sources import read_labelled, read_samples
from mmupt.errors import InputError

# How fast examples are made says nothing about the code, on a machine that does other work.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SENTINEL = "zqxj7031"

# Text as people write it: no control, formatting or unassigned characters, no lone surrogates.
text = st.text(
    st.characters(exclude_categories=("Cc", "Cf", "Cn", "Cs", "Zl", "Zp")), min_size=1, max_size=30
).filter(lambda t: t.strip() != "" and "<image>" not in t)
column = text.filter(
    lambda t: (
        t not in ("id", "problem", "image", "images", "paraphrases") and not is_answer_column(t)
    )
)
number = st.integers() | st.floats(allow_nan=False, allow_infinity=False)

answer_word = st.sampled_from(
    [
        "answer",
        "answers",
        "response",
        "solution",
        "ground_truth",
        "label",
        "target",
        "gold_answer",
        "groundTruth",
        "correct",
        "rationale",
        "gt",
        "正解",
    ]
)


def message(call: Callable[[], object]) -> str | None:
    """The text of an InputError; any other error goes through and fails the test."""
    try:
        call()
    except InputError as error:
        return str(error)
    return None


@st.composite
def answer_column(draw: st.DrawFn) -> str:
    """A spelling of an answer column: case, separators, width, and words around it."""
    word = draw(answer_word)
    change = draw(
        st.sampled_from(
            [
                str,
                str.upper,
                str.title,
                lambda w: w.replace("_", "-"),
                lambda w: w + "_2",
                lambda w: "the " + w,
                lambda w: "final_" + w,
                lambda w: w + ".text",
                lambda w: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in w),
            ]
        )
    )
    return str(change(word))


values = (
    text
    | number
    | st.booleans()
    | st.none()
    | st.lists(text, max_size=2)
    | st.dictionaries(text, text, max_size=2)
)


@settings(calm, max_examples=100)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"problem": text, "answer": text | number},
            optional={
                "response": text,
                "id": st.uuids().map(str),
                "paraphrases": st.lists(text, max_size=3),
            },
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda row: row.get("id", object()),
    ),
    meta=st.dictionaries(column, text | number | st.booleans(), max_size=3),
)
def test_rows_survive_writing_and_reading(
    rows: list[dict[str, object]], meta: dict[str, object]
) -> None:
    written = [{**meta, **row} for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.jsonl"
        assert write_jsonl(path, written) == len(rows)
        read = read_labelled(path)
        unlabelled = read_samples(path)
    assert len(read) == len(rows)
    for line, (row, found) in enumerate(zip(rows, read, strict=True), start=1):
        assert found.sample.id == row.get("id", f"r-{line}")
        assert found.sample.problem == row["problem"]
        assert list(found.sample.paraphrases) == row.get("paraphrases", [])
        answer = row["answer"]
        assert found.answer == (answer.strip() if isinstance(answer, str) else json.dumps(answer))
        assert found.response == row.get("response")
        assert found.sample.meta == {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in meta.items()
        }
    assert [labelled.sample for labelled in read] == list(unlabelled)


@settings(calm, max_examples=200)
@given(
    problem=text,
    hidden=st.dictionaries(
        answer_column(),
        st.sampled_from(
            [SENTINEL, f"it is {SENTINEL}", [SENTINEL], {"text": SENTINEL}, SENTINEL.upper()]
        ),
        min_size=1,
        max_size=3,
    ),
    others=st.dictionaries(column, values, max_size=3),
    in_problem=st.booleans(),
)
def test_no_answer_reaches_a_sample(
    problem: str,
    hidden: dict[str, object],
    others: dict[str, object],
    in_problem: bool,
) -> None:
    row = {**others, **hidden, "answer": SENTINEL}
    row["problem"] = f"{problem} {SENTINEL}" if in_problem else problem
    if "response" in row:  # the one of them that reading labels does check
        row["response"] = f"so {SENTINEL}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.jsonl"
        write_jsonl(path, [row])
        (sample,) = read_samples(path)
        (labelled,) = read_labelled(path)
    assert repr(sample).count(SENTINEL) == (1 if in_problem else 0)
    assert labelled.sample == sample


@settings(calm, max_examples=100)
@given(
    rows=st.lists(st.tuples(text, text, text), min_size=1, max_size=5),
    name=answer_column(),
    replacements=st.lists(values, min_size=5, max_size=5),
)
def test_samples_do_not_depend_on_the_answers(
    rows: list[tuple[str, str, str]], name: str, replacements: list[object]
) -> None:
    """Reading the questions gives the same whatever the answer columns hold, or without any."""
    questions = [{"problem": problem, "level": "none of them"} for problem, _, _ in rows]
    answers = [{name: f"{SENTINEL} {a}", "answer": f"{SENTINEL} {b}"} for _, a, b in rows]
    changed = [{name: value, "answer": f"{SENTINEL} x"} for value in replacements[: len(rows)]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.jsonl"
        found = []
        for labels in (answers, [{} for _ in rows], changed):
            write_jsonl(path, [{**q, **label} for q, label in zip(questions, labels, strict=True)])
            found.append(list(read_samples(path)))
    assert found[0] == found[1] == found[2]


@settings(calm, max_examples=200)
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".json", ".jsonl"]))
def test_any_bytes_give_rows_or_one_line(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"r{suffix}"
        path.write_bytes(content)
        for skip_bad in (False, True):
            error = message(lambda skip=skip_bad: read_samples(path, skip_bad=skip))
            if error is not None:
                assert str(path) in error
                assert all(unicodedata.category(c) != "Cc" for c in error)


json_value = st.recursive(
    st.none() | st.booleans() | number | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@settings(calm, max_examples=200)
@given(
    row=st.dictionaries(
        st.sampled_from(
            ["id", "problem", "image", "images", "paraphrases", "answer", "response", "kind"]
        ),
        json_value | st.lists(st.just("<image>")).map("".join),
    )
)
def test_any_json_gives_a_row_or_one_line(row: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.jsonl"
        path.write_text(json.dumps(row) + "\n")
        for read in (read_samples, read_labelled):
            error = message(lambda read=read: read(path))
            assert error is None or error.startswith(f"{path}:1: ")
            assert "\n" not in (error or "")
