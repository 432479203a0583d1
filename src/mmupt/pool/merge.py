"""The votes of all shards as one: checked, counted, and written as one file where wanted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from mmupt.errors import InputError, RefusedError
from mmupt.pool.counts import figures, total
from mmupt.pool.rows import VOTES
from mmupt.pool.shards import Plan
from mmupt.pool.work import done

IDS_AT_ONCE: Final = 100_000_000
"""Ids whose hashes are compared in one pass, 8 bytes each; larger pools take several passes."""


def merge(
    plan: Plan, file: Path | None = None, *, ids_at_once: int = IDS_AT_ONCE
) -> dict[str, Any]:
    """Write ``metrics.json``: figures of the whole pool and a SHA-256 of every file of votes.

    Args:
        plan: all of whose shards are done.
        file: also write all votes into this parquet file, shard by shard in the order of names.
        ids_at_once: bounds the memory of the search for repeated ids.

    Raises:
        RefusedError: a shard is not done.
        InputError: an id is there twice, or `file` cannot be written.
    """
    from mmupt.runs import write_json

    parts = [(shard, done(plan, shard)) for shard in plan.shards]
    missing = [shard.name for shard, counts in parts if counts is None]
    if missing:
        raise RefusedError(
            f"{len(missing)} of {len(parts)} shards have no votes yet, the first is {missing[0]}; "
            "run mmupt pool vote again, or wait for its workers"
        )
    _check_ids(plan, ids_at_once)
    result = {
        **figures(total(counts for _, counts in parts if counts is not None)),
        "fingerprint": plan.fingerprint,
        "shards": [
            {"name": shard.name, "rows": shard.rows, "sha256": _sha256(plan.votes(shard))}
            for shard in plan.shards
        ],
    }
    if file is not None:
        _write_one(plan, file)
    write_json(plan.out / "metrics.json", result)
    return result


def _write_one(plan: Plan, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.tmp-{os.getpid()}")
    try:
        with pq.ParquetWriter(temporary, VOTES) as writer:
            for shard in plan.shards:
                with pq.ParquetFile(plan.votes(shard)) as votes:
                    for batch in votes.iter_batches():
                        writer.write_batch(batch)
        temporary.replace(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _check_ids(plan: Plan, at_once: int) -> None:
    """Refuse a pool in which an id names two questions."""
    passes = max(1, -(-plan.rows // at_once))
    for number in range(passes):
        hashes = np.concatenate(
            [_hashes(ids, passes, number) for ids in _ids(plan)] or [np.empty(0, np.uint64)]
        )
        values, counts = np.unique(hashes, return_counts=True)
        repeated = set(values[counts > 1].tolist())
        if repeated:
            _name_repeated(plan, repeated)


def _name_repeated(plan: Plan, hashes: set[int]) -> None:
    """Raise if ids are equal and not only their hashes."""
    seen: dict[str, str] = {}
    for shard in plan.shards:
        for ids in _ids_of(plan.votes(shard)):
            for name in ids:
                if _hash(name) not in hashes:
                    continue
                if name in seen:
                    raise InputError(
                        f"id {name[:80]!r} is in {seen[name]}.parquet and in {shard.name}.parquet; "
                        "every question needs an id of its own"
                    )
                seen[name] = shard.name


def _ids(plan: Plan) -> Iterator[list[str]]:
    for shard in plan.shards:
        yield from _ids_of(plan.votes(shard))


def _ids_of(path: Path) -> Iterator[list[str]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(1 << 16, columns=["id"]):
            yield batch.column(0).to_pylist()


def _hashes(ids: list[str], passes: int, number: int) -> npt.NDArray[np.uint64]:
    found = np.fromiter((_hash(name) for name in ids), np.uint64, len(ids))
    return found[found % np.uint64(passes) == number] if passes > 1 else found


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
