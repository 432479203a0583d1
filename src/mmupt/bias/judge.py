"""What the figures mean: findings, and one verdict. Pure; the words are in `words`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mmupt.bias.figures import Figures
from mmupt.bias.modality import Dependence
from mmupt.bias.slices import Slice, Tie


class Says(StrEnum):
    """What a finding speaks for."""

    HARM = "harm"
    WARN = "warn"
    NOTE = "note"
    GOOD = "good"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where lines are drawn; each is a size beside the test that says it is not chance."""

    min_kappa: float = 0.2
    """Below it answers do not depend on the picture, as in the pilot."""
    min_change: float = 0.05
    """Smallest change of a share that is worth a warning."""
    max_top_rise: float = 0.15
    """Rise of one answer's share, as the guard's."""
    length_window: tuple[float, float] = (0.5, 2.0)
    """Mean length of replies after / before, as the guard's."""
    min_kl: float = 0.01
    """Smallest divergence of answers or lengths worth a line, in nats."""
    margin: float = 0.02
    """A loss on another set that is ruled out counts as kept."""
    min_pictures: int = 30
    """Fewer make all figures rough."""
    level: float = 0.05
    """Of tests."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say.

    Attributes:
        key: which sentence, in the locale files as `find.{key}`.
        says: what it speaks for.
        values: what the sentence is filled with; numbers are fractions.
    """

    key: str
    says: Says
    values: Mapping[str, Any] = field(default_factory=dict)


def verdict_of(findings: list[Finding]) -> str:
    """`harm`, `side-effects` (warnings alone), or `nothing-found`."""
    says = {finding.says for finding in findings}
    if Says.HARM in says:
        return "harm"
    return "side-effects" if Says.WARN in says else "nothing-found"


def findings(figures: Figures, limits: Thresholds | None = None) -> list[Finding]:
    """Everything that is to be said, what is worst first."""
    limits = limits or Thresholds()
    parts = (
        _accuracy, _slices, _ties, _overlaps, _pictures, _prior, _places, _answers, _replies,
        _forgetting, _diversity, _size,
    )  # fmt: skip
    found = [finding for part in parts for finding in part(figures, limits)]
    return sorted(found, key=lambda finding: list(Says).index(finding.says))


