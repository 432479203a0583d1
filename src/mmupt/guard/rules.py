"""Rules over a look's figures: each names the failure that it detects. Pure functions.

Bounds are relative to the start of the round (`GuardConfig`). Why each is where it is, and how the
signals behaved in runs that failed and in runs that did not, stands in docs/guard.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from mmupt.config import GuardConfig
from mmupt.guard.signals import Estimate, Look

Severity = Literal["warn", "stop"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a look breaks.

    Attributes:
        rule: its key in `RULES`.
        failure: the failure it detects, in words.
        severity: whether it ends a round or only warns.
        step: update after which it was seen.
        figure: the measured figure.
        bound: what it should have kept to.
        evidence: one sentence with both.
    """

    rule: str
    failure: str
    severity: Severity
    step: int
    figure: float
    bound: float
    evidence: str


@dataclass(frozen=True, slots=True)
class Watched:
    """All that the rules look at.

    Attributes:
        look: the figures of now.
        start: those of the start.
        surplus: how much better the labels were than the student's own answers, at the start.
        entropy_start, entropy: policy entropy of the sampled tokens in nats, then and now.
        config: the bounds.
    """

    look: Look
    start: Look
    surplus: Estimate
    entropy_start: float
    entropy: float
    config: GuardConfig


Z_95, Z_99 = 1.645, 2.326
"""Quantiles of the one-sided 95% and 99% intervals."""


def findings(watched: Watched) -> list[Finding]:
    """All rules that a look breaks; a figure that is not defined (NaN) breaks none."""
    found = [rule(watched) for rule in RULES.values()]
    return [finding for finding in found if finding is not None]


def informed(surplus: Estimate) -> bool:
    """Whether the labels are surely (95%) better than what the student answers anyway."""
    return surplus.surely(Z_95) > 0.0


def no_surplus(watched: Watched) -> Finding | None:
    """Self-confirmation: the labels are no better than what the student answers anyway.

    Then training can only sharpen what is there, right or wrong. Seen at the start; a warning,
    because sharpening may still help, but `support_lost` then believes the first sign of harm.
    """
    if watched.look.step != 0:
        return None
    low = watched.surplus.surely(Z_95)
    return _below(
        "no-surplus", "self-confirmation", watched.look, low, 0.0,
        f"the labels have {watched.surplus.mean:+.1%} more support among other views than the "
        f"student's own answers, surely only {low:+.1%}: they tell it nothing new",
        severity="warn",
    )  # fmt: skip


def support_lost(watched: Watched) -> Finding | None:
    """Wrong-majority lock-in (TTRL-Guard, arXiv 2605.19444): answers leave what views support.

    Where the labels had a surplus, the loss must be surely (99%) above `max_support_loss`; where
    they had none, surely (95%) above zero: without a reason to get better, a sign of getting worse
    is enough.
    """
    trusted = informed(watched.surplus)
    z, bound = (Z_99, watched.config.max_support_loss) if trusted else (Z_95, 0.0)
    look = watched.look
    low = Estimate(look.support_loss, look.support_loss_error).surely(z)
    return _above(
        "support-lost", "wrong-majority lock-in", look, low, bound,
        f"its answers have {look.support_loss:.1%} less support among other views of the same "
        f"pictures than at the start, surely {low:.1%}",
    )  # fmt: skip


def constant_answer(watched: Watched) -> Finding | None:
    """Constant-answer collapse (SRT, arXiv 2505.21444): one answer takes over all prompts."""
    look, config = watched.look, watched.config
    return _above(
        "constant-answer", "constant-answer collapse", look, look.top_rise, config.max_top_rise,
        f"the answer {look.top_answer!r:.40} is given to {look.top_rise:.1%} more of all prompts "
        "than at the start",
    )  # fmt: skip


def answers_narrow(watched: Watched) -> Finding | None:
    """Constant-answer collapse, seen in the whole distribution of answers over the prompts."""
    look, start, config = watched.look, watched.start, watched.config
    floor = config.min_answer_entropy * start.answer_entropy
    return _below(
        "answers-narrow", "constant-answer collapse", look, look.answer_entropy, floor,
        f"the entropy of the answers over all prompts fell from {start.answer_entropy:.2f} to "
        f"{look.answer_entropy:.2f} nats",
    )  # fmt: skip


