"""The gain of the rounds with its interval, and money divided by it. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from mmupt.errors import InputError
from mmupt.ledger.figures import Results, Why

SAME = 1e-6
"""How far a gain and the difference of both accuracies may be apart."""


class Gain(NamedTuple):
    """A difference of accuracies as a fraction; all None where it is not measured."""

    value: float | None
    low: float | None
    high: float | None

    def times(self, factor: float) -> Gain:
        """In another unit; `factor` is at least 0."""
        if self.value is None or self.low is None or self.high is None:
            return UNMEASURED
        return Gain(self.value * factor, self.low * factor, self.high * factor)

    @property
    def why(self) -> Why | None:
        """What stands in the way of calling it a gain; a loss is told by its sign."""
        if self.value is None or self.low is None:
            return "not-measured"
        return "not-proven" if self.value > 0 >= self.low else None


UNMEASURED = Gain(None, None, None)


class Money(NamedTuple):
    """A sum of money, or why there is none."""

    value: float | None
    why: Why | None


class Ratio(NamedTuple):
    """Money by gain, with the interval that the gain's gives; `high` is infinite where the gain
    may be none."""

    value: float | None
    low: float | None
    high: float | None
    why: Why | None


def gain_of(results: Results) -> Gain:
    """The gain as a fraction with its interval; None where it is not measured.

    Where it was not taken from pairs (Newcombe 1998, method 10, from any intervals of the two):

        d = after - before
        low = d - sqrt((after - after.low)^2 + (before.high - before)^2)
        high = d + sqrt((after.high - after)^2 + (before - before.low)^2)
    """
    for name, one in results.accuracies.items():
        if not 0 <= one.low <= one.value <= one.high <= 1:
            raise InputError(
                f"accuracy of {name[:60]}: {one.value} [{one.low}, {one.high}]: expected fractions "
                "in [0, 1], the value within its interval"
            )
    if results.questions < 0:
        raise InputError(f"{results.questions} questions: expected 0 or more")
    before = results.accuracies.get(results.before)
    after = results.accuracies.get(results.after)
    if results.gain is not None:
        found = results.gain
        if math.isnan(found.estimate) or math.isnan(found.low) or math.isnan(found.high):
            return UNMEASURED
        if not -1 <= found.estimate <= 1 or not found.low <= found.estimate <= found.high:
            raise InputError(
                f"gain {found.estimate} [{found.low}, {found.high}]: expected a difference of "
                "fractions within its interval"
            )
        if before and after and abs(after.value - before.value - found.estimate) > SAME:
            raise InputError(
                f"gain {found.estimate} is not that from {before.value} ({results.before[:60]}) to "
                f"{after.value} ({results.after[:60]}): expected both from the same rows"
            )
        return Gain(*found)
    if results.before == results.after:
        return Gain(0.0, 0.0, 0.0)  # nothing was promoted
    if before is None or after is None:
        return UNMEASURED
    gain = after.value - before.value
    return Gain(
        gain,
        gain - math.hypot(after.value - after.low, before.high - before.value),
        gain + math.hypot(after.high - after.value, before.value - before.low),
    )


def over(money: Money, gain: Gain, unit: float) -> Ratio:
    """money / (gain x unit); `unit` is above 0.

    Without a gain there is no such ratio. Where the gain may be 0 there is no upper end.
    """
    if money.value is None:
        return Ratio(None, None, None, money.why)
    value, low, high = gain.times(unit)
    if value is None or low is None or high is None:
        return Ratio(None, None, None, "not-measured")
    if value <= 0:
        return Ratio(None, None, None, "no-gain")
    worst = money.value / low if low > 0 else math.inf
    return Ratio(money.value / value, money.value / high, worst, gain.why)
