"""Everything that a pilot's `metrics.json` says of the answers: figures, verdict, reasons. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mmupt.config import Config
from mmupt.consensus.ballot import tally
from mmupt.consensus.equivalence import partition
from mmupt.pipeline.pilot_audit import Accuracy, AuditFigures, audit_figures
from mmupt.pipeline.pilot_files import VoteRow
from mmupt.pipeline.pilot_pictures import (
    PICTURE_TEMPERATURE,
    PICTURE_VIEWS,
    PictureFigures,
    PictureRow,
    picture_figures,
)
from mmupt.pipeline.pilot_verdict import Evidence, Thresholds, findings, verdict_of
from mmupt.pipeline.pilot_words import VERDICTS


def pilot_metrics(
    rows: Sequence[VoteRow],
    tested: Sequence[PictureRow],
    pictured: int,
    truth: Mapping[str, str] | None,
    config: Config,
    lang: str,
) -> dict[str, Any]:
    """The metrics of a pilot.

    Args:
        rows: the votes on all questions, at least one.
        tested: the questions that were asked again about other pictures.
        pictured: questions with pictures.
        truth: true answers by id; None without an audit. Those of questions without a row do not
            count: a server left them unanswered.
        config: of the run.
        lang: language of `summary` and `reasons`; `summaries` and `findings` hold both.
    """
    consensus = config.consensus
    figures = {row.id: row.figures for row in rows}
    labels = {name: one.pseudo_label for name, one in figures.items()}
    seen = picture_figures(tested, labels, consensus)
    known = truth and {name: answer for name, answer in truth.items() if name in figures}
    audit = None if known is None else audit_figures(figures, known, consensus)
    votes = vote_figures(rows, config)
    limits = Thresholds()
    evidence = Evidence(
        n=len(rows), pictured=pictured, abstained=votes["abstained"],
        truncated=votes["truncated"], share=votes["share"], kept=votes["kept"],
        min_share=consensus.min_share, top=votes["top_label_share"], pictures=seen, audit=audit,
        unanimous=votes["unanimous"], views=consensus.views, per_view=consensus.samples_per_view,
        temperature=consensus.temperature,
    )  # fmt: skip
    found = findings(evidence, limits)
    tokens = [*(row.tokens for row in rows), *(row.tokens for row in tested)]
    verdict = verdict_of(found)
    return {
        "verdict": str(verdict),
        "summary": VERDICTS[verdict][lang],
        "summaries": dict(VERDICTS[verdict]),
        "reasons": [finding.text(lang) for finding in found],
        "findings": [
            {"key": f.key, "says": str(f.says), "en": f.text("en"), "ja": f.text("ja")}
            for f in found
        ],
        "thresholds": asdict(limits),
        **votes,
        "pictures": _picture_entry(seen, pictured),
        "audit": None if audit is None else _audit_entry(audit),
        "labels_used": 0 if audit is None else audit.rows,
        "tokens": None if None in tokens else sum(n for n in tokens if n is not None),
    }


def vote_figures(rows: Sequence[VoteRow], config: Config) -> dict[str, Any]:
    """The votes on all questions in figures; fractions unless said otherwise."""
    figures = [row.figures for row in rows]
    consensus = config.consensus
    labels = [one.pseudo_label for one in figures]
    counts = tally(partition(labels, kind=consensus.kind, rtol=consensus.rtol))
    replies = sum(len(row.answers) for row in rows)
    return {
        "n": len(rows),
        "samples": consensus.views * consensus.samples_per_view,
        "views": consensus.views,
        "temperature": consensus.temperature,
        "min_share": consensus.min_share,
        "share": _mean([one.share for one in figures]),
        "kept": _mean([one.kept for one in figures]),
        "unanimous": _mean([one.share == 1.0 for one in figures]),
        "tied": _mean([one.tied for one in figures]),
        "margin": _mean([one.margin for one in figures]),
        "entropy": _mean([one.entropy for one in figures]),
        "view_agreement": _mean([one.view_agreement for one in figures]),
        "abstained": sum(one.abstentions for one in figures) / replies,
        "truncated": sum(row.truncated for row in rows) / replies,
        "distinct_labels": len(counts),
        "top_label_share": max(counts, default=0) / len(rows),
        "shares": {
            f"{share:.4g}": n for share, n in sorted(Counter(one.share for one in figures).items())
        },
    }


def _picture_entry(figures: PictureFigures, pictured: int) -> dict[str, Any]:
    return {
        "tested": figures.tested,
        "with_pictures": pictured,
        "temperature": PICTURE_TEMPERATURE,
        "views": PICTURE_VIEWS,
        "agreement_own": figures.own,
        "agreement_other": figures.other,
        "agreement_blank": figures.blank,
        "kappa": figures.kappa.estimate,
        "kappa_ci": [figures.kappa.low, figures.kappa.high],
        "unchanged_own": figures.unchanged_own,
        "unchanged_other": figures.unchanged_other,
        "unchanged_blank": figures.unchanged_blank,
    }


def _audit_entry(audit: AuditFigures) -> dict[str, Any]:
    return {
        "rows": audit.rows,
        "labelled": _accuracy_entry(audit.labelled),
        "kept": _accuracy_entry(audit.kept),
        "bins": [
            {"low": one.low, "high": one.high, "share": one.share, **_accuracy_entry(one.accuracy)}
            for one in audit.bins
        ],
        "ece": audit.ece,
    }


def _accuracy_entry(accuracy: Accuracy) -> dict[str, Any]:
    return {
        "n": accuracy.n,
        "right": accuracy.right,
        "accuracy": accuracy.value,
        "ci": list(accuracy.interval),
        "always": accuracy.always,
    }


def _mean(values: Sequence[float]) -> float:
    """Mean of the defined values; NaN where there is none."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan
