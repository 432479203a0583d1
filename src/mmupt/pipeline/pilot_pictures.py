"""Whether the answers depend on the pictures, asked of the model itself: no labels needed.

Votes can agree for two reasons: the model reads the picture, or it says the same whatever the
picture shows. Only the first is worth training on. So each tested question is asked about its own
pictures, about those of another question, and about blank ones:

    A_own    = agreement of two answers about the own pictures, seen in different views
    A_other  = agreement of an answer about the own with one about another question's pictures
    kappa    = (A_own - A_other) / (1 - A_other)

Kappa is agreement corrected for chance, as Cohen's (1960) and Krippendorff's: A_other is what two
answers to this question agree by chance, through what the question alone suggests. 0: the pictures
do not matter; 1: they decide the answer. The blank picture shows what the question alone says (the
language prior, as in VQA-CP, arXiv 1712.00377).

All three are sampled at temperature 1, whatever the votes' temperature is. A model that learned
answers which its pictures do not hold is unsure: at temperature 1 its answers about one picture
agree no more than those about two (kappa 0.00 to 0.04 in trials), but its best answer hangs on
minute differences between pictures and repeats across views (0.26 to 0.43 at temperature 0, more
than a base model that partly reads). See docs/decisions for the trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmupt.asking.answerer import Answerer, SamplingParams, stream_seeds
from mmupt.asking.answers import Reply
from mmupt.asking.groups import ask, ask_views
from mmupt.asking.maker import PromptMaker, blanked
from mmupt.config import Config, ConsensusConfig
from mmupt.consensus.equivalence import partition
from mmupt.consensus.vote import vote
from mmupt.pipeline.pilot_rows import agreement_across, agreement_between
from mmupt.stats import Ratio, mean_ratio
from mmupt.train.labels import TEACHER_STREAM
from mmupt.types import Sample

PICTURE_ROWS = 200
"""At most so many questions are tested; kappa is then known to about 0.05."""

PICTURE_VIEWS = 4
"""Views of each picture, one answer each: six pairs a question."""

PICTURE_TEMPERATURE = 1.0
"""The model's own distribution, neither sharpened nor flattened."""

PICTURE_STREAM = 8
"""Keeps the random numbers of this test apart from those of other uses."""


@dataclass(frozen=True, slots=True)
class Swap:
    """A question and the one whose pictures it is shown instead of its own."""

    sample: Sample
    donor: Sample

    @property
    def swapped(self) -> Sample:
        return replace(self.sample, images=self.donor.images, origin=self.donor.origin)


@dataclass(frozen=True, slots=True)
class PictureRow:
    """The answers to one tested question; view v is at index v.

    Attributes:
        id: of the question.
        donor: id of the question whose pictures were shown instead.
        own, other, blank: answers about the own, the other and blank pictures.
        tokens: tokens sampled for them; None where a server does not tell.
    """

    id: str
    donor: str
    own: tuple[str | None, ...]
    other: tuple[str | None, ...]
    blank: tuple[str | None, ...]
    tokens: int | None


@dataclass(frozen=True, slots=True)
class PictureFigures:
    """The picture test in figures; fractions, NaN where there was nothing to test.

    Attributes:
        tested: questions behind kappa.
        own, other, blank: mean agreement of an answer about the own pictures with another one about
            the own, another question's, and blank pictures.
        kappa: with its 95% interval over questions.
        unchanged_own, unchanged_other, unchanged_blank: fraction of the pseudo-labels that the
            majority of the answers about these pictures repeats.
    """

    tested: int
    own: float
    other: float
    blank: float
    kappa: Ratio
    unchanged_own: float
    unchanged_other: float
    unchanged_blank: float


def swaps(samples: Sequence[Sample], seed: int, limit: int = PICTURE_ROWS) -> list[Swap]:
    """Up to `limit` questions drawn at random, each with pictures that are not its own.

    The different pictures of all questions with as many images stand in a random circle, and each
    question is shown the next ones: nobody gets its own, and every picture is shown about as often
    as it is its own. Left out are questions without pictures and those that share theirs with all
    others of as many images.
    """
    order = np.random.default_rng([seed, PICTURE_STREAM]).permutation(len(samples))
    shuffled = [samples[i] for i in order if samples[i].images]
    circles: dict[int, dict[tuple[object, ...], Sample]] = {}
    for sample in shuffled:
        circles.setdefault(len(sample.images), {}).setdefault(sample.images, sample)
    following: dict[tuple[object, ...], Sample] = {}
    for circle in circles.values():
        donors = list(circle.values())
        for own, donor in zip(donors, [*donors[1:], donors[0]], strict=True):
            following[own.images] = donor
    pairs = (Swap(sample, following[sample.images]) for sample in shuffled)
    return [pair for pair in pairs if pair.donor.images != pair.sample.images][:limit]


