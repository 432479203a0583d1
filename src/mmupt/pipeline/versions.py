"""The versions of a project as rows: lineage, accuracy, gate, alias."""

from __future__ import annotations

import json
from typing import Any

from mmupt.pipeline.project import Project


def version_rows(project: Project) -> list[dict[str, Any]]:
    """One row a version, in the order in which they were made; ready for JSON."""
    registry = project.registry()
    aliases = registry.aliases()
    measured = _measured(project)
    rows = []
    for version in registry.versions():
        decision = registry.latest_decision(version.name)
        row: dict[str, Any] = {
            "name": version.name,
            "aliases": [alias for alias, name in aliases.items() if name == version.name],
            "parent": version.lineage.parent,
            "digest": version.digest,
            "path": str(registry.folder(version)),
            "bytes": version.manifest.size,
            "rounds": list(version.lineage.rounds),
            "audits": list(version.lineage.audits),
            "data": dict(version.lineage.data),
            "created": version.created,
            "gate": None,
        }
        if decision is not None:
            current = decision.version_digest == version.digest
            row["gate"] = decision.verdict if current else "for another digest"
        rows.append({**row, **measured.get(version.name, {})})
    return rows


def _measured(project: Project) -> dict[str, dict[str, Any]]:
    """Accuracies by version, from `metrics.json`."""
    try:
        tree = json.loads(project.run.metrics.read_text(encoding="utf-8"))
        stages = tree["stages"]
        names = ("greedy", "greedy_ci", "mean", "mean_ci", "n")
        return {one["name"]: {key: one.get(key) for key in names} for one in stages}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
