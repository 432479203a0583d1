"""LMSI learns from majority responses alone, by the loss it says, and resumes bit for bit."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
import torch

from mmupt.asking.maker import PromptMaker
from mmupt.config import Config, load_config
from mmupt.consensus.equivalence import equivalent
from mmupt.errors import ConfigError
from mmupt.events import Event, EventLog
from mmupt.policy.model import Policy, load_policy
from mmupt.train.judge import Judged, judge
from mmupt.train.labels import TeacherVotes
from mmupt.train.lmsi import lmsi, majority_loss, train_lmsi
from mmupt.train.offline import Lesson, _micro_batches, reaching
from mmupt.train.sft import batch_indices
from mmupt.train.stage import Run
from mmupt.types import LabelledSample, Sample


class Killed(Exception):  # noqa: N818
    """Stands for the signal; nothing in the package may catch it."""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    root = tmp_path_factory.mktemp("pictures")
    made = []
    for i in range(6):
        tiny.picture(50 + i, 30, 24 + i).save(root / f"{i}.png")
        made.append(Sample(f"s{i}", f"<image>read {i * 'on '}?", (root / f"{i}.png",)))
    return made


def config_for(teacher: str = "frozen", *settings: str) -> Config:
    base = tiny.round_config(teacher, save_steps=2, max_steps=4)
    return load_config(None, ["train.prompts_per_step=5", *settings], base)


def run_of(config: Config, out: Path, listeners: Sequence[Any] = ()) -> Run:
    return Run(
        config=config,
        prompts=PromptMaker(config.views, max_pixels=10_000, seed=config.seed),
        log=EventLog(out / "events.jsonl", tuple(listeners)),
        stage="round-1",
        key=1,
        state_dir=out / "state",
        rollouts_dir=out / "rollouts",
    )


def judged_by(talker: Path, samples: Sequence[Sample], config: Config, out: Path) -> list[Judged]:
    policy = load_policy(talker, device="cpu")
    run = run_of(config, out)
    votes = TeacherVotes(policy, run.prompts, config.consensus, 3, run.seed, 64)
    labeller = None if config.consensus.teacher == "online" else votes
    return judge(policy, samples, run, labeller, 1)


def lessons_of(judged: Sequence[Judged], config: Config) -> list[Lesson]:
    rng = np.random.default_rng(0)
    return [lesson for j in judged for lesson in lmsi(config).choose(j, rng)]


@pytest.mark.parametrize("teacher", ["frozen", "online"])
def test_only_majority_responses_are_learned_from(
    talker: Path, samples: list[Sample], tmp_path: Path, teacher: str
) -> None:
    """Every completion that reaches the majority's answer, and none that does not."""
    config = config_for(teacher, "consensus.min_share=0.3")
    judged = judged_by(talker, samples, config, tmp_path)
    lessons = lessons_of(judged, config)
    taken = {(lesson.group.sample.id, i): lesson.view for lesson in lessons for i in lesson.picks}
    expected = {
        (j.group.sample.id, i): completion.view
        for j in judged
        for i, completion in enumerate(j.group.completions)
        if j.label.share >= 0.3
        and not j.label.vote.tied
        and equivalent(j.answers[i], j.label.answer)
    }
    assert taken == expected
    assert taken  # control: something is learned from ...
    assert len(taken) < sum(len(j.group.completions) for j in judged)  # ... and not everything
    assert {j.label.share < 0.3 or j.label.vote.tied for j in judged} == {True, False}


