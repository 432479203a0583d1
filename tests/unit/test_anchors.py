"""Answers that people gave in audits, mixed into label-free rounds, on real models.

What is expected is counted from the records, or worked out from completions of the start.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_checkpoint import Killed, dying
from test_strategy_training import alike, answers_of, by_majority, centred, config_for, run_of
from test_update_processes import Table, Threads

from mmupt.config import Config, load_config
from mmupt.consensus.equivalence import equivalent
from mmupt.errors import ConfigError, InputError
from mmupt.events import Event
from mmupt.guard.watch import Outcome
from mmupt.policy.model import Policy, load_policy
from mmupt.train import grpo
from mmupt.train.anchors import train_anchored, without
from mmupt.train.grpo import Known, train_label_free
from mmupt.train.judge import judge
from mmupt.train.labels import TeacherVotes, TrueLabels
from mmupt.train.optim import make_optimizer
from mmupt.train.rollout import roll_out
from mmupt.train.sft import batch_indices
from mmupt.train.update import ScoredGroup, update
from mmupt.types import LabelledSample, Sample

T = TypeVar("T")
ANCHORS = 3
TIMES = (
    "seconds", "part_seconds", "time", "flops_per_second", "matmul_share",
    "matmul_flops_per_second",
)  # fmt: skip


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    root = tmp_path_factory.mktemp("pictures")
    made = []
    for i in range(9):
        tiny.picture(50 + i, 30, 24 + i).save(root / f"{i}.png")
        made.append(Sample(f"s{i}", f"<image>read {i % 6 * 'on '}?", (root / f"{i}.png",)))
    return made


@pytest.fixture(scope="module")
def anchors(
    samples: list[Sample], talker: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[LabelledSample]:
    """The last questions of the pool; people say what the model says most often."""
    run = run_of(config_for(), tmp_path_factory.mktemp("said"))
    policy = load_policy(talker, device="cpu")
    chosen = samples[-ANCHORS:]
    rows = []
    for sample, group in zip(
        chosen, roll_out(policy, chosen, run.prompts, run.config.train, seed=1, step=1), strict=True
    ):
        counts = Counter(a for a in answers_of(group) if a is not None)
        rows.append(LabelledSample(sample, counts.most_common()[0][0]))
    return rows


def events_in(path: Path) -> list[dict[str, Any]]:
    """The events of a run without what a clock says."""
    lines = (path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def rows_in(path: Path) -> list[list[dict[str, Any]]]:
    """The records of each step."""
    return [pq.read_table(file).to_pylist() for file in sorted((path / "rollouts").iterdir())]


def train(
    talker: Path,
    samples: Sequence[Sample],
    anchors: Sequence[LabelledSample],
    config: Config,
    out: Path,
    listeners: Sequence[Any] = (),
) -> tuple[Policy, Outcome]:
    policy = load_policy(talker, device="cpu")
    outcome = train_anchored(policy, samples, anchors, run_of(config, out, listeners))
    return policy, outcome


# One step, worked out by hand


@pytest.mark.parametrize("teacher", ["online", "frozen"])
def test_a_step_learns_votes_and_answers(
    talker: Path,
    samples: list[Sample],
    anchors: list[LabelledSample],
    tmp_path: Path,
    teacher: str,
) -> None:
    """Four prompts by votes, two by people: the weights of an update on advantages by hand."""
    config = config_for("train.anchor_fraction=0.33", teacher=teacher)  # 1.98 of 6
    run = run_of(config, tmp_path)
    start = load_policy(talker, device="cpu")
    pool = samples[:-ANCHORS]
    asked = [pool[i] for i in batch_indices(6, 4, 1, run.seed)]
    chosen = batch_indices(ANCHORS, 2, 1, run.seed, grpo.KNOWN_STREAM)
    order = [*asked, *(anchors[i].sample for i in chosen)]
    groups = roll_out(start, order, run.prompts, config.train, seed=run.seed, step=1)
    answers = [answers_of(group) for group in groups]
    if teacher == "online":
        rewards = [by_majority(own) for own in answers[:4]]
    else:
        votes = TeacherVotes(start, run.prompts, config.consensus, 3, run.seed, 64)
        labels = [label.answer for label in votes.labels(asked, 1)]
        assert None not in labels  # else its group would not have been rolled out
        rewards = [
            [float(equivalent(a, label)) for a in own]
            for own, label in zip(answers[:4], labels, strict=True)
        ]
    truths = [min((a for a in own if alike([a], a)), key=own.count) for own in answers[4:]]
    rewards += [
        [float(equivalent(a, truth)) for a in own]
        for own, truth in zip(answers[4:], truths, strict=True)
    ]
    # People say what the model says least.
    corrected = list(anchors)
    for i, truth in zip(chosen, truths, strict=True):
        corrected[i] = replace(anchors[i], answer=truth)
    policy, outcome = train(talker, samples, corrected, config, tmp_path)
    assert outcome == Outcome(1, anchors=2)
    (rows,) = rows_in(tmp_path)
    assert [row["sample_id"] for row in rows] == [sample.id for sample in order]
    assert [row["anchor"] for row in rows] == [False] * 4 + [True] * 2
    assert [row["rewards"] for row in rows] == rewards
    assert [tuple(row["answers"]) for row in rows] == answers
    assert [(row["pseudo_label"], row["share"], row["kept"]) for row in rows[4:]] == [
        (truth, 1.0, True) for truth in truths
    ]
    assert all(0 < sum(own) < 16 for own in rewards[4:])  # control: people's answers do teach
    assert rewards[4:] != [by_majority(own) for own in answers[4:]]  # and others than votes do

    expected = load_policy(talker, device="cpu")
    reference = expected.clone()
    optimizer = make_optimizer(
        expected.model, config.train.learning_rate, config.train.weight_decay
    )
    scored = [
        ScoredGroup(g, np.array(centred(r), np.float64))
        for g, r in zip(groups, rewards, strict=True)
    ]
    update(expected, optimizer, scored, config.train, reference)
    found, wanted = tiny.weights(policy.model), tiny.weights(expected.model)
    for name in found:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("strategy", "teacher"),
    [("majority", "online"), ("prior", "online"), ("dual", "frozen"), ("majority", "frozen")],
)
def test_anchors_take_no_part_in_votes(
    talker: Path,
    samples: list[Sample],
    anchors: list[LabelledSample],
    tmp_path: Path,
    strategy: str,
    teacher: str,
) -> None:
    """Also where a strategy or a filter looks at the whole batch."""
    config = config_for(
        f"consensus.strategy={strategy}", "consensus.easiest_fraction=0.5", teacher=teacher
    )
    run, policy = run_of(config, tmp_path), load_policy(talker, device="cpu")
    labeller = None
    if teacher == "frozen":
        labeller = TeacherVotes(
            load_policy(talker, device="cpu"), run.prompts, config.consensus, 3, run.seed, 64
        )
    pool = samples[:-ANCHORS]
    truths = TrueLabels({row.sample.id: row.answer for row in anchors})
    asked = [row.sample for row in anchors]
    alone = judge(policy, pool, run, labeller, 1)
    both = judge(policy, [*pool, *asked], run, labeller, 1, truths.labels(asked, 1))
    assert [j.label for j in both[:6]] == [j.label for j in alone]
    assert [j.rewards for j in both[:6]] == [j.rewards for j in alone]
    assert [j.anchor for j in both] == [False] * 6 + [True] * 3
    assert sum(j.label.kept for j in both[:6]) < 6  # control: the filter does look at the batch
    for judged, row in zip(both[6:], anchors, strict=True):
        assert judged.rewards == tuple(float(equivalent(a, row.answer)) for a in judged.answers)
        assert len(judged.rewards) == 16


# Whole rounds


def figures_by_hand(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of the label-free rows of a step."""
    free = [row for row in rows if not row["anchor"]]
    labels = [row["pseudo_label"] for row in free if row["pseudo_label"] is not None]
    rewards = [r for row in free for r in row["rewards"]]
    answers = [a for row in free for a in row["answers"]]
    return {
        "vote_share": sum(row["share"] for row in free) / len(free),
        "kept": sum(row["kept"] for row in free) / len(free),
        "label_answers": len(set(labels)),
        "top_answer_share": max(labels.count(label) for label in labels) / len(free),
        "reward_mean": sum(rewards) / len(rewards),
        "abstained": answers.count(None) / len(answers),
        "completions": sum(len(row["completions"]) for row in rows),
    }


