"""An evaluation, and a comparison of two, on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mmupt.evaluate.comparing import Compared
from mmupt.report.text import NOTHING, clean, percent, percent_range
from mmupt.stats import Interval

MOST_SUBSETS = 40
"""Lines of the table of subsets; `metrics.json` has all."""
CUT_OFF = 0.05
"""More truncated replies than this share are worth a line."""

_COMPARED = ("before", "after", "change", "95%", "lost", "won", "p", "Holm", "q")
_WAYS = {
    "samples": "samples agree",
    "views": "image views agree",
    "orders": "option orders agree",
    "paraphrases": "paraphrases agree",
}


def evaluation_view(metrics: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The figures of `metrics.json`, part by part. Text from data is text, not markup."""
    yield _figures(metrics)
    if metrics["calibration"]["n"]:
        yield _reliability(metrics["calibration"])
    if any(metrics["subsets"].values()):
        yield _subsets(metrics)
    for line in notes(metrics):
        yield Text(line, style="yellow")


def comparison_view(found: Sequence[Compared]) -> Iterator[RenderableType]:
    """A comparison: one line a figure. A change is bold where Holm's p is below 5%."""
    even = len({one.n for one in found}) == 1
    table = Table(
        title=f"{found[0].n:,} questions" if even else None, title_justify="left",
        title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    table.add_column("", no_wrap=True)
    for name in (*(() if even else ("n",)), *_COMPARED):
        table.add_column(name, justify="right", no_wrap=True)
    several = len({one.set for one in found}) > 1
    same = []
    for one in found:
        title = f"{clean(one.set, 16)} {one.metric}" if several else one.metric
        if math.isnan(one.p):
            same.append(title)
            continue
        scale = 1.0 if one.metric.endswith("length") else 100.0
        low, high = scale * one.low, scale * one.high
        table.add_row(
            Text(title.replace("_", " ").replace(".", " ")),
            *(() if even else (f"{one.n:,}",)),
            *(f"{scale * value:.1f}" for value in (one.before, one.after)),
            Text(f"{scale * one.change:+.1f}", style="bold" if one.p_holm < 0.05 else ""),
            NOTHING if math.isnan(low) else f"{low:+.1f} {high:+.1f}",
            *(NOTHING if n is None else f"{n:,}" for n in (one.only_before, one.only_after)),
            *(_p(p) for p in (one.p, one.p_holm, one.q)),
        )
    yield table
    if same:
        yield Text(f"no question differs: {', '.join(same)}", style="dim")
    yield Text(
        "lost, won: questions in which only the first, only the second model has it. Holm: any "
        "error at all in this table; q: share of false ones among those called changes",
        style="dim",
    )


def _p(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0").replace("1.000", "1")


def notes(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What must be known before the figures are used."""
    cut = metrics["greedy_truncated"]
    if _defined(cut) and cut > CUT_OFF:
        yield (
            f"{percent(cut)}% of the replies were cut off and count as they stand; raise "
            "eval.max_completion_length with --set"
        )
    if metrics["failed"]:
        yield (
            f"{metrics['failed']} questions miss a reply and are left out where it is needed; the "
            "same command asks for the missing ones again"
        )
    if metrics["left_out"]:
        yield f"{len(metrics['left_out'])} rows of the files could not be used; see metrics.json"


def _figures(metrics: Mapping[str, Any]) -> Table:
    n, k = metrics["n"], metrics["k"]
    title = f"{clean(str(metrics['name']), 40)}: {n:,} questions"
    if metrics["pictures"] < n:
        title += f" about {metrics['pictures']:,} pictures"
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
        caption=f"95% intervals: {metrics['intervals']}"
        + (f"; {metrics['unscored']} unscored" if metrics["unscored"] else ""),
        caption_justify="left", caption_style="dim", show_edge=False,
    )  # fmt: skip
    table.add_column("")
    table.add_column("%", justify="right")
    table.add_column("95%", justify="right", style="dim")
    table.add_column("questions", justify="right")
    _line(table, "greedy accuracy", metrics, "greedy", n - metrics["unscored"])
    if k:
        _line(table, f"mean accuracy of {k} samples", metrics, "mean")
        _line(table, f"majority of {k}", metrics, "majority")
        for one in metrics["pass_at"]:
            _estimate(table, f"pass@{one['k']}", one)
        _line(table, "vote share", metrics, "vote_share")
    for way, values in metrics["consistency"].items():
        if values["agreement"]["n"]:
            _estimate(table, _WAYS[way], values["agreement"])
            if way != "samples":
                _estimate(table, "  no answer changes", values["unchanged"])
                _estimate(table, "  right in all", values["all_right"])
    for name, one in metrics.get("summaries", {}).items():
        _estimate(table, f"summaries: {name}", one)
    _line(table, "without an answer", metrics, "abstained" if k else "greedy_abstained")
    _line(table, "cut off", metrics, "truncated" if k else "greedy_truncated")
    for name, values in metrics.get("extra", {}).items():
        table.add_row(
            f"four-dimensional score, {name}", percent(_nan(values["score"])), "",
            f"{values['problems']:,} problems",
        )  # fmt: skip
    if "judge" in metrics:
        judge = metrics["judge"]
        _estimate(table, f"right by {clean(judge['model'], 40)}", judge["accuracy"])
        _estimate(table, "  agrees with the rule", judge["agreement_with_rule"])
    return table


def _line(
    table: Table, title: str, metrics: Mapping[str, Any], name: str, n: int | None = None
) -> None:
    low, high = metrics[f"{name}_ci"] or (math.nan, math.nan)
    shown = "" if n is None else f"{n:,}"
    table.add_row(title, percent(_nan(metrics[name])), _range(low, high), shown)


def _estimate(table: Table, title: str, one: Mapping[str, Any]) -> None:
    table.add_row(
        title, percent(_nan(one["value"])), _range(one["low"], one["high"]), f"{one['n']:,}"
    )


def _reliability(calibration: Mapping[str, Any]) -> Table:
    table = Table(
        title="vote share and accuracy of the majority", title_justify="left", title_style="bold",
        caption=", ".join(
            f"{title} {_decimal(calibration[name])} ({_decimals(calibration[f'{name}_ci'])})"
            for name, title in (("ece", "ECE"), ("brier", "Brier"), ("auroc", "AUROC"))
        ),
        caption_justify="left", caption_style="dim", box=box.SIMPLE_HEAD, show_edge=False,
    )  # fmt: skip
    for name in ("share", "mean share %", "right %", "95%", "questions"):
        table.add_column(name, justify="right")
    for one in calibration["bins"]:
        if one["n"]:
            table.add_row(
                f"{one['low']:.1f}–{one['high']:.1f}", percent(_nan(one["share"])),
                percent(_nan(one["accuracy"])), _range(*one["accuracy_ci"]), f"{one['n']:,}",
            )  # fmt: skip
    return table


def _subsets(metrics: Mapping[str, Any]) -> Table:
    table = Table(
        title="greedy accuracy by subset", title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, show_edge=False,
    )  # fmt: skip
    table.add_column("")
    table.add_column("")
    table.add_column("%", justify="right")
    table.add_column("95%", justify="right", style="dim")
    table.add_column("questions", justify="right")
    lines = [(c, v, one) for c, values in metrics["subsets"].items() for v, one in values.items()]
    before = None
    for column, value, one in lines[:MOST_SUBSETS]:
        shown = clean(column, 24) if column != before else ""
        table.add_row(
            Text(shown), Text(clean(value, 40)), percent(_nan(one["value"])),
            _range(one["low"], one["high"]), f"{one['n']:,}",
        )  # fmt: skip
        before = column
    if len(lines) > MOST_SUBSETS:
        table.caption = f"and {len(lines) - MOST_SUBSETS} more in metrics.json"
        table.caption_justify = "left"
    return table


def _range(low: float | None, high: float | None) -> str:
    return percent_range(Interval(_nan(low), _nan(high)))


def _decimals(ends: Sequence[float | None]) -> str:
    return "–".join(_decimal(end) for end in ends) if _defined(ends[0]) else NOTHING


def _decimal(value: float | None) -> str:
    return f"{value:.3f}" if value is not None and _defined(value) else NOTHING


def _defined(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _nan(value: float | None) -> float:
    """A figure of `metrics.json`, where NaN is null."""
    return math.nan if value is None else value
