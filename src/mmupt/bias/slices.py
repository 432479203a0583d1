"""Slices that training hurt, and answers that follow a property of the picture.

For slice s and a value v of each question (accuracy where true answers exist, else vote share):

    gap(model) = mean of v within s - mean of v outside,    amplification = gap(after) - gap(before)

which is the difference of the mean changes within and outside, so that one bootstrap of the paired
changes gives its interval. Holm's correction is over all slices of all properties.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmupt.bias.asked import OWN
from mmupt.bias.chance import Counts, Floats, Gap, Ints, gaps, swap_test
from mmupt.bias.distribution import Whole
from mmupt.bias.groups import LEAST, Group, Slicing
from mmupt.bias.modality import Compared, compare
from mmupt.bias.readings import Reading
from mmupt.stats import Ratio, holm

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice against the rest.

    Attributes:
        column, source: the property.
        group: which slice of it.
        n: questions within that were scored.
        value: the measured value within.
        outside: the same outside.
        gap_before, gap_after: within - outside.
        amplification: change of the gap, with interval and p-value.
        p_holm: the p-value after Holm's correction.
        shift: fraction of the majorities within that training changed (pseudo-label shift).
        shift_gap: the same within - outside; tested where there are no true answers.
        shift_p_holm: its corrected p-value; NaN where it was not tested.
        verdict: `hurt`: the value surely fell, and more than outside; `behind`: it did not surely
            fall, but the gap surely widened against it; `moved`: labels changed surely more often
            than outside; `ahead`: the gap moved in its favour; `same`; `few`: too few to tell.
    """

    column: str
    source: str
    group: Group
    n: int
    value: Compared
    outside: Compared
    gap_before: float
    gap_after: float
    amplification: Gap
    p_holm: float
    shift: Ratio
    shift_gap: Gap
    shift_p_holm: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Tie:
    """The slice of a property that one answer has come to stand for most.

    The excess of an answer in a slice is its share of the answers within minus that outside.

    Attributes:
        column, source: the property.
        before, after: excess in the two models' answers.
        truth: excess in the true answers; NaN without any.
        p_holm: corrected p-value that no answer's excess in any slice grew (and, with true answers,
            that none is above theirs): permutation tests of the largest growth, which swap the two
            lots of answers of whole clusters.
        group: the slice where one answer's excess grew most.
        answer: that answer.
        share_before, share_after, share_truth: its share within the slice.
        verdict: `tied`, or `same`.
    """

    column: str
    source: str
    before: float
    after: float
    truth: float
    p_holm: float
    group: Group
    answer: str
    share_before: float
    share_after: float
    share_truth: float
    verdict: str


def measure_of(before: Reading) -> str:
    """What slices are compared by: `accuracy` where enough questions have a true answer."""
    return "accuracy" if int((~np.isnan(before.accuracy[OWN])).sum()) >= LEAST else "share"


def slices(
    slicings: Sequence[Slicing], before: Reading, after: Reading, cluster_N: Ints,
    rng: np.random.Generator,
) -> list[Slice]:  # fmt: skip
    """Every slice of every slicing, in order."""
    measure = measure_of(before)
    first, second = (
        one.accuracy[OWN] if measure == "accuracy" else one.share for one in (before, after)
    )
    moved = np.asarray(
        [
            float(a.majority != b.majority) if a.classes and b.classes else math.nan
            for a, b in zip(before.said[OWN], after.said[OWN], strict=True)
        ]
    )
    columns = [(s, g, s.index_N == i) for s in slicings for i, g in enumerate(s.groups)]
    if not columns:
        return []
    member = np.stack([inside for _, _, inside in columns], axis=1)
    changes = [_enough(gap) for gap in gaps(second - first, member, cluster_N, rng)]
    moves = [_enough(gap) for gap in gaps(moved, member, cluster_N, rng)]
    ps = [gap.p for gap in changes]
    tested = ps if measure == "accuracy" else ps + [gap.p for gap in moves]
    adjusted = holm(tested)
    shift_p = adjusted[len(ps) :] or [math.nan] * len(ps)
    found = []
    for place, (slicing, group, inside) in enumerate(columns):
        value = compare(first[inside], second[inside], cluster_N[inside])
        rest = compare(first[~inside], second[~inside], cluster_N[~inside])
        one = Slice(
            slicing.name, slicing.source, group,
            int((~np.isnan(second - first))[inside].sum()), value, rest,
            value.before.estimate - rest.before.estimate,
            value.after.estimate - rest.after.estimate,
            changes[place], adjusted[place],
            _shift(moved[inside], cluster_N[inside]), moves[place], shift_p[place], "",
        )  # fmt: skip
        found.append(replace(one, verdict=_verdict(one)))
    return found


