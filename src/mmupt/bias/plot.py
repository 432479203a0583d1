"""A report as a picture: what is shown, slices, the distribution of answers, what was lost.

Before and after differ by hatching and marker, not by colour alone, so that a black and white print
can be read. The text alternative is in the files' metadata and in `bias.json`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mmupt.bias.figures import Figures
from mmupt.bias.judge import Says, verdict_of
from mmupt.bias.run import Report
from mmupt.bias.slices import LEVEL, Slice
from mmupt.bias.words import MARKS, alternative, probability, say, sentence, slice_name
from mmupt.report import fonts
from mmupt.report.curves import HAIRLINE, INK, QUIET
from mmupt.report.files import write_atomically
from mmupt.report.text import clean, wrap
from mmupt.stats import Ratio

_BLUE, _LIGHT, _GREY = "#1d3f66", "#ffffff", "#c9c9c9"
_MOST = 14
"""Slices that are drawn: those that moved most surely."""

_LINES = 14
"""Lines of findings below the diagrams."""


def write_bias_pictures(report: Report, folder: Path, lang: str = "en") -> None:
    """Write `bias.png` and `bias.svg`.

    Japanese only where a Japanese font is installed.

    Args:
        report: what is drawn.
        folder: where to write; files are replaced in one go.
        lang: `en` or `ja`.
    """
    told = alternative(report.figures, report.findings, lang)
    if lang == "ja" and fonts.japanese_family() is None:
        lang = "en"
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.family": fonts.families(), "font.size": 10, "text.color": INK,
                "axes.labelcolor": INK, "hatch.linewidth": 0.8, "hatch.color": _BLUE,
                "svg.hashsalt": "mmupt", "text.parse_math": False,
            }
        )  # fmt: skip
        figure = _drawn(report, lang)
        for kind, metadata in (
            ("png", {"Software": None, "Description": told}),
            ("svg", {"Date": None, "Title": "mmupt bias", "Description": told}),
        ):
            buffer = BytesIO()
            figure.savefig(buffer, format=kind, dpi=100, metadata=metadata)
            write_atomically(folder / f"bias.{kind}", buffer.getvalue())


def _drawn(report: Report, lang: str) -> Figure:
    lines = list(_told(report, lang))
    below = 0.24 * len(lines) + 0.4
    chosen = _chosen(report.figures)
    tall = max(3.2, 0.3 * len(chosen))
    height = 1.3 + 3.4 + tall + 1.9 + below
    figure = Figure(figsize=(15, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    verdict = verdict_of(list(report.findings))
    figure.text(0.03, 1 - 0.35 / height, "mmupt bias", color=QUIET, fontsize=11, va="top")
    headline = say(f"verdict.{verdict}", lang, n=report.figures.n)
    figure.text(0.03, 1 - 0.6 / height, _safe(headline), fontsize=15, va="top")
    top, middle = 1 - (1.75 + 3.0) / height, (below + 0.75) / height
    boxes = (
        (_pictures, (0.06, top, 0.39, 3.0 / height)),
        (_answers, (0.55, top, 0.42, 3.0 / height)),
        (_slices, (0.24, middle, 0.21, tall / height)),
        (_lost, (0.72, middle, 0.25, tall / height)),
    )
    for draw, place in boxes:
        axes = figure.add_axes(place)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(QUIET)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, colors=INK)
        draw(axes, report.figures, lang)
    y = (below - 0.15) / height
    for mark, text in lines:
        figure.text(0.03, y, mark, weight="bold", fontsize=10.5, va="top")
        figure.text(0.043, y, _safe(text), fontsize=10.5, va="top")
        y -= 0.24 / height
    return figure


def _told(report: Report, lang: str) -> Iterator[tuple[str, str]]:
    """The first findings, wrapped."""
    room = _LINES
    for one in report.findings:
        lines = wrap(clean(sentence(one, lang), 600), 174, 3)
        if len(lines) > room or (room < _LINES and one.says is Says.NOTE and room < 4):
            return
        room -= len(lines)
        for index, line in enumerate(lines):
            yield (MARKS[one.says] if not index else "", line)


def _title(axes: Axes, title: str, note: str) -> None:
    axes.set_title(_safe(f"{title}\n"), loc="left", fontsize=12.5, weight="bold", pad=10)
    axes.annotate(
        _safe(note), (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points",
        color=QUIET, fontsize=9.5, annotation_clip=False,
    )  # fmt: skip


def _pairs(
    axes: Axes,
    names: Sequence[str],
    pairs: Sequence[Sequence[float | Ratio]],
    labels: Sequence[str],
) -> None:
    """Groups of bars, hatched before and filled after, with figures and intervals."""
    looks: tuple[tuple[str, str | None], ...] = ((_LIGHT, "////"), (_BLUE, None), (_GREY, None))
    width, crowded = 0.8 / len(labels), len(names) * len(labels) > 12
    for series, label in enumerate(labels):
        shown: str | None = _safe(label)
        for place, values in enumerate(pairs):
            value = values[series]
            mean = value.estimate if isinstance(value, Ratio) else value
            if math.isnan(mean):
                continue
            x = place + (series - (len(labels) - 1) / 2) * width
            colour, hatch = looks[series]
            axes.bar(
                x, mean, width * 0.92, color=colour, hatch=hatch, edgecolor=_BLUE, linewidth=0.9,
                label=shown,
            )  # fmt: skip
            shown, high = None, mean
            if isinstance(value, Ratio) and not math.isnan(value.low):
                high = max(mean, value.high)
                ends = [[max(0.0, mean - value.low)], [max(0.0, value.high - mean)]]
                axes.errorbar(x, mean, ends, color=INK, capsize=3, linewidth=1)
            axes.annotate(
                f"{100 * mean:.0f}" if crowded else f"{mean:.0%}",
                (x, high),
                (0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7 if crowded else 8.5,
            )
    axes.set_xticks(range(len(names)), [_safe(name) for name in names])
    axes.grid(axis="y", color=HAIRLINE, linewidth=0.7)
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))  # whole percents
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0, max(0.05, axes.get_ylim()[1]) * 1.16)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1.01), ncols=len(labels), frameon=False, fontsize=9
    )


def _pictures(axes: Axes, told: Figures, lang: str) -> None:
    labelled = not math.isnan(told.accuracy.before.estimate)
    note = say(f"plot.pictures_{'accuracy' if labelled else 'unchanged'}", lang)
    _title(axes, say("plot.pictures", lang), note)
    names = {c: say(f"plot.{c}", lang) for c in ("own", "swapped", "blank")}
    names["none"] = say("plot.none_shown", lang)
    chosen = told.conditions if labelled else told.conditions[1:]
    if not chosen:
        _nothing(axes, lang)
        return
    values = [one.accuracy if labelled else one.unchanged for one in chosen]
    _pairs(
        axes, [names[one.name] for one in chosen], [(v.before, v.after) for v in values],
        (say("plot.before", lang), say("plot.after", lang)),
    )  # fmt: skip


def _answers(axes: Axes, told: Figures, lang: str) -> None:
    note = say(
        "plot.answers_note", lang, kl=f"{told.answers.kl:.3f}", p=probability(told.answers.p)
    )
    _title(axes, say("plot.answers", lang), note)
    if not told.common:
        _nothing(axes, lang)
        return
    known = not all(math.isnan(one.truth) for one in told.common)
    labels = ["before", "after", "truth"] if known else ["before", "after"]
    _pairs(
        axes, [clean(one.answer, 12) for one in told.common],
        [(one.before, one.after, one.truth)[: len(labels)] for one in told.common],
        [say(f"plot.{name}", lang) for name in labels],
    )  # fmt: skip


def _chosen(told: Figures) -> list[Slice]:
    tested = [one for one in told.slices if not math.isnan(one.amplification.p)]
    ranked = sorted(tested, key=lambda one: one.amplification.p)[:_MOST]
    kept = {id(one) for one in ranked}
    return [one for one in tested if id(one) in kept]


def _slices(axes: Axes, told: Figures, lang: str) -> None:
    measure = say(f"measure.{told.measure}", lang)
    _title(axes, say("plot.slices", lang), say("plot.slices_note", lang, measure=measure))
    chosen = _chosen(told)
    if not chosen:
        _nothing(axes, lang)
        return
    _points(
        axes,
        [
            (
                slice_name(one.column, one.source, one.group, lang),
                Ratio(one.amplification.estimate, one.amplification.low, one.amplification.high),
                one.p_holm < LEVEL,
            )
            for one in chosen
        ],
    )


def _lost(axes: Axes, told: Figures, lang: str) -> None:
    _title(axes, say("plot.reach", lang), say("plot.reach_note", lang))
    rows = [(say("table.pass", lang, k=r.k), r.value.change) for r in told.diversity.passes]
    rows += [
        (say("table.forgetting", lang, name=clean(o.name, 24)), o.accuracy.change)
        for o in told.forgetting
    ]
    rows += [(say("table.share", lang), told.share.change)]
    rows = [(name, change) for name, change in rows if not math.isnan(change.estimate)]
    _points(axes, [(name, change, change.low > 0 or change.high < 0) for name, change in rows])


def _points(axes: Axes, rows: Sequence[tuple[str, Ratio, bool]]) -> None:
    """Estimates with intervals, one a line; filled where sure."""
    for place, (_, value, sure) in enumerate(rows):
        mean = 100 * value.estimate
        ends = None
        if not math.isnan(value.low):
            ends = [[max(0.0, mean - 100 * value.low)], [max(0.0, 100 * value.high - mean)]]
        axes.errorbar(
            mean, place, xerr=ends, color=_BLUE, marker="o" if sure else "s", markersize=7,
            markerfacecolor=_BLUE if sure else "white", capsize=3, linewidth=1.4,
        )  # fmt: skip
    axes.axvline(0, color=INK, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), [_safe(name) for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)


def _nothing(axes: Axes, lang: str) -> None:
    axes.text(0.02, 0.5, _safe(say("plot.none", lang)), color=QUIET, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


def _safe(text: str) -> str:
    return fonts.printable(text)
