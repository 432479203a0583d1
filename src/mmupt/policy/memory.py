"""Running out of memory: how it is told, and how many rows were too many for sampling.

A limit is found by running into it. It is kept while a `row_limit` is open around the sampling, so
that a run meets it once and not in every step.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch

from mmupt.events import EventLog
from mmupt.processes import ALONE, Processes


@dataclass(frozen=True)
class Halved:
    """One time that memory ran out: how many rows (completions) or prompts before and after."""

    what: str
    old: int
    new: int


@dataclass
class RowLimit:
    """What sampling may hold at once.

    Attributes:
        rows: most completions that are decoded together; None: no limit found yet.
        prompts: most prompts that are prefilled together; None: likewise.
        halved: each time that memory ran out, until `taken`.
    """

    rows: int | None = None
    prompts: int | None = None
    halved: list[Halved] = field(default_factory=list)

    def halve_rows(self, rows: int) -> None:
        """So many rows did not fit; half of them may."""
        self.rows = rows // 2
        self.halved.append(Halved("rows", rows, self.rows))

    def halve_prompts(self, prompts: int) -> None:
        """So many prompts could not be prefilled together; half of them may."""
        self.prompts = prompts // 2
        self.halved.append(Halved("prompts", prompts, self.prompts))

    def taken(self) -> list[Halved]:
        """What was halved since the last call."""
        found, self.halved = self.halved, []
        return found


_OPEN: ContextVar[RowLimit | None] = ContextVar("row_limit", default=None)


@contextmanager
def row_limit(rows: int | None = None, prompts: int | None = None) -> Iterator[RowLimit]:
    """All sampling inside shares one limit, which begins with these."""
    limit = RowLimit(rows, prompts)
    token = _OPEN.set(limit)
    try:
        yield limit
    finally:
        _OPEN.reset(token)


def open_limit() -> RowLimit:
    """The limit that is open, or one for this call alone."""
    return _OPEN.get() or RowLimit()


def tell_halved(
    limit: RowLimit, log: EventLog, processes: Processes = ALONE, **fields: Any
) -> None:
    """An event for each time that sampling ran out of memory since the last call, in any process.

    Args:
        fields: what else the events say: stage, step.
    """
    for one in processes.join(limit.taken()):
        log.emit(
            "memory_halved", **fields, where="sampling", what=one.what, old=one.old, new=one.new
        )


@contextmanager
def halving(log: EventLog, stage: str, processes: Processes = ALONE) -> Iterator[None]:
    """`row_limit` with its events, for what is sampled outside of a round.

    Within a round its limit holds, and its events are told after the step. In several processes the
    end is a meeting of them all.
    """
    if _OPEN.get() is not None:
        yield
        return
    with row_limit() as limit:
        yield
        tell_halved(limit, log, processes, stage=stage)


def out_of_memory(error: BaseException) -> bool:
    """Whether an accelerator's or the CPU's allocator had nothing left; torch has no one type."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    signs = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


def give_back() -> None:
    """Free what nothing holds any more. To be called when the exception and its frames are gone."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
