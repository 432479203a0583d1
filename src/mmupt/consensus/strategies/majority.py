"""Majority vote, the rule of MM-UPT (arXiv 2505.22453) and TTRL (arXiv 2504.16084)."""

from __future__ import annotations

from mmupt.consensus.ballot import Ballot
from mmupt.types import Vote


def majority(ballot: Ballot) -> Vote:
    """The class with most answers; reward 1 for being in it.

        y* = argmax_y sum_i [y_i = y],   r_i = [y_i = y*]

    Source: arXiv 2505.22453, section 3. Deviations: `=` is equivalence and not equality of strings;
    an abstention is nobody's vote; a tie is a tie.
    """
    return ballot.close(ballot.elect(ballot.counts()))
