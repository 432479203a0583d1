"""The shared prompt: prefilled once, with its images, for all completions of a group.

A group's G completions have the same prompt. Its keys and values are computed once and repeated;
so are its images. The repeat keeps the autograd graph, so that training shares the prompt too and
the gradients are those of G separate rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mmupt.policy.inputs import PromptBatch
from mmupt.policy.model import Policy


@dataclass
class Prefix:
    """Prefilled prompts, one row each, or one row per completion once repeated.

    Attributes:
        cache: keys and values of the prompt tokens.
        logits_BV: logits after the last prompt token.
        mask_BL: attention mask of the prompt tokens.
        next_B: position of the first completion token in the model's own counting.
    """

    cache: Any
    logits_BV: torch.Tensor
    mask_BL: torch.Tensor
    next_B: torch.Tensor

    def repeat(self, repeats_B: torch.Tensor) -> Prefix:
        """Row b stands `repeats_B[b]` times. The cache is changed in place."""
        rows = torch.repeat_interleave(
            torch.arange(len(repeats_B), device=repeats_B.device), repeats_B
        )
        return self.select(rows)

    def select(self, rows: torch.Tensor) -> Prefix:
        """Only `rows`, in that order (repeats allowed). The cache is changed in place."""
        self.cache.batch_select_indices(rows)
        return Prefix(self.cache, self.logits_BV[rows], self.mask_BL[rows], self.next_B[rows])


def prefill(policy: Policy, batch: PromptBatch) -> Prefix:
    """Run the prompts once. With gradients on, the prefix carries the graph."""
    model, mask = policy.model, batch.attention_mask
    inner = getattr(model, "model", model)
    multimodal_rope = hasattr(inner, "rope_deltas")
    arguments: dict[str, Any] = dict(batch.features)
    if multimodal_rope:
        inner.rope_deltas = None  # module state of the last batch; must not leak into this one
    if not (multimodal_rope and "image_grid_thw" in arguments):
        arguments["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    output = model(**arguments, use_cache=True, logits_to_keep=1)
    next_B = mask.sum(-1)
    if multimodal_rope and inner.rope_deltas is not None:
        next_B = next_B + inner.rope_deltas.reshape(-1).to(next_B)
    return Prefix(output.past_key_values, output.logits[:, -1], mask, next_B)


def extend(
    policy: Policy,
    prefix: Prefix,
    tokens_RT: torch.Tensor,
    mask_RS: torch.Tensor,
    position_R: torch.Tensor,
) -> torch.Tensor:
    """Feed T more tokens to each of the R rows of a prefix; return logits (R, T, V).

    Args:
        tokens_RT: the tokens.
        mask_RS: attention mask over everything the row has seen and these tokens.
        position_R: position of the first of these tokens.
    """
    steps = torch.arange(tokens_RT.shape[1], device=tokens_RT.device)
    positions = position_R[:, None] + steps
    if hasattr(getattr(policy.model, "model", policy.model), "rope_deltas"):
        positions = positions.expand(3, *positions.shape)
    output = policy.model(
        input_ids=tokens_RT,
        attention_mask=mask_RS,
        position_ids=positions,
        past_key_values=prefix.cache,
        use_cache=True,
    )
    logits: torch.Tensor = output.logits
    return logits


def completion_logits(
    policy: Policy, prefix: Prefix, tokens_RT: torch.Tensor, token_mask_RT: torch.Tensor
) -> torch.Tensor:
    """Logits that predict each completion token, (R, T, V).

    The first token is predicted by the prompt's last position, so T-1 tokens are fed.
    `prefix` must already have one row per completion.
    """
    first = prefix.logits_BV[:, None]
    if tokens_RT.shape[1] == 1:
        return first
    fed = tokens_RT[:, :-1]
    mask = torch.cat([prefix.mask_BL, token_mask_RT[:, :-1].to(prefix.mask_BL)], dim=1)
    return torch.cat([first, extend(policy, prefix, fed, mask, prefix.next_B)], dim=1)
