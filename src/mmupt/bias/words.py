"""Findings, verdict and the picture's text alternative in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmupt.bias.figures import Figures
from mmupt.bias.groups import Group
from mmupt.bias.judge import Finding, Says, verdict_of
from mmupt.bias.overlaps import Place
from mmupt.bias.slices import Slice, Tie
from mmupt.report.text import NOTHING, clean
from mmupt.words import LANGUAGES, texts

__all__ = [
    "LANGUAGES",
    "MARKS",
    "alternative",
    "fraction",
    "points",
    "property_name",
    "say",
    "sentence",
    "slice_name",
]

PACKAGE = "mmupt.bias"

MARKS: Mapping[Says, str] = {Says.HARM: "✗", Says.WARN: "!", Says.NOTE: "·", Says.GOOD: "✓"}
"""Told by shape, not by colour alone."""

_POINTS = (
    "change",
    "low",
    "high",
    "outside",
    "gap",
    "shift_gap",
    "gain",
    "excess",
    "excess_before",
)
"""Values that are differences of fractions."""

_PLAIN = ("kappa", "was", "min", "kl")
_WHOLE = ("n", "k", "tested", "options", "place", "pictures")
_KAPPAS = ("looks", "looks_less", "looks_unsure", "blind", "blind_both", "blind_constant")
_LENGTHS = ("length", "length_moved", "narrower")


def say(key: str, lang: str, **values: Any) -> str:
    """A text of this package, filled."""
    return texts(PACKAGE, lang)[key].format(**values)


def sentence(finding: Finding, lang: str) -> str:
    """A finding as a sentence; names and answers from data are made fit for a terminal."""
    filled = {name: _shown(finding.key, name, v, lang) for name, v in finding.values.items()}
    return say(f"find.{finding.key}", lang, **filled)


def _shown(key: str, name: str, value: Any, lang: str) -> str:
    if isinstance(value, Slice | Tie | Place):
        return slice_name(value.column, value.source, value.group, lang)
    if name == "measure":
        return say(f"measure.{value}", lang)
    if name == "condition":
        return say(f"shown.{value}", lang)
    if isinstance(value, str):
        return clean(value, 60)
    if name in _WHOLE:
        return f"{value:,.0f}"
    if name in ("p", "p_change", "shift_p"):
        return probability(value)
    if name in _PLAIN or (key in _KAPPAS and name in ("low", "high", "change")):
        return _decimal(value)
    if key in _LENGTHS:
        return NOTHING if math.isnan(value) else f"{value:.1f}"
    return points(value) if name in _POINTS else fraction(value)


def slice_name(column: str, source: str, group: Group, lang: str) -> str:
    """A slice in words: `brightness 12–43 (the lowest of 4 bins)`."""
    name = property_name(column, source, lang)
    shown = clean(group.name, 60)
    if not group.rank:
        return say("slice.value", lang, column=name, name=shown)
    place = {1: "first", group.bins: "last"}.get(group.rank, "middle")
    return say(f"slice.{place}", lang, column=name, name=shown, rank=group.rank, bins=group.bins)


def property_name(column: str, source: str, lang: str) -> str:
    """A column by its name, a property of pictures in words."""
    return say(f"property.{column}", lang) if source == "picture" else clean(column, 40)


def fraction(value: float) -> str:
    """0.674 as `67.4%`."""
    return NOTHING if math.isnan(value) else f"{value:.1%}"


def points(value: float) -> str:
    """A difference of fractions in points with its sign."""
    return NOTHING if math.isnan(value) else f"{100 * value:+.1f}".replace("-", "−")


def probability(value: float) -> str:
    """A p-value, with its sign of comparison: `= 0.012`, `< 0.001`."""
    if math.isnan(value):
        return f"= {NOTHING}"
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _decimal(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.2f}".replace("-", "−")


def alternative(figures: Figures, found: Sequence[Finding], lang: str) -> str:
    """What the picture shows, for those who cannot see it."""
    lines = [
        say("alt.title", lang, verdict=say(f"verdict.{verdict_of(list(found))}", lang, n=figures.n))
    ]
    for one in figures.conditions:
        values = one.accuracy if not math.isnan(one.accuracy.before.estimate) else one.unchanged
        key = "alt.accuracy" if values is one.accuracy else "alt.unchanged"
        lines.append(
            say(
                key,
                lang,
                shown=say(f"shown.{one.name}", lang),
                before=fraction(values.before.estimate),
                after=fraction(values.after.estimate),
            )
        )
    for cut in figures.slices:
        gap = cut.amplification
        lines.append(
            say(
                "alt.slice",
                lang,
                slice=slice_name(cut.column, cut.source, cut.group, lang),
                gap=points(gap.estimate),
                low=points(gap.low),
                high=points(gap.high),
                verdict=say(f"slice_verdict.{cut.verdict}", lang),
            )
        )
    return " ".join(lines)
