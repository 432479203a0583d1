"""The shards of a pool, and the plan that all workers on it share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from mmupt.ballots import filters_of, strategy_options
from mmupt.config import ConsensusConfig
from mmupt.data.images import printable
from mmupt.errors import ConfigError, InputError, RunFolderError

PLAN: Final = "pool.json"
_FOOTER: Final = 8
"""A parquet file ends with its footer, the footer's length in 4 bytes, and ``PAR1``."""

ALONE: Final = ("majority", "weighted", "frequency", "harmony", "restrain", "mbr")
"""Strategies that need no more than the answers of one question."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A parquet file of the pool.

    Attributes:
        name: file name without ``.parquet``; the file of its votes has the same.
        rows: questions in it.
        digest: SHA-256 of its size and its footer, which holds the places and statistics of all
            its columns: tells a changed shard without reading all of it.
    """

    name: str
    rows: int
    digest: str


def find_shards(pool: Path) -> tuple[Shard, ...]:
    """The shards of a folder, by name.

    Raises:
        InputError: no folder, no shard in it, or one that is no parquet file.
    """
    if not pool.is_dir():
        raise InputError(f"{printable(pool)}: is no folder; expected a folder of .parquet shards")
    paths = sorted(p for p in pool.glob("*.parquet") if not p.name.startswith("."))
    if not paths:
        raise InputError(f"{printable(pool)}: holds no .parquet file; put the shards right into it")
    return tuple(_shard(path) for path in paths)


def _shard(path: Path) -> Shard:
    try:
        rows = pq.read_metadata(path).num_rows
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(size - _FOOTER)
            length = int.from_bytes(file.read(4), "little")
            file.seek(max(0, size - _FOOTER - length))
            footer = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{printable(path)}: is no whole parquet file ({reason}); write it again, or take it "
            "out of the pool"
        ) from error
    digest = hashlib.sha256(size.to_bytes(8, "little") + footer).hexdigest()
    return Shard(path.stem, rows, digest)


@dataclass(frozen=True)
class Plan:
    """What is voted on and how: the same for every worker, whichever shards it takes.

    Attributes:
        pool: the folder of the shards.
        out: the folder of the votes.
        consensus: how votes are counted and which are kept.
        skip_bad: rows that cannot be used are left out and counted, instead of ending the worker.
        shards: of the pool, by name.
    """

    pool: Path
    out: Path
    consensus: ConsensusConfig
    skip_bad: bool
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """Of the shards and of what their votes depend on; not of where they lie."""
        return hashlib.sha256(json.dumps(self._what(), sort_keys=True).encode()).hexdigest()

    def source(self, shard: Shard) -> Path:
        return self.pool / f"{shard.name}.parquet"

    def votes(self, shard: Shard) -> Path:
        return self.out / "votes" / f"{shard.name}.parquet"

    def lock(self, shard: Shard) -> Path:
        return self.out / "locks" / f"{shard.name}.lock"

    def as_json(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "pool": str(self.pool), **self._what()}

    def _what(self) -> dict[str, Any]:
        return {
            "consensus": {
                "strategy": self.consensus.strategy.model_dump(),
                **{k: v for k, v in strategy_options(self.consensus).items() if k in _COMMON},
                "filters": [
                    _number(value) for value in asdict(filters_of(self.consensus)).values()
                ],
            },
            "skip_bad": self.skip_bad,
            "shards": [asdict(shard) for shard in self.shards],
        }


_COMMON: Final = ("kind", "rtol")


def _number(value: float) -> float | str:
    return value if value < float("inf") else "inf"


def make_plan(pool: Path, out: Path, consensus: ConsensusConfig, *, skip_bad: bool) -> Plan:
    """The plan of a pool, as every worker makes it for itself.

    Raises:
        ConfigError: a strategy or filter that would have to see other questions or the model.
        InputError: see `find_shards`.
    """
    name = consensus.strategy.name
    if name not in ALONE:
        raise ConfigError(
            f"consensus.strategy {name} needs more than the answers of one question; in a pool "
            f"choose from {', '.join(ALONE)}"
        )
    if consensus.easiest_fraction < 1.0:
        raise ConfigError(
            "consensus.easiest_fraction compares the questions of a training step; in a pool set "
            "it to 1 and use min_share"
        )
    return Plan(pool.resolve(), out.resolve(), consensus, skip_bad, find_shards(pool))


def join_plan(plan: Plan) -> None:
    """Write the plan into the folder of the votes, or see that the one there is the same.

    Raises:
        RunFolderError: the folder holds votes on other shards or by other rules.
    """
    from mmupt.runs import write_json

    path = plan.out / PLAN
    try:
        # A worker that starts at the same moment has its file here before it has moved it.
        others = [p for p in plan.out.glob("*") if not p.name.startswith(f".{PLAN}.tmp-")]
        if not path.exists():
            if others:
                raise RunFolderError(
                    f"{plan.out}: is not empty and holds no {PLAN}; choose a new --out"
                )
            write_json(path, plan.as_json())  # workers that start together write the same
    except OSError as error:
        raise RunFolderError(
            f"{plan.out}: cannot be written ({error.strerror}); choose another --out"
        ) from error
    check_plan(plan)


def check_plan(plan: Plan) -> None:
    """See that the plan in the folder of the votes, if there is one, is this.

    Raises:
        RunFolderError: the folder holds votes on other shards or by other rules.
    """
    path = plan.out / PLAN
    if not path.exists():
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: cannot be read ({error}); choose a new --out") from error
    if not isinstance(there, dict):
        raise RunFolderError(f"{path}: is no plan; choose a new --out")
    if there.get("fingerprint") != plan.fingerprint:
        raise RunFolderError(f"{path}: {_difference(there, plan.as_json())}; choose a new --out")


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    for key in ("consensus", "skip_bad"):
        if there.get(key) != here[key]:
            return f"these votes were counted by other settings of {key}"
    old = {shard["name"]: shard for shard in there.get("shards", ())}
    new = {shard["name"]: shard for shard in here["shards"]}
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return f"the pool was changed since: {_names(changed)}"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(f"{printable(name, 60)}.parquet" for name in sorted(names)[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
