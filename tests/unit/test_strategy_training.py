"""The strategy decides what a real model learns; self-certainty and dual votes on real models.

What is expected is worked out with counts and plain forwards, from the completions themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from mmupt.asking.answerer import SamplingParams, stream_seeds
from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.config import Config, load_config
from mmupt.consensus.equivalence import equivalent
from mmupt.events import Event, EventLog
from mmupt.policy.inputs import encode
from mmupt.policy.model import Policy, load_policy
from mmupt.policy.sampler import sample
from mmupt.train.grpo import train_label_free
from mmupt.train.judge import judge, votes_on
from mmupt.train.labels import TeacherVotes
from mmupt.train.optim import make_optimizer
from mmupt.train.rollout import Group, roll_out
from mmupt.train.sft import batch_indices
from mmupt.train.stage import Run
from mmupt.train.update import ScoredGroup, update
from mmupt.types import Sample

Answers = Sequence[str | None]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    root = tmp_path_factory.mktemp("pictures")
    made = []
    for i in range(6):
        tiny.picture(50 + i, 30, 24 + i).save(root / f"{i}.png")
        made.append(Sample(f"s{i}", f"<image>read {i * 'on '}?", (root / f"{i}.png",)))
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory, talker: Path) -> Path:
    """Another talker, which does not always agree with the first."""
    del talker
    folder = tmp_path_factory.mktemp("models") / "stranger"
    return tiny.save_idefics3(folder, seed=12, stops=(2, *range(100, 250)))


def config_for(*settings: str, teacher: str = "online", steps: int = 1) -> Config:
    """Steps of all six prompts, without warm-up and without a guard."""
    base = tiny.round_config(teacher, save_steps=100, max_steps=steps)
    own = ["train.prompts_per_step=6", "train.warmup_steps=0", "guard.action=none"]
    return load_config(None, [*own, *settings], base)


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


def alike(answers: Answers, answer: str | None) -> int:
    """How many answers say the same, pair by pair."""
    return sum(equivalent(answer, other) for other in answers)


def majority(answers: Answers) -> str | None:
    """An answer that more say than any other; None in a tie and without answers."""
    most = max((alike(answers, a) for a in answers), default=0)
    leaders = [a for a in answers if most and alike(answers, a) == most]
    return leaders[0] if len(leaders) == most else None


def by_majority(answers: Answers) -> list[float]:
    winner = majority(answers)
    return [float(equivalent(a, winner)) for a in answers]


def by_frequency(answers: Answers) -> list[float]:
    won = majority(answers) is not None
    return [won * alike(answers, a) / len(answers) for a in answers]


def restrained(answers: Answers, kappa: float, penalty: float) -> list[float]:
    """Advantages: Gaussian weights less their mean, or the penalty for everybody."""
    sizes = [alike(answers, a) for a in answers]  # 0: an abstention
    if max(sizes) / len(answers) < kappa:
        return [-penalty] * len(answers)
    if majority(answers) is None:
        return [0.0] * len(answers)
    heights = [math.exp(-((1 - n / len(answers)) ** 2) / (2 * 0.5**2)) * (n > 0) for n in sizes]
    # Each class once: every one of its n members brings 1/n of it.
    whole = sum(height / n for height, n in zip(heights, sizes, strict=True) if n)
    return centred([height / whole for height in heights])


def centred(rewards: Sequence[float]) -> list[float]:
    mean = sum(rewards) / len(rewards)
    return [r - mean if len(set(rewards)) > 1 else 0.0 for r in rewards]


def answers_of(group: Group) -> tuple[str | None, ...]:
    return tuple(reply.answer for reply in group.replies("auto"))


def rolled_out(talker: Path, samples: Sequence[Sample], run: Run, step: int = 1) -> list[Group]:
    """What the model answers in the first step, before anything is learned."""
    policy = load_policy(talker, device="cpu")
    return roll_out(policy, samples, run.prompts, run.config.train, seed=run.seed, step=step)


ADVANTAGES = {
    "majority": lambda answers: centred(by_majority(answers)),
    "frequency": lambda answers: centred(by_frequency(answers)),
    "{name: restrain, kappa: 0.5, penalty: 0.1}": lambda answers: restrained(answers, 0.5, 0.1),
}


@pytest.mark.parametrize("strategy", ADVANTAGES)
def test_a_step_learns_what_the_strategy_says(
    talker: Path, samples: list[Sample], tmp_path: Path, strategy: str
) -> None:
    """The weights after a step are those of an update on advantages worked out by hand."""
    config = config_for(f"consensus.strategy={strategy}")
    run = run_of(config, tmp_path)
    policy = load_policy(talker, device="cpu")
    train_label_free(policy, samples, run)

    order = [samples[i] for i in batch_indices(6, 6, 1, run.seed)]
    groups = rolled_out(talker, order, run)
    by_hand = [ADVANTAGES[strategy](answers_of(group)) for group in groups]
    expected = load_policy(talker, device="cpu")
    reference = expected.clone()
    optimizer = make_optimizer(
        expected.model, config.train.learning_rate, config.train.weight_decay
    )
    scored = [ScoredGroup(g, np.array(a, np.float64)) for g, a in zip(groups, by_hand, strict=True)]
    assert any(s.teaches for s in scored)
    update(expected, optimizer, scored, config.train, reference)
    found, wanted = tiny.weights(policy.model), tiny.weights(expected.model)
    for name in found:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=2e-6)


def test_two_strategies_reward_one_rollout_differently(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """The same completions: 1 or 0 by majority, the share of one's own class by frequency."""
    found = {}
    weights = {}
    for strategy in ("majority", "frequency"):
        config = config_for(f"consensus.strategy={strategy}")
        run = run_of(config, tmp_path / strategy)
        policy = load_policy(talker, device="cpu")
        found[strategy] = judge(policy, samples, run, None, 1)
        train_label_free(policy, samples, run)
        weights[strategy] = policy.model
    for one, other in zip(found["majority"], found["frequency"], strict=True):
        assert one.group.completions == other.group.completions
        assert one.label.answer == other.label.answer
        assert one.rewards == pytest.approx(by_majority(one.answers))
        assert other.rewards == pytest.approx(by_frequency(one.answers))
    assert any(
        one.rewards != other.rewards
        for one, other in zip(found["majority"], found["frequency"], strict=True)
    )
    assert not tiny.same_weights(weights["majority"], weights["frequency"])


