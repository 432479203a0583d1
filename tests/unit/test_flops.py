"""FLOPs from shapes against those that PyTorch's counter sees, and by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES
from test_architectures import COMPLETIONS, REPEATS, prompts_for
from test_engine import PROMPTS
from test_strategy_training import config_for, run_of, samples
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from mmupt.asking.answerer import SamplingParams, stream_seeds
from mmupt.clock import part, profiled
from mmupt.policy.flops import Dense, attention, products
from mmupt.policy.inputs import encode
from mmupt.policy.matmul import matmul_rate
from mmupt.policy.model import Policy, inference, load_policy
from mmupt.policy.sampler import sample
from mmupt.policy.score import completion_logprobs, token_batch
from mmupt.policy.shared import prefill
from mmupt.train.grpo import train_label_free
from mmupt.train.optim import freeze_vision
from mmupt.types import Sample

__all__ = ["samples"]  # a fixture

FLASH: dict[Any, Any] = {  # the counter knows these by their CUDA names only
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
architecture = pytest.mark.parametrize("name", list(ARCHITECTURES))


@pytest.fixture
def policy(name: str, model_folder: Callable[[str], Path]) -> Policy:
    return load_policy(model_folder(name), device="cpu")


def counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=FLASH)


def learn(policy: Policy) -> None:
    batch = encode(policy, prompts_for(policy.model.config.model_type))
    with part("forward"):
        logps, _ = completion_logprobs(policy, batch, REPEATS, token_batch(policy, COMPLETIONS))
    logps.sum().backward()


def test_by_hand() -> None:
    """A layer of 6 x 4 at 10 tokens: 10 times 24 products and sums; backward both gradients."""
    layer = torch.nn.Linear(4, 6)
    weights = Dense.of([layer.weight])
    assert products(10, weights) == (480, 960)
    assert products(10, weights, flows=False) == (480, 480)
    layer.requires_grad_(False)
    assert products(10, Dense.of([layer.weight])) == (480, 480)
    assert attention(3 * 5, 8, 2) == (2 * 2 * 2 * 3 * 5 * 8, 2.5 * 2 * 2 * 2 * 3 * 5 * 8)


@architecture
def test_prefill(name: str, policy: Policy) -> None:
    batch = encode(policy, prompts_for(name))
    with inference(policy), counter() as seen, profiled() as profile, part("prefill"):
        prefill(policy, batch)
    assert set(profile.flops) == {"prefill"}
    assert profile.flops["prefill"] == pytest.approx(seen.get_total_flops(), rel=0.03)


@architecture
def test_training(name: str, policy: Policy) -> None:
    with counter() as seen, profiled() as profile:
        learn(policy)
    assert set(profile.flops) == {"forward", "backward"}
    assert sum(profile.flops.values()) == pytest.approx(seen.get_total_flops(), rel=0.05)


def test_training_without_the_tower(model_folder: Callable[[str], Path]) -> None:
    policy = load_policy(model_folder("qwen2_5_vl"), device="cpu")
    freeze_vision(policy.model)
    with counter() as seen, profiled() as profile:
        learn(policy)
    assert sum(profile.flops.values()) == pytest.approx(seen.get_total_flops(), rel=0.05)


def test_sampling(idefics3: Policy) -> None:
    batch, seeds = encode(idefics3, PROMPTS), stream_seeds(9, count=14)
    vars(idefics3)["stop_ids"] = tuple(range(20, 100, 3))
    with counter() as seen, profiled() as profile:
        found = sample(idefics3, batch, (4, 3, 2, 5), seeds, SamplingParams(1.0, 1.0, 0, 9))
    assert set(profile.flops) == {"prefill", "decode"}
    assert sum(profile.flops.values()) == pytest.approx(seen.get_total_flops(), rel=0.05)
    tokens = sum(len(c.token_ids) for group in found for c in group)
    assert profile.counts == {"prefill_tokens": int(batch.lengths.sum()), "sampled_tokens": tokens}


def test_nothing_is_counted_without_a_profile(idefics3: Policy) -> None:
    learn(idefics3)
    with profiled() as profile:
        pass
    assert profile.flops == {}


def test_matmul_rate_draws_nothing() -> None:
    state = torch.get_rng_state()
    rate = matmul_rate(32, 48, torch.float32, "cpu", 0.01)
    assert 1e6 < rate < 1e16
    assert torch.equal(torch.get_rng_state(), state)
    assert matmul_rate(32, 48, torch.float32, "cpu", 0.01) == rate  # measured once


def test_a_step_says_what_it_cost(talker: Path, samples: list[Sample], tmp_path: Path) -> None:
    """Tokens against the rollouts; sums against their parts; a machine measured before."""
    run = run_of(config_for("save_steps=1", "train.beta=0.1", steps=3), tmp_path)
    policy = load_policy(talker, device="cpu")
    train_label_free(policy, samples, run)
    lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    (machine,) = (e for e in events if e["type"] == "machine_measured")
    assert machine["shape"][1] == policy.model.config.get_text_config().hidden_size
    steps = [e for e in events if e["type"] == "grpo_step"]
    prompts = sum(int(encode(policy, [run.prompts.prompt(s)]).lengths) for s in samples)
    assert len(steps) == 3
    for step in steps:
        assert set(step["part_flops"]) == {
            "prefill", "decode", "reference", "forward", "backward",
        }  # fmt: skip
        assert set(step["part_flops"]) | {"images", "vote", "reward", "optimizer", "save"} == set(
            step["part_seconds"]
        )
        assert step["flops"] == pytest.approx(sum(step["part_flops"].values()), abs=5)
        assert step["part_flops"]["reference"] == step["part_flops"]["forward"]
        assert step["part_flops"]["backward"] > 1.9 * step["part_flops"]["forward"]
        assert step["sampled_tokens"] == step["tokens"] >= step["train_tokens"] > 0
        assert step["train_prompt_tokens"] <= step["prefill_tokens"]
        assert step["prefill_tokens"] % prompts == 0  # each view of each prompt once
        assert sum(step["part_seconds"].values()) <= step["seconds"] + 0.001
        assert step["flops_per_second"] == pytest.approx(step["flops"] / step["seconds"], rel=1e-6)
        share = step["flops_per_second"] / machine["matmul_flops_per_second"]
        assert step["matmul_share"] == pytest.approx(share)
