"""What can be seen of a model without labels, as plain figures. Pure functions over answers.

Two figures stand in for accuracy, both measured against a jury: the greedy answers of the model
that the round starts from, over views of each picture that nobody else uses. The support of an
answer is the share of the jury that gives it.

    support_i(a) = |{jury answers of prompt i equivalent to a}| / jury size
    surplus      = mean_i support_i(label_i) - mean_i support_i(the student's own best answers)
    support loss = mean_i support_i(answers of the start) - mean_i support_i(answers of now)

The surplus says, before anything is trained, how much better the labels are than what the student
already answers. The loss says whether answers that changed went to where the start's other views
point, or away from it. Measured on the embedded task the surplus is that of the true accuracies
within two points, and the loss grows with the true loss of accuracy when self-training goes wrong,
while vote share, agreement across views and the distribution of answers still look as they did at
the start (docs/guard.md). The jury is fixed: a model cannot move it by agreeing with itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mmupt.consensus.equivalence import partition

Answers = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Replies:
    """The greedy replies of one model to N prompts over V views, and what they cost in tokens.

    Attributes:
        answers_NV: answers, None where one abstains; view 0 is the picture itself.
        lengths: tokens of all replies.
        truncated: fraction of replies that were cut.
        repetition: mean repeated part of a reply, see `repetition`.
        kl: KL(start || this model) per token in nats; 0 for the start itself.
    """

    answers_NV: tuple[tuple[str | None, ...], ...]
    lengths: tuple[int, ...]
    truncated: float
    repetition: float
    kl: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over prompts with its standard error; both NaN where there is nothing to average."""

    mean: float
    error: float

    def surely(self, z: float) -> float:
        """Lower end of the one-sided normal interval: z = 1.645 for 95%, 2.326 for 99%."""
        return self.mean - z * self.error


@dataclass(frozen=True, slots=True)
class Look:
    """The figures of one look, after update `step`; fractions unless said otherwise.

    Attributes:
        step: update after which it was taken; 0 is the start.
        support: mean support of the look's answers in the jury.
        support_loss: what that lost against the start, prompt by prompt.
        support_loss_error: its standard error over prompts.
        view_agreement: mean over prompts of the pairs of views that agree.
        view_loss: what view agreement lost against the start.
        view_loss_error: its standard error over prompts.
        share: mean share of the largest class over the views.
        flips: prompts whose answer to the picture itself differs from the start's.
        answer_entropy: entropy in nats of the answers to all prompts, view 0.
        top_answer: the answer that gained the largest part of all prompts since the start.
        top_rise: by how much.
        abstained: replies without a readable answer, truncated ones included.
        truncated: replies that were cut.
        length: mean tokens of a reply.
        repetition: mean repeated part of a reply.
        kl: KL(start || policy) per token in nats.
        audited: greedy accuracy on rows that people have checked; NaN where there are none.
    """

    step: int
    support: float
    support_loss: float
    support_loss_error: float
    view_agreement: float
    view_loss: float
    view_loss_error: float
    share: float
    flips: float
    answer_entropy: float
    top_answer: str | None
    top_rise: float
    abstained: float
    truncated: float
    length: float
    repetition: float
    kl: float
    audited: float = math.nan

    @property
    def rank(self) -> tuple[float, float]:
        """What the best checkpoint has most of: audited accuracy where known, then the score."""
        return (0.0 if math.isnan(self.audited) else self.audited, self.score)

    @property
    def score(self) -> float:
        """What ranks checkpoints without labels: agreement across views, less the support lost.

        Agreement alone is no merit: a constant answer has all of it. Support alone would favour
        the start, which agrees with itself.
        """
        return self.view_agreement - self.support_loss


