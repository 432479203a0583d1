"""Advantages and losses at values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmupt.train.advantage import EPSILON, group_advantages
from mmupt.train.loss import clipped_objective, kl_k3, loss_denominator, reduce_loss

rewards = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=1, max_size=32)


# Advantages


def test_group_advantages() -> None:
    """(1, 0, 0, 1): mean 1/2, sample deviation sqrt(4 x 1/4 / 3) = sqrt(1/3)."""
    expected = 0.5 / (math.sqrt(1 / 3) + 1e-4)
    assert group_advantages([1, 0, 0, 1], "group").tolist() == pytest.approx(
        [expected, -expected, -expected, expected], rel=1e-12
    )
    assert group_advantages([1, 0, 0, 1], "none").tolist() == [0.5, -0.5, -0.5, 0.5]


def test_group_advantages_of_one_dissenter() -> None:
    """Nine right, one wrong: mean 0.9, squares 9 x 0.01 + 0.81 = 0.9, deviation sqrt(0.9/9).

    The dissenter weighs 2.85, each of the others 0.32; undivided it is 0.9 and 0.1.
    """
    scaled = group_advantages([1] * 9 + [0], "group")
    assert scaled[:9].tolist() == pytest.approx([0.1 / (math.sqrt(0.1) + 1e-4)] * 9, rel=1e-9)
    assert scaled[9] == pytest.approx(-0.9 / (math.sqrt(0.1) + 1e-4), rel=1e-9)
    assert scaled[9] == pytest.approx(-2.8451, abs=1e-4)
    plain = group_advantages([1] * 9 + [0], "none")
    assert plain.tolist() == pytest.approx([0.1] * 9 + [-0.9], abs=1e-12)


def test_group_advantages_of_fractions() -> None:
    """(0, 1/4, 1): mean 5/12, squares (25 + 4 + 49)/144, deviation sqrt(78/288)."""
    deviation = math.sqrt(78 / 288) + 1e-4
    assert group_advantages([0, 0.25, 1], "group").tolist() == pytest.approx(
        [-5 / 12 / deviation, -2 / 12 / deviation, 7 / 12 / deviation], rel=1e-12
    )


@given(rewards, st.sampled_from(["group", "none"]))
def test_advantages_sum_to_zero(given_rewards: list[float], scale: str) -> None:
    found = group_advantages(given_rewards, scale)  # type: ignore[arg-type]
    assert len(found) == len(given_rewards)
    assert abs(found.sum()) <= 1e-12 * max(map(abs, given_rewards)) * len(found) / EPSILON


@given(st.integers(2, 32), st.integers(0, 32), st.sampled_from(["group", "none"]))
def test_votes_of_all_sizes(size: int, wins: int, scale: str) -> None:
    """Rewards of 0 and 1: winners above zero, losers below, all equal exactly zero."""
    wins = min(wins, size)
    found = group_advantages([1.0] * wins + [0.0] * (size - wins), scale)  # type: ignore[arg-type]
    if wins in (0, size):
        assert not found.any()
    else:
        assert (found[:wins] > 0).all()
        assert (found[wins:] < 0).all()
        assert abs(found.sum()) < 1e-9


@given(st.floats(-1e6, 1e6), st.integers(1, 64), st.sampled_from(["group", "none"]))
def test_equal_rewards_give_zeros(reward: float, size: int, scale: str) -> None:
    """Exactly, also where the mean of equal numbers is not that number in floating point."""
    assert group_advantages([reward] * size, scale).tolist() == [0.0] * size  # type: ignore[arg-type]


@given(rewards, st.floats(0.1, 10), st.floats(-10, 10), st.randoms(use_true_random=False))
def test_advantages_do_not_depend_on_order_or_offset(
    given_rewards: list[float], factor: float, offset: float, shuffle: object
) -> None:
    order = list(range(len(given_rewards)))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    plain = group_advantages(given_rewards, "none")
    moved = group_advantages([factor * given_rewards[i] + offset for i in order], "none")
    np.testing.assert_allclose(moved, factor * plain[order], rtol=1e-9, atol=1e-9)


# The clipped objective


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped", "slope"),
    [
        # epsilon 0.2 below, 0.3 above; slope = d loss / d logp = -ratio A, 0 where clipped
        (1.0, 2.0, -2.0, False, -2.0),
        (1.0, -2.0, 2.0, False, 2.0),
        (1.25, 2.0, -2.5, False, -2.5),  # inside the upper bound
        (1.5, 2.0, -2.6, True, 0.0),  # min(3.0, 1.3 x 2): no more reward for going further
        (1.5, -2.0, 3.0, False, 3.0),  # min(-3.0, -2.6) = -3.0: mistakes are pushed down in full
        (0.5, 2.0, -1.0, False, -1.0),  # min(1.0, 1.6) = 1.0: pulled up in full
        (0.5, -2.0, 1.6, True, 0.0),  # min(-1.0, -1.6) = -1.6: pushed down far enough
        (0.85, -2.0, 1.7, False, 1.7),  # inside the lower bound
        (4.0, 0.0, 0.0, False, 0.0),
    ],
)
def test_clipped_objective(
    ratio: float, advantage: float, loss: float, clipped: bool, slope: float
) -> None:
    logps = torch.tensor([[math.log(ratio) - 3.0]], requires_grad=True)
    found, where = clipped_objective(
        logps, torch.tensor([[-3.0]]), torch.tensor([advantage]), epsilon=0.2, epsilon_high=0.3
    )
    found.sum().backward()
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert bool(where.item()) is clipped
    assert logps.grad is not None
    assert logps.grad.item() == pytest.approx(slope, abs=1e-6)


def test_clipped_objective_gives_each_row_its_own_advantage() -> None:
    logps = torch.tensor([[0.0, math.log(2.0)], [0.0, math.log(2.0)]])
    found, where = clipped_objective(logps, torch.zeros(2, 2), torch.tensor([1.0, -1.0]), 0.2, 0.2)
    torch.testing.assert_close(found, torch.tensor([[-1.0, -1.2], [1.0, 2.0]]))
    assert where.tolist() == [[False, True], [False, False]]


# KL


@pytest.mark.parametrize(
    ("logp", "reference", "expected"),
    [
        (-1.0, -1.0, 0.0),
        (-1.0, -1.0 + math.log(2), 2 - math.log(2) - 1),  # 0.306853
        (-1.0, -1.0 - math.log(2), 0.5 + math.log(2) - 1),  # 0.193147
        (0.0, -5.0, math.exp(-5) + 4.0),
    ],
)
def test_kl_k3(logp: float, reference: float, expected: float) -> None:
    found = kl_k3(torch.tensor([[logp]]), torch.tensor([[reference]]))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_kl_k3_is_unbiased() -> None:
    """Weighted with the policy's probabilities it is KL(pi || ref), here of two coins."""
    policy, reference = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    mean = (policy * kl_k3(policy.log(), reference.log())).sum().item()
    assert mean == pytest.approx(0.5 * math.log(5 / 9) + 0.5 * math.log(5), abs=1e-6)


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_kl_k3_is_never_negative(logp: float, reference: float) -> None:
    exact = torch.tensor([[logp, reference]], dtype=torch.float64)
    assert kl_k3(exact[:, :1], exact[:, 1:]).item() >= -1e-12


