"""What is asked next: where questions within the band came from so far, there more is asked.

Thompson sampling (Thompson 1933; arXiv 1707.02038). Each way of asking (kind, difficulty) and each
source has a Beta distribution over its yield, the share of attempts that were kept:

    way     Beta(1 + kept, 1 + refused)
    source  Beta(2 p + kept, 2 (1 - p) + refused),  p = (kept + 1) / (attempts + 2) over all

An attempt takes the way and a step the sources with the highest draws, so that what yields is asked
more often and nothing is given up for good. Pictures that have all the questions they may have are
left out.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

POOL = 8_192
"""Sources that a step looks at, at most, drawn at random."""

IN_A_ROW = 3
"""A picture gets at most this many times `max_per_picture` attempts."""

Way = tuple[str, str]
"""Kind and difficulty."""


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt: which source, and how it is asked."""

    source: int
    kind: str
    difficulty: str


@dataclass
class Tally:
    """What came of the attempts so far. One that got no reply says nothing and is not in it."""

    ways: Counter[tuple[Way, bool]] = field(default_factory=Counter)
    sources: Counter[tuple[int, bool]] = field(default_factory=Counter)
    pictures: Counter[tuple[tuple[str, ...], bool]] = field(default_factory=Counter)

    def add(self, one: Try, pictures: tuple[str, ...], kept: bool) -> None:
        self.ways[(one.kind, one.difficulty), kept] += 1
        self.sources[one.source, kept] += 1
        self.pictures[pictures, kept] += 1

    @property
    def kept(self) -> int:
        return sum(count for (_, kept), count in self.ways.items() if kept)

    @property
    def attempts(self) -> int:
        return self.ways.total()


def next_step(
    size: int,
    pictures: Sequence[tuple[str, ...]],
    ways: Sequence[Way],
    tally: Tally,
    *,
    max_per_picture: int,
    seed: str,
) -> list[Try]:
    """The attempts of a step, `size` of them or fewer; none where no source is left.

    Args:
        size: attempts that are wanted.
        pictures: of each source.
        ways: kinds and difficulties to choose from.
        tally: what came of the attempts so far.
        max_per_picture: kept questions that pictures may have.
        seed: of this step; the same gives the same.
    """
    rng = random.Random(seed)
    pool = range(len(pictures))
    looked = rng.sample(pool, POOL) if len(pool) > POOL else list(pool)
    open_ = [i for i in looked if _open(pictures[i], tally, max_per_picture)]
    if not open_ and len(pool) > POOL:
        open_ = [i for i in pool if _open(pictures[i], tally, max_per_picture)][:POOL]
    p = (tally.kept + 1) / (tally.attempts + 2)
    drawn = {i: _source_yield(rng, i, tally, p) for i in open_}
    best = sorted(open_, key=lambda i: (-drawn[i], i))
    chosen: list[int] = []
    room = {pictures[i]: max_per_picture - tally.pictures[pictures[i], True] for i in open_}
    while best and len(chosen) < size:  # again from the front where sources are few
        taken = []
        for i in best:
            if len(chosen) < size and room[pictures[i]] > 0:
                room[pictures[i]] -= 1
                chosen.append(i)
                taken.append(i)
        best = taken
    return [Try(i, *_way(rng, ways, tally)) for i in chosen]


def _open(pictures: tuple[str, ...], tally: Tally, most: int) -> bool:
    kept, refused = tally.pictures[pictures, True], tally.pictures[pictures, False]
    return kept < most and kept + refused < IN_A_ROW * most


def _source_yield(rng: random.Random, source: int, tally: Tally, p: float) -> float:
    kept, refused = tally.sources[source, True], tally.sources[source, False]
    return rng.betavariate(2 * p + kept, 2 * (1 - p) + refused)


def _way(rng: random.Random, ways: Sequence[Way], tally: Tally) -> Way:
    def draw(way: Way) -> float:
        return rng.betavariate(1 + tally.ways[way, True], 1 + tally.ways[way, False])

    return max(((draw(way), -place, way) for place, way in enumerate(ways)))[2]
