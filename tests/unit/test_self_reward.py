"""Self-rewarding DPO: the loss by hand, its direction, its pairs, and a bit-equal resume."""

from __future__ import annotations

import math
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.config import Config, ConsensusConfig, SelfRewardConfig, load_config
from mmupt.errors import ConfigError
from mmupt.events import Event, EventLog
from mmupt.policy.model import Policy, load_policy
from mmupt.train.judge import Judged
from mmupt.train.labels import Label
from mmupt.train.offline import Lesson, _micro_batches
from mmupt.train.rollout import Group
from mmupt.train.self_reward import (
    dpo_loss,
    pair_lessons,
    preference_loss,
    train_self_reward,
)
from mmupt.train.stage import Run
from mmupt.train.update import ScoredGroup
from mmupt.types import Completion, Finish, LabelledSample, Sample, Vote


class Killed(Exception):  # noqa: N818
    """Stands for the signal; nothing in the package may catch it."""


# The loss


def test_dpo_loss_by_hand() -> None:
    """margin = 0.5 ((-1 + 1.5) - (-2 + 1.5)) = 0.5; -log sigmoid(0.5) = ln(1 + e^-0.5)."""
    loss, margin = dpo_loss(
        torch.tensor([-1.0, -3.0]),
        torch.tensor([-2.0, -3.0]),
        torch.tensor([-1.5, -1.0]),
        torch.tensor([-1.5, -5.0]),
        0.5,
    )
    assert margin.tolist() == pytest.approx([0.5, -2.0])
    assert loss.tolist() == pytest.approx([0.4740769842, 2.1269280110])


def test_dpo_gradient_raises_the_preferred_and_lowers_the_rejected() -> None:
    """d loss / d log pi(y_w) = -beta sigmoid(-margin), and the opposite for y_l."""
    chosen = torch.tensor([-1.0], requires_grad=True)
    rejected = torch.tensor([-2.0], requires_grad=True)
    loss, _ = dpo_loss(chosen, rejected, torch.tensor([-1.5]), torch.tensor([-1.5]), 0.5)
    loss.backward()
    assert float(chosen.grad) == pytest.approx(-0.5 / (1 + math.exp(0.5)))  # type: ignore[arg-type]
    assert float(rejected.grad) == pytest.approx(0.5 / (1 + math.exp(0.5)))  # type: ignore[arg-type]


# The pairs


