"""Rows of images and questions from users' files: the only way in for their data.

A data set is a file (``.jsonl``: one object a line; ``.json``: a list of objects; ``.parquet``; a
``.tar`` shard), several of them, a folder, or a data set of the hub (`mmupt.data.places`). Its rows
are in our own columns:

    {"images": ["a.png", ...],      or "image": "a.png"; none at all for a text-only question
     "problem": "...<image>...",    one <image> mark per image, in order; without any mark,
                                    the marks are put in front
     "answer": "14",                text or a number, kept as written; labelled data only
     "response": "...",             optional: the whole response to imitate in SFT
     "paraphrases": ["...", ...],   optional: other wordings of the problem, with as many marks
                                    as the problem or none; views may ask them (views.paraphrase)
     "id": "a-1"}                   text or integer; default "<file stem>-<line number>",
                                    in .json "<file stem>-<number of the row in the list>"

or in those of EasyR1, verl, TRL, LLaVA, LLaMA-Factory or OpenAI (`mmupt.data.schemas`), which is
told from the first row that fits one of them.

An image is a path, a ``data:`` address or, in parquet and tar, its bytes; what is inside a row is
written to a folder beside the data (`mmupt.data.pictures`), so that `Sample.images` are paths.

Every other column that is text, a number, true or false goes into `Sample.meta` as text; lists,
objects and nulls are left out, and so are columns named like an answer (`is_answer_column`),
whatever they hold. All readers make the same `Sample` of a row.

Files are untrusted: strict UTF-8 and JSON, bounded rows, image paths held inside one folder after
symlinks are resolved, no address is ever fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mmupt.data import schemas
from mmupt.data.files import count_records, file_records
from mmupt.data.images import ImageFolder, printable
from mmupt.data.pictures import FOLDER_NAME, Pictures, PictureStore, RowPictures
from mmupt.data.places import find
from mmupt.data.records import Record, Row
from mmupt.data.rows import has_answer, labelled, sample_of
from mmupt.data.schemas import Schema
from mmupt.errors import ConfigError, InputError
from mmupt.types import LabelledSample, Sample

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that `skip_bad` left out.

    Attributes:
        origin: ``file:line`` of the row.
        reason: what is wrong with it, in one line.
    """

    origin: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset(Generic[T]):
    """The usable rows of one file, in its order.

    Attributes:
        rows: at least one row.
        left_out: the rows that could not be used; empty without `skip_bad`.
        path: the file, as it was given.
        sha256: hex digest of the file's bytes (all of them, also with a limit; not the images');
            of several files the digest of their names and digests.
    """

    rows: tuple[T, ...]
    left_out: tuple[LeftOut, ...]
    path: Path
    sha256: str

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)


class Rows:
    """The rows of a data set one after the other; none is kept.

    Args:
        path: what `mmupt.data.places.find` finds.
        data_root: folder of the images; default: the folder of the data.
        schema: name of the schema; None: told from the first row that fits one.
        work_dir: folder for pictures from inside rows; default: ``.mmupt-pictures`` in the root.
        check_images: open the header of every image (those from inside rows always are).
        pictures: what makes files of pictures, instead of all that.

    Raises:
        InputError: nothing is there, or it is no data set.
        ConfigError: no schema of that name.
    """

    def __init__(
        self,
        path: Path,
        *,
        data_root: Path | None = None,
        schema: str | None = None,
        work_dir: Path | None = None,
        check_images: bool = True,
        pictures: Pictures | None = None,
    ) -> None:
        self.path = path
        self.schema: Schema | None = None if schema is None else schemas.schema(schema)
        self._place = find(path)
        self.root = self._place.root if data_root is None else data_root
        self.store = PictureStore(work_dir or self.root / FOLDER_NAME)
        if pictures is None:
            folder = ImageFolder(self.root, check_images, self._place.also)
            pictures = RowPictures(folder, self.store)
        self._pictures = pictures

    @property
    def files(self) -> Sequence[Path]:
        """The files that the rows are in."""
        return self._place.files

    def total(self) -> int | None:
        """How many rows there are, told without decoding them; None where that is not cheap."""
        counts = [count_records(file) for file in self._place.files]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def __iter__(self) -> Iterator[Record]:
        """Records in order.

        Raises:
            InputError: a file that cannot be read, as a whole or from some row on.
        """
        for file in self._place.files:
            try:
                yield from file_records(file, metadata=self._place.metadata)
            except OSError as error:
                raise _unreadable(file, error) from error

    def question(self, record: Record) -> tuple[Sample, Row]:
        """The question of a record, and the row for `label`.

        Raises:
            InputError: without the origin.
        """
        row = record.row()
        if self.schema is None:
            self.schema = schemas.detect(row)
        own = row if self.schema is None else self.schema.question(row)
        return sample_of(own, record, self._pictures), row

    def label(self, sample: Sample, row: Row) -> LabelledSample:
        """The question with its answer.

        Raises:
            InputError: no answer, or one that cannot be used.
        """
        return labelled(sample, self._label(row))

    def has_answer(self, row: Row) -> bool:
        """Whether a row has something where its answer should be, usable or not."""
        return has_answer(self._label(row))

    def sha256(self) -> str:
        """Hex digest of the data, see `Dataset.sha256`."""
        return _sha256(self._place.files)

    def _label(self, row: Row) -> Row:
        return row if self.schema is None else self.schema.label(row)


