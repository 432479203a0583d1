"""The shared prompt: prefilled once, with its images, for all completions of a group.

A group's G completions have the same prompt. It is computed once, with its images; its keys and
values are kept once, with the autograd graph where gradients are on, and the completions attend to
them where they are (`attention`). So rollout and training share the prompt, and the gradients are
those of G separate rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from mmupt.policy.attention import Block, SharedPrompt, shared_attention
from mmupt.policy.cache import own_cache, prompt_cache
from mmupt.policy.flops import count_completions, count_prompts, count_vision
from mmupt.policy.inputs import PromptBatch
from mmupt.policy.model import Policy
from mmupt.policy.vision import seen_once


@dataclass(frozen=True)
class Prefix:
    """B prefilled prompts.

    Attributes:
        keys: of each layer, (B, K, L, D).
        values: of each layer, (B, K, L, D).
        logits_BV: logits after the last prompt token.
        mask_BL: attention mask of the prompt tokens.
        next_B: position of the first completion token in the model's own counting.
    """

    keys: Sequence[torch.Tensor]
    values: Sequence[torch.Tensor]
    logits_BV: torch.Tensor
    mask_BL: torch.Tensor
    next_B: torch.Tensor

    def block(self, owner_R: torch.Tensor) -> Block:
        """The prompts as what their rows attend to; `owner_R` is the prompt of each row."""
        return Block.of(self.keys, self.values, self.mask_BL, owner_R)


def owners(repeats: Sequence[int], device: torch.device) -> torch.Tensor:
    """The prompt of each row where prompt b has `repeats[b]` rows, (R,)."""
    counts = torch.as_tensor(list(repeats), device=device)
    return torch.repeat_interleave(torch.arange(len(counts), device=device), counts)


def decoder(policy: Policy) -> Any:
    """The language model without its head."""
    return policy.model.get_decoder()


def head(policy: Policy, hidden: torch.Tensor) -> torch.Tensor:
    """Logits of hidden states (..., width) -> (..., V)."""
    logits: torch.Tensor = policy.model.get_output_embeddings()(hidden)
    cap = getattr(policy.model.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else cap * (logits / cap).tanh()


def has_rope_deltas(policy: Policy) -> bool:
    """Whether positions are those of Qwen's models: three axes, an offset after pictures."""
    return hasattr(policy.model.model, "rope_deltas")


def prefill(policy: Policy, batch: PromptBatch, gradient_checkpointing: bool = False) -> Prefix:
    """Run the prompts once, and equal pictures once. With gradients on, it carries the graph."""
    inner, mask = policy.model.model, batch.attention_mask
    multimodal_rope = has_rope_deltas(policy)
    arguments: dict[str, Any] = dict(batch.features)
    if multimodal_rope:
        inner.rope_deltas = None  # module state of the last batch; must not leak into this one
    if not (multimodal_rope and "image_grid_thw" in arguments):
        arguments["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = prompt_cache(policy.model.config.get_text_config().num_hidden_layers)
    with (
        _recomputing(policy.model, gradient_checkpointing, nullcontext),
        seen_once(policy.model, count_vision),
    ):
        output = inner(**arguments, past_key_values=cache, use_cache=True)
    count_prompts(policy.model, batch.features)
    next_B = mask.sum(-1)
    if multimodal_rope and inner.rope_deltas is not None:
        next_B = next_B + inner.rope_deltas.reshape(-1).to(next_B)
    return Prefix(
        tuple(layer.keys for layer in cache.layers),
        tuple(layer.values for layer in cache.layers),
        head(policy, output.last_hidden_state[:, -1]),
        mask,
        next_B,
    )


def extend(
    policy: Policy,
    shared: SharedPrompt,
    cache: Any,
    tokens_RT: torch.Tensor,
    next_R: torch.Tensor,
    gradient_checkpointing: bool = False,
) -> torch.Tensor:
    """Feed T more tokens to each of the R rows; returns hidden states (R, T, width).

    Args:
        shared: the prompts and what the rows have seen.
        cache: of the rows' own tokens.
        tokens_RT: the tokens.
        next_R: position of the first completion token of each row.
    """
    count_completions(policy.model, shared)
    model = decoder(policy)
    positions = next_R[:, None] + shared.index_RT
    if has_rope_deltas(policy):
        positions = positions.expand(3, *positions.shape)
    inside = partial(shared_attention, model.config)
    with inside(), _recomputing(model, gradient_checkpointing, inside):
        output = model(
            input_ids=tokens_RT,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            shared_prompt=shared,
        )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


def completion_hidden(
    policy: Policy,
    prefix: Prefix,
    repeats: Sequence[int],
    tokens_RT: torch.Tensor,
    gradient_checkpointing: bool = False,
) -> torch.Tensor:
    """Hidden states that predict the second to the last token of completions, (R, T - 1, width).

    The first token is predicted by the prompt's last position (`Prefix.logits_BV`). Completions are
    padded on the right, where no token of theirs looks.
    """
    owner = owners(repeats, tokens_RT.device)
    fed = tokens_RT[:, :-1]
    index = torch.arange(fed.shape[1], device=fed.device).expand(len(fed), -1)
    shared = SharedPrompt([prefix.block(owner)], prefix.mask_BL.sum(-1)[owner], index)
    cache = own_cache(policy.model.config.get_text_config().num_hidden_layers)
    return extend(policy, shared, cache, fed, prefix.next_B[owner], gradient_checkpointing)


@contextmanager
def _recomputing(model: Any, enabled: bool, around: Callable[[], Any]) -> Iterator[None]:
    """Inside, the model's layers keep their inputs only and are computed again in backward.

    transformers' own gradient checkpointing switches the cache off, and with it the shared prompt;
    this one keeps it, because `cache` and `attention` may be called twice.

    Args:
        model: whose layers.
        enabled: whether anything happens at all.
        around: makes the context of the second computation.
    """
    if not (enabled and torch.is_grad_enabled()):
        yield
        return
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    for layer in layers:
        layer.forward = _recomputed(layer.forward, around)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own is behind it


def _recomputed(forward: Callable[..., Any], around: Callable[[], Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(
            forward, *args, use_reentrant=False, preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), around()), **kwargs,
        )  # fmt: skip

    return wrapped
