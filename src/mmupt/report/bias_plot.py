"""Diagrams of a bias result: accuracy by what was shown, and slices whose gap to the rest moved.

Before is hatched and after filled, sure changes are filled points and others open squares, so that
a black and white print can be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from mmupt.report.curves import HAIRLINE, INK, QUIET
from mmupt.report.plots import svg
from mmupt.report.text import wrap
from mmupt.stats import Ratio

BLUE = "#1d3f66"

Bars = Sequence[tuple[str, Ratio, Ratio]]
"""What was shown, and the figure before and after."""

Points = Sequence[tuple[str, Ratio, bool]]
"""A slice, its change, and whether that is sure."""


def bars_svg(bars: Bars, name: str) -> str:
    """Pairs of bars with figures and intervals as an `<svg>` element."""
    return svg(lambda axes: _bars(axes, bars), name, size=(5.3, 3.2))


def points_svg(points: Points, name: str) -> str:
    """Changes with intervals, one a line, as an `<svg>` element; in points."""
    return svg(lambda axes: _points(axes, points), name, size=(5.3, 0.9 + 0.3 * len(points)))


def _bars(axes: Axes, bars: Bars) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    for place, (_, before, after) in enumerate(bars):
        for x, value, colour, hatch in (
            (place - 0.2, before, "white", "////"),
            (place + 0.2, after, BLUE, None),
        ):
            if math.isnan(value.estimate):
                continue
            axes.bar(
                x, value.estimate, 0.36, color=colour, hatch=hatch, edgecolor=BLUE, linewidth=0.9
            )
            top = value.estimate
            if not math.isnan(value.low):
                top = max(top, value.high)
                axes.errorbar(x, value.estimate, _ends(value), color=INK, capsize=3, linewidth=1)
            axes.annotate(
                f"{100 * value.estimate:.0f}%", (x, top), (0, 2), textcoords="offset points",
                ha="center", va="bottom", fontsize=9,
            )  # fmt: skip
    axes.set_xticks(range(len(bars)), [name for name, _, _ in bars], parse_math=False)
    axes.grid(axis="y", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0, max(0.05, axes.get_ylim()[1]) * 1.12)


def _points(axes: Axes, points: Points) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    for place, (_, value, sure) in enumerate(points):
        axes.errorbar(
            100 * value.estimate, place,
            xerr=None if math.isnan(value.low) else _ends(value, 100), color=BLUE,
            marker="o" if sure else "s", markersize=6.5, markeredgecolor=BLUE,
            markerfacecolor=BLUE if sure else "white", capsize=3, linewidth=1.4,
        )  # fmt: skip
    axes.axvline(0, color=INK, linestyle="--", linewidth=1)
    names = ["\n".join(wrap(name, 34, 1)) for name, _, _ in points]
    axes.set_yticks(range(len(points)), names, parse_math=False, fontsize=9.5)
    axes.set_ylim(len(points) - 0.5, -0.5)
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)
    axes.tick_params(length=0, colors=INK)


def _ends(value: Ratio, scale: float = 1.0) -> list[list[float]]:
    """Lengths of an interval's two arms, as `errorbar` wants them; never negative."""
    return [
        [scale * max(0.0, value.estimate - value.low)],
        [scale * max(0.0, value.high - value.estimate)],
    ]
