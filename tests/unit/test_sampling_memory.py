"""Running out of memory while sampling costs time, and nothing of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_anchors import events_in, rows_in
from test_engine import PROMPTS, stream
from test_strategy_training import config_for, run_of, samples

from mmupt.asking.answerer import SamplingParams, stream_seeds
from mmupt.errors import MmuptError
from mmupt.evaluate.scores import COLUMNS
from mmupt.events import EventLog
from mmupt.pipeline.pilot import run_pilot
from mmupt.pipeline.stages import Stages
from mmupt.policy import decoding
from mmupt.policy.inputs import encode
from mmupt.policy.memory import Halved, row_limit
from mmupt.policy.model import Policy, load_policy
from mmupt.policy.sampler import decode, prefilled, sample, sample_all
from mmupt.runs import RunFolder
from mmupt.train.grpo import train_label_free
from mmupt.train.lmsi import train_lmsi
from mmupt.types import Completion, LabelledSample, Sample

__all__ = ["samples"]  # a fixture

PARAMS = SamplingParams(1.0, max_completion_length=9)
REPEATS = (4, 3, 2, 5)
SEEDS = stream_seeds(9, count=14)


def cuda_error() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.")


def cpu_error() -> None:
    torch.empty(10**15)


@contextmanager
def limited(
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    prompts: int = 100,
    error: Callable[[], None] = cuda_error,
) -> Iterator[list[int]]:
    """The real model, which holds no more than so many rows and prompts. Yields rows decoded."""
    held: list[int] = []
    extend, prefill = decoding.extend, decoding.prefill

    def small_extend(policy: Policy, shared: Any, cache: Any, tokens: Any, *more: Any) -> Any:
        hidden = extend(policy, shared, cache, tokens, *more)  # has written to the cache by then
        if len(tokens) > rows:
            error()
        held.append(len(tokens))
        return hidden

    def small_prefill(policy: Policy, batch: Any) -> Any:
        if len(batch) > prompts:
            error()
        return prefill(policy, batch)

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "extend", small_extend)
        patch.setattr(decoding, "prefill", small_prefill)
        yield held


@pytest.fixture
def stopping(idefics3: Policy) -> Policy:
    """Many stop tokens, so that rows end at different times."""
    vars(idefics3)["stop_ids"] = tuple(range(20, 100, 3))
    return idefics3


def same(found: Sequence[Sequence[Completion]], expected: Sequence[Sequence[Completion]]) -> None:
    assert [len(group) for group in found] == [len(group) for group in expected]
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a.token_ids, a.finish, a.text) == (b.token_ids, b.finish, b.text)
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)
            assert a.self_certainty == pytest.approx(b.self_certainty, abs=1e-4)


@pytest.mark.parametrize("error", [cuda_error, cpu_error])
@pytest.mark.parametrize("rows", [7, 3, 1])
def test_fewer_rows_give_the_same_completions(
    stopping: Policy, monkeypatch: pytest.MonkeyPatch, rows: int, error: Callable[[], None]
) -> None:
    batch = encode(stopping, PROMPTS)
    expected = sample(stopping, batch, REPEATS, SEEDS, PARAMS)
    with limited(monkeypatch, rows, error=error) as held, row_limit() as limit:
        same(sample(stopping, batch, REPEATS, SEEDS, PARAMS), expected)
        found = limit.taken()
        assert found[0].what == "rows"
        assert all(one.new == one.old // 2 for one in found)
        assert limit.rows == found[-1].new <= rows
        assert max(held) <= rows
        same(sample(stopping, batch, REPEATS, SEEDS, PARAMS), expected)
        assert limit.taken() == []  # remembered


@pytest.mark.parametrize("room", [2, 7, 100])
@pytest.mark.parametrize("prompts", [1, 2])
def test_prompts_that_come_one_after_another(
    stopping: Policy, monkeypatch: pytest.MonkeyPatch, room: int, prompts: int
) -> None:
    """Rows of different age, prompts that cannot be prefilled together, and both limits at once."""
    expected = sample(stopping, encode(stopping, PROMPTS), REPEATS, SEEDS, PARAMS)
    with limited(monkeypatch, 3, prompts):
        found = sample_all(stopping, stream(stopping, REPEATS), SEEDS, PARAMS, room)
        same(found, expected)
        with row_limit() as limit:
            batch = encode(stopping, PROMPTS)
            same(sample(stopping, batch, REPEATS, SEEDS, PARAMS), expected)
            assert limit.halved[0] == Halved("prompts", 4, 2)
            assert limit.prompts == prompts


@pytest.mark.parametrize("fails", range(1, 9))
def test_one_failure_at_any_step(
    stopping: Policy, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    """Some rows have ended, others begin again; a step that failed is as if it had not begun."""
    expected = sample(stopping, encode(stopping, PROMPTS), REPEATS, SEEDS, PARAMS)
    calls, extend = [0], decoding.extend

    def once(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == fails:
            cuda_error()
        return extend(*args)

    monkeypatch.setattr(decoding, "extend", once)
    with row_limit() as limit:
        found = sample_all(stopping, stream(stopping, REPEATS), SEEDS, PARAMS, 9)
    same(found, expected)
    assert [one.what for one in limit.taken()] == ["rows"]


def test_a_prompt_that_finds_no_room_waits(
    stopping: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that run go on; it is prefilled when they are fewer."""
    expected = sample(stopping, encode(stopping, PROMPTS), REPEATS, SEEDS, PARAMS)
    calls, prefill = [0], decoding.prefill

    def second_fails(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            cuda_error()
        return prefill(*args)

    monkeypatch.setattr(decoding, "prefill", second_fails)
    with row_limit() as limit:
        same(sample_all(stopping, stream(stopping, REPEATS), SEEDS, PARAMS, 100), expected)
    assert limit.taken() == [Halved("rows", 7, 3)]
    assert calls[0] == 5  # four prompts, one of them twice


def test_evaluations_halve_as_well(stopping: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = encode(stopping, PROMPTS)
    expected = sample(stopping, batch, [2] * 4, SEEDS[:8], PARAMS)
    with limited(monkeypatch, 3, 1), row_limit() as limit:
        found, start = [], 0
        for prefix, count in prefilled(stopping, PROMPTS):
            seeds = SEEDS[2 * start :][: 2 * count]
            found += decode(stopping, prefix, [2] * count, seeds, PARAMS)
            start += count
    same(found, expected)
    assert limit.prompts == 1


@pytest.mark.parametrize(("rows", "prompts"), [(0, 9), (9, 0)])
def test_a_single_row_or_prompt_that_does_not_fit_ends_the_run(
    idefics3: Policy, monkeypatch: pytest.MonkeyPatch, rows: int, prompts: int
) -> None:
    with (
        limited(monkeypatch, rows, prompts),
        pytest.raises(MmuptError, match="out of memory while sampling") as caught,
    ):
        sample(idefics3, encode(idefics3, PROMPTS), REPEATS, SEEDS, PARAMS)
    assert "\n" not in str(caught.value)
    with (
        limited(monkeypatch, rows, 0),
        pytest.raises(MmuptError, match="out of memory while sampling"),
    ):
        list(prefilled(idefics3, PROMPTS))


def test_other_errors_are_not_swallowed(idefics3: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong() -> None:
        raise RuntimeError("the size of tensor a must match")

    with limited(monkeypatch, 0, error=wrong), pytest.raises(RuntimeError, match="size of tensor"):
        sample(idefics3, encode(idefics3, PROMPTS), REPEATS, SEEDS, PARAMS)


def test_a_round_goes_on_and_says_so(
    talker: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rollouts are the same; the limit is found once and kept from step to step."""
    config = config_for(steps=2)
    for name, rows in (("whole", 1000), ("short", 5)):
        policy = load_policy(talker, device="cpu")
        with limited(monkeypatch, rows):
            train_label_free(policy, samples, run_of(config, tmp_path / name))
    found = [e for e in events_in(tmp_path / "short") if e["type"] == "memory_halved"]
    assert {(e["step"], e["where"], e["what"]) for e in found} == {(1, "sampling", "rows")}
    assert found[-1]["new"] <= 5
    assert [e["old"] for e in found[1:]] == [e["new"] for e in found[:-1]]
    whole, short = (rows_in(tmp_path / name) for name in ("whole", "short"))
    texts = [[row["completions"] for row in run[0]] for run in (whole, short)]
    assert texts[0] == texts[1]


def stages_of(talker: Path, out: Path, rows: Sequence[LabelledSample] = ()) -> Stages:
    settings = ["eval.num_samples=2", "eval.max_completion_length=4", "eval.steps=1"]
    config = config_for(f"model.path={talker}", *settings)
    return Stages(RunFolder(out), config, EventLog(out / "events.jsonl"), test=rows)


def halvings(out: Path) -> list[dict[str, Any]]:
    return [event for event in events_in(out) if event["type"] == "memory_halved"]


def test_an_evaluation_outside_of_a_round_says_so_too(
    talker: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same scores; within a round the round's limit holds, and its events are enough."""
    rows = [LabelledSample(sample, "1") for sample in samples]
    found = {}
    for name, most in (("whole", 1000), ("short", 1)):
        stages = stages_of(talker, tmp_path / name, rows)
        with limited(monkeypatch, most):
            found[name] = stages.evaluate("base"), stages.blind("base")
            stages.label_free(samples, after="base", stage="round-1", key=1)
            stages.label_free(samples, after="base", stage="lmsi", key=1, method=train_lmsi)
    for one, other in zip(found["whole"], found["short"], strict=True):
        assert all(np.array_equal(getattr(one, c), getattr(other, c)) for c in COLUMNS)
    assert not halvings(tmp_path / "whole")
    halved = halvings(tmp_path / "short")
    assert {(e["stage"], e["where"], "step" in e) for e in halved} == {
        ("base", "sampling", False),
        ("base-blind", "sampling", False),
        ("round-1", "sampling", True),
        ("lmsi", "sampling", False),
    }
    assert all(e["new"] == e["old"] // 2 for e in halved)


def test_a_pilot_says_so_too(
    talker: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = []
    for name, most in (("whole", 1000), ("short", 1)):
        stages = stages_of(talker, tmp_path / name)
        with limited(monkeypatch, most):
            metrics = run_pilot(stages, samples)
        figures.append({key: value for key, value in metrics.items() if key != "seconds"})
    assert figures[0] == figures[1]
    assert {(e["stage"], e["where"]) for e in halvings(tmp_path / "short")} == {
        ("votes", "sampling"),
        ("pictures", "sampling"),
    }