def read_samples(
    path: Path,
    *,
    data_root: Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    check_images: bool = True,
    schema: str | None = None,
    work_dir: Path | None = None,
) -> Dataset[Sample]:
    """Read questions without their answers, for label-free training and voting.

    Columns named like an answer are dropped while reading, not even checked; of conversations the
    assistant's turns are.

    Args:
        path: a file, a pattern, a folder or ``hf:ORG/NAME`` (`mmupt.data.places`).
        data_root: folder of the images; default: the folder of `path`. Paths in the rows are
            relative to it and may not leave it.
        limit: read at most this many usable rows and look at no more.
        skip_bad: leave unusable rows out and list them, instead of stopping at the first.
        check_images: open the header of every image (existence, format, size in pixels).
        schema: name of the rows' schema; None: told from the rows.
        work_dir: folder for pictures from inside rows; default: ``.mmupt-pictures`` beside them.

    Returns:
        At least one row; ids are unique.

    Raises:
        InputError: a file that cannot be read as a whole, the first bad row (without `skip_bad`),
            or no usable row at all.
        ConfigError: a `limit` below 1, or no schema of that name.
    """
    rows = _rows(path, limit, data_root, schema, work_dir, check_images)
    return _read(rows, limit, skip_bad, lambda sample, _: sample)


def read_labelled(
    path: Path,
    *,
    data_root: Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    check_images: bool = True,
    schema: str | None = None,
    work_dir: Path | None = None,
) -> Dataset[LabelledSample]:
    """Read questions with their answers, for SFT, evaluation and audits.

    Takes the arguments of `read_samples`; `LabelledSample.sample` is what that returns.

    Raises:
        InputError: as `read_samples`; also a row without an answer.
        ConfigError: a `limit` below 1, or no schema of that name.
    """
    rows = _rows(path, limit, data_root, schema, work_dir, check_images)
    return _read(rows, limit, skip_bad, rows.label)


def read_mixed(
    path: Path,
    *,
    data_root: Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    check_images: bool = True,
    schema: str | None = None,
    work_dir: Path | None = None,
) -> Dataset[Sample | LabelledSample]:
    """Read rows of which some, all or none have answers, for reports and audits.

    Takes the arguments of `read_samples`. A row without an answer is a `Sample`.

    Raises:
        InputError: as `read_samples`; also a row whose answer is there and cannot be used.
        ConfigError: a `limit` below 1, or no schema of that name.
    """
    rows = _rows(path, limit, data_root, schema, work_dir, check_images)

    def finish(sample: Sample, row: Row) -> Sample | LabelledSample:
        return rows.label(sample, row) if rows.has_answer(row) else sample

    return _read(rows, limit, skip_bad, finish)


def data_sha256(path: Path) -> str:
    """Hex digest of a data set, as in `Dataset.sha256`.

    Raises:
        InputError: nothing is there, or it cannot be read.
    """
    return _sha256(find(path).files)


def _rows(
    path: Path,
    limit: int | None,
    data_root: Path | None,
    schema: str | None,
    work_dir: Path | None,
    check_images: bool,
) -> Rows:
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}, expected at least 1 row or none for all rows")
    return Rows(
        path, data_root=data_root, schema=schema, work_dir=work_dir, check_images=check_images
    )


def _read(
    source: Rows, limit: int | None, skip_bad: bool, finish: Callable[[Sample, Row], T]
) -> Dataset[T]:
    """Up to `limit` usable rows; the bad ones before them, or an error at the first.

    `finish` makes what is wanted of a question and the row it is from.
    """
    rows: list[T] = []
    left_out: list[LeftOut] = []
    origins: dict[str, str] = {}  # of the ids used so far
    sha256 = source.sha256()
    for record in source:
        try:
            sample, row = source.question(record)
            finished = finish(sample, row)
            _check_new(sample.id, origins)
        except InputError as error:
            if not skip_bad:
                raise InputError(
                    f"{record.origin}: {error}; fix the row or pass --skip-bad"
                ) from error
            left_out.append(LeftOut(record.origin, str(error)))
            continue
        origins[sample.id] = record.origin
        rows.append(finished)
        if len(rows) == limit:
            break
    if not rows:
        raise InputError(f"{printable(source.path)}: {why_empty(left_out)}")
    return Dataset(tuple(rows), tuple(left_out), source.path, sha256)


def _sha256(files: Sequence[Path]) -> str:
    digests = []
    for file in files:
        try:
            with file.open("rb") as opened:
                digests.append(hashlib.file_digest(opened, "sha256").hexdigest())
        except OSError as error:
            raise _unreadable(file, error) from error
    if len(digests) == 1:
        return digests[0]
    lines = [f"{file.name}\0{digest}\n" for file, digest in zip(files, digests, strict=True)]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _unreadable(file: Path, error: OSError) -> InputError:
    return InputError(f"{printable(file)} cannot be read ({error.strerror or error})")


def _check_new(sample_id: str, origins: Mapping[str, str]) -> None:
    if sample_id in origins:
        raise InputError(
            f'id "{printable(sample_id, 60)}" is already used at {origins[sample_id]}; '
            "every row needs its own id"
        )


def why_empty(left_out: Sequence[LeftOut]) -> str:
    """What to say of a data set that no row is left of."""
    if not left_out:
        return "holds no rows, expected at least one JSON object"
    first = left_out[0]
    return (
        f"no usable row, all {len(left_out)} were left out; "
        f"the first: {first.origin}: {first.reason}"
    )