def test_a_round_counts_and_keeps_apart(
    talker: Path, samples: list[Sample], anchors: list[LabelledSample], tmp_path: Path
) -> None:
    """Watched, with both in one pool: an anchor's question never comes back with a vote."""
    config = config_for("train.anchor_fraction=0.2", "guard.action=warn", steps=5)  # 1 of 6
    _, outcome = train(talker, samples, anchors, config, tmp_path)
    assert (outcome.steps, outcome.anchors) == (5, 3)
    ids = {row.sample.id for row in anchors}
    steps = [e for e in events_in(tmp_path) if e["type"] == "grpo_step"]
    seen = Counter[str]()
    for event, rows in zip(steps, rows_in(tmp_path), strict=True):
        assert [row["anchor"] for row in rows] == [False] * 5 + [True]
        assert [row["sample_id"] in ids for row in rows] == [row["anchor"] for row in rows]
        seen.update(row["sample_id"] for row in rows if row["anchor"])
        assert event["anchors"] == 1
        assert event["anchor_reward"] == pytest.approx(np.mean(rows[-1]["rewards"]))
        for name, value in figures_by_hand(rows).items():
            assert event[name] == pytest.approx(value), name
    assert sorted(seen.values()) == [1, 2, 2]  # in passes over all of them
    # Nor does the guard take them for questions without labels.
    (started,) = [e for e in events_in(tmp_path) if e["type"] == "guard_started"]
    assert started["prompts"] == len(samples) - ANCHORS


