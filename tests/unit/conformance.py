"""Groups of replies with what must come of them, whatever engine takes the step.

One suite for the local engine (`test_conformance.py`), TRL (`tests/trl`) and verl (`tests/verl`).
Classes, labels, shares and rewards are worked out by hand; advantages by `expected_advantages`, a
few lines of `statistics` that know nothing of mmupt, and by hand where `by_hand` stands.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from mmupt.config import Config, load_config

CUT = "\N{BLACK SQUARE}"
"""A reply that ends with this was cut at the longest length: it has no end of turn."""

EPSILON = 1e-4
"""Added to every standard deviation, in TRL as here; verl's is 1e-6."""


@dataclass(frozen=True)
class Case:
    """One question's replies, and what must come of them.

    Attributes:
        replies: what the model wrote, see `CUT`.
        classes: class of each, by first appearance; None abstains.
        label: the pseudo-label, None where there is none.
        share: of the winning class among all replies.
        kept: whether the group is trained on.
        rewards: one per reply.
        problem: the question; its options tell which answers name one.
    """

    replies: tuple[str, ...]
    classes: tuple[int | None, ...]
    label: str | None
    share: float
    kept: bool
    rewards: tuple[float, ...]
    problem: str = "What is it?"

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(reply.removesuffix(CUT) for reply in self.replies)

    @property
    def truncated(self) -> tuple[bool, ...]:
        return tuple(reply.endswith(CUT) for reply in self.replies)


