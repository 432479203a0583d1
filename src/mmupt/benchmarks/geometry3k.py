r"""Geometry3K (arXiv 2105.04165): 3,002 geometry problems, 601 of them in test.

Files, two schemas:

- the hub's hiyouga/geometry3k (``data/test-*.parquet``), as EasyR1 trains on: images, problem (with
  its ``<image>`` mark), answer (the value, in LaTeX); newer versions also id, choices, ground_truth
  (the letter);
- the original of InterGPS: one folder a problem (``test/2401/data.json`` with ``img_diagram.png``)
  with problem_text, choices, answer (letter), problem_type_graph, problem_type_goal, unit, id.

Prompt: the problem, open-ended, with the answer in ``\boxed{}``; options are not shown, as in the
training recipes, so that a guess of one in four does not count.

Rule: the value of the right option, equal or rounded: both agree to the coarser of their decimals,
at least one (9\sqrt{2} is 12.7 and 12.73, not 13). A bare letter is taken as a label where the row
has options. InterGPS instead takes the option nearest to whatever its solver computes, and guesses
where it computes nothing; exact graders call 12.7 for 9\sqrt{2} wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmupt.benchmarks.files import DataFolder, Place, Raw, json_object
from mmupt.benchmarks.reading import forms, label_of, number, rounds, same
from mmupt.benchmarks.rows import (
    LETTERS,
    NO_KEY,
    BenchmarkRow,
    Columns,
    PictureStore,
    Score,
    asked,
    groups,
    row_name,
)
from mmupt.consensus.extract import extract
from mmupt.data.images import printable

SPLIT = "test"
BASES = ()

LEAST_PLACES = 1
"""Fewest decimals of a rounded answer."""
PROMPT = "Solve the problem step by step and put the final answer in \\boxed{}."


def raw_rows(folder: DataFolder, split: str) -> Iterator[tuple[Place, Raw]]:
    """Rows of the hub's tables, or of one folder a problem."""
    parent = next(
        (p for p in (folder.root / split, folder.root) if any(p.glob("*/data.json"))), None
    )
    if parent is None:
        yield from folder.rows(folder.tables(split))
        return
    for path in sorted(parent.glob("*/data.json"), key=lambda p: (len(p.parent.name), p)):
        image = path.with_name("img_diagram.png").relative_to(folder.root)
        raw = json_object(folder.inside(path))
        yield printable(path), {**raw, "pid": path.parent.name, "image": str(image)}


def row(raw: Raw, place: str, pictures: PictureStore) -> BenchmarkRow:
    """One problem, of either schema."""
    columns = Columns(raw, place)
    choices = columns.texts("choices")
    original = columns.has("problem_text")
    answer = columns.first("answer", "ground_truth", default="")
    if choices and answer and (label := label_of(_letter(columns, answer), choices)) is not None:
        answer = choices[LETTERS.index(label)]
    elif original and answer:
        raise columns.wrong("answer", f"is {answer[:40]!r}", "the letter of a choice")
    problem = columns.first("problem", "problem_text")
    goals = columns.texts("problem_type_goal")
    shapes = columns.texts("problem_type_graph")
    return BenchmarkRow(
        asked(
            columns.first("id", "pid", default=row_name(place)),
            f"{problem}\n{PROMPT}",
            columns.pictures(pictures, "images", "image"),
            columns,
            {"goal": ", ".join(goals), "shape": ", ".join(shapes)},
        ),
        answer or None,
        choices,
        {},
        groups(goal=goals, shape=shapes),
    )


def _letter(columns: Columns, answer: str) -> str:
    """The letter where a row has both the value and the letter."""
    return columns.text("ground_truth", "") or answer


def score(row: BenchmarkRow, reply: str) -> Score:
    """The value, equal or rounded."""
    if row.answer is None:
        return NO_KEY
    return by_value(row.answer, extract(reply, "auto", row.sample.problem), row.choices)


def by_value(answer: str, said: str | None, choices: tuple[str, ...]) -> Score:
    """Whether a reply states the reference value, or the label of the option that is it.

    Args:
        answer: the reference value.
        said: what was read out of the reply.
        choices: texts of the options, if the row has any.
    """
    if said is None:
        return Score(False, None, "value")
    found = forms(said)
    if any(same(answer, form) for form in found):
        return Score(True, said, "value")
    letter = said.strip().strip("().").upper()
    if choices and len(letter) == 1 and letter in LETTERS[: len(choices)]:
        return Score(same(answer, choices[LETTERS.index(letter)]), letter, "option")
    return rounded(answer, found, said, LEAST_PLACES)


def rounded(answer: str, found: tuple[str, ...], said: str, least: int) -> Score:
    """Whether one of the forms of an answer is the reference, rounded."""
    key = number(answer)
    values = [value for form in found if (value := number(form)) is not None]
    if key is None or not values:
        return Score(False, said, "value")
    return Score(any(rounds(key, value, least) for value in values), said, "rounded value")
