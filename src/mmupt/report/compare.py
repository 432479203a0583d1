"""Runs side by side on one page: what each reached, what it cost, how its settings differ."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from mmupt.errors import ConfigError, InputError, RunFolderError
from mmupt.events import jsonable
from mmupt.report.build import Report, environment, load_report, run_figures
from mmupt.report.charts import Chart
from mmupt.report.curves import accuracy_axes
from mmupt.report.files import write_atomically
from mmupt.report.plots import svg
from mmupt.report.supervision import current_decision, rows_of
from mmupt.report.table import common_k, gain_of
from mmupt.report.text import (
    NOTHING,
    clean,
    count,
    duration,
    percent,
    percent_range,
    points,
    stage_title,
    words,
)
from mmupt.report.values import ACCURACIES, interval, mapping, number, stages_of
from mmupt.stats import Interval
from mmupt.words import LANGUAGES

MOST_RUNS = 12
_MOST_SETTINGS = 200

Folders = Sequence[tuple[Path, Mapping[str, Any] | None]]
"""Run folders with the facts of those that are projects."""


def write_comparison(folders: Folders, lang: str, out: Path) -> list[Path]:
    """Write one page about several runs, and its figures beside it as `.json`.

    Args:
        folders: two or more.
        lang: `en`, `ja` or `both`.
        out: the page.

    Returns:
        The files written.

    Raises:
        InputError: fewer than 2 or more than `MOST_RUNS` folders.
        RunFolderError: one is no folder, or `out` cannot be written.
        ConfigError: unknown `lang`.
    """
    if lang not in (*LANGUAGES, "both"):
        raise ConfigError(f"lang = {lang!r}: expected one of {', '.join(LANGUAGES)}, both")
    if not 2 <= len(folders) <= MOST_RUNS:
        raise InputError(f"{len(folders)} folders to compare, expected 2 to {MOST_RUNS}")
    for folder, _ in folders:
        if not folder.is_dir():
            raise RunFolderError(f"{folder}: no such folder; expected the --out folder of a run")
    languages = LANGUAGES if lang == "both" else (lang,)
    pages, reports = [], []
    for one in languages:
        reports = [load_report(folder, one, facts=facts) for folder, facts in folders]
        pages.append(comparison_values(reports, one))
    page = environment().get_template("compare.html.j2").render(pages=pages)
    runs = [run_figures(report) for report in reports]
    figures = json.dumps(jsonable({"format": 1, "runs": runs}), ensure_ascii=False, indent=1)
    beside = out.with_suffix(".json")
    try:
        write_atomically(out, page.encode("utf-8", errors="replace"))
        write_atomically(beside, (figures + "\n").encode("utf-8", errors="replace"))
    except OSError as error:
        raise RunFolderError(f"{out}: cannot be written ({error.strerror or error})") from error
    return [out, beside]


def comparison_values(reports: Sequence[Report], lang: str) -> dict[str, Any]:
    """Everything that the template shows, as text."""
    texts = words(lang)
    views = [view for report in reports for view in stages_of(report.run.metrics)]
    k = common_k(views)
    names = _names(reports)
    tested = {digest for report in reports if (digest := _test_data(report))}
    problems = [f"{name}: {problem}" for name, report in zip(names, reports, strict=True)
                for problem in report.run.problems]  # fmt: skip
    return {
        "lang": lang,
        "t": texts,
        "names": names,
        "problems": problems,
        "other_test": len(tested) > 1,
        "rows": _rows(reports, k, lang),
        "charts": [_chart(report, name, lang) for report, name in zip(reports, names, strict=True)],
        "settings": different_settings([report.run.config for report in reports]),
    }


def different_settings(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs, with the value in each."""
    flat = [dict(_flat(config)) for config in configs]
    keys = sorted({key for one in flat for key in one})
    found = [
        (clean(key, 120), [clean(one.get(key, NOTHING), 200) for one in flat])
        for key in keys
        if len({one.get(key) for one in flat}) > 1
    ]
    return found[:_MOST_SETTINGS]


def _names(reports: Sequence[Report]) -> list[str]:
    """The folders' names, numbered where two are the same."""
    names = [clean(report.run.path.resolve().name, 60) for report in reports]
    return [
        f"{name} ({position})" if names.count(name) > 1 else name
        for position, name in enumerate(names, start=1)
    ]


