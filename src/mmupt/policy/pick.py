"""One token of each row: temperature, top-k, min-p, top-p, and each row's own random numbers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from mmupt.asking.answerer import SamplingParams


def row_uniforms(
    seeds_R: npt.NDArray[np.uint64], step_R: npt.NDArray[np.int64] | int
) -> npt.NDArray[np.float64]:
    """One uniform in [0, 1) per row: SplitMix64 of (seed, step), 53 bits."""
    with np.errstate(over="ignore"):
        steps = np.asarray(step_R).astype(np.uint64) + np.uint64(1)
        z = seeds_R + steps * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return np.asarray((z >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def truncate(probs_RV: torch.Tensor, top_p: float, top_k: int, min_p: float = 0.0) -> torch.Tensor:
    """Zero what top-k, min-p and top-p (nucleus, arXiv 1904.09751) leave out; not renormalised.

    min-p (arXiv 2407.01082) leaves out what is less likely than `min_p` times the likeliest token.
    """
    if top_k:
        kth = probs_RV.topk(min(top_k, probs_RV.shape[-1]), dim=-1).values[..., -1:]
        probs_RV = probs_RV.masked_fill(probs_RV < kth, 0.0)
    if min_p:
        likeliest = probs_RV.amax(dim=-1, keepdim=True)
        probs_RV = probs_RV.masked_fill(probs_RV < min_p * likeliest, 0.0)
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
    probs_RV = truncate(logps_RV.exp(), params.top_p, params.top_k, params.min_p)
    cdf_RV = probs_RV.double().cumsum(-1)
    target_R = uniform_R.to(cdf_RV) * cdf_RV[:, -1]
    token_R = torch.searchsorted(cdf_RV, target_R[:, None], right=True)[:, 0]
    token_R = token_R.clamp(max=logits_RV.shape[-1] - 1)
    return token_R, logps_RV.gather(-1, token_R[:, None])[:, 0], certainty(logps_RV)


def certainty(logps_RV: torch.Tensor) -> torch.Tensor:
    """KL(uniform || pi) of each row in nats, (R,); see `pick`."""
    return -logps_RV.mean(-1) - math.log(logps_RV.shape[-1])
