"""Policy-gradient losses on completion tokens, with TRL's names. N completions of at most T tokens.

    per token       GRPO, DAPO    clipped_objective     -min(r A, clip(r) A)
                    CISPO         truncated_objective   -sg(min(r, epsilon_high)) A logp
    ratio r         token         exp(logp - old)
                    sequence      exp(mean over the completion of logp - old)      GSPO
    to one number   reduce_loss, by a denominator of the whole batch: its parts add up

GSPO is `loss_type: grpo` with `importance_sampling_level: sequence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from mmupt.config import TrainConfig

LossType = Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo"]
Level = Literal["token", "sequence"]
KlEstimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True)
class TokenLoss:
    """What the tokens of a batch say.

    Attributes:
        loss_NT: policy loss and weighted KL of each token; (N, 1) where all tokens of a completion
            have the same.
        clipped_NT: where the ratio was clipped or truncated; (N, 1) for ratios of sequences.
        kl_NT: KL to the reference, estimated, without gradient; None without a reference.
    """

    loss_NT: torch.Tensor
    clipped_NT: torch.Tensor
    kl_NT: torch.Tensor | None


def token_loss(
    logps_NT: torch.Tensor,
    old_logps_NT: torch.Tensor | None,
    ref_logps_NT: torch.Tensor | None,
    advantages_N: torch.Tensor,
    mask_NT: torch.Tensor,
    config: TrainConfig,
) -> TokenLoss:
    """The loss of every token by `config`: objective, ratios and KL.

    Args:
        logps_NT: log-probabilities under the policy, with gradient.
        old_logps_NT: those under the policy that sampled. None: the policy itself sampled, and the
            ratio is exp(logp - sg(logp)): one, with the gradient of logp.
        ref_logps_NT: those under the reference; None leaves the KL out.
        advantages_N: one per completion.
        mask_NT: 1 for tokens that count.
        config: `loss_type`, `importance_sampling_level`, `epsilon`, `epsilon_high`, `delta`,
            `beta`, `kl_estimator`, `use_bias_correction_kl`.
    """
    old_NT = logps_NT.detach() if old_logps_NT is None else old_logps_NT
    ratio = importance_ratio(logps_NT, old_NT, mask_NT, config.importance_sampling_level)
    high = config.epsilon if config.epsilon_high is None else config.epsilon_high
    if config.loss_type == "cispo":
        loss, clipped = truncated_objective(ratio, logps_NT, advantages_N, high)
    else:
        loss, clipped = clipped_objective(ratio, advantages_N, config.epsilon, high, config.delta)
    if ref_logps_NT is None:
        return TokenLoss(loss, clipped, None)
    kl_NT = kl(logps_NT, ref_logps_NT, mask_NT, config.kl_estimator)
    weight = ratio if config.use_bias_correction_kl else 1.0
    return TokenLoss(loss + config.beta * weight * kl_NT, clipped, kl_NT.detach())


def importance_ratio(
    logps_NT: torch.Tensor, old_logps_NT: torch.Tensor, mask_NT: torch.Tensor, level: Level
) -> torch.Tensor:
    """The policy over the policy that sampled.

        token     exp(logp - old), (N, T)
        sequence  exp(mean over the completion of logp - old), (N, 1)   GSPO, arXiv 2507.18071

    Padding has the ratio 1: whatever stands there must not overflow.
    """
    log_ratio = (logps_NT - old_logps_NT).where(mask_NT > 0, 0.0)
    if level == "sequence":
        log_ratio = log_ratio.sum(-1, keepdim=True) / mask_NT.sum(-1, keepdim=True).clamp(min=1.0)
    return log_ratio.exp()


def clipped_objective(
    ratio: torch.Tensor,
    advantages_N: torch.Tensor,
    epsilon: float,
    epsilon_high: float,
    delta: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Negated PPO objective, and where the clip was active; both of the shape of `ratio`.

        loss = -min(min(r, delta) A, clip(r, 1 - epsilon, 1 + epsilon_high) A)

    arXiv 1707.06347; two bounds as in DAPO (arXiv 2503.14476). `delta` bounds what PPO leaves
    unbounded, a large ratio with a negative advantage (INTELLECT-2, arXiv 2505.07291).
    """
    advantage = advantages_N[:, None]
    bounded = ratio.clamp(1.0 - epsilon, 1.0 + epsilon_high)
    free = ratio if delta is None else ratio.clamp(max=delta)
    loss = -torch.minimum(free * advantage, bounded * advantage)
    clipped = ((ratio < 1.0 - epsilon) & (advantage < 0)) | (
        (ratio > 1.0 + epsilon_high) & (advantage > 0)
    )
    if delta is not None:
        clipped |= (ratio > delta) & (advantage < 0)
    return loss, clipped


