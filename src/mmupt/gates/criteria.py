"""The criteria: each turns figures that belong to the subject into a verdict with its bound.

One-sided throughout: a criterion fails where the figure is surely (`confidence`) beyond its bound,
passes where it is surely within, and says `insufficient` in between. So a small sample can do
neither. docs/gates.md has the formulas, the defaults and how often each verdict comes by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmupt.config_supervision import GateConfig
from mmupt.gates.evidence import Evidence, Kind
from mmupt.gates.figures import (
    Pair,
    UnusableError,
    read_audit,
    read_guard,
    read_held_out,
    read_pair,
    read_slices,
)
from mmupt.gates.paired import Paired, rows_needed, worse_p
from mmupt.stats import holm

Outcome = Literal["pass", "fail", "insufficient", "not-applicable"]
Name = Literal["precision", "regression", "consistency", "guard", "slices", "blind", "format"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a criterion says.

    Attributes:
        outcome: its verdict.
        key: of its sentence in the texts.
        values: what fills the sentence.
        figure: what was measured, as it is held against the bound: an end of an interval, except
            for groups, where it is the loss seen. None where there is none.
    """

    outcome: Outcome
    key: str
    values: Mapping[str, Any]
    figure: float | None = None


@dataclass(frozen=True, slots=True)
class Criterion:
    """A criterion of the gate.

    Attributes:
        name: as in the checks of a decision.
        kind: evidence that it needs.
        setting: field of `GateConfig` with its bound; None or False switches it off.
        judge: the verdict on the figures; raises UnusableError.
        label_free_only: it says nothing about supervised fine-tuning.
    """

    name: Name
    kind: Kind
    setting: str
    judge: Callable[[Evidence, GateConfig], Finding]
    label_free_only: bool = False

    def asked(self, config: GateConfig) -> bool:
        """Whether the settings ask for it."""
        value = getattr(config, self.setting)
        return (
            value is not None
            and value is not False
            and (self.name != "slices" or bool(config.slices))
        )

    def bound(self, config: GateConfig) -> float | None:
        """What it has to keep to; None for the guard, which has bounds of its own."""
        value = getattr(config, self.setting)
        return None if value is None or isinstance(value, bool) else float(value)


def precision(evidence: Evidence, config: GateConfig) -> Finding:
    """Audited precision of the pseudo-labels: low >= min_precision passes, high < it fails.

    A lot plan that rejects the lot fails; one that accepts it does not replace the bound, as it
    only says that the lot is not much worse than its quality limit.
    """
    bound = _set(config.min_precision)
    audit = read_audit(evidence.figures)
    if audit.confidence < config.confidence:
        raise UnusableError("confidence", found=audit.confidence, wanted=config.confidence)
    values = {
        "n": audit.n, "right": audit.right, "estimate": audit.estimate,
        "low": audit.low, "high": audit.high, "bound": bound, "needed": audit.still_needed,
    }  # fmt: skip
    if audit.accepted is False:
        return Finding("fail", "precision.lot", values, audit.estimate)
    if audit.high < bound:
        return Finding("fail", "precision.fail", values, audit.high)
    if audit.low >= bound:
        return Finding("pass", "precision.pass", values, audit.low)
    key = "precision.more" if audit.still_needed else "precision.open"
    return Finding("insufficient", key, values, audit.low)


def regression(evidence: Evidence, config: GateConfig) -> Finding:
    """Held-out accuracy: no significant loss, and surely none above max_regression.

    Fails where the exact McNemar test on the greedy answers says worse, or where greedy or sampled
    accuracy surely lost more than the bound. Passes where both surely lost less.
    """
    margin = _set(config.max_regression)
    pairs = read_held_out(evidence.figures)
    greedy, sampled = (Paired.of(pairs[n].before_N, pairs[n].after_N) for n in ("greedy", "mean"))
    p = worse_p(round(greedy.lost), round(greedy.won))
    lows = [one.lower(config.confidence) for one in (greedy, sampled)]
    before, after = (_mean(v) for v in (pairs["greedy"].before_N, pairs["greedy"].after_N))
    values = {
        "n": int(greedy.n), "before": before, "after": after, "points": 100 * greedy.estimate,
        "low": 100 * lows[0], "sampled": 100 * sampled.estimate, "sampled_low": 100 * lows[1],
        "worst": 100 * min(lows), "margin": 100 * margin, "p": p, "lost": round(greedy.lost),
        "won": round(greedy.won),
    }  # fmt: skip
    figure = -min(lows)
    if p <= 1 - config.confidence:
        return Finding("fail", "regression.worse", values, figure)
    if max(-one.upper(config.confidence) for one in (greedy, sampled)) > margin:
        return Finding("fail", "regression.fail", values, figure)
    if min(lows) >= -margin:
        return Finding("pass", "regression.pass", values, figure)
    return _more("regression", (greedy, sampled), margin, config, values, figure)


def consistency(evidence: Evidence, config: GateConfig) -> Finding:
    """Vote share on the held-out rows: surely lost at most max_consistency_loss."""
    margin = _set(config.max_consistency_loss)
    pair = read_held_out(evidence.figures)["share"]
    return _bounded("consistency", {"consistency": _losses(pair)}, margin, config, pair)


def replies(evidence: Evidence, config: GateConfig) -> Finding:
    """Unreadable and truncated replies on the held-out rows: each surely rose by at most the bound.

    One by one, as a truncated reply is often unreadable too, and their sum would count it twice.
    """
    margin = _set(config.max_format_rise)
    pairs = read_held_out(evidence.figures)
    rises = {name: _losses(pairs[name]).turned for name in ("abstained", "truncated")}
    worst = min(rises, key=lambda name: rises[name].lower(config.confidence))
    return _bounded("format", rises, margin, config, pairs[worst])


