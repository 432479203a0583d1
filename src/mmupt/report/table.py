"""The stages as a table for the terminal, and what they amount to in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mmupt.report.text import (
    count,
    percent,
    percent_range,
    points,
    stage_title,
    words,
    wrap,
)
from mmupt.report.values import (
    ESTIMATES,
    Estimate,
    Kind,
    StageView,
    arms_of,
    find,
    interval,
    mapping,
    number,
    stages_of,
)
from mmupt.stats import Interval


@dataclass(frozen=True, slots=True)
class _Cell:
    """A value and its interval: beside it where the column is wide enough, otherwise below."""

    value: str
    ends: str

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        # One column of air before the value, or neighbours would read as one figure.
        beside = 1 + len(self.value) + (1 + len(self.ends) if self.ends else 0)
        return Measurement(max(len(self.value), len(self.ends)), beside).clamp(
            max_width=options.max_width
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        beside = len(self.value) + 1 + len(self.ends) < options.max_width
        text = Text(self.value, justify="right")
        if self.ends:
            text.append(" " if beside else "\n").append(self.ends, style="dim")
        yield text


def stages_table(metrics: Mapping[str, Any], lang: str = "en") -> Table:
    """Stages and arms by row, accuracies in % with their 95% intervals by column.

    At 110 columns and more every row is one line; down to 80 the intervals move below.

    Args:
        metrics: the content of `metrics.json`; what is missing shows as a dash.
        lang: `en` or `ja`.
    """
    texts = words(lang)
    stages, arms = stages_of(metrics), arms_of(metrics)
    k = common_k([*stages, *arms])
    table = Table(
        box=box.SIMPLE_HEAD,
        title=texts["table_title"],
        title_justify="left",
        title_style="bold",
        caption=texts["table_caption"],
        caption_justify="left",
        caption_style="dim",
        show_edge=False,
        padding=0,
        header_style="bold",
    )
    table.add_column(texts["column_stage"], no_wrap=True)
    table.add_column(texts["column_labels"], justify="right", min_width=6)
    for key in ESTIMATES:
        table.add_column(texts[f"column_{key}"].format(k=k), justify="right", min_width=9)
    table.add_column(texts["column_n"], justify="right", no_wrap=True)
    table.add_column(texts["column_seconds"], justify="right", no_wrap=True)
    for views in (stages, arms):
        for view in views:
            table.add_row(
                Text("".join(wrap(stage_title(view.name, lang), 12, 1))),
                count(view.labels_used),
                *(
                    _Cell(
                        percent(view.estimates[key].value),
                        percent_range(view.estimates[key].interval),
                    )
                    for key in ESTIMATES
                ),
                count(view.n),
                count(view.seconds),
            )
        table.add_section()
    return table


def verdict_lines(metrics: Mapping[str, Any], lang: str = "en", *, guard: bool = True) -> list[str]:
    """What the run shows, in plain words; the first line is the headline.

    Says no more than the figures: a gain whose interval holds zero is no clear change, and what
    was not recorded is not mentioned.

    Args:
        metrics: the content of `metrics.json`.
        lang: `en` or `ja`.
        guard: also what the guard did in each round.
    """
    texts = words(lang)
    stages, arms = stages_of(metrics), arms_of(metrics)
    sft, last = find(stages, Kind.SFT), find(stages, Kind.LABEL_FREE)
    if last is None:
        lines = [_single(stages, texts, lang)]
    else:
        start = sft if sft is not None else find(stages, Kind.BASE)
        lines = _gains(metrics, start, last, texts, lang)
        lines += _labels(metrics, stages, texts)
        lines += _guard(metrics, texts) if guard else []
    by_name = {arm.name: arm for arm in arms}
    if "supervised" in by_name:
        lines += _recovered(metrics, texts)
    if "published" in by_name and sft is not None:
        lines += _published(sft, by_name["published"], texts)
    return lines


def _guard(metrics: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    """What the guard did in each watched round: stopped it, or chose its checkpoint."""
    lines = []
    for stage in metrics.get("stages") or ():
        guard = mapping(mapping(stage).get("guard"))
        if not guard:
            continue
        stopped = [str(rule) for rule in guard.get("stopped_by") or ()]
        key = "guard_stopped" if stopped else "guard_quiet"
        lines.append(
            texts[key].format(
                steps=count(number(guard.get("steps"))),
                best=count(number(guard.get("best_step"))),
                rules=", ".join(stopped),
            )
        )
    return lines


def gain_of(metrics: Mapping[str, Any], key: str) -> tuple[float, Interval]:
    """The recorded gain of the label-free rounds over SFT: estimate and paired interval."""
    gain = mapping(metrics.get("gain"))
    return number(gain.get(key)), interval(gain.get(f"{key}_ci"))


def common_k(views: list[StageView]) -> str:
    """The k of mean@k and its like, or the letter if the stages differ or say nothing."""
    values = {view.k for view in views if not math.isnan(view.k)}
    return count(values.pop()) if len(values) == 1 else "k"


def _single(stages: list[StageView], texts: Mapping[str, str], lang: str) -> str:
    if not stages:
        return texts["verdict_nothing"]
    view = stages[-1]
    return texts["verdict_single"].format(
        stage=stage_title(view.name, lang),
        mean=_with_interval(view.estimates["mean"], texts),
        greedy=_with_interval(view.estimates["greedy"], texts),
        n=count(view.n),
    )


def _gains(
    metrics: Mapping[str, Any],
    start: StageView | None,
    last: StageView,
    texts: Mapping[str, str],
    lang: str,
) -> list[str]:
    """The headline about sampled accuracy, then a line about greedy accuracy."""
    lines = []
    for key in ("mean", "greedy"):
        after = last.estimates[key].value
        before = math.nan if start is None else start.estimates[key].value
        gain, ends = gain_of(metrics, key)
        if math.isnan(gain):
            gain = after - before
        if start is None or math.isnan(gain):
            continue
        if math.isnan(ends.low):
            tail = texts["gain_no_interval"]
        elif ends.low <= 0 <= ends.high:
            tail = texts["gain_unclear"]
        else:
            tail = ""
        direction = "up" if ends.low > 0 else "down" if ends.high < 0 else "flat"
        line = texts[f"gain_{key}_{direction}"].format(
            start=stage_title(start.name, lang),
            before=percent(before),
            after=percent(after),
            gain=_gain(gain, ends, texts),
        )
        lines.append(line + tail)
    return lines or [_single([last], texts, lang)]


def _gain(gain: float, ends: Interval, texts: Mapping[str, str]) -> str:
    if math.isnan(ends.low):
        return texts["points"].format(gain=points(gain))
    return texts["points_interval"].format(
        gain=points(gain), low=points(ends.low), high=points(ends.high)
    )


def _with_interval(estimate: Estimate, texts: Mapping[str, str]) -> str:
    ends = percent_range(estimate.interval)
    if not ends:
        return texts["percent"].format(value=percent(estimate.value))
    return texts["percent_interval"].format(value=percent(estimate.value), ends=ends)


def _labels(
    metrics: Mapping[str, Any], stages: list[StageView], texts: Mapping[str, str]
) -> list[str]:
    used = [view.labels_used for view in stages if view.kind is Kind.LABEL_FREE]
    if any(math.isnan(value) for value in used):
        return []
    total = number(metrics.get("labels_used"))
    key = "labels_none" if sum(used) == 0 else "labels_some"
    line = texts[key].format(count=count(sum(used)))
    end = texts["full_stop"]
    return [line + (end if math.isnan(total) else texts["labels_total"].format(total=count(total)))]


def _recovered(metrics: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    if "recovered" not in metrics:
        return []
    recovered = mapping(metrics.get("recovered"))
    mean, greedy = number(recovered.get("mean")), number(recovered.get("greedy"))
    if math.isnan(mean):
        return [texts["recovered_undefined"]]
    line = texts["recovered"].format(mean=_whole_percent(mean))
    if not math.isnan(greedy):
        line += texts["recovered_greedy"].format(greedy=_whole_percent(greedy))
    return [line + texts["full_stop"]]


def _published(sft: StageView, arm: StageView, texts: Mapping[str, str]) -> list[str]:
    parts = {}
    for key in ("mean", "greedy"):
        before, after = sft.estimates[key].value, arm.estimates[key].value
        if math.isnan(before) or math.isnan(after):
            return []
        parts[key] = texts["from_to"].format(
            before=percent(before), after=percent(after), gain=points(after - before)
        )
    return [texts["published"].format(**parts)]


def _whole_percent(fraction: float) -> str:
    value = math.floor(abs(fraction) * 100 + 0.5)
    return f"{'−' if fraction < 0 and value else ''}{value}"
