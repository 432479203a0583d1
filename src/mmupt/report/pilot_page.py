"""The pilot on the page: its verdict, the reasons, how the votes fell and what the pictures do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mmupt.report.charts import Chart
from mmupt.report.pilot_plot import pilot_panels
from mmupt.report.pilot_table import MARKS, PILOT_WORDS, pilot_rows, two_places
from mmupt.report.plots import svg
from mmupt.report.read import read_object
from mmupt.report.text import clean, count, percent, percent_range, words
from mmupt.report.values import interval, mapping, number, rows_in

_METRICS, _VOTES = "metrics.json", "votes.parquet"
_MOST_REASONS = 12


def is_pilot(metrics: Mapping[str, Any]) -> bool:
    """Whether a `metrics.json` is that of `mmupt vote` or a project's pilot."""
    return isinstance(metrics.get("verdict"), str) and {"findings", "shares"} <= set(metrics)


def read_pilot(folder: Path, lang: str, problems: list[str]) -> Mapping[str, Any]:
    """The metrics of a pilot's folder; empty where there is no pilot or it cannot be read.

    Args:
        folder: of the pilot.
        lang: language of the problems.
        problems: what is missing or broken is added, in words.
    """
    if not folder.is_dir():
        return {}
    texts = words(lang)
    metrics = read_object(
        folder / _METRICS, texts, problems, f"{clean(folder.name, 40)}/{_METRICS}"
    )
    if metrics and not is_pilot(metrics):
        problems.append(texts["problem_no_pilot"].format(file=f"{folder.name}/{_METRICS}"))
        return {}
    if metrics:
        _check_votes(folder, metrics, texts, problems)
    return metrics


def _check_votes(
    folder: Path, metrics: Mapping[str, Any], texts: Mapping[str, str], problems: list[str]
) -> None:
    """The figures stand without the votes, but nobody could look at what they rest on."""
    import pyarrow
    import pyarrow.parquet

    path, name = folder / _VOTES, f"{clean(folder.name, 40)}/{_VOTES}"
    try:
        rows = pyarrow.parquet.read_metadata(path).num_rows
    except FileNotFoundError:
        problems.append(texts["problem_missing"].format(file=name))
        return
    except (pyarrow.ArrowException, OSError, ValueError):
        problems.append(texts["problem_not_parquet"].format(file=name))
        return
    if number(metrics.get("n")) != rows:
        n = count(number(metrics.get("n")))
        problems.append(texts["problem_votes"].format(file=name, rows=count(rows), n=n))


def pilot_sentence(metrics: Mapping[str, Any], lang: str) -> str:
    """The verdict in words; empty without a pilot."""
    return clean(str(mapping(metrics.get("summaries")).get(lang) or ""), 300)


def pilot_values(metrics: Mapping[str, Any], lang: str) -> dict[str, Any] | None:
    """What the template shows of a pilot, as text; None without one."""
    if not metrics:
        return None
    texts, wording = words(lang), PILOT_WORDS[lang]
    verdict = str(metrics.get("verdict"))
    return {
        "look": verdict,
        "stamp": texts.get(f"pilot_{verdict.replace('-', '_')}", clean(verdict, 40)),
        "summary": pilot_sentence(metrics, lang),
        "about": wording["title"].format(
            n=count(number(metrics.get("n"))), samples=count(number(metrics.get("samples"))),
            views=count(number(metrics.get("views"))),
            t=f"{number(metrics.get('temperature')):g}",
        ),
        "reasons": [
            (str(one.get("says")), MARKS.get(str(one.get("says")), "·"),
             clean(str(one.get(lang) or ""), 600))
            for one in rows_in(metrics, "findings")[:_MOST_REASONS]
        ],
        "rows": [*pilot_rows(metrics, wording), *_tests(metrics, lang)],
        "charts": _charts(metrics, lang),
        "missing": [panel.note for panel in pilot_panels(metrics, lang) if panel.draw is None],
    }  # fmt: skip


def _tests(metrics: Mapping[str, Any], lang: str) -> list[tuple[str, str]]:
    """Kappa of the picture test and the audited labels, with their intervals."""
    texts, found = words(lang), []
    test, audit = mapping(metrics.get("pictures")), mapping(metrics.get("audit"))
    if number(test.get("tested")) > 0:
        ends = interval(test.get("kappa_ci"))
        kappa = two_places(number(test.get("kappa")))
        found.append((
            texts["pilot_kappa"],
            f"{kappa} ({two_places(ends.low)}–{two_places(ends.high)})",
        ))  # fmt: skip
    for key in ("kept", "labelled") if audit else ():
        one = mapping(audit.get(key))
        figure = (
            f"{percent(number(one.get('accuracy')))} ({percent_range(interval(one.get('ci')))})"
        )
        rows = f"{count(number(one.get('right')))}/{count(number(one.get('n')))}"
        found.append((texts[f"pilot_audit_{key}"], f"{rows}: {figure}"))
    return found


def _charts(metrics: Mapping[str, Any], lang: str) -> list[Chart]:
    alts = (_votes_alt, _pictures_alt, _audit_alt)
    return [
        Chart(
            panel.title,
            panel.note,
            # matplotlib escapes the texts that it writes into an SVG.
            Markup(svg(panel.draw, f"pilot-{lang}-{index}", size=(4.0, 2.9))),  # noqa: S704
            alt(metrics, lang),
            [],
        )
        for index, (panel, alt) in enumerate(zip(pilot_panels(metrics, lang), alts, strict=True))
        if panel.draw is not None
    ]


def _votes_alt(metrics: Mapping[str, Any], lang: str) -> str:
    return words(lang)["pilot_votes_alt"].format(
        n=count(number(metrics.get("n"))), share=percent(number(metrics.get("share"))),
        kept=percent(number(metrics.get("kept"))),
        min_share=f"{number(metrics.get('min_share')):g}",
    )  # fmt: skip


def _pictures_alt(metrics: Mapping[str, Any], lang: str) -> str:
    test = mapping(metrics.get("pictures"))
    return words(lang)["pilot_pictures_alt"].format(
        **{key: percent(number(test.get(f"agreement_{key}"))) for key in ("own", "other", "blank")}
    )


def _audit_alt(metrics: Mapping[str, Any], lang: str) -> str:
    texts = words(lang)
    told = [
        texts["pilot_audit_alt_bin"].format(
            share=percent(number(one.get("share"))), right=count(number(one.get("right"))),
            n=count(number(one.get("n"))), ends=percent_range(interval(one.get("ci"))),
        )
        for one in rows_in(mapping(metrics.get("audit")), "bins")
    ]  # fmt: skip
    return " ".join([texts["pilot_audit_alt"], *told])
