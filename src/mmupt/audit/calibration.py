"""What a vote share is worth: the chance that a label with this share is right, from an audit."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mmupt.audit.design import Plan
from mmupt.errors import InputError

_PRIOR: Final = 2.0
"""Verdicts that the overall precision counts for in every block, so that none says 0 or 1."""


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring shares with one probability.

    Attributes:
        share: their mean, weighted.
        probability: of being right.
        n: verdicts.
    """

    share: float
    probability: float
    n: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """A rising map from the vote share to the probability of being right.

    Attributes:
        blocks: by rising share and probability.
        n: verdicts it was made from.
    """

    blocks: tuple[Block, ...]
    n: int

    def probability(self, share: float) -> float:
        """Linear between the blocks' means, constant beyond the first and the last."""
        place = bisect_right([block.share for block in self.blocks], share)
        if place in (0, len(self.blocks)):
            return self.blocks[min(place, len(self.blocks) - 1)].probability
        low, high = self.blocks[place - 1], self.blocks[place]
        part = (share - low.share) / (high.share - low.share)
        return low.probability + part * (high.probability - low.probability)


def calibrate(
    plan: Plan, outcomes: Mapping[str, bool | None], shares: Mapping[str, float]
) -> Calibration:
    """Isotonic regression of right or wrong on the share, weighted to the frame.

    A verdict of stratum h stands for N_h / n_h units, the inverse of its inclusion probability, so
    that a sample of doubtful labels does not make all labels look doubtful. The fit is by pooling
    adjacent violators; each block is then drawn towards the overall precision by two verdicts.

    Args:
        plan: of the audit.
        outcomes: right or wrong by id; units that are not told are left out.
        shares: vote share by id.

    Raises:
        InputError: no unit is told right or wrong, or one has no share.
    """
    told = [one for one in plan.drawn if outcomes.get(one.id) is not None]
    if not told:
        raise InputError("no verdict says right or wrong; judge some labels, then calibrate")
    seen = Counter(one.stratum for one in told)
    rows: list[tuple[float, bool, float]] = []
    for one in told:
        if one.id not in shares:
            raise InputError(f"unit {one.id!r:.80} has no vote share; give one for each verdict")
        weight = plan.strata[one.stratum] / seen[one.stratum]
        rows.append((shares[one.id], bool(outcomes[one.id]), weight))
    total = sum(weight for *_, weight in rows)
    overall = sum(weight for _, right, weight in rows if right) / total
    blocks = _pool(sorted(rows), overall)
    return Calibration(tuple(blocks), len(rows))


def _pool(rows: Sequence[tuple[float, bool, float]], overall: float) -> list[Block]:
    """Pool adjacent violators; equal shares are one to begin with."""
    sums: list[list[float]] = []  # weight, weight * right, weight * share, verdicts
    last = None
    for share, right, weight in rows:
        new = [weight, weight * right, weight * share, 1.0]
        if share == last:
            sums[-1] = [a + b for a, b in zip(sums[-1], new, strict=True)]
        else:
            sums.append(new)
        last = share
    blocks: list[list[float]] = []
    for one in sums:
        blocks.append(one)
        while len(blocks) > 1 and _value(blocks[-2], overall) >= _value(blocks[-1], overall):
            top = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], top, strict=True)]
    return [Block(b[2] / b[0], _value(b, overall), int(b[3])) for b in blocks]


def _value(block: Sequence[float], overall: float) -> float:
    weight, right, _, n = block
    return (n * right / weight + _PRIOR * overall) / (n + _PRIOR)
