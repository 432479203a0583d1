"""What a model answered, as it lies in the tables: one row a question and condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

OWN, SWAPPED, BLANK, NONE, ORDERS = "own", "swapped", "blank", "none", "orders"
"""The picture as it is, another question's, blank, none at all; the options in other orders."""

PICTURES = (OWN, SWAPPED, BLANK, NONE)

ANSWERS = pa.schema(
    [
        ("id", pa.string()),
        ("condition", pa.string()),
        ("greedy", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("tokens", pa.list_(pa.int32())),
        ("truncated", pa.int32()),
        ("places", pa.list_(pa.int32())),
        ("options", pa.int32()),
    ]
)
"""Columns of `Asked`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The answers to one question in one condition.

    Attributes:
        id: of the question.
        condition: what was shown.
        greedy: the most likely answer; None where it abstains or was not asked for.
        answers: k sampled answers, None for an abstention; for `ORDERS` the most likely answer in
            each order, in the labels of the data.
        tokens: length of each reply.
        truncated: how many were cut.
        places: for `ORDERS`: place of the chosen option as shown, from 0; -1: none chosen.
        options: for `ORDERS`: how many options there are.
    """

    id: str
    condition: str
    greedy: str | None
    answers: tuple[str | None, ...]
    tokens: tuple[int, ...]
    truncated: int
    places: tuple[int, ...] = ()
    options: int = 0


Table = Mapping[str, Mapping[str, Asked]]
"""Condition -> question id -> answers."""


def table_of(rows: list[dict[str, Any]]) -> Table:
    """The rows of a file by condition and question."""
    found: dict[str, dict[str, Asked]] = {}
    for row in rows:
        values = {name: tuple(row[name]) for name in ("answers", "tokens", "places")}
        asked = Asked(
            row["id"], row["condition"], row["greedy"], truncated=row["truncated"],
            options=row["options"], **values,
        )  # fmt: skip
        found.setdefault(asked.condition, {})[asked.id] = asked
    return found
