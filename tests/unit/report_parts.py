"""A pilot's folder and a result of `mmupt bias`, with figures that are made up, for reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def made_pilot() -> dict[str, Any]:
    """Of 40 questions; the audit found 17 of 20 labels right."""
    findings = [
        {"key": "picture_seen", "says": "ready", "en": "Answers depend.", "ja": "依存しています。"},
        {"key": "few_rows", "says": "sft-first", "en": "Few questions.", "ja": "質問が少数です。"},
    ]
    right = {"n": 20, "right": 17, "accuracy": 0.85, "ci": [0.621, 0.968], "always": 0.3}
    return {
        "verdict": "sft-first", "summary": "s", "summaries": {"en": "SFT first.", "ja": "先にSFT。"},
        "reasons": ["Answers depend."], "findings": findings, "thresholds": {}, "n": 40,
        "samples": 8, "views": 8, "temperature": 0, "min_share": 0.5, "share": 0.7319,
        "kept": 0.9125, "unanimous": 0.25, "tied": 0.0, "margin": 0.61, "entropy": 0.531,
        "view_agreement": 0.66, "abstained": 0.0, "truncated": 0.0, "distinct_labels": 13,
        "top_label_share": 0.2, "shares": {"0.25": 4, "0.625": 16, "1": 20},
        "pictures": {"tested": 40, "with_pictures": 40, "temperature": 1.0, "views": 4,
                     "agreement_own": 0.61, "agreement_other": 0.13, "agreement_blank": 0.08,
                     "kappa": 0.5517, "kappa_ci": [0.48, 0.62], "unchanged_own": 0.9,
                     "unchanged_other": 0.2, "unchanged_blank": 0.1},
        "audit": {"rows": 20, "labelled": right, "kept": right, "ece": 0.05,
                  "bins": [{"low": 0.5, "high": 0.75, "share": 0.625, **right}]},
        "labels_used": 20, "tokens": 1000, "seconds": 9.0,
    }  # fmt: skip


def compared(before: float, after: float, low: float, high: float) -> dict[str, Any]:
    return {
        "before": {"estimate": before, "low": before - 0.03, "high": before + 0.03},
        "after": {"estimate": after, "low": after - 0.03, "high": after + 0.03},
        "change": {"estimate": after - before, "low": low, "high": high},
    }


def made_bias() -> dict[str, Any]:
    """The lowest quarter of brightness is hurt; nothing else moved."""
    same = compared(0.71, 0.72, -0.01, 0.03)

    def slice_(rank: int, estimate: float, p: float, verdict: str) -> dict[str, Any]:
        return {
            "column": "brightness", "source": "picture", "n": 50, "verdict": verdict,
            "group": {"name": f"{rank}0–{rank}9", "rank": rank, "bins": 4},
            "value": compared(0.682, 0.184, -0.6, -0.4), "outside": same, "p_holm": p,
            "amplification": {"estimate": estimate, "low": estimate - 0.09, "high": estimate + 0.09,
                              "p": p / 2, "inside": 50, "outside": 150},
        }  # fmt: skip

    findings = [{"key": "slice_hurt", "says": "harm", "en": "The dark ones lost.",
                 "ja": "暗い画像で悪化しました。", "values": {}}]  # fmt: skip
    return {
        "format": 1, "mmupt": "0", "verdict": "harm", "findings": findings,
        "summaries": {"en": "Harm was found.", "ja": "害が見つかりました。"},
        "models": {"before": "/p/checkpoints/sft", "after": "/p/checkpoints/round-1"},
        "settings": {}, "picture": {"en": "", "ja": ""}, "seconds": 1.0,
        "figures": {
            "n": 200, "labelled": 200, "pictures": 200, "k": 8, "measure": "accuracy",
            "accuracy": compared(0.6543, 0.5321, -0.19, -0.05), "greedy": same, "majority": same,
            "share": same,
            "conditions": [
                {"name": "own", "n": 200, "accuracy": same, "unchanged": same},
                {"name": "blank", "n": 200, "accuracy": compared(0.08, 0.09, -0.01, 0.03),
                 "unchanged": same},
            ],
            "before": {"n": 200, "kappa": {"estimate": 0.6718, "low": 0.6, "high": 0.74}},
            "after": {"n": 200, "kappa": {"estimate": 0.4412, "low": 0.37, "high": 0.51}},
            "kappa_change": {"estimate": -0.2306, "low": -0.3, "high": -0.16},
            "slices": [slice_(2, -0.013, 0.8, "same"), slice_(1, -0.394, 0.0004, "hurt")],
            "diversity": {"k": 8, "passes": [{"k": 1, "value": same}, {"k": 8, "value": same}]},
            "forgetting": [{"name": "other-site", "accuracy": compared(0.9, 0.8, -0.2, 0.0)}],
        },
    }  # fmt: skip


def write_parts(folder: Path) -> None:
    """`pilot/` and `bias/round-1/` in a run's folder."""
    pilot, bias = folder / "pilot", folder / "bias" / "round-1"
    pilot.mkdir()
    bias.mkdir(parents=True)
    (pilot / "metrics.json").write_text(json.dumps(made_pilot()))
    pq.write_table(pa.table({"id": [str(i) for i in range(40)]}), pilot / "votes.parquet")
    (bias / "bias.json").write_text(json.dumps(made_bias()))