def group_of(texts: str, per_view: int) -> Group:
    """A completion per letter: the answer, `-` for one that was cut; views in order."""
    prompts = tuple(Prompt(f"view {v}", ()) for v in range(len(texts) // per_view))
    completions = tuple(
        Completion(
            letter, (i,), (-1.0,), Finish.LENGTH if letter == "-" else Finish.STOP, i // per_view
        )
        for i, letter in enumerate(texts)
    )
    return Group(Sample("s", "q"), prompts, completions)


def judged_of(texts: str, label: str | None, per_view: int = 4, kept: bool = True) -> Judged:
    group = group_of(texts, per_view)
    answers = tuple(None if t == "-" else t for t in texts)
    vote = Vote(label, 0.5, False, (0,), (1.0,))
    zeros = ScoredGroup(group, np.zeros(len(texts)))
    return Judged(group, Label(vote, (label,), kept), answers, (0.0,) * len(texts), zeros)


def pairs_of(lessons: Sequence[Lesson]) -> list[tuple[int, int]]:
    return [pair for one in lessons for pair in zip(one.picks[::2], one.picks[1::2], strict=True)]


def test_pairs_prefer_the_majority_within_a_view() -> None:
    own = SelfRewardConfig(pairs_per_prompt=100)
    judged = judged_of("7759777-99997777", "7")
    for seed in range(20):
        lessons = pair_lessons(judged, own, ConsensusConfig(), np.random.default_rng(seed))
        pairs = pairs_of(lessons)
        assert len(pairs) == 3  # two in view 0, one in view 1, nothing to compare in the others
        assert [lesson.view for lesson in lessons] == [0, 1]
        flat = [i for pair in pairs for i in pair]
        assert len(set(flat)) == len(flat)  # each completion once
        for preferred, rejected in pairs:
            assert judged.answers[preferred] == "7"
            assert judged.answers[rejected] != "7"
            assert preferred // 4 == rejected // 4
    signs = {s for lesson in lessons for s in lesson.signs}
    assert signs == {1.0, -1.0}


def test_pairs_are_drawn_at_random_and_capped() -> None:
    judged = judged_of("77779999", "7", per_view=8)
    own = SelfRewardConfig(pairs_per_prompt=2)
    drawn = set()
    for seed in range(40):
        pairs = pairs_of(pair_lessons(judged, own, ConsensusConfig(), np.random.default_rng(seed)))
        assert len(pairs) == 2
        drawn |= set(pairs)
    assert drawn == {(w, lo) for w in range(4) for lo in range(4, 8)}


@pytest.mark.parametrize(
    "judged",
    [
        judged_of("7755", "7", kept=False),
        judged_of("7755", None),
        judged_of("7777", "7"),
        judged_of("5555", "7"),
    ],
)
def test_no_pairs_where_nothing_is_preferred_or_rejected(judged: Judged) -> None:
    own = SelfRewardConfig(pairs_per_prompt=9)
    assert pair_lessons(judged, own, ConsensusConfig(), np.random.default_rng(0)) == []


def test_equivalent_answers_are_on_one_side() -> None:
    judged = judged_of("1200", "1", per_view=4)
    answers = ("1/2", "0.5", "3", None)
    vote = Vote("0.5", 0.5, False, (0,), (1.0,))
    judged = Judged(judged.group, Label(vote, answers, True), answers, (0.0,) * 4, judged.scored)
    own = SelfRewardConfig(pairs_per_prompt=9)
    pairs = pairs_of(pair_lessons(judged, own, ConsensusConfig(), np.random.default_rng(0)))
    assert {w for w, _ in pairs} == {0, 1}
    assert {lo for _, lo in pairs} == {2, 3}


def test_scpo_weights_by_hand() -> None:
    """V(7) = 4, V(5) = 2, V(9) = 1, a cut one has none; G = 8: (4-2)/8, (4-1)/8, 4/8."""
    judged = judged_of("77775590", "7", per_view=8)
    judged = Judged(
        judged.group, judged.label, (*judged.answers[:7], None), judged.rewards, judged.scored
    )
    own = SelfRewardConfig(pairs_per_prompt=9, weighted=True)
    (lesson,) = pair_lessons(judged, own, ConsensusConfig(), np.random.default_rng(3))
    found = dict(zip(lesson.picks[1::2], lesson.signs[::2], strict=True))
    assert found == {4: 0.25, 5: 0.25, 6: 0.375, 7: 0.5}
    assert lesson.signs[1::2] == tuple(-s for s in lesson.signs[::2])


def test_a_pair_that_the_completions_vote_against_is_left_out() -> None:
    """A teacher says 7; among the completions 5 is as common: weight 0."""
    judged = judged_of("7755", "7")
    own = SelfRewardConfig(pairs_per_prompt=9, weighted=True)
    assert pair_lessons(judged, own, ConsensusConfig(), np.random.default_rng(0)) == []


# With a model


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
    return load_config(None, ["self_reward.pairs_per_prompt=4", *settings], base)


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


def lessons_for(policy: Policy) -> list[Lesson]:
    """Two questions of two views; completions of different lengths."""
    end = policy.end_of_turn
    lessons = []
    for n in range(2):
        prompts = tuple(
            Prompt(f"<image>what is {n}?", (tiny.picture(10 * n + v),)) for v in range(2)
        )
        ids = [(30 + n, end), (40, 41 + n, end), (50 + n, end), (60, end)]
        completions = tuple(
            Completion("", t, (-1.0,) * len(t), Finish.STOP, i // 2) for i, t in enumerate(ids)
        )
        group = Group(Sample(f"s{n}", "q"), prompts, completions)
        lessons += [Lesson(group, v, (2 * v, 2 * v + 1), (1.0, -1.0)) for v in range(2)]
    return lessons


def test_preference_loss_against_plain_forwards(idefics3: Policy, talker: Path) -> None:
    """Sum of token log-probabilities, reference included, by one row at a time."""
    start = load_policy(talker, device="cpu")
    own = SelfRewardConfig(beta=0.3, nll_weight=0.7, pairs_per_prompt=4)
    lessons = lessons_for(idefics3)
    expected = 0.0
    with torch.no_grad():
        for lesson in lessons:
            row = tiny.idefics3_row(idefics3, lesson.prompt)
            (pi_w, pi_l), (ref_w, ref_l) = (
                [
                    float(tiny.naive_logprobs(p.model, row, c.token_ids).sum())
                    for c in lesson.completions
                ]
                for p in (idefics3, start)
            )
            margin = 0.3 * ((pi_w - ref_w) - (pi_l - ref_l))
            length = len(lesson.completions[0].token_ids)
            expected += math.log1p(math.exp(-margin)) - 0.7 * pi_w / length
        found, sums = preference_loss(idefics3, start, lessons, lessons, own)
        parts = sum(
            float(preference_loss(idefics3, start, part, lessons, own)[0])
            for part in _micro_batches(lessons, 3)
        )
    assert float(found) == pytest.approx(expected / len(lessons), rel=1e-5)
    assert parts == pytest.approx(float(found), rel=1e-5)
    assert sums["pairs"] == 4


def test_it_starts_at_log_two_and_pulls_pairs_apart(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """Policy and reference are one at first; then the preferred gain on the rejected."""
    events: list[Event] = []
    config = config_for(
        "online", "train.warmup_steps=0", "train.learning_rate=1e-3", "train.num_mini_batches=1"
    )
    policy = load_policy(talker, device="cpu")
    train_self_reward(policy, samples[:4], run_of(config, tmp_path, [events.append]))
    steps = [e for e in events if e["type"] == "self_reward_step"]
    assert len(steps) == 4
    assert steps[0]["pairs"] > 0
    assert steps[0]["margin"] == pytest.approx(0.0, abs=1e-6)
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert steps[-1]["margin"] > 0.0
    assert steps[-1]["loss"] < math.log(2)
    assert steps[-1]["ordered"] >= 0.5  # a handful of pairs: half of them may still lag
    assert not {"kl", "clip_fraction"} & set(steps[0])


@pytest.mark.parametrize("teacher", ["frozen", "online"])
@pytest.mark.parametrize("die_at", [1, 2, 3])
def test_it_resumes_bit_for_bit(
    talker: Path, samples: list[Sample], tmp_path: Path, teacher: str, die_at: int
) -> None:
    """The reference too is that of the start, not of the point that it resumes from."""

    def dying(step: int) -> None:
        if step == die_at:
            raise Killed

    config = config_for(teacher, "self_reward.nll_weight=0.5")
    whole = load_policy(talker, device="cpu")
    train_self_reward(whole, samples, run_of(config, tmp_path / "whole"))
    with pytest.raises(Killed):
        train_self_reward(
            load_policy(talker, device="cpu"), samples, run_of(config, tmp_path / "torn"),
            after_step=dying,
        )  # fmt: skip
    resumed = load_policy(talker, device="cpu")
    train_self_reward(resumed, samples, run_of(config, tmp_path / "torn"))
    assert tiny.same_weights(whole.model, resumed.model)
    assert not tiny.same_weights(whole.model, load_policy(talker, device="cpu").model)


def test_it_is_label_free_by_type(talker: Path, samples: list[Sample], tmp_path: Path) -> None:
    assert typing.get_type_hints(train_self_reward)["samples"] == Sequence[Sample]
    rows = [LabelledSample(s, "7") for s in samples]
    with pytest.raises(AttributeError):
        train_self_reward(
            load_policy(talker, device="cpu"),
            rows,
            run_of(config_for(), tmp_path),  # type: ignore[arg-type]
        )


def test_a_moving_teacher_is_refused(talker: Path, samples: list[Sample], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="teacher is 'ema'"):
        train_self_reward(
            load_policy(talker, device="cpu"), samples, run_of(config_for("ema"), tmp_path)
        )
