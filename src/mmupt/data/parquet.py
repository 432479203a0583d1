"""The rows of parquet files, a few at a time, with columns as JSON would have them."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

from mmupt.data.entries import MAX_ROW_BYTES
from mmupt.data.images import printable
from mmupt.data.records import Record, Row
from mmupt.data.rows import Number
from mmupt.errors import InputError

_BUFFER: Final = 2**20
"""Bytes of a file that are read at a time."""
_BATCH_BYTES: Final = 2**25
"""About as many bytes are decoded at a time."""
_MAX_BATCH: Final = 1024
_BOMB_BYTES: Final = 2**28
_BOMB_RATIO: Final = 500
"""A column chunk that is larger than this, and grows by more than this, is a bomb."""
_DEPTH: Final = 12
"""Lists and objects inside each other; the schemas need six."""


def parquet_records(path: Path) -> Iterator[Record]:
    """The rows of a parquet file, streamed within its row groups.

    Raises:
        InputError: the file cannot be read as a whole, or from some row on.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, stem = printable(path), printable(path.stem)
    number = 0
    try:
        # Without the first two the file's bytes stay in memory until its last row; the others
        # bound what a hostile footer can ask for.
        with pq.ParquetFile(
            path, pre_buffer=False, buffer_size=_BUFFER,
            thrift_string_size_limit=2**26, thrift_container_size_limit=2**22,
        ) as file:  # fmt: skip
            _refuse_repeated(file.schema_arrow.names)
            for group in range(file.metadata.num_row_groups):
                batches = file.iter_batches(
                    batch_size=_batch_size(file.metadata.row_group(group)),
                    row_groups=[group],
                    use_threads=False,
                )
                for batch in batches:
                    for row in _rows(batch):
                        number += 1
                        yield Record(f"{name}: row {number}", f"{stem}-{number}", row)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        after = f" after row {number}" if number else ""
        raise InputError(
            f"{name} cannot be read as parquet{after} ({printable(error, 120)}); download or write "
            "it again"
        ) from error


def parquet_count(path: Path) -> int:
    """Rows of a file, as its footer says.

    Raises:
        InputError: no parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, thrift_string_size_limit=2**26) as file:
            return int(file.metadata.num_rows)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{printable(path)} cannot be read as parquet") from error


def _refuse_repeated(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f'column "{printable(name, 60)}" appears twice; keep one')


def _batch_size(group: Any) -> int:
    """Rows that are decoded at a time.

    Raises:
        InputError: the footer says that a column grows beyond reason when it is decompressed.
    """
    total = 0
    for number in range(group.num_columns):
        chunk = group.column(number)
        whole, packed = chunk.total_uncompressed_size, max(chunk.total_compressed_size, 1)
        if whole > _BOMB_BYTES and whole / packed > _BOMB_RATIO:
            raise InputError(
                f'column "{printable(chunk.path_in_schema, 60)}" grows from {packed:,} to '
                f"{whole:,} bytes: a decompression bomb?"
            )
        total += whole
    mean = total / max(group.num_rows, 1)
    return int(min(max(_BATCH_BYTES / max(mean, 1), 1), _MAX_BATCH))


def _rows(batch: Any) -> Iterator[Callable[[], Row]]:
    """What decodes each row of a batch."""
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):  # text that is no UTF-8, dates beyond Python's
        for number in range(batch.num_rows):
            yield partial(_alone, batch.slice(number, 1))
        return
    for row in rows:
        yield partial(plain_row, row)


def _alone(batch: Any) -> Row:
    try:
        return plain_row(batch.to_pylist()[0])
    except (ValueError, OverflowError) as error:
        raise InputError(f"a column cannot be read ({printable(error, 120)})") from error


def plain_row(row: Mapping[str, object]) -> Row:
    """A row of Python values as JSON would have been decoded: numbers as `Number`, dates as text.

    NaN is what data frames write where there is nothing: it becomes None, and so does an object
    all of whose members are None.

    Raises:
        InputError: text longer than a row may be, infinity, values nested too deeply.
    """
    return {name: _plain(value, name, _DEPTH) for name, value in row.items()}


def _plain(value: object, name: str, depth: int) -> object:
    if value is None or isinstance(value, bool | bytes):
        return value
    if isinstance(value, str):
        if len(value) > MAX_ROW_BYTES:
            raise InputError(f'"{printable(name, 60)}" has {len(value):,} characters')
        return value
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise InputError(f'"{printable(name, 60)}" is infinite')
    if isinstance(value, float | int | Decimal):
        return Number(value)
    if depth == 0:
        raise InputError(f'"{printable(name, 60)}" is nested too deeply')
    if isinstance(value, list):
        return [_plain(part, name, depth - 1) for part in value]
    if isinstance(value, Mapping):
        inner = {str(key): _plain(part, name, depth - 1) for key, part in value.items()}
        return inner if any(part is not None for part in inner.values()) else None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return [str(type(value).__name__)]  # neither text nor a picture: never a column of ours
