"""The run as a picture: `summary.png`, and the same diagrams as SVG for the page.

Drawn with matplotlib's object-oriented interface; no pyplot, whose figures are global state.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmupt.report import fonts
from mmupt.report.curves import (
    INK,
    QUIET,
    Audits,
    Style,
    accuracy_axes,
    health_axes,
    label_free_steps,
    legend_keys,
    loss_axes,
    signal_axes,
    window_of,
)
from mmupt.report.examples import choose_examples
from mmupt.report.files import write_atomically
from mmupt.report.read import RunRecord, events_of
from mmupt.report.sheet import Canvas, draw_sheet
from mmupt.report.table import common_k, verdict_lines
from mmupt.report.text import clean, duration, words, wrap
from mmupt.report.values import arms_of, number, stages_of

WIDTH, HEIGHT = 1600, 1100
"""Size of `summary.png` in pixels."""

_HEIGHT_WITHOUT_EXAMPLES = 580

_DPI = 100
_MARGIN = 52


def write_summary_png(run: RunRecord, path: Path, lang: str = "en") -> None:
    """Accuracy by stage, agreement by step, and a sheet of examples, as one picture.

    The words are Japanese for `ja` only where a Japanese font is installed; matplotlib's own fonts
    have none, and boxes instead of letters would help nobody. Otherwise they are English.

    Args:
        run: from `load_run`.
        path: where to write; replaced in one go.
        lang: `en` or `ja`.
    """
    words(lang)  # refuses an unknown language
    if lang == "ja" and fonts.japanese_family() is None:
        lang = "en"
    examples = choose_examples(run.rollouts)
    height = HEIGHT if examples else _HEIGHT_WITHOUT_EXAMPLES
    with _look(fonts.families(), fontsize=11.5):
        figure = Figure(figsize=(WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        canvas = Canvas(figure, WIDTH, height, fonts.printable)
        _heading(canvas, run, lang)
        half = (WIDTH - 3 * _MARGIN) / 2
        _panel(canvas, run, lang, "accuracy", _MARGIN, half)
        _panel(canvas, run, lang, second_chart(run), 2 * _MARGIN + half, half)
        if examples:
            title = words(lang)["examples_title"]
            canvas.text(_MARGIN, 572, title, fontsize=13.5, weight="bold")
            draw_sheet(canvas, run, examples, _MARGIN, 606, WIDTH - 2 * _MARGIN, lang)
        _corner(canvas, run, lang)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    write_atomically(path, buffer.getvalue())


def accuracy_svg(run: RunRecord, lang: str) -> str | None:
    """The diagram of accuracy by stage as an `<svg>` element, or None for less than two stages."""
    if len(stages_of(run.metrics)) + len(arms_of(run.metrics)) < 2:
        return None
    return svg(lambda axes: accuracy_axes(axes, run, lang, label_points=True), f"acc-{lang}")


def signals_svg(run: RunRecord, lang: str, audits: Audits = ()) -> str | None:
    """The diagram of agreement by step as an `<svg>` element, or None without label-free steps."""
    if not label_free_steps(run):
        return None
    return svg(lambda axes: signal_axes(axes, run, lang, audits), f"signals-{lang}")


def health_svg(run: RunRecord, style: Style, lang: str) -> str | None:
    """Entropy, KL or length by step as an `<svg>` element, or None without label-free steps."""
    if not label_free_steps(run):
        return None
    name = f"{style.key}-{lang}"
    return svg(lambda axes: health_axes(axes, run, style), name, size=(3.6, 2.2))


def loss_svg(run: RunRecord, lang: str = "en") -> str | None:
    """The diagram of the fine-tuning loss as an `<svg>` element, or None where there is none."""
    if second_chart(run) != "loss":
        return None
    return svg(lambda axes: loss_axes(axes, run), f"loss-{lang}")


def second_chart(run: RunRecord) -> str:
    """Agreement, or for a run that only fine-tuned the loss."""
    only_sft = events_of(run, "sft_step") and not label_free_steps(run)
    return "loss" if only_sft else "signals"


def svg(draw: Callable[[Axes], Any], name: str, size: tuple[float, float] = (5.3, 3.5)) -> str:
    """A diagram as an `<svg>` element for use inside HTML.

    Args:
        draw: onto its axes.
        name: salts the ids, so that diagrams of one page do not share them.
        size: in inches.
    """
    # Text stays text, drawn by the reader's own fonts: small, sharp, and Japanese needs no font
    # here. Each diagram salts the ids differently, since both stand in one page.
    with (
        _look(["sans-serif"], fontsize=10.5),
        mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}),
    ):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        buffer = StringIO()
        with warnings.catch_warnings():
            # Measuring Japanese with a font that has none; only the measure is a little off.
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
            figure.savefig(
                buffer,
                format="svg",
                transparent=True,
                metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
            )
    return _element(buffer.getvalue())


def _element(document: str) -> str:
    """The `<svg>` element of an SVG file, for use inside HTML: hidden from screen readers.

    The figure around it carries the alternative text, and the page carries the style.
    """
    element = document[document.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r"<style.*?</style>", "", element, flags=re.DOTALL)
    element = re.sub(r'\s(width|height)="[\d.]+pt"', "", element, count=2)
    # Names of groups that nothing refers to; in two diagrams of one page they would collide.
    element = re.sub(r'\sid="[\w.]+_\d+"', "", element)
    return element.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


@contextmanager
def _look(families: Sequence[str], fontsize: float) -> Iterator[None]:
    """Settings of the house, whatever the reader's own matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.family": list(families),
                "font.size": fontsize,
                "text.color": INK,
                "axes.labelcolor": INK,
                "hatch.linewidth": 0.6,
                "hatch.color": "#8a8a8a",
                "lines.dash_capstyle": "butt",
                "axes.unicode_minus": True,
            }
        )
        yield


