"""Figures of many values, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from typing import Any

_KEPT = 100_000


class Spread:
    """Least, middle and largest of whole numbers; counts of equal values, coarser when there are
    many different ones: from then on the middle is right within 1/64 of itself."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.least: int | None = None
        self.most: int | None = None
        self._values: Counter[int] = Counter()
        self._coarse = False

    def add(self, value: int) -> None:
        """Take one more value, 0 or larger."""
        self.count += 1
        self.total += value
        self.least = value if self.least is None else min(self.least, value)
        self.most = value if self.most is None else max(self.most, value)
        self._values[_coarser(value) if self._coarse else value] += 1
        if len(self._values) > _KEPT and not self._coarse:
            self._coarse = True
            values, self._values = self._values, Counter()
            for old, count in values.items():
                self._values[_coarser(old)] += count

    @property
    def median(self) -> int | None:
        """The lower of the two in the middle."""
        passed = 0
        for value in sorted(self._values):
            passed += self._values[value]
            if 2 * passed >= self.count:
                return value
        return None

    def json(self) -> dict[str, Any]:
        mean = self.total / self.count if self.count else None
        return {"min": self.least, "median": self.median, "mean": mean, "max": self.most}


def _coarser(value: int) -> int:
    """Its six highest bits."""
    shift = max(value.bit_length() - 7, 0)
    return value >> shift << shift
