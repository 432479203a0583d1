"""Rewards of answers against a vote that somebody else held."""

from __future__ import annotations

from collections.abc import Sequence

from mmupt.consensus.equivalence import partition


def rewards_by_class(
    voters: Sequence[str | None],
    voter_rewards: Sequence[float],
    answers: Sequence[str | None],
    kind: str = "auto",
    rtol: float | None = None,
) -> tuple[float, ...]:
    """Reward of each answer: what the vote gave to the answers of its class.

    Voters and answers go through one partition, so that the reward is as transitive as the vote
    that made the label. For a majority vote this is r_i = [y_i ~ y*] (arXiv 2505.22453, with
    equivalence for `=`); a soft reward (arXiv 2504.05812) carries over class by class.

    Args:
        voters: the answers that were voted on, None for abstentions.
        voter_rewards: the vote's reward of each of them; within a class they are equal. Where a
            tolerance joins two classes of the vote, the larger reward holds.
        answers: G answers to reward; an abstention gets 0, and so does an answer nobody voted for.
        kind: see `partition`.
        rtol: see `partition`.

    Returns:
        G rewards.
    """
    together = partition([*voters, *answers], kind=kind, rtol=rtol)
    of_class: dict[int, float] = {}
    for number, reward in zip(together[: len(voters)], voter_rewards, strict=True):
        if number is not None:
            of_class[number] = max(reward, of_class.get(number, reward))
    return tuple(
        0.0 if number is None else of_class.get(number, 0.0) for number in together[len(voters) :]
    )