def test_a_cap_draws_among_the_majority_responses(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    config = config_for("frozen", "lmsi.responses_per_prompt=2")
    judged = judged_by(talker, samples, config, tmp_path)
    for one in judged:
        right = {i for i, yes in enumerate(reaching(one, config.consensus)) if yes}
        picks = [i for lesson in lessons_of([one], config) for i in lesson.picks]
        assert len(picks) == len(set(picks)) == min(2, len(right))
        assert set(picks) <= right


def test_the_loss_is_the_mean_over_tokens(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """Against a plain forward per row; the parts of an update add up to it."""
    config = config_for()
    lessons = lessons_of(judged_by(talker, samples, config, tmp_path), config)
    policy = load_policy(talker, device="cpu")
    total, tokens = 0.0, 0
    with torch.no_grad():
        for lesson in lessons:
            row = tiny.idefics3_row(policy, lesson.prompt)
            for completion in lesson.completions:
                total -= float(tiny.naive_logprobs(policy.model, row, completion.token_ids).sum())
                tokens += len(completion.token_ids)
        whole = float(majority_loss(policy, policy, lessons, lessons)[0])
        parts = sum(
            float(majority_loss(policy, policy, part, lessons)[0])
            for part in _micro_batches(lessons, 2)
        )
    assert whole == pytest.approx(total / tokens, rel=1e-5)
    assert parts == pytest.approx(whole, rel=1e-5)


def test_a_step_makes_the_chosen_more_likely(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    config = config_for(
        "frozen", "train.max_steps=1", "train.warmup_steps=0", "train.num_mini_batches=1"
    )
    policy = load_policy(talker, device="cpu")
    events: list[Event] = []
    run = run_of(config, tmp_path, [events.append])
    train_lmsi(policy, samples, run)
    (rows,) = (pq.read_table(p).to_pylist() for p in (tmp_path / "rollouts").iterdir())
    start = load_policy(talker, device="cpu")
    asked = [s for s in samples if s.id in {row["sample_id"] for row in rows}]
    lessons = lessons_of(judge_again(start, asked, run), config)
    with torch.no_grad():
        before = float(majority_loss(start, start, lessons, lessons)[0])
        after = float(majority_loss(policy, start, lessons, lessons)[0])
    assert after < before
    (step,) = (e for e in events if e["type"] == "lmsi_step")
    assert step["trained"] == sum(len(lesson.picks) for lesson in lessons)
    assert step["loss"] == pytest.approx(before, rel=1e-5)
    for row in rows:  # what stands in the records counted as 1 or not at all
        by_view = zip(row["answers"], row["advantages"], strict=True)
        assert all(w == float(equivalent(a, row["pseudo_label"])) for a, w in by_view)


def judge_again(policy: Policy, samples: Sequence[Sample], run: Run) -> list[Judged]:
    consensus = run.config.consensus
    votes = TeacherVotes(policy, run.prompts, consensus, 3, run.seed, 64)
    order = batch_indices(6, 5, 1, run.seed)
    by_id = {s.id: s for s in samples}
    return judge(policy, [by_id[f"s{i}"] for i in order], run, votes, 1)


@pytest.mark.parametrize("teacher", ["frozen", "online"])
@pytest.mark.parametrize("die_at", [1, 2, 3])
def test_it_resumes_bit_for_bit(
    talker: Path, samples: list[Sample], tmp_path: Path, teacher: str, die_at: int
) -> None:
    """Killed in a step's hook, which comes before the step is saved: 1, 2 again, 3."""

    def dying(step: int) -> None:
        if step == die_at:
            raise Killed

    config = config_for(teacher, "train.num_mini_batches=2")
    whole = load_policy(talker, device="cpu")
    train_lmsi(whole, samples, run_of(config, tmp_path / "whole"))
    with pytest.raises(Killed):
        train_lmsi(
            load_policy(talker, device="cpu"), samples, run_of(config, tmp_path / "torn"),
            after_step=dying,
        )  # fmt: skip
    resumed, told = load_policy(talker, device="cpu"), list[int]()
    train_lmsi(resumed, samples, run_of(config, tmp_path / "torn"), after_step=told.append)
    assert told == list(range(3 if die_at == 3 else 1, 5))
    assert tiny.same_weights(whole.model, resumed.model)
    assert not tiny.same_weights(whole.model, load_policy(talker, device="cpu").model)
    for file in sorted((tmp_path / "whole" / "rollouts").iterdir()):
        assert pq.read_table(file).equals(
            pq.read_table(tmp_path / "torn" / "rollouts" / file.name)
        ), file


def test_the_generator_stands_still(talker: Path, samples: list[Sample], tmp_path: Path) -> None:
    """The answers of step 4 are the start's, whatever was learned in the steps before."""
    for rate in (1e-5, 1e-2):
        config = config_for("frozen", f"lmsi.learning_rate={rate}")
        train_lmsi(load_policy(talker, device="cpu"), samples, run_of(config, tmp_path / str(rate)))
    files = [tmp_path / str(r) / "rollouts" / "round-1-000004.parquet" for r in (1e-5, 1e-2)]
    slow, fast = (pq.read_table(file).to_pylist() for file in files)
    assert slow == fast


def test_it_is_label_free_by_type(talker: Path, samples: list[Sample], tmp_path: Path) -> None:
    assert typing.get_type_hints(train_lmsi)["samples"] == Sequence[Sample]
    rows = [LabelledSample(s, "7") for s in samples]
    with pytest.raises(AttributeError):
        train_lmsi(
            load_policy(talker, device="cpu"),
            rows,
            run_of(config_for(), tmp_path),  # type: ignore[arg-type]
        )


def test_a_moving_teacher_is_refused(talker: Path, samples: list[Sample], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="teacher is 'ema'"):
        train_lmsi(load_policy(talker, device="cpu"), samples, run_of(config_for("ema"), tmp_path))
