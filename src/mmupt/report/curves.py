"""The two diagrams of a run, drawn onto axes: accuracy by stage, and agreement by step.

Every series differs in marker and line style too, so that a black and white print can be read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mmupt.report.read import Event, RunRecord, events_of, step_of
from mmupt.report.text import percent, stage_title, wrap
from mmupt.report.values import (
    Kind,
    StageView,
    arms_of,
    interval,
    mapping,
    number,
    stage_view,
    stages_of,
)

Audits = Sequence[Mapping[str, Any]]
"""Of a project's facts."""

INK = "#222222"
QUIET = "#6b6b6b"
HAIRLINE = "#d5d5d5"

_MOST_NAMES = 9
"""Stage names that fit below the axis; of more stages only every second, third, ... is named."""

_MOST_POINTS = 1000
"""Points of one line; more would not be seen and would make the page heavy."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a series is drawn; `dash` and `marker` as matplotlib writes them, empty for none."""

    key: str
    colour: str
    dash: Literal["-", "--", ":", "-.", ""]
    marker: str
    width: float = 1.8


ACCURACY_STYLES = (
    Style("greedy", "#1d3f66", "-", "o"),
    Style("mean", "#c4501b", "--", "s", 2.2),
    Style("majority", "#4f8a74", ":", "^"),
)
"""`mean` is drawn strongest: it is what label-free training changes directly."""

SIGNAL_STYLES = (
    Style("vote_share", "#1d3f66", "-", "", 2.2),
    Style("kept", "#c4501b", "--", ""),
    Style("unanimous", "#4f8a74", ":", "", 2.2),
)
HEALTH_STYLES = (
    Style("entropy", "#1d3f66", "-", "", 2.0),
    Style("kl", "#1d3f66", "-", "", 2.0),
    Style("length", "#1d3f66", "-", "", 2.0),
)
"""Each has a diagram of its own."""
LOSS_STYLE = Style("loss", "#1d3f66", "-", "", 2.0)
CONTRAST_STYLE = Style("vote_share_published", "#8a8a8a", "-.", "", 1.4)
PRECISION_STYLE = Style("precision", "#7a2e6e", "", "D")
KEPT_STYLE = Style("best_checkpoint", "#222222", "", "v")
FINDING_STYLE = Style("guard_finding", "#b00020", "", "X")


