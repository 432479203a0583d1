"""A pilot on the terminal: its figures as tables, then the verdict with its reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmupt.report.text import NOTHING, clean, count, percent, percent_range
from mmupt.report.values import interval, mapping, number

PILOT_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Votes on {n} questions, {samples} answers each ({views} views, temperature {t})",
        "share": "mean vote share, %",
        "kept": "questions with a label at share ≥ {min_share}, %",
        "unanimous": "unanimous, %",
        "view_agreement": "agreement across views, %",
        "margin": "margin over the second answer, points",
        "entropy": "entropy of the answers, nats",
        "abstained": "answers not readable (cut at the limit), %",
        "labels": "different labels (share of the most frequent, %)",
        "pictures": "Picture test: {tested} questions again, temperature {t}",
        "picture": "picture shown",
        "own": "its own",
        "other": "another question's",
        "blank": "blank",
        "agreement": "answers agree with\nthose about its own, %",
        "unchanged": "label repeated, %",
        "kappa": "kappa {kappa} (95%: {low} to {high}); 0: pictures do not matter, 1: they decide",
        "audit": "Audit: {rows} rows with true answers",
        "bin": "vote share",
        "audited": "labels",
        "right": "right",
        "accuracy": "accuracy, %",
        "exact": "95% interval",
        "all": "all",
        "kept_short": "≥ {min_share}",
        "ece": "calibration error {ece}; answering always the same would give {always}%",
        "no_test": "Picture test: not possible",
    },
    "ja": {
        "title": "{n} 問への投票、各 {samples} 回答({views} ビュー、温度 {t})",
        "share": "平均得票率(%)",
        "kept": "得票率 {min_share} 以上でラベルが付く質問(%)",
        "unanimous": "全員一致(%)",
        "view_agreement": "ビュー間の一致(%)",
        "margin": "2位の回答との差(ポイント)",
        "entropy": "回答のエントロピー(nat)",
        "abstained": "読み取れない回答(うち打ち切り、%)",
        "labels": "ラベルの種類(最頻ラベルの割合、%)",
        "pictures": "画像検査:{tested} 問を温度 {t} で再質問",
        "picture": "見せた画像",
        "own": "本来の画像",
        "other": "別の質問の画像",
        "blank": "空白の画像",
        "agreement": "本来の画像への回答\nとの一致(%)",
        "unchanged": "ラベルの再現(%)",
        "kappa": "カッパ {kappa}(95%区間 {low}〜{high})。0:画像は無関係、1:画像で決まる",
        "audit": "監査:正解のある {rows} 行",
        "bin": "得票率",
        "audited": "ラベル数",
        "right": "正解",
        "accuracy": "正解率(%)",
        "exact": "95%区間",
        "all": "全体",
        "kept_short": "{min_share} 以上",
        "ece": "較正誤差 {ece}。常に同じ答えなら {always}%",
        "no_test": "画像検査:実施できません",
    },
}

MARKS = {"ready": "✓", "sft-first": "!", "not-suitable": "✗", "note": "·"}
"""Before each reason: what it argues for."""

_COLOURS = {"ready": "green", "sft-first": "yellow", "not-suitable": "red"}


def pilot_view(metrics: Mapping[str, Any], lang: str) -> Iterator[RenderableType]:
    """What `mmupt vote` prints, from the content of its `metrics.json`."""
    wording = PILOT_WORDS[lang]
    yield from _votes(metrics, wording)
    yield from _pictures(mapping(metrics["pictures"]), wording)
    audit = mapping(metrics.get("audit"))
    if audit:
        yield from _audit(audit, metrics, wording)
    verdict = str(metrics["verdict"])
    yield Text(f"\n{metrics['summary']}", style=f"bold {_COLOURS.get(verdict, '')}")
    for finding in metrics["findings"]:
        mark = MARKS.get(str(finding["says"]), " ")
        line = Table.grid(padding=(0, 1))
        line.add_column()
        line.add_column(overflow="fold")  # Japanese has no spaces to break at
        line.add_row(Text(mark), Text(clean(str(finding[lang]), 600)))
        yield Padding(line, (0, 0, 0, 2))


def _table(*, head: bool = True) -> Table:
    """The title stands above it as a line of its own, or it would wrap at the table's width."""
    return Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1), header_style="bold", show_header=head
    )


