"""The diagrams of a page, each with what a reader needs who cannot see it, or not in colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mmupt.report.calibration import (
    bin_words,
    bins_of,
    calibration_alt,
    calibration_svg,
    drawn,
)
from mmupt.report.curves import (
    HEALTH_STYLES,
    Audits,
    Style,
    audited,
    health_events,
    label_free_steps,
    legend_keys,
)
from mmupt.report.guard_words import guard_words
from mmupt.report.plots import accuracy_svg, health_svg, loss_svg, signals_svg, steps_note
from mmupt.report.read import Event, RunRecord, events_of, step_of
from mmupt.report.table import common_k
from mmupt.report.text import clean, count, percent, percent_range, stage_title, words
from mmupt.report.values import StageView, arms_of, interval, number, stages_of

_MOST_FINDINGS = 4
"""Of the guard, told in words for one round; a rule that is broken once is mostly broken again."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A diagram.

    Attributes:
        title, note: above it.
        svg: the element.
        alt: what it shows, in words.
        legend: line samples with their names.
        events: what the guard did, where the diagram marks it.
    """

    title: str
    note: str
    svg: Markup
    alt: str
    legend: list[tuple[Markup, str]]
    events: tuple[str, ...] = ()


def charts(run: RunRecord, lang: str, audits: Audits = ()) -> list[Chart]:
    """The curves of a run, as far as there is something to draw."""
    texts = words(lang)
    stages, arms = stages_of(run.metrics), arms_of(run.metrics)
    k = common_k([*stages, *arms])
    legends = {
        name: [(swatch(style), texts[f"series_{style.key}"].format(k=k)) for style in styles]
        for name, styles in legend_keys(run, audits).items()
    }
    free = steps_note(sum(len(steps) for _, steps in label_free_steps(run)), texts)
    tuned = events_of(run, "sft_step")
    found = []
    for name, svg, note, alt, events in (
        ("accuracy", accuracy_svg(run, lang), texts["accuracy_note"],
         _accuracy_alt([*stages, *arms], lang), ()),
        ("signals", signals_svg(run, lang, audits), free, _signals_alt(run, lang, audits),
         guard_lines(run, lang)),
        ("loss", loss_svg(run, lang), steps_note(len(tuned), texts), _loss_alt(tuned, texts), ()),
    ):  # fmt: skip
        if svg is not None:
            # matplotlib escapes the texts that it writes into an SVG.
            markup = Markup(svg)  # noqa: S704
            title = texts[f"{name}_title"]
            found.append(Chart(title, note, markup, alt, legends[name], tuple(events)))
    return found


def health_charts(run: RunRecord, lang: str) -> list[Chart]:
    """Entropy, KL and length by step, each by itself."""
    texts = words(lang)
    found = []
    for style in HEALTH_STYLES:
        svg = health_svg(run, style, lang)
        events = [
            e for stage, _ in label_free_steps(run) for e in health_events(run, stage, style.key)
        ]
        values = _known(events, style.key)
        if svg is not None and values:
            name = texts[f"series_{style.key}"]
            alt = texts["health_alt"].format(
                series=name, steps=count(len(values)), first=f"{values[0]:.3g}",
                last=f"{values[-1]:.3g}",
            )  # fmt: skip
            found.append(Chart(name, "", Markup(svg), alt, []))  # noqa: S704  as above
    return found


def calibration_charts(audits: Audits, lang: str) -> list[tuple[Chart, list[dict[str, str]]]]:
    """What vote shares were worth, by audit, with the figures as rows of a table."""
    return [
        (
            Chart(
                stage_title(str(audit["name"]), lang),
                "",
                Markup(calibration_svg(audit, lang)),  # noqa: S704  as above
                calibration_alt(audit, lang),
                [],
            ),
            [bin_words(one) for one in bins_of(audit)],
        )
        for audit in drawn(audits)
    ]


def guard_lines(run: RunRecord, lang: str) -> list[str]:
    """What the guard found and which update it kept, in words, by round."""
    texts = words(lang)
    lines = []
    for stage, _ in label_free_steps(run):
        title = stage_title(stage, lang)
        findings = events_of(run, "guard_finding", stage)
        for event in findings[:_MOST_FINDINGS]:
            lines.append(
                texts["guard_found"].format(
                    stage=title, step=step_of(event.get("step")),
                    rule=clean(str(event.get("rule")), 60), told=guard_words(event, lang),
                )
            )  # fmt: skip
        if len(findings) > _MOST_FINDINGS:
            more = count(len(findings) - _MOST_FINDINGS)
            lines.append(texts["guard_more"].format(stage=title, count=more))
        for event in events_of(run, "best_checkpoint", stage)[-1:]:
            lines.append(
                texts["guard_kept"].format(
                    stage=title, step=step_of(event.get("step")),
                    steps=step_of(event.get("last_step")),
                )
            )  # fmt: skip
    return lines


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


def _signals_alt(run: RunRecord, lang: str, audits: Audits) -> str:
    texts = words(lang)
    events = [event for _, steps in label_free_steps(run) for event in steps]
    parts = [texts["signals_alt"].format(steps=count(len(events)))]
    for key in ("vote_share", "kept", "unanimous"):
        if values := _known(events, key):
            parts.append(
                texts["signals_alt_series"].format(
                    series=texts[f"series_{key}"],
                    first=percent(values[0]),
                    last=percent(values[-1]),
                )
            )
    for stage, _ in label_free_steps(run):
        for period in audited(audits, stage):
            parts.append(
                texts["precision_alt"].format(
                    stage=stage_title(stage, lang), first=step_of(period.get("from")),
                    last=step_of(period.get("to")), value=percent(number(period.get("precision"))),
                    ends=percent_range(interval(period.get("precision_ci"))),
                )
            )  # fmt: skip
    return " ".join(parts)


def _loss_alt(events: Sequence[Event], texts: Mapping[str, str]) -> str:
    values = _known(events, "loss")
    if not values:
        return texts["loss_title"]
    ends = {"first": f"{values[0]:.3g}", "last": f"{values[-1]:.3g}"}
    return texts["loss_alt"].format(steps=count(len(events)), **ends)


def _known(events: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [value for event in events if not math.isnan(value := number(event.get(key)))]


_DASHES = {"-": "", "--": "6.5 2.8", ":": "2.2 2.6", "-.": "7 2.5 1.6 2.5"}

_MARKS = {
    "": "",
    "o": '<circle cx="16" cy="6" r="3.6"/>',
    "s": '<rect x="12.6" y="2.6" width="6.8" height="6.8"/>',
    "^": '<path d="M16 1.6 20.4 9.6H11.6Z"/>',
    "v": '<path d="M16 10.4 20.4 2.4H11.6Z"/>',
    "D": '<path d="M16 1 21 6 16 11 11 6Z"/>',
    "X": '<path d="M12.5 1 16 4.5 19.5 1 21 2.5 17.5 6 21 9.5 19.5 11 16 7.5 12.5 11 11 9.5 '
    '14.5 6 11 2.5Z"/>',
}


def swatch(style: Style) -> Markup:
    """A line sample like the one in the diagram."""
    line = (
        f'<path d="M0 6H32" fill="none" stroke="{style.colour}" stroke-width="{style.width}" '
        f'stroke-dasharray="{_DASHES[style.dash]}"/>'
        if style.dash
        else ""
    )
    svg = (
        f'<svg class="swatch" viewBox="0 0 32 12" aria-hidden="true" fill="{style.colour}">'
        f"{line}{_MARKS[style.marker]}</svg>"
    )
    return Markup(svg)  # noqa: S704  (constants of this package only)