def views_disagree(watched: Watched) -> Finding | None:
    """The picture is read worse: views of the same picture get different answers."""
    look, start, config = watched.look, watched.start, watched.config
    low = Estimate(look.view_loss, look.view_loss_error).surely(Z_99)
    return _above(
        "views-disagree", "loss of grounding", look, low, config.max_view_loss,
        f"agreement across views fell from {start.view_agreement:.1%} to {look.view_agreement:.1%}",
    )  # fmt: skip


def format_decay(watched: Watched) -> Finding | None:
    """Format decay: replies that cannot be read, or do not end."""
    look, start, config = watched.look, watched.start, watched.config
    return _above(
        "format-decay", "format decay", look, look.abstained - start.abstained,
        config.max_abstention_rise,
        f"replies without a readable answer rose from {start.abstained:.1%} to "
        f"{look.abstained:.1%}",
    )  # fmt: skip


def length_collapse(watched: Watched) -> Finding | None:
    """Length collapse (OM-GRPO, arXiv 2608.03119): replies shrink to the answer."""
    look, start, config = watched.look, watched.start, watched.config
    return _below(
        "length-collapse", "length collapse", look, look.length,
        config.length_window[0] * start.length,
        f"mean length fell from {start.length:.1f} to {look.length:.1f} tokens",
    )  # fmt: skip


def length_explosion(watched: Watched) -> Finding | None:
    """Replies grow without an end."""
    look, start, config = watched.look, watched.start, watched.config
    return _above(
        "length-explosion", "length explosion", look, look.length,
        config.length_window[1] * start.length,
        f"mean length rose from {start.length:.1f} to {look.length:.1f} tokens",
    )  # fmt: skip


def repetition_rises(watched: Watched) -> Finding | None:
    """Repetition collapse (OM-GRPO, arXiv 2608.03119)."""
    look, start, config = watched.look, watched.start, watched.config
    return _above(
        "repetition", "repetition collapse", look, look.repetition - start.repetition,
        config.max_repetition_rise,
        f"the repeated part of replies rose from {start.repetition:.1%} to {look.repetition:.1%}",
    )  # fmt: skip


def kl_explosion(watched: Watched) -> Finding | None:
    """KL explosion: the policy leaves the start faster than its votes can justify."""
    look, config = watched.look, watched.config
    return _above(
        "kl-explosion", "KL explosion", look, look.kl, config.max_kl,
        f"KL to the start is {look.kl:.2f} nats per token",
    )  # fmt: skip


def diversity_loss(watched: Watched) -> Finding | None:
    """Loss of diversity: sampling finds nothing new, pass@k falls to pass@1. Warns only."""
    look, config = watched.look, watched.config
    return _below(
        "diversity-loss", "loss of diversity", look, watched.entropy,
        config.min_policy_entropy * watched.entropy_start,
        f"policy entropy fell from {watched.entropy_start:.3f} to {watched.entropy:.3f} nats",
        severity="warn",
    )  # fmt: skip


Rule = Callable[[Watched], Finding | None]

RULES: Mapping[str, Rule] = {
    "no-surplus": no_surplus,
    "support-lost": support_lost,
    "constant-answer": constant_answer,
    "answers-narrow": answers_narrow,
    "views-disagree": views_disagree,
    "format-decay": format_decay,
    "length-collapse": length_collapse,
    "length-explosion": length_explosion,
    "repetition": repetition_rises,
    "kl-explosion": kl_explosion,
    "diversity-loss": diversity_loss,
}


def _above(
    rule: str,
    failure: str,
    look: Look,
    figure: float,
    bound: float,
    evidence: str,
    severity: Severity = "stop",
) -> Finding | None:
    if math.isnan(figure) or figure <= bound:
        return None
    return Finding(rule, failure, severity, look.step, figure, bound, evidence)


def _below(
    rule: str,
    failure: str,
    look: Look,
    figure: float,
    bound: float,
    evidence: str,
    severity: Severity = "stop",
) -> Finding | None:
    if math.isnan(figure) or math.isnan(bound) or figure >= bound:
        return None
    return Finding(rule, failure, severity, look.step, figure, bound, evidence)
