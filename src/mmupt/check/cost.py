"""What a training step costs: its peak of memory and its time, from a step with two prompts.

Both grow linearly in the number of prompts that go through the model at once, so that one prompt
and two prompts, measured, give any number. What is measured is training's own code with a whole
group of full-length completions each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mmupt.asking.maker import PromptMaker
from mmupt.check.exact import ordinary_tokens
from mmupt.check.memory import LiveBytes, tensor_bytes
from mmupt.config import Config, TrainConfig
from mmupt.policy import adapters
from mmupt.policy.inputs import encode
from mmupt.policy.model import Policy
from mmupt.train.labels import TeacherVotes
from mmupt.train.optim import freeze_vision, make_optimizer
from mmupt.train.rollout import Group, roll_out
from mmupt.train.update import ScoredGroup, update
from mmupt.types import Completion, Finish, Sample

ALLOCATOR = 1.15
"""Resident memory of a CPU process per byte of tensors that come and go: freed pieces that malloc
keeps, and what kernels take for themselves. Measured by benchmarks/memory.py."""
LIBRARIES = 60_000_000
"""Bytes that code and libraries take at their first use on a CPU, measured likewise."""


@dataclass(frozen=True)
class Cost:
    """Of one training step.

    Attributes:
        held: bytes that stay from step to step: weights, optimizer, teacher, best checkpoint.
        peak: most bytes at once, `held` included.
        seconds: labels, rollouts and update.
        seconds_most: with `dynamic_sampling`, of a step that draws all the batches it may; else
            `seconds`. How many it draws shows only in training.
    """

    held: int
    peak: int
    seconds: float
    seconds_most: float


def step_cost(
    policy: Policy, samples: Sequence[Sample], maker: PromptMaker, config: Config
) -> Cost:
    """Measure a step on two samples and extend it to `prompts_per_step`. Trains the policy.

    Raises:
        ConfigError: the configuration trains nothing, or in float16.
        InputError: a sample cannot be encoded.
    """
    train, steps = config.train, config.train.prompts_per_step
    if config.lora is not None:
        adapters.attach(policy.model, config.lora, config.seed)
    if train.freeze_vision:
        freeze_vision(policy.model)
    teacher, reference = company(policy, config)
    optimizer = make_optimizer(policy.model, train.learning_rate, train.weight_decay)
    largest = max(samples, key=lambda sample: prompt_tokens(policy, sample, maker))
    # Two objects, as an update computes a prompt that is the same object only once.
    scored = [full_group(policy, largest, maker, train) for _ in range(2)]
    at_once = max(1, min(steps, train.micro_batch_size // train.views))
    learned, budget, length = at_once, train.micro_batch_tokens, group_tokens(scored[0].group)
    if budget is not None:
        learned = max(1, min(at_once, budget // length))
        budget = None if length <= budget else budget  # a larger group is split
    joined = train.model_copy(
        update={"micro_batch_tokens": budget, "micro_batch_size": 2 * train.views}
    )

    def learn(count: int) -> None:
        update(policy, optimizer, scored[:count], joined, reference)

    def answer(count: int) -> None:
        roll_out(policy, (*samples, *samples)[:count], maker, train, seed=config.seed, step=1)

    def label(count: int) -> None:
        if teacher is not None:
            TeacherVotes(
                teacher, maker, config.consensus, train.max_completion_length, config.seed,
                train.micro_batch_size,
            ).labels((*samples, *samples)[:count], 0)  # fmt: skip

    learn(1)  # the first step makes the optimizer's moments
    held = held_bytes(policy, optimizer, [p for p in (teacher, reference) if p is not None], config)
    trained = [p for p in policy.model.parameters() if p.requires_grad]
    growing = extended(peak_of(learn, 1), peak_of(learn, 2), learned)
    with_gradients(trained)
    one_more = peak_of(learn, 1)
    gradients = with_gradients(trained)
    ready = extended(one_more, peak_of(learn, 2), learned)
    # Gradients come as activations go, unless those of a micro-batch before are there already.
    passing = max(growing, ready) if learned >= steps else gradients + ready
    passing = max(passing, extended(peak_of(answer, 1), peak_of(answer, 2), at_once))
    if policy.device.type == "cpu":
        passing = ALLOCATOR * passing + LIBRARIES
    learning, *drawing = (
        whole_seconds(seconds_of(work, 1), seconds_of(work, 2), steps, together)
        for work, together in ((learn, learned), (answer, at_once), (label, at_once))
    )
    batch, more = sum(drawing), train.max_resample if train.dynamic_sampling else 0
    whole = learning + batch
    return Cost(held, held + int(passing), whole, whole + more * batch)


def company(policy: Policy, config: Config) -> tuple[Policy | None, Policy | None]:
    """Teacher and KL reference as a round has them; one model where they are the same."""
    teacher, consensus = None, config.consensus
    if consensus.teacher != "online" and consensus.votes is None:
        teacher = policy.clone() if consensus.teacher == "ema" else policy.reference()
    if not config.train.beta:
        return teacher, None
    frozen = teacher is not None and consensus.teacher == "frozen"
    return teacher, teacher if frozen else policy.reference()


def full_group(
    policy: Policy, sample: Sample, maker: PromptMaker, config: TrainConfig
) -> ScoredGroup:
    """A group whose completions are as long as they may get, and all teach something."""
    prompts = tuple(maker.prompt(sample, view) for view in range(config.views))
    length = config.max_completion_length
    words = np.random.default_rng(0).choice(ordinary_tokens(policy), length).tolist()
    completions = tuple(
        Completion("", tuple(words), (0.0,) * length, Finish.STOP, view)
        for view in range(config.views)
        for _ in range(config.num_generations // config.views)
    )
    lengths = tuple(encode(policy, prompts).lengths.tolist())
    advantages = np.resize([0.5, -0.5], config.num_generations)
    return ScoredGroup(Group(sample, prompts, completions, lengths), advantages)


def prompt_tokens(policy: Policy, sample: Sample, maker: PromptMaker) -> int:
    """Tokens of a sample's prompt."""
    return int(encode(policy, [maker.prompt(sample)]).lengths)


