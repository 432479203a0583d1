"""Policy-gradient losses on completion tokens. N completions of at most T tokens."""

from __future__ import annotations

from typing import Literal

import torch

LossType = Literal["grpo", "dapo", "dr_grpo"]


def clipped_objective(
    logps_NT: torch.Tensor,
    old_logps_NT: torch.Tensor,
    advantages_N: torch.Tensor,
    epsilon: float,
    epsilon_high: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Negated PPO objective per token, and where the clip was active.

        ratio = exp(logp - old_logp)
        loss  = -min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilon_high) A)

    arXiv 1707.06347; two bounds as in DAPO (arXiv 2503.14476).
    """
    ratio = (logps_NT - old_logps_NT).exp()
    advantage = advantages_N[:, None]
    bounded = ratio.clamp(1.0 - epsilon, 1.0 + epsilon_high)
    loss = -torch.minimum(ratio * advantage, bounded * advantage)
    clipped = ((ratio < 1.0 - epsilon) & (advantage < 0)) | (
        (ratio > 1.0 + epsilon_high) & (advantage > 0)
    )
    return loss, clipped


def kl_k3(logps_NT: torch.Tensor, ref_logps_NT: torch.Tensor) -> torch.Tensor:
    """KL(pi || ref) per token by the k3 estimator, never negative:

    exp(ref - logp) - (ref - logp) - 1      (arXiv 2402.03300, equation 4)
    """
    difference = ref_logps_NT - logps_NT
    return difference.exp() - difference - 1.0


def reduce_loss(
    per_token_NT: torch.Tensor, mask_NT: torch.Tensor, loss_type: LossType, total: float
) -> torch.Tensor:
    """From tokens to one number, so that parts of a batch add up to the whole.

        grpo     mean over the tokens of a completion, then mean over completions
        dapo     mean over all tokens of the update batch ("token mean"), arXiv 2503.14476
        dr_grpo  sum over tokens / (completions x max_completion_length), arXiv 2503.20783

    Args:
        per_token_NT: loss of each token.
        mask_NT: 1 for tokens that count.
        loss_type: which mean.
        total: the denominator over the WHOLE batch: completions (grpo), counted tokens (dapo) or
            completions x max_completion_length (dr_grpo); see `loss_denominator`.
    """
    masked = per_token_NT * mask_NT
    if loss_type == "grpo":
        return (masked.sum(-1) / mask_NT.sum(-1).clamp(min=1.0)).sum() / total
    return masked.sum() / total


def loss_denominator(
    loss_type: LossType, completions: int, tokens: int, max_completion_length: int
) -> float:
    """The `total` that `reduce_loss` divides by."""
    match loss_type:
        case "grpo":
            return float(max(completions, 1))
        case "dapo":
            return float(max(tokens, 1))
        case "dr_grpo":
            return float(max(completions * max_completion_length, 1))