def _rows(reports: Sequence[Report], k: str, lang: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """One row a figure, one cell a run: the value, and its interval."""
    texts = words(lang)
    columns = [_cells(report, lang) for report in reports]
    titles = {
        "last": texts["compare_last"],
        **{key: texts[f"column_{key}"].format(k=k) for key in ACCURACIES},
        "gain_mean": texts["compare_gain_mean"],
        "gain_greedy": texts["compare_gain_greedy"],
        "precision": texts["compare_precision"],
        "gate": texts["compare_gate"],
        "labels": texts["compare_labels"],
        "cost": texts["compare_cost"],
        "n": texts["column_n"],
        "seconds": texts["compare_seconds"],
        "seed": texts["compare_seed"],
    }
    rows = [(title, [column[key] for column in columns]) for key, title in titles.items()]
    return [(title, cells) for title, cells in rows if any(value != NOTHING for value, _ in cells)]


def _cells(report: Report, lang: str) -> dict[str, tuple[str, str]]:
    texts, metrics, facts = words(lang), report.run.metrics, report.facts or {}
    stages = stages_of(metrics)
    last = stages[-1] if stages else None
    found = {"last": (stage_title(last.name, lang) if last else NOTHING, "")}
    for key in ACCURACIES:
        estimate = last.estimates[key] if last else None
        found[key] = (
            (percent(estimate.value), percent_range(estimate.interval))
            if estimate
            else (NOTHING, "")
        )
    for key in ("mean", "greedy"):
        gain, ends = gain_of(metrics, key)
        found[f"gain_{key}"] = (NOTHING if math.isnan(gain) else points(gain), _points(ends, texts))
    audits = [one for one in rows_of(facts, "audits") if number(one.get("judged")) > 0]
    precision = audits[-1] if audits else {}
    found["precision"] = (
        percent(number(precision.get("precision"))),
        percent_range(interval(precision.get("precision_ci"))),
    )
    verdict = str(current_decision(facts).get("verdict", ""))
    found["gate"] = (texts.get(f"gate_{verdict}", NOTHING), "")
    found["labels"] = (count(number(metrics.get("labels_used"))), "")
    roi = mapping(mapping(facts.get("roi")).get(lang))
    cost = [one for one in rows_of(roi, "figures") if one.get("key") == "label_free_cost"]
    found["cost"] = (clean(str(cost[0]["text"]), 60) if cost else NOTHING, "")
    found["n"] = (count(last.n) if last else NOTHING, "")
    found["seconds"] = (duration(number(metrics.get("seconds")), lang), "")
    found["seed"] = (count(number(metrics.get("seed"))), "")
    return found


def _points(ends: Interval, texts: Mapping[str, str]) -> str:
    if math.isnan(ends.low):
        return ""
    return texts["compare_ends"].format(low=points(ends.low), high=points(ends.high))


def _test_data(report: Report) -> str:
    """Digest of the test data that a project was evaluated on; empty if unknown."""
    for step in reversed(rows_of(report.facts or {}, "steps")):
        digest = mapping(step.get("outputs")).get("test")
        if isinstance(digest, str):
            return digest
    return ""


def _chart(report: Report, name: str, lang: str) -> Chart:
    """Accuracy by stage on a scale from 0 to 100%, so that the diagrams can be compared."""
    texts = words(lang)

    def draw(axes: Axes) -> None:
        accuracy_axes(axes, report.run, lang, label_points=True)
        axes.set_ylim(-0.02, 1.02)

    views = stages_of(report.run.metrics)
    told = ", ".join(
        f"{stage_title(view.name, lang)} {percent(view.estimates['mean'].value)}%" for view in views
    )
    alt = texts["compare_alt_run"].format(run=name, values=told or NOTHING)
    element = Markup(svg(draw, f"compare-{lang}-{name}", (4.0, 3.0)))  # noqa: S704
    return Chart(name, "", element, f"{texts['compare_alt']} {alt}", [])


def _flat(config: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, str]]:
    """Settings as dotted names with their values as JSON."""
    found: list[tuple[str, str]] = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{name}.")
        else:
            found.append((name, json.dumps(value, ensure_ascii=False, default=str)))
    return found