@pytest.mark.parametrize("teacher", ["online", "ema"])
def test_nothing_changes_without_anchors(
    talker: Path,
    samples: list[Sample],
    anchors: list[LabelledSample],
    tmp_path: Path,
    teacher: str,
) -> None:
    """No fraction, or no audit yet: weights, records and events of label-free training."""
    plain = config_for("guard.action=warn", teacher=teacher, steps=2)
    wanting = load_config(None, ["train.anchor_fraction=0.5"], plain)
    expected = load_policy(talker, device="cpu")
    outcome = train_label_free(expected, samples, run_of(plain, tmp_path / "expected"))
    assert outcome.anchors == 0
    for name, config, rows in (("no fraction", plain, anchors), ("no audit", wanting, [])):
        policy, found = train(talker, samples, rows, config, tmp_path / name)
        assert tiny.same_weights(policy.model, expected.model)
        assert found == outcome
        assert rows_in(tmp_path / name) == rows_in(tmp_path / "expected")
        assert events_in(tmp_path / name) == events_in(tmp_path / "expected")
    steps = [e for e in events_in(tmp_path / "expected") if e["type"] == "grpo_step"]
    assert [e["anchors"] for e in steps] == [0, 0]
    # Control: with both something does change.
    policy, _ = train(talker, samples, anchors, wanting, tmp_path / "anchored")
    assert not tiny.same_weights(policy.model, expected.model)


@pytest.mark.parametrize(("teacher", "die_at"), [("ema", 3), ("online", 4)])
def test_an_anchored_round_goes_on_bit_for_bit(
    talker: Path,
    samples: list[Sample],
    anchors: list[LabelledSample],
    tmp_path: Path,
    teacher: str,
    die_at: int,
) -> None:
    settings = ("train.anchor_fraction=0.3", "guard.action=warn", "save_steps=2")
    config = config_for(*settings, teacher=teacher, steps=4)
    whole, outcome = train(talker, samples, anchors, config, tmp_path / "whole")
    with pytest.raises(Killed):
        train(talker, samples, anchors, config, tmp_path / "torn", [dying(die_at)])
    events: list[Event] = []
    again, resumed = train(talker, samples, anchors, config, tmp_path / "torn", [events.append])
    assert [e["step"] for e in events if e["type"] == "grpo_step"] == [3, 4]
    assert tiny.same_weights(again.model, whole.model)
    assert resumed == outcome
    assert outcome.anchors == ANCHORS  # also those of the steps before the death
    assert rows_in(tmp_path / "torn") == rows_in(tmp_path / "whole")


class Equals(Threads):
    """Threads that meet as processes do in a whole round."""

    def told(self, make: Callable[[], T]) -> T:
        found: list[Any] = self.gather(make() if self.main else None)
        told: T = found[0]
        return told


def in_threads(work: Callable[[int], T]) -> list[T]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, range(2)))


