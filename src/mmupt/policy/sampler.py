"""Sampling completions: each prompt prefilled once, finished rows dropped.

Every row draws from its own counter-based stream, so a completion depends on its seed alone and
not on the batch it was sampled in (up to the floating-point noise of the logits). So running out of
memory loses nothing but time: what was being decoded begins again, fewer rows at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from mmupt.asking.answerer import SamplingParams
from mmupt.asking.prompt import Prompt
from mmupt.clock import count, part
from mmupt.errors import MmuptError
from mmupt.policy.attention import Block, SharedPrompt
from mmupt.policy.cache import StepCache
from mmupt.policy.flops import count_head
from mmupt.policy.inputs import PromptBatch, encode
from mmupt.policy.memory import give_back, open_limit, out_of_memory
from mmupt.policy.model import Policy, inference
from mmupt.policy.shared import Prefix, extend, head, owners, prefill
from mmupt.types import Completion, Finish

SHRINK_BELOW = 0.75
"""Rows are dropped from the batch once fewer than this fraction of them is still running."""


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
        room: most rows at a time, but for a batch that has more alone; None: no bound. Where memory
            runs out it is halved, see `memory.row_limit`.

    Raises:
        MmuptError: out of memory with a single row or prompt.
    """
    with inference(policy):
        return _Decoding(policy, seeds, params, room).run(batches)


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


def prefilled(policy: Policy, prompts: Sequence[Prompt]) -> Iterator[tuple[Prefix, int]]:
    """Prompts ready for `decode`, all of them at once or, where memory runs out, half by half.

    Returns:
        Prefixes with the number of prompts in each, in order.

    Raises:
        MmuptError: out of memory with a single prompt.
    """
    limit, start = open_limit(), 0
    while start < len(prompts):
        part = prompts[start : start + (limit.prompts or len(prompts))]
        prefix = None
        try:
            with inference(policy):
                prefix = _prefilled(policy, encode(policy, part))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        if prefix is not None:
            yield prefix, len(part)
            start += len(part)
        elif len(part) == 1:
            raise _too_large(part)
        else:
            give_back()
            limit.halve_prompts(len(part))


def _prefilled(policy: Policy, batch: PromptBatch) -> Prefix:
    with part("prefill"):
        prefix = prefill(policy, batch)
    count("prefill_tokens", int(batch.lengths.sum()))
    return prefix


def _too_large(prompts: Sequence[Prompt]) -> MmuptError:
    origin = next((p.origin for p in prompts if p.origin), "prompt")
    return MmuptError(
        f"{origin}: out of memory while sampling, with a single completion or prompt; hold the "
        "model in bfloat16, use smaller images or lower the completion length"
    )


@dataclass
class _Waiting:
    """Rows that are not decoded yet.

    Attributes:
        source: their prompts; prefilled, where the caller has done so.
        prefix: the same, prefilled; None: not yet.
        owner_R: the prompt of each row, ascending.
        place_R: where its completion goes in the result.
    """

    source: PromptBatch | Prefix
    owner_R: torch.Tensor
    place_R: torch.Tensor
    prefix: Prefix | None = None

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """What could be encoded again in parts; empty if nothing can."""
        return self.source.prompts if isinstance(self.source, PromptBatch) else ()

    def prefilled(self, policy: Policy) -> Prefix:
        """The prompts, prefilled now if they were not."""
        if self.prefix is None:
            source = self.source
            self.prefix = source if isinstance(source, Prefix) else _prefilled(policy, source)
        return self.prefix


