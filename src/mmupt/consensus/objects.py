"""JSON in a response: the last object, and the field that holds its answer."""

from __future__ import annotations

import json
import re

_MAX_TRIES = 64
FIELDS = ("answer", "final_answer", "final answer", "Answer", "result", "答え", "解答", "回答")
NOTHING = object()
"""Stands for no JSON at all, where null is an answer."""
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_DECODER = json.JSONDecoder(parse_constant=lambda constant: _refuse(constant))


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def answer_field(text: str) -> str | None:
    """The answer field of a response that is a JSON object, as text."""
    stripped = text.strip()
    if not stripped.startswith(("{", "```")):
        return None
    found = last_object(stripped)
    if not isinstance(found, dict):
        return None
    value = next((found[name] for name in FIELDS if name in found), None)
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def last_object(text: str) -> object:
    """The last JSON object or array of a text, `NOTHING` if there is none."""
    stripped = text.strip()
    fenced = _FENCE.findall(stripped)
    for candidate in (*reversed(fenced[-4:]), stripped):
        found = _decode(candidate.strip(), 0)
        if found is not None and not candidate.strip()[found[1] :].strip():
            return found[0]
    last: object = NOTHING
    position = tries = 0
    while tries < _MAX_TRIES:
        starts = [at for sign in "{[" if (at := stripped.find(sign, position)) >= 0]
        if not starts:
            break
        tries += 1
        found = _decode(stripped, min(starts))
        if found is None:
            position = min(starts) + 1
        else:
            last, position = found
    return last


def _decode(text: str, start: int) -> tuple[object, int] | None:
    """A JSON value at a position and where it ends."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
