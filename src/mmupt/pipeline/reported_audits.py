"""Audits as a report shows them: precision by vote share and step, and which majorities erred."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmupt.audit.design import Plan
from mmupt.audit.records import Item, Verdict
from mmupt.audit.store import AuditStore
from mmupt.audit.verdicts import Resolution, outcomes, resolve, standing
from mmupt.config import Config
from mmupt.pipeline.auditing import standing_of
from mmupt.pipeline.frame import read_frame
from mmupt.pipeline.project import Project
from mmupt.pipeline.status import audit_figures
from mmupt.stats import wilson

BINS = 10
"""Of the vote share, of equal width."""
PERIODS = 6
"""Most stretches of steps by which precision is shown."""
_MOST_WRONG = 24
"""Wrong majorities told of one audit."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A pseudo-label that people told right or wrong.

    Attributes:
        share: of the votes.
        step: update at which it was last trained on; None: not recorded.
        right: what people said.
        weight: how many pseudo-labels of the frame it stands for, N_h / n_h of its stratum.
    """

    share: float
    step: int | None
    right: bool
    weight: float


def reported_audits(project: Project) -> list[dict[str, Any]]:
    """Every audit of a project, oldest first: figures, bins, periods, wrong majorities, people."""
    config = project.config()
    store = project.audits(config)
    return [_audit(project, store, audit.name, config) for audit in store.audits()]


def _audit(project: Project, store: AuditStore, name: str, config: Config) -> dict[str, Any]:
    current = standing_of(store, name, config)
    assert current is not None  # noqa: S101  the name comes from the store
    items, verdicts = store.items(name), store.verdicts(name)
    resolved = resolve(verdicts, config.audit.reviewers, config.audit.second_review)
    judged = judged_of(current.plan, items, outcomes(resolved), _steps(project, name))
    return {
        "name": name,
        "created": store.audit(name).created,
        "last_verdict": current.last or None,
        **audit_figures(current),
        "by_share": by_share(judged),
        "by_step": by_step(judged),
        "wrong_majorities": wrong_majorities(items, resolved),
        "reviewers": _reviewers(verdicts),
    }


def judged_of(
    plan: Plan,
    items: Iterable[Item],
    settled: Mapping[str, bool | None],
    steps: Mapping[str, int],
) -> list[Judged]:
    """The pseudo-labels that people told right or wrong, weighted to the frame.

    Args:
        plan: of the audit.
        items: of the audit.
        settled: right or wrong by unit; None and missing units are left out.
        steps: update by sample id.
    """
    told = [item for item in items if settled.get(item.unit) is not None]
    seen = Counter(item.stratum for item in told)
    return [
        Judged(
            item.share,
            steps.get(item.sample_id),
            bool(settled[item.unit]),
            plan.strata[item.stratum] / seen[item.stratum],
        )
        for item in told
    ]


def by_share(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Precision by bins (lower, upper] of the vote share; empty bins are left out."""
    bins: dict[int, list[Judged]] = {}
    for one in judged:
        # Twelve digits undo the residue of a share such as 0.7 read as 0.70000000000000007.
        bins.setdefault(min(BINS, max(1, math.ceil(round(one.share * BINS, 12)))), []).append(one)
    return [
        {"from": (k - 1) / BINS, "to": k / BINS, **_precision(rows),
         "share": _mean((one.share, one.weight) for one in rows)}
        for k, rows in sorted(bins.items())
    ]  # fmt: skip


def by_step(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Precision by stretches of steps, at most `PERIODS` of equal length."""
    rows = [(one.step, one) for one in judged if one.step is not None]
    if not rows:
        return []
    first, last = min(step for step, _ in rows), max(step for step, _ in rows)
    width = max(1, math.ceil((last - first + 1) / PERIODS))
    groups: dict[int, list[Judged]] = {}
    for step, one in rows:
        groups.setdefault((step - first) // width, []).append(one)
    return [
        {"from": first + k * width, "to": min(last, first + (k + 1) * width - 1),
         **_precision(groups[k])}
        for k in sorted(groups)
    ]  # fmt: skip


def _precision(rows: Sequence[Judged]) -> dict[str, Any]:
    """Share of right ones weighted to the frame.

    The interval is Wilson's at Kish's effective size, (sum w)^2 / sum w^2; with equal weights it
    is Wilson's.
    """
    total = math.fsum(one.weight for one in rows)
    size = total**2 / math.fsum(one.weight**2 for one in rows)
    estimate = _mean((float(one.right), one.weight) for one in rows)
    low, high = wilson(min(size, estimate * size), size)
    right = sum(one.right for one in rows)
    return {
        "n": len(rows), "right": right, "wrong": len(rows) - right,
        "precision": estimate, "precision_ci": [low, high],
    }  # fmt: skip


def _mean(weighted: Iterable[tuple[float, float]]) -> float:
    pairs = list(weighted)
    return math.fsum(x * w for x, w in pairs) / math.fsum(w for _, w in pairs)


def wrong_majorities(
    items: Iterable[Item], resolved: Mapping[str, Resolution]
) -> list[dict[str, Any]]:
    """Majorities that people called wrong: the most common confusion first, then by share.

    ``times`` counts the wrong ones with the same pair of majority and right answer; without a
    right answer each stands for itself.
    """
    wrong = [
        (item, resolved[item.unit].answer)
        for item in items
        if item.unit in resolved and resolved[item.unit].state == "wrong"
    ]
    times: Counter[tuple[str, str | None]] = Counter(
        (item.pseudo_label, answer) for item, answer in wrong if answer is not None
    )
    ranked = sorted(wrong, key=lambda w: (-times[w[0].pseudo_label, w[1]], -w[0].share))
    return [
        {
            "sample_id": item.sample_id,
            "pseudo_label": item.pseudo_label,
            "answer": answer,
            "times": max(1, times[item.pseudo_label, answer]),
            "share": item.share,
            "rules": list(item.rules),
            **_shown(item),
        }
        for item, answer in ranked[:_MOST_WRONG]
    ]


def _shown(item: Item) -> dict[str, Any]:
    payload = json.loads(item.payload)
    return {
        "question": str(payload.get("problem", "")),
        "images": [str(path) for path in payload.get("images", [])],
        "answers": [
            {"answer": str(one["answer"]), "count": int(one["count"])}
            for one in payload.get("answers", [])
        ],
    }


def _reviewers(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Who said what, taken-back verdicts left out, and the seconds that all of it took."""
    kinds: dict[str, Counter[str]] = {}
    for by in standing(verdicts).values():
        for who, verdict in by.items():
            kinds.setdefault(who, Counter())[verdict.kind] += 1
    seconds: dict[str, float] = {}
    for verdict in verdicts:
        seconds[verdict.reviewer] = seconds.get(verdict.reviewer, 0.0) + verdict.seconds
    return [
        {"reviewer": who, "verdicts": dict(kinds.get(who, {})), "seconds": seconds[who]}
        for who in sorted(seconds)
    ]


def _steps(project: Project, name: str) -> dict[str, int]:
    """Update by sample id, from the frame; nothing where it is gone or broken, as the verdicts
    stand without it."""
    try:
        return {one.sample_id: one.step for one in read_frame(project.frame(name))}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
