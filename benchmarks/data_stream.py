"""Memory and speed of reading a data set row by row, at two sizes.

    python benchmarks/data_stream.py [--rows 100000 1000000] [--kinds jsonl parquet tar] [--check]

Each measurement is a process of its own, so that its peak is its own: it reads every question with
its answer and checks the header of every picture, as training does, and keeps nothing. With
``--check`` it is `mmupt data check`, which also remembers every row (in a file). The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

PICTURES = 100
GROUP = 10_000


def made_rows(count: int) -> Iterator[dict[str, Any]]:
    """Ordinary rows: a question, a picture, an answer, two columns."""
    for number in range(count):
        yield {
            "id": f"q{number}", "images": [f"{number % PICTURES}.png"],
            "problem": f"<image>\nHow many parts are on tray {number}, counted from the left?",
            "answer": str(number % 17), "site": f"line {number % 5}", "shift": "night",
        }  # fmt: skip


def write(folder: Path, kind: str, count: int) -> Path:
    """A data set of one kind; its pictures are files, except in a shard."""
    for number in range(PICTURES):
        Image.effect_noise((32, 32), 60).save(folder / f"{number}.png")
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        with path.open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in made_rows(count))
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.Table.from_pylist(list(made_rows(1))).schema
        with pq.ParquetWriter(path, schema) as file:
            batch: list[dict[str, Any]] = []
            for row in made_rows(count):
                batch.append(row)
                if len(batch) == GROUP:
                    file.write_table(pa.Table.from_pylist(batch, schema))
                    batch = []
            if batch:
                file.write_table(pa.Table.from_pylist(batch, schema))
    else:
        pictures = [(folder / f"{number}.png").read_bytes() for number in range(PICTURES)]
        with tarfile.open(path, "w") as tar:
            for number, row in enumerate(made_rows(count)):
                tar.members = []
                del row["images"]
                for name, data in (
                    (f"{number:08}.json", json.dumps(row).encode()),
                    (f"{number:08}.png", pictures[number % PICTURES]),
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, BytesIO(data))
    return path


def read(path: Path, check: bool) -> int:
    """All rows of a data set; what is read is dropped."""
    if check:
        from mmupt.datacheck.check import Wish
        from mmupt.datacheck.check import check as run

        found = run(Wish(path))
        assert found.exit_code == 0
        return found.rows
    from mmupt.data.sources import Rows

    rows, done = Rows(path), 0
    for record in rows:
        sample, row = rows.question(record)
        assert rows.label(sample, row).answer
        done += 1
    return done


def measured(path: Path, check: bool) -> dict[str, Any]:
    """Rows, seconds and peak of reading in a process of its own."""
    command = [sys.executable, __file__, "--read", str(path), *(["--check"] if check else [])]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=["jsonl", "parquet"])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--read", type=Path)
    options = parser.parse_args()
    if options.read is not None:
        start = time.process_time()
        rows = read(options.read, options.check)
        seconds = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"rows": rows, "cpu_s": round(seconds, 1), "peak_rss_mib": round(peak),
                          "rows_per_cpu_s": round(rows / seconds)}))  # fmt: skip
        return
    found = []
    for kind in options.kinds:
        for count in options.rows:
            with tempfile.TemporaryDirectory() as folder:
                figures = {
                    "kind": kind,
                    **measured(write(Path(folder), kind, count), options.check),
                }
            print(figures, file=sys.stderr, flush=True)
            found.append(figures)
    print(json.dumps({"benchmark": "data_stream", "check": options.check, "runs": found}))


if __name__ == "__main__":
    main()
