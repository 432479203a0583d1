"""Log-probabilities of given completions under a policy, with the prompt shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.checkpoint import checkpoint

from mmupt.policy.flops import count_head
from mmupt.policy.inputs import PromptBatch
from mmupt.policy.model import Policy
from mmupt.policy.shared import completion_hidden, head, owners, prefill

CHUNK_LOGITS = 1 << 24
"""Most logits at a time; where there are more, those of a chunk are computed again in backward."""


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
    gradient_checkpointing: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy of each completion token, both (N, T), in nats; 0 for padding.

    Args:
        policy: the model; gradients flow where they are enabled.
        batch: B prompts.
        repeats: completions of each prompt, B numbers that sum to N.
        completions: in the order of the prompts.
        temperature: logits are divided by it first, as when sampling.
        gradient_checkpointing: keep only the layers' inputs and compute them again in backward:
            less memory for one more forward pass.
    """
    tokens_NT = completions.tokens_NT
    prefix = prefill(policy, batch, gradient_checkpointing)
    owner_N = owners(repeats, tokens_NT.device)
    first = _scores(prefix.logits_BV[owner_N], tokens_NT[:, 0], temperature)
    if tokens_NT.shape[1] == 1:
        return first[0][:, None], first[1][:, None]
    hidden = completion_hidden(policy, prefix, repeats, tokens_NT, gradient_checkpointing)
    real = completions.mask_NT[:, 1:] > 0
    logps, entropies = _head_scores(policy, hidden[real], tokens_NT[:, 1:][real], temperature)
    zeros = torch.zeros(real.shape, dtype=logps.dtype, device=logps.device)
    rest_logps, rest_entropies = (
        zeros.masked_scatter(real, logps),
        zeros.masked_scatter(real, entropies),
    )
    return (
        torch.cat([first[0][:, None], rest_logps], dim=1),
        torch.cat([first[1][:, None], rest_entropies], dim=1),
    )


def _head_scores(
    policy: Policy, hidden_M: torch.Tensor, tokens_M: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of M hidden states through the head, in chunks where the vocabulary is large."""

    def scores(hidden: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _scores(head(policy, hidden), tokens, temperature)

    count_head(policy.model, len(tokens_M))
    vocabulary = policy.model.get_output_embeddings().weight.shape[0]
    size = max(1, CHUNK_LOGITS // vocabulary)
    if len(tokens_M) <= size:
        return scores(hidden_M, tokens_M)
    parts = [
        checkpoint(scores, h, t, use_reentrant=False, preserve_rng_state=False)
        for h, t in zip(torch.split(hidden_M, size), torch.split(tokens_M, size), strict=True)
    ]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def _scores(
    logits_MV: torch.Tensor, tokens_M: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each token and entropy of its distribution, both (M,); softmax in fp32."""
    logps_MV = (logits_MV.float() / temperature).log_softmax(-1)
    with torch.no_grad():
        entropy_M = -(logps_MV.exp() * logps_MV).sum(-1)
    return logps_MV.gather(-1, tokens_M[:, None])[:, 0], entropy_M
