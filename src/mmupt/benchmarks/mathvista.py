r"""MathVista (arXiv 2310.02255): 6,141 questions about figures, 1,000 of them in testmini.

Files: the hub's AI4Math/MathVista (``data/testmini-*.parquet``, ``data/test-*.parquet``) or the
repository's ``data/testmini.json``, one object pid -> row with ``images/``. Columns: pid, question,
image (path), decoded_image ({bytes, path}), choices, unit, precision (1.0, 2.0; a float in
parquet), answer (text; hidden in test), question_type (multi_choice, free_form), answer_type
(text, integer, float, list), metadata (category, context, grade, language, skills, source, task,
...), query (hint, question and choices as they are asked).

Prompt: `query` as published; built the same way where it is missing.

Rule (evaluation/calculate_score.py, without the LLM that extracts): by type.

- multi_choice: the chosen option is the reference option, by letter or by text. The published
  scorer turns any text into the option with the smallest edit distance; here a text that names no
  option is wrong.
- integer: equal to the reference. The published scorer cuts 14.7 to 14 and calls it right.
- float: within half a unit of the last of `precision` decimals, |x - a| <= 10^-p / 2. The published
  scorer compares strings, so that 1.5 is not 1.50, and fails for a precision that is a float.
- list: the same numbers in the same order, each as a float is. Published: equal as strings.

A unit in the reply is dropped as the published extraction drops it; where the row names a unit and
the reply another one of the same dimension, the quantities are compared (0.14 m is 14 cm).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from mmupt.benchmarks.files import DataFolder, Place, Raw
from mmupt.benchmarks.reading import Number, chosen, label_of, number
from mmupt.benchmarks.rows import (
    LETTERS,
    NO_KEY,
    BenchmarkRow,
    Columns,
    PictureStore,
    Score,
    asked,
    groups,
    listed,
)
from mmupt.consensus.extract import extract

SPLIT = "testmini"
BASES = ("data",)

_LIST = re.compile(r"\[([^\[\]]{1,500})\]")
_NUMBER = re.compile(r"(?:(?<!\d)[-+])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")
_HINTS = {
    "multi_choice": "Please answer the question and provide the correct option letter, "
    "e.g., A, B, C, D, at the end.",
    "integer": "Please answer the question requiring an integer answer and provide the final "
    "value, e.g., 1, 2, 3, at the end.",
    "float1": "Please answer the question requiring a floating-point number with one decimal "
    "place and provide the final value, e.g., 1.2, 1.3, 1.4, at the end.",
    "float2": "Please answer the question requiring a floating-point number with two decimal "
    "places and provide the final value, e.g., 1.23, 1.34, 1.45, at the end.",
    "list": "Please answer the question requiring a Python list as an answer and provide the "
    "final list, e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.",
}


def raw_rows(folder: DataFolder, split: str) -> Iterator[tuple[Place, Raw]]:
    """The published rows."""
    return folder.rows(folder.tables(split))


def row(raw: Raw, place: str, pictures: PictureStore) -> BenchmarkRow:
    """One question."""
    columns = Columns(raw, place)
    choices, answer = columns.texts("choices"), columns.text("answer", "")
    form = columns.text("question_type", "multi_choice" if choices else "free_form")
    kind = columns.text("answer_type", "text")
    precision = _places(columns)
    about = columns.struct("metadata")
    unit = columns.text("unit", "")
    names = ("source", "task", "context", "category", "grade", "language")
    parts = {name: about.text(name, "") for name in names}
    key: str | None = answer or None
    if form == "multi_choice" and not choices:
        raise columns.wrong("choices", "is empty", "the texts of the options")
    if form == "multi_choice" and answer:
        # The answer is the text of an option, which may be the letter of another one.
        exact = LETTERS[choices.index(answer)] if answer in choices else None
        key = exact or label_of(answer, choices)
        if key is None:
            raise columns.wrong("answer", "is none of the choices", "the text of one of them")
    return BenchmarkRow(
        asked(
            columns.text("pid"),
            columns.first("query", default="") if columns.has("query") else _query(
                columns, form, kind, precision, choices, unit
            ),
            columns.pictures(pictures, "decoded_image", "image"),
            columns,
            {"question_type": form, **parts},
        ),
        key,
        choices,
        {"question_type": form, "answer_type": kind, "precision": str(precision), "unit": unit},
        groups(question_type=form, answer_type=kind, skills=about.texts("skills"), **parts),
    )  # fmt: skip


def score(row: BenchmarkRow, reply: str) -> Score:
    """By question and answer type."""
    if row.answer is None:
        return NO_KEY
    if row.fields["question_type"] == "multi_choice":
        label = chosen(reply, row.choices, row.sample.problem)
        right = label is not None and _text(row, label) == _text(row, row.answer)
        return Score(right, label, "option")
    kind = row.fields["answer_type"]
    if kind == "list":
        return _list(row, reply)
    if kind not in ("integer", "float"):
        said = extract(reply, "text")
        return Score(said is not None and _fold(said) == _fold(row.answer), said, "text")
    said, key = extract(reply, "number"), number(row.answer)
    if key is None:
        return Score(None, said, "unreadable reference answer")
    slack = Fraction(0) if kind == "integer" else Fraction(1, 2 * 10 ** _precision(row))
    found = None if said is None else number(said)
    return Score(found is not None and _fits(row, key, found, slack), said, kind)


def _fits(row: BenchmarkRow, key: Number, said: Number, slack: Fraction) -> bool:
    unit = number(f"1 {row.fields['unit']}") if row.fields["unit"] else None
    if unit is not None and unit.unit and unit.unit == said.unit:
        # Measured in the unit of the question.
        return abs(said.value / unit.value - key.bare) <= slack
    return min(abs(said.bare - key.bare), abs(said.value - key.bare)) <= slack


def _list(row: BenchmarkRow, reply: str) -> Score:
    said = extract(reply, "text")
    brackets = _LIST.findall(said or "")
    part = brackets[-1] if brackets else said or ""
    found, wanted = _NUMBER.findall(part), _NUMBER.findall(row.answer or "")
    if not found or (not brackets and len(found) != len(wanted)):
        return Score(False, None, "list")
    slack = Fraction(1, 2 * 10 ** _precision(row)) if _precision(row) else Fraction(0)
    values = [Fraction(text.replace(",", "")) for text in found]
    keys = [Fraction(text.replace(",", "")) for text in wanted]
    right = len(values) == len(keys) and all(
        abs(a - b) <= slack for a, b in zip(values, keys, strict=True)
    )
    return Score(right, f"[{', '.join(found)}]", "list")


def _places(columns: Columns) -> int:
    """`precision`, which is a float in parquet, as a number of decimals."""
    text = columns.text("precision", "0") or "0"
    found = number(text)
    if found is None:
        return 0  # NaN where pandas wrote the file
    if found.value.denominator != 1 or not 0 <= found.value <= 12:
        raise columns.wrong("precision", f"is {text[:20]}", "0 to 12 decimals")
    return int(found.value)


def _precision(row: BenchmarkRow) -> int:
    return int(row.fields["precision"])


def _text(row: BenchmarkRow, label: str) -> str:
    return row.choices[LETTERS.index(label)].strip()


def _fold(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _query(
    columns: Columns, form: str, kind: str, precision: int, choices: tuple[str, ...], unit: str
) -> str:
    name = form if form == "multi_choice" else f"float{precision}" if kind == "float" else kind
    lines = [f"Hint: {_HINTS.get(name, _HINTS['integer'])}"]
    lines.append(f"Question: {columns.text('question')}" + (f" (Unit: {unit})" if unit else ""))
    if choices:
        lines += ["Choices:", listed(choices)]
    return "\n".join(lines)