def test_no_consensus_makes_every_completion_less_likely(
    talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """Nobody reaches kappa 1: no label, no reward, and still a step, away from all completions."""
    config = config_for(
        "consensus.strategy={name: restrain, kappa: 1.0, penalty: 0.5}",
        "train.learning_rate=1e-4", "train.beta=0", "train.num_mini_batches=1",
    )  # fmt: skip
    events: list[Event] = []
    run = run_of(config, tmp_path, [events.append])
    policy = load_policy(talker, device="cpu")
    judged = judge(policy, samples, run, None, 1)
    assert all(j.label.answer is None and not j.label.kept for j in judged)
    assert all(j.rewards == (0.0,) * 16 for j in judged)
    assert all(j.scored.advantages_G.tolist() == [-0.5] * 16 for j in judged)
    train_label_free(policy, samples, run)
    start = load_policy(talker, device="cpu")

    def likelihood(model: Policy) -> float:
        with torch.no_grad():
            return sum(
                float(tiny.naive_logprobs(model.model, row, c.token_ids, 0.7).sum())
                for group in (j.group for j in judged)
                for prompt, view in zip(group.prompts, range(2), strict=True)
                for row in [tiny.idefics3_row(start, prompt)]
                for c in group.completions
                if c.view == view
            )

    assert likelihood(policy) < likelihood(start) - 0.1
    (step,) = (e for e in events if e["type"] == "grpo_step")
    assert (step["kept"], step["reward_mean"]) == (0.0, 0.0)
    assert step["grad_norm"] > 0


EVERY = (
    "weighted",
    "{name: weighted, weights: self-certainty}",
    "harmony",
    "prior",
    "dual",
    "{name: veto, integer: true}",
    "mbr",
)


@pytest.mark.parametrize(
    ("strategy", "teacher"),
    [(s, t) for s in EVERY for t in ("online", "frozen", "ema") if (s, t) != ("dual", "online")],
)
def test_a_round_runs_with_every_strategy(
    talker: Path, samples: list[Sample], tmp_path: Path, strategy: str, teacher: str
) -> None:
    events: list[Event] = []
    config = config_for(
        f"consensus.strategy={strategy}", "guard.action=warn", teacher=teacher, steps=2
    )
    run = run_of(config, tmp_path, [events.append])
    policy = load_policy(talker, device="cpu")
    train_label_free(policy, samples, run)
    steps = [e for e in events if e["type"] == "grpo_step"]
    assert [e["step"] for e in steps] == [1, 2]
    moved = not tiny.same_weights(policy.model, load_policy(talker, device="cpu").model)
    assert moved == any(not math.isnan(e["grad_norm"]) for e in steps)


# Dual


def test_dual_asks_teacher_and_student(
    talker: Path, stranger: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """Both really answer, and a label is what the majorities of both say."""
    config = config_for("consensus.strategy=dual", teacher="frozen")
    run = run_of(config, tmp_path)
    student, teacher = (load_policy(folder, device="cpu") for folder in (talker, stranger))
    labeller = TeacherVotes(teacher, run.prompts, config.consensus, 3, run.seed, 64)
    asked = {"student": 0, "teacher": 0}

    def counts(who: str) -> Any:
        def note(*_: Any) -> None:
            asked[who] += 1

        return note

    for who, policy in (("student", student), ("teacher", teacher)):
        policy.model.get_decoder().register_forward_pre_hook(counts(who))
    judged = judge(student, samples, run, labeller, 1)
    assert asked["student"] > 0
    assert asked["teacher"] > 0

    teachers = [[r.answer for r in group] for group in labeller.replies(samples, 1)]
    students = [answers_of(group) for group in rolled_out(talker, samples, run)]
    assert [j.answers for j in judged] == students
    expected = [
        own if equivalent(own, majority(theirs)) else None
        for own, theirs in zip(map(majority, students), teachers, strict=True)
    ]
    for one, label in zip(judged, expected, strict=True):
        assert (one.label.answer is None) == (label is None)
        assert label is None or equivalent(one.label.answer, label)
        assert one.label.kept is (label is not None)
        assert len(one.rewards) == 16
        assert one.rewards == tuple(float(equivalent(a, label)) for a in one.answers)
    # Control: a disagreement, not only a silent teacher, and agreements too.
    disagree = [
        own is not None and theirs is not None and not equivalent(own, theirs)
        for own, theirs in zip(map(majority, students), map(majority, teachers), strict=True)
    ]
    assert any(disagree)
    assert any(label is not None for label in expected)
    # What the guard begins with are the same votes, of both, as of step 0.
    again = [j.label for j in judge(student, samples, run, labeller, 0)]
    assert votes_on(student, samples, run, labeller) == again
    assert all(len(label.answers) == 16 for label in again)


# Self-certainty


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.5])
@pytest.mark.parametrize("length", [1, 6])
def test_self_certainty_is_the_mean_over_the_tokens(
    talker: Path, temperature: float, length: int
) -> None:
    """KL(uniform || pi) at each place by a plain forward; greedy replies at temperature 1.

    Rows end at different lengths, so that rows are dropped from the batch meanwhile.
    """
    policy = load_policy(talker, device="cpu")
    policy.model.generation_config.eos_token_id = [2, *range(100, 150)]
    prompts = [
        Prompt("<image>3?", (tiny.picture(1),)),
        Prompt("a question without a picture", ()),
        Prompt("<image>and<image>?", (tiny.picture(2), tiny.picture(3))),
    ]
    params = SamplingParams(temperature, top_p=0.9, max_completion_length=length)
    groups = sample(policy, encode(policy, prompts), [4] * 3, stream_seeds(8, count=12), params)
    lengths = {len(c.token_ids) for group in groups for c in group}
    assert lengths == {1} if length == 1 else len(lengths) > 1 or temperature == 0.0
    for prompt, group in zip(prompts, groups, strict=True):
        row = tiny.idefics3_row(policy, prompt)
        for completion in group:
            with torch.no_grad():
                logps_TV = tiny.naive_distributions(
                    policy.model, row, completion.token_ids, temperature or 1.0
                ).double()
            size = logps_TV.shape[1]
            # sum_j 1/V (ln 1/V - ln p_j) at each place
            each = ((-math.log(size) - logps_TV) / size).sum(-1)
            assert completion.self_certainty == pytest.approx(float(each.mean()), abs=1e-4)
            assert completion.self_certainty > 0.0
