"""Votes worked out by hand."""

from __future__ import annotations

import math

import pytest

from mmupt.consensus.reward import rewards_by_class
from mmupt.consensus.vote import STRATEGIES, vote
from mmupt.errors import ConfigError
from mmupt.types import Vote


class TestMajority:
    def test_spellings_vote_together(self) -> None:
        # Three spellings of one half against two votes for 3: strings alone would elect 3.
        result = vote(["1/2", "3", "0.5", "\\frac{1}{2}", "3", None, None, "7"])
        assert result == Vote(
            label="0.5",
            share=3 / 8,
            tied=False,
            classes=(0, 1, 0, 0, 1, None, None, 2),
            rewards=(1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0),
        )

    def test_label_is_the_most_frequent_then_shortest_then_first_string(self) -> None:
        assert vote(["12.0", "12", "12.0"]).label == "12.0"
        assert vote(["12.0", "12", "+12"]).label == "12"
        assert vote(["1/2", "0.5"]).label == "0.5"

    def test_abstention_cannot_win(self) -> None:
        result = vote([None, None, None, "", "7"])
        assert (result.label, result.share) == ("7", 1 / 5)
        assert result.rewards == (0.0, 0.0, 0.0, 0.0, 1.0)

    def test_the_text_none_is_an_answer(self) -> None:
        assert vote(["None", "None", "7"]).label == "None"

    def test_nobody_answers(self) -> None:
        assert vote([None, None]) == Vote(None, 0.0, False, (None, None), (0.0, 0.0))
        assert vote([]) == Vote(None, 0.0, False, (), ())

    def test_a_tie_abstains(self) -> None:
        result = vote(["3", "5", "5", "3", "8", None])
        assert result == Vote(None, 2 / 6, True, (0, 1, 1, 0, 2, None), (0.0,) * 6)

    def test_a_tie_broken_without_regard_to_order(self) -> None:
        for answers in (["35", "5", "5", "35"], ["5", "35", "35", "5"]):
            result = vote(answers, tie="first-class-by-key")
            assert (result.label, result.share, result.tied) == ("5", 0.5, True)
            assert result.rewards == tuple(float(answer == "5") for answer in answers)

    def test_min_share(self) -> None:
        answers = ["3", "3", "5", "8", None]
        assert vote(answers, min_share=0.4).label == "3"
        below = vote(answers, min_share=0.41)
        assert (below.label, below.share, below.tied) == (None, 0.4, False)
        assert below.rewards == (0.0,) * 5

    def test_kind_and_tolerance_reach_the_partition(self) -> None:
        assert vote(["y", "はい", "n"], kind="yesno").share == 2 / 3
        assert vote(["100", "101", "150"], rtol=0.01).share == 2 / 3


class TestWeighted:
    def test_weight_beats_number(self) -> None:
        result = vote(["3", "3", "5"], "weighted", weights=[0.2, 0.2, 0.5])
        assert (result.label, result.share) == ("5", 1 / 3)
        assert result.rewards == (0.0, 0.0, 1.0)

    def test_equal_sums_are_a_tie_in_any_order(self) -> None:
        # 0.1 + 0.2 + 0.3 is 0.6000000000000001 from the left; summed exactly, 0.6.
        left = vote(["3", "3", "3", "5"], "weighted", weights=[0.1, 0.2, 0.3, 0.6])
        right = vote(["3", "3", "3", "5"], "weighted", weights=[0.3, 0.2, 0.1, 0.6])
        assert left == right
        assert left.tied

    def test_weightless_answers_do_not_win(self) -> None:
        assert vote(["3", None], "weighted", weights=[0.0, 1.0]).label is None

    def test_weights_of_abstentions_do_not_count(self) -> None:
        assert vote(["3", None, "5"], "weighted", weights=[1, 100, 2]).label == "5"


def test_frequency_rewards_every_class_with_its_share() -> None:
    result = vote(["3", "3.0", "3", "5", None], "frequency")
    assert (result.label, result.share) == ("3", 0.6)
    assert result.rewards == (0.6, 0.6, 0.6, 0.2, 0.0)
    assert vote(["3", "5"], "frequency").rewards == (0.0, 0.0)


