"""Audits for other tools and back: tasks that Label Studio imports, verdicts as JSONL.

Label Studio's own import takes one JSON list, and lines only from a storage that it syncs; so
`write_tasks` writes either, by the name of the file. What has to come back is in ``data``, as
Label Studio drops a task's ``meta`` (its issue 1179).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from mmupt.audit import checks
from mmupt.audit.records import Added, Item
from mmupt.audit.returned import returned
from mmupt.audit.store import AuditStore
from mmupt.errors import InputError

Address = Callable[[str], str]
"""Where another tool finds an image: from a path as the audit has it to a path or URL."""

_CHOICES: Final[Mapping[str, str]] = {
    "accept": "the answer is right",
    "reject": "the answer is wrong",
    "correct": "wrong, and I know the right answer",
    "unsure": "one cannot tell",
}


def local_files(root: Path) -> Address:
    """Addresses of files that Label Studio serves itself from its ``LOCAL_FILES_DOCUMENT_ROOT``.

    Args:
        root: that folder; relative paths are taken to be relative to it.
    """

    def address(path: str) -> str:
        inside = PurePath(path)
        if inside.is_absolute():
            if not inside.is_relative_to(root):
                raise InputError(f"image {checks.shown(path)} is not in {root}")
            inside = inside.relative_to(root)
        return f"/data/local-files/?d={quote(inside.as_posix())}"

    return address


def export_tasks(
    store: AuditStore, audit: str, *, blind: bool = False, address: Address = str
) -> Iterator[dict[str, Any]]:
    """The items of an audit as tasks for Label Studio, in the order in which people judge.

    Args:
        store: has the audit.
        audit: its name.
        blind: leave out how the votes fell, so that reviewers are not led by them.
        address: where Label Studio finds an image.

    Raises:
        InputError: no such audit.
    """
    for item in store.items(audit):
        shown = json.loads(item.payload)
        images = [address(str(path)) for path in _list(shown.get("images"))]
        data: dict[str, Any] = {
            "unit": item.unit,
            "audit": audit,
            "project": store.project,
            "sample_id": item.sample_id,
            "question": str(shown.get("problem", "")),
            "pseudo_label": item.pseudo_label,
            "images": images,
            **({"image": images[0]} if images else {}),
        }
        if not blind:
            data["votes"] = _votes(item, _list(shown.get("answers")))
        yield {"data": data}


def write_tasks(tasks: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Write tasks into a file: ``.json`` as one list, anything else one a line.

    Returns:
        How many there are.
    """
    lines = [json.dumps(task, ensure_ascii=False, allow_nan=False) for task in tasks]
    listed = path.suffix.lower() == ".json"
    body = "[\n" + ",\n".join(lines) + "\n]\n" if listed else "".join(f"{x}\n" for x in lines)
    path.write_text(body, encoding="utf-8")
    return len(lines)


def label_config(*, blind: bool = False, images: int = 1) -> str:
    """Label Studio's labeling interface for `export_tasks`, as XML.

    Args:
        blind: as for the tasks.
        images: 0 or 1 if every question has so many, else how many there are at most.
    """
    pictures = {0: [], 1: ['  <Image name="image" value="$image"/>']}.get(
        images, ['  <Image name="images" valueList="$images"/>']
    )
    votes = [] if blind else ['  <Header value="Votes"/>', '  <Text name="votes" value="$votes"/>']
    choices = [
        f"    <Choice value={quoteattr(kind)} hint={quoteattr(hint)}/>"
        for kind, hint in _CHOICES.items()
    ]
    lines = [
        "<View>",
        *pictures,
        '  <Text name="question" value="$question"/>',
        '  <Header value="Answer"/>',
        '  <Text name="pseudo_label" value="$pseudo_label"/>',
        *votes,
        '  <Choices name="verdict" toName="pseudo_label" choice="single" required="true">',
        *choices,
        "  </Choices>",
        '  <View visibleWhen="choice-selected" whenTagName="verdict" whenChoiceValue="correct">',
        '    <TextArea name="answer" toName="pseudo_label" maxSubmissions="1" editable="true"',
        '              required="true" placeholder="right answer"/>',
        "  </View>",
        '  <TextArea name="comment" toName="pseudo_label" maxSubmissions="1" editable="true"',
        '            placeholder="comment"/>',
        "</View>",
    ]
    return "\n".join(lines) + "\n"


def export_verdicts(store: AuditStore, audit: str) -> Iterator[dict[str, Any]]:
    """The verdicts of an audit as rows that `import_verdicts` reads, in their order."""
    for verdict in store.verdicts(audit):
        row = asdict(verdict)
        row["verdict"] = row.pop("kind")
        yield row


def import_verdicts(
    store: AuditStore, audit: str, lines: Iterable[str | bytes], *, name: str = "verdicts"
) -> Added:
    """Store what people said elsewhere; all of it or, if a row cannot be used, none.

    Args:
        store: has the audit.
        audit: its name.
        lines: of a file: our own rows, one JSON object a line with ``unit``, ``verdict`` (one of
            the kinds), ``reviewer`` and, if wanted, ``answer``, ``comment``, ``seconds``,
            ``time`` and ``key``; or Label Studio's JSON export, a list of tasks or one a line.
        name: of the file, for messages.

    Returns:
        How many verdicts are new, and how many were there: the same file adds nothing twice.

    Raises:
        InputError: no such audit, or a row that cannot be used; names its line and the value.
    """
    units = {item.unit: item.pseudo_label for item in store.items(audit)}
    verdicts = []
    for origin, verdict in returned(lines, name, store.project, audit):
        try:
            verdict = checks.verdict(verdict)
            if verdict.unit not in units:
                raise InputError(f"unit {checks.shown(verdict.unit)} is not in audit {audit}")
            checks.contradiction(verdict, units[verdict.unit])
        except InputError as error:
            raise InputError(f"{origin}: {error}") from error
        verdicts.append(verdict)
    # Label Studio lists tasks, not moments; what has no time is taken as it comes.
    if all(verdict.time for verdict in verdicts):
        verdicts.sort(key=lambda verdict: verdict.time)
    return store.add_all(audit, verdicts)


def _votes(item: Item, answers: list[Any]) -> str:
    """Such as ``12 (9), 13 (4); share 0.69``."""
    told = ", ".join(
        f"{one.get('answer')} ({one.get('count')})" for one in answers if isinstance(one, dict)
    )
    return f"{told}; share {item.share:.2f}" if told else f"share {item.share:.2f}"


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
