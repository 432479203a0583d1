"""What a decision is about, and the pieces of evidence that it may rest on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal, get_args

from mmupt.errors import InputError

Kind = Literal["audit", "held-out", "guard", "slices", "blind"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MEASURED_ON: Mapping[str, str] = {
    "audit": "round", "guard": "round", "held-out": "test", "slices": "test", "blind": "test",
}  # fmt: skip
"""Which of the subject's data a kind of evidence is measured on."""
COMPARES = frozenset({"held-out", "slices", "blind"})
"""Kinds whose figures stand against the baseline's."""

_DEEPEST = 8
_LARGEST = 1 << 53
"""Whole numbers up to here are the same in every reader of JSON; no figure is larger."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a decision is about.

    Attributes:
        version: name of the version, such as `round-2`.
        digest: SHA-256 of its manifest.
        baseline, baseline_digest: the version that it would replace.
        data: digests of the data as they are now: `test`, the held-out rows, and `round`, the
            unlabelled data of the round.
        made: when the version was finished, ISO 8601 with an offset.
        label_free: False for supervised fine-tuning, which has no pseudo-labels and no guard.

    Raises:
        InputError: an empty name or digest, a time that is none, or label_free that is no bool.
    """

    version: str
    digest: str
    baseline: str
    baseline_digest: str
    data: Mapping[str, str]
    made: str
    label_free: bool

    def __post_init__(self) -> None:
        for name in ("version", "digest", "baseline", "baseline_digest"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise InputError(f"subject: {name} is {value!r}, expected a text that is not empty")
        if moment(self.made) is None:
            raise InputError(f"subject: made is {str(self.made)[:60]!r}, expected a time in UTC")
        # None is not "no": without pseudo-labels a version is asked for less.
        if not isinstance(self.label_free, bool):
            raise InputError(f"subject: label_free is {self.label_free!r}, expected true or false")
        data = plain(self.data)
        object.__setattr__(self, "data", data if isinstance(data, dict) else {})


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence; `docs/gates.md` lists the figures of each kind.

    Figures are kept as plain JSON: what JSON has no word for (NaN, an infinity, an object) becomes
    null, which no criterion accepts.

    Attributes:
        kind: what was measured.
        version_digest: the version that it is about.
        baseline_digest: the version that it compares with; None for audits and the guard, which
            compare with none.
        data_digest: the data that it was measured on.
        made: when, ISO 8601 with an offset.
        figures: the figures.
    """

    kind: Kind
    version_digest: str
    baseline_digest: str | None
    data_digest: str
    made: str
    figures: Mapping[str, Any]

    def __post_init__(self) -> None:
        figures = plain(self.figures)
        object.__setattr__(self, "figures", figures if isinstance(figures, dict) else {})

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return digest_of(
            plain([self.kind, self.version_digest, self.baseline_digest, self.data_digest,
                   self.made, self.figures])
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a piece of evidence cannot be used: a key of the texts and what fills it."""

    key: str
    values: Mapping[str, Any]


def chosen(
    kind: Kind, subject: Subject, evidence: Sequence[Evidence], now: datetime
) -> Evidence | Reason:
    """The one piece of a kind that is about this subject, or why there is none.

    Pieces about other versions, baselines or data, older than the version or from the future are
    passed over; two that differ are a contradiction, as nothing says which is right.
    """
    pieces = [piece for piece in evidence if piece.kind == kind]
    reasons = [_foreign(piece, subject, now) for piece in pieces]
    usable = [piece for piece, reason in zip(pieces, reasons, strict=True) if reason is None]
    if not usable:
        return reasons[-1] if reasons and reasons[-1] is not None else Reason("missing", {})
    if len({digest_of(piece.figures) for piece in usable}) > 1:
        return Reason("contradiction", {"n": len(usable)})
    return usable[-1]


def _foreign(piece: Evidence, subject: Subject, now: datetime) -> Reason | None:
    data = subject.data.get(MEASURED_ON[piece.kind])
    made, finished = moment(piece.made), moment(subject.made)
    baseline_missing = piece.baseline_digest is None and piece.kind in COMPARES
    if piece.version_digest != subject.digest:
        return Reason("other-version", {})
    if baseline_missing or piece.baseline_digest not in (None, subject.baseline_digest):
        return Reason("other-baseline", {"baseline": subject.baseline})
    if piece.kind in COMPARES and subject.digest == subject.baseline_digest:
        return Reason("own-baseline", {})
    if not isinstance(data, str) or not data or piece.data_digest != data:
        return Reason("other-data", {})
    if made is None or finished is None:
        return Reason("no-time", {})
    if made < finished:
        return Reason("stale", {"made": piece.made, "finished": subject.made})
    if max(made, finished) > now:
        return Reason("future", {"made": piece.made, "now": now.isoformat()})
    return None


def moment(text: object) -> datetime | None:
    """A time with an offset; None for anything else."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        found = datetime.fromisoformat(text)
        return None if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON has it; None for what JSON has no word for, and for what is too deep."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return int(value) if _kept(value) else None
    if isinstance(value, float):
        return float(value) if _kept(value) else None
    if depth >= _DEEPEST:
        return None
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            return None
        return {str(key): plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        if set(map(type, value)) <= {int, float} and all(map(_kept, value)):
            return list(value)  # the long lists of figures
        return [plain(inner, depth + 1) for inner in value]
    return None


def _kept(number: float) -> bool:
    """Not NaN, not infinite, not so large that readers differ."""
    return -_LARGEST <= number <= _LARGEST


def digest_of(value: Any) -> str:
    """SHA-256 of plain JSON, whatever the order of its keys."""
    return sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode("ascii")).hexdigest()
