"""Advantages of completions: rewards relative to their group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

ScaleRewards = Literal["group", "batch", "none"]

EPSILON = 1e-4
"""Added to the standard deviation, as in TRL."""


def group_advantages(
    rewards_G: Sequence[float], scale_rewards: ScaleRewards = "group", batch_std: float = 1.0
) -> npt.NDArray[np.float64]:
    """Rewards relative to their group.

        group   A_i = (r_i - mean r) / (std r + eps)       GRPO, arXiv 2402.03300
        batch   A_i = (r_i - mean r) / (std_batch + eps)   arXiv 2508.08221, `batch_std` below
        none    A_i = r_i - mean r                         Dr. GRPO, arXiv 2503.20783

    `std` is the sample standard deviation (G - 1), as in TRL. Dividing by it makes the few
    dissenters of a large majority weigh most (JURY-RL, arXiv 2604.25419); `none` does not.
    Equal rewards give zeros: such a group teaches nothing and is skipped.
    """
    rewards = np.asarray(rewards_G, dtype=np.float64)
    if np.all(rewards == rewards[:1]):  # their mean may differ from them in its last bit
        return np.zeros_like(rewards)
    centred: npt.NDArray[np.float64] = rewards - rewards.mean()
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