def group_tokens(group: Group) -> int:
    """Padded tokens of a group in a micro-batch."""
    replies = len(group.completions) * len(group.completions[0].token_ids)
    return len(group.prompts) * max(group.prompt_tokens) + replies


def held_bytes(
    policy: Policy, optimizer: torch.optim.Optimizer, others: Sequence[Policy], config: Config
) -> int:
    """Bytes that stay between two updates."""
    tensors = [v for state in optimizer.state.values() for v in state.values()]
    for one in (policy, *others):
        tensors += [*one.model.parameters(), *one.model.buffers()]
    trained = [p for p in policy.model.parameters() if p.requires_grad]
    found = tensor_bytes(tensors)
    if config.consensus.teacher == "ema":
        found += sum(4 * p.numel() for p in trained if p.dtype != torch.float32)
    if config.guard.action != "none" and policy.device.type == "cpu":  # it keeps the best weights
        found += tensor_bytes(trained)
    return found


def with_gradients(trained: Sequence[torch.nn.Parameter]) -> int:
    """Give every parameter a gradient of zeros; returns their bytes."""
    for parameter in trained:
        held_as = getattr(parameter, "grad_dtype", None) or parameter.dtype
        parameter.grad = torch.zeros_like(parameter, dtype=held_as)
    return tensor_bytes([p.grad for p in trained if p.grad is not None])


def peak_of(work: Callable[[int], None], prompts: int) -> int:
    """Most bytes that `work` adds at once."""
    with LiveBytes() as memory:
        work(prompts)
    return int(memory.peak)


def seconds_of(work: Callable[[int], None], prompts: int) -> float:
    started = time.perf_counter()
    work(prompts)
    return time.perf_counter() - started


def whole_seconds(one: float, two: float, prompts: int, together: int) -> float:
    """Time of `prompts` prompts, `together` at once, from those of one and of two."""
    batches, rest = divmod(prompts, together)
    return batches * extended(one, two, together) + (extended(one, two, rest) if rest else 0.0)


def extended(one: float, two: float, prompts: int) -> float:
    """The line through what one and two prompts take, at `prompts`."""
    return one + (prompts - 1) * max(0.0, two - one)
