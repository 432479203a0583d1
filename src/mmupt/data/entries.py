"""The rows of a data file before they are decoded: lines of .jsonl, elements of a .json list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from mmupt.data.images import printable
from mmupt.errors import InputError

MAX_ROW_BYTES: Final = 16 * 2**20
"""Longest row that is read, in bytes."""

MAX_LIST_BYTES: Final = 512 * 2**20
"""Longest ``.json`` file, which is held in memory as a whole; ``.jsonl`` files have no limit."""

_SPACE: Final = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row before it is decoded.

    Attributes:
        origin: ``file:line`` where it starts; in a list also its number.
        default_id: id of the row if it names none.
        raw: its bytes; more than `MAX_ROW_BYTES` of them mean a row that is too long.
    """

    origin: str
    default_id: str
    raw: bytes


def read_entries(file: BinaryIO, path: Path) -> Iterator[Entry]:
    """The rows of a file, lazily.

    Args:
        file: the opened file, at its start.
        path: its path: ``.json`` is read as one list, anything else as one row a line.

    Raises:
        InputError: a byte order mark, UTF-16; of a list also: too long, not UTF-8, not a list.
    """
    name = printable(path)
    start = file.read(3)
    file.seek(0)
    if start == b"\xef\xbb\xbf":
        raise InputError(
            f"{name}:1: starts with a byte order mark (BOM); save as UTF-8 without BOM"
        )
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{name}:1: is UTF-16; save the file as UTF-8")
    read = _list_entries if path.suffix.lower() == ".json" else _line_entries
    return read(file, name, printable(path.stem))


def not_utf8(error: UnicodeDecodeError) -> str:
    """What is wrong with bytes that are not UTF-8, for messages."""
    byte = error.object[error.start]
    return f"not UTF-8 (byte 0x{byte:02x} at position {error.start + 1}); save the file as UTF-8"


def not_json(error: json.JSONDecodeError) -> str:
    """What is wrong with text that is not JSON, for messages."""
    return f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}"


def _line_entries(file: BinaryIO, name: str, stem: str) -> Iterator[Entry]:
    """The lines that are not blank; of one that is too long no more than shows that it is."""
    number = 0
    while raw := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        part = raw
        while part and not part.endswith(b"\n"):
            part = file.readline(2**20)
        if raw.strip():
            yield Entry(f"{name}:{number}", f"{stem}-{number}", raw)


def _list_entries(file: BinaryIO, name: str, stem: str) -> Iterator[Entry]:
    """The elements of one JSON list, each with the line it starts on."""
    data = file.read(MAX_LIST_BYTES + 1)
    if len(data) > MAX_LIST_BYTES:
        raise InputError(
            f"{name}: is longer than {MAX_LIST_BYTES // 2**20} MiB; write it as .jsonl, "
            "one object a line"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}:{line}: {not_utf8(error)}") from error
    try:
        line, counted = 1, 0
        for number, (start, end) in enumerate(_element_spans(text), start=1):
            line += text.count("\n", counted, start)
            counted = start
            raw = text[start:end].encode("utf-8")
            yield Entry(f"{name}:{line} (row {number})", f"{stem}-{number}", raw)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name}:{error.lineno}: {not_json(error)}; "
            "expected a list of objects (with one object a line, name the file .jsonl)"
        ) from error
    except RecursionError as error:
        raise InputError(f"{name}: JSON is nested too deeply; expected flat objects") from error


def _element_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every element of the list that `text` is; none if it is blank."""
    # The hooks keep numbers as text: the elements are decoded for good, and strictly, later.
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
    position = _skip_space(text, 0)
    if position == len(text):
        return
    if text[position] != "[":
        raise json.JSONDecodeError("Expecting '['", text, position)
    position = _skip_space(text, position + 1)
    closed = text.startswith("]", position)
    while not closed:
        _, end = decoder.raw_decode(text, position)
        yield position, end
        position = _skip_space(text, end)
        closed = text.startswith("]", position)
        if not closed:
            if not text.startswith(",", position):
                raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
            position = _skip_space(text, position + 1)
    position = _skip_space(text, position + 1)
    if position != len(text):
        raise json.JSONDecodeError("Extra data", text, position)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()
