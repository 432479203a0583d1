"""A project's stages and versions as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mmupt.report.text import (
    NOTHING,
    clean,
    count,
    duration,
    percent,
    percent_range,
    stage_title,
    words,
)
from mmupt.stats import Interval

_MARKS = {"finished": "✓", "running": "▶", "interrupted": "‖", "waiting": "·"}
_VERDICTS = {"pass": "green", "fail": "red", "insufficient": "yellow"}


def status_view(status: Mapping[str, Any], root: Path, lang: str) -> list[RenderableType]:
    """Stages, audits and what to do next.

    Args:
        status: of `pipeline.status.project_status`.
        root: the project's folder.
        lang: `en` or `ja`.
    """
    from mmupt.report.project import next_lines

    texts = words(lang)
    table = Table(box=box.SIMPLE_HEAD, title=texts["status_title"], title_justify="left")
    table.add_column(texts["column_stage"])
    table.add_column(texts["status_state"])
    table.add_column(texts["status_finished"])
    table.add_column(texts["status_took"], justify="right")
    table.add_column(texts["status_what"], overflow="fold")
    for step in status["stages"]:
        table.add_row(*_step_row(step, lang))
    parts: list[RenderableType] = [table]
    parts += audit_lines(status["audits"], lang)
    state = str(status["state"])
    head = texts[f"project_{state.replace('-', '_')}"].format(
        stage=stage_title(str(status["stage"]), lang)
    )
    why = clean(str(status["why"].get(lang, "")), 1000)
    parts.append(Text(f"{head} {why}".strip()))
    champion = status["champion"]
    if champion:
        parts.append(Text(texts["project_champion"].format(version=clean(champion, 80))))
    if status["challenger"]:
        parts.append(
            Text(
                texts["status_challenger"].format(
                    version=clean(status["challenger"], 80), rollout=status["rollout"] or NOTHING
                )
            )
        )
    parts += [Text(line, "dim") for line in next_lines(state, root, lang)]
    return parts


def audit_lines(audits: Mapping[str, Mapping[str, Any]], lang: str) -> list[Text]:
    """One line an audit: how far it is, and what it proves so far."""
    return [_audit_line(name, audit, lang) for name, audit in audits.items()]


def versions_view(rows: Sequence[Mapping[str, Any]], lang: str) -> list[RenderableType]:
    """The versions of a project.

    Args:
        rows: of `pipeline.versions.version_rows`.
        lang: `en` or `ja`.
    """
    texts = words(lang)
    table = Table(box=box.SIMPLE_HEAD, title=texts["versions_title"], title_justify="left")
    for key in ("version", "alias", "parent", "greedy", "mean", "gate", "digest"):
        table.add_column(texts[f"versions_{key}"], justify="left", no_wrap=key == "digest")
    for row in rows:
        gate = row["gate"]
        table.add_row(
            clean(row["name"], 80),
            ", ".join(row["aliases"]) or NOTHING,
            clean(row["parent"] or NOTHING, 80),
            _estimate(row, "greedy"),
            _estimate(row, "mean"),
            Text(texts.get(f"gate_{gate}", gate or NOTHING), _VERDICTS.get(gate or "", "")),
            row["digest"][:12],
        )
    return [table]


def _step_row(step: Mapping[str, Any], lang: str) -> tuple[Text, Text, str, str, Text]:
    texts = words(lang)
    stage, _, part = step["name"].partition("/")
    name = stage_title(stage, lang) + (f" / {texts[f'step_{part}']}" if part else "")
    state = step["state"]
    what = ""
    outputs = step.get("outputs", {})
    if "verdict" in outputs:
        verdict = str(outputs["verdict"])
        what = texts.get(f"gate_{verdict}", verdict)
    elif "labels" in outputs:
        what = texts["status_labels"].format(count=count(outputs["labels"]))
    elif "rollout" in outputs:
        what = str(outputs["rollout"])
    elif step.get("progress"):
        what = "{}/{}".format(*step["progress"])
    took = duration(float(step["seconds"]), lang) if "seconds" in step else ""
    return (
        Text(name, "" if part else "bold"),
        Text(f"{_MARKS[state]} {texts[f'state_{state}']}"),
        step.get("finished", "")[:16].replace("T", " "),
        took,
        Text(clean(what, 200)),
    )


def _audit_line(name: str, audit: Mapping[str, Any], lang: str) -> Text:
    texts = words(lang)
    text = texts["status_audit"].format(
        stage=stage_title(name, lang), judged=count(audit["judged"]), asked=count(audit["asked"])
    )
    if audit["judged"]:
        low, high = audit["precision_ci"]
        text += texts["status_audit_precision"].format(
            precision=percent(_float(audit["precision"])),
            ends=percent_range(Interval(_float(low), _float(high))),
        )
    if audit["still_needed"]:
        text += texts["status_audit_needed"].format(count=count(audit["still_needed"]))
    return Text(text)


def _estimate(row: Mapping[str, Any], key: str) -> str:
    if row.get(key) is None:
        return NOTHING
    ends = row.get(f"{key}_ci") or (float("nan"), float("nan"))
    return f"{percent(float(row[key]))} ({percent_range(Interval(*ends))})"


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)
