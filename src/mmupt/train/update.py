"""One GRPO update from scored groups, prompts and images shared (arXiv 2402.03300, 2505.22453).

The gradient is that of one big batch, however it is cut into micro-batches and shared by processes:
denominators are those of the whole, and gradients are summed before the one step.

The policy that sampled. With one update per rollout it is the policy itself, and the ratio is
exp(logp - sg(logp)), exactly 1, as in TRL. The log-probabilities kept when sampling are the same up
to rounding, which in bfloat16 is 1e-2: taking the ratio against them would weigh and clip by noise.
With several updates the ratio needs them; they cost nothing, where TRL runs one more forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from mmupt.clock import count, part
from mmupt.config import TrainConfig
from mmupt.policy.inputs import PromptBatch, encode
from mmupt.policy.memory import give_back, out_of_memory
from mmupt.policy.model import Policy
from mmupt.policy.score import TokenBatch, completion_logprobs, pad_right, token_batch
from mmupt.processes import ALONE, Processes
from mmupt.train.loss import loss_denominator, reduce_loss, token_loss
from mmupt.train.microbatch import Piece, TokenBudget, micro_batches
from mmupt.train.optim import clip_and_step, sum_gradients
from mmupt.train.rollout import Group
from mmupt.types import Finish


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
    """Sums over an update's micro-batches, and those of all processes together.

    Attributes:
        loss: of all its optimizer steps.
        tokens: completion tokens that count, and over them
        entropy: sum of the policy's entropies,
        kl: of the estimated KLs,
        clipped: and how many were clipped.
        grad_norms: of each optimizer step, before clipping.
        halved: budgets before and after each time that memory ran out.
    """

    loss: float = 0.0
    tokens: float = 0.0
    entropy: float = 0.0
    kl: float = 0.0
    clipped: float = 0.0
    grad_norms: list[float] = field(default_factory=list)
    halved: list[tuple[int, int]] = field(default_factory=list)


def update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    scored: Sequence[ScoredGroup],
    config: TrainConfig,
    reference: Policy | None = None,
    processes: Processes = ALONE,
    budget: TokenBudget | None = None,
    places: Sequence[int] | None = None,
) -> UpdateStats:
    """All optimizer steps on one step's rollouts; a meeting of all processes.

    Groups whose advantages are all zero are skipped without a forward pass, and so are truncated
    completions with `mask_truncated_completions`.

    Args:
        policy: is trained in place.
        optimizer: of its parameters.
        scored: this process's groups.
        config: see `TrainConfig`.
        reference: what the KL is measured against; used where `beta` is not 0.
        processes: who else trains; a process without groups takes part.
        budget: most tokens of a micro-batch. It is lowered for good when memory runs out, so the
            caller keeps it; without one every update begins at `micro_batch_tokens`.
        places: of each of `scored` among the groups of all processes; None: those of the first
            process come first, as `Processes.share` deals them out.

    Raises:
        MmuptError: out of memory with a single completion.
    """
    budget = TokenBudget(config.micro_batch_tokens) if budget is None else budget
    masked = config.mask_truncated_completions
    keys = [(processes.rank, i) for i in range(len(scored))]
    if places is not None:
        keys = [(0, place) for place in places]
    teaching = {
        key: (s, pieces)
        for key, s in zip(keys, scored, strict=True)
        if s.teaches and (pieces := _pieces(policy, s, masked))
    }
    # Mini-batches are dealt out over the groups of all processes, as if one had them in this order.
    order = sorted(processes.join(list(teaching)))
    stats = UpdateStats()
    if not order:
        return stats
    parts = min(config.num_mini_batches, len(order))
    batches = [[teaching[k] for k in order[i::parts] if k in teaching] for i in range(parts)]
    totals = _denominators(batches, config, processes)
    single = parts * config.num_iterations == 1
    policy.model.train()
    for _ in range(config.num_iterations):
        for batch, total in zip(batches, totals, strict=True):
            groups = [pieces for _, pieces in batch]
            accumulate_gradients(policy, groups, config, reference, total, single, budget, stats)
            trained = [p for p in policy.model.parameters() if p.requires_grad]
            sum_gradients(trained, optimizer, processes)
            with part("optimizer"):
                stats.grad_norms.append(clip_and_step(trained, optimizer, config.max_grad_norm))
    stats.loss, stats.tokens, stats.entropy, stats.kl, stats.clipped = processes.sum(
        [stats.loss, stats.tokens, stats.entropy, stats.kl, stats.clipped]
    )
    stats.halved = processes.join(stats.halved)
    if stats.halved:  # all keep the smallest
        budget.tokens = min(new for _, new in stats.halved)
    return stats


def _pieces(policy: Policy, scored: ScoredGroup, mask_truncated: bool) -> list[Piece]:
    """The prompts of a group with the completions that count; none where they teach nothing."""
    group, advantages = scored.group, scored.advantages_G
    pieces = []
    for view, prompt in enumerate(group.prompts):
        chosen = [
            (group.completions[i], float(advantages[i]))
            for i in range(view * group.per_view, (view + 1) * group.per_view)
            if not (mask_truncated and group.completions[i].finish is Finish.LENGTH)
        ]
        if chosen:
            length = (
                group.prompt_tokens[view]
                if group.prompt_tokens
                else int(encode(policy, [prompt]).lengths)
            )
            completions, weights = zip(*chosen, strict=True)
            pieces.append(Piece(prompt, length, completions, weights))
    return pieces if any(any(piece.advantages) for piece in pieces) else []


def _denominators(
    batches: Sequence[Sequence[tuple[ScoredGroup, Sequence[Piece]]]],
    config: TrainConfig,
    processes: Processes,
) -> list[float]:
    """What the loss of each mini-batch is divided by, over all processes.

    As in TRL, masked completions are among the completions of grpo and dr_grpo.
    """
    completions = [sum(len(s.group.completions) for s, _ in batch) for batch in batches]
    tokens = [
        sum(len(c.token_ids) for _, pieces in batch for piece in pieces for c in piece.completions)
        for batch in batches
    ]
    summed = processes.sum([*completions, *tokens])
    completions_all, tokens_all = summed[: len(batches)], summed[len(batches) :]
    return [
        loss_denominator(
            config.loss_type,
            completions=c,
            tokens=t,
            tokens_per_update=sum(tokens_all) / len(batches),
            max_completion_length=config.max_completion_length,
        )
        for c, t in zip(completions_all, tokens_all, strict=True)
    ]


def accumulate_gradients(
    policy: Policy,
    groups: Sequence[Sequence[Piece]],
    config: TrainConfig,
    reference: Policy | None,
    total: float,
    single: bool,
    budget: TokenBudget,
    stats: UpdateStats,
) -> None:
    """Backward through all groups, micro-batch by micro-batch.

    When memory runs out the gradients are dropped and all micro-batches are computed again, smaller
    ones. A backward pass that breaks off has already added to some gradients; to undo that alone,
    a second copy of them all would have to be held from the start, which is memory as well. As the
    largest micro-batch comes first, it is usually the one that fails, and little is lost.
    """
    while True:
        figures = np.zeros(5)
        failed: list[Piece] | None = None
        parts = micro_batches(groups, budget.tokens, config.micro_batch_size)
        for pieces in parts:
            try:
                figures += _backward(policy, pieces, config, reference, total, single)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                failed = pieces
                break
        if failed is None:
            break
        # Only here, where the exception and with it the frames that hold the graph are gone.
        policy.model.zero_grad(set_to_none=True)
        give_back()
        stats.halved.append(budget.halve(failed))
    count("prompt_tokens", sum(piece.prompt_tokens for pieces in parts for piece in pieces))
    count("train_tokens", figures[1])
    stats.loss += float(figures[0])
    stats.tokens += float(figures[1])
    stats.entropy += float(figures[2])
    stats.kl += float(figures[3])
    stats.clipped += float(figures[4])


def _backward(
    policy: Policy,
    pieces: Sequence[Piece],
    config: TrainConfig,
    reference: Policy | None,
    total: float,
    single: bool,
) -> npt.NDArray[np.float64]:
    """One micro-batch. Returns loss, tokens and the sums of entropy, KL and clipped tokens."""
    device = policy.device
    chosen = [c for piece in pieces for c in piece.completions]
    repeats = [len(piece.completions) for piece in pieces]
    batch = encode(policy, [piece.prompt for piece in pieces])
    tokens = token_batch(policy, [c.token_ids for c in chosen])
    mask_NT = tokens.mask_NT
    advantages_N = torch.tensor(
        [a for piece in pieces for a in piece.advantages], dtype=torch.float32, device=device
    )
    old_NT = None
    if not single:
        old_NT = pad_right([c.logprobs for c in chosen], 0.0, device, torch.float32)
    ref_NT = None
    if reference is not None and config.beta:  # first, while no graph is held
        with torch.no_grad(), part("reference"):
            ref_NT, _ = _logprobs(reference, batch, repeats, tokens, config)
    with part("forward"):
        logps_NT, entropy_NT = _logprobs(policy, batch, repeats, tokens, config)
        losses = token_loss(logps_NT, old_NT, ref_NT, advantages_N, mask_NT, config)
        loss = reduce_loss(losses.loss_NT, mask_NT, config.loss_type, total)
    with part("backward"):
        loss.backward()  # type: ignore[no-untyped-call]
    kl_NT = torch.zeros_like(mask_NT) if losses.kl_NT is None else losses.kl_NT
    sums = [(figure * mask_NT).sum() for figure in (entropy_NT, kl_NT, losses.clipped_NT)]
    # One transfer: each would wait for the device.
    figures = torch.stack([loss.detach(), mask_NT.sum(), *sums]).double().cpu()
    return np.asarray(figures.numpy(), dtype=np.float64)


def _logprobs(
    policy: Policy,
    batch: PromptBatch,
    repeats: Sequence[int],
    tokens: TokenBatch,
    config: TrainConfig,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`completion_logprobs`, with `bf16` in bfloat16 where torch has it safe; softmax in float32.

    Each model has an autocast region of its own: weights cast without gradients must not be reused.
    """
    with torch.autocast(policy.device.type, dtype=torch.bfloat16, enabled=config.bf16):
        return completion_logprobs(
            policy, batch, repeats, tokens, config.temperature, config.gradient_checkpointing
        )
