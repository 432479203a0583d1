"""Bias and side effects on the page: verdict, findings, before and after, slices.

Properties, slices and conditions are named as `mmupt bias` names them on the terminal, with the
words of that package; what a newer one has no word for stands by its key.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from mmupt.report.bias_plot import BLUE, bars_svg, points_svg
from mmupt.report.bias_read import BiasResult
from mmupt.report.charts import Chart
from mmupt.report.text import NOTHING, clean, count, percent, percent_range, points, words
from mmupt.report.values import mapping, number, ratio, rows_in
from mmupt.stats import Interval, Ratio
from mmupt.words import texts as words_of

_MARKS = {"harm": "✗", "warn": "!", "note": "·", "good": "✓"}
_MOST_FINDINGS, _MOST_SLICES, _MOST_POINTS = 14, 10, 12
_LEVEL = 0.05
"""Of the p-values after Holm's correction."""


def bias_sentence(result: BiasResult, lang: str) -> str:
    """The verdict in words."""
    return clean(str(mapping(result.document.get("summaries")).get(lang) or ""), 400)


def bias_values(result: BiasResult, lang: str, number_: int = 0) -> dict[str, Any]:
    """What the template shows of one result, as text.

    Args:
        result: from `read_biases`.
        lang: of the words.
        number_: keeps the diagrams of several results apart.
    """
    texts, document = words(lang), result.document
    told = mapping(document.get("figures"))
    verdict = str(document.get("verdict"))
    before, after = result.models
    slices = rows_in(told, "slices")
    return {
        "name": clean(result.name, 60),
        "look": verdict,
        "stamp": texts.get(f"bias_{verdict.replace('-', '_')}", clean(verdict, 40)),
        "summary": bias_sentence(result, lang),
        "about": texts["bias_about"].format(
            before=before or NOTHING, after=after or NOTHING, n=count(number(told.get("n"))),
            labelled=count(number(told.get("labelled"))), k=count(number(told.get("k"))),
        ),
        "findings": [
            (str(one.get("says")), _MARKS.get(str(one.get("says")), "·"),
             clean(str(one.get(lang) or ""), 700))
            for one in rows_in(document, "findings")[:_MOST_FINDINGS]
        ],
        "rows": list(_rows(told, lang)),
        "slices": [_slice(one, lang) for one in _ranked(slices)[:_MOST_SLICES]],
        "more_slices": max(0, len(slices) - _MOST_SLICES),
        "measure": _word(f"measure.{told.get('measure')}", lang),
        "charts": _charts(told, lang, number_),
    }  # fmt: skip


def _rows(told: Mapping[str, Any], lang: str) -> Iterator[dict[str, str]]:
    """Figures of both models with the paired change; what was not measured is left out."""
    for key in ("accuracy", "greedy", "majority", "share"):
        yield from _row(_word(f"table.{key}", lang), told.get(key), lang)
    for one in rows_in(told, "conditions")[1:]:
        shown = _word(f"shown.{one.get('name')}", lang)
        for part, key in (("with", "accuracy"), ("unchanged", "unchanged")):
            yield from _row(_word(f"table.{part}", lang, shown=shown), one.get(key), lang)
    kappa = {
        "before": mapping(told.get("before")).get("kappa"),
        "after": mapping(told.get("after")).get("kappa"),
        "change": told.get("kappa_change"),
    }
    yield from _row(_word("table.kappa", lang), kappa, lang, _two)
    for one in rows_in(mapping(told.get("diversity")), "passes")[1:]:
        k = count(number(one.get("k")))
        yield from _row(_word("table.pass", lang, k=k), one.get("value"), lang)
    for other in rows_in(told, "forgetting"):
        name = clean(str(other.get("name")), 40)
        yield from _row(_word("table.forgetting", lang, name=name), other.get("accuracy"), lang)


def _row(name: str, value: object, lang: str, shown: Any = percent) -> Iterator[dict[str, str]]:
    compared = mapping(value)
    before, after = ratio(compared.get("before")), ratio(compared.get("after"))
    change = ratio(compared.get("change"))
    if math.isnan(before.estimate) and math.isnan(after.estimate):
        return
    signed = points if shown is percent else _signed
    yield {
        "name": name,
        "before": shown(before.estimate), "before_ends": _ends(before, shown),
        "after": shown(after.estimate), "after_ends": _ends(after, shown),
        "change": NOTHING if math.isnan(change.estimate) else signed(change.estimate),
        "change_ends": "" if math.isnan(change.low)
        else words(lang)["compare_ends"].format(low=signed(change.low), high=signed(change.high)),
        "sure": "sure" if change.low > 0 or change.high < 0 else "",
    }  # fmt: skip


def _ends(value: Ratio, shown: Any) -> str:
    if math.isnan(value.low):
        return ""
    if shown is percent:
        return percent_range(Interval(value.low, value.high))
    return f"{shown(value.low)}–{shown(value.high)}"


