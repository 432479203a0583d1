"""From replies to labels and rewards, strategy by strategy, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from mmupt.asking.answers import Reply
from mmupt.config import Config, ConsensusConfig, dump_config, load_config
from mmupt.config_votes import Section, Strategy
from mmupt.consensus.vote import STRATEGIES
from mmupt.errors import ConfigError
from mmupt.train.judge import reward
from mmupt.train.labels import Label, label_by_vote, reward_answers
from mmupt.train.rollout import Group
from mmupt.types import Completion, Finish, Sample

SAMPLE = Sample("q", "how many?")
SECTIONS: dict[str, type[Section]] = {
    s.model_fields["name"].default: s for s in get_args(get_args(Strategy)[0])
}
NEEDED = {"veto": {"integer": True}}
"""What a section cannot do without."""
FOREIGN = {
    "weights": "logprob", "sigma": 0.5, "kappa": 0.3, "penalty": 0.1, "prior_floor": 0.1,
    "minimum": 0, "maximum": 9, "integer": True, "unit": "cm", "arithmetic": True,
    "program": "m:f", "alpha": 1.0, "threshold": 0.5, "guards": True,
}  # fmt: skip
"""Every option of some strategy."""


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
    assert set(SECTIONS) == set(STRATEGIES)
    assert {o for s in SECTIONS.values() for o in s.model_fields} == {"name", *FOREIGN}


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_labels_what_all_agree_on(name: str) -> None:
    config = consensus(strategy={"name": name, **NEEDED.get(name, {})}, teacher="frozen")
    agreed = [reply("7", view) for view in (0, 0, 1, 1)]
    (label,) = label_by_vote([agreed], [SAMPLE], config, [agreed])
    assert (label.answer, label.share, label.kept, label.penalty) == ("7", 1.0, True, 0.0)
    assert label.answers == ("7",) * 4
    assert reward_answers(label, ["7.0", "8", None], config)[::2] == (1.0, 0.0)
    silent = label_by_vote([answers(None, None)], [SAMPLE], config, [agreed])[0]
    assert (silent.answer, silent.kept) == (None, False)
    assert reward_answers(silent, ["7"], config) == (0.0,)


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
    # The mean over the tokens, not their sum: long answers are not at a disadvantage.
    short = Reply(Completion("", (1,), (-0.5,), Finish.STOP), "1")
    long = Reply(Completion("", (1, 2, 3, 4), (-0.4,) * 4, Finish.STOP), "2")
    assert one([short, long], strategy="weighted").answer == "2"  # e^-.4 > e^-.5
    certain = [reply("1", sure=0.2), reply("1", sure=0.2), reply("2", sure=0.5)]
    by_certainty = {"name": "weighted", "weights": "self-certainty"}
    assert one(certain, strategy=by_certainty).answer == "2"
    unknown = [reply("1", sure=math.nan)] * 3 + [reply("2", sure=0.5)]  # NaN weighs nothing
    assert one(unknown, strategy=by_certainty).answer == "2"
    nothing = Reply(Completion("", (), (), Finish.STOP), "1")
    assert one([nothing, nothing, reply("2")], strategy="weighted").answer == "2"


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


def test_abstentions_count_in_the_prior_and_its_floor_is_configured() -> None:
    """Of ten votes 4 are 7 and 2 are 3: .6/.4 = 1.5 for 7; .4/.35 = 1.14 or .4/.2 = 2 for 3.

    Without the abstentions 7 would have a share of 4/6 and lose, .6/.67 = .9, to 1.14.
    """
    groups = [answers("7", "7", "7", "3", "3"), answers("7", None, None, None, None)]
    for floor, winner in ((0.35, "7"), (None, "3")):
        config = consensus(strategy={"name": "prior", "prior_floor": floor})
        assert label_by_vote(groups, [SAMPLE] * 2, config)[0].answer == winner


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
        ({"minimum": 1, "maximum": 20, "integer": True, "unit": "cm"}, "12 cm", "12.5 cm"),
        ({"minimum": 1, "maximum": 20, "unit": "cm"}, "0.12 m", "12 m"),
        ({"minimum": 1, "maximum": 20, "unit": "cm"}, "12 cm", "12"),
        ({"minimum": 0}, "2√3", "-2√3"),
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


def test_all_writings_of_a_label_stand_behind_it() -> None:
    """0.5 is the label; the sums of those who wrote 1/2 count too."""
    group = [
        reply("0.5", text="3 - 2 = 1, 1/2 = 0.5"),
        reply("0.5", text="1/2 = 0.5"),
        reply("1/2", text="3 - 2 = 2"),
        reply("1/2", text="3 - 1 = 1"),
        reply("1/2", text="2 + 3 = 6"),
        reply("0.5", text="1 + 1 = 1"),
        reply("9", text="1 + 1 = 2"),
    ]
    strategy: dict[str, Any] = {"name": "veto", "arithmetic": True}
    assert one(group, strategy="majority").answer == "0.5"
    assert one(group, strategy=strategy).answer is None  # two of six are right, not two of three
    assert one(group[:2] + group[5:], strategy=strategy).answer == "0.5"
    seen: list[list[str]] = []
    globals()["look"] = lambda label, problem, responses: seen.append(responses) or True
    assert one(group, strategy={"name": "veto", "program": f"{__name__}:look"}).answer == "0.5"
    assert seen == [[r.completion.text for r in group[:6]]]


def test_the_kind_of_answer_reaches_the_checks() -> None:
    phrases = answers("12 apples", "12 apples", "13 apples")
    bounded: dict[str, Any] = {"strategy": {"name": "veto", "maximum": 20}}
    assert one(phrases, **bounded).answer is None  # text
    assert one(phrases, **bounded, kind="number").answer == "12 apples"


def test_a_residue_trains_although_there_is_no_label() -> None:
    """Advantages of the completions themselves: 0 for the vetoed, 1/6 and -1/3 for the others."""
    settings: dict[str, Any] = {"strategy": {"name": "veto", "maximum": 20, "alpha": 3}}
    group = answers("99", "99", "99", "4", "4", "5", None)
    label = one(group, **settings)
    (judged,) = reward(
        [Group(SAMPLE, (), tuple(r.completion for r in group))], [label], [group],
        Config(consensus=consensus(**settings)),
    )  # fmt: skip
    by_hand = [0, 0, 0, 0.5, 0.5, -1.0, 0]
    assert judged.rewards == pytest.approx(by_hand)
    assert judged.scored.advantages_G == pytest.approx(by_hand)
    assert judged.scored.teaches
    alone = one(answers("99", "99", "4"), **settings)  # nothing left to compare
    assert (alone.answer, alone.kept) == (None, False)


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


def test_free_text_rewards_are_mean_agreements() -> None:
    """Equal texts agree by 1, texts without a letter in common by 0, silence by 0."""
    label = one(answers("ABC", "ABC", "xyz", None), strategy="mbr", kind="text")
    assert (label.answer, label.share) == ("ABC", 0.5)
    config = consensus(strategy="mbr", kind="text")
    assert reward_answers(label, ["ABC", "xyz", "!?", None], config) == (0.5, 0.25, 0.0, 0.0)


@pytest.mark.parametrize(
    ("settings", "answer", "expected"),
    [
        ({}, "50%", 1.0),  # equivalence counts, not the writing
        ({"kind": "text"}, "50%", 0.0),
        ({"rtol": 0.05}, "0.51", 1.0),
    ],
)
def test_free_text_is_rewarded_by_the_partition_that_voted(
    settings: dict[str, Any], answer: str, expected: float
) -> None:
    label = one(answers("1/2", "1/2"), strategy="mbr", **settings)
    config = consensus(strategy="mbr", **settings)
    assert reward_answers(label, [answer], config) == (expected,)


def test_guards_reach_the_reward_of_free_text() -> None:
    """Without them a negation is a text like another."""
    texts = ["the valve is open", "the valve is not open"]
    rewards = {}
    for guards in (True, False):
        settings: dict[str, Any] = {"strategy": {"name": "mbr", "guards": guards}, "kind": "text"}
        label = one(answers(texts[0], texts[0]), **settings)
        (rewards[guards],) = reward_answers(label, texts[1:], consensus(**settings))
    assert rewards[True] < 0.5 < rewards[False]


def test_the_threshold_reaches_the_vote_on_free_text() -> None:
    """Three like but unequal texts: together, or each on its own."""
    texts = ["left valve is open", "left valve is wide open", "left valve is open now"]
    shares = {
        threshold: one(
            answers(*texts), strategy={"name": "mbr", "threshold": threshold}, kind="text"
        ).share
        for threshold in (0.1, 1.0)
    }
    assert shares == {0.1: 1.0, 1.0: pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ("settings", "answer", "expected"),
    [
        ({}, "50%", 1.0),
        ({"kind": "text"}, "50%", 0.0),
        ({}, "0.51", 0.0),
        ({"rtol": 0.05}, "0.51", 1.0),
    ],
)
def test_a_majority_is_rewarded_by_the_partition_that_voted(
    settings: dict[str, Any], answer: str, expected: float
) -> None:
    label = one(answers("1/2", "1/2"), **settings)
    assert reward_answers(label, [answer], consensus(**settings)) == (expected,)


def test_where_an_answer_joins_two_classes_the_larger_reward_holds() -> None:
    """100 and 102 are apart by a tolerance of 1.2%; 101 is within it of both."""
    for order in (("100", "100", "102"), ("102", "100", "100")):
        settings: dict[str, Any] = {"strategy": "frequency", "rtol": 0.012}
        label = one(answers(*order), **settings)
        assert label.share == pytest.approx(2 / 3)
        (found,) = reward_answers(label, ["101"], consensus(**settings))
        assert found == pytest.approx(2 / 3)


def test_the_largest_class_without_a_label_earns_nothing() -> None:
    """A soft reward needs a winner: a tie takes it away."""
    label = one(answers("1", "1", "2", "2", "3"), strategy="frequency")
    assert (label.answer, label.kept) == (None, False)
    assert reward_answers(label, ["1", "3"], consensus(strategy="frequency")) == (0.0, 0.0)


def test_restrain_weighs_every_class() -> None:
    """g(3/4) = e^(-1/8), g(1/4) = e^(-9/8): 1 to 1/e, carried over to the student's answers."""
    label = one(answers("3", "3.0", "3", "5"), strategy="restrain")
    w = math.e / (1 + math.e)
    rewards = reward_answers(label, ["5", "3", "9"], consensus(strategy="restrain"))
    assert rewards == pytest.approx((1 - w, w, 0.0))


