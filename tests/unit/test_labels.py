"""From replies to labels and rewards, strategy by strategy, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest

from mmupt.config import Config, ConsensusConfig, load_config
from mmupt.config_votes import Strategy
from mmupt.consensus.vote import STRATEGIES
from mmupt.errors import ConfigError
from mmupt.policy.answers import Reply
from mmupt.train.grpo import reward
from mmupt.train.labels import Label, label_by_vote, reward_answers
from mmupt.train.rollout import Group
from mmupt.types import Completion, Finish, Sample

SAMPLE = Sample("q", "how many?")


def reply(
    answer: str | None, view: int = 0, logprob: float = -0.5, sure: float = 1.0, text: str = ""
) -> Reply:
    written = text or f"\\boxed{{{answer}}}"
    return Reply(Completion(written, (1, 2), (logprob, logprob), Finish.STOP, view, sure), answer)


def consensus(**settings: Any) -> ConsensusConfig:
    return ConsensusConfig.model_validate({"min_share": 0.0, **settings})


def one(replies: Sequence[Reply], **settings: Any) -> Label:
    (label,) = label_by_vote([replies], [SAMPLE], consensus(**settings))
    return label


def answers(*given: str | None) -> list[Reply]:
    return [reply(a) for a in given]


def test_every_strategy_can_be_configured_and_no_other() -> None:
    names = {s.model_fields["name"].default for s in get_args(get_args(Strategy)[0])}
    assert names == set(STRATEGIES)


def test_majority_and_its_rewards() -> None:
    label = one(answers("1/2", "0.5", "3", None))
    assert (label.answer, label.share, label.kept) == ("0.5", 0.5, True)
    config = consensus()
    assert reward_answers(label, ["50%", "3", None], config) == (1.0, 0.0, 0.0)
    assert not one(answers("1", "2")).kept  # a tie
    dropped = one(answers("1", "1", "2"), min_share=0.7)
    assert not dropped.kept
    assert reward_answers(dropped, ["1"], config) == (0.0,)


def test_weights_change_the_winner() -> None:
    group = [reply("1", logprob=-3.0), reply("1", logprob=-3.0), reply("2", logprob=-0.1)]
    assert one(group).answer == "1"
    assert one(group, strategy="weighted").answer == "2"  # e^-.1 > 2 e^-3
    certain = [reply("1", sure=0.2), reply("1", sure=0.2), reply("2", sure=0.5)]
    by_certainty = {"name": "weighted", "weights": "self-certainty"}
    assert one(certain, strategy=by_certainty).answer == "2"
    assert one([reply("1", sure=math.nan), reply("2", sure=0.5)], strategy=by_certainty)


def test_harmony_wants_every_view() -> None:
    group = [
        reply("1", 0), reply("1", 0), reply("1", 0), reply("2", 0), reply("2", 1), reply("2", 1),
        reply("3", 1), reply("2", 1),
    ]  # fmt: skip
    assert one(group, strategy="harmony").answer == "2"
    only_here = [reply("1", 0)] * 3 + [reply("2", 1)]
    assert one(only_here, strategy="harmony").answer is None


def test_frequency_rewards_reach_the_students_answers() -> None:
    label = one(answers("4", "4.0", "4", "5"), strategy="frequency")
    config = consensus(strategy="frequency")
    assert label.answer == "4"
    assert reward_answers(label, ["4", "5", "6", None], config) == (0.75, 0.25, 0.0, 0.0)


def test_the_prior_is_that_of_the_whole_batch() -> None:
    """Every question gets 7; where another answer stands out, it wins."""
    groups = [answers("7", "7", "3", "3", "3"), answers("7", "7", "7", "7", "7")]
    prior = {"name": "prior", "prior_floor": 0.1}
    labels = label_by_vote(groups, [SAMPLE] * 2, consensus(strategy=prior))
    assert [label.answer for label in labels] == ["3", "7"]
    mixed = [answers("7", "7", "7", "3", "3"), answers("7", "7", "7", "7", "7")]
    labels = label_by_vote(mixed, [SAMPLE] * 2, consensus(strategy=prior))
    assert labels[0].answer == "3"  # .4 / .2 against .6 / .8
    assert one(mixed[0]).answer == "7"


def test_dual_needs_both() -> None:
    config = consensus(strategy="dual", teacher="frozen")
    students = [answers("1", "1", "2"), answers("1", "1", "2")]
    teachers = [answers("1", "1", "3"), answers("2", "2", "1")]
    labels = label_by_vote(students, [SAMPLE] * 2, config, teachers)
    assert [label.answer for label in labels] == ["1", None]
    assert [label.kept for label in labels] == [True, False]
    with pytest.raises(ValueError, match="dual needs a teacher"):
        consensus(strategy="dual", teacher="online")


def test_no_consensus_costs_every_completion() -> None:
    """RESTRAIN: the group is trained on with a constant negative advantage."""
    scattered = answers("1", "2", "3", "4", "5")
    strategy = {"name": "restrain", "kappa": 0.3, "penalty": 0.25}
    label = one(scattered, strategy=strategy)
    assert (label.answer, label.kept, label.trains, label.penalty) == (None, False, True, 0.25)
    config = Config(consensus=consensus(strategy=strategy))
    group = Group(SAMPLE, (), tuple(r.completion for r in scattered))
    (judged,) = reward([group], [label], [scattered], config)
    assert judged.scored.advantages_G.tolist() == [-0.25] * 5
    assert judged.scored.teaches
    agreed = one(answers("1", "1", "1", "2"), strategy=strategy)
    assert (agreed.answer, agreed.penalty) == ("1", 0.0)


def program(label: str, problem: str, responses: list[str]) -> bool:
    """A user's checker: the digits that a response reads must add up to its answer."""
    assert problem == "how many?"
    return all(sum(map(int, r.split("\\")[0].split())) == int(label) for r in responses)


