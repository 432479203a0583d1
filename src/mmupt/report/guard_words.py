"""What the guard found, in the reader's language."""

from __future__ import annotations

import math

from mmupt.report.read import Event
from mmupt.report.text import clean, words
from mmupt.report.values import number


def guard_words(event: Event, lang: str) -> str:
    """The evidence of a `guard_finding`.

    The guard writes its evidence in English; another language has the rule's meaning with its
    figure and limit.
    """
    texts, evidence = words(lang), clean(str(event.get("evidence") or ""), 300)
    name = texts.get(f"guard_rule_{str(event.get('rule')).replace('-', '_')}")
    figure, bound = number(event.get("figure")), number(event.get("bound"))
    if lang == "en" or name is None or math.isnan(figure) or math.isnan(bound):
        return evidence
    return texts["guard_figures"].format(name=name, figure=f"{figure:.3g}", bound=f"{bound:.3g}")