def test_a_penalty_is_taken_off_after_scaling() -> None:
    """Of all completions of the student, whatever the teacher's votes were worth."""
    strategy = {"name": "restrain", "kappa": 0.6, "penalty": 0.2}
    settings: dict[str, Any] = {"strategy": strategy}
    voters = [answers("1", "2", "3"), answers("1", "1", "1"), answers("1", "1", "2")]
    labels = label_by_vote(voters, [SAMPLE] * 3, consensus(**settings, min_share=0.7))
    assert [label.penalty for label in labels] == [0.2, 0.0, 0.0]
    assert [label.kept for label in labels] == [False, True, False]
    assert [label.trains for label in labels] == [True, True, False]
    students = [answers("1", "2"), answers("1", "2"), []]
    groups = [Group(SAMPLE, (), tuple(r.completion for r in group)) for group in students]
    config = Config.model_validate(
        {"consensus": consensus(**settings), "train": {"scale_rewards": "group"}}
    )
    judged = reward(groups, labels, students, config)
    scaled = 0.5 / (math.sqrt(0.5) + 1e-4)
    assert judged[0].scored.advantages_G.tolist() == [-0.2, -0.2]
    assert judged[1].scored.advantages_G.tolist() == pytest.approx([scaled, -scaled])
    assert judged[0].rewards == (0.0, 0.0)