@pytest.mark.parametrize("teacher", ["online", "frozen"])
def test_two_processes_train_as_one(
    talker: Path,
    samples: list[Sample],
    anchors: list[LabelledSample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    teacher: str,
) -> None:
    """Plain gradient steps: a weight moves by its gradient, and rounding stays rounding.

    Of ten seeds one (4) draws a number so close to the border of two tokens in its second step that
    the rounding of the first decides between them.
    """

    def sgd(model: torch.nn.Module, rate: float, *_: object) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=rate)

    monkeypatch.setattr(grpo, "make_optimizer", sgd)
    settings = (
        "train.anchor_fraction=0.5",
        "train.learning_rate=0.1",
        "guard.action=warn",
        "seed=5",
    )
    config = config_for(*settings, teacher=teacher, steps=2)
    alone, outcome = train(talker, samples, anchors, config, tmp_path / "one")
    table = Table()
    policies = [load_policy(talker, device="cpu") for _ in range(2)]

    def one(rank: int) -> Outcome:
        run = replace(run_of(config, tmp_path / f"two-{rank}"), processes=Equals(rank, 2, table))
        return train_anchored(policies[rank], samples, anchors, run)

    assert in_threads(one) == [outcome] * 2
    assert tiny.same_weights(policies[0].model, policies[1].model)
    assert not (tmp_path / "two-1" / "rollouts").exists()  # the main process writes
    for found, expected in zip(rows_in(tmp_path / "two-0"), rows_in(tmp_path / "one"), strict=True):
        for row, other in zip(found, expected, strict=True):
            assert row == other
    start = tiny.weights(load_policy(talker, device="cpu").model)
    moved = [
        {name: tensor - start[name] for name, tensor in tiny.weights(policy.model).items()}
        for policy in (policies[0], alone)
    ]
    assert max(float(m.abs().max()) for m in moved[1].values()) > 1e-3
    assert tiny.worst_error(moved[0], moved[1]) < 1e-4


# The parts


@given(
    rows=st.integers(1, 12), per_step=st.integers(1, 9), steps=st.integers(1, 9), seed=st.integers(0, 99)
)  # fmt: skip
def test_anchors_come_evenly(rows: int, per_step: int, steps: int, seed: int) -> None:
    """Each as often as any other, but for one pass; each with its own answer."""
    questions = [Sample(f"q{i}", "?") for i in range(rows)]
    known = Known(questions, TrueLabels({f"q{i}": f"a{i}" for i in range(rows)}), per_step)
    seen = Counter[str]()
    for step in range(1, steps + 1):
        asked, labels = known.batch(step, seed)
        assert len(asked) == len(labels) == per_step
        assert [label.answer for label in labels] == [f"a{s.id[1:]}" for s in asked]
        assert (asked, labels) == known.batch(step, seed)
        seen.update(sample.id for sample in asked)
    times = [seen[q.id] for q in questions]
    assert max(times) - min(times) <= 1
    assert len(seen) == min(rows, per_step * steps)  # what `Outcome.anchors` says


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.sets(st.sampled_from("abcxyz")))
def test_quarantine(ids: list[str], out: set[str]) -> None:
    samples = [Sample(i, "?") for i in ids]
    left = without(samples, out)
    assert [s.id for s in left] == [i for i in ids if i not in out]
    assert all(s in samples for s in left)


@pytest.mark.parametrize(
    ("prompts", "fraction", "expected"),
    [(32, 0.0, 0), (32, 0.25, 8), (32, 0.01, 1), (10, 0.16, 2), (4, 0.7, 3), (2, 0.1, 1)],
)
def test_anchors_of_a_step(prompts: int, fraction: float, expected: int) -> None:
    settings = [f"train.prompts_per_step={prompts}", f"train.anchor_fraction={fraction}"]
    assert load_config(None, settings).train.anchors_per_step == expected


@pytest.mark.parametrize(("prompts", "fraction"), [(1, 0.1), (2, 0.8), (32, 1.0), (32, 1.5)])
def test_a_step_keeps_prompts_without_labels(prompts: int, fraction: float) -> None:
    settings = [f"train.prompts_per_step={prompts}", f"train.anchor_fraction={fraction}"]
    with pytest.raises(ConfigError, match=r"anchor_fraction.*1\.5|raise prompts_per_step"):
        load_config(None, settings)


def test_anchors_that_cannot_be_used(
    talker: Path, samples: list[Sample], anchors: list[LabelledSample], tmp_path: Path
) -> None:
    config = config_for("train.anchor_fraction=0.5")
    with pytest.raises(InputError, match=r"anchors: 2 answers to the question s6; expected one"):
        train(talker, samples, [*anchors, replace(anchors[0], answer="0")], config, tmp_path)
    with pytest.raises(InputError, match=r"all 3 questions of the round are anchors"):
        train(talker, samples[-ANCHORS:], anchors, config, tmp_path)
    assert not (tmp_path / "rollouts").exists()


def test_a_question_that_is_not_in_the_pool_may_be_an_anchor(
    talker: Path, samples: list[Sample], anchors: list[LabelledSample], tmp_path: Path
) -> None:
    """Such as one of an earlier round: nothing is left out for it."""
    config = config_for("train.anchor_fraction=0.5", steps=2)
    _, outcome = train(talker, samples[:-ANCHORS], anchors, config, tmp_path)
    assert outcome.anchors == ANCHORS
    asked = {row["sample_id"] for rows in rows_in(tmp_path) for row in rows if not row["anchor"]}
    assert asked == {s.id for s in samples[:-ANCHORS]}
