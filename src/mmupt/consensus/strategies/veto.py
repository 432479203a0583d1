"""Votes propose, a checker disposes (JURY-RL, arXiv 2604.25419)."""

from __future__ import annotations

from math import fsum

from mmupt.consensus.ballot import Ballot, Election
from mmupt.types import Vote


def veto(ballot: Ballot) -> Vote:
    """Only a majority that the checker accepts is rewarded; a vetoed one gives its place away.

        accepted:  r_i = [y_i = y*]
        vetoed:    r_i = alpha (z_i - mean_R z) for i in R,   0 for the vetoed class

    R are the answers outside the vetoed class, z_i = (|class(i)| - 1) / (|R| - 1) the support that
    answer i finds among the others of R. So the residual rewards sum to zero and still tell the
    supported answers from the scattered ones. Source: ResZero of arXiv 2604.25419; deviation: the
    vetoed class stands at the mean (0) instead of below it. Options: `checker`, a function of the
    label that is true when it may be rewarded (a range, a unit, arithmetic, a program: whatever it
    raises comes through); `alpha` (1.0). An abstention gets 0 either way. Vetoed: label None.
    """
    election = ballot.elect(ballot.counts())
    checker = ballot.options.checker
    if election.winner is None or checker is None or checker(ballot.names()[election.winner]):
        return ballot.close(election)
    lost = Election(None, election.share, election.tied)
    return ballot.close(lost, _residual(ballot, election.winner))


def _residual(ballot: Ballot, vetoed: int) -> tuple[float, ...]:
    """ResZero rewards of all G answers, given the vetoed class."""
    counts = ballot.counts()
    others = [k for k in ballot.classes if k is not None and k != vetoed]
    if len(others) < 2:
        return (0.0,) * len(ballot.classes)
    support = [(count - 1) / (len(others) - 1) for count in counts]
    mean = fsum(support[k] for k in others) / len(others)
    alpha = ballot.options.alpha
    return tuple(
        0.0 if k is None or k == vetoed else alpha * (support[k] - mean) for k in ballot.classes
    )
