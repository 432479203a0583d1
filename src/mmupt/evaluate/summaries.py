"""Summaries of pictures and other free text: how much replies say the same, and the reference.

Without references, by the utility that votes on free text use (`consensus.freetext`): chrF in both
directions, lowered where numbers, negations or opposites contradict. With references, chrF as
sacrebleu works it out (Popović 2015): character n-grams need no words, so it serves Japanese as it
is. ROUGE is left out: its package is not maintained since 2022 and knows English words only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from mmupt.consensus.freetext import measure
from mmupt.evaluate.records import Judged, Record, Summary


def summary(reference: str | None, best: Judged, sampled: Sequence[Judged]) -> Summary:
    """The figures of one question; a reply without text agrees with nothing.

    Args:
        reference: what people wrote; None: nothing.
        best: the most likely reply.
        sampled: k sampled ones.

    Returns:
        NaN for pairs of fewer than two sampled replies, for centrality without sampled replies, for
        chrF without a reference, and for all that a reply which did not come is in.
    """
    texts = list(dict.fromkeys(one.answer for one in (best, *sampled) if one.answer))
    utility = measure(texts)
    place = {text: number for number, text in enumerate(texts)}

    def between(a: Judged, b: Judged) -> float:
        if a.reply is None or b.reply is None:
            return math.nan
        return utility(place[a.answer], place[b.answer]) if a.answer and b.answer else 0.0

    return Summary(
        _mean([between(a, b) for a, b in combinations(sampled, 2)]),
        _mean([between(best, one) for one in sampled]),
        _chrf(best, reference),
    )


def corpus_chrf(records: Sequence[Record]) -> dict[str, Any]:
    """chrF of all references together, in [0, 1], with sacrebleu's signature.

    The counts of all texts are added before they are divided, which is what papers report; the mean
    over questions weighs every question alike.
    """
    from sacrebleu import CHRF

    pairs = [
        (record.greedy.answer or "", record.answer)
        for record in records
        if record.answer is not None and record.greedy.reply is not None
    ]
    if not pairs:
        return {"n": 0, "chrf": math.nan, "signature": None}
    metric = CHRF()
    score = metric.corpus_score([said for said, _ in pairs], [[wanted for _, wanted in pairs]])
    return {
        "n": len(pairs), "chrf": score.score / 100, "signature": str(metric.get_signature())
    }  # fmt: skip


def _chrf(best: Judged, reference: str | None) -> float:
    from sacrebleu import sentence_chrf

    if reference is None or best.reply is None:
        return math.nan
    return float(sentence_chrf(best.answer or "", [reference]).score) / 100


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
