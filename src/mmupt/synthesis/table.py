"""The report on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mmupt.words import texts


def synthesis_view(report: Mapping[str, Any], lang: str) -> Iterator[RenderableType]:
    """What came of the attempts, then of each way of asking, then what to do next."""
    words = texts("mmupt.synthesis", lang)
    total = max(1, report["attempts"])
    outcomes = Table(title=words["view.title"], title_justify="left")
    outcomes.add_column(words["view.outcome"])
    outcomes.add_column(words["view.attempts"], justify="right")
    outcomes.add_column(words["view.share"], justify="right")
    for name, count in report["outcomes"].items():
        outcomes.add_row(words[f"outcome.{name}"], str(count), f"{count / total:.1%}")
    yield outcomes
    ways = Table()
    ways.add_column(words["view.asked"])
    for key in ("attempts", "kept", "yield"):
        ways.add_column(words[f"view.{key}"], justify="right")
    for way in report["ways"]:
        kind, difficulty = words[f"kind.{way['kind']}"], words[f"difficulty.{way['difficulty']}"]
        ways.add_row(
            f"{kind}, {difficulty}",
            str(way["attempts"]),
            str(way["accepted"]),
            f"{way['yield']:.1%}",
        )
    yield ways
    yield Text(words["view.accepted"].format(**report))
    if report["below_min_share"]:
        yield Text(
            words["view.below"].format(
                below=report["below_min_share"], min_share=report["min_share"]
            )
        )
    if report["ended"] != "wanted":
        key = "view.short" if report["ended"] == "budget" else "view.exhausted"
        yield Text(words[key].format(**report), style="yellow")
