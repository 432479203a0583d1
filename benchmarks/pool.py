"""Votes over a pool of shards: two workers against one, and one of two killed midway.

    python benchmarks/pool.py [--rows 200000] [--shards 40] [--out DIR]

Each worker is a process of its own, started as on two machines: `mmupt pool vote POOL --out DIR`.
Prints one JSON line last: seconds, rows a second, and whether all results are the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

GROUP = 8


def make_pool(pool: Path, rows: int, shards: int) -> None:
    """Questions with `GROUP` answers each, 10,000 different numbers in several writings."""
    draw = random.Random(0)
    pool.mkdir(parents=True)
    for shard in range(shards):
        count = rows // shards + (shard < rows % shards)
        answers = [_group(draw) for _ in range(count)]
        ids = [f"{shard}-{row}" for row in range(count)]
        pq.write_table(
            pa.table({"id": ids, "answers": answers}), pool / f"shard-{shard:04d}.parquet"
        )


def _group(draw: random.Random) -> list[str | None]:
    value, known = draw.randrange(1, 10_000), draw.random()

    def one() -> str | None:
        if draw.random() < 0.03:
            return None
        number = value if draw.random() < known else value + draw.randrange(1, 9)
        return draw.choice(
            [str(number), f"{number} cm", f"{number / 100:.2f} m", f"\\text{{{number}}}"]
        )

    return [one() for _ in range(GROUP)]


def start(pool: Path, out: Path) -> subprocess.Popen[bytes]:
    code = "import sys; from mmupt.cli import main; sys.argv[0] = 'mmupt'; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "pool", "vote", str(pool), "--out", str(out), "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )


def run(pool: Path, out: Path, workers: int) -> float:
    began = time.perf_counter()
    for worker in [start(pool, out) for _ in range(workers)]:
        assert worker.wait() == 0
    return time.perf_counter() - began


def run_and_kill(pool: Path, out: Path, after: int) -> int:
    """Two workers, the first killed once `after` shards are done. Returns shards done by then."""
    victim, other = start(pool, out), start(pool, out)
    while len(list(out.glob("votes/shard-*.parquet"))) < after:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    done = len(list(out.glob("votes/shard-*.parquet")))
    assert other.wait() == 0
    return done


def digest(out: Path) -> str:
    names = sorted(out.glob("votes/shard-*.parquet"))
    whole = hashlib.sha256()
    for path in [*names, out / "metrics.json"]:
        whole.update(path.name.encode() + path.read_bytes())
    return whole.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    root = given.out or Path(tempfile.mkdtemp())
    pool = root / "pool"
    make_pool(pool, given.rows, given.shards)
    one, two = run(pool, root / "one", 1), run(pool, root / "two", 2)
    at_kill = run_and_kill(pool, root / "killed", given.shards // 3)
    merged = json.loads((root / "killed" / "metrics.json").read_text())
    print(
        json.dumps(
            {
                "bench": "pool",
                "rows": given.rows,
                "group": GROUP,
                "shards": given.shards,
                "one_worker_s": round(one, 2),
                "two_workers_s": round(two, 2),
                "speedup": round(one / two, 2),
                "rows_per_s": round(given.rows / one),
                "shards_done_at_kill": at_kill,
                "rows_after_kill": merged["rows"],
                "same_bytes": len({digest(root / n) for n in ("one", "two", "killed")}) == 1,
                "bytes_per_row": round(
                    sum(p.stat().st_size for p in (root / "one" / "votes").glob("*")) / given.rows
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
