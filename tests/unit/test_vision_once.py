"""Pictures that several prompts show go through the tower once, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import test_architectures
import tiny
import torch
from architectures import ARCHITECTURES
from test_architectures import COMPLETIONS, REPEATS, SEEING, compare, token_weights
from tiny import picture

from mmupt.asking.prompt import Prompt
from mmupt.policy import shared
from mmupt.policy.inputs import PromptBatch, encode
from mmupt.policy.model import Policy, load_policy
from mmupt.policy.score import completion_logprobs, token_batch
from mmupt.policy.vision import first_equal, tower_of

SAME = (
    Prompt("<image>3?", (picture(1),)),
    Prompt("a longer question about the same:<image>", (picture(1),)),
    Prompt("<image>left or<image>right", (picture(2, 80, 40), picture(1))),
    Prompt("<image>ab c", (picture(2, 80, 40),)),
)
"""Five pictures, two different ones; `picture` draws anew, so they are equal and not the same."""

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
architecture = pytest.mark.parametrize("name", list(ARCHITECTURES))


@pytest.fixture
def policy(name: str, model_folder: Callable[[str], Path]) -> Policy:
    return load_policy(model_folder(name), device="cpu")


@contextmanager
def rows_seen(policy: Policy) -> Iterator[list[int]]:
    """Rows, or patches, that the tower's first convolution gets."""
    seen: list[int] = []
    convolutions = (torch.nn.Conv2d, torch.nn.Conv3d)
    first = next(m for m in tower_of(policy.model).modules() if isinstance(m, convolutions))
    handle = first.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    yield seen
    handle.remove()


def test_first_equal() -> None:
    a, b = torch.arange(100.0), torch.arange(100.0)
    b[99] = 0.0  # beyond the values that are compared first
    assert first_equal([(a,), (b,), (a.clone(),), (b,), (a[:50],)]) == [0, 1, 0, 1, 2]
    assert first_equal([(a, a), (a, b), (a, a)]) == [0, 1, 0]
    assert first_equal([]) == []


@contextmanager
def every_picture(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if no two pictures were equal."""
    with monkeypatch.context() as patch:
        patch.setattr(shared, "seen_once", lambda *_: nullcontext())
        yield


def scores(policy: Policy, batch: PromptBatch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    policy.model.zero_grad()
    tokens = token_batch(policy, COMPLETIONS)
    logps, _ = completion_logprobs(policy, batch, REPEATS, tokens, 0.7)
    (logps * tokens.mask_NT * token_weights()).sum().backward()
    return logps.detach(), tiny.gradients(policy.model)


@architecture
def test_equal_pictures_are_computed_once(
    name: str, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against one pass for each: log-probabilities and gradients, tower and projector included."""
    batch = encode(policy, SAME)
    with rows_seen(policy) as seen:
        logps, gradients = scores(policy, batch)
    with rows_seen(policy) as before, every_picture(monkeypatch):
        expected, plain = scores(policy, batch)
    torch.testing.assert_close(logps, expected, atol=1e-6, rtol=1e-6)
    assert tiny.worst_error(gradients, plain) < 1e-5
    assert sum(seen) <= 0.6 * sum(before)


@architecture
def test_equal_pictures_as_one_plain_row_each(name: str, policy: Policy) -> None:
    """Against transformers' own forward on every row alone."""
    compare(policy, SAME)


@architecture
def test_different_pictures_run_as_they_did(
    name: str, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit."""
    batch = encode(policy, SEEING if name == "paligemma" else test_architectures.PROMPTS)
    logps, gradients = scores(policy, batch)
    with every_picture(monkeypatch):
        expected, plain = scores(policy, batch)
    if name not in ("llava_onevision", "smolvlm", "idefics3"):  # tiles may be equal by themselves
        assert torch.equal(logps, expected)
        assert all(torch.equal(gradients[n], g) for n, g in plain.items())


def test_an_unknown_tower_runs_as_it_is(
    model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(model_folder("llava"), device="cpu")
    tower: Any = tower_of(policy.model)
    monkeypatch.setattr(type(tower.config), "model_type", "another")
    with rows_seen(policy) as seen, torch.no_grad():
        shared.prefill(policy, encode(policy, SAME))
    assert seen == [5]
    assert "forward" not in vars(tower)
