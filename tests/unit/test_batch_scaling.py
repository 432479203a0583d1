"""Advantages over a step's deviation, and self-certainty, by hand."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmupt.asking.answerer import SamplingParams
from mmupt.asking.answers import Reply
from mmupt.config import Config
from mmupt.policy.pick import certainty, pick
from mmupt.train.advantage import EPSILON, batch_std, group_advantages
from mmupt.train.judge import reward
from mmupt.train.labels import Label
from mmupt.train.rollout import Group
from mmupt.types import Completion, Finish, Sample, Vote


def test_batch_deviation_by_hand() -> None:
    assert batch_std([[1.0, 0.0], [1.0, 1.0]]) == pytest.approx(0.5)  # (3 * .0625 + .5625) / 3
    assert batch_std([]) == 1.0
    assert batch_std([[1.0]]) == 1.0


@given(
    st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=6), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_batch_deviation_is_that_of_all_rewards(groups: list[list[float]], random: Random) -> None:
    """Against the standard library; in which group a reward stands does not matter."""
    together = [reward for group in groups for reward in group]
    expected = statistics.stdev(together) if len(together) > 1 else 1.0
    assert batch_std(groups) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    shuffled = random.sample(together, len(together))
    assert batch_std([shuffled]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_two_groups_share_one_deviation() -> None:
    """(1, 0, 0, 0) and (1, 1, 0, 0): mean 3/8, squares 3 x 25/64 + 5 x 9/64 = 15/8, / 7.

    Scaled by its own deviation the dissenter of the first group would weigh sqrt(4/3) times as
    much against its fellows as one of the second; scaled by the batch's it weighs what it differs.
    """
    groups = [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]
    deviation = math.sqrt(15 / 56)
    assert batch_std(groups) == pytest.approx(deviation)
    first, second = (group_advantages(g, "batch", batch_std(groups)) for g in groups)
    assert first.tolist() == pytest.approx(
        [a / (deviation + 1e-4) for a in (0.75, -0.25, -0.25, -0.25)]
    )
    assert second.tolist() == pytest.approx(
        [a / (deviation + 1e-4) for a in (0.5, 0.5, -0.5, -0.5)]
    )


def judged(rewarded: Sequence[tuple[Sequence[str], bool]]) -> list[list[float]]:
    """Advantages, batch-scaled, of groups of answers with label 1, kept or not."""
    config = Config.model_validate({"train": {"scale_rewards": "batch"}})
    sample = Sample("q", "how many?")
    replies = [
        [Reply(Completion("", (1,), (0.0,), Finish.STOP), a) for a in answers]
        for answers, _ in rewarded
    ]
    labels = [Label(Vote("1", 1.0, False, (0,), (1.0,)), ("1",), kept) for _, kept in rewarded]
    groups = [Group(sample, (), tuple(r.completion for r in group)) for group in replies]
    return [j.scored.advantages_G.tolist() for j in reward(groups, labels, replies, config)]


def test_groups_that_are_not_kept_do_not_dilute_the_deviation() -> None:
    """Their zeros are no rewards: whether rolled out (online) or empty (a teacher's)."""
    kept = (("1", "2", "2", "2"), True)
    deviation = 0.5  # of (1, 0, 0, 0): squares 9/16 + 3/16 = 3/4, / 3
    expected = [a / (deviation + 1e-4) for a in (0.75, -0.25, -0.25, -0.25)]
    for dropped in ((("1", "1", "1", "2"), False), ((), False)):
        found = judged([dropped, kept, dropped])
        assert found[1] == pytest.approx(expected)
        assert found[0] == [0.0] * len(dropped[0])
    assert judged([((), False)]) == [[]]


def test_unanimous_groups_do_count_in_the_deviation() -> None:
    """(1, 1, 1, 1) and (1, 0, 0, 0): mean 5/8, squares 5 x 9/64 + 3 x 25/64 = 15/8, / 7."""
    agreed, split = judged([(("1",) * 4, True), (("1", "2", "2", "2"), True)])
    assert agreed == [0.0] * 4
    deviation = math.sqrt(15 / 56)
    assert split == pytest.approx([a / (deviation + 1e-4) for a in (0.75, -0.25, -0.25, -0.25)])


def test_batch_scaling_divides_every_group_alike() -> None:
    advantages = group_advantages([1.0, 0.0, 0.0, 0.0], "batch", 0.4)
    assert advantages == pytest.approx(np.array([0.75, -0.25, -0.25, -0.25]) / (0.4 + EPSILON))
    assert not group_advantages([1.0, 1.0], "batch", 0.4).any()


def test_self_certainty_is_the_divergence_from_uniform() -> None:
    probabilities = torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.25] * 4])
    found = certainty(probabilities.log())
    by_hand = sum(0.25 * math.log(0.25 / p) for p in (0.5, 0.25, 0.125, 0.125))
    assert found.tolist() == pytest.approx([by_hand, 0.0], abs=1e-6)


def test_pick_reports_it_at_the_sampling_temperature() -> None:
    logits = torch.tensor([[2.0, 0.0]])
    *_, warm = pick(logits, torch.tensor([0.1]), SamplingParams(temperature=2.0))
    *_, cold = pick(logits, torch.tensor([0.1]), SamplingParams(temperature=0.0))
    for found, gap in ((warm, 1.0), (cold, 2.0)):
        p = 1 / (1 + math.exp(-gap))
        expected = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
        assert float(found) == pytest.approx(expected, abs=1e-6)
