"""Sampling completions: each prompt prefilled once, finished rows dropped.

Every row draws from its own counter-based stream, so a completion depends on its seed alone and
not on the batch it was sampled in (up to the floating-point noise of the logits).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mmupt.clock import part
from mmupt.policy.attention import Block, SharedPrompt
from mmupt.policy.cache import StepCache
from mmupt.policy.inputs import PromptBatch
from mmupt.policy.model import Policy, inference
from mmupt.policy.shared import Prefix, extend, head, owners, prefill
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
    min_p: float = 0.0
    stop_strings: tuple[str, ...] = ()


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


def stream_seeds(*key: int, count: int) -> npt.NDArray[np.uint64]:
    """`count` independent row seeds that depend on `key` alone."""
    return np.random.SeedSequence(list(key)).generate_state(count, np.uint64).astype(np.uint64)


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
    return sample_all(policy, iter([(batch, repeats)]), seeds, params)


def sample_all(
    policy: Policy,
    batches: Iterator[tuple[PromptBatch, Sequence[int]]],
    seeds: npt.NDArray[np.uint64],
    params: SamplingParams,
    room: int | None = None,
) -> list[list[Completion]]:
    """`sample` for a stream of batches: the next is let in as soon as its rows have room.

    Args:
        batches: encoded prompts with the completions of each, made when they are let in.
        seeds: one seed per completion of all batches.
        params: how to sample.
        room: most rows at a time, but for a batch that has more alone; None: no bound.
    """
    with inference(policy):
        prefixes = ((_prefilled(policy, batch), repeats) for batch, repeats in batches)
        return _Decoding(policy, seeds, params, room).run(prefixes)


def decode(
    policy: Policy,
    prefix: Prefix,
    repeats: Sequence[int],
    seeds: npt.NDArray[np.uint64],
    params: SamplingParams,
) -> list[list[Completion]]:
    """The decoding half of `sample`; a prefix can be decoded from any number of times."""
    with inference(policy):
        return _Decoding(policy, seeds, params, None).run(iter([(prefix, repeats)]))


def _prefilled(policy: Policy, batch: PromptBatch) -> Prefix:
    with part("prefill"):
        return prefill(policy, batch)


class _Decoding:
    """Rows that are decoded together, each at its own token.

    Attributes:
        alive: place in the result of each of the R rows.
        index_R: how many tokens the row has.
        own_RS: which own token of the row each column of the cache holds, -1 for none.
        blocks: the prompts with the owners of their rows, in the order of the rows.
    """

    def __init__(
        self,
        policy: Policy,
        seeds: npt.NDArray[np.uint64],
        params: SamplingParams,
        room: int | None,
    ) -> None:
        self.policy, self.params, self.seeds = policy, params, seeds
        self.room = len(seeds) if room is None else room
        device, rows, limit = policy.device, len(seeds), params.max_completion_length
        self.tokens = torch.full((rows, limit), policy.pad_id, dtype=torch.long, device=device)
        self.logprobs = torch.zeros((rows, limit), device=device)
        self.certainties = torch.zeros(rows, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.stopped = torch.zeros(rows, dtype=torch.bool, device=device)
        self.stops = torch.tensor(policy.stop_ids, device=device)
        none = torch.zeros(0, dtype=torch.long, device=device)
        self.alive, self.index_R, self.start_R, self.next_R = none, none, none, none
        self.own_RS = none.new_zeros(0, limit)
        self.blocks: list[tuple[Prefix, torch.Tensor]] = []
        self.ready: list[Block] | None = None
        layers = policy.model.config.get_text_config().num_hidden_layers
        self.cache = StepCache(layers, limit)
        self.repeats: list[int] = []

    def run(self, prefixes: Iterator[tuple[Prefix, Sequence[int]]]) -> list[list[Completion]]:
        """Decode until all rows of all prompts have ended."""
        limit, clock = self.params.max_completion_length, 0
        logits: torch.Tensor | None = None
        waiting = next(prefixes, None)
        while True:
            while waiting and (
                not len(self.alive) or len(self.alive) + sum(waiting[1]) <= self.room
            ):
                first = self._admit(*waiting)
                logits = first if logits is None else torch.cat([logits, first])
                waiting = next(prefixes, None)
            if logits is None or not len(self.alive):
                break
            with part("decode"):
                token = self._pick(logits)
                token = self._drop_finished(token, eager=waiting is not None)
                logits = self._step(token, clock % limit, min(clock + 1, limit))
            clock += 1
        self.certainties /= self.lengths.clamp(min=1)
        return _collect(
            self.policy, self.repeats, self.tokens, self.logprobs, self.certainties,
            self.lengths, self.stopped,
        )  # fmt: skip

    def _admit(self, prefix: Prefix, repeats: Sequence[int]) -> torch.Tensor:
        """Rows of more prompts; returns the logits of their first tokens."""
        owner = owners(repeats, prefix.logits_BV.device)
        first, count_new = sum(self.repeats), len(owner)
        self.repeats += repeats
        self.blocks.append((prefix, owner))
        self.ready = None
        self.cache.admit(count_new)
        new = torch.arange(first, first + count_new, device=owner.device)
        self.alive = torch.cat([self.alive, new])
        self.index_R = torch.cat([self.index_R, torch.zeros_like(new)])
        self.start_R = torch.cat([self.start_R, prefix.mask_BL.sum(-1)[owner]])
        self.next_R = torch.cat([self.next_R, prefix.next_B[owner]])
        blank = self.own_RS.new_full((count_new, self.own_RS.shape[1]), -1)
        self.own_RS = torch.cat([self.own_RS, blank])
        return prefix.logits_BV[owner]

    def _pick(self, logits: torch.Tensor) -> torch.Tensor:
        """Draw and record each running row's next token."""
        seeds, index = self.seeds[self.alive.cpu().numpy()], self.index_R.cpu().numpy()
        uniform = torch.from_numpy(row_uniforms(seeds, index)).to(logits.device)
        token, logprob, sure = pick(logits, uniform, self.params)
        running = ~self._finished()
        target, index_R = self.alive[running], self.index_R[running]
        self.tokens[target, index_R] = token[running]
        self.logprobs[target, index_R] = logprob[running].float()
        self.certainties[target] += sure[running]
        self.lengths[target] += 1
        ended = torch.isin(token[running], self.stops)
        if self.params.stop_strings:
            ended = ended | self._says_stop(target)
        self.stopped[target] = ended
        return token

    def _says_stop(self, rows: torch.Tensor) -> torch.Tensor:
        """Which of these rows have just completed a stop string."""
        longest = max(map(len, self.params.stop_strings))
        said = []
        for row in rows.tolist():
            end = int(self.lengths[row])
            # A token stands for one byte or more: the string is within so many tokens.
            tail = self.tokens[row, max(0, end - 4 * longest - 4) : end].tolist()
            text = self.policy.tokenizer.decode(tail, skip_special_tokens=True)
            said.append(any(stop in text for stop in self.params.stop_strings))
        return torch.tensor(said, dtype=torch.bool, device=rows.device)

    def _finished(self) -> torch.Tensor:
        full = self.lengths[self.alive] >= self.params.max_completion_length
        return self.stopped[self.alive] | full

    def _drop_finished(self, token: torch.Tensor, eager: bool) -> torch.Tensor:
        """Leave finished rows behind once they are many, or others wait for their room."""
        finished = self._finished()
        running = len(finished) - int(finished.sum())
        if running == len(finished) or (
            running and not eager and running >= SHRINK_BELOW * len(finished)
        ):
            return token
        keep = (~finished).nonzero()[:, 0]
        blocks, start = [], 0
        for prefix, owner in self.blocks:
            left = owner[~finished[start : start + len(owner)]]
            start += len(owner)
            if len(left):
                blocks.append((prefix, left))
        self.blocks, self.ready = blocks, None
        self.cache.keep(keep)
        self.alive, self.index_R = self.alive[keep], self.index_R[keep]
        self.start_R, self.next_R = self.start_R[keep], self.next_R[keep]
        self.own_RS = self.own_RS[keep]
        return token[keep]

    def _step(self, token: torch.Tensor, column: int, width: int) -> torch.Tensor:
        """Feed the tokens; returns the logits of the next ones."""
        if not len(token):
            return self.logprobs.new_zeros(
                0, self.policy.model.get_output_embeddings().weight.shape[0]
            )
        if self.ready is None:
            self.ready = [prefix.block(owner) for prefix, owner in self.blocks]
        self.own_RS[:, column] = self.index_R
        self.cache.turn(column, width)
        shared = SharedPrompt(
            self.ready, self.start_R, self.index_R[:, None], self.own_RS[:, :width]
        )
        hidden = extend(self.policy, shared, self.cache, token[:, None], self.next_R)
        self.index_R = self.index_R + 1
        return head(self.policy, hidden[:, -1])


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
