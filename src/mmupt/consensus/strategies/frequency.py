"""Soft reward: how common an answer is (EMPO, arXiv 2504.05812)."""

from __future__ import annotations

from mmupt.consensus.ballot import Ballot
from mmupt.types import Vote


def frequency(ballot: Ballot) -> Vote:
    """Label by majority; reward = frequency of the answer's own class.

        r_i = |{j : y_j = y_i}| / G

    Source: arXiv 2504.05812, where the classes are clusters of meaning. Also the reward of CSRS
    (arXiv 2604.03647). An abstention gets 0. The reward needs no winner, so a tie alone (or a share
    below `min_share`) takes the label away and, as with every strategy, the rewards too.
    """
    election = ballot.elect(ballot.counts())
    if election.winner is None:
        return ballot.close(election)
    counts = ballot.counts()
    rewards = tuple(
        0.0 if number is None else counts[number] / len(ballot.classes) for number in ballot.classes
    )
    return ballot.close(election, rewards)
