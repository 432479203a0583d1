"""Rows that are decoded together: prompts let in as there is room, finished rows dropped.

Running out of memory loses nothing but time: what was being decoded begins again, fewer rows at
once.
"""

from __future__ import annotations

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
from mmupt.policy.model import Policy
from mmupt.policy.pick import pick, row_uniforms
from mmupt.policy.shared import Prefix, extend, head, owners, prefill
from mmupt.types import Completion, Finish

SHRINK_BELOW = 0.75
"""Rows are dropped from the batch once fewer than this fraction of them is still running."""


def prefill_counted(policy: Policy, batch: PromptBatch) -> Prefix:
    """The prompts, prefilled; time and tokens are counted."""
    with part("prefill"):
        prefix = prefill(policy, batch)
    count("prefill_tokens", int(batch.lengths.sum()))
    return prefix


def too_large(prompts: Sequence[Prompt]) -> MmuptError:
    """The error of these prompts, where nothing is left to halve."""
    origin = next((p.origin for p in prompts if p.origin), "prompt")
    return MmuptError(
        f"{origin}: out of memory while sampling, with a single completion or prompt; hold the "
        "model in bfloat16, use smaller images or lower the completion length"
    )


@dataclass
class Waiting:
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
            self.prefix = source if isinstance(source, Prefix) else prefill_counted(policy, source)
        return self.prefix


class Decoding:
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
        self.waiting: deque[Waiting] = deque()
        self._empty()

    def _empty(self) -> None:
        """No row is running."""
        none = torch.zeros(0, dtype=torch.long, device=self.policy.device)
        self.alive, self.index_R, self.start_R, self.next_R = none, none, none, none
        self.own_RS = none.new_zeros(0, self.params.max_completion_length)
        self.blocks: list[Waiting] = []
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
    ) -> Waiting | None:
        """Who is next; the next batch is made only when no other waits."""
        if not self.waiting and (found := next(batches, None)) is not None:
            prompts, repeats = found
            owner = owners(repeats, self.policy.device)
            place = sum(self.repeats) + torch.arange(len(owner), device=owner.device)
            self.repeats += repeats
            self.waiting += self._parts(Waiting(prompts, owner, place))
        return self.waiting[0] if self.waiting else None

    def _parts(self, whole: Waiting) -> list[Waiting]:
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
                parts.append(Waiting(encoded, owner, whole.place_R[chosen]))
        return parts

    def _fits(self, rows: Waiting) -> bool:
        """Whether these rows, or some of them if they are alone, may be decoded now."""
        room = self.room if self.limit.rows is None else min(self.room, self.limit.rows)
        return not len(self.alive) or len(self.alive) + len(rows.owner_R) <= room

    def _make_room(self, entering: Waiting | None) -> None:
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
                raise too_large(entering.prompts)
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
            raise too_large((again[0] if again else self.waiting[0]).prompts)
        self.limit.halve_rows(running)
        self.waiting.extendleft(reversed(again))
        for one in self.waiting:
            self.lengths[one.place_R] = 0
            self.certainties[one.place_R] = 0.0
            one.prefix = None
        self._empty()
        del again
        give_back()

    def _admit(self, rows: Waiting) -> None:
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
