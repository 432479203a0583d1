"""The report of a run or project: one page, one picture, and every figure as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from mmupt.errors import ConfigError, RunFolderError
from mmupt.events import jsonable
from mmupt.report.bias_page import bias_sentence, bias_values
from mmupt.report.bias_read import FILE as BIAS_FILE
from mmupt.report.bias_read import BiasResult, read_biases
from mmupt.report.cards import Album, change_cards, example_card, wrong_card, wrong_rows
from mmupt.report.changes import Changes, changes_between, pairs_of
from mmupt.report.charts import calibration_charts, charts, health_charts
from mmupt.report.examples import choose_examples
from mmupt.report.figures import report_figures
from mmupt.report.files import write_atomically
from mmupt.report.pictures import MAX_BYTES
from mmupt.report.pilot_page import is_pilot, pilot_sentence, pilot_values, read_pilot
from mmupt.report.plots import write_summary_png
from mmupt.report.read import RunRecord, events_of, load_run
from mmupt.report.supervision import headline, project_view, rows_of, tells_gain
from mmupt.report.table import common_k, gain_of, verdict_lines
from mmupt.report.text import (
    clean,
    clean_lines,
    count,
    duration,
    moment,
    percent,
    percent_range,
    points,
    stage_title,
    words,
)
from mmupt.report.values import (
    ESTIMATES,
    Kind,
    StageView,
    arms_of,
    find,
    interval,
    mapping,
    number,
    stages_of,
)
from mmupt.words import LANGUAGES

Lang = Literal["en", "ja", "both"]

_EXAMPLES = 9
"""Three of each case where there are as many, in three columns."""

_CONFIG_LIMIT = 20_000
_VERSIONS = 40


@dataclass(frozen=True, slots=True)
class Report:
    """What a page is made from.

    Attributes:
        run: the run folder.
        facts: of the project; None for a run alone.
        changes: between its last two versions, where they were recorded by question.
        pilot: metrics of its pilot, or of the folder where that is a pilot; empty without one.
        biases: what `mmupt bias` measured, the newest first.
        picture_bytes: limit of one picture.
    """

    run: RunRecord
    facts: Mapping[str, Any] | None = None
    changes: Changes | None = None
    pilot: Mapping[str, Any] = field(default_factory=dict)
    biases: tuple[BiasResult, ...] = ()
    picture_bytes: int = MAX_BYTES


def write_report(
    run_dir: Path,
    lang: Lang | str = "en",
    *,
    data_roots: Sequence[Path] | None = None,
    facts: Mapping[str, Any] | None = None,
    out: Path | None = None,
) -> list[Path]:
    """Write `summary.png`, `index.html` and `report.json` into a run folder, finished or not.

    Args:
        run_dir: the run folder.
        lang: `en`, `ja`, or `both`: one page with a switch.
        data_roots: folders that pictures may come from; see `load_run`.
        facts: of the project that the folder is, see `pipeline.reporting`.
        out: another place for the page; the figures stand beside it as `.json`, and nothing is
            written into the run folder.

    Returns:
        The files written.

    Raises:
        RunFolderError: `run_dir` is no folder, or `out` cannot be written.
        ConfigError: unknown `lang`.
    """
    if lang not in (*LANGUAGES, "both"):
        raise ConfigError(f"lang = {lang!r}: expected one of {', '.join(LANGUAGES)}, both")
    if not run_dir.is_dir():
        raise RunFolderError(f"{run_dir}: no such folder; expected the --out folder of a run")
    languages = LANGUAGES if lang == "both" else (lang,)
    reports = {
        one: load_report(run_dir, one, data_roots=data_roots, facts=facts) for one in languages
    }
    report = reports[languages[0]]
    page = out or run_dir / "index.html"
    written = []
    try:
        if out is None and not _own_picture(report):
            written.append(run_dir / "summary.png")
            write_summary_png(report.run, written[0], languages[0])
        write_page(reports, page)
        figures = page.with_suffix(".json") if out else run_dir / "report.json"
        write_figures(report, figures)
    except OSError as error:
        raise RunFolderError(f"{page}: cannot be written ({error.strerror or error})") from error
    return [*written, page, figures]


def _own_picture(report: Report) -> bool:
    """Whether the folder is one of `mmupt vote` or `mmupt bias`, which draw pictures themselves."""
    return is_pilot(report.run.metrics) or (report.run.path / BIAS_FILE).is_file()


def load_report(
    run_dir: Path,
    lang: str = "en",
    *,
    data_roots: Sequence[Path] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Report:
    """Read everything that a page is made from; what is missing becomes a problem in words."""
    run = load_run(run_dir, lang, data_roots=data_roots)
    problems = list(run.problems)
    if (run_dir / BIAS_FILE).is_file() and not run.metrics:
        # The folder of `mmupt bias`, which writes no metrics.json: nothing is missing.
        absent = words(lang)["problem_missing"].format(file="metrics.json")
        problems = [problem for problem in problems if problem != absent]
    pilot = run.metrics if is_pilot(run.metrics) else read_pilot(run_dir / "pilot", lang, problems)
    biases = read_biases(run_dir, lang, problems)
    versions = rows_of(facts or {}, "versions")
    problems += _facts_problems(facts or {}, lang)
    pair = pairs_of([view.name for view in stages_of(run.metrics)], versions)
    changes = (
        changes_between(run_dir, *pair, run.config, lang=lang, problems=problems) if pair else None
    )
    return Report(replace(run, problems=tuple(problems)), facts, changes, pilot, biases)


def _facts_problems(facts: Mapping[str, Any], lang: str) -> list[str]:
    """Parts of a project that could not be read, in words."""
    texts = words(lang)
    return [
        texts["problem_part"].format(
            part=texts.get(f"part_{one.get('part')}", clean(str(one.get("part")), 40)),
            why=texts["problem_gone"] if one.get("gone") else clean(str(one.get("why")), 300),
        )
        for one in rows_of(facts, "problems")
    ]


def write_index_html(run: RunRecord, path: Path, lang: str = "en") -> None:
    """The page of a run folder alone, in one language; see `write_page`."""
    write_page({lang: Report(run)}, path)


def write_page(reports: Mapping[str, Report], path: Path) -> None:
    """One page that needs no network, no script and no other file.

    Everything from the run is escaped, cut to a bounded length, and stands under a content
    security policy that allows inline style and embedded pictures only.

    Args:
        reports: from `load_report`, by language; the reader switches between several.
        path: where to write; replaced in one go.
    """
    # Each language has its own pictures, and all of them have to fit.
    share = MAX_BYTES // len(reports)
    pages = [
        report_values(replace(report, picture_bytes=share), lang)
        for lang, report in reports.items()
    ]
    page = environment().get_template("index.html.j2").render(pages=pages)
    write_atomically(path, page.encode("utf-8", errors="replace"))


def environment() -> Environment:
    """Templates of this package; whatever they show is escaped."""
    return Environment(
        loader=PackageLoader("mmupt.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_figures(report: Report, path: Path) -> None:
    """`report.json`; replaced in one go."""
    text = json.dumps(run_figures(report), ensure_ascii=False, indent=1)
    write_atomically(path, (text + "\n").encode("utf-8", errors="replace"))


def run_figures(report: Report) -> dict[str, Any]:
    """Every figure of a report as plain JSON."""
    heads: dict[str, str] = {lang: first_sentence(report, lang) for lang in LANGUAGES}
    examples = choose_examples(report.run.rollouts, _EXAMPLES)
    found = report_figures(report.run, report.facts, report.changes, examples, heads)
    bias = [{"folder": one.name, **one.document} for one in report.biases]
    more: dict[str, Any] = jsonable({"pilot": dict(report.pilot) or None, "bias": bias})
    return found | more


def first_sentence(report: Report, lang: str) -> str:
    """What the page opens with: the decision where there is one, otherwise the gain."""
    if report.facts and report.facts.get("state") == "stopped" and report.pilot:
        return pilot_sentence(report.pilot, lang)
    found = headline(report.facts, report.run.metrics, lang) if report.facts else ""
    if not found and not stages_of(report.run.metrics):
        found = pilot_sentence(report.pilot, lang)
        found = found or next((bias_sentence(one, lang) for one in report.biases), "")
    return found or verdict_lines(report.run.metrics, lang)[0]


def page_values(run: RunRecord, lang: str) -> dict[str, Any]:
    """The values of a run folder alone; see `report_values`."""
    return report_values(Report(run), lang)


def report_values(report: Report, lang: str) -> dict[str, Any]:
    """Everything that the template shows, as text; the template only arranges."""
    run, facts, texts = report.run, report.facts or {}, words(lang)
    stages, arms = stages_of(run.metrics), arms_of(run.metrics)
    audits = rows_of(facts, "audits")
    album = Album(run.data_roots, report.picture_bytes)
    k = common_k([*stages, *arms])
    # What the guard of each round did stands at its curve, where a project has many of them.
    first = first_sentence(report, lang)
    verdict = verdict_lines(run.metrics, lang, guard=report.facts is None)
    if report.facts and tells_gain(facts, run.metrics):
        verdict = verdict[1:]
    if not stages and not report.facts and (report.pilot or report.biases):
        verdict = []  # a folder of `mmupt vote` or `mmupt bias` was never meant to have stages
    return {
        "lang": lang,
        "t": texts,
        "k": k,
        "headline": first,
        "verdict": [line for line in verdict if line != first],
        "facts": _facts(run, lang),
        "finished": bool(events_of(run, "run_finished")) or not run.events,
        "problems": run.problems,
        "figures": [*_figures(run, stages, lang), *_project_figures(facts, lang)],
        "columns": [texts[f"column_{key}"].format(k=k) for key in ESTIMATES],
        "stages": [_row(view, lang) for view in stages],
        "arms": [_row(view, lang) for view in arms],
        "project": project_view(facts, lang) if report.facts else None,
        "charts": charts(run, lang, audits),
        "health": health_charts(run, lang),
        "calibration": calibration_charts(audits, lang),
        "pilot": pilot_values(report.pilot, lang),
        "biases": [
            bias_values(one, lang, place) for place, one in enumerate(report.biases, start=1)
        ],
        "folder": clean(run.path.resolve().name, 80),
        "wrong": [wrong_card(stage, one, album, lang) for stage, one in wrong_rows(audits)],
        "change": _change(report.changes, lang),
        "changed": change_cards(report.changes, album, lang) if report.changes else [],
        "examples": [
            example_card(rollout, album, lang)
            for rollout in choose_examples(run.rollouts, _EXAMPLES)
        ],
        "config": clean_lines(run.config_text, _CONFIG_LIMIT),
        "config_cut": len(run.config_text) > _CONFIG_LIMIT,
        "versions": [
            (clean(str(name), 40), clean(str(version), 60))
            for name, version in list(mapping(run.metrics.get("versions")).items())[:_VERSIONS]
        ],
    }


def _change(changes: Changes | None, lang: str) -> str:
    if changes is None:
        return ""
    return words(lang)["changes_counts"].format(
        before=stage_title(changes.before, lang), after=stage_title(changes.after, lang),
        n=count(changes.n), better=count(changes.better), worse=count(changes.worse),
        right=count(changes.right), wrong=count(changes.wrong),
    )  # fmt: skip


def _project_figures(facts: Mapping[str, Any], lang: str) -> list[tuple[str, str]]:
    """Label precision of the newest audit with verdicts, and what the rounds cost."""
    texts, found = words(lang), []
    for audit in reversed(rows_of(facts, "audits")):
        value = number(audit.get("precision"))
        if number(audit.get("judged")) > 0 and not math.isnan(value):
            caption = texts["figure_precision"].format(
                stage=stage_title(str(audit["name"]), lang),
                ends=percent_range(interval(audit.get("precision_ci"))),
            )
            found.append((f"{percent(value)}%", caption))
            break
    roi = mapping(mapping(facts.get("roi")).get(lang))
    for figure in rows_of(roi, "figures"):
        if figure.get("key") == "label_free_cost" and figure.get("value") is not None:
            found.append((clean(str(figure["text"]), 40), texts["figure_cost"]))
    return found


def _facts(run: RunRecord, lang: str) -> list[tuple[str, str]]:
    texts = words(lang)
    facts = [(texts["folder"], clean(run.path.resolve().name, 80))]
    for event in events_of(run, "run_started")[:1]:
        facts.append((texts["started"], moment(event.get("time"))))
    seed, seconds = number(run.metrics.get("seed")), number(run.metrics.get("seconds"))
    if not math.isnan(seed):
        facts.append((texts["seed"], f"{seed:.0f}"))
    if run.metrics.get("device"):
        facts.append((texts["device"], clean(str(run.metrics["device"]), 60)))
    if not math.isnan(seconds):
        facts.append((texts["duration"], duration(seconds, lang)))
    return facts


def _figures(run: RunRecord, stages: list[StageView], lang: str) -> list[tuple[str, str]]:
    """A few large figures, each with what it is."""
    texts = words(lang)
    start, last = find(stages, Kind.SFT), find(stages, Kind.LABEL_FREE)
    figures = []
    for key, name in (("mean", "figure_sampled"), ("greedy", "figure_greedy")):
        gain, _ = gain_of(run.metrics, key)
        if start is None or last is None:
            continue
        before, after = start.estimates[key].value, last.estimates[key].value
        gain = after - before if math.isnan(gain) else gain
        if not math.isnan(gain):
            caption = texts[name].format(start=percent(before), end=percent(after))
            figures.append((points(gain), caption))
    free = sum(view.labels_used for view in stages if view.kind is Kind.LABEL_FREE)
    if last is not None and not math.isnan(free):
        figures.append((count(free), texts["figure_free"]))
    total = number(run.metrics.get("labels_used"))
    if "stages" in run.metrics and not math.isnan(total):
        figures.append((count(total), texts["figure_labels"]))
    recovered = number(mapping(run.metrics.get("recovered")).get("mean"))
    if not math.isnan(recovered):
        sign = "−" if recovered < 0 else ""
        figures.append((f"{sign}{abs(recovered) * 100:.0f}%", texts["figure_recovered"]))
    return figures


def _row(view: StageView, lang: str) -> dict[str, Any]:
    return {
        "title": stage_title(view.name, lang),
        "labels": count(view.labels_used),
        "cells": [
            (percent(view.estimates[key].value), percent_range(view.estimates[key].interval))
            for key in ESTIMATES
        ],
        "n": count(view.n),
        "seconds": duration(view.seconds, lang),
    }
