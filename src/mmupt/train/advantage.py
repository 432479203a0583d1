"""Advantages of the completions of one group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

ScaleRewards = Literal["group", "none"]

EPSILON = 1e-4
"""Added to the standard deviation, as in TRL."""


def group_advantages(
    rewards_G: Sequence[float], scale_rewards: ScaleRewards = "group"
) -> npt.NDArray[np.float64]:
    """Rewards relative to their group.

        group   A_i = (r_i - mean r) / (std r + eps)     GRPO, arXiv 2402.03300
        none    A_i = r_i - mean r                       Dr. GRPO, arXiv 2503.20783

    `std` is the sample standard deviation (G - 1), as in TRL. Dividing by it makes the few
    dissenters of a large majority weigh most (JURY-RL, arXiv 2604.25419); `none` does not.
    Equal rewards give zeros: such a group teaches nothing and is skipped.
    """
    rewards = np.asarray(rewards_G, dtype=np.float64)
    if np.all(rewards == rewards[:1]):  # their mean may differ from them in its last bit
        return np.zeros_like(rewards)
    centred: npt.NDArray[np.float64] = rewards - rewards.mean()
    if scale_rewards == "none":
        return centred
    return np.asarray(centred / (rewards.std(ddof=1) + EPSILON), dtype=np.float64)
