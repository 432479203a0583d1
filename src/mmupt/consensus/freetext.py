"""How much two free texts agree: a string metric, kept from calling opposites alike.

    u(a, b) = g(a, b) * [ (1 - w) * (F(a, b) + F(b, a)) / 2  +  w * max(0, e_a . e_b) ]

F is sentence chrF (Popović 2015, https://aclanthology.org/W15-3049; sacrebleu's settings: character
1- to 6-grams without white space, beta 2) in [0, 1]; both directions, because none of the texts is
the reference. g is the factor of `freetext_guards` in [0, 1] for numbers, negations and opposites.
e are unit vectors from a user's own encoder; without one w = 0. u is symmetric and in [0, 1], and
u = 1 for answers that `equivalence` puts in one class, so a summary that is a mere `12` meets
`twelve` here as in every other vote.

Compared are the first `MAX_COMPARED` characters, in the normal form of `text.words`, whole numbers
in digits, Japanese without polite endings; what follows them has no influence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import fsum

from mmupt.consensus.ballot import representatives
from mmupt.consensus.equivalence import partition
from mmupt.consensus.freetext_guards import Claims, claims, factor
from mmupt.consensus.mentions import in_digits, unnumbered
from mmupt.consensus.text import words
from mmupt.consensus.writing import plain
from mmupt.errors import ConfigError

MAX_COMPARED = 4_000
"""Characters of an answer that are compared."""
ORDER, BETA = 6, 2
EMBED_WEIGHT = 0.5

Embed = Callable[[list[str]], Sequence[Sequence[float]]]

_MARKUP = str.maketrans(dict.fromkeys("*`#", ""))
_UNIT_NORM = 0.01
# Polite and plain endings say the same: 人がいます = 人がいる, 人はいません = 人はいない.
_POLITE = (
    (re.compile("ありません"), "ない"),
    (re.compile("ません"), "ない"),
    (re.compile("あります"), "ある"),
    (re.compile("(?:い|おり)ます"), "いる"),
    (re.compile(r"(?:です|である)(?=$|[\s。、])"), ""),
)


def agreement(
    answers: Sequence[str | None],
    voters: Sequence[str | None],
    *,
    kind: str = "auto",
    rtol: float | None = None,
    threshold: float = 0.5,
    guards: bool = True,
    embed: Embed | None = None,
    embed_weight: float | None = None,
) -> tuple[float, ...]:
    """Mean utility of each answer against somebody else's answers, such as a slow teacher's.

        r_i = 1/V sum_v u(y_i, t_v)

    What strategy "mbr" rewards with, where the voters are not the answers themselves: expected
    utility under the teacher, by samples (arXiv 2108.04718).

    Args:
        answers: G answers; None is an abstention and gets 0.
        voters: V answers of the teacher; an abstention counts as a utility of 0.
        kind: see `partition`.
        rtol: see `partition`.
        threshold: without influence, a mean needs none; taken so that the options of strategy
            "mbr" serve here as they are.
        guards: see `measure`.
        embed: see `measure`.
        embed_weight: see `measure`.

    Returns:
        G rewards in [0, 1], independent of the order of the voters; 0.0 without voters.

    Raises:
        ConfigError: see `measure` and `partition`.
    """
    del threshold
    everybody = [*answers, *voters]
    classes = partition(everybody, kind=kind, rtol=rtol)
    utility = measure(representatives(everybody, classes), guards, embed, embed_weight)
    mine, theirs = classes[: len(answers)], classes[len(answers) :]
    return tuple(
        0.0
        if number is None or not theirs
        else fsum(utility(number, voter) for voter in theirs if voter is not None) / len(theirs)
        for number in mine
    )


def measure(
    texts: Sequence[str],
    guards: bool = True,
    embed: Embed | None = None,
    embed_weight: float | None = None,
) -> Callable[[int, int], float]:
    """The utility u(a, b) of two of the texts, given by their numbers.

    Each text is read once and each pair is worked out once, when it is first asked for.

    Args:
        texts: distinct texts.
        guards: whether contradictions and omissions lower the utility.
        embed: takes the texts, sorted, and returns one vector of length 1 for each.
        embed_weight: w in [0, 1], the weight of the cosine; None: 0.5. Only with `embed`.

    Raises:
        ConfigError: an option out of range, one that does nothing, or vectors of another number,
            length or dimension than expected.
    """
    weight = _weight(guards, embed, embed_weight)
    vectors = _embedded(texts, embed) if embed is not None and texts else None
    readings = [_read(text, guards) for text in texts]

    @cache
    def between(low: int, high: int) -> float:
        first, second = readings[low], readings[high]
        guard = 1.0
        if first.claims is not None and second.claims is not None:
            guard = factor(first.claims, second.claims)
        if guard == 0.0:
            return 0.0
        similarity = chrf(first.ngrams, second.ngrams)
        if vectors is not None:
            cosine = fsum(x * y for x, y in zip(vectors[low], vectors[high], strict=True))
            similarity = (1 - weight) * similarity + weight * min(max(cosine, 0.0), 1.0)
        return guard * similarity

    return lambda a, b: 1.0 if a == b else between(min(a, b), max(a, b))


def chrf(a: Sequence[Counter[str]], b: Sequence[Counter[str]]) -> float:
    """Sentence chrF of two texts, both directions averaged, in [0, 1].

        P = mean_n match_n / |a|_n    R = mean_n match_n / |b|_n    over the n that both texts reach
        F(a, b) = (1 + beta^2) P R / (beta^2 P + R)                 (F(b, a) has P and R exchanged)

    Source: Popović 2015 (https://aclanthology.org/W15-3049), as `sacrebleu.sentence_chrf` averages.
    Worked out here from n-grams that are counted once per text: sacrebleu counts those of both
    texts in every call (5 ms for two texts of 1,000 characters and both directions, here 0.5 ms).

    Args:
        a: counts of the n-grams of one text, n = 1 ... 6.
        b: those of the other.
    """
    precisions: list[float] = []
    recalls: list[float] = []
    for ours, theirs in zip(a, b, strict=True):
        if ours and theirs:
            common = ours.keys() & theirs.keys()
            matches = sum(map(min, map(ours.__getitem__, common), map(theirs.__getitem__, common)))
            precisions.append(matches / ours.total())
            recalls.append(matches / theirs.total())
    if not any(precisions):
        return 0.0
    precision, recall = fsum(precisions) / len(precisions), fsum(recalls) / len(recalls)
    # In this order of operations the two texts can change places without changing a bit.
    product = (1 + BETA**2) * (precision * recall)
    forth, back = BETA**2 * precision + recall, BETA**2 * recall + precision
    return min((product / forth + product / back) / 2, 1.0)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is compared of a text."""

    ngrams: Sequence[Counter[str]]
    claims: Claims | None


def _read(text: str, guards: bool) -> _Reading:
    # Not at the top: a vote on short answers needs no sacrebleu.
    from sacrebleu.metrics.helpers import extract_all_char_ngrams

    clean = plain(unnumbered(text[:MAX_COMPARED]).translate(_MARKUP))
    even = in_digits(clean)
    for polite, ending in _POLITE:
        even = polite.sub(ending, even)
    return _Reading(
        ngrams=extract_all_char_ngrams(words(even) or even, ORDER),
        claims=claims(clean) if guards else None,
    )


def _weight(guards: object, embed: object, weight: object) -> float:
    if not isinstance(guards, bool):
        raise ConfigError(f"vote option guards is {guards!r}; expected true or false")
    if embed is None:
        if weight is not None:
            raise ConfigError("vote option 'embed_weight' does nothing without 'embed'")
        return 0.0
    if not callable(embed):
        raise ConfigError(f"vote option embed is {embed!r}; expected a function of a list of texts")
    if weight is None:
        return EMBED_WEIGHT
    if not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
        raise ConfigError(f"vote option embed_weight is {weight!r}; expected a number in [0, 1]")
    return float(weight)


def _embedded(texts: Sequence[str], embed: Embed) -> list[tuple[float, ...]]:
    # Sorted, because an encoder's result depends a little on what else is in the batch.
    order = sorted(range(len(texts)), key=lambda number: texts[number])
    vectors = [
        tuple(float(x) for x in vector)
        for vector in embed([texts[number][:MAX_COMPARED] for number in order])
    ]
    if len(vectors) != len(texts):
        raise ConfigError(f"embed returned {len(vectors)} vectors for {len(texts)} texts")
    for vector in vectors:
        norm = fsum(x * x for x in vector) ** 0.5
        if len(vector) != len(vectors[0]) or not abs(norm - 1) <= _UNIT_NORM:
            raise ConfigError(
                f"embed returned a vector of dimension {len(vector)} and length {norm:.4g}; "
                f"expected dimension {len(vectors[0])} and length 1: normalise the vectors"
            )
    return [vector for _, vector in sorted(zip(order, vectors, strict=True))]
