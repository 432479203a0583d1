"""A return on investment for the terminal and as JSON."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmupt.events import jsonable
from mmupt.ledger import say
from mmupt.ledger.book import KINDS, Kind
from mmupt.ledger.cost import Booked, joules_of
from mmupt.ledger.figures import Figure, Roi, Unit

WH = 3600.0
"""Joules of a Wh."""

NOTES = ("note_labels", "note_gain", "note_worth", "note_costs")


def roi_view(roi: Roi, lang: str = "en") -> Group:
    """Sentences for those who decide, then every figure with formula and assumptions, then what
    was booked, then what none of it says.

    Raises:
        ConfigError: a language that there are no texts for.
    """
    said = say.words(lang)
    notes = Text("\n").join(Text(said["bullet"].format(text=said[key])) for key in NOTES)
    return Group(
        Padding(Text("\n").join(map(Text, say.sentences(roi, lang))), (0, 0, 1, 1)),
        _figures(roi, lang),
        _booked(roi, lang),
        Padding(Text.assemble((f"{said['title_notes']}\n", "bold"), notes), (0, 0, 0, 1)),
    )


def roi_json(roi: Roi, lang: str = "en") -> dict[str, Any]:
    """Everything that `roi_view` shows, as plain JSON; what is not defined is null.

    A figure's ``high`` is null beside a ``low`` where its interval has no upper end.
    """
    results = roi.results
    return {
        "currency": roi.config.currency,
        "sentences": list(say.sentences(roi, lang)),
        "figures": [_figure_json(figure, roi, lang) for figure in roi.figures],
        "booked": {
            stage: {
                kind: {"quantity": total.quantity, "how": list(total.how)}
                for kind, total in booked.items()
            }
            for stage, booked in roi.totals.items()
        },
        "results": {
            "before": results.before,
            "after": results.after,
            "questions": results.questions,
            "confidence": results.confidence,
        },
        "assumptions": roi.config.model_dump(mode="json"),
        "notes": [say.words(lang)[key] for key in NOTES],
    }


def _figure_json(figure: Figure, roi: Roi, lang: str) -> dict[str, Any]:
    found: dict[str, Any] = jsonable(
        {
            "key": figure.key,
            "about": figure.about or None,
            "value": figure.value,
            "low": figure.low,
            "high": figure.high,
            "unit": roi.config.currency if figure.unit == "money" else figure.unit,
            "why": figure.why,
            "text": say.value_text(figure, roi.config.currency, lang),
            "formula": say.formula_text(figure, roi.config.currency, lang),
            "assumptions": dict(figure.assumptions),
        }
    )
    return found


def _table(title: str) -> Table:
    return Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold",
        caption_justify="left", pad_edge=True,
    )  # fmt: skip


def _figures(roi: Roi, lang: str) -> Table:
    said, currency = say.words(lang), roi.config.currency
    table = _table(said["title_figures"])
    table.add_column(said["column_figure"], overflow="fold")
    table.add_column(said["column_value"], overflow="fold")
    table.add_column(said["column_formula"], style="dim", overflow="fold")
    table.add_column(said["column_assumptions"], style="dim", no_wrap=True)
    for figure in roi.figures:
        table.add_row(
            Text(say.title(figure, lang)),
            Text(say.value_text(figure, currency, lang)),
            Text(say.formula_text(figure, currency, lang)),
            Text("\n".join(say.assumption_texts(figure)) or said["nothing"]),
        )
    return table


_COLUMNS: tuple[tuple[str, Kind], ...] = (
    ("column_compute", "compute_seconds"),
    ("column_tokens", "tokens"),
    ("column_energy", "energy_joules"),
    ("column_review", "review_seconds"),
    ("column_labels", "labels"),
    ("column_audited", "audited_labels"),
)
assert {kind for _, kind in _COLUMNS} == set(KINDS)  # noqa: S101  a kind without a column is lost


def _booked(roi: Roi, lang: str) -> Table:
    said = say.words(lang)
    table = _table(said["title_booked"])
    table.add_column(said["column_stage"], no_wrap=True)
    for column, _ in _COLUMNS:
        table.add_column(said[column], justify="right", overflow="fold")
    for stage, booked in roi.totals.items():
        table.add_row(Text(stage), *(Text(_cell(roi, booked, kind, lang)) for _, kind in _COLUMNS))
    if sources := _energy_sources(roi, lang):
        table.caption = Text(said["energy_sources"].format(sources="; ".join(sources)))
    return table


def _cell(roi: Roi, booked: Booked, kind: Kind, lang: str) -> str:
    if kind == "energy_joules":
        joules = joules_of([booked], roi.config)
        if joules is None:
            key = "unknown" if "compute_seconds" in booked else "nothing"
            return say.words(lang)[key]
        return say.amount(joules / WH, "kwh", roi.config.currency)
    if kind not in booked:
        return say.words(lang)["nothing"]
    unit: Unit = "seconds" if kind.endswith("_seconds") else "count"
    return say.amount(booked[kind].quantity, unit, roi.config.currency)


def _energy_sources(roi: Roi, lang: str) -> list[str]:
    """Where figures of energy come from, each once."""
    said, found = say.words(lang), dict[str, None]()
    for booked in roi.totals.values():
        if "energy_joules" in booked:
            for how in booked["energy_joules"].how:
                head, colon, rest = how.partition(":")
                found[said.get(f"how_{head}", head) + colon + rest] = None
        elif roi.config.watts is not None and "compute_seconds" in booked:
            found[said["energy_from_watts"].format(watts=f"{roi.config.watts:g}")] = None
    return list(found)
