"""Shared against plain: log-probabilities, gradients and sampling.

The plain side is what transformers itself computes for one row: prompt and reply concatenated, no
cache, no padding, no sharing, one completion at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mmupt.asking.answerer import SamplingParams
from mmupt.asking.prompt import Prompt
from mmupt.check.results import Check
from mmupt.policy.inputs import PromptBatch, encode
from mmupt.policy.model import Policy
from mmupt.policy.sampler import sample
from mmupt.policy.score import completion_logprobs, token_batch

LOGPROB_TOLERANCE = 1e-3
"""Nats, in float32. Rounding gives about 1e-5; a wrong mask or position 0.1 and more."""
GRADIENT_TOLERANCE = 1e-3
"""Of the norm of each weight's gradient, in float32. Rounding gives about 1e-5."""
LEAST_EFFECT = 1e-4
"""Nats by which another picture has to change some log-probability."""
GROUP = (3, 8, 5)
"""Lengths of the completions of each prompt."""


def plain_logprobs(policy: Policy, prompt: PromptBatch, completion: Sequence[int]) -> torch.Tensor:
    """log pi(y_t | x, y_<t), (T,), by one forward over prompt and completion.

    How a reply goes on from the prompt (kinds of tokens, mask) is asked of the model's own
    generation, token by token.

    Args:
        prompt: one encoded prompt.
        completion: T token ids.
    """
    model = policy.model
    features: dict[str, Any] = dict(prompt.features)
    reply = torch.tensor([list(completion)], device=policy.device)
    ids = torch.cat([features.pop("input_ids"), reply], dim=1)
    for _ in completion:
        features = model._update_model_kwargs_for_generation({}, features)
    inner = getattr(model, "model", model)
    if hasattr(inner, "rope_deltas"):
        inner.rope_deltas = None  # of the last batch; nothing may leak from the other side
    if "logits_to_keep" in policy.forward_names:
        features["logits_to_keep"] = len(completion) + 1
    logits = model(input_ids=ids, **features, use_cache=False).logits
    scores: torch.Tensor = logits[0, -len(completion) - 1 : -1].float().log_softmax(-1)
    return scores.gather(-1, reply[0, :, None])[:, 0]


def ordinary_tokens(policy: Policy) -> list[int]:
    """Tokens of text: none that is special, stands for a picture or ends a turn."""
    special = set(policy.tokenizer.all_special_ids) | set(policy.stop_ids)
    special |= {int(i) for i in getattr(policy.processor, "image_token_ids", []) if i is not None}
    return sorted(set(policy.tokenizer.get_vocab().values()) - special)


def drawn_completions(policy: Policy, prompts: int) -> list[tuple[int, ...]]:
    """Completions of ordinary tokens, `GROUP` for each prompt."""
    ordinary, rng = ordinary_tokens(policy), np.random.default_rng(0)
    return [tuple(rng.choice(ordinary, n).tolist()) for _ in range(prompts) for n in GROUP]


def compare(policy: Policy, prompts: Sequence[Prompt]) -> list[Check]:
    """Shared and plain log-probabilities and gradients of drawn completions.

    Gradients are of the sum of all log-probabilities, each with a weight of its own.
    """
    completions = drawn_completions(policy, len(prompts))
    tokens = token_batch(policy, completions)
    weights_NT = torch.randn(tokens.tokens_NT.shape, generator=torch.Generator().manual_seed(0))
    weights_NT = weights_NT.to(policy.device)
    policy.model.train()  # as an update computes them; dropout is off for good
    policy.model.zero_grad(set_to_none=True)
    repeats = [len(GROUP)] * len(prompts)
    shared_NT, _ = completion_logprobs(policy, encode(policy, prompts), repeats, tokens)
    (shared_NT * weights_NT * tokens.mask_NT).sum().backward()  # type: ignore[no-untyped-call]
    shared = _take_gradients(policy)
    worst = 0.0
    for i, completion in enumerate(completions):
        found = plain_logprobs(policy, encode(policy, [prompts[i // len(GROUP)]]), completion)
        (found * weights_NT[i, : len(completion)]).sum().backward()  # type: ignore[no-untyped-call]
        gap = (shared_NT[i, : len(completion)] - found).abs().max()
        worst = max(worst, float(gap.detach()))
    apart = gradient_error(shared, _take_gradients(policy))
    return [
        Check(
            "log-probabilities", worst <= LOGPROB_TOLERANCE, worst, LOGPROB_TOLERANCE,
            "largest difference between shared and plain rows, nats",
        ),
        Check(
            "gradients", apart <= GRADIENT_TOLERANCE, apart, GRADIENT_TOLERANCE,
            "largest relative difference between shared and plain rows",
        ),
    ]  # fmt: skip


def sampling(policy: Policy, prompts: Sequence[Prompt]) -> Check:
    """What sampling says of its tokens is what training will say of them."""
    params = SamplingParams(max_completion_length=max(GROUP))
    repeats, seeds = [2] * len(prompts), np.arange(2 * len(prompts), dtype=np.uint64)
    batch = encode(policy, prompts)
    flat = [c for group in sample(policy, batch, repeats, seeds, params) for c in group]
    tokens = token_batch(policy, [c.token_ids for c in flat])
    with torch.no_grad():
        scored_NT, _ = completion_logprobs(policy, batch, repeats, tokens)
    worst = max(
        float((row[: len(c.logprobs)].cpu() - torch.tensor(c.logprobs)).abs().max())
        for row, c in zip(scored_NT, flat, strict=True)
    )
    return Check(
        "sampling", worst <= LOGPROB_TOLERANCE, worst, LOGPROB_TOLERANCE,
        "largest difference between log-probabilities when sampling and when training, nats",
    )  # fmt: skip


def picture(policy: Policy, prompt: Prompt) -> Check:
    """Another picture changes the answer's probabilities: the model sees it."""
    (completion, *_) = drawn_completions(policy, 1)
    negative = tuple(image.point(lambda v: 255 - v) for image in prompt.images)
    other = Prompt(prompt.problem, negative, prompt.origin)
    with torch.no_grad():
        seen, unlike = (
            plain_logprobs(policy, encode(policy, [p]), completion) for p in (prompt, other)
        )
    effect = float((seen - unlike).abs().max())
    return Check(
        "picture", effect >= LEAST_EFFECT, effect, LEAST_EFFECT,
        "change of log-probabilities by the picture's negative, nats (at least)"
        if effect >= LEAST_EFFECT
        else "the model answers the same whatever the picture shows",
    )  # fmt: skip


def gradient_error(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Largest of |found - expected| / |expected| over the weights, Euclidean norms.

    A weight whose gradient is below 1e-3 of the norm of all together is measured against that: the
    key bias of an attention cancels in its softmax, and its gradient is rounding alone.
    """
    whole = math.sqrt(sum(float(e.double().square().sum()) for e in expected.values()))
    if whole == 0.0:
        return float("inf")
    zero = torch.zeros(())
    return max(
        float((found.get(name, zero).double() - expected.get(name, zero).double()).norm())
        / max(float(expected.get(name, zero).double().norm()), 1e-3 * whole)
        for name in found.keys() | expected.keys()
    )


def _take_gradients(policy: Policy) -> dict[str, torch.Tensor]:
    """All gradients on the CPU; the model is left without."""
    taken = {
        name: p.grad.detach().float().cpu()
        for name, p in policy.model.named_parameters()
        if p.grad is not None
    }
    policy.model.zero_grad(set_to_none=True)
    return taken