def pilot_rows(metrics: Mapping[str, Any], wording: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the votes amount to, as captions with figures."""

    def value(key: str) -> str:
        return percent(number(metrics.get(key)))

    rows = [
        (wording[key].format(min_share=f"{number(metrics.get('min_share')):g}"), value(key))
        for key in ("share", "kept", "unanimous", "view_agreement", "margin")
    ]
    entropy = number(metrics.get("entropy"))
    rows.append((wording["entropy"], NOTHING if entropy != entropy else f"{entropy:.2f}"))
    rows.append((wording["abstained"], f"{value('abstained')} ({value('truncated')})"))
    labels = count(number(metrics.get("distinct_labels")))
    return [*rows, (wording["labels"], f"{labels} ({value('top_label_share')})")]


def _votes(metrics: Mapping[str, Any], wording: Mapping[str, str]) -> Iterator[RenderableType]:
    title = wording["title"].format(
        n=count(number(metrics["n"])), samples=metrics["samples"], views=metrics["views"],
        t=f"{number(metrics['temperature']):g}",
    )  # fmt: skip
    yield Text(title, style="bold")
    table = _table(head=False)
    table.add_column()
    table.add_column(justify="right")
    for caption, value in pilot_rows(metrics, wording):
        table.add_row(caption, value)
    yield table


def _pictures(test: Mapping[str, Any], wording: Mapping[str, str]) -> Iterator[RenderableType]:
    tested = number(test.get("tested"))
    title = wording["pictures"].format(
        tested=count(tested), t=f"{number(test.get('temperature')):g}"
    )  # fmt: skip
    if not tested:
        yield Text(f"\n{wording['no_test']}", style="bold")
        return
    yield Text(f"\n{title}", style="bold")
    table = _table()
    table.add_column(wording["picture"])
    for key in ("agreement", "unchanged"):
        table.add_column(wording[key], justify="right")
    for key in ("own", "other", "blank"):
        values = (percent(number(test.get(f"{name}_{key}"))) for name in ("agreement", "unchanged"))
        table.add_row(wording[key], *values)
    yield table
    ends = interval(test.get("kappa_ci"))
    kappa, low, high = (two_places(v) for v in (number(test.get("kappa")), *ends))
    yield Text(wording["kappa"].format(kappa=kappa, low=low, high=high), style="dim")


def _audit(
    audit: Mapping[str, Any], metrics: Mapping[str, Any], wording: Mapping[str, str]
) -> Iterator[RenderableType]:
    yield Text("\n" + wording["audit"].format(rows=count(number(audit["rows"]))), style="bold")
    table = _table()
    table.add_column(wording["bin"])
    for key in ("audited", "right", "accuracy", "exact"):
        table.add_column(wording[key], justify="right")
    for one in audit["bins"]:
        last = number(one["high"]) == 1
        ends = f"{one['low']:g}–{one['high']:g}" if last else f"{one['low']:g}–<{one['high']:g}"
        table.add_row(ends, *_accuracy(one))
    table.add_section()
    name = wording["kept_short"].format(min_share=f"{number(metrics['min_share']):g}")
    table.add_row(name, *_accuracy(mapping(audit["kept"])))
    table.add_row(wording["all"], *_accuracy(mapping(audit["labelled"])))
    yield table
    ece, always = number(audit["ece"]), number(mapping(audit["labelled"])["always"])
    yield Text(wording["ece"].format(ece=two_places(ece), always=percent(always)), style="dim")


def _accuracy(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return (
        count(number(one["n"])),
        count(number(one["right"])),
        percent(number(one["accuracy"])),
        percent_range(interval(one["ci"])),
    )


def two_places(value: float) -> str:
    """Kappa and its like; a dash where undefined."""
    return NOTHING if value != value else f"{round(value, 2) + 0.0:.2f}"  # never -0.00