@pytest.mark.parametrize(
    ("check", "passes", "fails"),
    [
        ({"maximum": 20}, "12", "21"),
        ({"minimum": 0}, "0", "-1"),
        ({"integer": True}, "12", "12.5"),
        ({"unit": "m"}, "12 cm", "12 kg"),
    ],
)
def test_a_checker_disposes(check: dict[str, Any], passes: str, fails: str) -> None:
    strategy = {"name": "veto", **check}
    assert one(answers(passes, passes, "x"), strategy=strategy).answer == passes
    assert one(answers(fails, fails, "x"), strategy=strategy).answer is None


def test_sums_and_programs_look_at_the_responses() -> None:
    wrong = [reply("8", text="3 + 4 = 8 \\boxed{8}")] * 2 + [reply("7")]
    right = [reply("7", text="3 + 4 = 7 \\boxed{7}")] * 2 + [reply("8")]
    strategy: dict[str, Any] = {"name": "veto", "arithmetic": True}
    assert one(wrong, strategy=strategy).answer is None
    assert one(right, strategy=strategy).answer == "7"
    own = {"name": "veto", "program": f"{__name__}:program"}
    assert one([reply("7", text="3 4\\boxed{7}")] * 2, strategy=own).answer == "7"
    assert one([reply("8", text="3 4\\boxed{8}")] * 2, strategy=own).answer is None


def test_a_vetoed_majority_still_teaches_by_its_residue() -> None:
    """99 is impossible; of the others 4 is supported by another 4 and 5 by nobody."""
    strategy = {"name": "veto", "maximum": 20}
    group = answers("99", "99", "99", "4", "4", "5")
    label = one(group, strategy=strategy)
    assert (label.answer, label.kept) == (None, True)
    rewards = reward_answers(label, ["4", "5", "99"], consensus(strategy=strategy))
    # z = .5, .5, 0 with mean 1/3
    assert rewards == pytest.approx((1 / 6, -1 / 3, 0.0))


def test_free_text_is_rewarded_by_agreement() -> None:
    texts = ["The left valve is open.", "The left valve is open", "The left valve is closed."]
    settings: dict[str, Any] = {"strategy": "mbr", "kind": "text"}
    label = one(answers(*texts), **settings)
    assert label.answer in texts[:2]
    rewards = reward_answers(label, [texts[0], texts[2], None], consensus(**settings))
    assert rewards[0] > rewards[1] > rewards[2] == 0.0


def test_filters_reach_the_vote() -> None:
    groups = [answers("1", "1", "1", "1"), answers("1", "1", "1", "2"), answers("1", "1", "2", "3")]

    def kept(**settings: Any) -> list[bool]:
        labels = label_by_vote(groups, [SAMPLE] * 3, consensus(**settings))
        return [label.kept for label in labels]

    assert kept() == [True, True, True]
    assert kept(min_margin=0.5) == [True, True, False]
    assert kept(entropy_window=[0.1, 1.0]) == [False, True, False]
    assert kept(easiest_fraction=0.34) == [True, False, False]


def test_groups_that_are_not_kept_are_left_out_of_the_deviation() -> None:
    config = Config.model_validate({
        "consensus": {"min_share": 0.6},
        "train": {"scale_rewards": "batch", "num_generations": 4},
    })  # fmt: skip
    replies = [answers("1", "1", "1", "2"), answers("1", "2", "3", "4")]
    labels = label_by_vote(replies, [SAMPLE] * 2, config.consensus)
    groups = [Group(SAMPLE, (), tuple(r.completion for r in group)) for group in replies]
    first, second = reward(groups, labels, replies, config)
    deviation = np.std([1.0, 1.0, 1.0, 0.0], ddof=1)
    assert first.scored.advantages_G == pytest.approx(
        np.array([0.25, 0.25, 0.25, -0.75]) / (deviation + 1e-4)
    )
    assert not second.scored.teaches


def test_a_strategy_by_name_or_as_a_section() -> None:
    named = load_config(None, ["consensus.strategy=frequency"])
    section = load_config(None, ["consensus.strategy.name=frequency"])
    assert named.consensus.strategy == section.consensus.strategy
    weighed = load_config(None, ["consensus.strategy={name: restrain, sigma: 0.2}"])
    assert weighed.consensus.strategy.model_dump()["sigma"] == 0.2


@pytest.mark.parametrize(
    "setting",
    [
        "consensus.strategy=loudest",
        "consensus.strategy={name: majority, sigma: 0.2}",
        "consensus.strategy={name: restrain, sigma: -1}",
        "consensus.strategy={sigma: 1}",
    ],
)
def test_wrong_strategies_are_one_line(setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [setting])
    assert "\n" not in str(caught.value)
    assert "strategy" in str(caught.value)
