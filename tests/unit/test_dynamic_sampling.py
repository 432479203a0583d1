"""Dynamic sampling (DAPO): prompts are looked at until enough of them teach.

The start's completions tell which do; they are counted and weighed here by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from test_anchors import (
    ANCHORS,
    Equals,
    anchors,
    events_in,
    in_threads,
    rows_in,
    samples,
    train,
)
from test_checkpoint import Killed, dying
from test_strategy_training import answers_of, by_majority, centred, config_for, majority, run_of
from test_update_processes import Table

from mmupt.config import Config, load_config
from mmupt.errors import ConfigError
from mmupt.events import Event
from mmupt.guard.watch import Outcome
from mmupt.policy.model import load_policy
from mmupt.train import grpo
from mmupt.train.grpo import train_label_free, train_supervised
from mmupt.train.optim import make_optimizer
from mmupt.train.rollout import Group, roll_out
from mmupt.train.sft import batch_indices
from mmupt.train.stage import Run
from mmupt.train.update import ScoredGroup, update
from mmupt.types import LabelledSample, Sample

__all__ = ["anchors", "samples"]  # fixtures

SIZE = 3


def dynamic(*settings: str, teacher: str = "online", steps: int = 1) -> Config:
    """A vote of more than half is needed, which about a third of the prompts reach."""
    own = [
        f"train.prompts_per_step={SIZE}", "train.dynamic_sampling=true", "train.max_resample=5",
        "consensus.min_share=0.5", "train.learning_rate=3e-4",
    ]  # fmt: skip
    return config_for(*own, *settings, teacher=teacher, steps=steps)


@dataclass(frozen=True)
class Looked:
    """One prompt that was looked at: its group and its advantages, by hand."""

    group: Group
    advantages: list[float]


def by_hand(talker: Path, samples: Sequence[Sample], run: Run, batch: int) -> list[Looked]:
    """What a batch of prompts teaches before anything is learned."""
    asked = [samples[i] for i in batch_indices(len(samples), SIZE, batch, run.seed)]
    start, train = load_policy(talker, device="cpu"), run.config.train
    found = []
    for group in roll_out(start, asked, run.prompts, train, seed=run.seed, step=batch):
        answers = answers_of(group)
        rewards = by_majority(answers) if majority(answers) else [0.0] * 16
        kept = sum(rewards) / 16 >= run.config.consensus.min_share
        found.append(Looked(group, centred(rewards) if kept else [0.0] * 16))
    return found


def test_a_step_is_filled_batch_by_batch(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """Prompts, their number and the weights, worked out from the start's completions."""
    events: list[Event] = []
    run = run_of(dynamic(), tmp_path, [events.append])
    policy = load_policy(talker, device="cpu")
    train_label_free(policy, samples, run)

    looked, teaching, batch = list[Looked](), list[Looked](), 0
    while len(teaching) < SIZE:
        batch += 1
        looked += by_hand(talker, samples, run, batch)
        teaching = [one for one in looked if any(one.advantages)]
    assert 1 < batch < 6  # control: neither the first batch nor the last
    (rows,) = rows_in(tmp_path)
    assert [row["sample_id"] for row in rows] == [one.group.sample.id for one in looked]
    found = np.array([row["advantages"] for row in rows])
    np.testing.assert_allclose(found, [one.advantages for one in looked], atol=1e-7)
    spare = [any(one is s for s in teaching[SIZE:]) for one in looked]
    assert [row["spare"] for row in rows] == spare
    (step,) = (e for e in events if e["type"] == "grpo_step")
    assert step["prompts"] == SIZE * batch == len(rows)
    assert step["kept"] == pytest.approx(np.mean([row["kept"] for row in rows]))
    assert step["unanimous"] == pytest.approx(1 - len(teaching) / len(looked))

    expected = load_policy(talker, device="cpu")
    reference = expected.clone()
    config = run.config.train
    optimizer = make_optimizer(expected.model, config.learning_rate, config.weight_decay)
    scored = [ScoredGroup(one.group, np.array(one.advantages)) for one in teaching[:SIZE]]
    update(expected, optimizer, scored, config, reference)
    wanted = tiny.weights(expected.model)
    for name, tensor in tiny.weights(policy.model).items():
        torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=2e-6)


def test_more_than_enough_is_spare(talker: Path, samples: list[Sample], tmp_path: Path) -> None:
    """Of the teaching groups the first are trained on, as many as a step wants."""
    config = dynamic("consensus.min_share=0.4", steps=6)
    train(talker, samples, [], config, tmp_path)
    spares = 0
    for rows in rows_in(tmp_path):
        teaching = [row for row in rows if any(row["advantages"])]
        assert [row["spare"] for row in teaching] == [i >= SIZE for i in range(len(teaching))]
        assert not any(row["spare"] for row in rows if not any(row["advantages"]))
        spares += sum(row["spare"] for row in rows)
    assert spares  # control


