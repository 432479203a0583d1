"""Held-out rows by their metadata, so that no group of the data loses while the whole gains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mmupt.data.images import printable
from mmupt.errors import InputError
from mmupt.types import LabelledSample

NO_VALUE = "(none)"
"""The group of rows that have no value in a column."""


def slice_table(
    rows: Sequence[LabelledSample], columns: Iterable[str]
) -> Mapping[str, Mapping[str, list[int]]]:
    """Indices of the rows by group, for each of some metadata columns.

    Args:
        rows: N rows; `Sample.meta` holds the further columns of their file.
        columns: names of columns that at least one row has.

    Returns:
        Column -> group -> indices in ascending order. Every row is in one group of each column,
        rows without a value (or with a blank one) in `NO_VALUE`; groups are in the order of their
        first rows.

    Raises:
        InputError: a column that no row has.
    """
    known = sorted({name for row in rows for name in row.sample.meta})
    table: dict[str, dict[str, list[int]]] = {}
    for column in columns:
        if column not in known:
            raise InputError(
                f"slices: no row has a column {printable(column, 80)}; known columns: "
                f"{printable(', '.join(known)) or 'none'}"
            )
        groups: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            value = row.sample.meta.get(column, "")
            groups.setdefault(value if value.strip() else NO_VALUE, []).append(index)
        table[column] = groups
    return table