def accuracy_axes(axes: Axes, run: RunRecord, lang: str, *, label_points: bool) -> None:
    """Accuracies by stage with 95% intervals; interim evaluations between; arms apart at right.

    A stage takes one unit of the horizontal axis; an interim evaluation stands at the fraction of
    the stage's steps that were done. Text on the axes is figures and stage names only.
    """
    stages, arms = stages_of(run.metrics), arms_of(run.metrics)
    _frame(axes)
    gap = 0.35
    places = [*range(len(stages)), *(len(stages) + gap + i for i in range(len(arms)))]
    for offset, style in zip((-0.07, 0.0, 0.07), ACCURACY_STYLES, strict=True):
        _line(axes, stages, [place + offset for place in places[: len(stages)]], style)
        _points(axes, arms, [place + offset for place in places[len(stages) :]], style)
        _interim(axes, run, stages, style)
    if label_points:
        _value_labels(axes, stages, places[: len(stages)])
    if arms:
        axes.axvline(len(stages) - 0.5 + gap / 2, color=QUIET, linewidth=0.8, linestyle=(0, (1, 3)))
    titles = ["\n".join(wrap(stage_title(view.name, lang), 12, 2)) for view in (*stages, *arms)]
    every = -(-len(titles) // _MOST_NAMES)
    titles = [title if i % every == 0 else "" for i, title in enumerate(titles)]
    # Names come from files: "$" in one must not start a formula.
    size = "medium" if len(titles) < 6 else "small"
    axes.set_xticks(places, titles, parse_math=False, fontsize=size)
    axes.set_xlim(-0.45, (places[-1] if places else 0) + 0.45)
    _percent_scale(axes)


def signal_axes(axes: Axes, run: RunRecord, lang: str, audits: Audits = ()) -> bool:
    """Vote share, kept share and unanimous fraction by step over all label-free rounds.

    Rounds follow each other, with a line and a name where one begins. The strong line is the
    running mean over `window_of` steps, the pale one the raw figure. Of the published arm only
    its vote share is drawn, from the same start. Label precision stands where people judged, over
    the steps that it is about; marks at the top are what the guard found and which update it kept.

    Returns:
        Whether there was anything to draw.
    """
    _frame(axes)
    rounds = label_free_steps(run)
    total = sum(len(steps) for _, steps in rounds)
    start = 0
    for position, (stage, steps) in enumerate(rounds):
        length = max(step_of(event.get("step")) for event in steps)
        _round_name(axes, stage_title(stage, lang), start, length, first=position == 0)
        for style in SIGNAL_STYLES:
            _signal(axes, steps, style.key, style, start, window_of(total))
        _precision(axes, audited(audits, stage), start)
        _guard_marks(axes, run, stage, start, length)
        start += length
    published = events_of(run, "grpo_step", "published")
    if rounds and published:
        _signal(axes, published, "vote_share", CONTRAST_STYLE, 0, window_of(total))
        start = max(start, step_of(published[-1].get("step")))
    axes.set_xlim(0.5, max(start, 1) + 0.5)
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    _percent_scale(axes, limits=(-0.02, 1.02))
    return bool(rounds)


def health_axes(axes: Axes, run: RunRecord, style: Style) -> bool:
    """One of `HEALTH_STYLES` by step, rounds as in `signal_axes`.

    Returns:
        Whether there was anything to draw.
    """
    _frame(axes)
    rounds = label_free_steps(run)
    total = sum(len(steps) for _, steps in rounds)
    start = 0
    for position, (stage, steps) in enumerate(rounds):
        length = max(step_of(event.get("step")) for event in steps)
        _round_name(axes, "", start, length, first=position == 0)
        looks = health_events(run, stage, style.key)
        _signal(axes, looks, style.key, style, start, window_of(total) if looks is steps else 1)
        start += length
    axes.set_xlim(0.5, max(start, 1) + 0.5)
    axes.margins(y=0.15)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    return bool(rounds)


def health_events(run: RunRecord, stage: str, key: str) -> list[Event]:
    """The events of a round that hold a figure: for the KL the guard's looks where there are any,
    as an update measures it only where its loss has a KL term; otherwise the steps."""
    looks = events_of(run, "guard_look", stage) if key == "kl" else []
    known = [event for event in looks if not math.isnan(number(event.get(key)))]
    return known or dict(label_free_steps(run)).get(stage, [])


def _round_name(axes: Axes, name: str, start: int, length: int, *, first: bool) -> None:
    if not first:
        axes.axvline(start + 0.5, color=QUIET, linewidth=0.8, linestyle=(0, (1, 3)))
    axes.annotate(
        name,
        (start + length / 2, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=QUIET,
        fontsize="small",
        annotation_clip=False,
        parse_math=False,
    )


def audited(audits: Audits, stage: str) -> list[Mapping[str, Any]]:
    """The stretches of a round's steps whose labels people judged, of its audit."""
    for audit in audits:
        periods = audit.get("by_step")
        if audit.get("name") == stage and isinstance(periods, list):
            return [period for period in periods if isinstance(period, Mapping)]
    return []


def _precision(axes: Axes, periods: Sequence[Mapping[str, Any]], start: int) -> None:
    style = PRECISION_STYLE
    for period in periods:
        first, last = step_of(period.get("from")), step_of(period.get("to"))
        value, ends = number(period.get("precision")), interval(period.get("precision_ci"))
        if math.isnan(value):
            continue
        middle = start + (first + last) / 2
        if last > first:
            axes.hlines(value, start + first, start + last, color=style.colour, linewidth=1.1)
        if not math.isnan(ends.low):
            axes.vlines(middle, ends.low, ends.high, color=style.colour, linewidth=1.1, zorder=4)
        axes.plot([middle], [value], color=style.colour, marker=style.marker, markersize=6,
                  markeredgecolor="white", markeredgewidth=0.8, zorder=5)  # fmt: skip


def _guard_marks(axes: Axes, run: RunRecord, stage: str, start: int, length: int) -> None:
    """Along the upper edge, so that they hide no curve; none beyond the steps that are drawn."""
    for kind, style in (("guard_finding", FINDING_STYLE), ("best_checkpoint", KEPT_STYLE)):
        for event in events_of(run, kind, stage):
            if step_of(event.get("step")) > length:
                continue
            place = start + step_of(event.get("step"))
            axes.axvline(place, color=style.colour, linewidth=0.7, alpha=0.5, zorder=1)
            axes.plot(
                [place], [0.965], transform=axes.get_xaxis_transform(), color=style.colour,
                marker=style.marker, markersize=7, markeredgecolor="white", markeredgewidth=0.8,
                zorder=6, clip_on=False,
            )  # fmt: skip


def loss_axes(axes: Axes, run: RunRecord) -> bool:
    """Loss of supervised fine-tuning by step, for a run without label-free rounds.

    Returns:
        Whether there was anything to draw.
    """
    _frame(axes)
    steps = events_of(run, "sft_step")
    _signal(axes, steps, "loss", LOSS_STYLE, 0, window_of(len(steps)))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    if steps:
        axes.set_xlim(0.5, max(step_of(event.get("step")) for event in steps) + 0.5)
        axes.set_ylim(bottom=0)
    return bool(steps)


def label_free_steps(run: RunRecord) -> list[tuple[str, list[Event]]]:
    """The GRPO steps by stage, the arms left out, in the order in which the stages ran."""
    arms = {"supervised", "published", *mapping(run.metrics.get("arms"))}
    steps: dict[str, list[Event]] = {}
    for event in run.events:
        stage = event.get("stage")
        if event["type"] == "grpo_step" and isinstance(stage, str) and stage not in arms:
            steps.setdefault(stage, []).append(event)
    return [
        (stage, sorted(events, key=lambda event: step_of(event.get("step"))))
        for stage, events in steps.items()
    ]


def has_contrast(run: RunRecord) -> bool:
    """Whether the published arm's vote share is drawn."""
    return bool(label_free_steps(run) and events_of(run, "grpo_step", "published"))


def window_of(steps: int) -> int:
    """Width of the running mean: a fifteenth of all steps, odd; 1 (none) below 30 steps."""
    return 1 if steps < 30 else min(2 * (steps // 30) + 1, 51)


def running_mean(values_T: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Centred mean over `window` values, over fewer at the ends; values that are NaN are left out.

    Args:
        values_T: one value per step.
        window: odd number of steps.
    """
    known = ~np.isnan(values_T)
    kernel = np.ones(window)
    # "full" and a cut, because "same" is as long as the kernel when that is the longer one.
    half = window // 2
    total = np.convolve(np.where(known, values_T, 0.0), kernel)[half : half + values_T.size]
    number_of = np.convolve(known.astype(np.float64), kernel)[half : half + values_T.size]
    mean_T: NDArray[np.float64] = np.full(values_T.size, np.nan)
    np.divide(total, number_of, out=mean_T, where=number_of > 0)
    return mean_T


def _line(axes: Axes, stages: Sequence[StageView], places: list[float], style: Style) -> None:
    """The stages joined by a line, with intervals."""
    values = [view.estimates[style.key].value for view in stages]
    axes.plot(
        places,
        values,
        color=style.colour,
        linestyle=style.dash,
        linewidth=style.width,
        zorder=3,
    )
    _points(axes, stages, places, style)


def _points(axes: Axes, views: Sequence[StageView], places: list[float], style: Style) -> None:
    for view, place in zip(views, places, strict=True):
        estimate = view.estimates[style.key]
        if math.isnan(estimate.value):
            continue
        low, high = estimate.interval
        if not math.isnan(low):
            axes.vlines(place, low, high, color=style.colour, linewidth=1.1, zorder=3)
        axes.plot(
            [place],
            [estimate.value],
            color=style.colour,
            marker=style.marker,
            markersize=6.5 if style.marker != "^" else 7.5,
            markeredgecolor="white",
            markeredgewidth=0.9,
            linestyle="none",
            zorder=4,
        )


def _interim(axes: Axes, run: RunRecord, stages: Sequence[StageView], style: Style) -> None:
    """Small hollow marks: they rest on fewer samples and are not joined to the full figures."""
    for position, view in enumerate(stages):
        total = stage_length(run, view.name)
        places, values = [], []
        for event in events_of(run, "evaluated", view.name):
            step = step_of(event.get("step"))
            value = stage_view(view.name, Kind.LABEL_FREE, mapping(event.get("metrics")))
            if event.get("interim") is True and 0 < step <= total and position > 0:
                places.append(position - 1 + step / total)
                values.append(value.estimates[style.key].value)
        axes.plot(
            places,
            values,
            color=style.colour,
            linestyle="none",
            marker=style.marker,
            markersize=4,
            markerfacecolor="white",
            markeredgewidth=0.9,
            zorder=2,
        )


def _value_labels(axes: Axes, stages: Sequence[StageView], places: list[float]) -> None:
    """The sampled accuracy in figures, below its mark."""
    for view, place in zip(stages, places, strict=True):
        estimate = view.estimates["mean"]
        if math.isnan(estimate.value):
            continue
        lowest = min(
            value
            for style in ACCURACY_STYLES
            for value in (
                view.estimates[style.key].interval.low,
                view.estimates[style.key].value,
            )
            if not math.isnan(value)
        )
        axes.annotate(
            percent(estimate.value),
            (place, lowest),
            xytext=(1, -4),
            textcoords="offset points",
            ha="left",  # a curve that rises leaves room below it on the right
            va="top",
            fontsize="small",
            color="#c4501b",
            parse_math=False,
        )


def stage_length(run: RunRecord, stage: str) -> int:
    """How many steps a stage has: as announced, otherwise as far as its events go."""
    announced = [
        step_of(event.get("total_steps")) for event in events_of(run, "stage_started", stage)
    ]
    if any(announced):
        return max(announced)
    steps = [
        step_of(event.get("step"))
        for kind in ("sft_step", "grpo_step", "evaluated")
        for event in events_of(run, kind, stage)
    ]
    return max(steps, default=0)


def _signal(
    axes: Axes, steps: Sequence[Event], key: str, style: Style, start: int, window: int
) -> None:
    places = np.array([start + step_of(event.get("step")) for event in steps], dtype=np.float64)
    values = np.array([number(event.get(key)) for event in steps])
    shown = slice(None, None, -(-places.size // _MOST_POINTS))
    if window > 1:
        axes.plot(
            places[shown], values[shown], color=style.colour, linewidth=0.6, alpha=0.25, zorder=2
        )
    axes.plot(
        places[shown],
        running_mean(values, window)[shown],
        color=style.colour,
        linestyle=style.dash,
        linewidth=style.width,
        marker="o" if len(steps) == 1 else "",
        zorder=3,
    )


def _frame(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    axes.grid(axis="y", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)


def _percent_scale(axes: Axes, limits: tuple[float, float] | None = None) -> None:
    """A scale in % that keeps to [0, 1] and is not so narrow that noise looks like news."""
    if limits is None:
        low, high = axes.dataLim.intervaly if axes.has_data() else (0.0, 1.0)
        if not (math.isfinite(low) and math.isfinite(high)):
            low, high = 0.0, 1.0
        pad = max(0.02, 0.08 * (high - low), (0.2 - (high - low)) / 2)
        limits = (max(-0.02, low - pad), min(1.02, high + pad))
    axes.set_ylim(*limits)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value * 100:g}%")


def legend_keys(run: RunRecord, audits: Audits = ()) -> Mapping[str, Sequence[Style]]:
    """The series of each diagram, for a legend beside it."""
    stages = [stage for stage, _ in label_free_steps(run)]
    contrast = [CONTRAST_STYLE] if has_contrast(run) else []
    if any(audited(audits, stage) for stage in stages):
        contrast.append(PRECISION_STYLE)
    for style in (KEPT_STYLE, FINDING_STYLE):
        if any(events_of(run, style.key, stage) for stage in stages):
            contrast.append(style)
    return {
        "accuracy": ACCURACY_STYLES,
        "signals": (*SIGNAL_STYLES, *contrast),
        "loss": (LOSS_STYLE,),
    }
