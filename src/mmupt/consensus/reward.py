"""Rewards of answers against a label that somebody else gave."""

from __future__ import annotations

from collections.abc import Sequence

from mmupt.consensus.equivalence import partition


def rewards_against(
    label: str | None,
    answers: Sequence[str | None],
    kind: str = "auto",
    rtol: float | None = None,
) -> tuple[float, ...]:
    """Reward of each answer for being equivalent to a teacher's label.

    Label and answers go through one partition, so that the reward is as transitive as the vote
    that made the label: r_i = [y_i = label] (arXiv 2505.22453, with equivalence for `=`).

    Args:
        label: the pseudo-label; None (no label) rewards nobody.
        answers: G answers, None for an abstention, which is never rewarded.
        kind: see `partition`.
        rtol: see `partition`.

    Returns:
        G rewards, 1.0 or 0.0.
    """
    label_class, *classes = partition([label, *answers], kind=kind, rtol=rtol)
    if label_class is None:
        return (0.0,) * len(answers)
    return tuple(1.0 if number == label_class else 0.0 for number in classes)