def test_filters_reach_the_vote() -> None:
    groups = [answers("1", "1", "1", "1"), answers("1", "1", "1", "2"), answers("1", "1", "2", "3")]

    def kept(**settings: Any) -> list[bool]:
        labels = label_by_vote(groups, [SAMPLE] * 3, consensus(**settings))
        return [label.kept for label in labels]

    assert kept() == [True, True, True]
    assert kept(min_margin=0.5) == [True, True, False]
    assert kept(entropy_window=[0.1, 1.0]) == [False, True, False]
    assert kept(easiest_fraction=0.33) == [True, False, False]
    assert kept(easiest_fraction=0.34) == [True, True, False]  # at least its part


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


def test_strategies_in_a_file(tmp_path: Path) -> None:
    """By name, as a section, and written out again with all its options."""
    path = tmp_path / "c.yaml"
    path.write_text("consensus:\n  strategy: frequency\n", encoding="utf-8")
    assert load_config(path).consensus.strategy == SECTIONS["frequency"]()
    path.write_text(
        "consensus:\n  strategy:\n    name: restrain\n    kappa: 0.4\n", encoding="utf-8"
    )
    config = load_config(path)
    by_hand = {"name": "restrain", "sigma": 0.5, "kappa": 0.4, "penalty": 0.1}
    assert config.consensus.strategy.model_dump() == by_hand
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
    assert load_config(path, ["consensus.strategy=mbr"]).consensus.strategy == SECTIONS["mbr"]()


