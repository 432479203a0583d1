"""A decision on the terminal: a table of its checks and the sentence."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mmupt.gates.decide import Check, Decision
from mmupt.gates.words import clean, filled, say

_STYLES = {"pass": "green", "fail": "bold red", "insufficient": "yellow", "not-applicable": "dim"}


def decision_view(decision: Decision, lang: str = "en") -> Group:
    """A rich renderable; verdicts are told by words and marks, colours only repeat them.

    Raises:
        ConfigError: a language that there are no texts for.
    """
    subject = decision.subject
    title = say("title", lang, version=clean(subject.version), baseline=clean(subject.baseline))
    table = Table(title=Text(title), title_justify="left")
    for head in ("criterion", "figure", "bound", "verdict"):
        table.add_column(say(f"head.{head}", lang), overflow="fold")
    for check in decision.checks:
        style = _STYLES[check.verdict]
        table.add_row(
            Text(say(f"criterion.{check.name}", lang)),
            Text(_figure(check, lang)),
            Text(_bound(check, lang)),
            Text(say(f"verdict.{check.verdict}", lang), style=style),
        )
    # Text, not markup: names of versions and groups come from outside.
    return Group(table, Text(decision.explain(lang), style=_STYLES[decision.verdict]))


def _figure(check: Check, lang: str) -> str:
    """What was measured; a dash where nothing could be."""
    if not check.evidence or (check.name != "guard" and check.figure is None):
        return "–"
    return say(f"figure.{check.name}", lang, **filled(check.values, lang))


def _bound(check: Check, lang: str) -> str:
    """What is asked for; a dash where nothing is."""
    if check.verdict == "not-applicable":
        return "–"
    bound = check.bound or 0.0
    return say(f"bound.{check.name}", lang, bound=bound, points=100 * bound)
