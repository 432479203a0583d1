"""A pilot as a picture: how the votes fell, what the pictures do, and with an audit what is right.

Fills differ by hatching and every bar carries its figure, so that a black and white print can be
read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mmupt.report import fonts
from mmupt.report.curves import HAIRLINE, INK, QUIET
from mmupt.report.files import write_atomically
from mmupt.report.pilot_table import MARKS, two_places
from mmupt.report.sheet import Canvas
from mmupt.report.text import cells, clean, count, words, wrap
from mmupt.report.values import interval, mapping, number

WIDTH = 1600
_DPI = 100
_MARGIN = 52
_GAP = 96
_PLOT = 300
_LINE = 25
_BLUE, _LIGHT, _PALE = "#1d3f66", "#b9c7d8", "#f3f3f3"
_MOST_BARS = 20
"""Different shares up to which each has its own bar; beyond, they are counted in so many bins."""

_TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "page": "mmupt vote",
        "about": "{n} questions, {samples} answers each over {views} views, temperature {t}",
        "votes": "How the votes fell",
        "votes_note": "questions by vote share; filled bars reach {min_share} and would train",
        "pictures": "What the pictures do",
        "pictures_note": "{tested} questions asked again at temperature {t}; kappa {kappa} "
        "({low} to {high})",
        "own": "its own\npicture",
        "other": "another\nquestion's",
        "blank": "blank\npicture",
        "agree": "agree with those about its own",
        "audit": "Whether the majority is right",
        "audit_note": "exact 95% intervals; dash-dotted: always the same answer",
        "no_pictures": "No pictures to test.",
        "no_audit": "Not audited: give some true answers with --audit.",
        "right_of": "{right}/{n}",
        "share_axis": "vote share",
        "questions_axis": "questions",
    },
    "ja": {
        "page": "mmupt vote",
        "about": "{n} 問、各 {samples} 回答({views} ビュー)、温度 {t}",
        "votes": "票の分布",
        "votes_note": "得票率ごとの質問数。塗りつぶしは {min_share} 以上で学習に使われる分",
        "pictures": "画像の役割",
        "pictures_note": "{tested} 問を温度 {t} で再質問。カッパ {kappa}({low}〜{high})",
        "own": "本来の\n画像",
        "other": "別の質問の\n画像",
        "blank": "空白の\n画像",
        "agree": "本来の画像への回答との一致",
        "audit": "多数決は正しいか",
        "audit_note": "正解率と正確な95%区間。一点鎖線:常に同じ答え",
        "no_pictures": "検査できる画像がありません。",
        "no_audit": "監査なし:--audit で正解を与えてください。",
        "right_of": "{right}/{n}",
        "share_axis": "得票率",
        "questions_axis": "質問数",
    },
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram of a pilot.

    Attributes:
        title, note: above it.
        draw: onto axes; None where there is nothing to draw, and the note says why.
    """

    title: str
    note: str
    draw: Callable[[Axes], None] | None


