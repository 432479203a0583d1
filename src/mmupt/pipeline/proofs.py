"""What a version has to show at its gate, gathered from what the stages left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmupt.database import now
from mmupt.evaluate.scores import Scores
from mmupt.evaluate.slices import slice_table
from mmupt.gates.evidence import Evidence, Subject
from mmupt.pipeline.auditing import Standing
from mmupt.pipeline.digests import digest
from mmupt.types import LabelledSample


def held_out(subject: Subject, before: Scores, after: Scores, made: str) -> Evidence:
    """Both models' answers to the held-out questions, question by question."""
    figures: dict[str, Any] = {"ids_sha256": digest(list(after.ids))}
    for name in ("greedy", "mean", "share", "abstained", "truncated"):
        figures[f"{name}_before"] = getattr(before, name).tolist()
        figures[f"{name}_after"] = getattr(after, name).tolist()
    return _compared("held-out", subject, figures, made)


def blind(subject: Subject, before: Scores, after: Scores, made: str) -> Evidence:
    """The same greedily, with blank pictures."""
    figures = {"before": before.greedy.tolist(), "after": after.greedy.tolist()}
    return _compared("blind", subject, figures, made)


def slices(
    subject: Subject, rows: Sequence[LabelledSample], before: Scores, after: Scores,
    columns: Sequence[str], made: str,
) -> Evidence:  # fmt: skip
    """The same by groups of the data."""
    table = slice_table(rows, columns)
    figures = {
        column: {
            group: {
                "before": before.greedy[indices].tolist(),
                "after": after.greedy[indices].tolist(),
            }
            for group, indices in groups.items()
        }
        for column, groups in table.items()
    }
    return _compared("slices", subject, figures, made)


def guard(subject: Subject, outcome: Mapping[str, Any], made: str) -> Evidence:
    """What the guard made of the round; `outcome` is that of `Stages.guarded`."""
    figures: dict[str, Any] = {"watched": bool(outcome)}
    if outcome:
        figures |= {
            "stopped_by": list(outcome["stopped_by"]),
            "best_step": outcome["best_step"],
            "steps": outcome["steps"],
            "evidence": list(outcome["evidence"]),
        }
    return Evidence(
        kind="guard", version_digest=subject.digest, baseline_digest=None,
        data_digest=subject.data["round"], made=made, figures=figures,
    )  # fmt: skip


def audit(subject: Subject, standing: Standing) -> Evidence:
    """What people's verdicts prove about the round's pseudo-labels."""
    found = standing.precision
    figures: dict[str, Any] = {
        "n": found.n, "right": found.right, "wrong": found.wrong, "unsure": found.unsure,
        "population": found.population, "estimate": found.estimate, "low": found.low,
        "high": found.high, "confidence": found.confidence, "still_needed": standing.needed,
        "design": standing.plan.design, "size": standing.plan.size,
    }  # fmt: skip
    if standing.lot is not None and standing.lot != "open":
        figures["lot"] = {"accepted": standing.lot == "accept"}
    return Evidence(
        kind="audit", version_digest=standing.subject, baseline_digest=None,
        data_digest=subject.data["round"], made=standing.last or now(), figures=figures,
    )  # fmt: skip


def _compared(kind: Any, subject: Subject, figures: Mapping[str, Any], made: str) -> Evidence:
    return Evidence(
        kind=kind, version_digest=subject.digest, baseline_digest=subject.baseline_digest,
        data_digest=subject.data["test"], made=made, figures=figures,
    )  # fmt: skip
