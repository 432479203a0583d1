"""A row on its way from a file to a question: its place, and how to decode it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Row = Mapping[str, object]
"""Columns of a row: text, `rows.Number`, True, False, None, bytes, lists and objects of them."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a data set, in whatever kind of file.

    Attributes:
        origin: where it stands, for messages: ``file:line``, ``file: row n``.
        default_id: id of the row if it names none.
        row: decodes it; raises `InputError` without the origin.
    """

    origin: str
    default_id: str
    row: Callable[[], Row]