def _accuracy(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    change = figures.accuracy.change
    if math.isnan(change.estimate):
        yield Finding("unlabelled", Says.NOTE, {"n": figures.n})
        return
    values = {
        "before": figures.accuracy.before.estimate, "after": figures.accuracy.after.estimate,
        "change": change.estimate, "low": change.low, "high": change.high,
    }  # fmt: skip
    if change.high < 0:
        yield Finding("accuracy_fell", Says.HARM, values)
    elif change.low > 0:
        yield Finding("accuracy_rose", Says.GOOD, values)
    else:
        yield Finding("accuracy_same", Says.NOTE, values)


def _slices(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    says = {"hurt": Says.HARM, "behind": Says.WARN, "moved": Says.WARN, "ahead": Says.NOTE}
    lost = {one.column for one in figures.slices if one.verdict in ("hurt", "behind")}
    for one in figures.slices:
        if one.verdict == "ahead" and one.column in lost:
            continue  # the mirror image of the slice that lost
        if one.verdict in says:
            yield Finding(f"slice_{one.verdict}", says[one.verdict], _slice(one, figures))
    if figures.slices and not any(one.verdict in says for one in figures.slices):
        tested = sum(not math.isnan(one.p_holm) for one in figures.slices)
        yield Finding("slices_same", Says.GOOD, {"tested": tested})


def _slice(one: Slice, figures: Figures) -> dict[str, Any]:
    gap = one.amplification
    return {
        "slice": one, "measure": figures.measure, "n": one.n,
        "before": one.value.before.estimate, "after": one.value.after.estimate,
        "change": one.value.change.estimate, "outside": one.outside.change.estimate,
        "gap": gap.estimate, "low": gap.low, "high": gap.high, "p": one.p_holm,
        "shift": one.shift.estimate, "shift_gap": one.shift_gap.estimate,
        "shift_p": one.shift_p_holm,
    }  # fmt: skip


def _ties(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    labelled = figures.measure == "accuracy"
    for tie in figures.ties:
        if tie.verdict == "tied":
            known = labelled and not math.isnan(tie.share_truth)
            key = "tied" if known else "tied_unlabelled"
            yield Finding(key, Says.HARM if known else Says.WARN, _tie(tie))


def _tie(tie: Tie) -> dict[str, Any]:
    return {
        "slice": tie, "answer": tie.answer, "before": tie.share_before, "after": tie.share_after,
        "truth": tie.share_truth, "excess": tie.after, "excess_before": tie.before, "p": tie.p_holm,
    }  # fmt: skip


def _overlaps(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    for one in figures.overlaps:
        values = {"slice": one.first, "other": one.second, "shared": one.shared}
        yield Finding("overlap", Says.NOTE, values)


def blind(dependence: Dependence, limits: Thresholds) -> bool:
    """Whether it is shown that answers do not depend on the picture."""
    return dependence.constant or dependence.kappa.high < limits.min_kappa


def _pictures(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    if not figures.after.n:
        yield Finding("no_pictures", Says.NOTE)
        return
    kappa, was = figures.after.kappa, figures.before.kappa
    values = {
        "kappa": kappa.estimate, "low": kappa.low, "high": kappa.high, "was": was.estimate,
        "min": limits.min_kappa, "change": figures.kappa_change.estimate,
        "gain": figures.after.gain.estimate,
    }  # fmt: skip
    if blind(figures.after, limits):
        both = blind(figures.before, limits)
        constant = figures.after.constant
        key = "blind_constant" if constant else "blind_both" if both else "blind"
        yield Finding(key, Says.HARM, values)
    elif figures.kappa_change.high < 0 and figures.kappa_change.estimate <= -limits.min_change:
        yield Finding("looks_less", Says.WARN, values)
    elif kappa.low >= limits.min_kappa:
        yield Finding("looks", Says.GOOD, values)
    else:
        yield Finding("looks_unsure", Says.NOTE, values)


def _prior(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    for one in figures.conditions:
        change = one.unchanged.change
        if (
            one.name in ("blank", "none")
            and change.low > 0
            and change.estimate >= limits.min_change
        ):
            yield Finding(
                "prior_grew",
                Says.WARN,
                {
                    "condition": one.name, "before": one.unchanged.before.estimate,
                    "after": one.unchanged.after.estimate, "low": change.low, "high": change.high,
                },
            )  # fmt: skip


def _places(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    for one in figures.places:
        share = max(one.after, default=math.nan)
        place = one.after.index(share) + 1 if share == share else 0
        values = {
            "options": one.options, "n": one.n, "place": place, "share": share,
            "before": one.before[place - 1], "even": 1 / one.options, "p": one.p_after,
            "p_change": one.p_change,
        }  # fmt: skip
        sure = one.p_after < limits.level and one.bias_after >= limits.min_change
        if sure and one.p_change < limits.level and one.bias_after > one.bias_before:
            yield Finding("position_grew", Says.HARM, values)
        elif sure:
            yield Finding("position", Says.WARN, values)
        else:
            yield Finding("position_none", Says.GOOD, values)


def _answers(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    if figures.answers.p < limits.level and figures.answers.kl >= limits.min_kl:
        yield Finding(
            "answers_moved", Says.NOTE, {"kl": figures.answers.kl, "p": figures.answers.p}
        )
    if figures.top is None:
        return
    top, change = figures.top, figures.top.share.change
    values = {
        "answer": top.answer, "before": top.share.before.estimate,
        "after": top.share.after.estimate, "truth": top.truth,
    }  # fmt: skip
    above = top.share.after.low - top.truth
    if not math.isnan(top.truth):
        if change.low > 0 and above > limits.min_change:
            yield Finding("top_truth", Says.HARM, values)
    elif change.low > 0 and change.estimate > limits.max_top_rise:
        yield Finding("top_rose", Says.WARN, values)


def _replies(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    before, after = figures.lengths.before.estimate, figures.lengths.after.estimate
    low, high = limits.length_window
    if before and not low <= after / before <= high:
        yield Finding("length", Says.WARN, {"before": before, "after": after})
    elif figures.length_shift.p < limits.level and figures.length_shift.kl >= limits.min_kl:
        values = {"before": before, "after": after, "kl": figures.length_shift.kl}
        yield Finding("length_moved", Says.NOTE, values)
    for name, one in (("abstained", figures.abstained), ("truncated", figures.truncated)):
        if one.change.low > 0 and one.change.estimate >= limits.min_change:
            values = {"before": one.before.estimate, "after": one.after.estimate}
            yield Finding(name, Says.WARN, values)


def _forgetting(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    for one in figures.forgetting:
        change = one.accuracy.change
        values = {
            "name": one.name, "n": one.labelled, "before": one.accuracy.before.estimate,
            "after": one.accuracy.after.estimate, "change": change.estimate, "low": change.low,
            "high": change.high, "moved": one.moved.estimate,
        }  # fmt: skip
        if math.isnan(change.estimate):
            yield Finding("forgetting_unlabelled", Says.NOTE, values | {"n": one.n})
        elif change.high < 0:
            yield Finding("forgot", Says.HARM, values)
        elif change.low > -limits.margin:
            yield Finding("kept", Says.GOOD, values)
        else:
            yield Finding("forgetting_unsure", Says.NOTE, values)


def _diversity(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    told = figures.diversity
    if told.passes:
        reach = told.passes[-1]
        change = reach.value.change
        if change.high < 0:
            values = {
                "k": reach.k, "before": reach.value.before.estimate,
                "after": reach.value.after.estimate, "change": change.estimate,
            }  # fmt: skip
            yield Finding("reach_fell", Says.WARN, values)
    if told.distinct.change.high < 0:
        values = {
            "k": told.k, "before": told.distinct.before.estimate,
            "after": told.distinct.after.estimate,
        }  # fmt: skip
        yield Finding("narrower", Says.NOTE, values)


def _size(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    if 0 < figures.pictures < limits.min_pictures:
        yield Finding("few_pictures", Says.NOTE, {"pictures": figures.pictures})
