"""Agreement across views by harmonic mean (Self-Harmony, arXiv 2511.01191)."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import lcm

from mmupt.consensus.ballot import Ballot
from mmupt.types import Vote


def harmony(ballot: Ballot) -> Vote:
    """The class with the largest harmonic mean of its frequencies in the views.

        score(y) = V / sum_v 1 / p_v(y)   (0 when some p_v(y) = 0),   r_i = [y_i = y*]

    with p_v(y) = answers y of view v / all answers of view v, abstentions included. Source: arXiv
    2511.01191 (two views: the question and its paraphrase; here V >= 1 of any kind). An answer that
    one view never gives cannot win. Option `views`: G view numbers. `share` counts answers.
    """
    views = ballot.options.views
    size = Counter(views)
    votes = Counter(
        (view, number)
        for view, number in zip(views, ballot.classes, strict=True)
        if number is not None
    )
    scores: list[Fraction] = []
    for number in range(len(ballot.counts())):
        inside = [(size[view], votes[view, number]) for view in size]
        if all(hits for _, hits in inside):
            inverse = sum((Fraction(total, hits) for total, hits in inside), Fraction(0))
            scores.append(len(size) / inverse)
        else:
            scores.append(Fraction(0))
    # Numerators over one denominator keep the comparison exact and the scores plain numbers.
    scale = lcm(*(score.denominator for score in scores))
    return ballot.close(ballot.elect([int(score * scale) for score in scores]))
