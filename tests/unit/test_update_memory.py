"""However an update is cut up, it is the same update; and running out of memory does not end it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_update_reference import (
    RELATIVE,
    Recorder,
    before_decoder,
    forwards,
    moved_reference,
    three_groups,
)
from tiny import picture

from mmupt.asking.prompt import Prompt
from mmupt.clock import profiled
from mmupt.config import TrainConfig
from mmupt.errors import MmuptError
from mmupt.policy.inputs import encode
from mmupt.policy.memory import out_of_memory
from mmupt.policy.model import Policy
from mmupt.policy.score import completion_logprobs, token_batch
from mmupt.train.microbatch import (
    Piece,
    TokenBudget,
    micro_batches,
    padded_tokens,
)
from mmupt.train.update import ScoredGroup, UpdateStats, update
from mmupt.types import Completion, Finish


def completion(length: int, finish: Finish = Finish.STOP) -> Completion:
    return Completion("", (7,) * length, (-1.0,) * length, finish)


def piece(prompt_tokens: int, *lengths: int) -> Piece:
    chosen = tuple(completion(length) for length in lengths)
    return Piece(Prompt("?", ()), prompt_tokens, chosen, tuple(float(n) for n in lengths))


# Dealing out


def test_padded_tokens() -> None:
    """Two prompts of 10 and 4, three completions of at most 6: 2 x 10 + 3 x 6."""
    assert padded_tokens([piece(10, 2, 6), piece(4, 3)]) == 38


def shape(parts: list[list[Piece]]) -> list[list[tuple[int, list[int]]]]:
    return [[(p.prompt_tokens, [len(c.token_ids) for c in p.completions]) for p in part]
            for part in parts]  # fmt: skip


def test_groups_of_a_size_go_together() -> None:
    groups = [[piece(10, 2, 2)], [piece(90, 9, 9)], [piece(11, 2, 2)], [piece(80, 9, 8)]]
    assert shape(micro_batches(groups, 216, 64)) == [  # 2 x 90 + 4 x 9
        [(90, [9, 9]), (80, [9, 8])],
        [(11, [2, 2]), (10, [2, 2])],
    ]
    assert len(micro_batches(groups, 215, 64)) == 3
    assert len(micro_batches(groups, None, 64)) == 1
    assert [len(part) for part in micro_batches(groups, None, 3)] == [3, 1]


def test_a_large_group_is_split_between_its_completions() -> None:
    """At 50: 20 + 3 x 10, then 20 + 2 x 5. At 100: 2 x 20 + 6 x 10; the whole would be 110."""
    views = [piece(20, 5, 10, 10, 5, 10), piece(18, 4, 10)]
    assert shape(micro_batches([views], 50, 64)) == [
        [(20, [10, 10, 10])],
        [(20, [5, 5])],
        [(18, [10, 4])],
    ]
    assert shape(micro_batches([views], 100, 64)) == [
        [(20, [10, 10, 10, 5, 5]), (18, [10])],
        [(18, [4])],
    ]
    assert shape(micro_batches([views], 110, 64)) == [[(20, [5, 10, 10, 5, 10]), (18, [4, 10])]]


def test_advantages_stay_with_their_completions() -> None:
    parts = micro_batches([[piece(20, 5, 10, 1, 7)]], 31, 64)
    assert [p.advantages for part in parts for p in part] == [(10.0,), (7.0,), (5.0, 1.0)]


sizes = st.lists(  # groups of views of completions
    st.lists(
        st.tuples(st.integers(1, 60), st.lists(st.integers(1, 30), min_size=1, max_size=6)),
        min_size=1,
        max_size=3,
    ),
    max_size=6,
)


@given(sizes, st.none() | st.integers(1, 300), st.integers(1, 5))
def test_dealing_out(
    shapes: list[list[tuple[int, list[int]]]], tokens: int | None, prompts: int
) -> None:
    groups = [[piece(length, *lengths) for length, lengths in group] for group in shapes]
    parts = micro_batches(groups, tokens, prompts)
    # Every completion once, with the advantage it had.
    before = sorted((id(p.prompt), id(c), a) for g in groups for p in g for c, a in _pairs(p))
    after = sorted((id(p.prompt), id(c), a) for part in parts for p in part for c, a in _pairs(p))
    assert before == after
    of_prompt = {id(p.prompt): number for number, g in enumerate(groups) for p in g}
    for part in parts:
        held = {of_prompt[id(p.prompt)] for p in part}
        single = sum(len(p.completions) for p in part) == 1
        assert tokens is None or single or padded_tokens(part) <= tokens
        assert len(held) == 1 or len(part) <= prompts
    for number, group in enumerate(groups):
        where = sum(any(of_prompt[id(p.prompt)] == number for p in part) for part in parts)
        assert where == 1 or (tokens is not None and padded_tokens(group) > tokens)


def _pairs(one: Piece) -> list[tuple[Completion, float]]:
    return list(zip(one.completions, one.advantages, strict=True))


# The same update


def gradients_of(
    policy: Policy,
    groups: list[ScoredGroup],
    config: TrainConfig,
    reference: Policy | None = None,
    budget: TokenBudget | None = None,
) -> tuple[UpdateStats, dict[str, torch.Tensor]]:
    recorder = Recorder(policy)
    stats = update(policy, recorder, groups, config, reference, budget=budget)
    return stats, recorder.steps[-1]


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo", "bnpo"])
def test_a_split_batch_is_the_whole_batch(idefics3: Policy, loss_type: Any) -> None:
    """In parts of one completion each, of a few, of a group at most, and in one."""
    config = TrainConfig(loss_type=loss_type, beta=0.1, temperature=0.8, max_grad_norm=1e9)
    groups, reference = three_groups(idefics3), moved_reference(idefics3)
    whole, expected = gradients_of(idefics3, groups, config, reference)
    counts = []
    for tokens in (1, 45, 70, None):
        small = config.model_copy(update={"micro_batch_tokens": tokens})
        with profiled() as profile, forwards(idefics3) as seen:
            stats, found = gradients_of(idefics3, groups, small, reference)
        counts.append(len(seen))
        assert tiny.worst_error(found, expected) < RELATIVE
        assert max(float((found[n] - e).abs().max()) for n, e in expected.items()) < 1e-6
        assert stats.loss == pytest.approx(whole.loss, abs=1e-6)
        assert stats.kl == pytest.approx(whole.kl, rel=RELATIVE)
        assert stats.entropy == pytest.approx(whole.entropy, rel=RELATIVE)
        assert stats.tokens == profile.counts["train_tokens"] == 48
    # Thirteen prompts, and completions but for the two of one token, which the prompt predicts.
    assert counts[0] == 13 + 11
    assert counts[0] > counts[1] > counts[2] > counts[3] == 2


def test_where_the_time_goes(idefics3: Policy) -> None:
    groups = three_groups(idefics3)
    lengths = [int(encode(idefics3, [p]).lengths) for s in groups for p in s.group.prompts]
    config = TrainConfig(beta=0.1, temperature=0.8)
    with profiled() as profile:
        gradients_of(idefics3, groups, config, moved_reference(idefics3))
    assert set(profile.seconds) == {"images", "reference", "forward", "backward", "optimizer"}
    assert all(seconds > 0.0 for seconds in profile.seconds.values())
    assert profile.counts == {"train_tokens": 48, "prompt_tokens": sum(lengths)}
    with profiled() as profile:
        update(idefics3, Recorder(idefics3), groups, config)
    assert set(profile.seconds) == {"images", "forward", "backward", "optimizer"}


def truncated(groups: list[ScoredGroup], cut: list[int]) -> list[ScoredGroup]:
    """The completions of these places, counted over all groups, end at the length limit."""
    number, changed = 0, []
    for s in groups:
        completions = []
        for one in s.group.completions:
            completions.append(replace(one, finish=Finish.LENGTH) if number in cut else one)
            number += 1
        group = replace(s.group, completions=tuple(completions))
        changed.append(ScoredGroup(group, s.advantages_G))
    return changed


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo"])
def test_truncated_completions_teach_nothing(idefics3: Policy, loss_type: Any) -> None:
    """As if their advantages were 0; but dapo does not count their tokens.

    Places 3 to 5 are all of the second view, 7 has 7 tokens: 48 - 2 - 4 - 6 - 7 = 29 remain.
    """
    cut = [3, 4, 5, 7]
    config = TrainConfig(loss_type=loss_type, temperature=0.8, max_grad_norm=1e9)
    masking = config.model_copy(update={"mask_truncated_completions": True})
    groups = truncated(three_groups(idefics3), cut)
    with forwards(idefics3) as seen:
        stats, found = gradients_of(idefics3, groups, masking)
    assert seen == [3, 9]  # neither they nor the prompt that has no others are computed
    assert stats.tokens == 29
    silenced, number = [], 0
    for s in groups:
        places = range(number, number := number + len(s.advantages_G))
        kept = [0.0 if i in cut else a for i, a in zip(places, s.advantages_G, strict=True)]
        silenced.append(ScoredGroup(s.group, np.array(kept)))
    _, expected = gradients_of(idefics3, silenced, config)
    factor = 48 / 29 if loss_type == "dapo" else 1.0
    scaled = {name: factor * gradient for name, gradient in expected.items()}
    assert tiny.worst_error(found, scaled) < RELATIVE
    unmasked, _ = gradients_of(idefics3, groups, config)
    assert unmasked.tokens == 48


def test_a_group_that_is_all_truncated_is_left_out(idefics3: Policy) -> None:
    config = TrainConfig(loss_type="grpo", temperature=0.8, mask_truncated_completions=True)
    groups = three_groups(idefics3)
    stats, found = gradients_of(idefics3, truncated(groups, [6, 7, 8]), config)
    _, expected = gradients_of(idefics3, [groups[0], groups[2]], config)
    assert tiny.worst_error(found, expected) < RELATIVE
    assert stats.tokens == 38
    assert gradients_or_none(idefics3, truncated(groups, list(range(13))), config) is None


def gradients_or_none(policy: Policy, groups: list[ScoredGroup], config: TrainConfig) -> Any:
    recorder = Recorder(policy)
    update(policy, recorder, groups, config)
    return recorder.steps[-1] if recorder.steps else None


# Out of memory


def test_out_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)  # 4 petabytes: more than a process can address
    assert out_of_memory(caught.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert out_of_memory(RuntimeError("[enforce fail] not enough memory: you tried to allocate 8"))
    assert out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"))
    assert out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not out_of_memory(caught.value)
    assert not out_of_memory(ValueError("out of memory"))


@contextmanager
def limited(policy: Policy, rows: int, error: Callable[[], object]) -> Iterator[list[int]]:
    """The real model, whose forward cannot hold more than so many rows. Yields those it held."""
    held: list[int] = []

    def check(size: int) -> None:
        if size > rows:
            error()
        held.append(size)

    with before_decoder(policy, check):
        yield held


def cuda_error() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.")


def cpu_error() -> None:
    torch.empty(10**15)


@pytest.mark.parametrize("error", [cuda_error, cpu_error])
@pytest.mark.parametrize("rows", [7, 2, 1])
def test_out_of_memory_makes_smaller_micro_batches(
    idefics3: Policy, rows: int, error: Callable[[], object]
) -> None:
    """The 13 rows do not fit; the update is the same, and the budget stays for the next ones."""
    config = TrainConfig(beta=0.1, temperature=0.8, max_grad_norm=1e9)
    groups, reference = three_groups(idefics3), moved_reference(idefics3)
    whole, expected = gradients_of(idefics3, groups, config, reference)
    budget = TokenBudget()
    with limited(idefics3, rows, error) as held:
        stats, found = gradients_of(idefics3, groups, config, reference, budget)
        assert max(held) <= rows
        news = [new for _, new in stats.halved]
        assert all(new <= old // 2 for old, new in stats.halved)
        assert [old for old, _ in stats.halved[1:]] == news[:-1]
        assert budget.tokens == news[-1]
        again, found_again = gradients_of(idefics3, groups, config, reference, budget)
    assert again.halved == []
    assert len(news) >= 1 + (rows == 1)
    for one, gradients in ((stats, found), (again, found_again)):
        assert tiny.worst_error(gradients, expected) < RELATIVE
        assert one.tokens == whole.tokens
        assert one.loss == pytest.approx(whole.loss, abs=1e-6)
        assert one.kl == pytest.approx(whole.kl, rel=RELATIVE)
        assert one.entropy == pytest.approx(whole.entropy, rel=RELATIVE)


def test_the_first_halving_is_from_the_size_that_failed(idefics3: Policy) -> None:
    groups = three_groups(idefics3)
    lengths = [int(encode(idefics3, [p]).lengths) for s in groups for p in s.group.prompts]
    size = 4 * max(lengths) + 13 * 8
    config = TrainConfig(temperature=0.8)
    with limited(idefics3, 12, cuda_error):
        stats, _ = gradients_of(idefics3, groups, config)
    assert stats.halved[0] == (size, size // 2)
    roomy = config.model_copy(update={"micro_batch_tokens": 10_000})
    with limited(idefics3, 12, cuda_error):
        stats, _ = gradients_of(idefics3, groups, roomy)
    assert stats.halved[0] == (10_000, size // 2)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_backward_pass_that_breaks_off_leaves_nothing(idefics3: Policy, failing: int) -> None:
    """It fails on its way into the vision tower: the text model has its gradients already."""
    config = TrainConfig(temperature=0.8, max_grad_norm=1e9, micro_batch_size=2)
    groups = three_groups(idefics3) * 2  # two pictures; those again; two pairs; no picture
    _, expected = gradients_of(idefics3, groups, config)
    tower = idefics3.model.model.vision_model
    text = idefics3.model.model.text_model.layers[1].mlp.down_proj.weight
    passes, touched = [0], list[tuple[bool, bool]]()

    def watch(_: Any, __: Any, output: torch.Tensor) -> None:
        number = passes[0]
        passes[0] += 1

        def fail(_: torch.Tensor) -> None:
            if number == failing:
                vision = tower.encoder.layers[0].mlp.fc1.weight
                touched.append((text.grad is not None, vision.grad is not None))
                cuda_error()

        output.register_hook(fail)

    handle = tower.post_layernorm.register_forward_hook(watch)
    stats, found = gradients_of(idefics3, groups, config)
    handle.remove()
    assert touched == [(True, failing > 0)]  # the control: something was there to be undone
    assert len(stats.halved) == 1
    assert tiny.worst_error(found, expected) < RELATIVE
    assert stats.tokens == 96


def test_a_single_completion_that_does_not_fit_ends_the_run(idefics3: Policy) -> None:
    groups = three_groups(idefics3)
    with (
        limited(idefics3, 0, cuda_error),
        pytest.raises(
            MmuptError, match=r"out of memory with one completion of \d+ tokens"
        ) as caught,
    ):
        gradients_of(idefics3, groups, TrainConfig())
    assert "\n" not in str(caught.value)


def test_other_errors_are_not_swallowed(idefics3: Policy) -> None:
    def wrong() -> None:
        raise RuntimeError("the size of tensor a must match")

    with limited(idefics3, 0, wrong), pytest.raises(RuntimeError, match="size of tensor"):
        gradients_of(idefics3, three_groups(idefics3), TrainConfig())


# bfloat16


def test_bf16_is_near_float32(idefics3: Policy) -> None:
    """Eight bits: two or three digits of the gradient. Weights and gradients stay float32."""
    config = TrainConfig(beta=0.1, temperature=0.8, max_grad_norm=1e9)
    groups, reference = three_groups(idefics3), moved_reference(idefics3)
    full, expected = gradients_of(idefics3, groups, config, reference)
    half = config.model_copy(update={"bf16": True})
    stats, found = gradients_of(idefics3, groups, half, reference)
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    assert {p.dtype for p in idefics3.model.parameters()} == {torch.float32}
    assert 1e-4 < distance(found, expected) < 0.1  # not the same: it is really computed in bfloat16
    assert stats.entropy == pytest.approx(full.entropy, rel=0.02)
    assert stats.kl == pytest.approx(full.kl, rel=0.1)
    assert stats.tokens == full.tokens
    moved = {name: gradient.any() for name, gradient in found.items()}
    assert moved == {name: gradient.any() for name, gradient in expected.items()}


def distance(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Of all gradients as one vector, relative."""
    off = sum(float((found[n] - e).square().sum()) for n, e in expected.items())
    return float((off / sum(float(e.square().sum()) for e in expected.values())) ** 0.5)


def test_bf16_takes_its_softmax_in_float32(idefics3: Policy) -> None:
    """Log-probabilities sum to one in single precision."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = token_batch(idefics3, [[i] for i in range(262)])
        batch = encode(idefics3, [Prompt("<image>sum?", (picture(1),))])
        logps, _ = completion_logprobs(idefics3, batch, [262], tokens, 0.8)
    assert logps.dtype == torch.float32
    assert float(logps.detach().double().exp().sum()) == pytest.approx(1.0, abs=1e-5)
