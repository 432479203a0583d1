"""The sampling loop: which tokens, with which probability, and that batching changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny
import torch
from tiny import idefics3_row, naive_distributions, picture, qwen_row

from mmupt.asking.answerer import SamplingParams, stream_seeds
from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.config import ConsensusConfig, TrainConfig
from mmupt.data.views import ViewsConfig
from mmupt.policy import decoding
from mmupt.policy.inputs import PromptBatch, encode
from mmupt.policy.model import Policy, load_policy
from mmupt.policy.pick import pick, row_uniforms, truncate
from mmupt.policy.sampler import sample
from mmupt.policy.score import completion_logprobs, token_batch
from mmupt.train.labels import TeacherVotes
from mmupt.train.rollout import roll_out
from mmupt.types import Completion, Finish, Sample

PROMPTS = (
    Prompt("<image>3?", (picture(1),)),
    Prompt("a question without a picture, longer than the others", ()),
    Prompt("<image>left<image>right", (picture(2), picture(3, 40, 20))),
    Prompt("<image>ab c", (picture(4, 17, 29),)),
)
REPEATS = (3, 1, 4, 2)
SEEDS = stream_seeds(20, count=sum(REPEATS))
MANY_STOPS = [2, *range(20, 60)]
"""40 of the 262 tokens end a turn, so that completions end at all kinds of lengths."""


def stop_at(policy: Policy, tokens: list[int]) -> None:
    policy.model.generation_config.eos_token_id = tokens
    policy.__dict__.pop("stop_ids", None)


def qwen_batch() -> PromptBatch:
    return tiny.left_padded(
        [
            qwen_row(1, before=3, grids=[(4, 4)], after=5),
            qwen_row(2, before=20, grids=[], after=0),
            qwen_row(3, before=1, grids=[(4, 8), (2, 6)], after=2),
            qwen_row(4, before=2, grids=[(8, 4)], after=9),
        ]
    )


def flat(groups: Sequence[Sequence[Completion]]) -> list[Completion]:
    return [completion for group in groups for completion in group]


@contextmanager
def batch_sizes(policy: Policy) -> Iterator[list[int]]:
    """Rows of every forward pass of the language model; the first is the prompts'."""
    seen: list[int] = []

    def note(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids")
        seen.append(len(kwargs["inputs_embeds"] if ids is None else ids))

    handle = policy.model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    yield seen
    handle.remove()


# Greedy


def generated(policy: Policy, batch: PromptBatch, length: int) -> list[list[int]]:
    """What transformers' own greedy loop says, cut after the first stop token."""
    with torch.no_grad():
        output = policy.model.generate(**batch.features, max_new_tokens=length, do_sample=False)
    rows = output[:, batch.features["input_ids"].shape[1] :].tolist()
    ends = [
        next((i + 1 for i, token in enumerate(row) if token in policy.stop_ids), length)
        for row in rows
    ]
    return [row[:end] for row, end in zip(rows, ends, strict=True)]


def test_greedy_is_that_of_transformers(idefics3: Policy) -> None:
    batch = encode(idefics3, PROMPTS)
    endless = generated(idefics3, batch, 10)
    stop_at(idefics3, [2, endless[2][3], endless[0][0]])  # one row ends at once, one in the middle
    expected = generated(idefics3, batch, 10)
    assert len(expected[0]) == 1
    assert max(map(len, expected)) == 10
    params = SamplingParams(temperature=0.0, max_completion_length=10)
    found = sample(idefics3, batch, [1] * 4, stream_seeds(1, count=4), params)
    assert [list(group[0].token_ids) for group in found] == expected


def test_greedy_is_that_of_transformers_with_multimodal_positions(qwen: Policy) -> None:
    batch = qwen_batch()
    expected = generated(qwen, batch, 10)
    assert len({tuple(row) for row in expected}) == 4
    params = SamplingParams(temperature=0.0, max_completion_length=10)
    found = sample(qwen, batch, [1] * 4, stream_seeds(1, count=4), params)
    assert [list(group[0].token_ids) for group in found] == expected


def test_greedy_rows_of_a_group_are_equal(idefics3: Policy) -> None:
    params = SamplingParams(temperature=0.0, max_completion_length=6)
    for group in sample(
        idefics3, encode(idefics3, PROMPTS), [3] * 4, stream_seeds(1, count=12), params
    ):
        assert group[0] == group[1] == group[2]


# Log-probabilities


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(1.0, max_completion_length=8),
        SamplingParams(0.7, max_completion_length=8),
        SamplingParams(1.4, top_p=0.9, top_k=30, max_completion_length=8),
    ],
)
def test_kept_logprobs_are_those_of_the_training_forward(
    idefics3: Policy, qwen: Policy, params: SamplingParams
) -> None:
    """Of the whole tempered distribution, whatever top-p and top-k left out."""
    stop_at(idefics3, MANY_STOPS)
    for policy, batch in ((idefics3, encode(idefics3, PROMPTS)), (qwen, qwen_batch())):
        completions = flat(sample(policy, batch, REPEATS, SEEDS, params))
        tokens = token_batch(policy, [c.token_ids for c in completions])
        with torch.no_grad():
            expected, _ = completion_logprobs(policy, batch, REPEATS, tokens, params.temperature)
        assert len({len(c.token_ids) for c in completions}) > 1 or policy is qwen
        for row, completion in zip(expected, completions, strict=True):
            assert list(completion.logprobs) == pytest.approx(
                row[: len(completion.token_ids)].tolist(), abs=1e-4
            )


