"""easy-VQA: 9,599 test questions about one coloured shape on a 64x64 picture, 13 answers.

Files: the package's folder (github.com/vzhou842/easy-VQA: ``data/test/questions.json``, a list of
[question, answer, image id], with ``data/test/images/{id}.png``); `easy_vqa/data` or `data` or the
folder itself may be given.

Prompt: the question and the answers it may have: yes or no, the three shapes or the eight colours,
told from the question alone.

Rule: exact match with the reference, one of the 13 words, without regard to case and punctuation. A
sentence counts where it states one of the words its question may be answered with and denies none
(`It is a circle.`; `not a circle` is no answer). The repository has no scorer: its model is a
classifier over the 13 words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmupt.benchmarks.files import DataFolder, Place, Raw, json_lists
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
from mmupt.errors import InputError

SPLIT = "test"
BASES = ()

ANSWERS = {
    "yes/no": ("yes", "no"),
    "shape": ("circle", "rectangle", "triangle"),
    "color": ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow"),
}
"""Kind of question -> the words that answer it; 13 in all."""

_POLAR = re.compile(r"(?:is|are|does|do|did|was|can|has|have)\b", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:not|no|never|neither|nor)\b|n't\b", re.IGNORECASE)


def raw_rows(folder: DataFolder, split: str) -> Iterator[tuple[Place, Raw]]:
    """Question, answer and image of each element of the list."""
    for place in (folder.root, folder.root / "data", folder.root / "easy_vqa" / "data"):
        path = place / split / "questions.json"
        if path.is_file():
            images = (place / split / "images").relative_to(folder.root)
            for number, (origin, item) in enumerate(json_lists(folder.inside(path)), start=1):
                if not isinstance(item, list) or len(item) != 3:
                    raise InputError(f"{origin}: expected [question, answer, image id]")
                question, answer, image = item
                if isinstance(image, bool) or not isinstance(image, int):
                    raise InputError(f"{origin}: image id is {str(image)[:20]!r}, need an integer")
                yield (
                    origin,
                    {
                        "id": f"{split}-{number}",
                        "question": question,
                        "answer": answer,
                        "image": f"{images}/{image}.png",
                    },
                )
            return
    raise InputError(f"{folder.root} has no {split}/questions.json; give the folder that holds it")


def row(raw: Raw, place: str, pictures: PictureStore) -> BenchmarkRow:
    """One question."""
    columns = Columns(raw, place)
    question = columns.text("question")
    kind = kind_of(question)
    return BenchmarkRow(
        asked(
            columns.text("id"),
            f"{question}\nAnswer with one word: {', '.join(ANSWERS[kind])}.",
            columns.pictures(pictures, "image"),
            columns,
            {"kind": kind},
        ),
        columns.text("answer", "").lower() or None,
        (),
        {"kind": kind},
        groups(kind=kind),
    )


def kind_of(question: str) -> str:
    """Which of the three kinds a question is."""
    if _POLAR.match(question.strip()):
        return "yes/no"
    return "color" if re.search(r"colou?r", question, re.IGNORECASE) else "shape"


def score(row: BenchmarkRow, reply: str) -> Score:
    """Exact match of one of the 13 words."""
    if row.answer is None:
        return NO_KEY
    kind = row.fields["kind"]
    if kind == "yes/no":
        word = extract(reply, "yesno", row.sample.problem)
    else:
        word = _word(extract(reply, "text", row.sample.problem) or "", ANSWERS[kind])
    return Score(word == row.answer, word, "exact word")


def _word(text: str, words: tuple[str, ...]) -> str | None:
    """The one word of a list that a text states."""
    if _DENIED.search(text):
        return None
    found = {word for word in words if re.search(rf"\b{word}\b", text, re.IGNORECASE)}
    return found.pop() if len(found) == 1 else None
