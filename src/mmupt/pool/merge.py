"""The votes of all shards as one: checked, counted, and written as one file where wanted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mmupt.errors import ConfigError, InputError, RefusedError, RunFolderError
from mmupt.pool.counts import figures, total
from mmupt.pool.rows import VOTES
from mmupt.pool.shards import Plan
from mmupt.pool.work import done, remove_left_behind

IDS_AT_ONCE: Final = 100_000_000
"""Ids whose hashes are compared in one pass, 8 bytes each; larger pools take several passes."""


Told = Callable[[str, int, int], None]
"""Told what is being done, and how many of how many rows of it."""


def merge(
    plan: Plan,
    file: Path | None = None,
    *,
    ids_at_once: int = IDS_AT_ONCE,
    told: Told = lambda _what, _done, _of: None,
) -> dict[str, Any]:
    """Write ``metrics.json``: figures of the whole pool and a SHA-256 of every file of votes.

    Args:
        plan: all of whose shards are done.
        file: also write all votes into this parquet file, shard by shard in the order of names.
        ids_at_once: bounds the memory of the search for repeated ids.
        told: progress.

    Raises:
        ConfigError: `file` would lie among the shards or the votes.
        RefusedError: a shard is not done.
        InputError: an id is there twice.
        RunFolderError: a file of votes is broken, or what is made cannot be written.
    """
    from mmupt.runs import write_json

    if file is not None:
        _check_place(plan, file)
    parts = [(shard, done(plan, shard)) for shard in plan.shards]
    missing = [shard.name for shard, counts in parts if counts is None]
    if missing:
        raise RefusedError(
            f"{len(missing)} of {len(parts)} shards have no votes yet, the first is {missing[0]}; "
            "run mmupt pool vote again, or wait for its workers"
        )
    _check_ids(plan, ids_at_once, told)
    remove_left_behind(plan)
    result = {
        **figures(total(counts for _, counts in parts if counts is not None)),
        "fingerprint": plan.fingerprint,
        "shards": [
            {"name": shard.name, "rows": shard.rows, "sha256": _sha256(plan.votes(shard))}
            for shard in plan.shards
        ],
    }
    if file is not None:
        _write_one(plan, file, told)
    try:
        write_json(plan.out / "metrics.json", result)
    except OSError as error:
        raise RunFolderError(f"{plan.out}: cannot be written ({error.strerror})") from error
    return result


def _check_place(plan: Plan, file: Path) -> None:
    if file.resolve().parent in (plan.pool, plan.out / "votes"):
        raise ConfigError(
            f"--file {file}: lies among the shards or their votes and would be taken for one of "
            "them; choose another folder"
        )
    if file.is_dir():
        raise ConfigError(f"--file {file}: is a folder; expected the name of a file")


def _write_one(plan: Plan, file: Path, told: Told) -> None:
    temporary = file.with_name(f".{file.name}.tmp-{os.getpid()}")
    written = 0
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(temporary, VOTES) as writer:
            for shard in plan.shards:
                with pq.ParquetFile(plan.votes(shard)) as votes:
                    for batch in votes.iter_batches():
                        writer.write_batch(batch)
                        written += len(batch)
                        told(f"writing {file.name}", written, plan.rows)
        temporary.replace(file)
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise RunFolderError(f"{file}: cannot be written ({reason})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _check_ids(plan: Plan, at_once: int, told: Told) -> None:
    """Refuse a pool in which an id names two questions."""
    passes = max(1, -(-plan.rows // at_once))
    for number in range(passes):
        found, seen = [np.empty(0, np.uint64)], number * plan.rows
        for ids in _ids(plan):
            found.append(_hashes(ids, passes, number))
            seen += len(ids)
            told("comparing ids", seen, passes * plan.rows)
        hashes = np.concatenate(found)
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
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1 << 16, columns=["id"]):
                yield batch.column(0).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise RunFolderError(
            f"{path}: cannot be read ({str(error).partition(chr(10))[0]}); remove it to have the "
            "shard voted on again"
        ) from error


def _hashes(ids: list[str], passes: int, number: int) -> npt.NDArray[np.uint64]:
    found = np.fromiter((_hash(name) for name in ids), np.uint64, len(ids))
    return found[found % np.uint64(passes) == number] if passes > 1 else found


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
