"""The words and functions of conditions over rollouts; docs/rules.md lists the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an expression is worth; a value of every kind may be missing."""

    NUMBER = "number"
    TEXT = "text"
    CONDITION = "condition"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a word stands for."""

    kind: Kind
    about: str


@dataclass(frozen=True, slots=True)
class Function:
    """What a function takes and gives.

    Attributes:
        takes: kinds of the arguments.
        gives: kind of the result.
        about: what it does.
        more: further arguments may follow, of the last kind.
        written: the arguments must be written out as texts, for they are names.
    """

    takes: tuple[Kind, ...]
    gives: Kind
    about: str
    more: bool = False
    written: bool = False


_N, _T, _C = Kind.NUMBER, Kind.TEXT, Kind.CONDITION

WORDS: Mapping[str, Meaning] = {
    "id": Meaning(_T, "id of the sample"),
    "problem": Meaning(_T, "the question"),
    "label": Meaning(_T, "the pseudo-label as written; missing: the votes gave none"),
    "number": Meaning(_N, "the label as a number in `rules.unit`; missing: it is none"),
    "share": Meaning(_N, "share of the votes behind the label, 0 to 1"),
    "margin": Meaning(_N, "lead of the most frequent answer over the second, as a share of votes"),
    "agreement": Meaning(
        _N,
        "share of the model's own replies whose answer is the label; missing: not trained on",
    ),
    "votes": Meaning(_N, "number of votes"),
    "classes": Meaning(_N, "number of distinct answers among the votes"),
    "abstained": Meaning(_N, "share of the votes without a readable answer"),
    "truncated": Meaning(_N, "share of the replies cut at the length limit; missing: not recorded"),
    "length": Meaning(_N, "mean length of the replies in characters"),
    "tokens": Meaning(_N, "mean length of the replies in tokens; missing: not recorded"),
    "replies": Meaning(_T, "the model's replies, one below the other, the first 20,000 characters"),
    "kept": Meaning(_C, "whether the label was trained on"),
    "blind": Meaning(_T, "the label when the picture was blank or swapped; missing: not asked"),
}

FUNCTIONS: Mapping[str, Function] = {
    "meta": Function((_T,), _T, "the row's own column of this name, written out", written=True),
    "contains": Function((_T, _T), _C, "whether the first text has the second in it, exactly"),
    "startswith": Function((_T, _T), _C, "whether the first text begins with the second"),
    "endswith": Function((_T, _T), _C, "whether the first text ends with the second"),
    "same": Function((_T, _T), _C, "whether two answers say the same, as the vote sees it"),
    "value": Function((_T,), _N, "a text as a number in `rules.unit`; missing: it is none"),
    "len": Function((_T,), _N, "number of characters"),
    "lower": Function((_T,), _T, "in small letters"),
    "plain": Function((_T,), _T, "in small letters, half width (NFKC), with single spaces"),
    "abs": Function((_N,), _N, "without its sign"),
    "min": Function((_N, _N), _N, "the smallest of two or more numbers", more=True),
    "max": Function((_N, _N), _N, "the largest of two or more numbers", more=True),
}
