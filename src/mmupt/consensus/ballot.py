"""What a voting strategy is given, and the few operations that strategies share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mmupt.types import Vote

Tie = Literal["abstain", "first-class-by-key"]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of single strategies; each belongs to the strategies that name it.

    Attributes:
        weights: G weights >= 0, one per answer ("weighted").
        views: G view numbers, one per answer ("harmony").
        sigma: width of the Gaussian over shares ("restrain").
        kappa: smallest share of the largest class that counts as a consensus ("restrain").
        penalty: what every answer loses where there is no consensus ("restrain").
        prior: share over the batch of each class of the ballot, by class number ("prior").
        prior_floor: shares below this count as this ("prior"); None: 1/G.
        teacher_classes: classes of a teacher's answers, numbered as the ballot's ("dual").
        checker: says whether a label may be rewarded ("veto").
        alpha: scale of the residual reward of a vetoed majority ("veto").
        threshold: utility from which two answers agree ("mbr").
        guards: whether contradictions and omissions lower the utility ("mbr").
        embed: takes texts, returns a unit vector for each ("mbr").
        embed_weight: weight of the cosine of these vectors ("mbr"); None: the default.
    """

    weights: tuple[float, ...] = ()
    views: tuple[int, ...] = ()
    sigma: float = 0.5
    kappa: float = 0.25
    penalty: float = 1.0
    prior: tuple[float, ...] = ()
    prior_floor: float | None = None
    teacher_classes: tuple[int | None, ...] = ()
    checker: Callable[[str], bool] | None = None
    alpha: float = 1.0
    threshold: float = 0.5
    guards: bool = True
    embed: Callable[[list[str]], Sequence[Sequence[float]]] | None = None
    embed_weight: float | None = None


@dataclass(frozen=True, slots=True)
class Election:
    """Which class won.

    Attributes:
        winner: class number, or None (nobody answered, no positive score, an abstaining tie, or a
            share below `min_share`).
        share: answers of the leading class over all G; of the largest one in a tie.
        tied: whether two classes lead with exactly the same score.
    """

    winner: int | None
    share: float
    tied: bool


@dataclass(frozen=True, slots=True)
class Ballot:
    """One group of answers, already partitioned.

    Attributes:
        answers: G answers, None where one abstained.
        classes: G class numbers (0, 1, ... by first appearance), None where one abstained.
        tie: what an exact tie does.
        min_share: a leading class with a smaller share gets no label.
        options: the strategy's own options.
    """

    answers: tuple[str | None, ...]
    classes: tuple[int | None, ...]
    tie: Tie
    min_share: float
    options: Options

    def counts(self) -> list[int]:
        """Answers in each class; the index is the class number."""
        return tally(self.classes)

    def names(self) -> list[str]:
        """Representative answer of each class, independent of the order of the answers."""
        return representatives(self.answers, self.classes)

    def elect(self, scores: Sequence[float]) -> Election:
        """The class with the largest positive score; `scores` has one entry per class.

        A class's score decides who wins, its count decides its share. Scores have to be computed
        without depending on the order of the answers (`math.fsum`, exact fractions), so that equal
        support is an exact tie.
        """
        counts = self.counts()
        top = max(scores, default=0)
        if not top > 0:
            return Election(None, 0.0, False)
        leaders = [number for number, score in enumerate(scores) if score == top]
        share = max(counts[number] for number in leaders) / len(self.answers)
        winner: int | None = leaders[0]
        if len(leaders) > 1:
            winner = None
            if self.tie == "first-class-by-key":
                names = self.names()
                winner = min(leaders, key=lambda number: _by_length(names[number]))
                share = counts[winner] / len(self.answers)
        if share < self.min_share:
            winner = None
        return Election(winner, share, len(leaders) > 1)

    def matches(self, winner: int | None) -> tuple[float, ...]:
        """1.0 for each answer of the winning class, else 0.0; all 0.0 without a winner."""
        if winner is None:
            return (0.0,) * len(self.classes)
        return tuple(1.0 if number == winner else 0.0 for number in self.classes)

    def close(self, election: Election, rewards: tuple[float, ...] | None = None) -> Vote:
        """The vote that follows from an election; rewards default to `matches`."""
        winner = election.winner
        return Vote(
            label=None if winner is None else self.names()[winner],
            share=election.share,
            tied=election.tied,
            classes=self.classes,
            rewards=self.matches(winner) if rewards is None else rewards,
        )


def tally(classes: Sequence[int | None]) -> list[int]:
    """Number of members of each class, by class number; abstentions count nowhere."""
    voting = [number for number in classes if number is not None]
    counts = [0] * (max(voting, default=-1) + 1)
    for number in voting:
        counts[number] += 1
    return counts


def representatives(answers: Sequence[str | None], classes: Sequence[int | None]) -> list[str]:
    """The representative answer of each class, by class number."""
    members: list[Counter[str]] = [Counter() for _ in tally(classes)]
    for answer, number in zip(answers, classes, strict=True):
        if answer is not None and number is not None:
            members[number][answer] += 1
    return [representative(strings) for strings in members]


def representative(strings: Counter[str]) -> str:
    """The most frequent string, then the shortest, then the first by code point."""
    return min(strings, key=lambda string: (-strings[string], *_by_length(string)))


def _by_length(string: str) -> tuple[int, str]:
    return len(string), string
