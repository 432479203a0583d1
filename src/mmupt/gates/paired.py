"""Bounds for a paired difference that stay honest where few questions differ. Pure functions.

One-sided, as a criterion looks at one end. Two models answered the same n questions; d = after -
before of a question lies in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from mmupt.stats import mcnemar_exact, student_quantile

MOST_ROWS = 10_000
"""More rows than that are nothing to ask of people."""
_EXACT = 1000
"""Up to here integers give McNemar's tail, above logarithms of factorials."""


@dataclass(frozen=True, slots=True)
class Paired:
    """The differences of n questions, as far as the bounds need them.

    Attributes:
        n: questions.
        won, lost: sums of what rose and of what fell; for values 0 and 1 the numbers of questions
            that only the second model got right, and that only the first one did.
        squares: sum of the squared differences.
        binary: all values are 0 or 1.
    """

    n: float
    won: float
    lost: float
    squares: float
    binary: bool

    @classmethod
    def of(cls, before_N: Sequence[float], after_N: Sequence[float]) -> Paired:
        """From two lists of equal length with values in [0, 1]."""
        differences = [b - a for a, b in zip(before_N, after_N, strict=True)]
        return cls(
            n=len(differences),
            won=math.fsum(d for d in differences if d > 0),
            lost=-math.fsum(d for d in differences if d < 0),
            squares=math.fsum(d * d for d in differences),
            binary=all(value in (0, 1) for values in (before_N, after_N) for value in values),
        )

    @property
    def estimate(self) -> float:
        return (self.won - self.lost) / self.n

    @property
    def turned(self) -> Paired:
        """Before and after exchanged."""
        return Paired(self.n, self.lost, self.won, self.squares, self.binary)

    def scaled(self, n: float) -> Paired:
        """As n questions would look where they go as these did."""
        factor = n / self.n
        won, lost, squares = (factor * value for value in (self.won, self.lost, self.squares))
        return Paired(n, won, lost, squares, self.binary)

    def lower(self, confidence: float) -> float:
        """Lower bound of the mean difference, one-sided; in [-1, 1].

        Values 0 and 1: Tango's score bound (Statistics in Medicine 17, 1998, 891-908), which has
        width where no question differs: -z^2 / (n + z^2). Other values: Student's t over the n
        differences and one more that is the worst possible, -1. Without it, a few questions that
        did not change would have a bound without width, and "nothing changed" in ten rows would
        prove as much as in a thousand; the same thought as the worst end that the bound of
        arXiv 1905.06208 adds to a sample.
        """
        return self._score(confidence) if self.binary else self._student(confidence)

    def upper(self, confidence: float) -> float:
        """Upper bound of the mean difference, one-sided."""
        return -self.turned.lower(confidence)

    def _student(self, confidence: float) -> float:
        n = self.n + 1
        mean = (self.won - self.lost - 1) / n
        spread = max(0.0, self.squares + 1 - n * mean * mean) / (n - 1)
        t = student_quantile(max(1, int(n) - 1), 2 * confidence - 1)
        return max(-1.0, mean - t * math.sqrt(spread / n))

    def _score(self, confidence: float) -> float:
        z = NormalDist().inv_cdf(confidence)
        low, high = -1.0, self.estimate
        for _ in range(50):
            middle = (low + high) / 2
            if self._statistic(middle) > z:
                low = middle
            else:
                high = middle
        return low

    def _statistic(self, delta: float) -> float:
        """Tango's score statistic of the hypothesis that the mean difference is `delta` <= 0.

            T = (c - b - n delta) / sqrt(n (2 q + delta (1 - delta)))

        c won, b lost; q is the most likely probability of losing a question under the hypothesis,
        the larger root of 2n q^2 + B q + C with B = (2n - c + b) delta - c - b,
        C = -b delta (1 - delta).
        """
        n, c, b = self.n, self.won, self.lost
        linear = (2 * n - c + b) * delta - c - b
        constant = -b * delta * (1 - delta)
        q = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        above = c - b - n * delta
        if variance <= 0:
            return math.inf if above > 0 else 0.0
        return above / math.sqrt(variance)


def rows_needed(paired: Paired, margin: float, confidence: float) -> int | None:
    """About how many questions would show a loss of at most `margin`, if all go as these did.

    None: more than `MOST_ROWS`, or never, as what was seen is a larger loss.
    """

    def shows(n: float) -> bool:
        return paired.scaled(n).lower(confidence) >= -margin

    if paired.n >= MOST_ROWS or not shows(MOST_ROWS):
        return None
    low, high = paired.n, float(MOST_ROWS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return round_up(math.ceil(high))


def round_up(n: int) -> int:
    """To two digits, as "about n" is not known better: 1,234 -> 1,300."""
    step = int(10 ** max(0, len(str(n)) - 2))
    return math.ceil(n / step) * step


def worse_p(lost: int, won: int) -> float:
    """One-sided exact p-value of McNemar's test that the second model does not lose.

    P(X >= lost) for X ~ Binomial(lost + won, 1/2): the questions that only one of the two got
    right are fair coins if neither is better (McNemar 1947, exact form). 1 for no such question.
    """
    n = lost + won
    if lost <= won:
        return 1.0  # at least one half, whatever it is exactly
    if n <= _EXACT:
        return mcnemar_exact(lost, won) / 2
    start = math.lgamma(n + 1) - n * math.log(2)
    return math.fsum(
        math.exp(start - math.lgamma(i + 1) - math.lgamma(n - i + 1)) for i in range(won + 1)
    )
