"""Majority of weighted votes (weighted self-consistency, arXiv 2203.11171)."""

from __future__ import annotations

from math import fsum

from mmupt.consensus.ballot import Ballot
from mmupt.types import Vote


def weighted(ballot: Ballot) -> Vote:
    """The class with the largest sum of weights; reward 1 for being in it.

        y* = argmax_y sum_i w_i [y_i = y],   r_i = [y_i = y*]

    Option `weights`: G numbers >= 0, such as exp(mean token log-probability) (arXiv 2203.11171,
    section 2) or self-certainty (arXiv 2502.18581). `share` still counts answers, not weights.
    """
    parts: list[list[float]] = [[] for _ in ballot.counts()]
    for number, weight in zip(ballot.classes, ballot.options.weights, strict=True):
        if number is not None:
            parts[number].append(weight)
    # fsum rounds once, so the sum of equal weights is equal in any order and a tie stays a tie.
    return ballot.close(ballot.elect([fsum(weights) for weights in parts]))