class TestHarmony:
    def test_stable_answers_beat_frequent_ones(self) -> None:
        # 4 is given four times, but in view 0 only. 7: p = 1/5 and 2/5, harmonic mean 4/15.
        answers = ["4", "4", "4", "4", "7", "7", "7", "9", "9", "9"]
        views = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
        assert vote(answers).label == "4"
        result = vote(answers, "harmony", views=views)
        assert (result.label, result.share, result.tied) == ("7", 0.3, False)
        assert result.rewards == (0, 0, 0, 0, 1, 1, 1, 0, 0, 0)

    def test_the_larger_harmonic_mean_wins(self) -> None:
        # a: 3/4 and 1/4 -> 3/8; b: 1/4 and 2/4 -> 1/3.
        answers = ["a", "a", "a", "b", "b", "b", "c", "a"]
        assert vote(answers, "harmony", views=[0, 0, 0, 0, 1, 1, 1, 1]).label == "A".lower()

    def test_equal_means_tie(self) -> None:
        # 2/3 and 1/3 both ways.
        result = vote(["3", "3", "5", "5", "5", "3"], "harmony", views=[0, 0, 0, 1, 1, 1])
        assert (result.label, result.tied, result.share) == (None, True, 0.5)

    def test_no_answer_in_all_views(self) -> None:
        result = vote(["3", "3", "5"], "harmony", views=[0, 0, 1])
        assert (result.label, result.share, result.tied) == (None, 0.0, False)

    def test_one_view_is_the_majority(self) -> None:
        assert vote(["3", "3", "5"], "harmony", views=[2, 2, 2]).label == "3"


class TestRestrain:
    def test_gaussian_weights(self) -> None:
        # sigma 0.5: g(3/4) = exp(-1/8), g(1/4) = exp(-9/8); their ratio is e, so w = e / (1 + e).
        result = vote(["3", "3", "3", "5"], "restrain")
        assert result.label == "3"
        assert result.rewards[0] == pytest.approx(math.e / (1 + math.e), rel=1e-12)
        assert result.rewards[3] == pytest.approx(1 / (1 + math.e), rel=1e-12)
        assert result.rewards[0] == result.rewards[1] == result.rewards[2]

    def test_a_narrow_gaussian_leaves_the_majority_alone(self) -> None:
        result = vote(["3", "3", "3", "5", None], "restrain", sigma=0.05)
        assert result.rewards[0] == pytest.approx(1.0)
        assert result.rewards[3] == pytest.approx(0.0, abs=1e-9)
        assert result.rewards[4] == 0.0

    @pytest.mark.parametrize("sigma", [0.01, 1e-6])
    def test_the_narrowest_gaussians(self, sigma: float) -> None:
        """g of the largest share, 3/5, is exp(-800) = 0 in doubles; its weight is 1 all the same."""
        result = vote(["3", "3", "3", "5", None], "restrain", sigma=sigma)
        assert (result.label, result.rewards) == ("3", (1.0, 1.0, 1.0, 0.0, 0.0))
        tie = vote(["3", "5", "3", "5"], "restrain", sigma=sigma, tie="first-class-by-key")
        assert tie.rewards == (0.5,) * 4

    def test_no_consensus_costs_everybody(self) -> None:
        result = vote(["1", "2", "3", "4", None], "restrain", penalty=0.5)
        assert (result.label, result.share) == (None, 0.2)
        assert result.rewards == (-0.5,) * 5

    def test_kappa(self) -> None:
        answers = ["1", "1", "3", "4"]
        assert vote(answers, "restrain", kappa=0.5).label == "1"
        assert vote(answers, "restrain", kappa=0.6).label is None


class TestPrior:
    def test_the_constant_answer_loses(self) -> None:
        # 5: 0.6 / 0.6 = 1.  7: 0.4 / max(0.1, 1/5) = 2.
        result = vote(["5", "5", "5", "7", "7"], "prior", prior={"5": 0.6, "7": 0.1})
        assert (result.label, result.share) == ("7", 0.4)
        assert result.rewards == (0.0, 0.0, 0.0, 1.0, 1.0)

    def test_equivalent_keys_add_up(self) -> None:
        # 5: 0.6 / (0.3 + 0.3); the same as above.
        prior = {"5": 0.3, "5.0": 0.3, "7": 0.1, "9": 0.3}
        assert vote(["5", "5", "5", "7", "7"], "prior", prior=prior).label == "7"

    def test_a_floor_keeps_rare_answers_down(self) -> None:
        # With floor 0.5: 0.6 / 0.6 = 1 against 0.4 / 0.5 = 0.8.
        answers = ["5", "5", "5", "7", "7"]
        prior = {"5": 0.6, "7": 0.1}
        assert vote(answers, "prior", prior=prior, prior_floor=0.5).label == "5"

    def test_an_even_prior_changes_nothing(self) -> None:
        assert vote(["5", "5", "7"], "prior", prior={"5": 0.5, "7": 0.5}).label == "5"


