"""A report on the terminal: figures, slices, then the verdict with its reasons."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmupt.bias.figures import Figures
from mmupt.bias.groups import Unused
from mmupt.bias.judge import Says, verdict_of
from mmupt.bias.modality import Compared
from mmupt.bias.run import Report
from mmupt.bias.words import MARKS, fraction, points, property_name, say, sentence, slice_name
from mmupt.report.text import NOTHING, clean

MOST_SLICES = 24
"""Rows of the table of slices; those with the smallest p-values."""

_STYLES = {Says.HARM: "red", Says.WARN: "yellow", Says.NOTE: "", Says.GOOD: "green"}


def bias_view(report: Report, lang: str = "en") -> Iterator[RenderableType]:
    """What is printed, part by part. Text from data is text, not markup."""
    yield _figures(report.figures, lang)
    if report.figures.slices:
        yield _slices(report.figures, lang)
    if report.figures.unused:
        names = ", ".join(_unused(one, lang) for one in report.figures.unused)
        yield Text(say("unused.title", lang, names=names), style="dim")
    verdict = verdict_of(list(report.findings))
    yield Text(say(f"verdict.{verdict}", lang, n=report.figures.n), style="bold")
    for one in report.findings:
        line = Text(f"{MARKS[one.says]} ", style=_STYLES[one.says])
        yield Padding(line.append(sentence(one, lang), style=""), (0, 0, 0, 2))


def _unused(one: Unused, lang: str) -> str:
    name = property_name(one.name, one.source, lang)
    return say("unused.one", lang, name=name, why=say(f"unused.{one.why}", lang))


def _figures(told: Figures, lang: str) -> Table:
    title = say("table.title", lang, n=told.n, labelled=told.labelled, k=told.k)
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("")
    for name in ("before", "after", "change", "interval"):
        table.add_column(say(f"table.{name}", lang), justify="right")
    for name, one in _rows(told, lang):
        if not math.isnan(one.before.estimate):
            _add(table, name, one)
    kappa = Compared(told.before.kappa, told.after.kappa, told.kappa_change)
    if told.after.n:
        _add_plain(table, say("table.kappa", lang), kappa, 2)
    shown = told.diversity
    _add_plain(table, say("table.distinct", lang, k=shown.k), shown.distinct, 2)
    _add_plain(table, say("table.length", lang), told.lengths, 1)
    return table


def _rows(told: Figures, lang: str) -> Iterator[tuple[str, Compared]]:
    for key in ("accuracy", "greedy", "majority", "share"):
        yield say(f"table.{key}", lang), getattr(told, key)
    for one in told.conditions[1:]:
        shown = say(f"shown.{one.name}", lang)
        yield say("table.with", lang, shown=shown), one.accuracy
        yield say("table.unchanged", lang, shown=shown), one.unchanged
    for reach in told.diversity.passes[1:]:
        yield say("table.pass", lang, k=reach.k), reach.value
    if told.top is not None:
        yield say("table.top", lang, answer=clean(told.top.answer, 30)), told.top.share
    for other in told.forgetting:
        name = clean(other.name, 40)
        yield say("table.forgetting", lang, name=name), other.accuracy
        yield say("table.forgetting_share", lang, name=name), other.share


def _add(table: Table, name: str, one: Compared) -> None:
    change = one.change
    table.add_row(
        Text(name), fraction(one.before.estimate), fraction(one.after.estimate),
        points(change.estimate), _range(points(change.low), points(change.high)),
    )  # fmt: skip


def _add_plain(table: Table, name: str, one: Compared, places: int) -> None:
    def shown(value: float, sign: str = "") -> str:
        return NOTHING if math.isnan(value) else f"{value:{sign}.{places}f}".replace("-", "−")

    change = one.change
    table.add_row(
        Text(name), shown(one.before.estimate), shown(one.after.estimate),
        shown(change.estimate, "+"), _range(shown(change.low, "+"), shown(change.high, "+")),
    )  # fmt: skip


def _range(low: str, high: str) -> str:
    return "" if NOTHING in (low, high) else f"{low} … {high}"


def _slices(told: Figures, lang: str) -> Table:
    measure = say(f"measure.{told.measure}", lang)
    table = Table(
        title=say("table.slices", lang, measure=measure), box=box.SIMPLE_HEAD,
        title_justify="left", title_style="bold",
    )  # fmt: skip
    table.add_column(say("table.slice", lang), ratio=1)
    for name in ("value", "gap", "p"):
        table.add_column(say(f"table.{name}", lang), justify="right", no_wrap=True)
    table.add_column(say("table.verdict", lang))
    ranked = sorted(told.slices, key=lambda s: (math.isnan(s.p_holm), s.amplification.p))
    chosen = {id(one) for one in ranked[:MOST_SLICES]}
    for one in told.slices:
        if id(one) not in chosen:
            continue
        gap, value = one.amplification, one.value
        table.add_row(
            Text(slice_name(one.column, one.source, one.group, lang)),
            f"{fraction(value.before.estimate)} → {fraction(value.after.estimate)}",
            f"{points(gap.estimate)} ({points(gap.low)}…{points(gap.high)})",
            NOTHING if math.isnan(one.p_holm) else f"{one.p_holm:.3f}",
            Text(say(f"slice_verdict.{one.verdict}", lang), style=_style(one.verdict)),
        )  # fmt: skip
    if len(told.slices) > MOST_SLICES:
        table.caption = say("table.few_slices", lang, more=len(told.slices) - MOST_SLICES)
    return table


def _style(verdict: str) -> str:
    return {"hurt": "red", "behind": "yellow", "moved": "yellow"}.get(verdict, "")
