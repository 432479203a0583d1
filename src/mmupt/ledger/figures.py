"""The nouns of a return on investment: results, figures with their formulas, all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mmupt.config_supervision import RoiConfig
from mmupt.ledger.book import Totals
from mmupt.ledger.cost import pilot_of, rounds_of
from mmupt.stats import Difference

Unit = Literal["count", "seconds", "kwh", "money", "price", "points", "percent", "months"]

Why = Literal[
    "no-rounds", "not-booked", "energy-unknown", "not-measured", "no-gain", "not-proven", "no-value"
]
"""Why a figure is None, or, for ``not-proven``, why one end of its interval is infinite."""


class Accuracy(NamedTuple):
    """Accuracy of a version on held-out rows, as a fraction, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Results:
    """What the rounds led to.

    Attributes:
        before: version that the label-free rounds started from.
        after: the champion.
        accuracies: by version; without one of the two no gain is measured.
        questions: unlabelled questions whose pseudo-labels were trained on, each once.
        gain: of `after` over `before` on the same rows, `stats.paired_difference`, a fraction.
            None: worked out from both accuracies as if their rows were not the same, which
            gives a wider interval.
        confidence: of the intervals.
    """

    before: str
    after: str
    accuracies: Mapping[str, Accuracy]
    questions: int
    gain: Difference | None = None
    confidence: float = 0.95


class Term(NamedTuple):
    """A number in a formula."""

    value: float | None
    unit: Unit


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        key: such as ``break_even``.
        value: None where it is not defined; `why` says why.
        low, high: ends of its interval, where the gain's gives it one; `math.inf` where there is
            no upper end.
        unit: of the value.
        formula: which formula it is, a text of `locale`.
        terms: the numbers in it.
        assumptions: the settings of `roi` that it depends on, with their values.
        about: the round that it is about.
    """

    key: str
    value: float | None
    unit: Unit
    formula: str
    terms: Mapping[str, Term]
    assumptions: tuple[tuple[str, float | int | str | None], ...] = ()
    low: float | None = None
    high: float | None = None
    why: Why | None = None
    about: str = ""


@dataclass(frozen=True, slots=True)
class Roi:
    """All figures, and what they come from.

    Attributes:
        figures: in the order in which they are shown.
        totals: what is booked.
        results: what the rounds led to.
        config: the prices.
    """

    figures: tuple[Figure, ...]
    totals: Totals
    results: Results
    config: RoiConfig

    def figure(self, key: str, about: str = "") -> Figure:
        """One figure by key; those of a round also by its name.

        Raises:
            KeyError: there is none.
        """
        for one in self.figures:
            if (one.key, one.about) == (key, about):
                return one
        raise KeyError(f"{key} {about}".strip())

    @property
    def rounds(self) -> int:
        """How many label-free rounds are booked."""
        return len(rounds_of(self.totals))

    @property
    def pilot(self) -> bool:
        """Whether a pilot is booked."""
        return bool(pilot_of(self.totals))