def test_greedy_tokens_are_scored_at_temperature_one() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    token, logprob, _ = pick(logits, torch.tensor([0.99]), SamplingParams(temperature=0.0))
    assert token.tolist() == [1]
    assert logprob.item() == pytest.approx(2 - np.log(1 + np.exp(2) + np.exp(1)), abs=1e-6)


# Randomness


def test_a_completion_depends_on_its_own_seed_alone(idefics3: Policy) -> None:
    """Alone, in a bigger batch with other padding, and in another order."""
    stop_at(idefics3, MANY_STOPS)
    params = SamplingParams(1.0, max_completion_length=12)
    together = sample(idefics3, encode(idefics3, PROMPTS), REPEATS, SEEDS, params)
    assert len({c.token_ids for c in flat(together)}) == sum(REPEATS)
    bounds = np.cumsum([0, *REPEATS])
    for i, prompt in enumerate(PROMPTS):
        alone = sample(
            idefics3,
            encode(idefics3, [prompt]),
            [REPEATS[i]],
            SEEDS[bounds[i] : bounds[i + 1]],
            params,
        )
        assert [c.token_ids for c in alone[0]] == [c.token_ids for c in together[i]]
        single = sample(
            idefics3, encode(idefics3, [prompt]), [1], SEEDS[bounds[i] : bounds[i] + 1], params
        )
        assert single[0][0].token_ids == together[i][0].token_ids
    turned = np.concatenate([SEEDS[bounds[i] : bounds[i + 1]] for i in (3, 2, 1, 0)])
    backwards = sample(idefics3, encode(idefics3, PROMPTS[::-1]), REPEATS[::-1], turned, params)
    assert [[c.token_ids for c in g] for g in backwards[::-1]] == [
        [c.token_ids for c in g] for g in together
    ]


def test_equal_seeds_give_equal_completions_and_others_do_not(idefics3: Policy) -> None:
    batch, params = encode(idefics3, PROMPTS[:1]), SamplingParams(1.0, max_completion_length=8)
    seeds = np.array([7, 7, 8, 7], dtype=np.uint64)
    first, again, other, third = (
        c.token_ids for c in sample(idefics3, batch, [4], seeds, params)[0]
    )
    assert first == again == third != other


def test_samples_of_a_group_do_not_share_their_first_token(idefics3: Policy, qwen: Policy) -> None:
    """All come from one prefill: one draw for all would be easy to write and hard to see."""
    params = SamplingParams(2.0, max_completion_length=1)
    for policy, batch in ((idefics3, encode(idefics3, PROMPTS)), (qwen, qwen_batch())):
        groups = sample(policy, batch, [32] * 4, stream_seeds(3, count=128), params)
        for group in groups:
            assert len({c.token_ids[0] for c in group}) > 8


