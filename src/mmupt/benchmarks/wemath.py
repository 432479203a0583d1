r"""We-Math (arXiv 2407.01284): 525 problems of two or three steps, each step also asked alone.

Files: the hub's We-Math/We-Math (``data/testmini-*.parquet``, image_path as {bytes, path}) or its
``testmini.json`` with the images of ``testmini.zip`` (``2steps/image/1-1.png``). Columns: ID
(`2steps_1`, the same for all questions of a problem), split, knowledge concept, question, option
(`A. 300, 400;B. 400, 300; ...`), answer (letter), image_path, key (`2steps_1`, `2steps_2`,
`2steps_multi`, `3steps_1`, ...), question number, knowledge concept description.

Prompt: the official one, ``<Thought process>: <<...>> <Answer>: <<your option>>``.

Rule: the letter, from the official format, a box, a sentence or the text of an option. The
published scorer takes the first character behind the last "Answer" if it is one of A to H:
"Answer: Because ..." chooses B there, ``\boxed{C}`` and "Answer: (c)" choose nothing.

The four-dimensional score is in `wemath_metrics`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmupt.benchmarks.files import DataFolder, Place, Raw
from mmupt.benchmarks.reading import chosen, label_of
from mmupt.benchmarks.rows import (
    NO_KEY,
    BenchmarkRow,
    Columns,
    PictureStore,
    Score,
    asked,
    groups,
)
from mmupt.consensus.options import options

SPLIT = "testmini"
BASES = ("testmini", "data", "data/testmini")

_PROMPT = (
    "Now, we require you to solve a multiple-choice math question. Please briefly describe your "
    "thought process and provide the final answer(option).\n"
    "Question: {question}\nOption: {option}\n"
    "Regarding the format, please answer following the template below, and be sure to include "
    "two <> symbols:\n<Thought process>: <<your thought process>> <Answer>: <<your option>>"
)
_KEY = re.compile(r"([23])steps_([123]|multi)")
_OFFICIAL = re.compile(r"<\s*answer\s*>\s*[:：]?\s*(?:<<)?([^<>]{0,2000})", re.IGNORECASE)


def raw_rows(folder: DataFolder, split: str) -> Iterator[tuple[Place, Raw]]:
    """The published rows."""
    return folder.rows(folder.tables(split))


def row(raw: Raw, place: str, pictures: PictureStore) -> BenchmarkRow:
    """One step of a problem, or the problem."""
    columns = Columns(raw, place)
    option, key = columns.text("option"), columns.text("key")
    match = _KEY.fullmatch(key)
    if match is None or (match[2] == "3" and match[1] == "2"):
        raise columns.wrong("key", f"is {key[:40]!r}", "2steps_1 ... 3steps_multi")
    # Separators stand without a space behind them in places: `300;B. 400`.
    choices = tuple(text.rstrip("; ") for text in options(option.replace(";", "; ")).values())
    answer = columns.text("answer", "")
    label = label_of(answer, choices) if answer else None
    if answer and label is None:
        raise columns.wrong("answer", f"is {answer[:40]!r}", "the letter of an option")
    concept = columns.text("knowledge concept", "")
    problem = columns.text("ID")
    steps = f"{match[1]} steps" if match[2] == "multi" else "1 step"
    return BenchmarkRow(
        asked(
            f"{problem}/{key}",
            _PROMPT.format(question=columns.text("question"), option=option),
            columns.pictures(pictures, "image_path", "image"),
            columns,
            {"key": key, "problem": problem, "knowledge": concept},
        ),
        label,
        choices,
        {"problem": problem, "steps": match[1], "step": match[2]},
        groups(steps=steps, key=key, knowledge=concept),
    )


def score(row: BenchmarkRow, reply: str) -> Score:
    """The letter."""
    if row.answer is None:
        return NO_KEY
    official = list(_OFFICIAL.finditer(reply)) if "</answer" not in reply.lower() else []
    said = official[-1][1].strip() if official else reply
    label = chosen(said, row.choices, "" if official else row.sample.problem)
    return Score(label == row.answer, label, "option")