def ask_pictures(
    answerer: Answerer,
    maker: PromptMaker,
    part: Sequence[Swap],
    config: Config,
    key: Sequence[int],
) -> list[PictureRow]:
    """The three kinds of answers to every question of a part; `key` is what the draws depend on.

    A reply that did not come is None, as one that cannot be read: neither agrees with anything.
    """
    params = SamplingParams(
        PICTURE_TEMPERATURE, max_completion_length=config.train.max_completion_length
    )
    seed = (config.seed, PICTURE_STREAM, *key)
    own, other = (
        ask_views(
            answerer, shown, maker, views=PICTURE_VIEWS, per_view=1, params=params,
            stream=TEACHER_STREAM, key=(*seed, number), kind=config.consensus.kind,
        )
        for number, shown in enumerate(([p.sample for p in part], [p.swapped for p in part]))
    )  # fmt: skip
    prompts = [
        blanked(maker.prompt(pair.sample, view, TEACHER_STREAM))
        for pair in part
        for view in range(PICTURE_VIEWS)
    ]
    flat = ask(
        answerer, prompts, 1, params, stream_seeds(*seed, 2, count=len(prompts)),
        kind=config.consensus.kind,
    )  # fmt: skip
    rows = []
    for index, pair in enumerate(part):
        blank = [one for (one,) in flat[index * PICTURE_VIEWS :][:PICTURE_VIEWS]]
        replies = own[index], other[index], blank
        tokens = tokens_of([reply for group in replies for reply in group])
        mine, others, empty = (
            tuple(None if r is None else r.answer for r in group) for group in replies
        )
        rows.append(PictureRow(pair.sample.id, pair.donor.id, mine, others, empty, tokens))
    return rows


def tokens_of(replies: Sequence[Reply | None]) -> int | None:
    """Tokens of the replies that came; None if some server did not tell them all."""
    lengths = [reply.completion.length for reply in replies if reply is not None]
    return sum(n for n in lengths if n is not None) if None not in lengths else None


def picture_figures(
    rows: Sequence[PictureRow], labels: Mapping[str, str | None], config: ConsensusConfig
) -> PictureFigures:
    """The figures of the rows.

    Questions whose agreement is undefined, as (nearly) nobody answered them, do not count.

    Args:
        rows: what `ask_pictures` gave.
        labels: pseudo-label of each question by id; None, or no entry, where there is none.
        config: `kind` and `rtol` are read.
    """
    pairs: list[tuple[float, float, float]] = []
    unchanged: list[tuple[bool, bool, bool]] = []
    for row in rows:
        groups = (row.own, row.other, row.blank)
        together = [*row.own, *row.other, *row.blank]
        classes = partition(together, kind=config.kind, rtol=config.rtol)
        size = len(row.own)
        own, other, blank = (classes[size * i : size * (i + 1)] for i in range(3))
        pairs.append(
            (
                agreement_across(own, range(size)),
                agreement_between(own, other),
                agreement_between(own, blank),
            )
        )
        label = labels.get(row.id)
        if label is not None:
            first, second, third = (repeats(label, group, config) for group in groups)
            unchanged.append((first, second, third))
    table = np.asarray(pairs, dtype=np.float64).reshape(-1, 3)
    defined = table[~np.isnan(table[:, :2]).any(axis=1)]
    own_N, other_N, blank_N = defined[:, 0], defined[:, 1], defined[:, 2]
    return PictureFigures(
        tested=len(defined),
        own=_mean(own_N),
        other=_mean(other_N),
        blank=_mean(blank_N[~np.isnan(blank_N)]),
        kappa=mean_ratio(own_N - other_N, 1.0 - other_N),
        unchanged_own=_mean([one[0] for one in unchanged]),
        unchanged_other=_mean([one[1] for one in unchanged]),
        unchanged_blank=_mean([one[2] for one in unchanged]),
    )


def repeats(label: str, answers: Sequence[str | None], config: ConsensusConfig) -> bool:
    """Whether the majority of the answers is the label; a tie goes to the first class by key."""
    again = vote(answers, kind=config.kind, rtol=config.rtol, tie="first-class-by-key").label
    first, second = partition([label, again], kind=config.kind, rtol=config.rtol)
    return first is not None and first == second


def _mean(values: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(np.mean(values)) if len(values) else math.nan
