r"""MATH-Vision (arXiv 2402.14804): 3,040 competition problems in 16 subjects and 5 levels.

Files: the hub's MathLLMs/MathVision (``data/test-*.parquet``, ``data/testmini-*.parquet``) or the
repository's ``data/test.jsonl`` with ``images/``. Columns: id, question (with marks such as
``<image1>``), options (empty for free-form; bare letters where the options stand in the picture),
image (path), decoded_image ({bytes, path}), answer (letter or LaTeX), solution, level, subject.

Prompt: as published, step by step with the answer in one ``\boxed{}``.

Rule (evaluation/evaluate.py):

- with options: the letter, or the text or value of the option.
- without: equal, or equal once both are rounded to two decimals as published (4\pi is 12.57). Ours
  rounds to the coarser of the two writings, at least two decimals. Published, both are rounded to
  two whatever they are, so that 0.001 equals 0.004; ours says no.

The published scorer reads the box greedily (two boxes become one), keeps only what follows the last
equals sign, does not unwrap ``\text{B}`` and misreads ``\frac12`` (lmms-eval issues 1505, 1507,
1509, 1511); it evaluates text of the model as Python. Ours takes the last whole box and evaluates
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmupt.benchmarks.files import DataFolder, Place, Raw
from mmupt.benchmarks.geometry3k import rounded
from mmupt.benchmarks.reading import chosen, forms, label_of, number, rounds, same
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

SPLIT = "test"
BASES = ("data", "images")

LEAST_PLACES = 2
"""Fewest decimals of a rounded answer."""

_MARKS = re.compile(r"<image\d*>")
_PROMPT = (
    'Please solve the problem step by step and put your answer in one "\\boxed{}". If it is a '
    'multiple choice question, only one letter is allowed in the "\\boxed{}".'
)


def raw_rows(folder: DataFolder, split: str) -> Iterator[tuple[Place, Raw]]:
    """The published rows."""
    return folder.rows(folder.tables(split))


def row(raw: Raw, place: str, pictures: PictureStore) -> BenchmarkRow:
    """One problem."""
    columns = Columns(raw, place)
    texts, answer = columns.texts("options"), columns.text("answer", "")
    key: str | None = answer or None
    if texts and answer:
        key = label_of(answer, texts)
        if key is None:
            raise columns.wrong("answer", f"is {answer[:40]!r}", "the letter of an option")
    # Options that stand in the picture are published as their letters: nothing to list.
    drawn = all(text == label for text, label in zip(texts, "ABCDEFGHIJ", strict=False))
    question = _MARKS.sub("", columns.text("question")).strip()
    lines = [_PROMPT, question, *([f"Choices:\n{listed(texts)}"] if texts and not drawn else ())]
    form = "choice" if texts else "free-form"
    parts = {"level": columns.text("level", ""), "subject": columns.text("subject", "")}
    return BenchmarkRow(
        asked(
            columns.text("id"),
            "\n".join(lines),
            columns.pictures(pictures, "decoded_image", "image"),
            columns,
            {"form": form, **parts},
        ),
        key,
        () if drawn else texts,
        {"form": form},
        groups(form=form, **parts),
    )


def score(row: BenchmarkRow, reply: str) -> Score:
    """The letter, or the value."""
    if row.answer is None:
        return NO_KEY
    if row.fields["form"] == "choice":
        label = chosen(reply, row.choices, row.sample.problem) or _rounded(row, reply)
        return Score(label == row.answer, label, "option")
    said = extract(reply, "auto", row.sample.problem)
    if said is None:
        return Score(False, None, "value")
    found = forms(said)
    if any(same(row.answer, form) for form in found):
        return Score(True, said, "value")
    return rounded(row.answer, found, said, LEAST_PLACES)


def _rounded(row: BenchmarkRow, reply: str) -> str | None:
    """The one option whose value a reply gives to two decimals or more."""
    said = number(extract(reply, "auto", row.sample.problem) or "")
    values = [number(text) for text in row.choices]
    hits = [
        label
        for label, value in zip(LETTERS, values, strict=False)
        if said is not None and value is not None and rounds(value, said, LEAST_PLACES)
    ]
    return hits[0] if len(hits) == 1 else None
