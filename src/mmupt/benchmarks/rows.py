"""A row of a benchmark, its score, and the columns of a published row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from mmupt.data.images import printable
from mmupt.data.rows import MARK
from mmupt.errors import InputError
from mmupt.types import Sample

MAX_TEXT: Final = 200_000
"""Longest text of a column, in characters."""
MAX_CHOICES: Final = 26
"""Most options of a question: one a letter."""

LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Control characters and lone surrogates: no published question needs one, and tokenizers choke.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069]"
)


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """One question of a benchmark, with what its scoring rule needs.

    Attributes:
        sample: the prompt as it is asked, with its pictures.
        answer: the reference answer; None where the publisher keeps it back. Of a multiple-choice
            question it is the label of the right option.
        choices: texts of the options, in order from A on; empty if there are none or if they stand
            in the picture.
        fields: further columns that the rule needs (unit, precision, answer type), as text.
        groups: column -> values, for the rates by subset; a row may have several values.
    """

    sample: Sample
    answer: str | None
    choices: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """What a rule says of one reply.

    Attributes:
        right: True or False; None is unscored: no reference answer, or no reply came. A reply
            without an answer is wrong, with `extracted` None.
        extracted: the answer that was read out of the reply.
        rule: which part of the benchmark's rule decided.
    """

    right: bool | None
    extracted: str | None
    rule: str


NO_REPLY: Final = Score(None, None, "no reply")
NO_KEY: Final = Score(None, None, "no reference answer")


class PictureStore(Protocol):
    """Where a row's pictures become files."""

    def of(self, value: object, place: str) -> Path:
        """The file of an image column's value."""
        ...


class Columns:
    """The columns of one published row, checked as they are read.

    Args:
        raw: column -> value, as parquet or JSON gave it.
        place: where the row stands, for messages.
    """

    def __init__(self, raw: Mapping[str, object], place: str) -> None:
        self.raw = raw
        self.place = place

    def has(self, name: str) -> bool:
        """Whether there is a value that is not blank."""
        value = self.raw.get(name)
        return value is not None and not (isinstance(value, str) and not value.strip())

    def text(self, name: str, default: str | None = None) -> str:
        """A text or number, as text without hidden characters; `default` where there is none.

        Raises:
            InputError: missing without a default, of another type, or too long.
        """
        value = self.raw.get(name)
        if value is None:
            if default is None:
                raise self.wrong(name, "is missing", "text")
            return default
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.wrong(name, f"holds {type(value).__name__}", "text or a number")
        return clean(str(value), name, self.place)

    def first(self, *names: str, default: str | None = None) -> str:
        """The first of some columns that has a value."""
        name = next((name for name in names if self.has(name)), names[0])
        return self.text(name, default)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty where there is none.

        Raises:
            InputError: not a list of texts, or more than `MAX_CHOICES` of them.
        """
        value = self.raw.get(name)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or len(value) > MAX_CHOICES:
            raise self.wrong(name, "is no list of at most 26 texts", "a list of texts")
        return tuple(Columns({name: item}, self.place).text(name) for item in value)

    def struct(self, name: str) -> Columns:
        """The columns inside a column; none where it is missing."""
        value = self.raw.get(name)
        if value is None:
            return Columns({}, self.place)
        if not isinstance(value, Mapping):
            raise self.wrong(name, f"holds {type(value).__name__}", "an object")
        return Columns(value, self.place)

    def pictures(self, pictures: PictureStore, *names: str) -> tuple[Path, ...]:
        """The files of the first of some image columns that has a value; a list gives several."""
        name = next((name for name in names if self.has(name)), None)
        if name is None:
            return ()
        value = self.raw[name]
        values = value if isinstance(value, list | tuple) else [value]
        if len(values) > MAX_CHOICES:
            raise self.wrong(name, f"holds {len(values)} images", "at most 26")
        return tuple(pictures.of(one, f"{self.place}: {name}") for one in values)

    def wrong(self, name: str, found: str, expected: str) -> InputError:
        """The error of a column that cannot be used."""
        return InputError(f'{self.place}: column "{printable(name, 60)}" {found}; need {expected}')


def clean(text: str, name: str, place: str) -> str:
    """A text without hidden characters and outer space.

    Raises:
        InputError: longer than `MAX_TEXT`.
    """
    if len(text) > MAX_TEXT:
        raise InputError(f'{place}: column "{name}" has {len(text):,} characters; at most 200,000')
    return _HIDDEN.sub("", text).strip()


def asked(
    name: str, problem: str, images: tuple[Path, ...], columns: Columns, meta: Mapping[str, str]
) -> Sample:
    """The sample of a row: one mark an image, in front unless the problem has them already."""
    if problem.count(MARK) != len(images):
        problem = MARK * len(images) + problem.replace(MARK, "").strip()
    return Sample(name, problem, images, columns.place, {k: v for k, v in meta.items() if v})


def row_name(place: str) -> str:
    """An id from the place of a row that has none: file and row, as a split may be in shards."""
    path, _, line = place.replace(": row ", ":").rpartition(":")
    return f"{path.rpartition('/')[2]}-{line.split(' ')[0]}"


def groups(**values: str | Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Columns for subsets, without blank values."""
    return dict(_filled(values))


def _filled(
    values: Mapping[str, str | Iterable[str]],
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, value in values.items():
        several = (value,) if isinstance(value, str) else tuple(value)
        if kept := tuple(one for one in several if one):
            yield name, kept


def listed(choices: Iterable[str], form: str = "({label}) {text}") -> str:
    """Options one a line, labelled from A on."""
    return "\n".join(
        form.format(label=label, text=text) for label, text in zip(LETTERS, choices, strict=False)
    )
