"""Self-rewarding preference learning without labels, by DPO (after SRLM, arXiv 2401.10020).

    for each step of a round:
        answers  the model of the round's start, pi_ref, gives G completions of every prompt
        judge    its own agreement: the majority's answer, by `consensus`
        pairs    preferred y_w reaches the majority's answer, rejected y_l does not
        loss     -log sigmoid(beta [log pi/pi_ref (y_w) - log pi/pi_ref (y_l)])

A baseline for comparison. In the paper the model judges in words (LLM as a judge), which a small
model cannot; here its judgement is its agreement with itself, as in ScPO (arXiv 2411.04109). ScPO's
weight of a pair and its likelihood term are the settings `weighted` and `nll_weight`; ScPO rejects
the rarest answer, here any other answer is rejected. DPO: arXiv 2305.18290.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from mmupt.config import Config, ConsensusConfig, SelfRewardConfig
from mmupt.consensus.equivalence import partition
from mmupt.policy.inputs import encode
from mmupt.policy.model import Policy
from mmupt.policy.score import completion_logprobs, token_batch
from mmupt.train.judge import Judged
from mmupt.train.offline import Lesson, Method, reaching, train_offline
from mmupt.train.stage import AfterStep, Run
from mmupt.types import Sample


def train_self_reward(
    policy: Policy, samples: Sequence[Sample], run: Run, *, after_step: AfterStep | None = None
) -> None:
    """One round, in place; several rounds are several calls, each with a new reference.

    Args:
        policy: trained in place; as it is now it answers, judges and is the reference.
        samples: questions without answers.
        run: configuration and places; `config.self_reward` holds what is this method's own.
        after_step: called with the step number after each update.
    """
    train_offline(policy, samples, run, self_reward(run.config), after_step=after_step)


def self_reward(config: Config) -> Method:
    own = config.self_reward

    def choose(judged: Judged, rng: np.random.Generator) -> list[Lesson]:
        return pair_lessons(judged, own, config.consensus, rng)

    def loss(
        policy: Policy, start: Policy, part: Sequence[Lesson], whole: Sequence[Lesson]
    ) -> tuple[torch.Tensor, Mapping[str, float]]:
        return preference_loss(policy, start, part, whole, own)

    return Method(
        event="self_reward_step",
        learning_rate=own.learning_rate or config.train.learning_rate,
        choose=choose,
        loss=loss,
        figures=_per_pair,
    )


def pair_lessons(
    judged: Judged, own: SelfRewardConfig, consensus: ConsensusConfig, rng: np.random.Generator
) -> list[Lesson]:
    """Pairs of a preferred and a rejected completion, drawn at random, each completion once.

    Both of a pair answer the same view: DPO compares answers to one prompt. The picks of a lesson
    are preferred, rejected, preferred, rejected, ...
    """
    reaches = reaching(judged, consensus)
    completions = judged.group.completions
    pairs: list[tuple[int, int]] = []
    for view in range(len(judged.group.prompts)):
        here = [i for i, c in enumerate(completions) if c.view == view]
        preferred = rng.permutation([i for i in here if reaches[i]])
        rejected = rng.permutation([i for i in here if not reaches[i]])
        # A prompt that is not kept has nothing to prefer, and so no pairs.
        pairs += [(int(w), int(lo)) for w, lo in zip(preferred, rejected, strict=False)]
    pairs = [pairs[int(i)] for i in sorted(rng.permutation(len(pairs))[: own.pairs_per_prompt])]
    weights = _weights(judged, pairs, own, consensus)
    lessons = []
    for view in range(len(judged.group.prompts)):
        of_view = [
            (pair, weight)
            for pair, weight in zip(pairs, weights, strict=True)
            if completions[pair[0]].view == view and weight > 0
        ]
        if of_view:
            picks = tuple(i for pair, _ in of_view for i in pair)
            signs = tuple(s for _, weight in of_view for s in (weight, -weight))
            lessons.append(Lesson(judged.group, view, picks, signs))
    return lessons


def dpo_loss(
    chosen_P: torch.Tensor,
    rejected_P: torch.Tensor,
    ref_chosen_P: torch.Tensor,
    ref_rejected_P: torch.Tensor,
    beta: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and margin of P pairs from the log-probabilities of whole completions.

    margin = beta [(log pi(y_w) - log pi_ref(y_w)) - (log pi(y_l) - log pi_ref(y_l))]
    loss   = -log sigmoid(margin)                                (arXiv 2305.18290, equation 7)
    """
    margin_P = beta * ((chosen_P - ref_chosen_P) - (rejected_P - ref_rejected_P))
    return -logsigmoid(margin_P), margin_P


