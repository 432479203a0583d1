"""Advantages and losses at values worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mmupt.config import TrainConfig
from mmupt.train.advantage import EPSILON, group_advantages
from mmupt.train.loss import (
    clipped_objective,
    importance_ratio,
    kl,
    loss_denominator,
    reduce_loss,
    token_loss,
    truncated_objective,
)

LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo")
LEVELS = ("token", "sequence")

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


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([1, 0, 0, 1], [1 - 1 / 3, -2 / 3, -2 / 3, 1 - 1 / 3]),
        ([0, 0.25, 1], [-0.625, -0.25, 0.875]),  # against 5/8, 1/2 and 1/8
        ([3, 1], [2, -2]),
    ],
)
def test_leave_one_out(rewards: list[float], expected: list[float]) -> None:
    """Each reward against the mean of the others."""
    found = group_advantages(rewards, "none", estimator="rloo")
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


@given(rewards, st.sampled_from(["group", "batch", "none"]))
def test_leave_one_out_is_that(given_rewards: list[float], scale: str) -> None:
    found = group_advantages(given_rewards, scale, 0.7, "rloo")  # type: ignore[arg-type]
    divisor = {
        "none": 1.0,
        "batch": 0.7 + EPSILON,
        "group": (np.std(given_rewards, ddof=1) if len(given_rewards) > 1 else 0.0) + EPSILON,
    }[scale]
    for i, reward in enumerate(given_rewards):
        others = given_rewards[:i] + given_rewards[i + 1 :]
        baseline = math.fsum(others) / len(others) if others else reward
        assert found[i] == pytest.approx((reward - baseline) / divisor, rel=1e-9, abs=1e-9)


@given(st.lists(st.integers(-8, 8), min_size=2, max_size=16), st.integers(1, 64))
def test_scaled_advantages_do_not_depend_on_the_unit_of_rewards(
    given_rewards: list[int], factor: int
) -> None:
    """But for the epsilon: a deviation of at least 1/4 makes that a part in 2,500."""
    one = group_advantages([float(r) for r in given_rewards], "group")
    other = group_advantages([float(factor * r) for r in given_rewards], "group")
    np.testing.assert_allclose(other, one, rtol=1e-3)


# Ratios and objectives


def test_ratios() -> None:
    """exp of differences; for sequences exp of their mean, over counted tokens alone."""
    logps = torch.tensor([[-1.0, -2.0, -5.0], [-1.0, 200.0, -3.0]])
    old = torch.tensor([[-1.5, -3.0, -6.5], [-0.5, -300.0, 0.0]])
    mask = torch.tensor([[1.0, 1, 1], [1, 0, 0]])
    token = importance_ratio(logps, old, mask, "token")
    expected = [[math.exp(0.5), math.exp(1.0), math.exp(1.5)], [math.exp(-0.5), 1.0, 1.0]]
    torch.testing.assert_close(token, torch.tensor(expected))
    sequence = importance_ratio(logps, old, mask, "sequence")
    torch.testing.assert_close(sequence, torch.tensor([[math.e], [math.exp(-0.5)]]))
    assert importance_ratio(logps, old, mask * 0, "sequence").tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("level", LEVELS)
def test_what_stands_on_padding_has_no_gradient(level: Any) -> None:
    """A difference of 500 nats there would make inf x 0."""
    logps = torch.tensor([[-1.0, 200.0]], requires_grad=True)
    far, mask = torch.tensor([[-1.0, -300.0]]), torch.tensor([[1.0, 0.0]])
    ratio = importance_ratio(logps, far, mask, level)
    loss = (ratio * mask + sum(kl(logps, far, mask, k) for k in ("k1", "k2", "k3")) * mask).sum()
    (gradient,) = torch.autograd.grad(loss, logps)
    assert loss.isfinite()
    assert gradient[0, 1].item() == 0.0
    assert gradient[0, 0].isfinite()


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
        (4.0, -2.0, 8.0, False, 8.0),
    ],
)
def test_clipped_objective(
    ratio: float, advantage: float, loss: float, clipped: bool, slope: float
) -> None:
    logps = torch.tensor([[math.log(ratio) - 3.0]], requires_grad=True)
    found, where = clipped_objective(
        (logps + 3.0).exp(), torch.tensor([advantage]), epsilon=0.2, epsilon_high=0.3
    )
    found.sum().backward()
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert bool(where.item()) is clipped
    assert logps.grad is not None
    assert logps.grad.item() == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped", "slope"),
    [
        (4.0, -2.0, 3.2, True, 0.0),  # min(1.6 x -2, 1.3 x -2) = -3.2: the second side
        (1.5, -2.0, 3.0, False, 3.0),  # inside it
        (4.0, 2.0, -2.6, True, 0.0),  # the first side is the nearer one
    ],
)
def test_delta_bounds_the_other_side(
    ratio: float, advantage: float, loss: float, clipped: bool, slope: float
) -> None:
    log_ratio = torch.tensor([[math.log(ratio)]], requires_grad=True)
    found, where = clipped_objective(log_ratio.exp(), torch.tensor([advantage]), 0.2, 0.3, 1.6)
    (gradient,) = torch.autograd.grad(found.sum(), log_ratio)
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert bool(where.item()) is clipped
    assert gradient.item() == pytest.approx(slope, abs=1e-6)


def test_clipped_objective_gives_each_row_its_own_advantage() -> None:
    ratio = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    found, where = clipped_objective(ratio, torch.tensor([1.0, -1.0]), 0.2, 0.2)
    torch.testing.assert_close(found, torch.tensor([[-1.0, -1.2], [1.0, 2.0]]))
    assert where.tolist() == [[False, True], [False, False]]


def test_truncated_objective_keeps_every_gradient() -> None:
    """Ratios 1/2, 2 and 8, truncated at 5: the gradient is -weight x A, also where truncated."""
    logps = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    old = logps.detach() - torch.tensor([[0.5, 2.0, 8.0]]).log()
    found, where = truncated_objective((logps - old).exp(), logps, torch.tensor([-0.5]), 5.0)
    (gradient,) = torch.autograd.grad(found.sum(), logps)
    torch.testing.assert_close(found, torch.tensor([[-0.25, -2.0, -7.5]]))
    torch.testing.assert_close(gradient, torch.tensor([[0.25, 1.0, 2.5]]))
    assert where.tolist() == [[False, False, True]]


# KL

ONE = torch.ones(1, 1)


@pytest.mark.parametrize(
    ("logp", "reference", "k1", "k2", "k3"),
    [
        (-1.0, -1.0, 0.0, 0.0, 0.0),
        (-1.0, -1.0 + math.log(2), -math.log(2), math.log(2) ** 2 / 2, 2 - math.log(2) - 1),
        (-1.0, -1.0 - math.log(2), math.log(2), math.log(2) ** 2 / 2, 0.5 + math.log(2) - 1),
        (0.0, -5.0, 5.0, 12.5, math.exp(-5) + 4.0),
    ],
)
def test_kl(logp: float, reference: float, k1: float, k2: float, k3: float) -> None:
    for estimator, expected in (("k1", k1), ("k2", k2), ("k3", k3)):
        found = kl(torch.tensor([[logp]]), torch.tensor([[reference]]), ONE, estimator)  # type: ignore[arg-type]
        assert found.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_kl_is_unbiased(estimator: Any) -> None:
    """Weighted with the policy's probabilities it is KL(pi || ref), here of two coins."""
    policy, reference = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    estimates = kl(policy.log(), reference.log(), torch.ones(1, 2), estimator)
    expected = 0.5 * math.log(5 / 9) + 0.5 * math.log(5)
    assert (policy * estimates).sum().item() == pytest.approx(expected, abs=1e-6)


