"""Advantages of completions: rewards relative to their group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

ScaleRewards = Literal["group", "batch", "none"]
Estimator = Literal["grpo", "rloo"]

EPSILON = 1e-4
"""Added to the standard deviation, as in TRL."""


def group_advantages(
    rewards_G: Sequence[float],
    scale_rewards: ScaleRewards = "group",
    batch_std: float = 1.0,
    estimator: Estimator = "grpo",
) -> npt.NDArray[np.float64]:
    """Rewards relative to their group: less a baseline b_i, divided by a scale s.

        grpo    b_i = mean r                               arXiv 2402.03300
        rloo    b_i = mean of r_j over j != i              arXiv 2402.14740
        group   s = std r + eps                            GRPO, arXiv 2402.03300
        batch   s = std_batch + eps                        arXiv 2508.08221, `batch_std` below
        none    s = 1                                      Dr. GRPO, arXiv 2503.20783

    Leaving a completion out of its own baseline makes the estimate unbiased; as r_i - b_i is then
    G / (G - 1) times what it is in GRPO, it weighs small groups more and changes nothing else.

    `std` is the sample standard deviation (G - 1), as in TRL. Dividing by it makes the few
    dissenters of a large majority weigh most (JURY-RL, arXiv 2604.25419); `none` does not.
    Equal rewards give zeros: such a group teaches nothing and is skipped.
    """
    rewards = np.asarray(rewards_G, dtype=np.float64)
    if np.all(rewards == rewards[:1]):  # their mean may differ from them in its last bit
        return np.zeros_like(rewards)
    centred: npt.NDArray[np.float64] = rewards - rewards.mean()
    if estimator == "rloo":
        centred = centred * (len(rewards) / (len(rewards) - 1))
    match scale_rewards:
        case "none":
            return centred
        case "batch":
            return np.asarray(centred / (batch_std + EPSILON), dtype=np.float64)
        case "group":
            return np.asarray(centred / (rewards.std(ddof=1) + EPSILON), dtype=np.float64)


def batch_std(rewards: Sequence[Sequence[float]]) -> float:
    """Sample standard deviation over all rewards of a step's groups; 1 where it is undefined."""
    together = np.concatenate([np.asarray(group, dtype=np.float64) for group in rewards or [[]]])
    return float(together.std(ddof=1)) if together.size > 1 else 1.0
