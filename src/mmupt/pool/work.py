"""A worker: takes shards that nobody has, votes on them, until none is left."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from mmupt.data.images import printable
from mmupt.errors import InputError, RunFolderError
from mmupt.pool.claim import claimed
from mmupt.pool.counts import MOST_REASONS, Counts, count, total
from mmupt.pool.rows import VOTES, voted, wanted
from mmupt.pool.shards import Plan, Shard

BATCH: Final = 2048
"""Rows in memory at a time."""

Progress = Callable[[Shard, int], None]
"""Told how many rows of a shard are voted on; its number of rows once the shard is done."""


def own_shards(plan: Plan, part: tuple[int, int]) -> Sequence[Shard]:
    """The shards of part k of n, k counted from 1: every n-th."""
    number, parts = part
    return plan.shards[number - 1 :: parts]


def work(plan: Plan, part: tuple[int, int] = (1, 1), progress: Progress | None = None) -> int:
    """Vote on every shard of a part that no other worker does; wait for those that others hold.

    A shard whose worker was killed is taken by whoever is still there. So when this returns, every
    shard of the part is done.

    Returns:
        Shards that this worker did.

    Raises:
        InputError: a shard that cannot be used.
        RunFolderError: votes that cannot be written, or that are of another shard.
    """
    mine, did = own_shards(plan, part), 0
    for wait in (False, True):
        for shard in mine:
            if done(plan, shard):
                continue
            with claimed(plan.lock(shard), wait=wait, needed=part[1] == 1) as held:
                if held and not done(plan, shard):
                    vote_shard(plan, shard, progress)
                    did += 1
    return did


def done(plan: Plan, shard: Shard) -> Counts | None:
    """What the votes of a shard add up to, or None while there are none.

    Raises:
        RunFolderError: the file of its votes is broken, or of another shard.
    """
    path = plan.votes(shard)
    if not path.exists():
        return None
    try:
        about = json.loads((pq.read_metadata(path).metadata or {}).get(b"mmupt", b"null"))
        matches = about["digest"] == shard.digest
        counts = Counts(**about["counts"])
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise RunFolderError(
            f"{path}: is no file of votes ({str(error).partition(chr(10))[0]}); remove it to have "
            "the shard voted on again"
        ) from error
    if not matches:
        raise RunFolderError(
            f"{path}: holds votes on another shard of this name; choose a new --out"
        )
    return counts


def vote_shard(plan: Plan, shard: Shard, progress: Progress | None = None) -> Counts:
    """Vote on a shard and write its votes, whole or not at all.

    Raises:
        InputError: a shard that cannot be used.
        RunFolderError: the votes cannot be written.
    """
    target = plan.votes(shard)
    # The machine's name as well: where locks do not work, two may have the same process number.
    temporary = target.with_name(f".{target.name}.tmp-{socket.gethostname()}-{os.getpid()}")
    sums: list[Counts] = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            with pq.ParquetWriter(file, VOTES) as writer:
                for rows, counts in _voted_batches(plan, shard):
                    writer.write_table(pa.Table.from_pylist(rows, VOTES))
                    sums.append(counts)
                    if progress is not None:
                        progress(shard, sum(part.rows + part.left_out for part in sums))
                whole = total(sums)
                about = {"digest": shard.digest, "counts": asdict(whole)}
                writer.add_key_value_metadata({"mmupt": json.dumps(about)})
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise RunFolderError(
            f"{target}: cannot be written ({reason}); what is done is kept: make room and "
            "give the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    if progress is not None:
        progress(shard, shard.rows)
    return whole


def _voted_batches(plan: Plan, shard: Shard) -> Iterator[tuple[list[dict[str, Any]], Counts]]:
    path = plan.source(shard)
    place = printable(path)
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = wanted(file.schema_arrow.names, plan.consensus.strategy.name)
            for batch in file.iter_batches(BATCH, columns=names):
                rows, reasons = [], []
                for row in batch.to_pylist():
                    number += 1
                    try:
                        rows.append(voted(row, plan.consensus))
                    except InputError as error:
                        reason = f"{place}: row {number}: {error}"
                        if not plan.skip_bad:
                            raise InputError(
                                f"{reason}; mend it, or leave such rows out with --skip-bad"
                            ) from error
                        reasons.append(reason)
                counts = count(rows)
                counts.left_out, counts.reasons = len(reasons), reasons[:MOST_REASONS]
                yield rows, counts
    except InputError as error:
        raise error if str(error).startswith(place) else InputError(f"{place}: {error}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{place}: cannot be read behind row {number} ({reason})") from error


def remove_left_behind(plan: Plan) -> None:
    """Remove what killed workers had begun to write; nobody reads it."""
    for path in (plan.out / "votes").glob(".*.parquet.tmp-*"):
        name = path.name[1:].rpartition(".parquet.tmp-")[0]
        with suppress(RunFolderError), claimed(plan.out / "locks" / f"{name}.lock") as held:
            if held:
                path.unlink(missing_ok=True)
