"""Writing JSONL files whole."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from mmupt.data.images import printable
from mmupt.errors import InputError


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Write one JSON object a line, in UTF-8; the file appears complete or not at all.

    The rows go to a temporary file beside `path`, which then replaces it. Whatever fails on the
    way, also `rows` itself, leaves an older file as it was.

    Args:
        path: the file to write; its folder must exist.
        rows: objects of JSON values; NaN and infinity are refused, as JSON has none.

    Returns:
        Number of rows written.

    Raises:
        InputError: a row that is not JSON, or a place that cannot be written.
    """
    temporary = path.with_name(f".mmupt-{secrets.token_hex(8)}.tmp")
    count = 0
    try:
        with temporary.open("xb") as file:
            for count, row in enumerate(rows, start=1):
                file.write(_encoded(row, f"{printable(path)}: row {count}"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(
            f"{printable(path)} cannot be written ({error.strerror}); "
            "check that its folder exists and may be written to"
        ) from error
    finally:
        with suppress(OSError):  # gone already, or its folder never was
            temporary.unlink()
    return count


def _encoded(row: Mapping[str, object], name: str) -> bytes:
    try:
        return (json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{name} cannot be written as JSON: {printable(error, 120)}") from error


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
