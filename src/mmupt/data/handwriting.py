"""The embedded task: questions about real handwriting.

A panel is a 48x48 picture of four handwritten digits in a 2x2 grid with a question about them.
The digits are the 1,797 scans that scikit-learn ships (UCI optdigits, CC BY 4.0), 8x8 pixels with
17 grey levels. The scans lie in the order of their writers: the last third, other hands than the
first two, is the test. Of the rest every fourth scan may be labelled, as when a company labels a
sample of what it has. No scan is in two splits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmupt.data.jsonl import write_jsonl

CELL = 24
"""Side of one digit in pixels; a panel is two cells wide and two high."""

SPLITS: dict[str, tuple[int, ...]] = {
    "labelled": tuple(range(0, 1200, 4)),
    "unlabelled": tuple(i for i in range(1200) if i % 4),
    "test": tuple(range(1200, 1797)),
}
"""Which scans each split draws its digits from."""

Grey = npt.NDArray[np.uint8]
Digits = tuple[int, int, int, int]

_PLACES = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True, slots=True)
class Question:
    """A kind of question: how it is asked and what answers it, given the four digits."""

    kind: str
    text: str
    answer: Callable[[Digits], int]


QUESTIONS: tuple[Question, ...] = (
    Question("sum", "What is the sum of the four digits?", lambda d: sum(d)),
    Question("largest", "Which digit is the largest?", lambda d: max(d)),
    Question("smallest", "Which digit is the smallest?", lambda d: min(d)),
    Question("above-five", "How many digits are above five?", lambda d: sum(x > 5 for x in d)),
    *(
        Question("place", f"Which digit is at the {place}?", lambda d, i=i: d[i])  # type: ignore[misc]
        for i, place in enumerate(_PLACES)
    ),
)

_KIND_WEIGHTS = {"sum": 0.4, "largest": 0.15, "smallest": 0.15, "above-five": 0.15, "place": 0.15}


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with its question and truth.

    Attributes:
        image: 48x48 grey levels, dark ink on white.
        digits: top left, top right, bottom left, bottom right.
        scans: index of each digit's scan, -1 for a drawn one.
        question: what is asked.
    """

    image: Grey
    digits: Digits
    scans: tuple[int, int, int, int]
    question: Question

    @property
    def answer(self) -> str:
        return str(self.question.answer(self.digits))

    @property
    def response(self) -> str:
        """What a model is shown in SFT: first the reading, then the answer."""
        return f"{' '.join(map(str, self.digits))} \\boxed{{{self.answer}}}"


@cache
def scans() -> tuple[Grey, npt.NDArray[np.int64]]:
    """Pictures (1797, 24, 24) as dark ink on white, and their digits (1797,)."""
    from sklearn.datasets import load_digits  # heavy, and only needed here

    bunch = load_digits()
    return np.stack([enlarge(ink / 16.0) for ink in bunch.images]), bunch.target.astype(np.int64)


def enlarge(ink: npt.NDArray[np.float64]) -> Grey:
    """8x8 ink in [0, 1] to a 24x24 cell, dark on white, by bicubic interpolation."""
    small = Image.fromarray(np.round((1.0 - ink) * 255.0).astype(np.uint8))
    return np.asarray(small.resize((CELL, CELL), Image.Resampling.BICUBIC))


def assemble(cells: Grey) -> Grey:
    """Four cells (4, 24, 24), in reading order, to one panel (48, 48)."""
    return cells.reshape(2, 2, CELL, CELL).swapaxes(1, 2).reshape(2 * CELL, 2 * CELL)


def draw_question(rng: np.random.Generator) -> Question:
    kinds = list(_KIND_WEIGHTS)
    kind = kinds[rng.choice(len(kinds), p=list(_KIND_WEIGHTS.values()))]
    of_kind = [q for q in QUESTIONS if q.kind == kind]
    return of_kind[rng.integers(len(of_kind))]


def panels(split: str, count: int, seed: int) -> list[Panel]:
    """`count` panels whose digits come from the scans of `split`; the same for the same seed."""
    images, digits = scans()
    rng = np.random.default_rng([seed, list(SPLITS).index(split)])
    pool = np.asarray(SPLITS[split])
    drawn = []
    for _ in range(count):
        chosen = rng.choice(pool, size=4, replace=False)
        a, b, c, d = (int(digits[i]) for i in chosen)
        w, x, y, z = (int(i) for i in chosen)
        drawn.append(
            Panel(assemble(images[chosen]), (a, b, c, d), (w, x, y, z), draw_question(rng))
        )
    return drawn


def write_pictures(folder: Path, prefix: str, drawn: Sequence[Panel]) -> None:
    """Save panels as ``folder/images/{prefix}-00000.png`` and on."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for index, panel in enumerate(drawn):
        Image.fromarray(panel.image).save(folder / _picture(prefix, index))


def write_rows(path: Path, prefix: str, drawn: Sequence[Panel], *, answers: bool) -> None:
    """Write one row a panel; without `answers` the file holds none, so there is nothing to leak."""
    rows: list[dict[str, object]] = []
    for index, panel in enumerate(drawn):
        row: dict[str, object] = {
            "id": f"{prefix}-{index:05d}",
            "images": [_picture(prefix, index)],
            "problem": f"<image>{panel.question.text}",
            "kind": panel.question.kind,
        }
        if answers:
            row |= {"answer": panel.answer, "response": panel.response}
        rows.append(row)
    write_jsonl(path, rows)


def _picture(prefix: str, index: int) -> str:
    return f"images/{prefix}-{index:05d}.png"
