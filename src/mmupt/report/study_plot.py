"""A study as a picture: a dot and an interval per arm, for greedy and for sampled accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mmupt.report import fonts
from mmupt.report.curves import ACCURACY_STYLES, HAIRLINE, INK, QUIET, Style
from mmupt.report.files import write_atomically
from mmupt.report.sheet import Canvas
from mmupt.report.text import clean, count, percent, points
from mmupt.report.values import mapping, number

WIDTH = 1600
_DPI = 100
_MARGIN = 52
_ROW = 44
_TOP = 176
_BOTTOM = 64
_NAMES = 250
_FIGURES = 360

_STYLES = tuple(style for style in ACCURACY_STYLES if style.key in ("greedy", "mean"))
_TITLES = {"greedy": "greedy", "mean": "sampled"}
_OFFSETS = {"greedy": -0.16, "mean": 0.16}
"""Fractions of a row, greedy above sampled."""


def write_study_png(study: Mapping[str, Any], path: Path) -> None:
    """One row an arm, SFT first and as two lines through all of them.

    The two series differ in marker (round and full, square and hollow), so that a black and white
    print can be read. Beside them stand the gains over SFT in figures.

    Args:
        study: the content of `study.json`.
        path: where to write; replaced in one go.
    """
    rows = {"SFT": mapping(study["sft"])} | {
        clean(name, 26): mapping(arm) for name, arm in study["arms"].items()
    }
    height = _TOP + _ROW * len(rows) + _BOTTOM
    with _look():
        figure = Figure(figsize=(WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        canvas = Canvas(figure, WIDTH, height, fonts.printable)
        _heading(canvas, study)
        left, width = _MARGIN + _NAMES, WIDTH - 2 * _MARGIN - _NAMES - _FIGURES
        place = canvas.place(left, _TOP, width, _ROW * len(rows))
        axes = figure.add_axes(tuple(place))  # type: ignore[arg-type]
        _rows(axes, rows)
        _beside(canvas, rows, left + width + 24)
        _legend(axes, number(study["k"]))
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    write_atomically(path, buffer.getvalue())


def _heading(canvas: Canvas, study: Mapping[str, Any]) -> None:
    seeds = study["seeds"]
    several = f"means over {len(seeds)} seeds with 95% intervals" if len(seeds) > 1 else "one seed"
    canvas.text(_MARGIN, 34, "mmupt study", color=QUIET, fontsize=11)
    canvas.text(_MARGIN, 56, f"Held-out accuracy by arm, {several}", fontsize=16)
    note = (
        f"{count(number(study['n']))} questions, the same for all seeds; every arm starts from "
        "its seed's SFT model (lines)"
    )
    canvas.text(_MARGIN, 90, note, color=QUIET, fontsize=10.5)


def _rows(axes: Axes, rows: Mapping[str, Mapping[str, Any]]) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    for index in range(1, len(rows), 2):
        axes.axhspan(index - 0.5, index + 0.5, color="#f4f4f4", zorder=0)
    for style in _STYLES:
        start = _estimate(rows["SFT"], style.key)[0]
        if not math.isnan(start):
            axes.axvline(start, color=style.colour, linestyle=style.dash, linewidth=1.0, zorder=1)
        for index, row in enumerate(rows.values()):
            _point(axes, *_estimate(row, style.key), index + _OFFSETS[style.key], style)
    low, high = axes.get_xlim()  # the t interval of a few seeds can leave the scale
    axes.set_xlim(max(low, -0.01), min(high, 1.01))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), list(rows), parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value * 100:g}%")


def _point(axes: Axes, value: float, low: float, high: float, place: float, style: Style) -> None:
    if math.isnan(value):
        return
    if not math.isnan(low):
        axes.hlines(place, low, high, color=style.colour, linewidth=1.4, zorder=3)
    axes.plot([value], [place], linestyle="none", zorder=4, **_marker(style))


def _marker(style: Style) -> dict[str, Any]:
    hollow = style.key == "mean"
    return {
        "color": style.colour,
        "marker": style.marker,
        "markersize": 7,
        "markeredgewidth": 1.5 if hollow else 0.9,
        "markeredgecolor": style.colour if hollow else "white",
        "markerfacecolor": "white" if hollow else style.colour,
    }


def _beside(canvas: Canvas, rows: Mapping[str, Mapping[str, Any]], x: float) -> None:
    """Sampled accuracy and its gain over SFT, in figures."""
    canvas.text(x, _TOP - 26, "sampled", color=QUIET, fontsize=10)
    canvas.text(x + 90, _TOP - 26, "against SFT, in points", color=QUIET, fontsize=10)
    for index, row in enumerate(rows.values()):
        y = _TOP + _ROW * index + _ROW / 2 - 9
        canvas.text(x, y, percent(_estimate(row, "mean")[0]), fontsize=11.5)
        gain = mapping(mapping(row.get("gain")).get("mean"))
        value, low, high = (number(gain.get(key)) for key in ("value", "low", "high"))
        if not math.isnan(value):
            ends = "" if math.isnan(low) else f"  [{points(low)}, {points(high)}]"
            canvas.text(x + 90, y, points(value) + ends, fontsize=11.5)


def _legend(axes: Axes, k: float) -> None:
    handles = [
        Line2D([], [], linestyle=style.dash, linewidth=1.0, **_marker(style)) for style in _STYLES
    ]
    titles = [_TITLES["greedy"], f"{_TITLES['mean']} (mean of {count(k)})"]
    axes.legend(
        handles, titles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False,
        borderaxespad=0.4, handlelength=3.0, fontsize=10.5,
    )  # fmt: skip


def _estimate(row: Mapping[str, Any], key: str) -> tuple[float, float, float]:
    found = mapping(mapping(row.get("over_seeds")).get(key))
    return number(found.get("value")), number(found.get("low")), number(found.get("high"))


@contextmanager
def _look() -> Iterator[None]:
    """Settings of the house, whatever the reader's own matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.family": fonts.families(),
                "font.size": 11.5,
                "text.color": INK,
                "axes.labelcolor": INK,
            }
        )
        yield
