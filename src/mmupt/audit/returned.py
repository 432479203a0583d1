"""Verdicts that come back in a file: our own rows, or Label Studio's JSON export. Pure.

Label Studio: a task has ``data`` as it was imported and ``annotations``; one of those has a list
``result`` of ``{"from_name", "type", "value": {"choices": [...]} or {"text": [...]}}``, and
``completed_by`` (a number, or an object with an e-mail address), ``lead_time`` in seconds,
``created_at``, ``updated_at``, ``unique_id`` and ``was_cancelled`` for a task that was skipped.
Of an annotation that was changed ``lead_time`` goes on from what it was: where both states of it
are imported, the seconds of the first count twice.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

from mmupt.audit.checks import MAX_SECONDS, shown
from mmupt.audit.records import Verdict
from mmupt.data.entries import MAX_LIST_BYTES, read_entries
from mmupt.data.rows import Number, decode
from mmupt.errors import InputError

_KEYS: Final = UUID("6d2d5f0e-0b0c-5c3a-9a51-0d6b8f6f6d75")
"""Name space of keys that are made from what a row says."""


def returned(
    lines: Iterable[str | bytes], name: str, project: str, audit: str
) -> Iterator[tuple[str, Verdict]]:
    """Where each verdict stands, and the verdict, not yet checked.

    Args:
        lines: of the file.
        name: of the file, for messages.
        project: that they are for; part of keys that are made here.
        audit: that they are for.

    Raises:
        InputError: no JSON, or a row that is neither; names the line.
    """
    raw = b"".join(_line(line) for line in ([lines] if isinstance(lines, str | bytes) else lines))
    if len(raw) > MAX_LIST_BYTES:
        raise InputError(f"{name}: is longer than {MAX_LIST_BYTES // 2**20} MiB; split it")
    if not raw.strip():
        raise InputError(f"{name} is empty; expected verdicts, one JSON object a line")
    listed = raw.lstrip()[:1] == b"["
    path = Path(name or "verdicts").with_suffix(".json" if listed else ".jsonl")
    for entry in read_entries(io.BytesIO(raw), path):
        origin = name + entry.origin.removeprefix(str(path))
        try:
            row = decode(entry.raw)
            found = _annotated(row) if "annotations" in row else [_own(row)]
            for values in found:
                yield origin, _verdict(values, project, audit)
        except InputError as error:
            raise InputError(f"{origin}: {error}") from error


def _line(line: str | bytes) -> bytes:
    """A line that ends; half a surrogate pair is left to `decode`, which refuses it."""
    raw = line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line
    return raw if raw.endswith(b"\n") else raw + b"\n"


def _verdict(values: dict[str, Any], project: str, audit: str) -> Verdict:
    named = values.pop("audit")
    if named not in (None, audit):
        raise InputError(f'"audit" is {shown(named)}; these verdicts are to go to {audit}')
    key = values.pop("key")
    made = json.dumps([project, audit, key, values], sort_keys=True, default=str)
    seconds = values.pop("seconds")
    return Verdict(
        key=key if _is_uuid(key) else str(uuid5(_KEYS, made)),
        audit=audit,
        seconds=_seconds(seconds),
        **values,
    )


def _own(row: Mapping[str, object]) -> dict[str, Any]:
    for needed in ("unit", "verdict", "reviewer"):
        if row.get(needed) is None:
            columns = ", ".join(shown(column) for column in list(row)[:10]) or "none"
            raise InputError(
                f'no "{needed}" (columns: {columns}); expected unit, verdict and reviewer, or '
                "tasks with annotations as Label Studio exports them as JSON"
            )
    return {
        "key": row.get("key"),
        "audit": row.get("audit"),
        "unit": row["unit"],
        "reviewer": row["reviewer"],
        "kind": row["verdict"],
        "answer": _plain(row.get("answer")),
        "comment": row.get("comment") or "",
        "seconds": row.get("seconds"),
        "time": row.get("time") or "",
    }


def _annotated(task: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    """The annotations of a task, without drafts and predictions."""
    data, annotations = task.get("data"), task["annotations"]
    if not isinstance(data, dict) or not isinstance(data.get("unit"), str):
        raise InputError('task has no "unit" in its data; expected one that was exported here')
    if not isinstance(annotations, list):
        raise InputError(f'"annotations" is {shown(annotations)}; expected a list')
    for number, annotation in enumerate(annotations, start=1):
        try:
            yield {**_annotation(annotation), "unit": data["unit"], "audit": data.get("audit")}
        except InputError as error:
            raise InputError(f"annotation {number}: {error}") from error


def _annotation(annotation: object) -> dict[str, Any]:
    if not isinstance(annotation, dict):
        raise InputError(f"found {shown(annotation)}; expected an object")
    said = {"verdict": "", "answer": "", "comment": ""}
    result = annotation.get("result")
    for one in result if isinstance(result, list) else []:
        if isinstance(one, dict) and one.get("from_name") in said:
            said[one["from_name"]] = _value(one)
    skipped = annotation.get("was_cancelled") is True
    if not skipped and not said["verdict"]:
        raise InputError('nothing is chosen in "verdict"')
    updated = annotation.get("updated_at") or annotation.get("created_at")
    return {
        # One that was changed and exported anew is another verdict, and the last one counts.
        "key": [annotation.get("unique_id") or annotation.get("id"), updated],
        "reviewer": _reviewer(annotation.get("completed_by")),
        "kind": "skip" if skipped else said["verdict"],
        "answer": None if skipped else said["answer"] or None,
        "comment": said["comment"],
        "seconds": _bounded(annotation.get("lead_time")),
        "time": updated or "",
    }


def _value(one: Mapping[str, Any]) -> str:
    """What was chosen or written."""
    value = one.get("value")
    found = value.get("choices", value.get("text")) if isinstance(value, dict) else None
    parts = [found] if isinstance(found, str) else found
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise InputError(f'"{one["from_name"]}" is {shown(value)}; expected choices or text')
    if len(parts) > 1 and one["from_name"] != "comment":
        raise InputError(f'"{one["from_name"]}" has {len(parts)} values; expected one')
    return "\n".join(parts)


def _reviewer(completed_by: object) -> str:
    if isinstance(completed_by, dict):
        for field in ("email", "username", "id"):
            if completed_by.get(field):
                return _reviewer(completed_by[field])
    if isinstance(completed_by, Number):
        return f"label-studio-{completed_by}"
    if isinstance(completed_by, str):
        return completed_by
    raise InputError(f'"completed_by" is {shown(completed_by)}; expected who annotated')


def _bounded(lead_time: object) -> object:
    """A tab that is left open overnight goes on counting."""
    return min(_seconds(lead_time), MAX_SECONDS) if isinstance(lead_time, Number) else lead_time


def _seconds(value: object) -> Any:
    """A number from what `decode` keeps as text; anything else is refused later."""
    if value is None:
        return 0.0
    return float(value) if isinstance(value, Number) else value


def _plain(answer: object) -> object:
    """An answer that was written as a number is text: 0.10 stays 0.10."""
    return str(answer) if isinstance(answer, Number) else answer


def _is_uuid(key: object) -> bool:
    try:
        return isinstance(key, str) and bool(UUID(key))
    except ValueError:
        return False
