"""Weight every answer by its share, penalise where there is no consensus (RESTRAIN)."""

from __future__ import annotations

from math import exp, fsum

from mmupt.consensus.ballot import Ballot, Election
from mmupt.types import Vote


def restrain(ballot: Ballot) -> Vote:
    """Every class is a pseudo-label, weighted by a Gaussian of its share; low consensus costs.

        g(f) = exp(-(1 - f)^2 / (2 sigma^2)),   w_k = g(f_k) / sum_l g(f_l),   r_i = w_class(i)
        f_max < kappa:   r_i = -penalty for every i, no label

    with f_k = answers of class k / G. Source: arXiv 2510.02172 (pseudo-label weighting and negative
    rollout penalisation). Deviations: the paper sums the losses of all pseudo-labels with weights
    w_k, which for an advantage linear in the reward is this reward; kappa is a share and not a
    count; the paper's offline weighting of prompts is not part of a vote. Options `sigma` (0.5),
    `kappa` (0.25), `penalty` (1.0). An abstention gets 0, and the penalty where all get it. The
    penalty is constant in the group, so it acts only where the advantage keeps the group's mean.
    As with every strategy, a tie that abstains takes label and rewards away.
    """
    options, counts, total = ballot.options, ballot.counts(), len(ballot.answers)
    election = ballot.elect(counts)
    if not counts or max(counts) / total < options.kappa:
        lost = Election(None, election.share, election.tied)
        return ballot.close(lost, (-options.penalty,) * total)
    if election.winner is None:
        return ballot.close(election)
    # Over the height of the largest class, as narrow Gaussians underflow to 0 even there.
    far = [(1 - count / total) ** 2 for count in counts]
    heights = [exp((min(far) - one) / (2 * options.sigma**2)) for one in far]
    whole = fsum(heights)
    rewards = tuple(0.0 if k is None else heights[k] / whole for k in ballot.classes)
    return ballot.close(election, rewards)