def blind(evidence: Evidence, config: GateConfig) -> Finding:
    """Accuracy on blank pictures: surely rose by at most max_blind_rise."""
    margin = _set(config.max_blind_rise)
    pair = read_pair(evidence.figures, "", binary=True)
    return _bounded("blind", {"blind": _losses(pair).turned}, margin, config, pair)


def guard(evidence: Evidence, config: GateConfig) -> Finding:
    """The guard watched the round, did not stop it, and kept a model that learned something."""
    seen = read_guard(evidence.figures)
    values = {"rules": ", ".join(seen.stopped_by), "step": seen.best_step, "steps": seen.steps}
    if not seen.watched:
        return Finding("insufficient", "guard.unwatched", values)
    if seen.stopped_by:
        return Finding("fail", "guard.stopped", values)
    if seen.best_step == 0:
        return Finding("fail", "guard.start", values)
    return Finding("pass", "guard.pass", values)


def slices(evidence: Evidence, config: GateConfig) -> Finding:
    """No group of the held-out rows fell by more than max_slice_drop.

    Judged are groups of at least min_slice_rows. A group fails the gate where it lost more than
    the bound and McNemar's exact one-sided test, Holm-adjusted over all groups judged, says that it
    lost. Where only the test without adjustment says so, the verdict is `insufficient`: one of many
    groups may look so by chance.
    """
    bound, alpha = _set(config.max_slice_drop), 1 - config.confidence
    groups = {
        name: Paired.of(pair.before_N, pair.after_N)
        for name, pair in read_slices(evidence.figures, config.slices).items()
    }
    judged = [name for name, group in groups.items() if group.n >= config.min_slice_rows]
    values: dict[str, Any] = {
        "rows": config.min_slice_rows, "judged": len(judged), "small": len(groups) - len(judged),
        "bound": 100 * bound,
    }  # fmt: skip
    if not judged:
        return Finding("insufficient", "slices.small", values)
    p = [worse_p(round(groups[name].lost), round(groups[name].won)) for name in judged]
    rows = sorted(
        zip(judged, p, holm(p), strict=True), key=lambda row: (groups[row[0]].estimate, row[1])
    )
    fallen = [row for row in rows if groups[row[0]].estimate < -bound]
    surely = [row for row in fallen if row[2] <= alpha]
    maybe = [row for row in fallen if row[1] <= alpha]
    (column, group), *_ = (surely or maybe or rows)[0]
    seen = groups[column, group]
    values |= {
        "column": column, "group": group, "n": int(seen.n), "points": 100 * seen.estimate,
        "drop": -100 * seen.estimate, "fallen": len(surely or maybe),
    }  # fmt: skip
    outcome: Outcome = "fail" if surely else "insufficient" if maybe else "pass"
    return Finding(outcome, f"slices.{_ending(outcome)}", values, -seen.estimate)


CRITERIA: tuple[Criterion, ...] = (
    Criterion("precision", "audit", "min_precision", precision, label_free_only=True),
    Criterion("regression", "held-out", "max_regression", regression),
    # Supervised fine-tuning rightly makes a model less sure where it was surely wrong.
    Criterion("consistency", "held-out", "max_consistency_loss", consistency, label_free_only=True),
    Criterion("guard", "guard", "guard", guard, label_free_only=True),
    Criterion("slices", "slices", "max_slice_drop", slices),
    Criterion("blind", "blind", "max_blind_rise", blind),
    Criterion("format", "held-out", "max_format_rise", replies),
)


def _bounded(
    name: str, losses: Mapping[str, Paired], margin: float, config: GateConfig, shown: Pair
) -> Finding:
    """Every loss surely at most `margin`; a rise that is not wanted comes turned round."""
    worst = min(losses, key=lambda one: losses[one].lower(config.confidence))
    low = losses[worst].lower(config.confidence)
    values = {
        "n": int(losses[worst].n), "before": _mean(shown.before_N), "after": _mean(shown.after_N),
        "points": 100 * losses[worst].estimate, "rise": -100 * losses[worst].estimate,
        "low": 100 * low, "high": -100 * low, "margin": 100 * margin, "what": worst,
    }  # fmt: skip
    if max(-loss.upper(config.confidence) for loss in losses.values()) > margin:
        return Finding("fail", f"{name}.fail", values, -low)
    if low >= -margin:
        return Finding("pass", f"{name}.pass", values, -low)
    return _more(name, tuple(losses.values()), margin, config, values, -low)


def _more(
    name: str,
    losses: Sequence[Paired],
    margin: float,
    config: GateConfig,
    values: Mapping[str, Any],
    figure: float,
) -> Finding:
    """Too few rows: how many would do, if anybody can say."""
    needed = [rows_needed(loss, margin, config.confidence) for loss in losses]
    known = [n for n in needed if n is not None]
    if len(known) < len(needed):
        return Finding("insufficient", f"{name}.open", values, figure)
    return Finding("insufficient", f"{name}.more", {**values, "needed": max(known)}, figure)


def _losses(pair: Pair) -> Paired:
    return Paired.of(pair.before_N, pair.after_N)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ending(outcome: Outcome) -> str:
    return {"insufficient": "maybe"}.get(outcome, outcome)


def _set(value: float | None) -> float:
    """A bound that `Criterion.asked` has seen to be there."""
    if value is None:
        raise ValueError("a criterion that is switched off was judged")
    return value
