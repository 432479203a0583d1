"""Advantages over a step's deviation, and self-certainty, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmupt.policy.sampler import SamplingParams, certainty, pick
from mmupt.train.advantage import EPSILON, batch_std, group_advantages


def test_batch_deviation_by_hand() -> None:
    assert batch_std([[1.0, 0.0], [1.0, 1.0]]) == pytest.approx(0.5)  # (3 * .0625 + .5625) / 3
    assert batch_std([]) == 1.0
    assert batch_std([[1.0]]) == 1.0


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
