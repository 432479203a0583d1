"""Two processes that share the groups of an update make the update of one.

Here they are threads with a model each, which meet as processes do; `test_processes.py` starts real
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any, TypeVar

import pytest
import tiny
import torch
from test_update_memory import cuda_error, limited
from test_update_reference import CLIP, RELATIVE, Recorder, three_groups
from torch import nn

from mmupt.config import TrainConfig
from mmupt.policy.model import Policy
from mmupt.processes import Processes
from mmupt.train.microbatch import TokenBudget
from mmupt.train.update import ScoredGroup, UpdateStats, update

T = TypeVar("T")


@dataclass
class Table:
    """Where two threads lay down what they bring to a meeting."""

    barrier: Barrier = field(default_factory=lambda: Barrier(2, timeout=60))
    seats: list[Any] = field(default_factory=lambda: [None, None])


@dataclass(frozen=True)
class Threads(Processes):
    table: Table = field(default_factory=Table)

    def gather(self, value: T) -> list[T]:
        self.table.seats[self.rank] = value
        self.table.barrier.wait()
        found = list(self.table.seats)
        self.table.barrier.wait()
        return found

    def sum(self, values: Sequence[float]) -> list[float]:
        return [sum(column) for column in zip(*self.gather(list(values)), strict=True)]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        trained = list(parameters)
        both = self.gather([None if p.grad is None else p.grad.clone() for p in trained])
        for parameter, gradients in zip(trained, zip(*both, strict=True), strict=True):
            there = [g for g in gradients if g is not None]
            parameter.grad = torch.stack(there).sum(0) if there else None


@dataclass
class Result:
    stats: UpdateStats
    steps: list[dict[str, torch.Tensor]]
    budget: TokenBudget


def together(
    load: Callable[[], Policy],
    groups: list[ScoredGroup],
    shares: list[slice],
    config: TrainConfig,
    rows: list[int | None],
) -> list[Result]:
    """Both threads' results; `rows` limits what fits into the memory of each."""
    table = Table()
    policies = [load(), load()]

    def one(rank: int) -> Result:
        policy, most = policies[rank], rows[rank]
        recorder, budget = Recorder(policy), TokenBudget()
        memory = nullcontext() if most is None else limited(policy, most, cuda_error)
        with memory:
            stats = update(
                policy, recorder, groups[shares[rank]], config, None,
                Threads(rank, 2, table), budget,
            )  # fmt: skip
        return Result(stats, recorder.steps, budget)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(2)))


@pytest.mark.parametrize("rows", [[None, None], [None, 3]])
@pytest.mark.parametrize("cut", [0, 1, 2])
@pytest.mark.parametrize(
    ("loss_type", "mini_batches"),
    [("grpo", 1), ("dapo", 2), ("bnpo", 3), ("dr_grpo", 2)],
)
def test_two_update_as_one(
    load_idefics3: Callable[[], Policy],
    loss_type: Any,
    mini_batches: int,
    cut: int,
    rows: list[int | None],
) -> None:
    """Also where one has nothing to learn from, and where only one runs out of memory."""
    config = TrainConfig(
        loss_type=loss_type, num_mini_batches=mini_batches, temperature=0.8, max_grad_norm=1e9,
        **CLIP,
    )  # fmt: skip
    alone = load_idefics3()
    groups, recorder = three_groups(alone), Recorder(alone)
    whole = update(alone, recorder, groups, config)
    both = together(load_idefics3, groups, [slice(cut), slice(cut, None)], config, rows)
    for result in both:
        assert len(result.steps) == len(recorder.steps) == mini_batches
        for found, expected in zip(result.steps, recorder.steps, strict=True):
            assert tiny.worst_error(found, expected) < RELATIVE
        for name in ("loss", "tokens", "entropy", "kl", "clipped"):
            value = getattr(whole, name)
            assert getattr(result.stats, name) == pytest.approx(value, rel=RELATIVE, abs=1e-6)
        assert result.stats.grad_norms == pytest.approx(whole.grad_norms, rel=RELATIVE)
    first, second = both
    assert first.stats.halved == second.stats.halved
    assert first.budget == second.budget
    assert bool(first.stats.halved) == (rows == [None, 3])
    if first.stats.halved:
        assert first.budget.tokens == min(new for _, new in first.stats.halved)


def test_nobody_steps_where_nobody_learns(load_idefics3: Callable[[], Policy]) -> None:
    config = TrainConfig()
    both = together(load_idefics3, [], [slice(0), slice(0)], config, [None, None])
    assert all(result.stats == UpdateStats() and not result.steps for result in both)
