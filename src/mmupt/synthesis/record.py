"""What was asked and what came of it, on disk, so that a killed run asks nothing twice.

`attempts/000012.jsonl` holds the attempts of a finished step, `attempts/000012.asked/` the replies
of one that is not finished. Files appear whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mmupt.data.jsonl import write_jsonl
from mmupt.errors import RunFolderError
from mmupt.runs import write_atomic
from mmupt.types import Completion, Finish

LONGEST = 100_000
"""Characters of a reply that are kept; a longer one counts as cut."""

REFUSED = "refused"
"""Stands for the replies of a prompt that the model cannot be given."""

Replies = list[Completion | None] | None
"""Of one prompt; None: refused."""


@dataclass(frozen=True)
class Attempt:
    """One attempt, from the request to its outcome.

    Attributes:
        number: counted from 0 over the run.
        source: place of the row among those with pictures.
        source_id: its id.
        kind, difficulty: how it was asked for.
        language: that it was asked for in.
        example: the majority's answer to the row's own question, None where there was none; in
            mode direct always None.
        example_share: the share of that answer.
        text: what the writer wrote; None: no reply came.
        question: what was read from it.
        reason: why it is refused; None: it is kept.
        share: of the majority of its answers; None: they were not asked for.
        question_kind: what it is: choice, number or free.
        votes: how often each answer was given, "" for abstentions. For audits: in no output row.
    """

    number: int
    source: int
    source_id: str
    kind: str
    difficulty: str
    language: str | None
    example: str | None = None
    example_share: float | None = None
    text: str | None = None
    question: str | None = None
    reason: str | None = None
    share: float | None = None
    question_kind: str | None = None
    votes: Mapping[str, int] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        return self.reason or "accepted"

    def row(self) -> dict[str, Any]:
        return asdict(self)


_NAMES = {one.name for one in fields(Attempt)}


class Record:
    """The record of a run in its folder.

    Args:
        root: folder of the record; made when something is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def steps(self) -> list[list[Attempt]]:
        """The finished steps, in order.

        Raises:
            RunFolderError: a file that is not a record of ours.
        """
        found: list[list[Attempt]] = []
        while (path := self._step(len(found))).exists():
            try:
                # Not splitlines(): a text may hold other line ends, such as U+2028, as they are.
                lines = path.read_text("utf-8").split("\n")
                rows = [json.loads(line) for line in lines if line]
                found.append([Attempt(**{k: row[k] for k in _NAMES}) for row in rows])
            except (ValueError, TypeError, KeyError) as error:
                raise RunFolderError(
                    f"{path}: damaged; remove it and those with higher numbers to ask them again"
                ) from error
        return found

    def finish(self, step: int, attempts: Sequence[Attempt]) -> None:
        """Keep a step; the single replies are not needed any more."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_jsonl(self._step(step), (one.row() for one in attempts))
        shutil.rmtree(self._asked(step), ignore_errors=True)

    def replies(self, step: int, part: str, ask: Callable[[], Sequence[Replies]]) -> list[Replies]:
        """The replies of one part of a step: those that are there, or `ask`'s, which are kept."""
        path = self._asked(step) / f"{part}.json"
        if not path.exists():
            self._asked(step).mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps([_plain(one) for one in ask()], ensure_ascii=True))
        return [_completions(one) for one in json.loads(path.read_text("utf-8"))]

    def _step(self, step: int) -> Path:
        return self.root / f"{step:06d}.jsonl"

    def _asked(self, step: int) -> Path:
        return self.root / f"{step:06d}.asked"


def _plain(replies: Replies) -> Any:
    if replies is None:
        return REFUSED
    return [None if one is None else [*_bounded(one)] for one in replies]


def _bounded(one: Completion) -> tuple[str, str]:
    """Text without lone surrogates, of bounded length, and why it ended."""
    text = one.text[:LONGEST].encode("utf-8", "replace").decode("utf-8")
    finish = Finish.LENGTH if len(one.text) > LONGEST else one.finish
    return text, finish.value


def _completions(value: Any) -> Replies:
    if value == REFUSED:
        return None
    return [None if one is None else Completion(one[0], (), (), Finish(one[1])) for one in value]
