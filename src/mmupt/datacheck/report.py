"""The findings of a check: as a table, as lines, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmupt.data.images import printable
from mmupt.datacheck.figures import Spread

if TYPE_CHECKING:
    from rich.table import Table

    from mmupt.datacheck.tokens import Tokens


@dataclass(slots=True)
class Broken:
    """Rows that cannot be used.

    Attributes:
        keep: how many are listed; 0: all.
        count: how many there are.
        listed: origin and reason of the first.
    """

    keep: int
    count: int = 0
    listed: list[tuple[str, str]] = field(default_factory=list)

    def add(self, origin: str, reason: str) -> None:
        self.count += 1
        if not self.keep or len(self.listed) < self.keep:
            self.listed.append((origin, reason))


def _lists(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them."""
    return [_lists(one) for one in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class Listed:
    """A count with some of what was counted."""

    count: int = 0
    examples: Any = ()

    def json(self) -> dict[str, Any]:
        return {"count": self.count, "examples": _lists(self.examples)}


@dataclass(frozen=True, slots=True)
class Near:
    """Pairs of distinct pictures within `distance` bits; `more`: counting ended at its limit."""

    count: int = 0
    examples: Any = ()
    more: bool = False
    distance: int = 0

    def json(self) -> dict[str, Any]:
        return {
            "count": self.count, "examples": [list(one) for one in self.examples],
            "at_least": self.more, "distance": self.distance,
        }  # fmt: skip


@dataclass(slots=True)
class Pictures:
    """Distinct pictures; `examples` are the first rows that show one of each note."""

    distinct: int = 0
    small: int = 0
    per_row: Counter[int] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    width: Spread = field(default_factory=Spread)
    height: Spread = field(default_factory=Spread)

    @property
    def shown(self) -> int:
        return sum(number * rows for number, rows in self.per_row.items())

    def json(self) -> dict[str, Any]:
        return {
            "shown": self.shown, "distinct": self.distinct, "below_28_pixels": self.small,
            "per_row": {str(k): v for k, v in sorted(self.per_row.items())},
            "formats": dict(self.formats.most_common()),
            "width": self.width.json(), "height": self.height.json(),
            "notes": {n: {"count": c, "examples": self.examples.get(n, [])}
                      for n, c in sorted(self.notes.items())},
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Leakage:
    """What of a test set is in the data: rows, files, pictures that look alike."""

    test: Findings
    questions: Listed
    pictures: Listed
    near: Listed


@dataclass(slots=True)
class Findings:
    """Everything about one data set.

    Attributes:
        path: as given.
        listing: broken rows that are listed; 0: all.
        schema: told from the rows; None: no row fits one.
        rows: all, `usable` of them.
        labelled: usable rows with an answer, `responses` of them with a whole response.
        contradictions: same pictures and question, different answers.
    """

    path: str
    listing: int = 100
    schema: str | None = None
    rows: int = 0
    usable: int = 0
    labelled: int = 0
    responses: int = 0
    paraphrased: int = 0
    broken: Broken = field(init=False)
    pictures: Pictures = field(default_factory=Pictures)
    characters: Spread = field(default_factory=Spread)
    kinds: Counter[str] = field(default_factory=Counter)
    options: Counter[int] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    columns: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    same_files: Listed = field(default_factory=Listed)
    same_questions: Listed = field(default_factory=Listed)
    contradictions: Listed = field(default_factory=Listed)
    near: Near = field(default_factory=Near)
    leakage: Leakage | None = None
    tokens: Tokens | None = None

    def __post_init__(self) -> None:
        self.broken = Broken(self.listing)

    @property
    def exit_code(self) -> int:
        """2 where rows are broken, in the data or in the test set; 0 otherwise."""
        broken = self.broken.count + (self.leakage.test.broken.count if self.leakage else 0)
        return 2 if broken else 0

    def json(self) -> dict[str, Any]:
        """All of it; keys are stable."""
        found: dict[str, Any] = {
            **self._own(),
            "duplicates": {
                "questions": self.same_questions.json(),
                "pictures": self.same_files.json(),
                "near_pictures": self.near.json(),
            },
            "contradictions": self.contradictions.json(),
            "tokens": None if self.tokens is None else self.tokens.json(),
            "test": None,
            "exit_code": self.exit_code,
        }
        if self.leakage is not None:
            found["test"] = {
                **self.leakage.test._own(),
                "leakage": {
                    "questions": self.leakage.questions.json(),
                    "pictures": self.leakage.pictures.json(),
                    "near_pictures": self.leakage.near.json(),
                },
            }
        return found

    def _own(self) -> dict[str, Any]:
        listed = [{"origin": origin, "reason": reason} for origin, reason in self.broken.listed]
        return {
            "path": self.path, "schema": self.schema, "rows": self.rows, "usable": self.usable,
            "broken": {"count": self.broken.count, "listed": listed},
            "labelled": self.labelled, "unlabelled": self.usable - self.labelled,
            "responses": self.responses, "paraphrased": self.paraphrased,
            "characters": self.characters.json(),
            "kinds": dict(self.kinds.most_common()),
            "options": {str(k): v for k, v in sorted(self.options.items())},
            "languages": dict(self.languages.most_common()),
            "columns": dict(self.columns.most_common()),
            "licences": dict(self.licences.most_common()),
            "images": self.pictures.json(),
        }  # fmt: skip

    def broken_lines(self) -> Iterator[str]:
        """One line per broken row, and how many more there are."""
        both = [self] if self.leakage is None else [self, self.leakage.test]
        for one in both:
            for origin, reason in one.broken.listed:
                yield reason if reason.startswith(origin) else f"{origin}: {reason}"
            more = one.broken.count - len(one.broken.listed)
            if more:
                yield f"{printable(one.path)}: {more:,} more broken rows (--listing 0 lists all)"

    def table(self) -> Table:
        """Figures for people."""
        from rich.table import Table

        table = Table(title=printable(self.path), title_justify="left", show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in self._lines():
            table.add_row(name, value)
        return table

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield from self._counts()
        pictures = self.pictures
        if pictures.distinct:
            sizes = f"{_spread(pictures.width)} wide, {_spread(pictures.height)} high"
            yield "images", f"{pictures.shown:,} shown, {pictures.distinct:,} distinct; {sizes}"
            yield "images a row", _counts(pictures.per_row, by_name=True)
            yield "formats", _counts(pictures.formats)
        if pictures.small:
            yield "very small", f"{pictures.small:,} with a side below 28 pixels"
        for note, words in _NOTES.items():
            if pictures.notes[note]:
                where = ", ".join(printable(o, 60) for o in pictures.examples[note][:2])
                yield words[0], f"{pictures.notes[note]:,} {words[1]} ({where})"
        if self.licences:
            yield "licences", _counts(self.licences)
        yield from self._repeats()
        if self.leakage is not None:
            yield from self._leaks(self.leakage)
        if self.tokens is not None:
            yield from _tokens(self.tokens)

    def _counts(self) -> Iterator[tuple[str, str]]:
        yield "rows", f"{self.rows:,}, {self.usable:,} usable, {self.broken.count:,} broken"
        yield "schema", self.schema or "none that is known"
        labels = f"{self.labelled:,} with an answer, {self.usable - self.labelled:,} without"
        yield "labels", f"{labels}; {self.responses:,} with a response"
        yield "questions", _counts(self.kinds) or "none"
        if self.options:
            yield "options", _counts(self.options, by_name=True)
        yield "writing", _counts(self.languages) or "none"
        yield "characters", _spread(self.characters)
        if self.paraphrased:
            yield "paraphrased", f"{self.paraphrased:,}"
        if self.columns:
            yield "columns", _counts(self.columns)

    def _repeats(self) -> Iterator[tuple[str, str]]:
        yield "same question", f"{self.same_questions.count:,} rows repeat pictures and question"
        if self.same_questions.count:
            yield "", _groups(self.same_questions.examples)
        if self.pictures.distinct:
            yield "same picture", f"{self.same_files.count:,} files repeat another byte for byte"
            if self.same_files.count:
                yield "", _groups(self.same_files.examples)
            least = "at least " if self.near.more else ""
            yield (
                "alike",
                f"{least}{self.near.count:,} pairs within {self.near.distance} of 64 bits",
            )
            if self.near.count:
                yield "", _groups(self.near.examples)
        yield "contradictions", f"{self.contradictions.count:,} questions with different answers"
        for group in self.contradictions.examples[:3]:
            yield "", "; ".join(f"{printable(o, 60)} says {answer}" for o, answer in group)

    def _leaks(self, leakage: Leakage) -> Iterator[tuple[str, str]]:
        test = leakage.test
        yield (
            "test set",
            (
                f"{printable(test.path)}: {test.rows:,} rows, {test.usable:,} usable, "
                f"{test.broken.count:,} broken"
            ),
        )
        yield (
            "in the data too",
            (
                f"{leakage.questions.count:,} test rows, {leakage.pictures.count:,} test pictures; "
                f"{leakage.near.count:,} more look like one of the data"
            ),
        )
        for listed in (leakage.questions, leakage.pictures, leakage.near):
            if listed.count:
                yield "", _groups(listed.examples)


_NOTES = {
    "gps": ("GPS", "pictures say where they were taken: remove it before they leave the site"),
    "serial": ("serial numbers", "pictures name a camera or lens by its serial number"),
    "owner": ("owners", "pictures name a person or an artist"),
    "copyright": ("copyright", "pictures carry a copyright notice"),
    "time": ("time", "pictures say when they were taken"),
    "rotated": ("rotated", "pictures are turned by their EXIF orientation; readers turn them"),
    "flat": ("blank", "pictures show one shade only"),
}


def _tokens(tokens: Tokens) -> Iterator[tuple[str, str]]:
    yield "tokens", f"{_spread(tokens.prompt)} a prompt, of {tokens.rows:,} rows"
    if tokens.image.count:
        yield "image tokens", f"{_spread(tokens.image)} a row with pictures"
    if tokens.limit is not None:
        yield "too long", f"{tokens.too_long:,} prompts exceed {tokens.limit:,} positions"
    if tokens.refused:
        origin, reason = tokens.refused[0]
        count = f"{len(tokens.refused):,} rows by the processor"
        yield "refused", f"{count}: {printable(origin, 60)}: {printable(reason, 120)}"


def _spread(spread: Spread) -> str:
    if not spread.count:
        return "none"
    return f"{spread.least:,} to {spread.most:,}, middle {spread.median:,}"


def _counts(counts: Counter[Any], *, by_name: bool = False, most: int = 12) -> str:
    items = sorted(counts.items()) if by_name else counts.most_common()
    shown = ", ".join(f"{printable(name, 60)} {count:,}" for name, count in items[:most])
    return shown if len(items) <= most else f"{shown}, and {len(items) - most} more"


def _groups(groups: Any, most: int = 3) -> str:
    return "; ".join(" = ".join(printable(o, 80) for o in group) for group in groups[:most])
