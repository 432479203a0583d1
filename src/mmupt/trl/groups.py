"""Whole groups out of the rows that each process of TRL's trainer has. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmupt.asking.prompt import Prompt
from mmupt.errors import ConfigError
from mmupt.types import Completion, Finish


@dataclass(frozen=True, slots=True)
class Row:
    """One completion as a process reports it to the others.

    Attributes:
        group: value of the group column: which question it answers.
        text: what the model wrote.
        token_ids: its tokens, the end of turn included.
        truncated: cut at the longest length.
        prompt: the question as it was shown, without its pictures.
        view: which view of the question that was; 0 is the question as it is.
        place: rank of its process, and its number there.
    """

    group: Any
    text: str
    token_ids: tuple[int, ...]
    truncated: bool
    prompt: Prompt = field(default_factory=lambda: Prompt("", ()))
    view: int = 0
    place: tuple[int, int] = (0, 0)

    def completion(self) -> Completion:
        """TRL tells a reward function no log-probabilities."""
        finish = Finish.LENGTH if self.truncated else Finish.STOP
        return Completion(self.text, self.token_ids, (), finish, self.view)


def rows_of(
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    groups: Sequence[Any],
    end_ids: Sequence[int],
    rank: int = 0,
    *,
    problems: Sequence[str | None] | None = None,
    views: Sequence[int] | None = None,
    labels: Sequence[Mapping[str, str] | None] | None = None,
) -> list[Row]:
    """The rows of one call of a reward function.

    Args:
        completions: texts, or lists of messages whose last is the reply.
        completion_ids: tokens of each.
        groups: the group column.
        end_ids: tokens that end a turn; a completion that ends with none of them was cut. None
            given: nothing counts as cut.
        rank: of this process.
        problems: the questions as they were shown; None: not told.
        views: which view of its question each row was shown; None: the question as it is.
        labels: label of each option as shown -> its label in the data, where a view shuffled them.
    """
    ends, count = frozenset(end_ids), len(completions)
    problems, views = problems or [""] * count, views or [0] * count
    return [
        Row(
            group,
            _text(text),
            tuple(ids),
            bool(ends) and (not ids or ids[-1] not in ends),
            Prompt(problem or "", (), labels=own or {}),
            view,
            (rank, number),
        )
        for number, (text, ids, group, problem, view, own) in enumerate(
            zip(
                completions, completion_ids, groups, problems, views, labels or [None] * count,
                strict=True,
            )
        )
    ]  # fmt: skip


def gathered(rows: Sequence[Row], num_generations: int | None) -> dict[Any, list[Row]]:
    """Rows of all processes by group, in the order in which groups and rows appear.

    Args:
        rows: of all processes, in the order of their ranks: TRL hands them out in that order, so
            that a group that spans processes is put together again.
        num_generations: completions that every group has to have; None: not checked.

    Raises:
        ConfigError: a group of another size: rows of other processes are missing, or one value of
            the group column names two questions.
    """
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    for name, members in groups.items():
        if num_generations is not None and len(members) != num_generations:
            raise ConfigError(
                f"group {str(name)[:80]!r} has {len(members)} completions, expected "
                f"{num_generations}: each question needs a value of its own in the group column, "
                "and all processes have to call the reward together"
            )
    return groups


def _text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
