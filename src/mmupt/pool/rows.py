"""From a row of a shard to a row of votes. Pure; looks at no column but those it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import pyarrow as pa

from mmupt.ballots import filters_of, strategy_options
from mmupt.config import ConsensusConfig
from mmupt.consensus.extract import extract
from mmupt.consensus.filters import keep
from mmupt.consensus.vote import vote
from mmupt.errors import ConfigError, InputError
from mmupt.pipeline import pilot_files
from mmupt.pipeline.pilot_rows import figures_of

COLUMNS: Final[Mapping[str, str]] = {
    "id": "text",
    "answers": "a list of texts, null for an abstention",
    "completions": "a list of texts",
    "truncated": "a list of true and false",
    "problem": "text",
    "views": "a list of whole numbers",
    "weights": "a list of numbers",
}
"""The columns of a shard that are read, and what they hold. All others are never looked at, so
that true answers beside the questions cannot reach a vote."""

VOTES: Final = pa.schema(
    [
        field
        for field in pilot_files.VOTES
        if field.name not in ("question", "truncated", "failed", "tokens")
    ]
)
"""One row a question: the columns of a pilot's ``votes.parquet`` but those about the asking."""

MOST_ANSWERS: Final = 4096
"""Most answers to one question."""

MOST_VIEWS: Final = 1 << 31


def wanted(names: Sequence[str], strategy: str) -> list[str]:
    """The columns to read.

    Raises:
        InputError: a column that is needed is missing.
    """
    found = [name for name in COLUMNS if name in names]
    needed = {"weighted": "weights", "harmony": "views"}.get(strategy)
    if "id" not in found:
        raise InputError('has no column "id"')
    if "answers" not in found and "completions" not in found:
        raise InputError('has neither a column "answers" nor one "completions"')
    if needed is not None and needed not in found:
        raise InputError(f'has no column "{needed}", which consensus.strategy {strategy} needs')
    return found


def voted(row: Mapping[str, Any], config: ConsensusConfig) -> dict[str, Any]:
    """The vote on one question.

    Raises:
        InputError: a value that cannot be used.
    """
    name = row["id"]
    if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
        raise InputError(f'"id" is {_shown(name)}, expected text or a whole number')
    answers = _answers(row, config)
    views = _per_answer(row, "views", int, len(answers)) or [0] * len(answers)
    options = strategy_options(config)
    if config.strategy.name == "weighted":
        options["weights"] = _per_answer(row, "weights", float, len(answers))
    if config.strategy.name == "harmony":
        options["views"] = views
    try:
        outcome = vote(answers, config.strategy.name, **options)
    except ConfigError as error:
        raise InputError(str(error)) from error
    (kept,) = keep([outcome], filters_of(config))
    figures = asdict(figures_of(outcome, views, kept))
    return {"id": str(name), "answers": answers, "views": views, **figures}


def _answers(row: Mapping[str, Any], config: ConsensusConfig) -> list[str | None]:
    if row.get("answers") is not None:
        return _texts(row, "answers")
    if row.get("completions") is None:
        raise InputError('"answers" and "completions" are null; expected a list of texts')
    texts = _texts(row, "completions")
    cut = _per_answer(row, "truncated", bool, len(texts)) or [False] * len(texts)
    problem = row.get("problem")
    if problem is not None and not isinstance(problem, str):
        raise InputError(f'"problem" is {_shown(problem)}, expected text')
    return [
        None if text is None or short else extract(text, kind=config.kind, prompt=problem)
        for text, short in zip(texts, cut, strict=True)
    ]


def _texts(row: Mapping[str, Any], name: str) -> list[str | None]:
    value = row[name]
    if not isinstance(value, list) or not all(v is None or isinstance(v, str) for v in value):
        raise InputError(f'"{name}" is {_shown(value)}, expected {COLUMNS[name]}')
    if not 1 <= len(value) <= MOST_ANSWERS:
        raise InputError(f'"{name}" has {len(value)} entries, expected 1 to {MOST_ANSWERS}')
    return value


def _per_answer(row: Mapping[str, Any], name: str, kind: type, size: int) -> list[Any] | None:
    value = row.get(name)
    if value is None:
        return None
    numbers = (int, float) if kind is float else kind
    if not isinstance(value, list) or not all(isinstance(v, numbers) for v in value):
        raise InputError(f'"{name}" is {_shown(value)}, expected {COLUMNS[name]}')
    if len(value) != size:
        raise InputError(f'"{name}" has {len(value)} entries for {size} answers')
    if kind is int and not all(0 <= v < MOST_VIEWS for v in value):
        raise InputError(f'"{name}" is {_shown(value)}, expected numbers from 0 to 2147483647')
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