def test_first_tokens_follow_the_models_distribution(idefics3: Policy) -> None:
    """4,000 draws of one first token against the plain forward, the rarest tokens pooled."""
    prompt, count = PROMPTS[0], 4000
    with torch.no_grad():
        scores = naive_distributions(idefics3.model, idefics3_row(idefics3, prompt), (40,), 1.0)
    probabilities = scores[0].exp().double().numpy()
    params = SamplingParams(1.0, max_completion_length=1)
    drawn = sample(
        idefics3, encode(idefics3, [prompt]), [count], stream_seeds(4, count=count), params
    )[0]
    counts = Counter(c.token_ids[0] for c in drawn)
    common = [i for i, p in enumerate(probabilities) if p * count >= 5]
    observed = np.array([*(counts[i] for i in common), 0.0])
    expected = np.array([*(probabilities[i] * count for i in common), 0.0])
    observed[-1], expected[-1] = count - observed.sum(), count - expected.sum()
    assert len(common) > 20
    assert within_chance(observed, expected)


def test_every_token_is_drawn_with_a_number_of_its_own(idefics3: Policy) -> None:
    """Each completion once more by hand: the plain forward's distribution at each of its places,
    inverted at the row's own number for that step."""
    stop_at(idefics3, MANY_STOPS)
    params = SamplingParams(0.9, max_completion_length=10)
    groups = sample(idefics3, encode(idefics3, PROMPTS), REPEATS, SEEDS, params)
    owners = [p for p, count in zip(PROMPTS, REPEATS, strict=True) for _ in range(count)]
    for seed, prompt, completion in zip(SEEDS, owners, flat(groups), strict=True):
        row = idefics3_row(idefics3, prompt)
        with torch.no_grad():
            scores = naive_distributions(idefics3.model, row, completion.token_ids, 0.9)
        cumulative = scores.double().exp().cumsum(-1).numpy()
        numbers = [float(row_uniforms(np.array([seed]), t)[0]) for t in range(len(scores))]
        expected = [
            int((line > u * line[-1]).argmax()) for line, u in zip(cumulative, numbers, strict=True)
        ]
        assert list(completion.token_ids) == expected


def within_chance(observed: npt.ArrayLike, expected: npt.ArrayLike) -> bool:
    """Pearson's chi-square within 4 deviations of its mean (k - 1, variance 2(k - 1))."""
    observed, expected = np.asarray(observed, float), np.asarray(expected, float)
    statistic = float(((observed - expected) ** 2 / expected).sum())
    degrees = len(observed) - 1
    return abs(statistic - degrees) < 4 * (2 * degrees) ** 0.5


def test_row_uniforms_are_splitmix64() -> None:
    """Published outputs of the generator with states 0 and 1234567; 53 bits of each."""
    published = {
        0: [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F],
        1234567: [6457827717110365317, 3203168211198807973, 9817491932198370423],
    }
    for step in range(3):
        found = row_uniforms(np.array(list(published), dtype=np.uint64), step)
        assert found.tolist() == [(outputs[step] >> 11) / 2**53 for outputs in published.values()]


@pytest.mark.parametrize(
    "kind", ["many rows, one step", "one row, many steps", "seeds 0, 1, 2, ..."]
)
def test_row_uniforms_are_uniform(kind: str) -> None:
    count = 25_600
    if kind == "many rows, one step":
        values = row_uniforms(stream_seeds(1, 2, 3, count=count), 0)
    elif kind == "one row, many steps":
        seed = stream_seeds(5, count=1)
        values = np.concatenate([row_uniforms(seed, step) for step in range(count)])
    else:
        values = row_uniforms(np.arange(count, dtype=np.uint64), 7)
    assert values.dtype == np.float64
    assert 0.0 <= values.min() < values.max() < 1.0
    assert within_chance(np.histogram(values, 256, (0, 1))[0], np.full(256, count / 256))
    neighbours = np.corrcoef(values[:-1], values[1:])[0, 1]
    assert abs(neighbours) < 4 / count**0.5
    pairs = np.histogram2d(values[::2], values[1::2], 16, [[0, 1], [0, 1]])[0].ravel()
    assert within_chance(pairs, np.full(256, count / 2 / 256))