def write_pilot_png(metrics: Mapping[str, Any], path: Path, lang: str = "en") -> None:
    """Three diagrams above the reasons.

    Japanese only where a Japanese font is installed, as in `summary.png` of a run.

    Args:
        metrics: the content of the pilot's `metrics.json`.
        path: where to write; replaced in one go.
        lang: `en` or `ja`.
    """
    words(lang)  # refuses an unknown language
    if lang == "ja" and fonts.japanese_family() is None:
        lang = "en"
    reasons = [
        (MARKS.get(str(f["says"]), " "), wrap(clean(str(f[lang]), 600), 172, 3))
        for f in metrics["findings"]
    ]
    top = 190 + _PLOT + 76
    height = top + _LINE * sum(len(lines) for _, lines in reasons) + _MARGIN
    with _look():
        figure = Figure(figsize=(WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        canvas = Canvas(figure, WIDTH, height, fonts.printable)
        _heading(canvas, metrics, lang)
        width = (WIDTH - 2 * _MARGIN - 2 * _GAP) / 3
        for index, panel in enumerate(pilot_panels(metrics, lang)):
            x = _MARGIN + index * (width + _GAP)
            axes = figure.add_axes(tuple(canvas.place(x + 34, 190, width - 34, _PLOT)))  # type: ignore[arg-type]
            _title(canvas, x, panel)
            if panel.draw is None:
                axes.set_axis_off()
            else:
                panel.draw(axes)
        _reasons(canvas, reasons, top)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    write_atomically(path, buffer.getvalue())


def _heading(canvas: Canvas, metrics: Mapping[str, Any], lang: str) -> None:
    wording = _TEXTS[lang]
    about = wording["about"].format(
        n=count(number(metrics["n"])), samples=metrics["samples"], views=metrics["views"],
        t=f"{number(metrics['temperature']):g}",
    )  # fmt: skip
    canvas.text(_MARGIN, 34, f"{wording['page']}  ·  {about}", color=QUIET, fontsize=11)
    (headline,) = wrap(clean(str(metrics["summaries"][lang]), 300), 126, 1) or [""]
    canvas.text(_MARGIN, 58, headline, fontsize=16)


def _reasons(canvas: Canvas, reasons: list[tuple[str, list[str]]], top: float) -> None:
    y = top
    for mark, lines in reasons:
        canvas.text(_MARGIN, y, mark, fontsize=12, weight="bold")
        for line in lines:
            canvas.text(_MARGIN + 22, y, line, fontsize=12)
            y += _LINE


def pilot_panels(metrics: Mapping[str, Any], lang: str) -> list[Panel]:
    """How the votes fell, what the pictures do, and whether the majority is right."""
    wording = _TEXTS[lang]
    return [
        Panel(
            wording["votes"],
            wording["votes_note"].format(min_share=f"{number(metrics.get('min_share')):g}"),
            lambda axes: _votes(axes, metrics, wording),
        ),
        _picture_panel(mapping(metrics.get("pictures")), wording),
        _audit_panel(metrics, wording),
    ]


def _picture_panel(test: Mapping[str, Any], wording: Mapping[str, str]) -> Panel:
    if not number(test.get("tested")) > 0:
        return Panel(wording["pictures"], wording["no_pictures"], None)
    ends = interval(test.get("kappa_ci"))
    note = wording["pictures_note"].format(
        tested=count(number(test.get("tested"))), t=f"{number(test.get('temperature')):g}",
        kappa=two_places(number(test.get("kappa"))), low=two_places(ends.low),
        high=two_places(ends.high),
    )  # fmt: skip
    return Panel(wording["pictures"], note, lambda axes: _pictures(axes, test, wording))


def _audit_panel(metrics: Mapping[str, Any], wording: Mapping[str, str]) -> Panel:
    if not _bins(mapping(metrics.get("audit"))):
        return Panel(wording["audit"], wording["no_audit"], None)
    return Panel(
        wording["audit"], wording["audit_note"], lambda axes: _audit(axes, metrics, wording)
    )


def _bins(audit: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Bins of the vote share with audited labels."""
    found = audit.get("bins")
    return [mapping(one) for one in found] if isinstance(found, list) else []


def _votes(axes: Axes, metrics: Mapping[str, Any], wording: Mapping[str, str]) -> None:
    least = number(metrics.get("min_share"))
    _frame(axes)
    bars = _bars(_shares(metrics))
    width = 0.8 * min((b - a for a, b in zip(bars, list(bars)[1:], strict=False)), default=0.1)
    for share, n in bars.items():
        kept = share >= least
        axes.bar(
            share, n, width=width, color=_BLUE if kept else "white", edgecolor=_BLUE,
            hatch=None if kept else "////", linewidth=0.9,
        )  # fmt: skip
    axes.axvline(least - width * 0.625, color=INK, linestyle="--", linewidth=1.2)
    axes.set_xlim(-0.02, 1 + width)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(wording["share_axis"])
    axes.set_ylabel(wording["questions_axis"])


def _shares(metrics: Mapping[str, Any]) -> dict[float, int]:
    """Questions by vote share; what is no share of some questions is left out."""
    found = {}
    for text, n in mapping(metrics.get("shares")).items():
        try:
            share = float(text)
        except ValueError:
            continue
        if 0 <= share <= 1 and number(n) > 0:
            found[share] = round(number(n))
    return found


def _bars(shares: Mapping[float, int]) -> dict[float, int]:
    """Questions by share, in order; many different shares are counted in bins, by their middle."""
    if len(shares) <= _MOST_BARS:
        return dict(sorted(shares.items()))
    bars: dict[float, int] = {}
    for share, n in sorted(shares.items()):
        middle = (min(math.floor(share * _MOST_BARS), _MOST_BARS - 1) + 0.5) / _MOST_BARS
        bars[middle] = bars.get(middle, 0) + n
    return bars


def _pictures(axes: Axes, test: Mapping[str, Any], wording: Mapping[str, str]) -> None:
    _frame(axes)
    looks = (("own", _BLUE, None), ("other", "white", "////"), ("blank", _PALE, None))
    for place, (key, colour, hatch) in enumerate(looks):
        value = number(test.get(f"agreement_{key}"))
        if value != value:
            continue
        axes.bar(place, value, width=0.6, color=colour, edgecolor=_BLUE, hatch=hatch, linewidth=0.9)
        axes.text(place, value + 0.02, f"{value:.0%}", ha="center", va="bottom", color=INK)
    axes.set_xticks(range(3), [wording[key] for key, _, _ in looks])
    axes.set_xlim(-0.5, 2.5)
    axes.set_ylabel(wording["agree"])
    _percent_axis(axes)


def _audit(axes: Axes, metrics: Mapping[str, Any], wording: Mapping[str, str]) -> None:
    audit = mapping(metrics.get("audit"))
    _frame(axes)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (1, 3)))
    least = number(metrics.get("min_share"))
    axes.axvline(least, color=INK, linestyle="--", linewidth=1.2)
    always = number(mapping(audit.get("labelled")).get("always"))
    axes.axhline(always, color=QUIET, linewidth=1, linestyle="-.")
    for one in _bins(audit):
        share, value = number(one.get("share")), number(one.get("accuracy"))
        if share != share or value != value:
            continue
        ends = interval(one.get("ci"))
        bars = [[max(0.0, value - ends.low)], [max(0.0, ends.high - value)]]
        axes.errorbar(
            share, value, yerr=bars if ends.low == ends.low else None, color=_BLUE, marker="o",
            markersize=7, markeredgecolor="white", capsize=4, linewidth=1.6,
        )  # fmt: skip
        right = wording["right_of"].format(
            right=count(number(one.get("right"))), n=count(number(one.get("n")))
        )
        axes.annotate(
            right, (share, value), (-4, 7), textcoords="offset points", ha="right", va="bottom",
            fontsize=9.5, color=INK, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    axes.set_xlim(-0.03, 1.04)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(wording["share_axis"])
    _percent_axis(axes, -0.03)  # a point at 0 is seen whole


def _title(canvas: Canvas, x: float, panel: Panel) -> None:
    canvas.text(x, 132, panel.title, fontsize=13.5, weight="bold", va="baseline")
    size = 11 if panel.draw is None else 10 if cells(panel.note) < 66 else 9
    canvas.text(x, 156, panel.note, color=QUIET, fontsize=size, va="baseline")


def _frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.grid(axis="y", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)


def _percent_axis(axes: Axes, bottom: float = 0.0) -> None:
    axes.set_ylim(bottom, 1.06)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


@contextmanager
def _look() -> Iterator[None]:
    """Settings of the house, whatever the reader's own matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.family": fonts.families(),
                "font.size": 11,
                "text.color": INK,
                "axes.labelcolor": INK,
                "hatch.linewidth": 0.8,
                "hatch.color": _BLUE,
            }
        )
        yield
