"""The processes that train together: one by default, several under `mmupt launch`.

Groups never straddle processes: each process rolls out, votes on and scores whole groups, and only
sums cross over - of counts, of figures, and of gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among `count` equal ones; with one, every method gives back what it was given.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes events, checkpoints and models."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes."""
        return list(values)

    def gather(self, value: T) -> list[T]:
        """What every process has, in the order of their ranks."""
        return [value]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes; a missing one counts as zero."""


ALONE = Processes()
"""One process."""
