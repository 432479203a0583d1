"""What a vote share was worth: precision by bins of the share, as diagram and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator

from mmupt.report.curves import HAIRLINE, INK, QUIET, Audits
from mmupt.report.plots import svg
from mmupt.report.text import count, percent, percent_range, words
from mmupt.report.values import interval, mapping, number

MOST_AUDITS = 3
"""Diagrams side by side; the newest audits."""

_BLUE, _RUST = "#1d3f66", "#c4501b"


def drawn(audits: Audits) -> list[Mapping[str, Any]]:
    """The newest audits in which people told right or wrong."""
    return [audit for audit in audits if bins_of(audit)][-MOST_AUDITS:]


def bins_of(audit: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Bins of the vote share with at least one verdict."""
    found = audit.get("by_share")
    return [mapping(one) for one in found] if isinstance(found, list) else []


def calibration_svg(audit: Mapping[str, Any], lang: str) -> str:
    """The bins of one audit as an `<svg>` element."""
    name = f"calibration-{lang}-{audit['name']}"
    return svg(lambda axes: _axes(axes, audit, lang), name, size=(4.0, 3.0))


def _axes(axes: Axes, audit: Mapping[str, Any], lang: str) -> None:
    """Bins with intervals, the larger the more verdicts; dotted: a share that says what it is."""
    texts = words(lang)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=":")
    blocks = audit.get("calibration")
    if isinstance(blocks, list) and blocks:
        points = [(number(mapping(b).get("share")), number(mapping(b).get("probability")))
                  for b in blocks]  # fmt: skip
        axes.plot(*zip(*points, strict=True), color=_RUST, linestyle="--", linewidth=1.6,
                  marker="s" if len(points) == 1 else "", zorder=3)  # fmt: skip
    for one in bins_of(audit):
        value, ends, n = number(one.get("precision")), interval(one.get("precision_ci")), one["n"]
        share = number(one.get("share"))
        axes.vlines(share, ends.low, ends.high, color=_BLUE, linewidth=1.3, zorder=4)
        axes.plot([share], [value], color=_BLUE, marker="o", zorder=5, markeredgecolor="white",
                  markersize=min(11.0, 4 + math.sqrt(number(n))))  # fmt: skip
    lowest = min((number(one.get("from")) for one in bins_of(audit)), default=0.0)
    axes.set_xlim(max(0.0, min(0.5, lowest)) - 0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(0.25))
        axis.set_major_formatter(lambda value, _: f"{value * 100:.0f}%")
    axes.set_xlabel(texts["series_vote_share"], parse_math=False)
    axes.set_ylabel(texts["series_precision"], parse_math=False)


def calibration_alt(audit: Mapping[str, Any], lang: str) -> str:
    """The bins of a diagram in words."""
    texts = words(lang)
    told = [texts["calibration_alt_bin"].format(**bin_words(one)) for one in bins_of(audit)]
    return " ".join([texts["calibration_alt"], *told])


def bin_words(one: Mapping[str, Any]) -> dict[str, str]:
    """A bin's figures as text."""
    return {
        "low": f"{100 * number(one.get('from')):.3g}",
        "high": f"{100 * number(one.get('to')):.3g}",
        "right": count(number(one.get("right"))), "n": count(number(one.get("n"))),
        "value": percent(number(one.get("precision"))),
        "ends": percent_range(interval(one.get("precision_ci"))),
    }  # fmt: skip
