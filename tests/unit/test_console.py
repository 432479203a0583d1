"""What the terminal shows while a run goes on, from made-up events."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mmupt.config import Config
from mmupt.console import LiveProgress, stage_name
from mmupt.pipeline.material import Material
from mmupt.pipeline.plan import planned_work
from mmupt.types import LabelledSample, Sample

METRICS = {"greedy": 0.5, "mean": 0.25, "n": 4}


def shown(lang: str, *events: dict[str, object]) -> str:
    stream = io.StringIO()
    with LiveProgress(Console(file=stream, width=100, force_terminal=True), lang) as bars:
        for event in events:
            bars(event)
    return stream.getvalue()


def test_a_run_is_drawn_stage_by_stage_with_a_whole() -> None:
    text = shown(
        "en",
        {"type": "run_planned", "work": {"evaluate base": 4.0, "sft": 6.0}},
        {"type": "evaluation_started", "stage": "base", "total": 4},
        {"type": "evaluation_progress", "stage": "base", "done": 4, "total": 4},
        {"type": "evaluated", "stage": "base", "metrics": METRICS},
        {"type": "run_resumed", "stage": "sft", "step": 1, "total_steps": 2},
        {"type": "sft_step", "stage": "sft", "step": 2, "loss": 0.1234},
    )
    for part in (
        "whole run",
        "evaluating base model",
        "50.0% / 25.0%",
        "resumed after step 1",
        "2/2",
        "loss 0.123",
    ):
        assert part in text


def test_japanese_and_unknown_stages() -> None:
    assert "ラベルなしラウンド 2" in shown(
        "ja", {"type": "stage_started", "stage": "round-2", "step": 0, "total_steps": 3}
    )
    assert stage_name("something", "en") == "something"


def test_planned_work_by_hand() -> None:
    rows = [LabelledSample(Sample(f"{i}", "?"), "1") for i in range(10)]
    config = Config.model_validate(
        {
            "sft": {"num_train_epochs": 2, "per_device_train_batch_size": 4},
            "consensus": {"teacher": "ema", "views": 8},
            "train": {"rounds": 1, "max_steps": 5, "prompts_per_step": 2, "num_generations": 4},
            "eval": {"num_samples": 3},
        }
    )
    material = Material(rows, [r.sample for r in rows], rows[:6])
    assert planned_work(config, material) == {
        "evaluate base": 6 * 4,
        "sft": 5 * 4 * 3,
        "evaluate sft": 24,
        "round-1": 5 * 2 * (4 * 4 + 8),
        "evaluate round-1": 24,
    }
    # Dynamic sampling: two batches where half of the groups teach; the update stays what it is.
    more = config.train.model_copy(update={"dynamic_sampling": True})
    dynamic = planned_work(config.model_copy(update={"train": more}), material)
    assert dynamic["round-1"] == 5 * 2 * (2 * (4 + 8) + 4 * 3)
    compared = planned_work(config, Material(rows, (), rows[:6], rows))
    assert compared["supervised"] == pytest.approx(5 * 2 * 16)
