"""Where a project stands, in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from mmupt.report.text import clean, stage_title, words

_STYLE = {"done": "green", "refused": "red", "stopped": "red"}


def project_lines(project: Mapping[str, Any], root: Path, lang: str) -> list[Text]:
    """What the gates decided, which version serves, and what to do next.

    Args:
        project: the entry `project` of `metrics.json`.
        root: the project's folder.
        lang: `en` or `ja`.
    """
    texts = words(lang)
    lines = [
        Text(clean(str(gate["explained"][lang]), 1000))
        for name, gate in project["gates"].items()
        if name != project["stage"] or project["state"] == "done"
    ]
    state = str(project["state"])
    why = project["why"].get(lang, "")
    head = texts[f"project_{state.replace('-', '_')}"].format(
        stage=stage_title(str(project["stage"]), lang)
    )
    lines.append(Text(f"{head} {clean(why, 1000)}".strip(), _STYLE.get(state, "yellow")))
    champion = project["aliases"].get("champion")
    if champion:
        lines.append(Text(texts["project_champion"].format(version=clean(champion, 80))))
    lines.extend(Text(line, "dim") for line in next_lines(state, root, lang))
    return lines


def next_lines(state: str, root: Path, lang: str) -> Sequence[str]:
    """Commands that lead on from here."""
    key = f"project_next_{state.replace('-', '_')}"
    text = words(lang).get(key, "")
    return text.format(root=root).split("\n") if text else ()