@pytest.mark.parametrize("name", SECTIONS)
def test_options_of_another_strategy_are_refused(name: str) -> None:
    own = set(SECTIONS[name].model_fields)
    for option, value in FOREIGN.items():
        given = {"name": name, **NEEDED.get(name, {}), option: value}
        if option in own:
            assert consensus(strategy=given).strategy.model_dump()[option] == value
            continue
        with pytest.raises(ConfigError) as caught:
            load_config(None, [f"consensus.strategy={given}"])
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"--set: unknown key consensus.strategy.{name}.{option}; known")
        assert all(field in message for field in own)


@pytest.mark.parametrize(
    ("strategy", "parts"),
    [
        ("loudest", ["expected one of majority, weighted, frequency", "found 'loudest'"]),
        ("{name: loudest}", ["expected one of majority, weighted", "{'name': 'loudest'}"]),
        ("{sigma: 1}", ["expected one of majority", "section with such a name", "{'sigma': 1}"]),
        ("3", ["expected one of majority", "found 3"]),
        ("null", ["expected one of majority", "found None"]),
        ("[majority]", ["expected one of majority", "found ['majority']"]),
        ("{name: restrain, sigma: -1}", ["sigma", "found -1"]),
        ("{name: restrain, sigma: 0}", ["sigma", "found 0"]),
        ("{name: restrain, sigma: .inf}", ["sigma", "finite"]),
        ("{name: restrain, penalty: -1}", ["penalty", "found -1"]),
        ("{name: weighted, weights: loud}", ["weights", "'logprob' or 'self-certainty'"]),
        ("{name: mbr, threshold: 1.5}", ["threshold", "found 1.5"]),
        ("{name: prior, prior_floor: 0}", ["prior_floor", "found 0"]),
        ("veto", ["veto needs a check: minimum, maximum, integer, unit, arithmetic, program"]),
        ("{name: veto, alpha: 2}", ["veto needs a check"]),
        ("{name: veto, minimum: 5, maximum: 3}", ["minimum (5.0) is above maximum (3.0)"]),
        ("{name: veto, minimum: .nan}", ["minimum", "finite"]),
        ("{name: veto, unit: flurbs}", ["unit", "no unit that is known", "'flurbs'"]),
    ],
)
def test_wrong_strategies_are_one_line(strategy: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"consensus.strategy={strategy}"])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("--set: consensus.strategy")
    for part in parts:
        assert part in message


def test_a_program_that_is_none_is_a_configuration_error() -> None:
    for program_, message in (("nowhere", "expected package.module"), ("no_mod:f", "imported")):
        with pytest.raises(ConfigError, match=message) as caught:
            one(answers("1"), strategy={"name": "veto", "program": program_})
        assert str(caught.value).startswith("consensus.strategy.program: ")


def test_another_strategy_brings_its_own_options() -> None:
    base = load_config(None, ["consensus.strategy={name: restrain, sigma: 0.3}"])
    other = load_config(None, ["consensus.strategy={name: prior, prior_floor: 0.2}"], base)
    assert other.consensus.strategy.model_dump() == {"name": "prior", "prior_floor": 0.2}
    more = load_config(None, ["consensus.strategy={name: restrain, kappa: 0.4}"], base)
    assert more.consensus.strategy.model_dump()["sigma"] == 0.3


@pytest.mark.parametrize("window", ["[1.0, 0.1]", "[.nan, 1.0]"])
def test_a_window_that_keeps_nothing_is_refused(window: str) -> None:
    with pytest.raises(ConfigError, match="keeps nothing"):
        load_config(None, [f"consensus.entropy_window={window}"])
