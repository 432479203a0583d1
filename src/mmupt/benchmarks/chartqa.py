"""ChartQA (arXiv 2203.10244): 2,500 test questions about charts, half of them by people.

Files, three schemas: the hub's lmms-lab/ChartQA (``data/test-*.parquet``: type, question, answer,
image), HuggingFaceM4/ChartQA (image, query, label (list), human_or_machine (0 human, 1 machine)),
and the original (``test/test_human.json`` and ``test/test_augmented.json``: imgname, query, label,
with ``test/png/``).

Prompt: the question and "Answer the question using a single word or phrase.", as lmms-eval asks.

Rule: relaxed accuracy (section 5.1). A number is right within 5% of the reference,
|x - a| <= 0.05 |a|; anything else must be the same text, without regard to case, spaces and a
closing dot. Lists (``[Yes, No]``) element by element, in order.

What published scorers get wrong, and what ours does:

- years: 2008 for 2010 is within 5% (pix2struct issue 35). A four-digit year that the question asks
  for is exact here;
- ``1995.``, ``977,633``, ``$5``, ``1.4 billion`` for 1.4, ``27 percent`` for 27%: no floats there
  (VLMEvalKit issue 948, pull request 1602). Here they are the numbers they state, as written or in
  full;
- ``50%`` becomes 0.5 and differs from the reference 50; ``0.0`` differs from the reference 0, for
  which only text is compared. Here both are equal;
- VLMEvalKit takes 5% of the prediction instead of the reference (its issue 584): for 100, 95 is
  wrong and 105.2 right there. Here it is the other way round, as the paper says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from mmupt.benchmarks.files import DataFolder, Place, Raw, json_rows
from mmupt.benchmarks.reading import Number, number
from mmupt.benchmarks.rows import (
    NO_KEY,
    BenchmarkRow,
    Columns,
    PictureStore,
    Score,
    asked,
    groups,
    row_name,
)
from mmupt.consensus.canonical import canonical
from mmupt.consensus.extract import extract

SPLIT = "test"
BASES = ()

TOLERANCE = Fraction(1, 20)
"""Largest relative error of a number."""
PROMPT = "Answer the question using a single word or phrase."

_YEAR = re.compile(r"(?:1[0-9]|20)\d\d")
_ASKS_YEAR = re.compile(r"\b(?:years?|when|date|decade)\b", re.IGNORECASE)
_TYPES = {"human_test": "human", "augmented_test": "augmented", "0": "human", "1": "augmented"}
_QUOTES = "'\"“”‘’`*"
_COMMA = re.compile(r",(?!\d{3}(?!\d))")


def raw_rows(folder: DataFolder, split: str) -> Iterator[tuple[Place, Raw]]:
    """Rows of the hub's tables, or of the two files of the original."""
    for parent in (folder.root / split, folder.root, folder.root / "ChartQA Dataset" / split):
        files = [parent / f"{split}_{kind}.json" for kind in ("human", "augmented")]
        if any(path.is_file() for path in files):
            for path in filter(lambda p: p.is_file(), files):
                kind = path.stem.removeprefix(f"{split}_")
                png = parent.relative_to(folder.root) / "png"
                for place, raw in json_rows(folder.inside(path)):
                    yield place, {**raw, "type": kind, "image": f"{png}/{raw.get('imgname')}"}
            return
    yield from folder.rows(folder.tables(split))


def row(raw: Raw, place: str, pictures: PictureStore) -> BenchmarkRow:
    """One question, of any of the schemas."""
    columns = Columns(raw, place)
    question = columns.first("question", "query")
    kind = columns.first("type", "human_or_machine", default="")
    if isinstance(raw.get("label"), list):
        labels = columns.texts("label")
        answer = labels[0] if len(labels) == 1 else f"[{', '.join(labels)}]" if labels else ""
    else:
        answer = columns.first("answer", "label", default="")
    kind = _TYPES.get(kind, kind)
    return BenchmarkRow(
        asked(
            columns.first("id", default=row_name(place)),
            f"{question}\n{PROMPT}",
            columns.pictures(pictures, "image"),
            columns,
            {"type": kind},
        ),
        answer or None,
        (),
        {"question": question},
        groups(type=kind),
    )


def score(row: BenchmarkRow, reply: str) -> Score:
    """Relaxed accuracy."""
    if row.answer is None:
        return NO_KEY
    said = extract(reply, "text", row.sample.problem)
    if said is None or not _fold(said):
        return Score(False, None, "relaxed accuracy")
    if row.answer.startswith("[") and row.answer.endswith("]"):
        keys, parts = _elements(row.answer), _elements(said)
        right = len(keys) == len(parts) and all(
            _relaxed(key, part, row.fields["question"])[0]
            for key, part in zip(keys, parts, strict=True)
        )
        return Score(right, said, "list")
    right, rule = _relaxed(row.answer, said, row.fields["question"])
    if not right and number(row.answer) is not None:
        # The number of a sentence: `There are 14 bars in the chart`.
        found = extract(reply, "number", row.sample.problem)
        if found is not None and found != said:
            right, rule = _relaxed(row.answer, found, row.fields["question"])
            return Score(right, found, rule)
    return Score(right, said, rule)


def _relaxed(key: str, said: str, question: str) -> tuple[bool, str]:
    if _fold(key) == _fold(said):
        return True, "text"
    first, second = number(key), number(_fold(said))
    if first is None:
        return _yes_or_no(key, said), "text"
    if second is None:
        return False, "number"
    if _YEAR.fullmatch(key.strip()) and _ASKS_YEAR.search(question):
        return first.bare == second.bare, "year"
    return any(_within(a, b) for a, b in _pairs(first, second)), "number"


def _pairs(key: Number, said: Number) -> Iterator[tuple[Fraction, Fraction]]:
    """What is compared: as written, and in full, where one side leaves out unit or magnitude."""
    if key.unit and said.unit and key.unit != said.unit:
        return
    yield key.bare, said.bare
    yield key.value, said.value


def _within(key: Fraction, said: Fraction) -> bool:
    return abs(said - key) <= TOLERANCE * abs(key)


def _yes_or_no(key: str, said: str) -> bool:
    """`Yes, it is.` where yes is the reference."""
    if (wanted := canonical(key, "yesno")) is None:
        return False
    found = extract(said, "yesno")
    return found is not None and canonical(found, "yesno") == wanted


def _elements(text: str) -> list[str]:
    inner = text.strip().strip("[]")
    return [part for part in (_fold(part) for part in _COMMA.split(inner)) if part]


def _fold(text: str) -> str:
    """Case, spaces, quotes and the closing dot out."""
    plain = " ".join(text.casefold().split()).strip(_QUOTES)
    return plain.rstrip(".。").strip(_QUOTES).strip()
