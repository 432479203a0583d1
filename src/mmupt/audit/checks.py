"""What an audit may hold: bounded, visible text and figures in their range. Pure.

Verdicts come from browsers and files, labels from models: nothing of it is trusted.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from mmupt.audit.records import KINDS, NewAudit, NewItem, Verdict
from mmupt.errors import InputError

MAX_NAME: Final = 300
"""Longest id, name, reviewer or stratum, in characters."""

MAX_TEXT: Final = 10_000
"""Longest answer, pseudo-label or comment, in characters."""

MAX_JSON: Final = 1_000_000
"""Longest payload, in characters."""

MAX_PLAN: Final = 20_000_000
"""Longest plan, in characters; it names every unit that is drawn."""

MAX_SECONDS: Final = 86_400.0
"""Longest time for one verdict: a day."""

# Control characters but tab and line ends, lone surrogates, bidirectional overrides and tags:
# what nobody sees. Joiners stay, as scripts need them.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069"
    "\U000e0000-\U000e007f]"
)


def name(value: object, what: str) -> str:
    """An id or a person's name: not blank, bounded, nothing hidden; what looks alike is alike.

    Returns:
        It in normal form C, without blanks around it.

    Raises:
        InputError: it is something else; names `what`.
    """
    if not isinstance(value, str):
        raise InputError(f'"{what}" must be text, found {shown(value)}')
    plain = unicodedata.normalize("NFC", value).strip()
    if not plain:
        raise InputError(f'"{what}" is blank')
    _short(plain, what, MAX_NAME)
    for position, character in enumerate(plain, start=1):
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            raise _hidden(character, position, what)
    return plain


def prose(value: object, what: str) -> str:
    """An answer or a comment as it stands.

    Raises:
        InputError: no text, too long, or with a character that nobody sees; names `what`.
    """
    if not isinstance(value, str):
        raise InputError(f'"{what}" must be text, found {shown(value)}')
    _short(value, what, MAX_TEXT)
    found = _HIDDEN.search(value)
    if found is not None:
        raise _hidden(found[0], found.start() + 1, what)
    return value


def moment(value: object, what: str) -> str:
    """A time in UTC as ISO 8601 with microseconds.

    Raises:
        InputError: no ISO 8601 time with an offset.
    """
    try:
        time = datetime.fromisoformat(str(value))
        if time.tzinfo is not None:
            return time.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        pass
    raise InputError(
        f'"{what}" is {shown(value)}; expected ISO 8601 with an offset, such as '
        "2026-01-31T12:00:00+00:00"
    )


def verdict(given: Verdict) -> Verdict:
    """A verdict in its normal form.

    Raises:
        InputError: a value that cannot be used.
    """
    if given.kind not in KINDS:
        raise InputError(f'"verdict" is {shown(given.kind)}; expected one of {", ".join(KINDS)}')
    answer = None if given.answer is None else prose(given.answer, "answer").strip()
    if given.kind == "correct" and not answer:
        raise InputError('"correct" needs the right answer; without one say "reject"')
    if given.kind != "correct" and answer is not None:
        raise InputError(
            f'"{given.kind}" comes with the answer {shown(answer)}; only "correct" has one'
        )
    return replace(
        given,
        key=_key(given.key),
        audit=name(given.audit, "audit"),
        unit=name(given.unit, "unit"),
        reviewer=name(given.reviewer, "reviewer"),
        answer=answer,
        comment=prose(given.comment, "comment"),
        seconds=_figure(given.seconds, "seconds", MAX_SECONDS),
        time=moment(given.time, "time") if given.time else "",
    )


def contradiction(given: Verdict, pseudo_label: str) -> None:
    """Refuse a "correct" answer that is the pseudo-label itself.

    Raises:
        InputError: it is.
    """
    if given.answer is not None and given.answer == pseudo_label.strip():
        raise InputError(
            f'"correct" answer {shown(given.answer)} of unit {shown(given.unit)} is the '
            'pseudo-label itself; say "accept"'
        )


def new_audit(given: NewAudit) -> NewAudit:
    """An audit in its normal form.

    Raises:
        InputError: a value that cannot be used.
    """
    _object(given.plan, "plan", MAX_PLAN)
    return replace(
        given,
        name=name(given.name, "name"),
        subject=name(given.subject, "subject"),
        frame=name(given.frame, "frame"),
        created=moment(given.created, "created"),
    )


def new_items(given: Sequence[NewItem]) -> list[NewItem]:
    """Items of one audit in their normal form.

    Raises:
        InputError: a value that cannot be used, a unit or a position that is there twice.
    """
    items = []
    for number, item in enumerate(given):
        try:
            items.append(_item(item))
        except InputError as error:
            raise InputError(f"item {number}: {error}") from error
    for what in ("unit", "position") if items else ():
        value, times = Counter(getattr(item, what) for item in items).most_common(1)[0]
        if times > 1:
            raise InputError(f'"{what}" {shown(value)} is there {times} times; expected once')
    return items


def _item(given: NewItem) -> NewItem:
    if not 0 <= given.position < 2**31:
        raise InputError(f'"position" is {given.position}; expected a number from 0')
    # A model may write control characters into a label: they are kept, JSON can say them.
    _short(given.pseudo_label, "pseudo_label", MAX_TEXT)
    if any(unicodedata.category(c) == "Cs" for c in given.pseudo_label):
        raise InputError('"pseudo_label" is no Unicode text: it holds half of a surrogate pair')
    probability = _figure(given.probability, "probability", 1.0)
    if probability == 0.0:
        raise InputError('"probability" is 0; what cannot be drawn is not in an audit')
    _object(given.payload, "payload")
    return replace(
        given,
        unit=name(given.unit, "unit"),
        sample_id=name(given.sample_id, "sample_id"),
        share=_figure(given.share, "share", 1.0),
        stratum=name(given.stratum, "stratum"),
        probability=probability,
        slices={name(k, "slice"): prose(v, "slice") for k, v in given.slices.items()},
        rules=tuple(name(rule, "rule") for rule in given.rules),
    )


def shown(value: object) -> str:
    """A value for a one-line message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}...{text[-15:]}"


def _key(value: object) -> str:
    try:
        return str(UUID(value)) if isinstance(value, str) else str(UUID(""))
    except ValueError as error:
        raise InputError(f'"key" is {shown(value)}; expected a UUID') from error


def _figure(value: object, what: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f'"{what}" must be a number, found {shown(value)}')
    if not (math.isfinite(value) and 0 <= value <= most):
        raise InputError(f'"{what}" is {shown(value)}; expected 0 to {most:g}')
    return float(value)


def _object(text: str, what: str, most: int = MAX_JSON) -> None:
    _short(text, what, most)
    try:
        if isinstance(json.loads(text), dict):
            text.encode("utf-8")
            return
    except (ValueError, RecursionError):  # also surrogates
        pass
    raise InputError(f'"{what}" is {shown(text)}; expected the JSON text of an object')


def _short(text: str, what: str, most: int) -> None:
    if len(text) > most:
        raise InputError(f'"{what}" has {len(text)} characters; at most {most} are kept')


def _hidden(character: str, position: int, what: str) -> InputError:
    return InputError(
        f'"{what}" holds the hidden character U+{ord(character):04X} at position {position}; '
        "remove it"
    )
