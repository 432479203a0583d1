r"""GeoQA (arXiv 2105.14517): middle school geometry, 754 questions in the usual test.

Files, four schemas:

- the hub's leonardPKU/GEOQA_R1V_Train_8K and its kin (``data/train-*.parquet``): image, problem,
  solution (``<answer> 145° </answer>``);
- R1-V's test prompts (``geoqa_test_prompts.jsonl``; rename to ``test.jsonl``): image_path,
  question, ground_truth;
- the hub's ports with images, problem, answer (a value, or the letter of an option that the
  problem lists);
- the hub's hz2475/geoQA: id, subject (the question), choices, label (index of the right one),
  image, original_split; its `answer` is an explanation and never read.

Prompt: the problem with R1-V's instruction, thinking in ``<think>`` and the final answer in
``<answer>`` tags; where the row has options they are listed and the letter is asked for.

Rule: with options the letter, or the text or value of the option. Without, the value: equal, or
both agree to the coarser of their decimals, at least one; the degree sign may be missing. R1-V asks
math-verify about the whole reply, which takes the wrong number where several stand in it and calls
12 cm equal to 12 m.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmupt.benchmarks.files import DataFolder, Place, Raw
from mmupt.benchmarks.geometry3k import by_value
from mmupt.benchmarks.reading import chosen, label_of
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
    row_name,
)
from mmupt.consensus.extract import extract
from mmupt.consensus.options import options

SPLIT = "test"
BASES = ("images", "data")

PROMPT = (
    "Output the thinking process in <think> </think> and final answer ({what}) in "
    "<answer> </answer> tags."
)
_TAGGED = re.compile(r"<answer>(.{0,2000}?)</answer>", re.DOTALL | re.IGNORECASE)


def raw_rows(folder: DataFolder, split: str) -> Iterator[tuple[Place, Raw]]:
    """The published rows; of hz2475/geoQA, whose file holds all splits, those of the split."""
    for place, raw in folder.rows(folder.tables(split)):
        if raw.get("original_split") in (None, split):
            yield place, raw


def row(raw: Raw, place: str, pictures: PictureStore) -> BenchmarkRow:
    """One question, of any of the schemas."""
    columns = Columns(raw, place)
    problem = columns.first("problem", "question", "subject")
    choices = columns.texts("choices")
    if columns.has("label"):
        index = columns.text("label")
        if not index.isdecimal() or int(index) >= len(choices):
            raise columns.wrong("label", f"is {index[:20]!r}", "the index of a choice")
        key: str | None = LETTERS[int(index)]
        problem = f"{problem}\nChoices:\n{listed(choices)}"
    else:
        key, choices = _key(columns, choices or tuple(options(problem).values()))
    form = "choice" if choices else "value"
    what = "the letter of the right choice" if choices else "number"
    return BenchmarkRow(
        asked(
            columns.first("id", default=row_name(place)),
            f"{problem} {PROMPT.format(what=what)}",
            columns.pictures(pictures, "images", "image", "image_path"),
            columns,
            {"form": form},
        ),
        key,
        choices,
        {"form": form},
        groups(form=form),
    )


def _key(columns: Columns, choices: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The reference, as a label with its options or as a value without them."""
    answer = columns.first("solution", "ground_truth", "answer", default="")
    if (tagged := _TAGGED.search(answer)) is not None:
        answer = tagged[1].strip()
    answer = answer.strip("$").strip()
    if not answer:
        return None, choices
    label = label_of(answer, choices) if choices else None
    return (answer, ()) if label is None else (label, choices)


def score(row: BenchmarkRow, reply: str) -> Score:
    """The option, or the value."""
    if row.answer is None:
        return NO_KEY
    if row.choices:
        label = chosen(reply, row.choices, row.sample.problem)
        return Score(label == row.answer, label, "option")
    return by_value(row.answer, extract(reply, "auto", row.sample.problem), ())
