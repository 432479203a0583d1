"""One GRPO update from scored groups, prompts and images shared (arXiv 2402.03300, 2505.22453)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from mmupt.config import TrainConfig
from mmupt.policy.inputs import Prompt, encode
from mmupt.policy.model import Policy
from mmupt.policy.score import completion_logprobs, pad_right, token_batch
from mmupt.processes import ALONE, Processes
from mmupt.train.loss import clipped_objective, kl_k3, loss_denominator, reduce_loss
from mmupt.train.optim import clip_and_step
from mmupt.train.rollout import Group


@dataclass(frozen=True)
class ScoredGroup:
    """A group with one advantage per completion."""

    group: Group
    advantages_G: npt.NDArray[np.float64]

    @property
    def teaches(self) -> bool:
        """Whether any advantage differs from zero; the others never reach the model."""
        return bool(np.any(self.advantages_G != 0.0))


@dataclass
class UpdateStats:
    """Token-weighted sums over an update's micro-batches."""

    loss: float = 0.0
    tokens: float = 0.0
    entropy: float = 0.0
    kl: float = 0.0
    clipped: float = 0.0
    grad_norms: list[float] = field(default_factory=list)


def accumulate_gradients(
    policy: Policy,
    scored: Sequence[ScoredGroup],
    config: TrainConfig,
    reference: Policy | None,
    stats: UpdateStats,
    processes: Processes = ALONE,
) -> None:
    """Backward through all groups, micro-batch by micro-batch; the sum is that of one big batch."""
    completions = [c for s in scored for c in s.group.completions]
    count, length = processes.sum([len(completions), sum(len(c.token_ids) for c in completions)])
    total = loss_denominator(
        config.loss_type, int(count), int(length), config.max_completion_length
    )
    for part in _micro_batches(scored, config.micro_batch_size):
        prompts: list[Prompt] = [p for s in part for p in s.group.prompts]
        repeats = [s.group.per_view for s in part for _ in s.group.prompts]
        chosen = [c for s in part for c in s.group.completions]
        batch = encode(policy, prompts)
        tokens = token_batch(policy, [c.token_ids for c in chosen])
        old_NT = pad_right([c.logprobs for c in chosen], 0.0, policy.device, torch.float32)
        advantages_N = torch.tensor(
            np.concatenate([s.advantages_G for s in part]),
            dtype=torch.float32,
            device=policy.device,
        )
        logps_NT, entropy_NT = completion_logprobs(
            policy, batch, repeats, tokens, config.temperature
        )
        loss_NT, clipped_NT = clipped_objective(
            logps_NT, old_NT, advantages_N, config.epsilon, config.epsilon_high
        )
        if reference is not None and config.beta:
            with torch.no_grad():
                ref_NT, _ = completion_logprobs(
                    reference, batch, repeats, tokens, config.temperature
                )
            kl_NT = kl_k3(logps_NT, ref_NT)
            loss_NT = loss_NT + config.beta * kl_NT
            stats.kl += float((kl_NT.detach() * tokens.mask_NT).sum())
        loss = reduce_loss(loss_NT, tokens.mask_NT, config.loss_type, total)
        loss.backward()  # type: ignore[no-untyped-call]
        stats.loss += float(loss.detach())
        stats.tokens += float(tokens.mask_NT.sum())
        stats.entropy += float((entropy_NT * tokens.mask_NT).sum())
        stats.clipped += float((clipped_NT * tokens.mask_NT).sum())


def update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    scored: Sequence[ScoredGroup],
    config: TrainConfig,
    reference: Policy | None = None,
    processes: Processes = ALONE,
) -> UpdateStats:
    """All optimizer steps on one step's rollouts.

    Groups whose advantages are all zero are skipped without a forward pass. With several
    mini-batches or iterations the ratio is against the log-probabilities kept when sampling.
    """
    stats = UpdateStats()
    teaching = [s for s in scored if s.teaches]
    # Mini-batches are dealt out over the groups of all processes, as if one had them in this order.
    counts = processes.gather(len(teaching))
    first, together = sum(counts[: processes.rank]), sum(counts)
    if not together:
        return stats
    policy.model.train()
    parts = min(config.num_mini_batches, together)
    for _ in range(config.num_iterations):
        for i in range(parts):
            part = teaching[(i - first) % parts :: parts]
            accumulate_gradients(policy, part, config, reference, stats, processes)
            trained = [p for p in policy.model.parameters() if p.requires_grad]
            processes.sum_gradients(trained)
            stats.grad_norms.append(clip_and_step(trained, optimizer, config.max_grad_norm))
    stats.loss, stats.tokens, stats.entropy, stats.kl, stats.clipped = processes.sum(
        [stats.loss, stats.tokens, stats.entropy, stats.kl, stats.clipped]
    )
    return stats


def _micro_batches(scored: Sequence[ScoredGroup], prompts: int) -> Iterator[list[ScoredGroup]]:
    """Whole groups, at most `prompts` prompts at a time (at least one group)."""
    part: list[ScoredGroup] = []
    count = 0
    for one in scored:
        size = len(one.group.prompts)
        if part and count + size > prompts:
            yield part
            part, count = [], 0
        part.append(one)
        count += size
    if part:
        yield part