def test_no_batch_is_looked_at_twice(talker: Path, samples: list[Sample], tmp_path: Path) -> None:
    """Steps go on in the shuffled order where the one before stopped, so that no prompt is missed."""
    config = dynamic(steps=4)
    train(talker, samples, [], config, tmp_path)
    run, before = run_of(config, tmp_path), 0
    for rows in rows_in(tmp_path):
        batches = len(rows) // SIZE
        expected = [
            samples[i].id
            for batch in range(before + 1, before + batches + 1)
            for i in batch_indices(len(samples), SIZE, batch, run.seed)
        ]
        assert [row["sample_id"] for row in rows] == expected
        before += batches
    assert before > 4  # control


def test_it_stops_when_the_batches_are_used_up(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """Nobody reaches the share: no update, and the round goes on."""
    config = dynamic("consensus.min_share=1", "train.max_resample=2", steps=2)
    policy, outcome = train(talker, samples, [], config, tmp_path)
    steps = [e for e in events_in(tmp_path) if e["type"] == "grpo_step"]
    assert [e["prompts"] for e in steps] == [9, 9]  # the first batch and two more
    assert [e["kept"] for e in steps] == [0.0, 0.0]
    assert outcome.steps == 2
    assert tiny.same_weights(policy.model, load_policy(talker, device="cpu").model)


@pytest.mark.parametrize("teacher", ["frozen", "ema"])
def test_teachers_label_further_prompts_too(
    talker: Path, samples: list[Sample], tmp_path: Path, teacher: str
) -> None:
    """Prompts that the teacher does not keep are made up for."""
    config = dynamic("consensus.min_share=0.9", teacher=teacher, steps=2)
    train(talker, samples, [], config, tmp_path)
    for rows in rows_in(tmp_path):
        teaching = [any(row["advantages"]) for row in rows]
        assert sum(teaching) >= SIZE or len(rows) == 6 * SIZE
        assert sum(teaching[:-SIZE]) < SIZE  # the last batch was needed
    assert max(map(len, rows_in(tmp_path))) > SIZE  # control


@pytest.mark.parametrize("die_at", [2, 4])
def test_a_filled_round_goes_on_bit_for_bit(
    talker: Path,
    samples: list[Sample],
    anchors: list[LabelledSample],
    tmp_path: Path,
    die_at: int,
) -> None:
    """With anchors: they come once a step, however many batches it takes."""
    settings = ("train.anchor_fraction=0.3", "save_steps=1", "guard.action=warn")
    config = dynamic(*settings, steps=4)
    whole, outcome = train(talker, samples, anchors, config, tmp_path / "whole")
    with pytest.raises(Killed):
        train(talker, samples, anchors, config, tmp_path / "torn", [dying(die_at)])
    events: list[Event] = []
    again, resumed = train(talker, samples, anchors, config, tmp_path / "torn", [events.append])
    assert next(e["step"] for e in events if e["type"] == "grpo_step") == die_at
    assert tiny.same_weights(again.model, whole.model)
    assert resumed == outcome
    assert rows_in(tmp_path / "torn") == rows_in(tmp_path / "whole")
    steps = [e for e in events_in(tmp_path / "whole") if e["type"] == "grpo_step"]
    assert len({e["prompts"] for e in steps}) > 1  # control: the numbers had to be remembered
    for event, rows in zip(steps, rows_in(tmp_path / "whole"), strict=True):
        assert [row["anchor"] for row in rows] == [False] * event["prompts"] + [True]
        assert event["anchors"] == 1
    assert outcome.anchors == ANCHORS


def test_two_processes_fill_as_one(
    talker: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same prompts, completions and weights; plain gradient steps keep rounding small."""

    def sgd(model: torch.nn.Module, rate: float, *_: object) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=rate)

    monkeypatch.setattr(grpo, "make_optimizer", sgd)
    config = dynamic("train.learning_rate=0.1", "seed=5", steps=3)
    alone, outcome = train(talker, samples, [], config, tmp_path / "one")
    table, policies = Table(), [load_policy(talker, device="cpu") for _ in range(2)]

    def one(rank: int) -> Outcome:
        run = replace(run_of(config, tmp_path / f"two-{rank}"), processes=Equals(rank, 2, table))
        return train_label_free(policies[rank], samples, run)

    assert in_threads(one) == [outcome] * 2
    assert rows_in(tmp_path / "two-0") == rows_in(tmp_path / "one")
    assert max(map(len, rows_in(tmp_path / "one"))) > SIZE  # control
    assert tiny.same_weights(policies[0].model, policies[1].model)
    start = tiny.weights(load_policy(talker, device="cpu").model)
    moved: list[dict[str, Any]] = [
        {name: tensor - start[name] for name, tensor in tiny.weights(policy.model).items()}
        for policy in (policies[0], alone)
    ]
    assert tiny.worst_error(moved[0], moved[1]) < 1e-4


def test_supervised_steps_cost_as_many_labels_as_said(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """No further prompts where each would be a label more."""
    rows = [LabelledSample(sample, "no model says this") for sample in samples]
    train_supervised(load_policy(talker, device="cpu"), rows, run_of(dynamic(), tmp_path))
    assert [len(step) for step in rows_in(tmp_path)] == [SIZE]


def test_a_deviation_over_the_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match="set scale_rewards to group or none"):
        load_config(None, ["train.dynamic_sampling=true", "train.scale_rewards=batch"])
