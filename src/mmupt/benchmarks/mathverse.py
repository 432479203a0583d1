r"""MathVerse (arXiv 2403.14624): 788 problems, each in versions that move text into the picture.

Files: the hub's AI4Math/MathVerse (``testmini.parquet``, ``testmini_text_only.parquet``; the
splits are named so) or ``testmini.json`` with ``images/`` or its ``images_version_*`` folders.
Columns: sample_index, problem_index, problem_version (Text Dominant, Text Lite, Vision Intensive,
Vision Dominant, Vision Only; Text Only in its own file), question (empty in Vision Only), image
({bytes, path} or a path; empty in Text Only), answer, question_type (multi-choice, free-form),
metadata (split, source, subject, subfield), query_wo, query_cot, question_for_eval.

Prompt: `query_cot` as published (first reasoning, then the letter or the value at the end).

Rule (evaluation/score_answer_s2.py asks an LLM whether two answers are consistent; the rule below
is what its instructions say): by the form of the answer.

- multi-choice: the letter, or the text or value of one option. The options come from the question,
  in Vision Only from `question_for_eval`.
- free-form: the same value, set, interval or expression, however it is written (0.5 m is 50 cm,
  ``f(x) = -x^2 - 2x + 1`` is ``-x^2 - 2x + 1``, (-2, 1) is not (-2, 1]); `domain: ... range: ...`
  part by part. No tolerance: completely equal. A unit that only one side has is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mmupt.benchmarks.files import DataFolder, Place, Raw
from mmupt.benchmarks.reading import chosen, forms, label_of, same
from mmupt.benchmarks.rows import (
    NO_KEY,
    BenchmarkRow,
    Columns,
    PictureStore,
    Score,
    asked,
    groups,
)
from mmupt.consensus.extract import extract
from mmupt.consensus.options import options

SPLIT = "testmini"
BASES = ("images", "data", "data/images")

_NAMED = re.compile(r"\b(domain|range)\b\s*(?:is|of f is|:|=)?\s*", re.IGNORECASE)
_SYMBOL = re.compile(r"\s*([A-Za-z]{1,3}(?:\([a-z]\))?)\s*=\s*(?=\S)")


def raw_rows(folder: DataFolder, split: str) -> Iterator[tuple[Place, Raw]]:
    """The published rows."""
    return folder.rows(folder.tables(split))


def row(raw: Raw, place: str, pictures: PictureStore) -> BenchmarkRow:
    """One version of one problem."""
    columns = Columns(raw, place)
    form = columns.text("question_type")
    question = columns.text("question", "")
    listing = columns.first("question", "question_for_eval", default="")
    choices = tuple(options(listing).values()) if form == "multi-choice" else ()
    answer = columns.text("answer", "")
    key: str | None = answer or None
    if form == "multi-choice" and answer:
        key = label_of(answer, choices)
        if key is None:
            raise columns.wrong("answer", f"is {answer[:40]!r}", "the letter of an option")
    about = columns.struct("metadata")
    parts = {
        "problem_version": columns.text("problem_version", ""),
        **{name: about.text(name, "") for name in ("subject", "subfield", "source")},
    }
    return BenchmarkRow(
        asked(
            columns.text("sample_index"),
            columns.first("query_cot", "query_wo", default=question),
            columns.pictures(pictures, "image"),
            columns,
            {"question_type": form, "problem_index": columns.text("problem_index", ""), **parts},
        ),
        key,
        choices,
        {"question_type": form},
        groups(question_type=form, **parts),
    )


def score(row: BenchmarkRow, reply: str) -> Score:
    """By the form of the answer."""
    if row.answer is None:
        return NO_KEY
    if row.fields["question_type"] == "multi-choice":
        label = chosen(reply, row.choices, row.sample.problem)
        return Score(label == row.answer, label, "option")
    key = _parts(row.answer)
    if key:
        said = extract(reply, "text", row.sample.problem)
        found = _parts(said or "")
        right = key.keys() == found.keys() and all(same(key[k], found[k]) for k in key)
        return Score(right, said if found else None, "domain and range")
    said = extract(reply, "auto", row.sample.problem)
    right = said is not None and any(_consistent(row.answer, form) for form in forms(said))
    return Score(right, said, "equivalence")


def _consistent(key: str, said: str) -> bool:
    if same(key, said):
        return True
    left, right = _SYMBOL.match(key), _SYMBOL.match(said)
    if (left is None) == (right is None):
        return False  # both name what they say, or neither does
    return same(key[left.end() :] if left else key, said[right.end() :] if right else said)


def _parts(text: str) -> Mapping[str, str]:
    """`domain: [-4, 0) and range: (-3, 1]` by name; empty for anything else."""
    found = list(_NAMED.finditer(text))
    if not found:
        return {}
    ends = [match.start() for match in found[1:]] + [len(text)]
    parts = {}
    for match, end in zip(found, ends, strict=True):
        value = re.sub(r"(?:\s|,|;|\.|\\\\|\band\b|\bthe\b)+$", "", text[match.end() : end])
        parts[match[1].lower()] = value.strip().removeprefix("\\(").removesuffix("\\)").strip()
    return parts
