"""Log-probabilities of given completions under a policy, with the prompt shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mmupt.policy.inputs import PromptBatch
from mmupt.policy.model import Policy
from mmupt.policy.shared import completion_logits, prefill


@dataclass(frozen=True)
class TokenBatch:
    """N completions, right-padded to T tokens.

    Attributes:
        tokens_NT: token ids.
        mask_NT: 1.0 for generated tokens, 0.0 for padding.
    """

    tokens_NT: torch.Tensor
    mask_NT: torch.Tensor


def pad_right(
    rows: Sequence[Sequence[float]], fill: float, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Rows of different length as one tensor."""
    width = max(map(len, rows))
    return torch.tensor(
        [[*row, *([fill] * (width - len(row)))] for row in rows], dtype=dtype, device=device
    )


def token_batch(policy: Policy, completions: Sequence[Sequence[int]]) -> TokenBatch:
    tokens = pad_right(completions, policy.pad_id, policy.device, torch.long)
    mask = pad_right([[1.0] * len(c) for c in completions], 0.0, policy.device, torch.float32)
    return TokenBatch(tokens, mask)


def completion_logprobs(
    policy: Policy,
    batch: PromptBatch,
    repeats: Sequence[int],
    completions: TokenBatch,
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy of each completion token, both (N, T), in nats.

    Args:
        policy: the model; gradients flow where they are enabled.
        batch: B prompts.
        repeats: completions of each prompt, B numbers that sum to N.
        completions: in the order of the prompts.
        temperature: logits are divided by it first, as when sampling.
    """
    prefix = prefill(policy, batch).repeat(torch.as_tensor(list(repeats), device=policy.device))
    logits = completion_logits(policy, prefix, completions.tokens_NT, completions.mask_NT)
    logps_NTV = (logits.float() / temperature).log_softmax(-1)
    logps_NT = logps_NTV.gather(-1, completions.tokens_NT[..., None])[..., 0]
    with torch.no_grad():
        entropy_NT = -(logps_NTV.exp() * logps_NTV).sum(-1)
    return logps_NT, entropy_NT
