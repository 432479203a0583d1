"""Sampling completions: each prompt prefilled once, finished rows dropped.

Every row draws from its own counter-based stream, so a completion depends on its seed alone and
not on the batch it was sampled in (up to the floating-point noise of the logits).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mmupt.policy.inputs import PromptBatch
from mmupt.policy.model import Policy, inference
from mmupt.policy.shared import Prefix, extend, prefill
from mmupt.types import Completion, Finish

SHRINK_BELOW = 0.75
"""Rows are dropped from the batch once fewer than this fraction of them is still running."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample. `temperature` 0 is greedy; names as in TRL and transformers."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_completion_length: int = 256


def row_uniforms(seeds_R: npt.NDArray[np.uint64], step: int) -> npt.NDArray[np.float64]:
    """One uniform in [0, 1) per row: SplitMix64 of (seed, step), 53 bits."""
    with np.errstate(over="ignore"):
        z = seeds_R + np.uint64(step + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def stream_seeds(*key: int, count: int) -> npt.NDArray[np.uint64]:
    """`count` independent row seeds that depend on `key` alone."""
    return np.random.SeedSequence(list(key)).generate_state(count, np.uint64).astype(np.uint64)


def truncate(probs_RV: torch.Tensor, top_p: float, top_k: int) -> torch.Tensor:
    """Zero what top-k and top-p (nucleus, arXiv 1904.09751) leave out; not renormalised."""
    if top_k:
        kth = probs_RV.topk(min(top_k, probs_RV.shape[-1]), dim=-1).values[..., -1:]
        probs_RV = probs_RV.masked_fill(probs_RV < kth, 0.0)
    if top_p < 1.0:
        ordered, order = probs_RV.sort(dim=-1, descending=True)
        before = ordered.cumsum(-1) - ordered  # mass ahead of each token; the first always stays
        ordered = ordered.masked_fill(before >= top_p * ordered.sum(-1, keepdim=True), 0.0)
        probs_RV = torch.zeros_like(probs_RV).scatter_(-1, order, ordered)
    return probs_RV


def pick(
    logits_RV: torch.Tensor, uniform_R: torch.Tensor, params: SamplingParams
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Next token of each row, its log-probability and the row's self-certainty, each (R,).

    Both are of the whole tempered distribution, before top-p and top-k, as the training forward
    computes it; greedy tokens are scored at temperature 1. Self-certainty (arXiv 2502.18581) is

        KL(uniform || pi) = -1/V sum_j log pi_j - log V
    """
    logits_RV = logits_RV.float()
    if params.temperature == 0:
        token_R = logits_RV.argmax(-1)
        logps_RV = logits_RV.log_softmax(-1)
        return token_R, logps_RV.gather(-1, token_R[:, None])[:, 0], certainty(logps_RV)
    logps_RV = (logits_RV / params.temperature).log_softmax(-1)
    probs_RV = truncate(logps_RV.exp(), params.top_p, params.top_k)
    cdf_RV = probs_RV.double().cumsum(-1)
    target_R = uniform_R.to(cdf_RV) * cdf_RV[:, -1]
    token_R = torch.searchsorted(cdf_RV, target_R[:, None], right=True)[:, 0]
    token_R = token_R.clamp(max=logits_RV.shape[-1] - 1)
    return token_R, logps_RV.gather(-1, token_R[:, None])[:, 0], certainty(logps_RV)


def certainty(logps_RV: torch.Tensor) -> torch.Tensor:
    """KL(uniform || pi) of each row in nats, (R,); see `pick`."""
    return -logps_RV.mean(-1) - math.log(logps_RV.shape[-1])


def sample(
    policy: Policy,
    batch: PromptBatch,
    repeats: Sequence[int],
    seeds: npt.NDArray[np.uint64],
    params: SamplingParams,
) -> list[list[Completion]]:
    """Sample `repeats[b]` completions of prompt b.

    Args:
        batch: B encoded prompts.
        repeats: completions per prompt, B numbers.
        seeds: one seed per completion, R = sum(repeats), prompts in order.

    Returns:
        B lists of completions, each with its tokens and their log-probabilities.
    """
    with inference(policy):
        prefix = prefill(policy, batch)
        return decode(policy, prefix, repeats, seeds, params)


def decode(
    policy: Policy,
    prefix: Prefix,
    repeats: Sequence[int],
    seeds: npt.NDArray[np.uint64],
    params: SamplingParams,
) -> list[list[Completion]]:
    """The decoding half of `sample`; uses up the prefix."""
    device = prefix.logits_BV.device
    prefix = prefix.repeat(torch.as_tensor(list(repeats), device=device))
    rows = len(seeds)
    limit = params.max_completion_length
    tokens = torch.full((rows, limit), policy.pad_id, dtype=torch.long, device=device)
    logprobs = torch.zeros((rows, limit), device=device)
    certainties = torch.zeros(rows, device=device)
    lengths = torch.zeros(rows, dtype=torch.long, device=device)
    stopped = torch.zeros(rows, dtype=torch.bool, device=device)
    stops = torch.tensor(policy.stop_ids, device=device)
    alive = torch.arange(rows, device=device)  # row of the result that each row of the batch fills
    logits, mask = prefix.logits_BV, prefix.mask_BL
    for step in range(limit):
        uniform = torch.from_numpy(row_uniforms(seeds[alive.cpu().numpy()], step)).to(device)
        token, logprob, sure = pick(logits, uniform, params)
        running = ~stopped[alive]
        target = alive[running]
        tokens[target, step] = token[running]
        logprobs[target, step] = logprob[running]
        certainties[target] += sure[running]
        lengths[target] += 1
        stopped[target] = torch.isin(token[running], stops)
        running = ~stopped[alive]
        left = int(running.sum())
        if left == 0 or step + 1 == limit:
            break
        if left < SHRINK_BELOW * len(alive):
            keep = running.nonzero()[:, 0]
            prefix, alive, token, mask = prefix.select(keep), alive[keep], token[keep], mask[keep]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        logits = extend(policy, prefix, token[:, None], mask, prefix.next_B + step)[:, -1]
    certainties /= lengths.clamp(min=1)
    return _collect(policy, repeats, tokens, logprobs, certainties, lengths, stopped)


def _collect(
    policy: Policy,
    repeats: Sequence[int],
    tokens: torch.Tensor,
    logprobs: torch.Tensor,
    certainties: torch.Tensor,
    lengths: torch.Tensor,
    stopped: torch.Tensor,
) -> list[list[Completion]]:
    token_rows, logprob_rows = tokens.tolist(), logprobs.tolist()
    ids = [tuple(row[:n]) for row, n in zip(token_rows, lengths.tolist(), strict=True)]
    texts = policy.tokenizer.batch_decode([list(row) for row in ids], skip_special_tokens=True)
    flat = [
        Completion(
            text=text,
            token_ids=row,
            logprobs=tuple(scores[: len(row)]),
            finish=Finish.STOP if done else Finish.LENGTH,
            self_certainty=sure,
        )
        for text, row, scores, sure, done in zip(
            texts, ids, logprob_rows, certainties.tolist(), stopped.tolist(), strict=True
        )
    ]
    groups, start = [], 0
    for count in repeats:
        groups.append(flat[start : start + count])
        start += count
    return groups