def preference_loss(
    policy: Policy,
    start: Policy,
    part: Sequence[Lesson],
    whole: Sequence[Lesson],
    own: SelfRewardConfig,
) -> tuple[torch.Tensor, Mapping[str, float]]:
    """Mean over the pairs of the update of

        w [ dpo_loss + nll_weight * -log pi(y_w) / |y_w| ]

    with w = 1, or ScPO's weight (arXiv 2411.04109). At temperature 1, whatever the completions
    were sampled at.
    """
    batch = encode(policy, [lesson.prompt for lesson in part])
    repeats = [len(lesson.picks) for lesson in part]
    tokens = token_batch(policy, [c.token_ids for lesson in part for c in lesson.completions])
    mask_NT = tokens.mask_NT
    logps_NT, entropy_NT = completion_logprobs(policy, batch, repeats, tokens)
    with torch.no_grad():
        ref_NT, _ = completion_logprobs(start, batch, repeats, tokens)
    logps_P2 = (logps_NT * mask_NT).sum(-1).reshape(-1, 2)
    ref_P2 = (ref_NT * mask_NT).sum(-1).reshape(-1, 2)
    loss_P, margin_P = dpo_loss(
        logps_P2[:, 0], logps_P2[:, 1], ref_P2[:, 0], ref_P2[:, 1], own.beta
    )
    if own.nll_weight:
        loss_P = loss_P - own.nll_weight * logps_P2[:, 0] / mask_NT.sum(-1).reshape(-1, 2)[:, 0]
    weight_P = torch.tensor([s for lesson in part for s in lesson.signs[::2]]).to(loss_P)
    loss = (weight_P * loss_P).sum() / sum(len(lesson.picks) // 2 for lesson in whole)
    return loss, {
        "tokens": float(mask_NT.sum()),
        "entropy": float((entropy_NT * mask_NT).sum()),
        "pairs": float(len(margin_P)),
        "margin": float(margin_P.detach().sum()),
        "ordered": float((margin_P.detach() > 0).sum()),
    }


def _weights(
    judged: Judged,
    pairs: Sequence[tuple[int, int]],
    own: SelfRewardConfig,
    consensus: ConsensusConfig,
) -> list[float]:
    """1 for each pair, or ScPO's w = (V(y_w) - V(y_l)) / G, at least 0.

    V(y) is how many of the G completions give the answer of y; an abstention has no votes. Where
    a teacher over views votes otherwise than the completions, w can be 0: such a pair is left out.
    """
    if not own.weighted:
        return [1.0] * len(pairs)
    classes = partition(judged.answers, kind=consensus.kind, rtol=consensus.rtol)
    votes = Counter(number for number in classes if number is not None)
    of_each = [0 if number is None else votes[number] for number in classes]
    return [max(0, of_each[w] - of_each[lo]) / len(classes) for w, lo in pairs]


def _per_pair(sums: Mapping[str, float]) -> dict[str, float]:
    """Mean margin, and how many pairs in a hundred the policy has in the right order."""
    pairs = max(sums["pairs"], 1.0)
    return {
        "pairs": sums["pairs"],
        "margin": sums["margin"] / pairs,
        "ordered": sums["ordered"] / pairs,
    }
