"""Rows of images and questions from JSONL or JSON files: the only way in for users' data.

A file holds one JSON object a row (``.jsonl``: one a line; ``.json``: a list of objects):

    {"images": ["a.png", ...],      or "image": "a.png"; none at all for a text-only question
     "problem": "...<image>...",    one <image> mark per image, in order; without any mark,
                                    the marks are put in front
     "answer": "14",                text or a number, kept as written; labelled data only
     "response": "...",             optional: the whole response to imitate in SFT
     "paraphrases": ["...", ...],   optional: other wordings of the problem, with as many marks
                                    as the problem or none; views may ask them (views.paraphrase)
     "id": "a-1"}                   text or integer; default "<file stem>-<line number>",
                                    in .json "<file stem>-<number of the row in the list>"

Every other column that is text, a number, true or false goes into `Sample.meta` as text; lists,
objects and nulls are left out, and so are columns named like an answer (`is_answer_column`),
whatever they hold. Both readers make the same `Sample` of a row.

Files are untrusted: strict UTF-8 and JSON, bounded rows, image paths held inside one folder after
symlinks are resolved, no address is ever fetched.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mmupt.data.entries import read_entries
from mmupt.data.images import ImageFolder, printable
from mmupt.data.rows import decode, labelled, sample_of
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
        sha256: hex digest of the file's bytes (all of them, also with a limit; not the images').
    """

    rows: tuple[T, ...]
    left_out: tuple[LeftOut, ...]
    path: Path
    sha256: str

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)


def read_samples(
    path: Path,
    *,
    data_root: Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    check_images: bool = True,
) -> Dataset[Sample]:
    """Read questions without their answers, for label-free training and voting.

    Columns named like an answer are dropped while reading, not even checked.

    Args:
        path: a ``.jsonl``, ``.ndjson`` or ``.json`` file.
        data_root: folder of the images; default: the folder of `path`. Paths in the rows are
            relative to it and may not leave it.
        limit: read at most this many usable rows and look at no more.
        skip_bad: leave unusable rows out and list them, instead of stopping at the first.
        check_images: open the header of every image (existence, format, size in pixels).

    Returns:
        At least one row; ids are unique.

    Raises:
        InputError: a file that cannot be read as a whole, the first bad row (without `skip_bad`),
            or no usable row at all.
        ConfigError: a `limit` below 1.
    """
    return _read(path, data_root, limit, skip_bad, check_images, lambda sample, _: sample)


def read_labelled(
    path: Path,
    *,
    data_root: Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    check_images: bool = True,
) -> Dataset[LabelledSample]:
    """Read questions with their answers, for SFT, evaluation and audits.

    Takes the arguments of `read_samples`; `LabelledSample.sample` is what that returns.

    Raises:
        InputError: as `read_samples`; also a row without an answer.
        ConfigError: a `limit` below 1.
    """
    return _read(path, data_root, limit, skip_bad, check_images, labelled)


def _read(
    path: Path,
    data_root: Path | None,
    limit: int | None,
    skip_bad: bool,
    check_images: bool,
    finish: Callable[[Sample, Mapping[str, object]], T],
) -> Dataset[T]:
    """Up to `limit` usable rows; the bad ones before them, or an error at the first.

    `finish` makes what is wanted of a question and the row it is from.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}, expected at least 1 row or none for all rows")
    _check_file(path)
    images = ImageFolder(path.parent if data_root is None else data_root, check_images)
    rows: list[T] = []
    left_out: list[LeftOut] = []
    origins: dict[str, str] = {}  # of the ids used so far
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            for entry in read_entries(file, path):
                try:
                    row = decode(entry.raw)
                    sample = sample_of(row, entry, images)
                    finished = finish(sample, row)
                    _check_new(sample.id, origins)
                except InputError as error:
                    if not skip_bad:
                        raise InputError(
                            f"{entry.origin}: {error}; fix the row or pass --skip-bad"
                        ) from error
                    left_out.append(LeftOut(entry.origin, str(error)))
                    continue
                origins[sample.id] = entry.origin
                rows.append(finished)
                if len(rows) == limit:
                    break
    except OSError as error:
        raise InputError(f"{printable(path)} cannot be read ({error.strerror})") from error
    if not rows:
        raise InputError(f"{printable(path)}: {_why_empty(left_out)}")
    return Dataset(tuple(rows), tuple(left_out), path, sha256)


def _check_file(path: Path) -> None:
    name = printable(path)
    if path.suffix.lower() not in (".jsonl", ".ndjson", ".json"):
        raise InputError(
            f"{name}: unknown kind of file {path.suffix!r}, expected .jsonl (one object a line) "
            "or .json (a list of objects)"
        )
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read ({printable(error, 120)})") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise InputError(f"{name} is {kind}, expected a .jsonl or .json file")


def _check_new(sample_id: str, origins: Mapping[str, str]) -> None:
    if sample_id in origins:
        raise InputError(
            f'id "{printable(sample_id, 60)}" is already used at {origins[sample_id]}; '
            "every row needs its own id"
        )


def _why_empty(left_out: list[LeftOut]) -> str:
    if not left_out:
        return "holds no rows, expected at least one JSON object"
    first = left_out[0]
    return (
        f"no usable row, all {len(left_out)} were left out; "
        f"the first: {first.origin}: {first.reason}"
    )
