"""From the figures of a pilot to what to do: a pure rule with named thresholds.

Every finding is one sentence and argues for one verdict; the gravest one counts:

    not-suitable    the answers do not hang on the pictures, or are no better than always the same
    sft-first       they do, but too loosely, too unreadably or too wrongly for votes to teach
    ready           nothing speaks against a label-free run

A note argues for nothing. It says what the figures cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mmupt.pipeline.pilot_audit import AuditFigures
from mmupt.pipeline.pilot_pictures import PictureFigures
from mmupt.pipeline.pilot_words import TEXTS, Verdict

_GRAVITY = list(Verdict)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where the rule draws its lines.

    Calibrated on the embedded task, 300 questions a pilot, 41 pilots. Kappa was at most 0.13 where
    the pictures do not hold the answer (models taught permuted or hidden answers; white, noisy and
    scrawled pictures; three seeds each), 0.31 to 0.40 for the base model that misreads handwriting,
    and 0.50 to 0.59 after SFT (ten seeds each). The mean vote share was 0.58 to 0.63 for the base
    model and 0.80 to 0.85 after SFT, but also 0.72 to 0.86 for models taught hidden answers: it
    tells nothing without kappa. Kappa's two lines are also those of Landis and Koch (1977) between
    slight, fair and moderate agreement. Other tasks may need others; an audit decides.
    """

    max_abstained: float = 0.5
    """Above it most answers cannot be read, and nothing else can be judged."""
    min_kappa: float = 0.2
    """Below it the answers do not depend on the picture."""
    ready_kappa: float = 0.4
    """Below it they depend on it too loosely."""
    ready_share: float = 0.7
    """Mean vote share below which the votes are too divided."""
    min_kept: float = 0.3
    """Fraction of questions kept for training below which little is left to learn from."""
    dominant: float = 0.9
    """From here on one answer, or the question alone, gives nearly all labels."""
    min_label_accuracy: float = 0.6
    """Audited accuracy of the kept labels below which the majority teaches too many mistakes."""
    min_audited: int = 15
    """Audited labels below which accuracy decides nothing."""
    min_rows: int = 30
    """Questions below which all figures are rough."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the rule looks at. Fractions; NaN where something was not measured.

    Attributes:
        n: questions.
        pictured: questions with pictures.
        abstained, truncated: fractions of the answers that could not be read, and that were cut.
        share: mean vote share.
        kept: fraction of the questions that training would keep at `min_share`.
        min_share: the configured smallest share.
        top: share of the most frequent pseudo-label over all questions.
        pictures: the picture test.
        audit: figures of the audited rows; None without an audit.
        unanimous: fraction of the questions with one answer alone.
        views, per_view, temperature: how the votes were asked for.
    """

    n: int
    pictured: int
    abstained: float
    truncated: float
    share: float
    kept: float
    min_share: float
    top: float
    pictures: PictureFigures
    audit: AuditFigures | None = None
    unanimous: float = 0.0
    views: int = 8
    per_view: int = 1
    temperature: float = 0.0

    @property
    def voters(self) -> int:
        """Answers to a question that can differ: at temperature 0 those to one view do not, and
        without pictures most views do not either."""
        views = self.views if self.pictured else 1
        return views * (self.per_view if self.temperature > 0 else 1)


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence: its key in `TEXTS`, what it argues for, and the figures in it."""

    key: str
    says: Verdict
    values: Mapping[str, str] = field(default_factory=dict)

    def text(self, lang: str) -> str:
        return TEXTS[self.key][lang].format(**self.values)


def findings(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    """All findings, the gravest first; the verdict is that of the first."""
    if evidence.abstained > limits.max_abstained:
        values = {
            "abstained": percent(evidence.abstained), "truncated": percent(evidence.truncated)
        }  # fmt: skip
        found = [Finding("unreadable", Verdict.SFT_FIRST, values)]
    else:
        found = [
            *_pictures(evidence, limits),
            *_dominance(evidence, limits),
            *_agreement(evidence, limits),
        ]
    found += [*_audit(evidence, limits), *_notes(evidence, limits)]
    return sorted(found, key=lambda finding: -_GRAVITY.index(finding.says))


def verdict_of(found: list[Finding]) -> Verdict:
    """The gravest; `ready` where nothing but notes was found."""
    return max((f.says for f in found), key=_GRAVITY.index, default=Verdict.READY)


def depends(evidence: Evidence, limits: Thresholds) -> bool:
    """Whether it is shown that answers depend on the picture: the interval says so too."""
    kappa = evidence.pictures.kappa
    return kappa.estimate >= limits.min_kappa and kappa.low >= limits.min_kappa


def _pictures(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    figures, kappa = evidence.pictures, evidence.pictures.kappa
    values = {
        "own": percent(figures.own), "other": percent(figures.other),
        "kappa": decimal(kappa.estimate), "low": decimal(kappa.low),
        "min": f"{limits.min_kappa:g}", "ready": f"{limits.ready_kappa:g}",
    }  # fmt: skip
    if not evidence.pictured:
        yield Finding("no_pictures", Verdict.NOTE)
    elif not figures.tested:
        yield Finding("no_other_picture", Verdict.NOTE)
    elif math.isnan(kappa.estimate):
        yield Finding("picture_constant", Verdict.NOT_SUITABLE, values)
    elif kappa.estimate < limits.min_kappa:
        yield Finding("picture_ignored", Verdict.NOT_SUITABLE, values)
    elif not depends(evidence, limits):
        yield Finding("picture_unsure", Verdict.SFT_FIRST, values)
    elif kappa.estimate < limits.ready_kappa:
        yield Finding("picture_weak", Verdict.SFT_FIRST, values)
    else:
        yield Finding("picture_seen", Verdict.READY, values)


def _dominance(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    figures = evidence.pictures
    seen = depends(evidence, limits) or not evidence.pictured
    says = Verdict.SFT_FIRST if seen else Verdict.NOT_SUITABLE
    if evidence.top >= limits.dominant:
        yield Finding("one_answer", says, {"top": percent(evidence.top)})
    elif figures.unchanged_other >= limits.dominant:
        yield Finding("any_picture", says, {"other": percent(figures.unchanged_other)})
    elif figures.unchanged_blank >= limits.dominant:
        yield Finding("blank_suffices", says, {"blank": percent(figures.unchanged_blank)})


def _agreement(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    values = {
        "share": percent(evidence.share), "kept": percent(evidence.kept),
        "min_share": f"{evidence.min_share:g}", "limit": percent(limits.ready_share),
        "min_kept": percent(limits.min_kept),
    }  # fmt: skip
    if evidence.voters == 1 and evidence.unanimous == 1.0:
        yield Finding("no_vote", Verdict.SFT_FIRST)
        return
    low = evidence.share < limits.ready_share
    if low:
        yield Finding("divided", Verdict.SFT_FIRST, values)
    if evidence.kept < limits.min_kept:
        yield Finding("few_kept", Verdict.SFT_FIRST, values)
    elif not low:
        yield Finding("agreed", Verdict.READY, values)


def _audit(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    audit = evidence.audit
    if audit is None:
        yield Finding("not_audited", Verdict.NOTE)
        return
    # Training sees the kept labels; where too few of those were audited, all have to do.
    kept = audit.kept.n >= limits.min_audited
    accuracy = audit.kept if kept else audit.labelled
    if accuracy.n < limits.min_audited:
        values = {"n": str(accuracy.n), "min": str(limits.min_audited)}
        yield Finding("audit_small", Verdict.NOTE, values)
        return
    values = {
        "right": str(accuracy.right), "n": str(accuracy.n), "accuracy": percent(accuracy.value),
        "low": percent(accuracy.interval.low), "high": percent(accuracy.interval.high),
        "wrong": percent(1 - accuracy.interval.low), "always": percent(accuracy.always),
        "limit": percent(limits.min_label_accuracy), "min_share": f"{evidence.min_share:g}",
    }  # fmt: skip
    which = "audit_kept" if kept else "audit_all"
    if accuracy.value <= accuracy.always:
        yield Finding(f"{which}_useless", Verdict.NOT_SUITABLE, values)
    elif accuracy.value < limits.min_label_accuracy:
        yield Finding(f"{which}_wrong", Verdict.SFT_FIRST, values)
    else:
        yield Finding(f"{which}_right", Verdict.READY, values)


def _notes(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    if evidence.n < limits.min_rows:
        values = {"n": str(evidence.n), "min": str(limits.min_rows)}
        yield Finding("few_rows", Verdict.NOTE, values)
    if evidence.per_view > 1 and evidence.temperature == 0:
        yield Finding("copies", Verdict.NOTE, {"count": str(evidence.per_view)})
    if evidence.views == 1:
        yield Finding("one_view", Verdict.NOTE)


def decimal(value: float) -> str:
    """0.674 as `0.67`."""
    return "–" if math.isnan(value) else f"{value:.2f}"


def percent(fraction: float) -> str:
    """0.674 as `67%`; never a whole hundred or nought that is not one."""
    if math.isnan(fraction):
        return "–"
    whole = round(100 * fraction)
    if (whole == 100 and fraction < 1) or (whole == 0 and fraction > 0):
        return f"{100 * fraction:.1f}%"
    return f"{whole}%"