def _shift(moved: Floats, cluster: Ints) -> Ratio:
    return compare(moved, moved, cluster).after


def _enough(gap: Gap) -> Gap:
    """A slice of too few pictures is not tested."""
    small = min(gap.inside, gap.outside) < LEAST
    return replace(gap, low=math.nan, high=math.nan, p=math.nan) if small else gap


def _verdict(one: Slice) -> str:
    gap = one.amplification
    if math.isnan(gap.p):
        return "few"
    if one.p_holm < LEVEL:
        if gap.estimate > 0:
            return "ahead"
        return "hurt" if one.value.change.high < 0 else "behind"
    if one.shift_p_holm < LEVEL and one.shift_gap.estimate > 0:
        return "moved"
    return "same"


def ties(
    slicings: Sequence[Slicing], told: Whole, cluster_N: Ints, rng: np.random.Generator
) -> list[Tie]:
    """How much the answers follow each property; none where nobody answered."""
    found: list[Tie] = []
    if told.classes < 2:
        return found
    labelled = bool(len(told.truth.class_M))
    for slicing in slicings:
        size = len(slicing.groups)
        tables = [
            _crossed(classes_N, slicing, cluster_N, told.classes)
            for classes_N in (
                told.before_N,
                told.after_N,
                [() if t < 0 else (t,) for t in told.truth_N],
            )
        ]

        def grown(first: Floats, second: Floats, shape: tuple[int, int] = (size, -1)) -> float:
            growth = _excess(second.reshape(shape)) - _excess(first.reshape(shape))
            return float(growth[:, :-1].max(initial=0.0))

        cells = size * told.classes
        first, second, truth = (t.total(cells).reshape(size, -1) for t in tables)
        p = swap_test(tables[0], tables[1], cells, grown, rng)[1]
        if labelled:
            # truth and answers of the same questions, each as one unit of weight
            scored = np.asarray(told.truth_N) >= 0
            answers = _crossed(
                [part if known else () for part, known in zip(told.after_N, scored, strict=True)],
                slicing, cluster_N, told.classes, unit=True,
            )  # fmt: skip
            p = max(p, swap_test(tables[2], answers, cells, grown, rng)[1])
        group, answer = _most_grown(first, second)
        found.append(
            Tie(
                column=slicing.name,
                source=slicing.source,
                before=float(_excess(first)[group, answer]),
                after=float(_excess(second)[group, answer]),
                truth=float(_excess(truth)[group, answer]) if labelled else math.nan,
                p_holm=p,
                group=slicing.groups[group],
                answer=told.names[answer],
                share_before=_share(first, group, answer),
                share_after=_share(second, group, answer),
                share_truth=_share(truth, group, answer),
                verdict="",
            )
        )
    adjusted = holm([tie.p_holm for tie in found])
    return [
        replace(tie, p_holm=p, verdict="tied" if p < LEVEL else "same")
        for tie, p in zip(found, adjusted, strict=True)
    ]


def _crossed(
    classes_N: Sequence[Sequence[int]], slicing: Slicing, cluster_N: Ints, classes: int,
    *, unit: bool = False,
) -> Counts:  # fmt: skip
    """Counts of pairs of slice and answer; with `unit` every question weighs 1."""
    rows = [
        (int(n), int(g) * classes + c, 1 / len(part) if unit else 1.0)
        for part, g, n in zip(classes_N, slicing.index_N, cluster_N, strict=True)
        if g >= 0
        for c in part
    ]
    table = np.asarray(rows, dtype=np.float64).reshape(-1, 3)
    return Counts(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2])


def _excess(table_GC: Floats) -> Floats:
    """Share of each answer within each slice minus that outside; 0 where a side is empty."""
    outside = table_GC.sum(axis=0) - table_GC
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = table_GC / table_GC.sum(axis=1, keepdims=True) - outside / outside.sum(
            axis=1, keepdims=True
        )
    result: Floats = np.nan_to_num(excess)
    return result


def _most_grown(before_GC: Floats, after_GC: Floats) -> tuple[int, int]:
    """Slice and answer whose excess grew most; abstentions, the last class, are no answer."""
    grown = (_excess(after_GC) - _excess(before_GC))[:, :-1]
    group, answer = np.unravel_index(int(grown.argmax()), grown.shape)
    return int(group), int(answer)


def _share(table_GC: Floats, group: int, answer: int) -> float:
    total = table_GC[group].sum()
    return float(table_GC[group, answer] / total) if total else math.nan