def _heading(canvas: Canvas, run: RunRecord, lang: str) -> None:
    canvas.text(_MARGIN, 34, words(lang)["page_title"], color=QUIET, fontsize=11)
    headline = wrap(verdict_lines(run.metrics, lang)[0], 126, 2)
    canvas.text(_MARGIN, 56, "\n".join(headline), fontsize=16, linespacing=1.35)


def _panel(canvas: Canvas, run: RunRecord, lang: str, name: str, x: float, width: float) -> None:
    """One diagram with its title and, in a row above it, its legend."""
    texts = words(lang)
    canvas.text(x, 114, texts[f"{name}_title"], fontsize=13.5, weight="bold")
    k = common_k([*stages_of(run.metrics), *arms_of(run.metrics)])
    axes = canvas.figure.add_axes(tuple(canvas.place(x + 46, 212, width - 46, 296)))  # type: ignore[arg-type]
    if name == "accuracy":
        accuracy_axes(axes, run, lang, label_points=True)
        note = texts["accuracy_note"]
        empty = not stages_of(run.metrics)
    elif name == "loss":
        empty = not loss_axes(axes, run)
        note = steps_note(len(events_of(run, "sft_step")), texts)
    else:
        empty = not signal_axes(axes, run, lang)
        note = steps_note(sum(len(steps) for _, steps in label_free_steps(run)), texts)
    if empty:
        axes.set_axis_off()
        middle = x + width / 2
        canvas.text(middle, 350, texts[f"no_{name}"], color=QUIET, fontsize=12, ha="center")
        return
    canvas.text(x, 140, note, color=QUIET, fontsize=10)
    styles = legend_keys(run)[name]
    axes.legend(
        [_handle(style) for style in styles],
        [texts[f"series_{style.key}"].format(k=k) for style in styles],
        loc="lower left",
        bbox_to_anchor=(-46 / (width - 46), 1.07),
        ncols=len(styles),
        frameon=False,
        borderaxespad=0,
        borderpad=0.2,
        handlelength=2.2,
        columnspacing=1.0 if len(styles) < 6 else 0.6,
        fontsize=10 if len(styles) < 6 else 8,  # all in one row, whatever the guard found
    )


def steps_note(steps: int, texts: Mapping[str, str]) -> str:
    """What the axis of a diagram by step shows."""
    window = window_of(steps)
    return texts["steps_note"] if window == 1 else texts["steps_mean"].format(window=window)


def _handle(style: Style) -> Line2D:
    return Line2D(
        [],
        [],
        color=style.colour,
        linestyle=style.dash,
        linewidth=style.width,
        marker=style.marker,
        markersize=6.5,
        markeredgecolor="white",
    )


def _corner(canvas: Canvas, run: RunRecord, lang: str) -> None:
    """Seed, device and duration, as far as they are known."""
    texts = words(lang)
    parts = []
    seed, seconds = number(run.metrics.get("seed")), number(run.metrics.get("seconds"))
    if seed == seed:
        parts.append(f"{texts['seed']} {seed:.0f}")
    if run.metrics.get("device"):
        parts.append(f"{texts['device']} {clean(str(run.metrics['device']), 40)}")
    if seconds == seconds:
        parts.append(f"{texts['duration']} {duration(seconds, lang)}")
    canvas.text(WIDTH - _MARGIN, 34, "  ·  ".join(parts), color=QUIET, fontsize=10.5, ha="right")
