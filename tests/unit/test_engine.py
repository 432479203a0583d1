"""The engine's parts against plain ones: shared attention, chunks, recomputation, batching."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import pytest
import tiny
import torch
from tiny import picture

from mmupt.asking.answerer import SamplingParams, stream_seeds
from mmupt.asking.prompt import Prompt
from mmupt.clock import part, profiled
from mmupt.policy import score
from mmupt.policy.attention import Block, SharedPrompt, attend, fold, unfold
from mmupt.policy.inputs import PromptBatch, encode
from mmupt.policy.model import Policy
from mmupt.policy.pick import truncate
from mmupt.policy.sampler import sample, sample_all
from mmupt.policy.score import completion_logprobs, token_batch
from mmupt.types import Finish

PROMPTS = (
    Prompt("<image>3?", (picture(1),)),
    Prompt("a text-only question, and the longest of these", ()),
    Prompt("<image>left or<image>right", (picture(2), picture(3, 40, 20))),
    Prompt("<image>ab c", (picture(4, 17, 29),)),
)
COMPLETIONS = ((40, 41, 2), (80,), (70, 70, 70, 2), (33, 30, 31), (55, 2), (55, 56, 57, 58, 59))


def plain_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, visible: torch.Tensor, cap: float | None
) -> torch.Tensor:
    """One query (D) over keys (N, D), from the definition."""
    scores = (k @ q) / math.sqrt(len(q))
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    weights = torch.exp(scores) * visible
    return (weights / weights.sum()) @ v


@pytest.mark.parametrize("owner", [(0, 0, 1, 1), (0, 1, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize(("window", "cap"), [(None, None), (4, None), (None, 2.0), (100, None)])
def test_shared_attention_is_attention(
    owner: Sequence[int], window: int | None, cap: float | None
) -> None:
    """Values and gradients, with padding, ragged groups and two query heads per key head."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    R, H, K, T, B, L, D = len(owner), 4, 2, 3, 2, 5, 8
    q, k, v, pk, pv = (draw(R, H, T, D), draw(R, K, T, D), draw(R, K, T, D),
                       draw(B, K, L, D), draw(B, K, L, D))  # fmt: skip
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    rows = torch.tensor(owner)
    index = torch.arange(T).expand(R, -1)
    shared = SharedPrompt([Block.of([pk], [pv], mask, rows)], mask.sum(-1)[rows], index)
    found = attend(shared, 0, q, k, v, window=window, softcap=cap)
    expected = torch.zeros(R, H, T, D)
    for r, b in enumerate(owner):
        for h in range(H):
            for t in range(T):
                place = torch.cat([torch.arange(L), L + torch.arange(T)])  # padding is on the left
                visible = torch.cat([mask[b], torch.ones(T)]) * (place <= L + t)
                if window is not None:
                    visible = visible * (L + t - place < window)
                keys = torch.cat([pk[b, h // 2], k[r, h // 2]])
                values = torch.cat([pv[b, h // 2], v[r, h // 2]])
                expected[r, h, t] = plain_attention(q[r, h, t], keys, values, visible, cap)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn(found.shape, generator=generator)
    inputs = (q, k, v, pk, pv)
    ours = torch.autograd.grad((found * weight).sum(), inputs)
    plain = torch.autograd.grad((expected * weight).sum(), inputs)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_fold_and_back() -> None:
    q = torch.arange(5 * 4 * 2 * 3.0).view(5, 4, 2, 3)
    block = Block.of([torch.zeros(3, 2, 1, 3)], [], torch.ones(3, 1), torch.tensor([0, 0, 0, 2, 2]))
    wide = fold(q, block.slots, 2)
    assert wide.shape == (3, 2, 3 * 2 * 2, 3)
    assert torch.equal(unfold(wide, block.slots, q.shape), q)
    assert not wide[1].any()  # the second prompt has no row


def gradients(policy: Policy, **options: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    policy.model.zero_grad()
    policy.model.train()
    tokens = token_batch(policy, COMPLETIONS)
    logps, _ = completion_logprobs(
        policy, encode(policy, PROMPTS), (2, 1, 2, 1), tokens, 0.8, **options
    )
    (logps * torch.arange(1.0, 1.0 + logps.numel()).view_as(logps)).sum().backward()
    return logps.detach(), tiny.gradients(policy.model)


def test_gradient_checkpointing_changes_memory_only(idefics3: Policy) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    logps, plain = gradients(idefics3)
    handle = idefics3.model.get_decoder().layers[0].self_attn.register_forward_hook(count)
    again, recomputed = gradients(idefics3, gradient_checkpointing=True)
    handle.remove()
    assert calls == 4  # prompts and completions, each twice
    assert torch.equal(logps, again)
    assert tiny.worst_error(recomputed, plain) < 1e-6
    once_more, _ = gradients(idefics3)  # nothing of it is left behind
    assert torch.equal(once_more, logps)


def test_chunks_of_the_head_add_up(idefics3: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    logps, whole = gradients(idefics3)
    vocabulary = idefics3.model.get_output_embeddings().weight.shape[0]
    monkeypatch.setattr(score, "CHUNK_LOGITS", 3 * vocabulary + 1)
    chunked, parts = gradients(idefics3)
    torch.testing.assert_close(chunked, logps, atol=1e-6, rtol=0)
    assert tiny.worst_error(parts, whole) < 1e-5


def stream(policy: Policy, repeats: Sequence[int]) -> Iterator[tuple[PromptBatch, Sequence[int]]]:
    for prompt, count in zip(PROMPTS, repeats, strict=True):
        yield encode(policy, [prompt]), [count]


@pytest.mark.parametrize("room", [1, 5, 7, 100])
def test_prompts_let_in_one_by_one_answer_as_in_one_batch(idefics3: Policy, room: int) -> None:
    """Whatever the room, so that rows of different age are decoded together."""
    some = tuple(range(20, 100, 3))  # many stop tokens, so that rows end at different times
    vars(idefics3)["stop_ids"] = some
    repeats, seeds = (4, 3, 2, 5), stream_seeds(9, count=14)
    params = SamplingParams(1.0, max_completion_length=9)
    together = sample(idefics3, encode(idefics3, PROMPTS), repeats, seeds, params)
    apart = sample_all(idefics3, stream(idefics3, repeats), seeds, params, room)
    assert [len(group) for group in apart] == list(repeats)
    lengths = {len(c.token_ids) for group in apart for c in group}
    assert len(lengths) > 2
    for one, other in zip(together, apart, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a.token_ids, a.finish) == (b.token_ids, b.finish)
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)
            assert a.self_certainty == pytest.approx(b.self_certainty, abs=1e-4)


def test_min_p() -> None:
    probs = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    assert truncate(probs, 1.0, 0, 0.5).tolist() == [[0.5, pytest.approx(0.3), 0.0, 0.0]]
    assert truncate(probs, 1.0, 0, 0.0).tolist() == probs.tolist()


def test_stop_strings_end_a_completion(idefics3: Policy) -> None:
    seeds = stream_seeds(4, count=12)
    plain = sample(
        idefics3, encode(idefics3, PROMPTS), [3] * 4, seeds,
        SamplingParams(1.0, max_completion_length=8),
    )  # fmt: skip
    texts = [c.text for group in plain for c in group]
    stop = next(t[2:4] for t in texts if len(t) > 5 and t.isascii())
    cut = sample(
        idefics3, encode(idefics3, PROMPTS), [3] * 4, seeds,
        SamplingParams(1.0, max_completion_length=8, stop_strings=(stop,)),
    )  # fmt: skip
    ended = 0
    for before, after in zip(texts, (c for group in cut for c in group), strict=True):
        if stop in before:
            ended += 1
            assert after.text == before[: before.index(stop) + len(stop)]
            assert after.finish is Finish.STOP
        else:
            assert after.text == before
    assert ended


def test_a_profile_gives_each_part_its_own_time(idefics3: Policy) -> None:
    """Parts that are measured inside others are taken off them; the sum is at most the whole."""
    started = time.perf_counter()
    with profiled() as profile, part("outer"):
        sample(
            idefics3, encode(idefics3, PROMPTS), [2] * 4, stream_seeds(1, count=8),
            SamplingParams(1.0, max_completion_length=4),
        )  # fmt: skip
    whole = time.perf_counter() - started
    assert set(profile.seconds) == {"outer", "images", "prefill", "decode"}
    assert all(seconds >= 0 for seconds in profile.seconds.values())
    assert sum(profile.seconds.values()) <= whole
    with part("nobody"):  # no profile is open
        pass
    assert "nobody" not in profile.seconds