def _two(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.2f}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _ranked(slices: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that moved most surely first; not tested ones last."""

    def key(one: Mapping[str, Any]) -> float:
        p = number(mapping(one.get("amplification")).get("p"))
        return math.inf if math.isnan(p) else p

    return sorted(slices, key=key)


def _slice(one: Mapping[str, Any], lang: str) -> dict[str, str]:
    value, gap = mapping(one.get("value")), ratio(one.get("amplification"))
    p, verdict = number(one.get("p_holm")), str(one.get("verdict"))
    return {
        "name": _slice_name(one, lang),
        "n": count(number(one.get("n"))),
        "value": f"{percent(ratio(value.get('before')).estimate)} → "
        f"{percent(ratio(value.get('after')).estimate)}",
        "gap": NOTHING if math.isnan(gap.estimate) else points(gap.estimate),
        "gap_ends": ""
        if math.isnan(gap.low)
        else words(lang)["compare_ends"].format(low=points(gap.low), high=points(gap.high)),
        "p": NOTHING if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}",
        "verdict": _word(f"slice_verdict.{verdict}", lang),
        "look": verdict if verdict in ("hurt", "behind", "moved") else "same",
    }


def _slice_name(one: Mapping[str, Any], lang: str) -> str:
    """`brightness 12–43 (lowest of 4)`, as on the terminal."""
    group, column = mapping(one.get("group")), clean(str(one.get("column")), 40)
    if one.get("source") == "picture":
        column = _word(f"property.{column}", lang)
    rank, bins = number(group.get("rank")), number(group.get("bins"))
    place = "value" if not rank > 0 else {1.0: "first", bins: "last"}.get(rank, "middle")
    return _word(
        f"slice.{place}", lang, column=column, name=clean(str(group.get("name")), 40),
        rank=count(rank), bins=count(bins),
    )  # fmt: skip


def _word(key: str, lang: str, **values: str) -> str:
    found = words_of("mmupt.bias", lang).get(key)
    if found is None:
        return " ".join([clean(key.rpartition(".")[2], 40), *values.values()])
    return found.format(**values)


def _charts(told: Mapping[str, Any], lang: str, number_: int) -> list[Chart]:
    texts, found = words(lang), []
    bars = list(_bars(told, lang))
    if bars:
        alt = " ".join(
            texts["bias_alt_shown"].format(
                shown=" ".join(name.split()),
                before=percent(before.estimate),
                after=percent(after.estimate),
            )
            for name, before, after in bars
        )
        legend = [(_swatch(filled), _word(f"plot.{key}", lang))
                  for key, filled in (("before", False), ("after", True))]  # fmt: skip
        drawn = Markup(bars_svg(bars, f"bias-shown-{lang}-{number_}"))  # noqa: S704  escaped by matplotlib
        found.append(Chart(_word("plot.pictures", lang), _word("plot.pictures_accuracy", lang),
                           drawn, alt, legend))  # fmt: skip
    marks = [
        (_slice_name(one, lang), ratio(one.get("amplification")),
         number(one.get("p_holm")) < _LEVEL)
        for one in _ranked(rows_in(told, "slices"))[:_MOST_POINTS]
        if not math.isnan(number(mapping(one.get("amplification")).get("estimate")))
    ]  # fmt: skip
    if marks:
        alt = " ".join(
            texts["bias_alt_slice"].format(
                slice=name, gap=points(gap.estimate), low=points(gap.low), high=points(gap.high)
            )
            if not math.isnan(gap.low)
            else f"{name}: {points(gap.estimate)}."
            for name, gap, _ in marks
        )
        measure = _word(f"measure.{told.get('measure')}", lang)
        note = _word("plot.slices_note", lang, measure=measure)
        drawn = Markup(points_svg(marks, f"bias-slices-{lang}-{number_}"))  # noqa: S704  as above
        found.append(Chart(_word("plot.slices", lang), note, drawn, alt, []))
    return found


def _bars(told: Mapping[str, Any], lang: str) -> Iterator[tuple[str, Ratio, Ratio]]:
    """Accuracy by what was shown; nothing without true answers or other pictures."""
    conditions = rows_in(told, "conditions")
    for one in conditions if len(conditions) > 1 else ():
        compared = mapping(one.get("accuracy"))
        before, after = ratio(compared.get("before")), ratio(compared.get("after"))
        if not math.isnan(before.estimate):
            name = str(one.get("name"))
            yield _word(f"plot.{'none_shown' if name == 'none' else name}", lang), before, after


def _swatch(filled: bool) -> Markup:
    """A box like the bars in the diagram."""
    inside = BLUE if filled else "#fff"
    stripes = "" if filled else '<path d="M9 11 17 1M15 11 23 1" stroke-width="1.2"/>'
    box = f'<rect x="7" y="1" width="18" height="10" fill="{inside}"/>{stripes}'
    return Markup(  # noqa: S704  constants of this package only
        f'<svg class="swatch" viewBox="0 0 32 12" aria-hidden="true" stroke="{BLUE}">{box}</svg>'
    )
