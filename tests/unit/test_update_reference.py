"""One GRPO step against a slow implementation of its formulas that shares nothing.

The slow one runs every completion as its own full row: the prompt and its pictures again for each
of the G completions, no cache, no padding, no batch. It knows the formulas, not `mmupt`.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from tiny import idefics3_row, naive_logprobs, picture

from mmupt.asking.answerer import SamplingParams, stream_seeds
from mmupt.asking.prompt import Prompt
from mmupt.config import TrainConfig
from mmupt.policy.inputs import encode
from mmupt.policy.model import Policy
from mmupt.policy.sampler import sample
from mmupt.train.rollout import Group
from mmupt.train.update import ScoredGroup, UpdateStats, update
from mmupt.types import Completion, Finish, Sample

RELATIVE = 1e-5
"""Of the loss, and of each gradient as `tiny.worst_error` defines it. Found: below 3e-6."""

CLIP = {"epsilon": 0.1, "epsilon_high": 0.25}
LOSSES = ("grpo", "dapo", "dr_grpo", "cispo")


def make_group(
    seed: int, prompts: Sequence[Prompt], lengths: Sequence[int], policy: Policy
) -> Group:
    """Completions of given lengths, view by view, with old log-probabilities near the policy's.

    The noise makes ratios between about 0.5 and 2, so that both clips are at work on both signs.
    """
    draw = random.Random(seed)
    per_view = len(lengths) // len(prompts)
    completions = []
    for i, length in enumerate(lengths):
        view = i // per_view
        tokens = tuple(draw.randrange(10, 200) for _ in range(length))
        with torch.no_grad():
            current = naive_logprobs(policy.model, idefics3_row(policy, prompts[view]), tokens, 0.8)
        old = tuple(float(value) + draw.uniform(-0.6, 0.6) for value in current)
        completions.append(Completion("", tokens, old, Finish.STOP, view))
    sample = Sample(str(seed), prompts[0].problem)
    return Group(sample, tuple(prompts), tuple(completions))


def scored(group: Group, rewards: Sequence[float]) -> ScoredGroup:
    """A_i = (r_i - mean) / (std + 1e-4), worked out without mmupt."""
    mean, std = statistics.fmean(rewards), statistics.stdev(rewards)
    return ScoredGroup(group, np.array([(r - mean) / (std + 1e-4) for r in rewards]))


def three_groups(policy: Policy) -> list[ScoredGroup]:
    """Two views of one picture, no picture, two pictures; every length is different."""
    return [
        scored(
            make_group(
                1,
                [
                    Prompt("<image>sum?", (picture(1),)),
                    Prompt("<image>sum?", (picture(2, 24, 40),)),
                ],
                [3, 1, 5, 2, 4, 6],
                policy,
            ),
            [1, 0, 0, 1, 1, 0],
        ),
        scored(
            make_group(
                2, [Prompt("the same without a picture, and longer", ())], [2, 7, 1], policy
            ),
            [0, 0, 1],
        ),
        scored(
            make_group(
                3, [Prompt("<image>or<image>?", (picture(3), picture(4)))], [4, 3, 2, 8], policy
            ),
            [0.25, 1, 0.5, 0],
        ),
    ]


def clip_of(loss_type: str) -> dict[str, float]:
    """Bounds within the ratios of `make_group`; CISPO's is a ratio itself."""
    return {"epsilon_high": 1.1} if loss_type == "cispo" else CLIP