def look_at(
    step: int,
    replies: Replies,
    start: Replies,
    jury_NJ: Sequence[Answers],
    kind: str,
    rtol: float | None,
) -> Look:
    """Compare a model's replies with the start's, prompt by prompt."""
    now = [
        support(a, jury, kind, rtol) for a, jury in zip(replies.answers_NV, jury_NJ, strict=True)
    ]
    then = [support(a, jury, kind, rtol) for a, jury in zip(start.answers_NV, jury_NJ, strict=True)]
    views = [agreement(answers, kind, rtol) for answers in replies.answers_NV]
    before = [agreement(answers, kind, rtol) for answers in start.answers_NV]
    now_0 = [answers[0] for answers in replies.answers_NV]
    start_0 = [answers[0] for answers in start.answers_NV]
    top, rise = largest_rise(start_0, now_0, kind, rtol)
    lost = estimate([b - n for b, n in zip(then, now, strict=True)])
    view_lost = estimate([b - v for b, v in zip(before, views, strict=True)])
    flat = [a for answers in replies.answers_NV for a in answers]
    return Look(
        step=step,
        support=_mean(now),
        support_loss=lost.mean,
        support_loss_error=lost.error,
        view_agreement=_mean(views),
        view_loss=view_lost.mean,
        view_loss_error=view_lost.error,
        share=_mean([largest_share(answers, kind, rtol) for answers in replies.answers_NV]),
        flips=_mean([_differ(a, b, kind, rtol) for a, b in zip(start_0, now_0, strict=True)]),
        answer_entropy=entropy_of(now_0, kind, rtol),
        top_answer=top,
        top_rise=rise,
        abstained=_mean([float(a is None) for a in flat]),
        truncated=replies.truncated,
        length=_mean([float(n) for n in replies.lengths]),
        repetition=replies.repetition,
        kl=replies.kl,
    )


def surplus(
    labels: Answers,
    own_NV: Sequence[Answers],
    jury_NJ: Sequence[Answers],
    kind: str = "auto",
    rtol: float | None = None,
) -> Estimate:
    """How much more support labels have than the student's own best answers.

    Args:
        labels: N labels; None where a prompt is not trained on, which is left out.
        own_NV: the student's greedy answers on the views that it trains on.
        jury_NJ: the jury's answers.
    """
    return estimate(
        [
            support([label], jury, kind, rtol) - support(own, jury, kind, rtol)
            for label, own, jury in zip(labels, own_NV, jury_NJ, strict=True)
            if label is not None
        ]
    )


def support(
    answers: Answers, jury: Answers, kind: str = "auto", rtol: float | None = None
) -> float:
    """Mean over `answers` of the share of the jury that gives it; an abstention has none."""
    classes = partition([*jury, *answers], kind=kind, rtol=rtol)
    counts = Counter(c for c in classes[: len(jury)] if c is not None)
    return sum(counts[c] for c in classes[len(jury) :] if c is not None) / (
        len(jury) * len(answers)
    )


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and standard error; the error is NaN below two values."""
    if len(values) < 2:
        return Estimate(_mean(values), math.nan)
    mean = _mean(values)
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return Estimate(mean, math.sqrt(variance / len(values)))


def agreement(answers: Answers, kind: str = "auto", rtol: float | None = None) -> float:
    """Fraction of the pairs of answers that agree; an abstention agrees with nothing.

    NaN for fewer than two answers.
    """
    classes = partition(answers, kind=kind, rtol=rtol)
    total = len(classes)
    if total < 2:
        return math.nan
    counts = Counter(c for c in classes if c is not None).values()
    return sum(n * (n - 1) for n in counts) / (total * (total - 1))


def largest_share(answers: Answers, kind: str = "auto", rtol: float | None = None) -> float:
    """Share of the largest class over all answers, abstentions included; NaN for none."""
    if not answers:
        return math.nan
    counts = Counter(c for c in partition(answers, kind=kind, rtol=rtol) if c is not None)
    return max(counts.values(), default=0) / len(answers)


def entropy_of(answers: Answers, kind: str = "auto", rtol: float | None = None) -> float:
    """Entropy in nats of the classes of the answers to different prompts; abstentions left out."""
    counts = Counter(c for c in partition(answers, kind=kind, rtol=rtol) if c is not None).values()
    total = sum(counts)
    return math.fsum(n / total * math.log(total / n) for n in counts)


def largest_rise(
    before: Answers, now: Answers, kind: str = "auto", rtol: float | None = None
) -> tuple[str | None, float]:
    """The answer whose share over all prompts grew most, and by how much; None where none grew."""
    classes = partition([*before, *now], kind=kind, rtol=rtol)
    old, new = Counter(classes[: len(before)]), Counter(classes[len(before) :])
    rises = {c: (new[c] - old[c]) / len(now) for c in new if c is not None}
    best = max(rises, key=lambda c: rises[c], default=None)
    if best is None or rises[best] <= 0:
        return None, 0.0
    return now[classes[len(before) :].index(best)], rises[best]


def repetition(token_ids: Sequence[int], n: int = 4) -> float:
    """Part of a reply's n-grams that stood before, 1 - distinct / all; 0 below n tokens."""
    grams = [tuple(token_ids[i : i + n]) for i in range(len(token_ids) - n + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def _differ(a: str | None, b: str | None, kind: str, rtol: float | None) -> float:
    first, second = partition([a, b], kind=kind, rtol=rtol)
    return float(first != second)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
