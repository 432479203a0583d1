"""Pairs of 64-bit hashes that differ in few bits, without comparing all with all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

BITS = 64
MAX_DISTANCE = 10
"""Beyond this, bands become so narrow that everything is compared with everything."""


def near_pairs(hashes: Hashes, distance: int, limit: int = 1_000_000) -> tuple[Ints, bool]:
    """All pairs of different hashes within a Hamming distance.

    Two hashes that differ in at most d bits agree in one of d + 1 bands of bits (pigeonhole; Manku,
    Jain and Das Sarma, WWW 2007): only hashes that share a band are compared. The bits are spread
    over the bands, since neighbouring ones of a picture's hash go together.

    Args:
        hashes: n distinct values.
        distance: 0 to `MAX_DISTANCE` bits.
        limit: no more pairs than this are returned.

    Returns:
        (m, 2) places i < j, in order, and whether there would have been more.
    """
    if not 0 <= distance <= MAX_DISTANCE:
        raise ValueError(f"distance {distance} is not in 0..{MAX_DISTANCE}")
    found: list[Ints] = []
    count = 0
    for band in range(distance + 1):
        bits = np.arange(band, BITS, distance + 1, dtype=np.uint64)
        mask = np.bitwise_or.reduce(np.left_shift(np.uint64(1), bits))
        for pairs in _within(hashes, mask, distance):
            kept = pairs[~_shared_before(hashes, pairs, band, distance)]
            found.append(kept)
            count += len(kept)
            if count > limit:
                break
        if count > limit:
            break
    pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *found])
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return pairs[:limit], count > limit


def _within(hashes: Hashes, mask: np.uint64, distance: int) -> Any:
    """Pairs that agree under the mask and are near, a block of them at a time."""
    keys = hashes & mask
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    left = np.arange(len(keys) - 1, dtype=np.int64)
    step = 1
    while len(left):
        # Sorted: who does not share its key with the step-th after it shares none with later ones.
        left = left[left + step < len(keys)]
        left = left[keys[left] == keys[left + step]]
        a, b = order[left], order[left + step]
        near = np.bitwise_count(hashes[a] ^ hashes[b]) <= distance
        a, b = a[near], b[near]
        yield np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1)
        step += 1


def _shared_before(hashes: Hashes, pairs: Ints, band: int, distance: int) -> NDArray[np.bool_]:
    """Whether an earlier band has found a pair already."""
    different = hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]
    before = np.zeros(len(pairs), dtype=bool)
    for other in range(band):
        bits = np.arange(other, BITS, distance + 1, dtype=np.uint64)
        mask = np.bitwise_or.reduce(np.left_shift(np.uint64(1), bits))
        before |= (different & mask) == 0
    return before
