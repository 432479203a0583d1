"""Divide by how common the answer is over the whole batch, against constant answers."""

from __future__ import annotations

from mmupt.consensus.ballot import Ballot
from mmupt.types import Vote


def prior_corrected(ballot: Ballot) -> Vote:
    """The class that is most over-represented against the batch; reward 1 for being in it.

        score(y) = p_group(y) / max(p_batch(y), floor),   r_i = [y_i = y*]

    Own rule, after the constant-answer collapse that SRT describes (arXiv 2505.21444): an answer
    that every prompt gets carries no evidence about this one. It is the pointwise mutual
    information of answer and prompt, as with contextual calibration (arXiv 2102.09690). Options:
    `prior`, a mapping from answer to its share of all the batch's answers (equivalent answers add
    up); `prior_floor`, below which shares count as the floor: a group of G cannot resolve shares
    below 1/G, which is the default.
    """
    total = len(ballot.answers)
    floor = 1 / total if ballot.options.prior_floor is None else ballot.options.prior_floor
    scores = [
        count / total / max(share, floor)
        for count, share in zip(ballot.counts(), ballot.options.prior, strict=True)
    ]
    return ballot.close(ballot.elect(scores))