def test_streams_depend_on_their_key_alone() -> None:
    assert stream_seeds(1, 2, count=5).tolist() == stream_seeds(1, 2, count=5).tolist()
    assert stream_seeds(1, 2, count=3).tolist() == stream_seeds(1, 2, count=5).tolist()[:3]
    keys = [(s, stream, step) for s in (1, 2, 1010) for stream in (1, 2, 3) for step in (1, 2, 3)]
    seeds = [seed for key in keys for seed in stream_seeds(*key, count=64).tolist()]
    assert len(set(seeds)) == len(seeds)


# Choosing a token


def test_pick_inverts_the_cumulative_distribution() -> None:
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log().repeat(6, 1) + 5.0
    uniform = torch.tensor([0.0, 0.09, 0.11, 0.29, 0.59, 0.999], dtype=torch.float64)
    token, logprob, _ = pick(logits, uniform, SamplingParams())
    assert token.tolist() == [0, 0, 1, 1, 2, 3]
    assert logprob.exp().tolist() == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.3, 0.4], abs=1e-6)


def test_pick_at_a_temperature() -> None:
    """p^(1/T) renormalised: T = 0.5 squares (1, 2, 3, 4)/10 into (1, 4, 9, 16)/30."""
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).log().repeat(4, 1)
    uniform = torch.tensor([0.03, 0.16, 0.46, 0.47], dtype=torch.float64)
    token, logprob, _ = pick(logits, uniform, SamplingParams(temperature=0.5))
    assert token.tolist() == [0, 1, 2, 3]
    assert logprob.exp().tolist() == pytest.approx([1 / 30, 4 / 30, 9 / 30, 16 / 30], abs=1e-6)


def test_pick_never_takes_what_was_left_out() -> None:
    """At both ends of the unit interval, with excluded tokens at both ends of the vocabulary."""
    logits = torch.tensor([[0.1, 0.2, 0.5, 0.15, 0.05]]).log().repeat(3, 1)
    uniform = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    token, logprob, _ = pick(logits, uniform, SamplingParams(top_k=1))
    assert token.tolist() == [2, 2, 2]
    assert logprob.exp().tolist() == pytest.approx([0.5] * 3, abs=1e-6)  # not renormalised
    token, *_ = pick(logits, uniform, SamplingParams(top_p=0.6))
    assert token.tolist() == [1, 2, 2]


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        (SamplingParams(temperature=1.0), 6),
        (SamplingParams(temperature=2.5), 6),
        (SamplingParams(temperature=1.0, top_k=3), 3),
        (SamplingParams(temperature=1.0, top_p=0.8), 4),
    ],
)
def test_pick_follows_softmax(params: SamplingParams, kept: int) -> None:
    """20,000 draws over six tokens; what is kept is renormalised."""
    logits, count = np.array([0.3, 1.2, -0.4, 0.9, 0.0, 0.6]), 20_000
    weights = np.exp(logits / params.temperature)
    weights[np.argsort(-weights)[kept:]] = 0.0
    uniform = torch.from_numpy(row_uniforms(stream_seeds(8, count=count), 1))
    token, *_ = pick(torch.from_numpy(logits).expand(count, 6), uniform, params)
    counts = np.bincount(token.numpy(), minlength=6)
    assert counts[weights == 0.0].sum() == 0
    expected = weights / weights.sum() * count
    assert within_chance(counts[weights > 0], expected[weights > 0])


@pytest.mark.parametrize(
    ("top_p", "top_k", "expected"),
    [
        (1.0, 0, [0.1, 0.5, 0.15, 0.25]),
        (1.0, 2, [0.0, 0.5, 0.0, 0.25]),
        (1.0, 99, [0.1, 0.5, 0.15, 0.25]),
        (0.3, 0, [0.0, 0.5, 0.0, 0.0]),  # the most likely token always stays
        (0.49, 0, [0.0, 0.5, 0.0, 0.0]),
        (0.51, 0, [0.0, 0.5, 0.0, 0.25]),
        (0.76, 0, [0.0, 0.5, 0.15, 0.25]),
        (0.99, 0, [0.1, 0.5, 0.15, 0.25]),
        (0.6, 3, [0.0, 0.5, 0.0, 0.25]),  # top-p of what top-k left: 0.6 x 0.9 = 0.54
        (0.86, 3, [0.0, 0.5, 0.15, 0.25]),  # 0.86 x 0.9 = 0.774 is more than 0.75
    ],
)
def test_truncate(top_p: float, top_k: int, expected: list[float]) -> None:
    given = torch.tensor([[0.1, 0.5, 0.15, 0.25]])
    assert truncate(given, top_p, top_k).tolist() == [pytest.approx(expected)]
    assert given.tolist() == [pytest.approx([0.1, 0.5, 0.15, 0.25])]