def expected_gradient(estimator: str, corrected: bool) -> torch.Tensor:
    """Mean over the policy's own tokens of the gradient of the loss, by the policy's logits."""
    logits = torch.tensor([0.3, -0.4, 0.9, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([[-0.5, 0.2, 0.4, 0.7]], dtype=torch.float64).log_softmax(-1)
    logps = logits.log_softmax(-1)[None]
    mask = torch.ones(1, 4, dtype=torch.float64)
    ratio = importance_ratio(logps, logps.detach(), mask, "token") if corrected else 1.0
    loss = ratio * kl(logps, reference, mask, estimator)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad((logps.detach().exp() * loss).sum(), logits)
    return gradient


def test_what_the_gradients_of_the_estimators_mean() -> None:
    """Against the gradients of the two KLs, from their definitions."""
    logits = torch.tensor([0.3, -0.4, 0.9, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-0.5, 0.2, 0.4, 0.7], dtype=torch.float64).softmax(-1)
    policy = logits.softmax(-1)
    (reverse,) = torch.autograd.grad((policy * (policy / reference).log()).sum(), logits)
    policy = logits.softmax(-1)
    (forward,) = torch.autograd.grad((reference * (reference / policy).log()).sum(), logits)
    assert (reverse - forward).abs().max() > 0.01  # control
    torch.testing.assert_close(expected_gradient("k1", False), torch.zeros_like(logits))
    torch.testing.assert_close(expected_gradient("k2", False), reverse)
    torch.testing.assert_close(expected_gradient("k3", False), forward)
    torch.testing.assert_close(expected_gradient("k1", True), reverse)
    torch.testing.assert_close(expected_gradient("k3", True), reverse)


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_k2_and_k3_are_never_negative(logp: float, reference: float) -> None:
    exact = torch.tensor([[logp, reference]], dtype=torch.float64)
    for estimator in ("k2", "k3"):
        assert kl(exact[:, :1], exact[:, 1:], ONE, estimator).item() >= -1e-12  # type: ignore[arg-type]


# Reduction


def total(loss_type: Any, completions: float, tokens: float, per_update: float) -> float:
    return loss_denominator(
        loss_type,
        completions=completions,
        tokens=tokens,
        tokens_per_update=per_update,
        max_completion_length=10,
    )


def test_reduce_loss() -> None:
    """Completions of 1, 3 and 2 tokens; what stands on padding must not count."""
    per_token = torch.tensor([[6.0, 99.0, 99.0], [1.0, 2.0, 6.0], [4.0, 8.0, 99.0]])
    mask = torch.tensor([[1.0, 0, 0], [1, 1, 1], [1, 1, 0]])
    assert [total(t, 3, 6, 7.5) for t in LOSSES] == [3.0, 30.0, 7.5, 6.0, 7.5]
    assert reduce_loss(per_token, mask, "grpo", 3.0).item() == pytest.approx((6 + 3 + 6) / 3)
    for loss_type in LOSSES[1:]:
        found = reduce_loss(per_token, mask, loss_type, 7.5).item()
        assert found == pytest.approx((6 + 9 + 12) / 7.5)


def test_reduce_loss_of_sequences() -> None:
    """One value per completion stands for each of its tokens."""
    per_sequence = torch.tensor([[6.0], [1.0], [4.0]])
    mask = torch.tensor([[1.0, 0, 0], [1, 1, 1], [1, 1, 0]])
    assert reduce_loss(per_sequence, mask, "grpo", 3.0).item() == pytest.approx(11 / 3)
    assert reduce_loss(per_sequence, mask, "dapo", 6.0).item() == pytest.approx((6 + 3 + 8) / 6)


@pytest.mark.parametrize("loss_type", LOSSES)
def test_nothing_to_learn_from_divides_by_one(loss_type: Any) -> None:
    assert total(loss_type, 0, 0, 0) == 1.0


# The whole loss, row by row from its formula

LOGPS = [[-0.5, -1.0, -2.0, -0.1], [-1.5, -0.2, -0.7, -0.4], [-0.3, -0.9, -9.0, -9.0]]
OLD = [[-0.9, -1.1, -1.2, -0.1], [-1.1, -0.9, -0.75, -0.9], [-0.2, -1.6, 0.0, 0.0]]
REF = [[-0.6, -0.8, -2.2, -0.3], [-1.2, -0.2, -1.0, -0.6], [-0.8, -0.5, -7.0, -8.0]]
MASK = [[1.0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]
ADVANTAGES = [1.5, -1.0, 0.5]


def config_of(**settings: Any) -> TrainConfig:
    return TrainConfig.model_validate({"max_completion_length": 6, **settings})


def whole_loss(config: TrainConfig, rows: slice, old: bool) -> tuple[float, list[list[float]]]:
    """The loss of some rows as parts of the batch above, and its gradient by their logps."""
    logps = torch.tensor(LOGPS[rows], requires_grad=True)
    mask = torch.tensor(MASK[rows])
    losses = token_loss(
        logps,
        torch.tensor(OLD[rows]) if old else None,
        torch.tensor(REF[rows]) if config.beta else None,
        torch.tensor(ADVANTAGES[rows]),
        mask,
        config,
    )
    denominator = loss_denominator(
        config.loss_type, completions=3, tokens=10, tokens_per_update=10, max_completion_length=6
    )
    loss = reduce_loss(losses.loss_NT, mask, config.loss_type, denominator)
    (gradient,) = torch.autograd.grad(loss, logps)
    return loss.item(), gradient.tolist()


def row_by_row(config: TrainConfig) -> float:
    """In plain numbers, one token after the other."""
    sums, lengths = [], []
    high = config.epsilon_high or config.epsilon
    for logps, olds, refs, mask, advantage in zip(LOGPS, OLD, REF, MASK, ADVANTAGES, strict=True):
        length = int(sum(mask))
        logs = [p - q for p, q in zip(logps[:length], olds[:length], strict=True)]
        if config.importance_sampling_level == "sequence":
            logs = [sum(logs) / length] * length
        terms = []
        for t, log_ratio in enumerate(logs):
            ratio = math.exp(log_ratio)
            if config.loss_type == "cispo":
                term = -min(ratio, high) * advantage * logps[t]
            else:
                free = min(ratio, config.delta or math.inf)
                clip = max(1 - config.epsilon, min(ratio, 1 + high))
                term = -min(free * advantage, clip * advantage)
            gap = logps[t] - refs[t]
            estimate = {"k1": gap, "k2": gap**2 / 2, "k3": math.exp(-gap) + gap - 1}
            weight = ratio if config.use_bias_correction_kl else 1.0
            terms.append(term + config.beta * weight * estimate[config.kl_estimator])
        sums.append(sum(terms))
        lengths.append(length)
    if config.loss_type == "grpo":
        return sum(s / n for s, n in zip(sums, lengths, strict=True)) / 3
    return sum(sums) / (3 * 6 if config.loss_type == "dr_grpo" else sum(lengths))


@pytest.mark.parametrize(
    "kl_settings",
    [
        {},
        {"beta": 0.2},
        {"beta": 0.2, "kl_estimator": "k2"},
        {"beta": 0.2, "kl_estimator": "k1", "use_bias_correction_kl": True},
    ],
)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("loss_type", LOSSES)
def test_loss_row_by_row(loss_type: str, level: str, kl_settings: dict[str, Any]) -> None:
    clip: dict[str, Any] = {"epsilon_high": 1.4}
    if loss_type != "cispo":
        clip = {"epsilon": 0.15, "epsilon_high": 0.3, "delta": 1.6}
    config = config_of(loss_type=loss_type, importance_sampling_level=level, **clip, **kl_settings)
    found, _ = whole_loss(config, slice(None), old=True)
    assert found == pytest.approx(row_by_row(config), abs=2e-6)


@given(
    st.sampled_from(LOSSES),
    st.sampled_from(LEVELS),
    st.lists(st.integers(1, 2), min_size=0, max_size=2, unique=True),
)
def test_parts_of_a_batch_add_up(loss_type: str, level: str, cuts: list[int]) -> None:
    """Loss and gradients, wherever it is cut."""
    config = config_of(
        loss_type=loss_type, importance_sampling_level=level, epsilon_high=1.2, beta=0.1
    )
    whole, gradients = whole_loss(config, slice(None), old=True)
    edges = [0, *sorted(cuts), 3]
    parts = [whole_loss(config, slice(a, b), old=True) for a, b in pairwise(edges)]
    assert sum(loss for loss, _ in parts) == pytest.approx(whole, abs=1e-6)
    together = [row for _, rows in parts for row in rows]
    np.testing.assert_allclose(together, gradients, atol=1e-7)


TRL: Sequence[tuple[dict[str, Any], float, list[list[float]]]] = [
    ({"loss_type": "grpo"}, -0.206070,
     [[0.0, -0.13815, -0.05617, -0.125], [0.0, 0.16781, 0.08761, 0.13739], [-0.0754, 0, 0, 0]]),
    ({"loss_type": "dr_grpo"}, -0.076135,
     [[0.0, -0.0921, -0.03744, -0.08333], [0.0, 0.11188, 0.0584, 0.0916], [-0.02513, 0, 0, 0]]),
    ({"loss_type": "dapo"}, -0.137042,
     [[0.0, -0.16578, -0.0674, -0.15], [0.0, 0.20138, 0.10513, 0.16487], [-0.04524, 0, 0, 0]]),
    ({"loss_type": "bnpo"}, -0.137042,
     [[0.0, -0.16578, -0.0674, -0.15], [0.0, 0.20138, 0.10513, 0.16487], [-0.04524, 0, 0, 0]]),
    ({"loss_type": "cispo", "epsilon_high": 1.5}, 0.244397,
     [[-0.22377, -0.16578, -0.0674, -0.15], [0.06703, 0.15, 0.10513, 0.15],
      [-0.04524, -0.075, 0, 0]]),
    ({"loss_type": "grpo", "importance_sampling_level": "sequence"}, -0.268283,
     [[-0.11597] * 4, [0.10306] * 4, [0.0, 0.0, 0, 0]]),
    ({"loss_type": "dapo", "importance_sampling_level": "sequence"}, -0.191940,
     [[-0.13916] * 4, [0.12368] * 4, [0.0, 0.0, 0, 0]]),
    ({"loss_type": "cispo", "importance_sampling_level": "sequence", "epsilon_high": 1.05},
     0.269982, [[-0.13916] * 4, [0.105] * 4, [-0.0525, -0.0525, 0, 0]]),
    ({"loss_type": "grpo", "delta": 1.6}, -0.244610,
     [[0.0, -0.13815, -0.05617, -0.125], [0.0, 0.0, 0.08761, 0.0], [-0.0754, 0, 0, 0]]),
    ({"loss_type": "dapo", "beta": 0.1}, -0.133328,
     [[0.00095, -0.16799, -0.06559, -0.14819], [-0.0035, 0.20138, 0.10772, 0.16668],
      [-0.04131, -0.00492, 0, 0]]),
    ({"loss_type": "grpo", "beta": 0.1, "use_bias_correction_kl": True}, -0.200005,
     [[0.00124, -0.13999, -0.05542, -0.12333], [-0.00168, 0.16781, 0.09023, 0.14014],
      [-0.06786, -0.01343, 0, 0]]),
    ({"loss_type": "dapo", "beta": 0.1, "use_bias_correction_kl": True,
      "importance_sampling_level": "sequence"}, -0.187318,
     [[-0.13813, -0.14107, -0.13733, -0.13733], [0.11969, 0.12401, 0.12722, 0.12626],
      [0.00665, -0.0053, 0, 0]]),
    ({"loss_type": "grpo", "old": False, "beta": 0.1}, -0.328585,
     [[-0.12421, -0.12685, -0.12349, -0.12349], [0.08042, 0.08333, 0.08549, 0.08484],
      [-0.07678, -0.09153, 0, 0]]),
    ({"loss_type": "cispo", "old": False, "epsilon_high": 5.0}, 0.320000,
     [[-0.15] * 4, [0.1] * 4, [-0.05, -0.05, 0, 0]]),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "loss", "gradient"), TRL)
def test_loss_as_in_trl(settings: dict[str, Any], loss: float, gradient: list[list[float]]) -> None:
    """Values and gradients that TRL 1.16.0 gives on the tensors above.

    Made with its own `_compute_loss` on a stand-in for the trainer, for every case:

        logps = torch.tensor(LOGPS, requires_grad=True)
        trainer = SimpleNamespace(
            model=SimpleNamespace(training=True), aux_loss_enabled=False, top_entropy_quantile=1.0,
            off_policy_mask_threshold=None, importance_sampling_level=level, beta=beta,
            loss_type=loss_type, epsilon_low=0.2, epsilon_high=high, use_vllm=False,
            max_completion_length=6, _entropy_bonus_enabled=False,
            current_gradient_accumulation_steps=1,
            _metrics=defaultdict(lambda: defaultdict(list)),
            args=SimpleNamespace(
                delta=delta, use_bias_correction_kl=bias, steps_per_generation=1),
            accelerator=SimpleNamespace(
                num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x),
            _get_per_token_logps_and_entropies=lambda *a, **k: (logps, torch.zeros(3, 4), None))
        inputs = {
            "prompt_ids": torch.zeros(3, 1), "prompt_mask": torch.ones(3, 1),
            "completion_ids": torch.zeros(3, 4), "completion_mask": torch.tensor(MASK),
            "advantages": torch.tensor(ADVANTAGES), "ref_per_token_logps": torch.tensor(REF),
            "num_items_in_batch": torch.tensor(MASK).sum()}
        if old:
            inputs["old_per_token_logps"] = torch.tensor(OLD)
        loss = GRPOTrainer._compute_loss(trainer, None, inputs)
        loss.backward()
        loss.item(), logps.grad
    """
    given_settings = dict(settings)
    old = given_settings.pop("old", True)
    config = config_of(**{"epsilon_high": 0.3, **given_settings})
    found, gradients = whole_loss(config, slice(None), old)
    assert found == pytest.approx(loss, abs=2e-6)
    np.testing.assert_allclose(gradients, gradient, atol=1.1e-5)


# Settings that cannot work


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss_type": "cispo"}, "epsilon_high, which is None"),
        ({"loss_type": "cispo", "epsilon_high": 0.3}, "epsilon_high, which is 0.3"),
        ({"loss_type": "cispo", "epsilon_high": 5.0, "delta": 7.0}, "cispo has no delta"),
        ({"delta": 1.2}, "above 1 \\+ epsilon_high \\(1.2\\)"),
        ({"delta": 1.25, "epsilon_high": 0.28}, "above 1 \\+ epsilon_high \\(1.28\\)"),
        ({"beta": 0.1, "kl_estimator": "k1"}, "gradient of mean zero"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(settings)
