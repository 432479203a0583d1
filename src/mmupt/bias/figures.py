"""All figures of a report, from the two models' tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from mmupt.bias.asked import OWN, Table
from mmupt.bias.chance import Floats
from mmupt.bias.distribution import (
    Common,
    Shift,
    Top,
    answer_shift,
    common_answers,
    length_shift,
    lengths,
    top_answer,
    whole,
)
from mmupt.bias.groups import Slicing, Unused, by_columns, by_quantiles
from mmupt.bias.losses import Diversity, Other, diversity, other_set
from mmupt.bias.modality import (
    Compared,
    Condition,
    Dependence,
    compare,
    conditions,
    dependence,
    dependence_change,
)
from mmupt.bias.overlaps import Overlap, overlaps
from mmupt.bias.pictures import PROPERTIES
from mmupt.bias.places import Places, places
from mmupt.bias.readings import readings
from mmupt.bias.rows import Question, clusters
from mmupt.bias.slices import Slice, Tie, measure_of, slices, ties
from mmupt.stats import Ratio

FIGURES_STREAM = 22
"""Keeps resamples and permutations apart from other random numbers."""


@dataclass(frozen=True)
class OtherTables:
    """Answers of both models to another set of questions."""

    name: str
    questions: Sequence[Question]
    before: Table
    after: Table


@dataclass(frozen=True)
class Figures:
    """A whole report; see the classes of its parts.

    Attributes:
        n, labelled, pictures: questions, those with true answers, different pictures.
        k: sampled answers to each.
        measure: what slices are compared by, `accuracy` or `share`.
        accuracy, greedy, majority: of both models; NaN without true answers.
        share, abstained, truncated: vote share, unreadable and cut replies.
        kappa_change: change of the dependence on the picture.
        common: the most frequent answers.
        unused: properties that could not be sliced by.
    """

    n: int
    labelled: int
    pictures: int
    k: int
    measure: str
    accuracy: Compared
    greedy: Compared
    majority: Compared
    share: Compared
    abstained: Compared
    truncated: Compared
    conditions: tuple[Condition, ...]
    before: Dependence
    after: Dependence
    kappa_change: Ratio
    places: tuple[Places, ...]
    answers: Shift
    lengths: Compared
    length_shift: Shift
    top: Top | None
    common: tuple[Common, ...]
    slices: tuple[Slice, ...]
    ties: tuple[Tie, ...]
    overlaps: tuple[Overlap, ...]
    unused: tuple[Unused, ...]
    diversity: Diversity
    forgetting: tuple[Other, ...]


def figures(
    questions: Sequence[Question],
    before: Table,
    after: Table,
    properties: Floats,
    others: Sequence[OtherTables] = (),
    *,
    kind: str = "auto",
    rtol: float | None = None,
    columns: Sequence[str] = (),
    seed: int = 0,
) -> Figures:
    """Everything that is measured.

    Args:
        questions: N questions in order.
        before, after: what both models answered; both have every question in `OWN`.
        properties: (N, len(PROPERTIES)), see `pictures.measured`.
        others: sets for forgetting.
        kind, rtol: how answers are compared.
        columns: metadata columns to slice by; none: all.
        seed: of resamples and permutations.

    Raises:
        InputError: a column that no question has.
    """
    samples = [question.sample for question in questions]
    cluster_N = clusters(samples)
    first, second = readings(questions, before, after, kind=kind, rtol=rtol)
    told = whole(questions, before, after, cluster_N, kind=kind)
    cut = by_columns(samples, columns)
    cut += [by_quantiles(properties[:, i], name) for i, name in enumerate(PROPERTIES)]
    slicings = [one for one in cut if isinstance(one, Slicing)]

    def rng(part: int) -> np.random.Generator:
        return np.random.default_rng([seed, FIGURES_STREAM, part])

    cuts = tuple(slices(slicings, first, second, cluster_N, rng(3)))
    tied = tuple(ties(slicings, told, cluster_N, rng(4)))
    ids = {sample.id: int(c) for sample, c in zip(samples, cluster_N, strict=True)}
    return Figures(
        n=len(questions),
        labelled=sum(question.answer is not None for question in questions),
        pictures=len({sample.images for sample in samples if sample.images}),
        k=first.k,
        measure=measure_of(first),
        accuracy=compare(first.accuracy[OWN], second.accuracy[OWN], cluster_N),
        greedy=compare(first.greedy, second.greedy, cluster_N),
        majority=compare(first.majority, second.majority, cluster_N),
        share=compare(first.share, second.share, cluster_N),
        abstained=compare(first.abstained, second.abstained, cluster_N),
        truncated=compare(first.truncated, second.truncated, cluster_N),
        conditions=tuple(conditions(first, second, cluster_N)),
        before=dependence(first, cluster_N),
        after=dependence(second, cluster_N),
        kappa_change=dependence_change(first, second, cluster_N),
        places=tuple(places(ids, before, after, kind=kind, rng=rng(0))),
        answers=answer_shift(told, rng(1)),
        lengths=lengths(first, second, cluster_N),
        length_shift=length_shift(questions, before, after, cluster_N, rng(2)),
        top=top_answer(told, cluster_N),
        common=tuple(common_answers(told)),
        slices=cuts,
        ties=tied,
        overlaps=tuple(overlaps(slicings, cuts, tied)),
        unused=tuple(one for one in cut if isinstance(one, Unused)),
        diversity=diversity(first, second, cluster_N),
        forgetting=tuple(
            other_set(
                one.name, one.questions, one.before, one.after, kind=kind, rtol=rtol, rng=rng(5 + i)
            )
            for i, one in enumerate(others)
        ),
    )  # fmt: skip


def plain(value: Any) -> Any:
    """Dataclasses and named tuples as dicts, for JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value