def naive_step(
    policy: Policy,
    reference: Policy | None,
    groups: Sequence[ScoredGroup],
    config: TrainConfig,
    *,
    single: bool = False,
    tokens: float | None = None,
) -> tuple[float, int]:
    """Loss and gradients from the formulas, and how many tokens were clipped.

    ratio   rho = exp(logp - old), old = sg(logp) where `single`; over a sequence its mean in logs
    policy  -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon_high) A)
    cispo   -sg(min(rho, epsilon_high)) A logp
    k3      exp(ref - logp) - (ref - logp) - 1

    `tokens` is what dapo and cispo divide by, where it is not the number of these.
    """
    per_completion, clipped = [], 0
    for one in groups:
        per_view = len(one.group.completions) // len(one.group.prompts)
        for i, completion in enumerate(one.group.completions):
            row = idefics3_row(policy, one.group.prompts[i // per_view])
            advantage = float(one.advantages_G[i])
            logps = naive_logprobs(policy.model, row, completion.token_ids, config.temperature)
            if reference is not None:
                with torch.no_grad():
                    refs = naive_logprobs(
                        reference.model, row, completion.token_ids, config.temperature
                    )
            olds = logps.detach() if single else torch.tensor(completion.logprobs)
            logs = logps - olds
            if config.importance_sampling_level == "sequence":
                logs = logs.mean().expand(len(logs))
            terms = []
            for t, log_ratio in enumerate(logs):
                ratio = torch.exp(log_ratio)
                if config.loss_type == "cispo":
                    assert config.epsilon_high is not None
                    term = -ratio.detach().clamp(max=config.epsilon_high) * advantage * logps[t]
                    clipped += ratio.item() > config.epsilon_high
                else:
                    high = config.epsilon_high or config.epsilon
                    bounded = torch.clamp(ratio, 1 - config.epsilon, 1 + high)
                    term = -torch.minimum(ratio * advantage, bounded * advantage)
                    clipped += (bounded * advantage).item() < (ratio * advantage).item()
                if reference is not None:
                    term = term + config.beta * (
                        torch.exp(refs[t] - logps[t]) - (refs[t] - logps[t]) - 1
                    )
                terms.append(term)
            per_completion.append(torch.stack(terms))
    count = len(per_completion)
    if config.loss_type == "grpo":
        loss = sum(terms.mean() for terms in per_completion) / count
    elif config.loss_type == "dr_grpo":
        loss = sum(terms.sum() for terms in per_completion) / (count * config.max_completion_length)
    else:
        own = sum(map(len, per_completion))
        loss = sum(terms.sum() for terms in per_completion) / (
            own if tokens is None or config.loss_type == "bnpo" else tokens
        )
    loss.backward()
    return loss.item(), clipped


class Recorder(torch.optim.SGD):
    """Keeps the gradients of every step and changes nothing."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.model.parameters(), lr=0.0)
        self.policy, self.steps = policy, list[dict[str, torch.Tensor]]()

    def step(self, closure: Any = None) -> Any:
        self.steps.append(tiny.gradients(self.policy.model))


def shared_step(
    policy: Policy,
    reference: Policy | None,
    groups: Sequence[ScoredGroup],
    config: TrainConfig,
    *,
    single: bool = False,
) -> tuple[UpdateStats, dict[str, torch.Tensor]]:
    """One update's figures and gradients.

    Where the policy that sampled is to be another, there are two passes, as one alone has none. The
    recorder leaves the weights as they are, so that both are the same.
    """
    passes = 1 if single else 2
    recorder = Recorder(policy)
    settings = {"num_iterations": passes, "max_grad_norm": 1e9}
    policy.model.zero_grad()
    stats = update(policy, recorder, groups, config.model_copy(update=settings), reference)
    assert len(recorder.steps) == len(stats.grad_norms) == passes
    first, last = recorder.steps[0], recorder.steps[-1]
    assert all(torch.equal(first[name], last[name]) for name in first)
    for name in ("loss", "tokens", "entropy", "kl", "clipped"):
        setattr(stats, name, getattr(stats, name) / passes)
    return stats, first


@contextmanager
def forwards(policy: Policy) -> Iterator[list[int]]:
    """The batch size of every pass through the language model: prompts, then completions."""
    seen: list[int] = []
    with before_decoder(policy, seen.append):
        yield seen


@contextmanager
def before_decoder(policy: Policy, told: Callable[[int], object]) -> Iterator[None]:
    """`told` hears the batch size before each pass through the language model."""

    def note(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids")
        told(len(kwargs["inputs_embeds"] if ids is None else ids))

    handle = policy.model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def moved_reference(policy: Policy) -> Policy:
    """A reference that differs from the policy, so that its KL is not zero."""
    reference = policy.clone()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in reference.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return reference


@pytest.mark.parametrize(
    ("loss_type", "level", "beta"),
    [(loss_type, "token", beta) for loss_type in LOSSES for beta in (0.0, 0.3)]
    + [("grpo", "sequence", 0.3), ("dapo", "sequence", 0.0)],
)
def test_loss_and_gradients(idefics3: Policy, loss_type: Any, level: Any, beta: float) -> None:
    config = TrainConfig(
        loss_type=loss_type, importance_sampling_level=level, beta=beta, temperature=0.8,
        max_completion_length=9, **clip_of(loss_type),
    )  # fmt: skip
    groups = three_groups(idefics3)
    reference = moved_reference(idefics3) if beta else None
    stats, found = shared_step(idefics3, reference, groups, config)
    idefics3.model.zero_grad()
    loss, clipped = naive_step(idefics3, reference, groups, config)
    assert stats.loss == pytest.approx(loss, rel=RELATIVE)
    assert tiny.worst_error(found, tiny.gradients(idefics3.model)) < RELATIVE
    assert stats.tokens == 3 + 1 + 5 + 2 + 4 + 6 + 2 + 7 + 1 + 4 + 3 + 2 + 8
    assert stats.clipped == clipped
    assert 5 < clipped < 40  # both branches of the minimum are at work
    assert (stats.kl > 0.1) == bool(beta)


@pytest.mark.parametrize("loss_type", LOSSES)
def test_the_only_update_of_a_rollout_is_on_policy(idefics3: Policy, loss_type: Any) -> None:
    """Every ratio is exactly 1, whatever was kept when sampling: nothing is clipped or weighed."""
    config = TrainConfig(
        loss_type=loss_type, temperature=0.8, max_completion_length=9, **clip_of(loss_type)
    )
    groups = three_groups(idefics3)
    stats, found = shared_step(idefics3, None, groups, config, single=True)
    idefics3.model.zero_grad()
    loss, _ = naive_step(idefics3, None, groups, config, single=True)
    assert stats.loss == pytest.approx(loss, rel=RELATIVE, abs=1e-7)
    assert stats.clipped == 0.0
    assert tiny.worst_error(found, tiny.gradients(idefics3.model)) < RELATIVE


def test_what_is_kept_when_sampling_is_what_training_computes(idefics3: Policy) -> None:
    """Up to rounding, so that either way gives the same update; see `mmupt.train.update`."""
    prompts = [Prompt("<image>sum?", (picture(1),)), Prompt("<image>or<image>?", (picture(3),) * 2)]
    params = SamplingParams(temperature=0.8, max_completion_length=6)
    batch = encode(idefics3, prompts)
    seeds = stream_seeds(1, count=8)
    sampled = [c for group in sample(idefics3, batch, [4, 4], seeds, params) for c in group]
    groups = [
        scored(Group(Sample(str(i), "q"), (prompts[i],), tuple(sampled[4 * i :][:4])), [1, 0, 0, 1])
        for i in range(2)
    ]
    config = TrainConfig(temperature=0.8, max_completion_length=6)
    kept, expected = shared_step(idefics3, None, groups, config)
    own, found = shared_step(idefics3, None, groups, config, single=True)
    assert kept.clipped == own.clipped == 0.0
    assert tiny.worst_error(found, expected) < 10 * RELATIVE


def test_the_losses_differ(idefics3: Policy) -> None:
    """Control: the groups are such that mistaking one loss for another would show."""
    groups, losses = three_groups(idefics3), []
    for loss_type in LOSSES:
        config = TrainConfig(
            loss_type=loss_type, max_completion_length=9, temperature=0.8, **clip_of(loss_type)
        )  # fmt: skip
        losses.append(shared_step(idefics3, None, groups, config)[0].loss)
    assert min(abs(a - b) for a in losses for b in losses if a is not b) > 1e-3


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize("micro_batch_size", [1, 2])
def test_micro_batches_add_up(idefics3: Policy, loss_type: Any, micro_batch_size: int) -> None:
    """The groups hold 2, 1 and 1 prompts: in parts of 1 and 2 they make 3 and 2 forwards."""
    config = TrainConfig(
        loss_type=loss_type, beta=0.1, temperature=0.8, max_completion_length=9,
        **clip_of(loss_type),
    )  # fmt: skip
    groups, reference = three_groups(idefics3), moved_reference(idefics3)
    whole, expected = shared_step(idefics3, reference, groups, config)
    small = config.model_copy(update={"micro_batch_size": micro_batch_size})
    with forwards(idefics3) as seen:
        parts, found = shared_step(idefics3, reference, groups, small)
    once = 2 * {1: 3, 2: 2}[micro_batch_size]  # each: prompts, then completions
    assert len(seen) == 2 * once  # in two passes
    assert parts.loss == pytest.approx(whole.loss, rel=RELATIVE)
    assert parts.kl == pytest.approx(whole.kl, rel=RELATIVE)
    assert parts.tokens == whole.tokens
    assert tiny.worst_error(found, expected) < RELATIVE


def test_a_prompt_is_computed_once_for_its_group(idefics3: Policy) -> None:
    groups = three_groups(idefics3)
    with forwards(idefics3) as seen:
        shared_step(idefics3, None, groups, TrainConfig(), single=True)
    assert seen == [4, 13]  # four prompts, thirteen completions


def test_unanimous_groups_make_no_forward_pass(idefics3: Policy) -> None:
    group = make_group(1, [Prompt("<image>sum?", (picture(1),))], [3, 2, 4], idefics3)
    before = tiny.weights(idefics3.model)
    optimizer = torch.optim.AdamW(idefics3.model.parameters(), lr=0.1)
    with forwards(idefics3) as seen:
        stats = update(
            idefics3, optimizer, [ScoredGroup(group, np.zeros(3))] * 2, TrainConfig(beta=0.5)
        )
    assert seen == []
    assert stats == UpdateStats()
    assert not optimizer.state  # not even a step with zero gradients, which would decay the weights
    after = tiny.weights(idefics3.model)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_unanimous_groups_change_nothing_for_the_others(
    load_idefics3: Callable[[], Policy],
) -> None:
    with_them, without = load_idefics3(), load_idefics3()
    teaching = three_groups(without)
    silent = ScoredGroup(
        make_group(9, [Prompt("<image>a", (picture(5),))], [6, 5], without), np.zeros(2)
    )
    config = TrainConfig(num_mini_batches=2, temperature=0.8, loss_type="grpo")
    results = []
    for policy, groups in ((with_them, [silent, *teaching, silent]), (without, teaching)):
        optimizer = torch.optim.AdamW(policy.model.parameters(), lr=1e-3)
        with forwards(policy) as seen:
            results.append((update(policy, optimizer, groups, config), list(seen)))
    assert results[0] == results[1]
    assert tiny.same_weights(with_them.model, without.model)


@pytest.mark.parametrize("loss_type", ["dapo", "bnpo"])
@pytest.mark.parametrize(
    ("iterations", "mini_batches", "parts"),
    [
        (2, 1, [[0, 1, 2], [0, 1, 2]]),
        (1, 3, [[0], [1], [2]]),
        (1, 2, [[0, 2], [1]]),
        (2, 2, [[0, 2], [1], [0, 2], [1]]),
    ],
)
def test_later_updates_are_measured_against_the_sampling_policy(
    load_idefics3: Callable[[], Policy],
    iterations: int,
    mini_batches: int,
    parts: list[list[int]],
    loss_type: Any,
) -> None:
    """Every ratio is against the log-probabilities kept when sampling, not the last update's.

    The groups have 21, 10 and 17 tokens. dapo divides by the mean over the mini-batches, so that
    all tokens of a step weigh the same; bnpo by those of the mini-batch.
    """
    config = TrainConfig(
        num_iterations=iterations, num_mini_batches=mini_batches, temperature=0.8,
        max_grad_norm=1e6, loss_type=loss_type, **CLIP,
    )  # fmt: skip
    shared, plain = load_idefics3(), load_idefics3()
    groups, start = three_groups(plain), tiny.weights(plain.model)
    stats = update(shared, torch.optim.SGD(shared.model.parameters(), lr=0.02), groups, config)
    optimizer = torch.optim.SGD(plain.model.parameters(), lr=0.02)
    clipped = 0
    norms = []
    for part in parts:
        optimizer.zero_grad()
        chosen = [groups[i] for i in part]
        clipped += naive_step(plain, None, chosen, config, tokens=48 / mini_batches)[1]
        whole = sum(float(g.square().sum()) for g in tiny.gradients(plain.model).values())
        norms.append(math.sqrt(whole))
        optimizer.step()
    moved = [{n: w - start[n] for n, w in tiny.weights(p.model).items()} for p in (shared, plain)]
    # Later updates start from weights that differ in their last bits, so the error adds up.
    assert tiny.worst_error(moved[0], moved[1]) < 10 * RELATIVE
    assert stats.grad_norms == pytest.approx(norms, rel=10 * RELATIVE)
    assert stats.clipped == clipped
    assert all(p.grad is None for p in shared.model.parameters())


def test_gradients_are_clipped_by_their_norm(load_idefics3: Callable[[], Policy]) -> None:
    """With plain SGD the weights then move by exactly learning rate x max_grad_norm."""
    policy = load_idefics3()
    groups, start = three_groups(policy), tiny.weights(policy.model)
    config = TrainConfig(max_grad_norm=0.01, temperature=0.8)
    stats = update(policy, torch.optim.SGD(policy.model.parameters(), lr=0.5), groups, config)
    assert stats.grad_norms[0] > 0.01  # the norm before clipping is what is reported
    moved = sum(
        float((w - start[n]).double().square().sum()) for n, w in tiny.weights(policy.model).items()
    )
    assert math.sqrt(moved) == pytest.approx(0.5 * 0.01, rel=1e-3)