class TestDual:
    def test_agreement(self) -> None:
        result = vote(["5", "5", "7"], "dual", teacher_answers=["5.0", "5", "9"])
        assert (result.label, result.share) == ("5", 2 / 3)
        assert result.rewards == (1.0, 1.0, 0.0)

    def test_disagreement(self) -> None:
        result = vote(["5", "5", "7"], "dual", teacher_answers=["7", "7", "5"])
        assert (result.label, result.share, result.rewards) == (None, 2 / 3, (0.0,) * 3)

    def test_a_tied_or_silent_teacher_agrees_with_nobody(self) -> None:
        assert vote(["5", "5"], "dual", teacher_answers=["5", "7"]).label is None
        assert vote(["5", "5"], "dual", teacher_answers=[None]).label is None


class TestVeto:
    ANSWERS = ("1", "1", "1", "2", "2", "3", None)

    def test_accepted(self) -> None:
        result = vote(self.ANSWERS, "veto", checker=lambda label: label == "1")
        assert result == vote(self.ANSWERS)

    def test_residual_reward(self) -> None:
        # Others: 2, 2, 3. Support 1/2, 1/2, 0; mean 1/3.
        result = vote(self.ANSWERS, "veto", checker=lambda label: False)
        assert (result.label, result.share) == (None, 3 / 7)
        assert result.rewards == pytest.approx((0, 0, 0, 1 / 6, 1 / 6, -1 / 3, 0))
        assert sum(result.rewards) == pytest.approx(0)

    def test_alpha_scales(self) -> None:
        result = vote(self.ANSWERS, "veto", checker=lambda label: False, alpha=3)
        assert result.rewards == pytest.approx((0, 0, 0, 0.5, 0.5, -1, 0))

    def test_nothing_left(self) -> None:
        result = vote(["1", "1", "2"], "veto", checker=lambda label: False)
        assert result.rewards == (0.0, 0.0, 0.0)

    def test_a_broken_checker_is_heard(self) -> None:
        with pytest.raises(ZeroDivisionError):
            vote(["1"], "veto", checker=lambda label: bool(1 // 0))


class TestOptions:
    def test_unknown_strategy(self) -> None:
        with pytest.raises(ConfigError, match="'plurality' is unknown; choose from majority"):
            vote(["1"], "plurality")

    def test_an_option_that_does_nothing(self) -> None:
        with pytest.raises(ConfigError, match="'weights' does nothing with strategy 'majority'"):
            vote(["1"], weights=[1])

    @pytest.mark.parametrize("strategy", [name for name in STRATEGIES if STRATEGIES[name].needs])
    def test_missing_option(self, strategy: str) -> None:
        with pytest.raises(ConfigError, match="needs the option"):
            vote(["1"], strategy)

    @pytest.mark.parametrize(
        ("strategy", "options", "message"),
        [
            ("weighted", {"weights": [1, 2]}, "2 entries for 1 answers"),
            ("weighted", {"weights": [-1]}, "weights is -1"),
            ("weighted", {"weights": [float("nan")]}, "weights is nan"),
            ("weighted", {"weights": []}, "weights is empty"),
            ("harmony", {"views": [0, 1]}, "2 entries for 1 answers"),
            ("restrain", {"sigma": 0}, "sigma is 0"),
            ("restrain", {"kappa": 2}, "kappa is 2"),
            ("prior", {"prior": {"1": 1.5}}, "prior is 1.5"),
            ("majority", {"tie": "first"}, "tie is 'first'; choose from abstain"),
            ("majority", {"min_share": 1.5}, "min_share is 1.5"),
            ("majority", {"min_share": "half"}, "min_share is 'half'"),
        ],
    )
    def test_out_of_range(self, strategy: str, options: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            vote(["1"], strategy, **options)


class TestRewardsAgainst:
    def test_one_partition_of_label_and_answers(self) -> None:
        assert rewards_by_class(["0.50"], [1.0], ["1/2", None, "2", "50%"]) == (1.0, 0.0, 0.0, 1.0)

    def test_no_label_rewards_nobody(self) -> None:
        assert rewards_by_class([None], [0.0], ["1", None]) == (0.0, 0.0)
        assert rewards_by_class([""], [0.0], ["", "1"]) == (0.0, 0.0)

    def test_kind_and_tolerance(self) -> None:
        assert rewards_by_class(["yes"], [1.0], ["y", "n"], kind="yesno") == (1.0, 0.0)
        assert rewards_by_class(["100"], [1.0], ["101", "103"], rtol=0.01) == (1.0, 0.0)