def truncated_objective(
    ratio: torch.Tensor, logps_NT: torch.Tensor, advantages_N: torch.Tensor, epsilon_high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """CISPO (arXiv 2506.13585, equations 4 and 5): every token keeps a gradient.

        loss = -sg(min(r, epsilon_high)) A logp

    `epsilon_high` is the bound itself, not its distance from 1, as in TRL and ScaleRL (arXiv
    2510.13786). Also returns where the weight was truncated.
    """
    weight = ratio.detach().clamp(max=epsilon_high)
    return -weight * advantages_N[:, None] * logps_NT, ratio.detach() > epsilon_high


def kl(
    logps_NT: torch.Tensor,
    ref_logps_NT: torch.Tensor,
    mask_NT: torch.Tensor,
    estimator: KlEstimator = "k3",
) -> torch.Tensor:
    """KL(pi || ref) per token from tokens that pi sampled; 0 on padding.

        k1   logp - ref                              no bias, large variance
        k2   (logp - ref)^2 / 2                      biased; its gradient is that of the KL
        k3   exp(ref - logp) - (ref - logp) - 1      no bias, never negative; GRPO, arXiv 2402.03300

    Schulman, "Approximating KL divergence" (joschu.net/blog/kl-approx.html). As a loss, what counts
    is the gradient (arXiv 2506.09477): that of k1 is noise around zero, that of k3 points to
    KL(ref || pi); weighted with the policy ratio (`use_bias_correction_kl`, arXiv 2512.02556) both
    have the gradient of KL(pi || ref).
    """
    difference = (ref_logps_NT - logps_NT).where(mask_NT > 0, 0.0)
    match estimator:
        case "k1":
            return -difference
        case "k2":
            return difference.square() / 2.0
        case "k3":
            return difference.exp() - difference - 1.0


def reduce_loss(
    per_token: torch.Tensor, mask_NT: torch.Tensor, loss_type: LossType, total: float
) -> torch.Tensor:
    """From tokens to one number, so that parts of a batch add up to the whole.

        grpo               mean over a completion's tokens, then over completions, arXiv 2402.03300
        dr_grpo            sum / (completions x max_completion_length), arXiv 2503.20783
        dapo, bnpo, cispo  sum / tokens, arXiv 2503.14476 and 2506.13585

    Args:
        per_token: loss of each token, (N, T) or (N, 1).
        mask_NT: 1 for tokens that count.
        loss_type: which mean.
        total: the denominator over the WHOLE batch, see `loss_denominator`.
    """
    masked = per_token * mask_NT
    if loss_type == "grpo":
        return (masked.sum(-1) / mask_NT.sum(-1).clamp(min=1.0)).sum() / total
    return masked.sum() / total


def loss_denominator(
    loss_type: LossType,
    *,
    completions: float,
    tokens: float,
    tokens_per_update: float,
    max_completion_length: int,
) -> float:
    """The `total` that `reduce_loss` divides by, over all micro-batches and processes.

    With several updates per pass, dapo and cispo divide each by the mean tokens of them all, so
    that a token weighs the same in whichever it falls; bnpo divides by the update's own tokens.
    With one update they are the same. (TRL's bnpo divides by the tokens of each micro-batch, which
    makes the result depend on how much memory there is; here nothing does.)

    Args:
        loss_type: which mean.
        completions: of this update, masked ones included.
        tokens: that count in this update.
        tokens_per_update: that count in the pass, divided by its number of updates.
        max_completion_length: of the sampling.
    """
    match loss_type:
        case "grpo":
            total = completions
        case "dr_grpo":
            total = completions * max_completion_length
        case "bnpo":
            total = tokens
        case "dapo" | "cispo":
            total = tokens_per_update
    return max(float(total), 1.0)
