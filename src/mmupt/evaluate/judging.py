"""From completions to verdicts: by the reference answer, or by a benchmark's own rule."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from mmupt.asking.answers import final_answer
from mmupt.asking.prompt import Prompt
from mmupt.benchmarks.catalog import Benchmark
from mmupt.benchmarks.rows import LETTERS, BenchmarkRow
from mmupt.consensus.equivalence import partition
from mmupt.consensus.vote import vote
from mmupt.evaluate.records import Judged, Majority
from mmupt.types import Completion, Finish, Sample

T = TypeVar("T")
Reply = tuple[Prompt, Completion | None]
"""What was shown, and what came back; None: nothing did."""


class Rule(Protocol):
    """How replies to one question are read and judged."""

    @property
    def answer(self) -> str | None:
        """The reference."""

    def judge(self, replies: Sequence[Reply]) -> list[Judged]:
        """Each reply with its answer in the labels of the data."""

    def majority(self, sampled: Sequence[Judged]) -> Majority | None:
        """What the sampled replies agree on; None unless all of them came."""

    def agreement(self, replies: Sequence[Judged]) -> float:
        """Share of the pairs that say the same; NaN unless there are two and all came."""


@dataclass(frozen=True)
class Item:
    """A question with its rule.

    Attributes:
        sample: the question.
        rule: how replies to it are judged.
        pictures: digest of its pictures' bytes; its id where it has none.
        groups: column -> values, for figures by subset.
        fields: what a benchmark's own figures need.
    """

    sample: Sample
    rule: Rule
    pictures: str
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ByAnswer:
    """Right is what is equivalent to the reference answer.

    Attributes:
        answer: None: nothing is right or wrong.
        kind: of the answers, see `mmupt.extract`.
        rtol: see `mmupt.consensus.equivalence.partition`.
    """

    answer: str | None
    kind: str = "auto"
    rtol: float | None = None

    def judge(self, replies: Sequence[Reply]) -> list[Judged]:
        """A truncated reply abstains."""
        answers = _once(replies, lambda prompt, reply: final_answer(reply, prompt, self.kind))
        wanted, *classes = partition([self.answer, *answers], kind=self.kind, rtol=self.rtol)
        return [
            Judged(None)
            if completion is None
            else Judged(
                completion.text,
                answer,
                None if self.answer is None else number is not None and number == wanted,
                self.kind,
                completion.length,
                completion.finish is Finish.LENGTH,
            )
            for (_, completion), answer, number in zip(replies, answers, classes, strict=True)
        ]

    def majority(self, sampled: Sequence[Judged]) -> Majority | None:
        def right(label: str | None) -> bool | None:
            if self.answer is None:
                return None
            wanted, found = partition([self.answer, label], kind=self.kind, rtol=self.rtol)
            return found is not None and found == wanted

        return majority(sampled, right, self.kind, self.rtol)

    def agreement(self, replies: Sequence[Judged]) -> float:
        return agreement(replies, self.kind, self.rtol)


@dataclass(frozen=True)
class ByBenchmark:
    """A benchmark's own rule. A reply that was cut off is read as far as it goes."""

    benchmark: Benchmark
    row: BenchmarkRow

    @property
    def answer(self) -> str | None:
        return self.row.answer

    def judge(self, replies: Sequence[Reply]) -> list[Judged]:
        scores = _once(
            replies, lambda prompt, reply: self.benchmark.rule(shown(self.row, prompt), reply.text)
        )
        return [
            Judged(None)
            if completion is None or score is None
            else Judged(
                completion.text,
                None
                if score.extracted is None
                else prompt.labels.get(score.extracted, score.extracted),
                score.right,
                score.rule,
                completion.length,
                completion.finish is Finish.LENGTH,
            )
            for (prompt, completion), score in zip(replies, scores, strict=True)
        ]

    def majority(self, sampled: Sequence[Judged]) -> Majority | None:
        """The winner's verdict is that of the replies that wrote it as the label does."""

        def right(label: str | None) -> bool | None:
            if self.answer is None:
                return None
            return any(one.right for one in sampled if label is not None and one.answer == label)

        return majority(sampled, right, "auto", None)

    def agreement(self, replies: Sequence[Judged]) -> float:
        return agreement(replies, "auto", None)


def _once(replies: Sequence[Reply], read: Callable[[Prompt, Completion], T]) -> list[T | None]:
    """What is read out of each reply; of those that say the same word for word only once."""
    known: dict[tuple[int, str, Finish], T] = {}
    found: list[T | None] = []
    for prompt, completion in replies:
        if completion is None:
            found.append(None)
            continue
        key = (id(prompt), completion.text, completion.finish)
        if key not in known:
            known[key] = read(prompt, completion)
        found.append(known[key])
    return found


def shown(row: BenchmarkRow, prompt: Prompt) -> BenchmarkRow:
    """The row as a view shows it: the options, and the label of the right one, in its order."""
    if not prompt.labels:
        return row
    label = {theirs: ours for ours, theirs in prompt.labels.items()}
    choices = tuple(
        row.choices[LETTERS.index(theirs)]
        if (theirs := prompt.labels.get(ours, ours)) in LETTERS[: len(row.choices)]
        else row.choices[place]
        for place, ours in enumerate(LETTERS[: len(row.choices)])
    )
    answer = None if row.answer is None else label.get(row.answer, row.answer)
    sample = replace(row.sample, problem=prompt.problem)
    return replace(row, sample=sample, answer=answer, choices=choices)


def majority(
    sampled: Sequence[Judged],
    right: Callable[[str | None], bool | None],
    kind: str,
    rtol: float | None,
) -> Majority | None:
    """The vote of some replies; a tie goes to the class that `vote` orders first."""
    if not sampled or any(one.reply is None for one in sampled):
        return None
    answers = [one.answer for one in sampled]
    outcome = vote(answers, kind=kind, rtol=rtol, tie="first-class-by-key")
    return Majority(outcome.label, right(outcome.label), outcome.share, pairs(outcome.classes))


def agreement(replies: Sequence[Judged], kind: str, rtol: float | None) -> float:
    """`Rule.agreement` by equivalence of the answers."""
    if len(replies) < 2 or any(one.reply is None for one in replies):
        return math.nan
    return pairs(partition([one.answer for one in replies], kind=kind, rtol=rtol))


def pairs(classes: Sequence[int | None]) -> float:
    """Share of the pairs of one class; an abstention (None) is of none. NaN for fewer than two.

    sum_c n_c (n_c - 1) / (n (n - 1)): the chance that two of the replies, drawn without
    replacement, say the same.
    """
    n = len(classes)
    if n < 2:
        return math.nan
    sizes = Counter(number for number in classes if number is not None).values()
    return sum(size * (size - 1) for size in sizes) / (n * (n - 1))