@pytest.mark.parametrize(("top_p", "top_k"), [(0.9, 0), (1.0, 7), (0.5, 20), (0.99, 3)])
def test_truncate_keeps_what_transformers_keeps(top_p: float, top_k: int) -> None:
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    logits = 2.0 * torch.randn(50, 40, generator=torch.Generator().manual_seed(6))
    warped = logits
    if top_k:
        warped = TopKLogitsWarper(top_k)(None, warped)
    if top_p < 1.0:
        warped = TopPLogitsWarper(top_p)(None, warped)
    found = truncate(logits.softmax(-1), top_p, top_k)
    assert torch.equal(found > 0, warped.isfinite())
    assert torch.equal(found[found > 0], logits.softmax(-1)[found > 0])


# The end of a completion


def test_dropping_finished_rows_changes_nothing(
    idefics3: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(idefics3, MANY_STOPS)
    batch, params = encode(idefics3, PROMPTS), SamplingParams(1.0, max_completion_length=16)
    repeats, seeds = (8, 7, 9, 6), stream_seeds(21, count=30)
    results, sizes = [], []
    for threshold in (0.0, 1.1, decoding.SHRINK_BELOW):
        monkeypatch.setattr(decoding, "SHRINK_BELOW", threshold)
        with batch_sizes(idefics3) as seen:
            results.append(flat(sample(idefics3, batch, repeats, seeds, params)))
        sizes.append(list(seen[1:]))
    lengths = [len(c.token_ids) for c in results[0]]
    assert len(set(lengths)) > 3
    assert set(sizes[0]) == {30}  # nothing dropped
    still_running = [sum(length > step for length in lengths) for step in range(1, max(lengths))]
    assert sizes[1] == still_running  # dropped at once
    assert sum(sizes[1]) < sum(sizes[2]) < sum(sizes[0])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert (one.token_ids, one.text, one.finish) == (two.token_ids, two.text, two.finish)
            assert one.logprobs == pytest.approx(two.logprobs, abs=1e-5)


def test_dropping_finished_rows_keeps_multimodal_positions(
    qwen: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row has a position offset of its own, which must move with it."""
    stop_at(qwen, list(range(1, 30)))
    batch, params = qwen_batch(), SamplingParams(1.0, max_completion_length=12)
    results = []
    for threshold in (0.0, 1.1):
        monkeypatch.setattr(decoding, "SHRINK_BELOW", threshold)
        results.append(flat(sample(qwen, batch, REPEATS, SEEDS, params)))
    assert len({len(c.token_ids) for c in results[0]}) > 2
    for one, two in zip(*results, strict=True):
        assert one.token_ids == two.token_ids
        assert one.logprobs == pytest.approx(two.logprobs, abs=1e-5)


def test_a_stop_token_ends_a_completion(idefics3: Policy) -> None:
    stop_at(idefics3, MANY_STOPS)
    params = SamplingParams(1.0, max_completion_length=16)
    groups = sample(idefics3, encode(idefics3, PROMPTS), REPEATS, SEEDS, params)
    assert [len(group) for group in groups] == list(REPEATS)
    finishes = Counter(c.finish for c in flat(groups))
    assert finishes[Finish.STOP] >= 3
    for completion in flat(groups):
        assert len(completion.token_ids) == len(completion.logprobs) <= 16
        assert not set(completion.token_ids[:-1]) & set(MANY_STOPS)
        stopped = completion.token_ids[-1] in MANY_STOPS
        assert completion.finish is (Finish.STOP if stopped else Finish.LENGTH)
        assert stopped or len(completion.token_ids) == 16


def test_a_completion_is_cut_at_the_maximum_length(idefics3: Policy) -> None:
    batch, seeds = encode(idefics3, PROMPTS[:2]), stream_seeds(22, count=24)
    long = flat(
        sample(idefics3, batch, [12, 12], seeds, SamplingParams(1.0, max_completion_length=5))
    )
    cut = [c for c in long if 2 not in c.token_ids]
    assert len(cut) >= 16
    assert {(len(c.token_ids), c.finish) for c in cut} == {(5, Finish.LENGTH)}
    short = flat(
        sample(idefics3, batch, [12, 12], seeds, SamplingParams(1.0, max_completion_length=1))
    )
    assert [c.token_ids for c in short] == [c.token_ids[:1] for c in long]
    assert {c.finish for c in short if c.token_ids != (2,)} == {Finish.LENGTH}


def test_a_stop_token_in_the_last_place_is_a_stop(idefics3: Policy) -> None:
    """The turn ended; only a completion that was cut abstains from the vote."""
    batch, params = encode(idefics3, PROMPTS[:1]), SamplingParams(1.0, max_completion_length=4)
    endless = sample(idefics3, batch, [1], SEEDS[:1], params)[0][0]
    assert endless.finish is Finish.LENGTH
    stop_at(idefics3, [2, endless.token_ids[3]])
    ended = sample(idefics3, batch, [1], SEEDS[:1], params)[0][0]
    assert ended.token_ids == endless.token_ids
    assert ended.finish is Finish.STOP


def test_text_is_the_decoded_completion_without_special_tokens(idefics3: Policy) -> None:
    tokenizer = idefics3.tokenizer
    wanted = [*tokenizer("7 é \\boxed{7}")["input_ids"], 2]
    assert tokenizer.decode(wanted, skip_special_tokens=True) == "7 é \\boxed{7}"
    stop_at(idefics3, MANY_STOPS)
    params = SamplingParams(1.0, max_completion_length=16)
    for completion in flat(sample(idefics3, encode(idefics3, PROMPTS), REPEATS, SEEDS, params)):
        assert completion.text == tokenizer.decode(
            list(completion.token_ids), skip_special_tokens=True
        )
        assert "<" not in completion.text or "<" in tokenizer.convert_ids_to_tokens(
            completion.token_ids
        )


def test_sampling_leaves_the_training_mode_as_it_was(idefics3: Policy) -> None:
    params = SamplingParams(1.0, max_completion_length=2)
    for training in (True, False):
        idefics3.model.train(training)
        sample(idefics3, encode(idefics3, PROMPTS), REPEATS, SEEDS, params)
        assert idefics3.model.training is training
    assert all(p.requires_grad for p in idefics3.model.parameters())


# Whole steps in parts


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    made = []
    for i in range(5):
        tiny.picture(30 + i, 30, 24 + i).save(tmp_path / f"{i}.png")
        made.append(Sample(f"s{i}", f"<image>read {i * 'on '}?", (tmp_path / f"{i}.png",)))
    return made


@pytest.mark.parametrize("views", [1, 2])
def test_rollouts_do_not_depend_on_the_size_of_the_parts(
    idefics3: Policy, samples: list[Sample], views: int
) -> None:
    """`micro_batch_size` changes memory, not the result."""
    stop_at(idefics3, MANY_STOPS)
    prompts = PromptMaker(ViewsConfig(), max_pixels=10_000, seed=3)
    found = []
    for size in (64, 4, 1):
        config = TrainConfig(
            num_generations=4, views=views, max_completion_length=6, micro_batch_size=size
        )
        groups = roll_out(idefics3, samples, prompts, config, seed=9, step=2)
        assert [group.sample for group in groups] == samples
        assert [[c.view for c in g.completions] for g in groups] == [
            sorted([*range(views)] * (4 // views))
        ] * 5
        found.append([c.token_ids for group in groups for c in group.completions])
    assert len(set(found[0])) > 15
    assert found[0] == found[1] == found[2]


def test_teacher_votes_do_not_depend_on_the_size_of_the_parts(
    talker: Path, samples: list[Sample]
) -> None:
    teacher = load_policy(talker, device="cpu")
    prompts = PromptMaker(ViewsConfig(), max_pixels=10_000, seed=3)
    config = ConsensusConfig(views=2, samples_per_view=3, temperature=1.0, min_share=0.0)
    found = [
        TeacherVotes(teacher, prompts, config, 4, seed=9, batch_size=size).labels(samples, 2)
        for size in (64, 3, 1)
    ]
    assert len({answer for label in found[0] for answer in label.answers}) > 5
    assert found[0] == found[1] == found[2]