# Reduction


def test_reduce_loss() -> None:
    """Completions of 1, 3 and 2 tokens; what stands on padding must not count."""
    per_token = torch.tensor([[6.0, 99.0, 99.0], [1.0, 2.0, 6.0], [4.0, 8.0, 99.0]])
    mask = torch.tensor([[1.0, 0, 0], [1, 1, 1], [1, 1, 0]])
    assert loss_denominator("grpo", 3, 6, 10) == 3.0
    assert loss_denominator("dapo", 3, 6, 10) == 6.0
    assert loss_denominator("dr_grpo", 3, 6, 10) == 30.0
    assert reduce_loss(per_token, mask, "grpo", 3.0).item() == pytest.approx((6 + 3 + 6) / 3)
    assert reduce_loss(per_token, mask, "dapo", 6.0).item() == pytest.approx((6 + 9 + 12) / 6)
    assert reduce_loss(per_token, mask, "dr_grpo", 30.0).item() == pytest.approx((6 + 9 + 12) / 30)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_parts_add_up_to_the_whole(loss_type: str) -> None:
    generator = torch.Generator().manual_seed(1)
    per_token, lengths = torch.randn(7, 5, generator=generator), [5, 1, 3, 2, 4, 5, 1]
    mask = torch.tensor([[1.0] * n + [0.0] * (5 - n) for n in lengths])
    total = loss_denominator(loss_type, 7, sum(lengths), 8)  # type: ignore[arg-type]
    whole = reduce_loss(per_token, mask, loss_type, total)  # type: ignore[arg-type]
    parts = [
        reduce_loss(per_token[rows], mask[rows], loss_type, total)  # type: ignore[arg-type]
        for rows in (slice(0, 2), slice(2, 3), slice(3, 7))
    ]
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-6)  # type: ignore[union-attr]


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_nothing_to_learn_from_divides_by_one(loss_type: str) -> None:
    assert loss_denominator(loss_type, 0, 0, 8) == 1.0  # type: ignore[arg-type]
