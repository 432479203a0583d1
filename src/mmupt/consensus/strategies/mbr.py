"""The answer that agrees most with all others: minimum Bayes risk over a text metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import fsum

from mmupt.consensus.ballot import Ballot
from mmupt.consensus.freetext import measure
from mmupt.types import Vote


def mbr(ballot: Ballot) -> Vote:
    """The answer with the largest mean utility against the other answers; that mean is the reward.

        r_i = 1/(G - 1) sum_{j != i} u(y_i, y_j),   y* = y_argmax r_i

    Source: minimum Bayes risk decoding (Kumar & Byrne 2004, https://aclanthology.org/N04-1022), by
    samples that are hypotheses and references at once (arXiv 2108.04718); with u = [y_i = y_j] it
    is the majority vote (arXiv 2310.01387). u is defined in `freetext`. For answers that are never
    equal, such as summaries.

    An abstention gets 0 and has utility 0 with everybody: it lowers all rewards and every share. A
    group of one rewards its answer with 1. Equivalent answers (see `partition`) have utility 1.

    Classes, own rule: answers in falling order of their mean (equal means: the shorter, then the
    first by code point) found a class, or join the first founder with u >= threshold. So a founder
    is the best answer of its class, and `share` is the share of answers that agree with the label
    itself; no chain of similar answers links two that contradict each other. Founders with exactly
    equal means tie. No answer that agrees with another: no label.

    Options: `threshold` (0.5) in [0, 1]; `guards` (true), `embed` and `embed_weight`: see
    `freetext.measure`. 0.5 is where pairs of summaries that say the same part best from pairs about
    other things of the same kind; and no contradiction reaches 0.5 (see `freetext_guards`), so with
    it no answer of the label's class contradicts the label. With an encoder utilities are higher,
    and so should be the threshold. Summaries want `kind` "text", which reads nothing but text.
    """
    options = ballot.options
    texts = ballot.names()
    utility = measure(texts, options.guards, options.embed, options.embed_weight)
    means = _means(ballot, utility)
    founders = _founders(texts, means, utility, options.threshold)
    # The ballot of the clusters: every member votes for the answer that founded its class.
    numbers: dict[int, int] = {}
    classes = tuple(
        None if k is None else numbers.setdefault(founders[k], len(numbers)) for k in ballot.classes
    )
    voted = tuple(None if k is None else texts[founders[k]] for k in ballot.classes)
    clustered = replace(ballot, answers=voted, classes=classes)
    election = clustered.elect([means[founder] for founder in numbers])
    if election.winner is None:
        return clustered.close(election)
    rewards = tuple(0.0 if k is None else means[k] for k in ballot.classes)
    return clustered.close(election, rewards)


def _means(ballot: Ballot, utility: Callable[[int, int], float]) -> list[float]:
    """Mean utility of an answer of each class of equivalent answers against all other answers."""
    others = len(ballot.answers) - 1
    counts = ballot.counts()
    if not others:
        return [1.0] * len(counts)
    # fsum rounds once: equal support is exactly equal, in any order of the answers.
    return [
        fsum(
            utility(mine, theirs)
            for theirs, count in enumerate(counts)
            for _ in range(count - (mine == theirs))
        )
        / others
        for mine in range(len(counts))
    ]


def _founders(
    texts: list[str], means: list[float], utility: Callable[[int, int], float], threshold: float
) -> list[int]:
    """For each class of equivalent answers, the one that founded its cluster."""
    founders: dict[int, int] = {}
    order = sorted(range(len(texts)), key=lambda k: (-means[k], len(texts[k]), texts[k]))
    for number in order:
        founded = (k for k, founder in founders.items() if k == founder)
        agreeing = (k for k in founded if utility(k, number) >= threshold)
        founders[number] = next(agreeing, number)
    return [founders[number] for number in range(len(texts))]