@dataclass(frozen=True)
class Batch:
    """The groups of one step, all of one size: strategies and filters may look at all of them.

    Attributes:
        settings: of the configuration, as on a command line; without them MM-UPT's plain majority.
        by_hand: advantages by `scale_rewards`, group by group, worked out on paper.
    """

    name: str
    cases: tuple[Case, ...]
    settings: tuple[str, ...] = ()
    by_hand: dict[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """G, replies per question."""
        return len(self.cases[0].replies)

    def config(self, scale_rewards: str = "group") -> Config:
        plain = ["consensus.teacher=online", "consensus.min_share=0", "consensus.views=1"]
        generations = [f"train.num_generations={self.size}", "train.views=1"]
        scale = [
            f"train.scale_rewards={scale_rewards}",
            f"train.prompts_per_step={len(self.cases)}",
        ]
        return load_config(None, [*plain, *generations, *scale, *self.settings])


def case(
    replies: str, classes: str, label: str | None, share: float, rewards: str, **more: object
) -> Case:
    """`replies` apart by " | "; `classes` and `rewards` by spaces, "-" for None."""
    return Case(
        tuple(replies.split(" | ")),
        tuple(None if one == "-" else int(one) for one in classes.split()),
        label,
        share,
        bool(more.pop("kept", True)),
        tuple(float(one) for one in rewards.split()),
        **more,  # type: ignore[arg-type]
    )


SCALES = ("group", "batch", "none")

BATCHES = (
    Batch(
        "majority",
        (
            case(r"\boxed{4} | so \boxed{4} | 4 | \boxed{5}", "0 0 0 1", "4", 0.75, "1 1 1 0"),
            case(r"\boxed{9} | \boxed{3} | \boxed{9} | \boxed{8}", "0 1 0 2", "9", 0.5, "1 0 1 0"),
        ),
        # Mean 3/4, deviations 1/4 (thrice) and -3/4; their sample deviation is
        # sqrt((3/16 + 9/16) / 3) = 1/2. Then mean 1/2, deviations 1/2, sqrt(1 / 3). All eight
        # together: five ones, mean 5/8, sqrt((5 * 9/64 + 3 * 25/64) / 7) = sqrt(15 / 56).
        by_hand={
            "none": ((0.25, 0.25, 0.25, -0.75), (0.5, -0.5, 0.5, -0.5)),
            "group": (
                (0.49990, 0.49990, 0.49990, -1.49970),
                (0.86588, -0.86588, 0.86588, -0.86588),
            ),
            "batch": (
                (0.48295, 0.48295, 0.48295, -1.44886),
                (0.96591, -0.96591, 0.96591, -0.96591),
            ),
        },
    ),
    Batch(
        "equal writings are one class",
        (
            case(r"\boxed{\frac{1}{2}} | \boxed{0.5} | 0.5 | \boxed{2}", "0 0 0 1", "0.5", 0.75, "1 1 1 0"),
            case(r"\boxed{1,200} | 1200 | 1200 | 1.2", "0 0 0 1", "1200", 0.75, "1 1 1 0"),
            case("答えは12個です | １２個 | 12個 | 13個", "0 0 0 1", "12個", 0.75, "1 1 1 0"),
        ),
    ),
    Batch(
        "options",
        (
            case(
                "The answer is red. | A | (B) | The answer is (A).", "0 0 1 0", "A", 0.75, "1 1 0 1",
                problem="<image>Which colour is it?\nA. red\nB. blue",
            ),
        ),
    ),
    Batch(
        "cut replies abstain and count in the share",
        (
            case(rf"\boxed{{7}} | \boxed{{7}} | \boxed{{6}}{CUT} | \boxed{{6}}{CUT}", "0 0 - -", "7", 0.5, "1 1 0 0"),
            case(rf"\boxed{{7}}{CUT} | {CUT} | {CUT} | \boxed{{2}}", "- - - 0", "2", 0.25, "0 0 0 1"),
        ),
    ),
    Batch(
        "a tie and silence have no label",
        (
            case(r"\boxed{1} | \boxed{2} | \boxed{1} | \boxed{2}", "0 1 0 1", None, 0.5, "0 0 0 0", kept=False),
            case(rf"\boxed{{1}}{CUT} | {CUT} | {CUT} | {CUT}", "- - - -", None, 0.0, "0 0 0 0", kept=False),
            case(r"\boxed{1} | \boxed{2} | \boxed{1} | \boxed{1}", "0 1 0 0", "1", 0.75, "1 0 1 1"),
        ),
    ),
    Batch(
        "everyone agrees",
        (case(r"\boxed{3} | 3 | \boxed{3.0} | 3", "0 0 0 0", "3", 1.0, "1 1 1 1"),),
        by_hand=dict.fromkeys(SCALES, ((0.0, 0.0, 0.0, 0.0),)),
    ),
    Batch(
        "labels below the bar are not trained on",
        (
            case(r"\boxed{4} | \boxed{4} | \boxed{4} | \boxed{5}", "0 0 0 1", "4", 0.75, "1 1 1 0"),
            case(r"\boxed{4} | \boxed{4} | \boxed{6} | \boxed{5}", "0 0 1 2", "4", 0.5, "0 0 0 0", kept=False),
        ),
        ("consensus.min_share=0.7",),
        # The second group has no advantage, and its zeros are no part of the batch's deviation.
        by_hand={"batch": ((0.49990, 0.49990, 0.49990, -1.49970), (0.0, 0.0, 0.0, 0.0))},
    ),
    Batch(
        "a small lead, and votes outside the window of entropy",
        (
            case(r"\boxed{4} | \boxed{4} | \boxed{4} | \boxed{5}", "0 0 0 1", "4", 0.75, "1 1 1 0"),
            case(r"\boxed{4} | \boxed{4} | \boxed{6} | \boxed{5}", "0 0 1 2", "4", 0.5, "0 0 0 0", kept=False),
            case(r"\boxed{4} | \boxed{4} | \boxed{4} | \boxed{4}", "0 0 0 0", "4", 1.0, "0 0 0 0", kept=False),
        ),
        ("consensus.min_margin=0.5", "consensus.entropy_window=[0.1, 0.6]"),
    ),
    Batch(
        "the easier half",
        (
            case(r"\boxed{4} | \boxed{4} | \boxed{6} | \boxed{5}", "0 0 1 2", "4", 0.5, "0 0 0 0", kept=False),
            case(r"\boxed{4} | \boxed{4} | \boxed{4} | \boxed{5}", "0 0 0 1", "4", 0.75, "1 1 1 0"),
        ),
        ("consensus.easiest_fraction=0.5",),
    ),
    Batch(
        "frequency: how common an answer is",
        (
            case(r"\boxed{1} | \boxed{1} | \boxed{1} | \boxed{2}", "0 0 0 1", "1", 0.75, "0.75 0.75 0.75 0.25"),
            case(rf"\boxed{{1}} | \boxed{{1}} | {CUT} | \boxed{{2}}", "0 0 - 1", "1", 0.5, "0.5 0.5 0 0.25"),
        ),
        ("consensus.strategy=frequency",),
    ),
    # 7 has 8 of the 12 votes: 1/2 / (2/3) = 3/4 is less than 1/2 / (1/4) = 2 for the others.
    Batch(
        "prior: an answer that every question gets says little",
        (
            case(r"\boxed{7} | \boxed{7} | \boxed{5} | \boxed{5}", "0 0 1 1", "5", 0.5, "0 0 1 1"),
            case(r"\boxed{9} | \boxed{7} | \boxed{7} | \boxed{9}", "0 1 1 0", "9", 0.5, "1 0 0 1"),
            case(r"\boxed{7} | \boxed{7} | \boxed{7} | \boxed{7}", "0 0 0 0", "7", 1.0, "1 1 1 1"),
        ),
        ("consensus.strategy=prior",),
    ),
    # Vetoed: of the others, 4 and 4 find one of two others on their side (1/2), 8 none; mean 1/3.
    Batch(
        "veto: a label out of range gives its place away",
        (
            case(
                r"\boxed{-3} | \boxed{-3} | \boxed{-3} | \boxed{4} | \boxed{4} | \boxed{8}",
                "0 0 0 1 1 2", None, 0.5,
                "0 0 0 0.16666666666666667 0.16666666666666667 -0.33333333333333333",
            ),
            case(
                r"\boxed{4} | \boxed{4} | \boxed{4} | \boxed{-3} | \boxed{-3} | \boxed{8}",
                "0 0 0 1 1 2", "4", 0.5, "1 1 1 0 0 0",
            ),
        ),
        ("consensus.strategy={name: veto, minimum: 0}",),
    ),
    Batch(
        "free text: agreement with the others",
        (
            case(
                "a red car by the sea | a red car by the sea | a red car by the sea | a red car by the sea",
                "0 0 0 0", "a red car by the sea", 1.0, "1 1 1 1",
            ),
        ),
        ("consensus.strategy=mbr", "consensus.kind=text"),
    ),
)  # fmt: skip


def expected_advantages(
    batch: Batch, scale_rewards: str, epsilon: float = EPSILON
) -> list[list[float]]:
    """Rewards less their group's mean, over a sample standard deviation; zeros where equal.

    "batch" takes the deviation over all rewards of the groups that are kept.
    """
    together = [reward for one in batch.cases if one.kept for reward in one.rewards]
    found = []
    for one in batch.cases:
        centre = statistics.fmean(one.rewards)
        spread = {
            "none": lambda: 1.0,
            "group": lambda rewards=one.rewards: statistics.stdev(rewards) + epsilon,
            "batch": lambda: (statistics.stdev(together) if len(together) > 1 else 1.0) + epsilon,
        }[scale_rewards]()
        equal = len(set(one.rewards)) == 1
        found.append([0.0 if equal else (reward - centre) / spread for reward in one.rewards])
    return found
