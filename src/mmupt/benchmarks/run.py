"""A benchmark from its files to its figures; the model is a function that is handed in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmupt.benchmarks.catalog import benchmark, read_rows
from mmupt.benchmarks.results import Results, Scored, summarise
from mmupt.benchmarks.rows import NO_REPLY, BenchmarkRow
from mmupt.data.jsonl import write_jsonl
from mmupt.errors import ConfigError, InputError
from mmupt.types import Sample


@dataclass(frozen=True, slots=True)
class Replies:
    """What a model wrote to one question.

    Attributes:
        greedy: its most likely reply; None if none came (unscored).
        sampled: k sampled replies, for pass@k; None for one that did not come.
    """

    greedy: str | None
    sampled: tuple[str | None, ...] = ()


Ask = Callable[[Sequence[Sample]], Sequence[Replies]]
"""Answers some samples, in their order; never sees a reference answer."""
Progress = Callable[[int], None]


def run_benchmark(
    name: str,
    data_dir: Path,
    work_dir: Path,
    ask: Ask,
    *,
    split: str | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Results:
    """Ask a model every question of a benchmark and score what it says.

    Writes ``{name}-replies.jsonl`` (one line a question: id, extracted answer, verdict, rule, the
    replies) and ``{name}.json`` (the figures) into `work_dir`, beside ``pictures/``.

    Args:
        name: a name of the catalog, such as "mathvista" or "We-Math".
        data_dir: the downloaded files, as on the hub.
        work_dir: an existing folder that may be written to.
        ask: the model.
        split: default: the one that is usually reported.
        limit: at most this many questions.
        skip_bad: leave unusable rows out and tell them in the results.
        batch_size: questions that are asked at a time; only so many are in memory with pictures.
        progress: told how many questions are done.

    Raises:
        ConfigError: an unknown name, a limit or batch size below 1, or replies that are too few.
        InputError: files or rows that cannot be used, or a place that cannot be written.
    """
    entry = benchmark(name)
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}, expected at least 1")
    if not work_dir.is_dir():
        raise InputError(f"{work_dir} is not a folder; make it first")
    left_out: list[str] | None = [] if skip_bad else None
    rows = read_rows(entry.name, data_dir, work_dir, split=split, limit=limit, left_out=left_out)
    scored: list[Scored] = []

    def lines() -> Iterator[dict[str, Any]]:
        for part in _batches(rows, batch_size):
            replies = ask([row.sample for row in part])
            if len(replies) != len(part):
                raise ConfigError(f"asked {len(part)} questions, got {len(replies)} replies")
            for row, reply in zip(part, replies, strict=True):
                one = _scored(entry.rule, row, reply)
                scored.append(one)
                yield _line(one, reply)
            if progress is not None:
                progress(len(scored))

    write_jsonl(work_dir / f"{entry.name}-replies.jsonl", lines())
    results = summarise(entry.name, scored, left_out or ())
    figures = json.dumps(_without_nan(results.as_json()), ensure_ascii=False, indent=2)
    (work_dir / f"{entry.name}.json").write_text(figures + "\n", encoding="utf-8")
    return results


def _scored(rule: Callable[[BenchmarkRow, str], Any], row: BenchmarkRow, reply: Replies) -> Scored:
    def of(text: str | None) -> Any:
        return NO_REPLY if text is None else rule(row, text)

    return Scored(row, of(reply.greedy), tuple(of(text) for text in reply.sampled))


def _line(one: Scored, reply: Replies) -> dict[str, Any]:
    return {
        "id": one.row.sample.id,
        "answer": one.row.answer,
        "extracted": one.greedy.extracted,
        "right": one.greedy.right,
        "rule": one.greedy.rule,
        "reply": reply.greedy,
        "sampled": [
            {"extracted": score.extracted, "right": score.right, "reply": text}
            for score, text in zip(one.sampled, reply.sampled, strict=True)
        ],
    }


def _batches(rows: Iterator[BenchmarkRow], size: int) -> Iterator[list[BenchmarkRow]]:
    part: list[BenchmarkRow] = []
    for row in rows:
        part.append(row)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _without_nan(value: Any) -> Any:
    """NaN as null: JSON has none."""
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and value != value else value
