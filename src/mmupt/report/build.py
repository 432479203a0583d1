"""The report of a run: `summary.png` and `index.html`, from the files of its folder alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmupt.errors import RunFolderError
from mmupt.report.curves import Style, label_free_steps, legend_keys
from mmupt.report.examples import Case, case_of, choose_examples, question_of, rewarded, tally
from mmupt.report.files import write_atomically
from mmupt.report.pictures import data_uri, picture
from mmupt.report.plots import accuracy_svg, loss_svg, signals_svg, steps_note, write_summary_png
from mmupt.report.read import Event, Rollout, RunRecord, events_of, load_run
from mmupt.report.sheet import bar_name, outcome
from mmupt.report.table import common_k, gain_of, verdict_lines
from mmupt.report.text import (
    NOTHING,
    clean,
    clean_lines,
    count,
    duration,
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
    mapping,
    number,
    stages_of,
)

_EXAMPLES = 9
"""Three of each case where there are as many, in three columns."""

_PICTURES = 3
"""Pictures shown for one example; the rest are counted."""

_RESPONSES = 3
"""Responses shown for one example."""

_PICTURE_SIDE = 384
_QUESTION_LIMIT = 600
_RESPONSE_LIMIT = 700
_CONFIG_LIMIT = 20_000
_VERSIONS = 40


@dataclass(frozen=True, slots=True)
class Chart:
    """A diagram with what a reader needs who cannot see it, or not in colour."""

    title: str
    note: str
    svg: Markup
    alt: str
    legend: list[tuple[Markup, str]]


def write_report(
    run_dir: Path, lang: str = "en", *, data_roots: Sequence[Path] | None = None
) -> list[Path]:
    """Write `summary.png` and `index.html` into a run folder, finished or not.

    Args:
        run_dir: the run folder.
        lang: `en` or `ja`.
        data_roots: folders that pictures may come from; see `load_run`.

    Returns:
        The files written.

    Raises:
        RunFolderError: `run_dir` is no folder.
        ConfigError: unknown `lang`.
    """
    if not run_dir.is_dir():
        raise RunFolderError(f"{run_dir}: no such folder; expected the --out folder of a run")
    run = load_run(run_dir, lang, data_roots=data_roots)
    picture_path, page_path = run_dir / "summary.png", run_dir / "index.html"
    write_summary_png(run, picture_path, lang)
    write_index_html(run, page_path, lang)
    return [picture_path, page_path]


def write_index_html(run: RunRecord, path: Path, lang: str = "en") -> None:
    """One page that needs no network, no script and no other file.

    Everything from the run is escaped, cut to a bounded length, and stands under a content
    security policy that allows inline style and embedded pictures only.

    Args:
        run: from `load_run`.
        path: where to write; replaced in one go.
        lang: `en` or `ja`.
    """
    environment = Environment(
        loader=PackageLoader("mmupt.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("index.html.j2").render(page_values(run, lang))
    write_atomically(path, page.encode("utf-8", errors="replace"))


def page_values(run: RunRecord, lang: str) -> dict[str, Any]:
    """Everything that the template shows, as text; the template only arranges."""
    texts = words(lang)
    stages, arms = stages_of(run.metrics), arms_of(run.metrics)
    verdict = verdict_lines(run.metrics, lang)
    examples = choose_examples(run.rollouts, _EXAMPLES)
    k = common_k([*stages, *arms])
    return {
        "lang": lang,
        "t": texts,
        "k": k,
        "headline": verdict[0],
        "verdict": verdict[1:],
        "facts": _facts(run, lang),
        "finished": bool(events_of(run, "run_finished")) or not run.events,
        "problems": run.problems,
        "figures": _figures(run, stages, lang),
        "columns": [texts[f"column_{key}"].format(k=k) for key in ESTIMATES],
        "stages": [_row(view, lang) for view in stages],
        "arms": [_row(view, lang) for view in arms],
        "charts": _charts(run, stages, arms, lang),
        "examples": [_example(run, rollout, lang) for rollout in examples],
        "config": clean_lines(run.config_text, _CONFIG_LIMIT),
        "config_cut": len(run.config_text) > _CONFIG_LIMIT,
        "versions": [
            (clean(str(name), 40), clean(str(version), 60))
            for name, version in list(mapping(run.metrics.get("versions")).items())[:_VERSIONS]
        ],
    }


def _facts(run: RunRecord, lang: str) -> list[tuple[str, str]]:
    texts = words(lang)
    facts = [(texts["folder"], clean(run.path.resolve().name, 80))]
    for event in events_of(run, "run_started")[:1]:
        facts.append((texts["started"], _moment(event.get("time"))))
    seed, seconds = number(run.metrics.get("seed")), number(run.metrics.get("seconds"))
    if not math.isnan(seed):
        facts.append((texts["seed"], f"{seed:.0f}"))
    if run.metrics.get("device"):
        facts.append((texts["device"], clean(str(run.metrics["device"]), 60)))
    if not math.isnan(seconds):
        facts.append((texts["duration"], duration(seconds, lang)))
    return facts


def _moment(value: object) -> str:
    """An ISO time to the minute, in UTC; what is none stays as it is."""
    text = clean(str(value), 40)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if moment.tzinfo else text


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


def _charts(
    run: RunRecord, stages: list[StageView], arms: list[StageView], lang: str
) -> list[Chart]:
    texts = words(lang)
    k = common_k([*stages, *arms])
    legends = {
        name: [(_swatch(style), texts[f"series_{style.key}"].format(k=k)) for style in styles]
        for name, styles in legend_keys(run).items()
    }
    free = sum(len(steps) for _, steps in label_free_steps(run))
    tuned = events_of(run, "sft_step")
    charts = []
    for name, svg, note, alt in (
        ("accuracy", accuracy_svg(run, lang), texts["accuracy_note"],
         _accuracy_alt([*stages, *arms], lang)),
        ("signals", signals_svg(run, lang), steps_note(free, texts), _signals_alt(run, lang)),
        ("loss", loss_svg(run), steps_note(len(tuned), texts), _loss_alt(tuned, texts)),
    ):  # fmt: skip
        if svg is not None:
            # matplotlib escapes the texts that it writes into an SVG.
            markup = Markup(svg)  # noqa: S704
            charts.append(Chart(texts[f"{name}_title"], note, markup, alt, legends[name]))
    return charts


def _accuracy_alt(views: list[StageView], lang: str) -> str:
    texts = words(lang)
    return " ".join(
        [
            texts["accuracy_alt"],
            *(
                texts["accuracy_alt_stage"].format(
                    stage=stage_title(view.name, lang),
                    **{
                        key: percent(view.estimates[key].value)
                        for key in ("greedy", "mean", "majority")
                    },
                )
                for view in views
            ),
        ]
    )


def _signals_alt(run: RunRecord, lang: str) -> str:
    texts = words(lang)
    events = [event for _, steps in label_free_steps(run) for event in steps]
    parts = [texts["signals_alt"].format(steps=count(len(events)))]
    for key in ("vote_share", "kept", "unanimous"):
        values = [value for event in events if not math.isnan(value := number(event.get(key)))]
        if values:
            parts.append(
                texts["signals_alt_series"].format(
                    series=texts[f"series_{key}"],
                    first=percent(values[0]),
                    last=percent(values[-1]),
                )
            )
    return " ".join(parts)


def _loss_alt(events: Sequence[Event], texts: Mapping[str, str]) -> str:
    values = [value for event in events if not math.isnan(value := number(event.get("loss")))]
    if not values:
        return texts["loss_title"]
    ends = {"first": f"{values[0]:.3g}", "last": f"{values[-1]:.3g}"}
    return texts["loss_alt"].format(steps=count(len(events)), **ends)


_DASHES = {"-": "", "--": "6.5 2.8", ":": "2.2 2.6", "-.": "7 2.5 1.6 2.5"}

_MARKS = {
    "": "",
    "o": '<circle cx="16" cy="6" r="3.6"/>',
    "s": '<rect x="12.6" y="2.6" width="6.8" height="6.8"/>',
    "^": '<path d="M16 1.6 20.4 9.6H11.6Z"/>',
}


def _swatch(style: Style) -> Markup:
    """A line sample like the one in the diagram."""
    line = (
        f'<svg class="swatch" viewBox="0 0 32 12" aria-hidden="true" fill="{style.colour}">'
        f'<path d="M0 6H32" fill="none" stroke="{style.colour}" stroke-width="{style.width}" '
        f'stroke-dasharray="{_DASHES[style.dash]}"/>{_MARKS[style.marker]}</svg>'
    )
    return Markup(line)  # noqa: S704  (constants of this package only)


def _example(run: RunRecord, rollout: Rollout, lang: str) -> dict[str, Any]:
    texts = words(lang)
    total = len(rollout.votes)
    responses = _responses(rollout, lang)
    pictures = []
    for position, name in enumerate(rollout.images[:_PICTURES], start=1):
        image = picture(name, run.data_roots, _PICTURE_SIDE)
        alt = texts["picture_alt"].format(number=position, sample=clean(rollout.sample_id, 60))
        pictures.append((None if image is None else data_uri(image), alt))
    return {
        "case": case_of(rollout).value,
        "heading": texts[f"case_{case_of(rollout).value}"],
        "place": texts["place"].format(stage=stage_title(rollout.stage, lang), step=rollout.step),
        "sample": clean(rollout.sample_id, 60),
        "question": clean(question_of(rollout), _QUESTION_LIMIT),
        "pictures": pictures,
        "more_pictures": max(0, len(rollout.images) - _PICTURES),
        "bars": [
            {
                "name": bar_name(bar, texts, 40),
                "votes": bar.votes,
                "width": f"{100 * bar.votes / max(1, total):.1f}",
                "look": "chosen" if bar.chosen else "none" if bar.answer is None else "other",
                "alt": texts["votes_alt"].format(
                    answer=bar_name(bar, texts, 40), votes=bar.votes, total=total
                ),
            }
            for bar in tally(rollout)
        ],
        "outcome": outcome(rollout, texts, 60),
        "used": case_of(rollout) is not Case.LEFT_OUT,
        "rewarded": texts["rewarded"].format(
            rewarded=rewarded(rollout.rewards), total=len(rollout.completions)
        ),
        "responses": responses,
        "more_responses": len(rollout.completions) - len(responses),
    }


def _responses(rollout: Rollout, lang: str) -> list[dict[str, str]]:
    """Some different responses, one of each reward first."""
    texts = words(lang)
    rows: list[dict[str, str]] = []
    for position, text in enumerate(rollout.completions):
        answer = rollout.answers[position] if position < len(rollout.answers) else None
        reward = rollout.rewards[position] if position < len(rollout.rewards) else math.nan
        row = {
            "text": clean_lines(text, _RESPONSE_LIMIT),
            "answer": texts["abstained"] if answer is None else clean(answer, 60),
            "reward": NOTHING if math.isnan(reward) else f"{reward:g}".replace("-", "−"),
        }
        if row not in rows:
            rows.append(row)
    first = list({row["reward"]: row for row in reversed(rows)}.values())
    rest = [row for row in rows if row not in first]
    return (first + rest)[:_RESPONSES]
