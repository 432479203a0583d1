"""The rows of one data file as records, by its kind."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from mmupt.data.entries import MAX_ROW_BYTES, read_entries
from mmupt.data.images import printable
from mmupt.data.parquet import parquet_count, parquet_records
from mmupt.data.places import suffix_of
from mmupt.data.records import Record, Row
from mmupt.data.rows import decode
from mmupt.data.tars import tar_records
from mmupt.errors import InputError

_FILE_NAMES: Final = {
    "file_name": "image", "image_file_name": "image",
    "file_names": "images", "images_file_names": "images",
}  # fmt: skip
"""Columns of a folder of pictures, as `datasets` reads them, in our own names."""


def file_records(path: Path, *, metadata: bool = False) -> Iterator[Record]:
    """The rows of a file, lazily.

    Args:
        path: an existing file of a known kind.
        metadata: its columns name the pictures of its folder in ``file_name``.

    Raises:
        InputError: a file that cannot be read as a whole, or from some row on.
    """
    records = _READERS.get(suffix_of(path), _json_records)(path)
    if not metadata:
        return records
    return (Record(r.origin, r.default_id, partial(_renamed, r)) for r in records)


def count_records(path: Path) -> int | None:
    """About how many rows a file has, for progress; None where all of it had to be read.

    Blank lines count, as do rows that turn out to be broken.
    """
    ending = suffix_of(path)
    try:
        if ending == ".parquet":
            return parquet_count(path)
        if ending in (".jsonl", ".ndjson", ".csv"):
            with path.open("rb") as file:
                return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
    except (OSError, InputError):
        return None  # whoever reads it says why
    return None


def _json_records(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for entry in read_entries(file, path):
            yield Record(entry.origin, entry.default_id, partial(decode, entry.raw))


def _csv_records(path: Path) -> Iterator[Record]:
    """The lines of a table with a header; an empty field is nothing."""
    name, stem = printable(path), printable(path.stem)
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(_bounded(file, name), strict=True)
            header = next(reader, [])
            if len(set(header)) != len(header):
                raise InputError(f"{name}:1: a column is named twice; keep one")
            line = reader.line_num
            for number, fields in enumerate(reader, start=1):
                if fields:
                    yield Record(
                        f"{name}:{line + 1}", f"{stem}-{number}", partial(_row, header, fields)
                    )
                line = reader.line_num
    except UnicodeDecodeError as error:
        raise InputError(f"{name}:{line + 1}: not UTF-8; save the file as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{name}:{line + 1}: not CSV ({printable(error, 80)})") from error


def _bounded(file: TextIO, name: str) -> Iterator[str]:
    number = 0
    while text := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        if len(text) > MAX_ROW_BYTES:
            raise InputError(f"{name}:{number}: line is longer than {MAX_ROW_BYTES // 2**20} MiB")
        yield text


def _row(header: list[str], fields: list[str]) -> Row:
    if len(fields) != len(header):
        raise InputError(f"has {len(fields)} fields, the header has {len(header)}")
    return {name: value or None for name, value in zip(header, fields, strict=True)}


def _renamed(record: Record) -> Row:
    row = dict(record.row())
    for name, own in _FILE_NAMES.items():
        if row.get(name) is not None:
            if row.get(own) is not None:
                raise InputError(f'row has both "{name}" and "{own}"; keep one')
            row[own] = row[name]
        row.pop(name, None)
    return row


_READERS: Final[Mapping[str, Callable[[Path], Iterator[Record]]]] = {
    ".parquet": parquet_records,
    ".tar": tar_records,
    ".tar.gz": tar_records,
    ".tgz": tar_records,
    ".csv": _csv_records,
}