class _Decoding:
    """Rows that are decoded together, each at its own token.

    Attributes:
        alive: place in the result of each of the R rows.
        index_R: how many tokens the row has.
        own_RS: which own token of the row each column of the cache holds, -1 for none.
        blocks: the running rows by what they were let in with, in their order. All else about them
            can be made anew from this and from `lengths`.
        waiting: rows to be let in.
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
        self.limit = open_limit()
        device, rows, limit = policy.device, len(seeds), params.max_completion_length
        self.tokens = torch.full((rows, limit), policy.pad_id, dtype=torch.long, device=device)
        self.logprobs = torch.zeros((rows, limit), device=device)
        self.certainties = torch.zeros(rows, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.stopped = torch.zeros(rows, dtype=torch.bool, device=device)
        self.stops = torch.tensor(policy.stop_ids, device=device)
        self.repeats: list[int] = []
        self.waiting: deque[_Waiting] = deque()
        self._empty()

    def _empty(self) -> None:
        """No row is running."""
        none = torch.zeros(0, dtype=torch.long, device=self.policy.device)
        self.alive, self.index_R, self.start_R, self.next_R = none, none, none, none
        self.own_RS = none.new_zeros(0, self.params.max_completion_length)
        self.blocks: list[_Waiting] = []
        self.ready: list[Block] | None = None
        layers = self.policy.model.config.get_text_config().num_hidden_layers
        self.cache = StepCache(layers, self.params.max_completion_length)
        self.logits = self.logprobs.new_zeros(0, 0)
        self.clock = 0

    def run(
        self, batches: Iterator[tuple[PromptBatch | Prefix, Sequence[int]]]
    ) -> list[list[Completion]]:
        """Decode until all rows of all prompts have ended."""
        while True:
            first = self._first_waiting(batches)
            if first is None and not len(self.alive):
                break
            entering = first if first is not None and self._fits(first) else None
            failed = False
            try:
                if entering is not None:
                    self._admit(entering)
                else:
                    with part("decode"):
                        self._decode(eager=first is not None)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                failed = True
            if failed:  # only here, where the exception and with it its frames are gone
                self._make_room(entering)
        count("sampled_tokens", int(self.lengths.sum()))
        self.certainties /= self.lengths.clamp(min=1)
        return _collect(
            self.policy, self.repeats, self.tokens, self.logprobs, self.certainties,
            self.lengths, self.stopped,
        )  # fmt: skip

    def _first_waiting(
        self, batches: Iterator[tuple[PromptBatch | Prefix, Sequence[int]]]
    ) -> _Waiting | None:
        """Who is next; the next batch is made only when no other waits."""
        if not self.waiting and (found := next(batches, None)) is not None:
            prompts, repeats = found
            owner = owners(repeats, self.policy.device)
            place = sum(self.repeats) + torch.arange(len(owner), device=owner.device)
            self.repeats += repeats
            self.waiting += self._parts(_Waiting(prompts, owner, place))
        return self.waiting[0] if self.waiting else None

    def _parts(self, whole: _Waiting) -> list[_Waiting]:
        """As many prompts each as may be prefilled together."""
        prompts, most = whole.prompts, self.limit.prompts
        if most is None or len(prompts) <= most:
            return [whole]
        parts = []
        for start in range(0, len(prompts), most):
            chosen = (whole.owner_R >= start) & (whole.owner_R < start + most)
            if bool(chosen.any()):
                encoded = encode(self.policy, prompts[start : start + most])
                owner = whole.owner_R[chosen] - start
                parts.append(_Waiting(encoded, owner, whole.place_R[chosen]))
        return parts

    def _fits(self, rows: _Waiting) -> bool:
        """Whether these rows, or some of them if they are alone, may be decoded now."""
        room = self.room if self.limit.rows is None else min(self.room, self.limit.rows)
        return not len(self.alive) or len(self.alive) + len(rows.owner_R) <= room

    def _make_room(self, entering: _Waiting | None) -> None:
        """Memory ran out, with these rows entering or, None, in a step of those there are.

        What runs begins again, from prompts that are prefilled again where they can be: nothing is
        held over that could be what there is no memory for.

        Raises:
            MmuptError: there was no more than one row, or one prompt.
        """
        running = len(self.alive)
        if entering is not None and entering.prefix is None:  # nothing has changed yet
            give_back()
            if running:
                self.limit.halve_rows(running + len(entering.owner_R))
                return
            if len(entering.prompts) < 2:
                raise _too_large(entering.prompts)
            self.limit.halve_prompts(len(entering.prompts))
            self.waiting.popleft()
            self.waiting.extendleft(reversed(self._parts(entering)))
            return
        if entering is not None:
            rows = len(entering.owner_R)
            running += rows if self.limit.rows is None else min(rows, self.limit.rows)
        again = []
        for block in self.blocks:
            left = ~self._ended(block.place_R)
            if bool(left.any()):
                again.append(
                    replace(block, owner_R=block.owner_R[left], place_R=block.place_R[left])
                )
        if running <= 1:
            raise _too_large((again[0] if again else self.waiting[0]).prompts)
        self.limit.halve_rows(running)
        self.waiting.extendleft(reversed(again))
        for one in self.waiting:
            self.lengths[one.place_R] = 0
            self.certainties[one.place_R] = 0.0
            one.prefix = None
        self._empty()
        del again
        give_back()

    def _admit(self, rows: _Waiting) -> None:
        """Let rows in, with the logits of their first tokens; if they are too many, the first."""
        prefix, most = rows.prefilled(self.policy), self.limit.rows or len(rows.owner_R)
        entered = replace(rows, owner_R=rows.owner_R[:most], place_R=rows.place_R[:most])
        owner, new = entered.owner_R, entered.place_R
        self.cache.admit(len(new))
        first = prefix.logits_BV[owner]
        self.logits = torch.cat([self.logits, first]) if len(self.alive) else first
        self.alive = torch.cat([self.alive, new])
        self.index_R = torch.cat([self.index_R, torch.zeros_like(new)])
        self.start_R = torch.cat([self.start_R, prefix.mask_BL.sum(-1)[owner]])
        self.next_R = torch.cat([self.next_R, prefix.next_B[owner]])
        blank = self.own_RS.new_full((len(new), self.own_RS.shape[1]), -1)
        self.own_RS = torch.cat([self.own_RS, blank])
        self.ready = None
        self.blocks = [*self.blocks, entered]
        self.waiting.popleft()
        if most < len(rows.owner_R):
            rest = replace(rows, owner_R=rows.owner_R[most:], place_R=rows.place_R[most:])
            self.waiting.appendleft(rest)

    def _decode(self, eager: bool) -> None:
        """One more token of every running row."""
        limit = self.params.max_completion_length
        token = self._pick(self.logits)
        token = self._drop_finished(token, eager)
        self.logits = self._step(token, self.clock % limit, min(self.clock + 1, limit))
        self.clock += 1

    def _pick(self, logits: torch.Tensor) -> torch.Tensor:
        """Draw and record each running row's next token."""
        seeds, index = self.seeds[self.alive.cpu().numpy()], self.index_R.cpu().numpy()
        uniform = torch.from_numpy(row_uniforms(seeds, index)).to(logits.device)
        token, logprob, sure = pick(logits, uniform, self.params)
        running = ~self._ended(self.alive)
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

    def _ended(self, rows: torch.Tensor) -> torch.Tensor:
        """Which of these places of the result are complete."""
        return self.stopped[rows] | (self.lengths[rows] >= self.params.max_completion_length)

    def _drop_finished(self, token: torch.Tensor, eager: bool) -> torch.Tensor:
        """Leave finished rows behind once they are many, or others wait for their room."""
        finished = self._ended(self.alive)
        running = len(finished) - int(finished.sum())
        if running == len(finished) or (
            running and not eager and running >= SHRINK_BELOW * len(finished)
        ):
            return token
        keep = (~finished).nonzero()[:, 0]
        blocks = []
        for block in self.blocks:
            left = ~self._ended(block.place_R)
            if bool(left.any()):
                blocks.append(
                    replace(block, owner_R=block.owner_R[left], place_R=block.place_R[left])
                )
        self.cache.keep(keep)
        self.blocks, self.ready = blocks, None
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
            self.ready = [b.prefilled(self.policy).block(b.owner_R) for b in self.blocks]
        self.own_RS[:, column] = self.index_R
        self.cache.turn(column, width)
        shared = SharedPrompt(
            self.ready, self.start_R, self.index_R[:, None], self.own_RS[:, :width]
        )
        hidden = extend(self.policy, shared, self.cache, token[:, None], self.next_R)
        self.index_R = self.index_R + 1
        count_head(self.policy.model, len(token))
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
    for own in repeats:
        groups.append(flat[start : start + own])
        start += own
    return groups
