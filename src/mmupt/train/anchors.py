"""What audits give back to training: wrong labels stay out, people's answers come in as anchors.

An anchor is a question of the pool whose pseudo-label a person corrected or confirmed. A share of
every step's prompts (`train.anchor_fraction`) are anchors, rewarded for the true answer, while the
others are labelled by votes as ever. `train_label_free` knows nothing of this: whoever calls it
trains without answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from mmupt.data.images import printable
from mmupt.errors import InputError
from mmupt.guard.watch import Audit, Outcome
from mmupt.policy.model import Policy
from mmupt.train.grpo import Known, train_beside
from mmupt.train.labels import TrueLabels
from mmupt.train.stage import AfterStep, Run
from mmupt.types import LabelledSample, Sample


def without(samples: Sequence[Sample], ids: Collection[str]) -> list[Sample]:
    """The samples whose ids are not among `ids`, in their order.

    Quarantine: a question whose pseudo-label was rejected is not voted on again, as the votes would
    say the same.
    """
    left_out = frozenset(ids)
    return [sample for sample in samples if sample.id not in left_out]


def train_anchored(
    policy: Policy,
    samples: Sequence[Sample],
    anchors: Sequence[LabelledSample],
    run: Run,
    *,
    after_step: AfterStep | None = None,
    audit: Audit | None = None,
) -> Outcome:
    """A label-free round, in place, some of whose prompts are anchors.

    In every step `TrainConfig.anchors_per_step` of `prompts_per_step` prompts are anchors, shuffled
    anew in each pass over them. They are rewarded by agreement with the true answer, measured as
    agreement with a pseudo-label is. They neither vote nor are voted on, and are left out of
    `samples` and with it of the guard's probe. Without anchors, or with `anchor_fraction` 0, this
    is `train_label_free`, bit for bit.

    Args:
        policy: trained in place.
        samples: questions without answers.
        anchors: questions with the answers that people gave.
        run: configuration and places.
        after_step: called with the step number after each update.
        audit: as in `train_label_free`. It should not ask about the anchors, which the policy
            learns by heart.

    Returns:
        How the round ended; `anchors` counts the different ones that were trained on.

    Raises:
        InputError: two anchors with one id, or no sample that is not an anchor.
    """
    per_step = run.config.train.anchors_per_step
    if not per_step or not anchors:
        return train_beside(policy, samples, run, None, after_step=after_step, audit=audit)
    answers = {row.sample.id: row.answer for row in anchors}
    if len(answers) < len(anchors):
        (twice, count), *_ = Counter(row.sample.id for row in anchors).most_common(1)
        raise InputError(
            f"anchors: {count} answers to the question {printable(twice, 80)}; expected one for "
            "each id"
        )
    others = without(samples, answers)
    if not others:
        raise InputError(
            f"all {len(samples)} questions of the round are anchors, so that none is left for the "
            "votes; add unlabelled data, or use the answers for fine-tuning (mmupt sft)"
        )
    known = Known([row.sample for row in anchors], TrueLabels(answers), per_step)
    outcome = train_beside(policy, others, run, known, after_step=after_step, audit=audit)
    return replace(outcome, anchors=min(len(answers), per_step * outcome.steps))
