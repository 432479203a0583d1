"""The review app under load: page loads of a long queue, and kills while verdicts arrive.

    python benchmarks/review.py [--items 100000] [--loads 1000] [--kills 50]

The server runs on one core. A page load is what a browser does for one sample: the verdict on the
sample before it (every second time) and the page of the next one; the picture is timed apart.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests" / "unit"
sys.path.append(str(TESTS))

import httpx  # noqa: E402
from review_site import make_project  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--loads", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(loads(Path(folder) / "long", given.items, given.loads), indent=2))
        print(json.dumps(kills(Path(folder) / "killed", given.kills), indent=2))


def loads(root: Path, items: int, count: int) -> dict[str, float]:
    make_project(root, items)
    command = [
        sys.executable, "-m", "mmupt.cli", "audit", "serve", str(root), "--port", "0",
        "--no-browser", "--reviewer", "aiko",
    ]  # fmt: skip
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=alone)
    os.sched_setaffinity(server.pid, {max(os.sched_getaffinity(0))})
    assert server.stdout is not None
    link = next(line for line in server.stdout if "token=" in line).split()[-1]
    threading.Thread(target=server.stdout.read, daemon=True).start()
    pages, verdicts, pictures, worked = [], [], [], []
    with httpx.Client(base_url=link.partition("/?")[0], timeout=60) as client:
        client.get(link)
        start = time.perf_counter()
        audit = re.search(r"audit=([^&\"]+)", client.get("/").text)[1]  # type: ignore[index]
        first = time.perf_counter() - start
        for number in range(count):
            start, before = time.perf_counter(), cpu(server.pid)
            reply = client.get(f"/?audit={audit}")
            worked.append(cpu(server.pid) - before)
            pages.append(time.perf_counter() - start)
            assert reply.status_code == 200
            text = reply.text
            form = {
                name: re.search(rf'name="{name}" value="([^"]*)"', text)[1]  # type: ignore[index]
                for name in ("csrf", "audit", "item")
            }
            if number % 20 == 0:
                start = time.perf_counter()
                client.get(f"/image?audit={form['audit']}&item={form['item']}&picture=0")
                pictures.append(time.perf_counter() - start)
            if number % 2:
                form |= {"kind": "accept", "key": str(uuid.uuid4()), "seconds": "2"}
                start = time.perf_counter()
                assert client.post("/verdict", data=form).status_code == 303
                verdicts.append(time.perf_counter() - start)
    status = Path(f"/proc/{server.pid}/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]
    server.terminate()
    server.wait()
    return {
        "items": items, "loads": count, "first_ms": round(1000 * first, 1),
        "page_median_ms": round(1000 * statistics.median(pages), 1),
        "page_cpu_ms": round(1000 * statistics.fmean(worked), 1),
        "page_p99_ms": round(1000 * statistics.quantiles(pages, n=100)[98], 1),
        "verdict_median_ms": round(1000 * statistics.median(verdicts), 1),
        "picture_median_ms": round(1000 * statistics.median(pictures), 1),
        "peak_mb": round(peak / 1024, 1),
    }  # fmt: skip


def cpu(process: int) -> float:
    """Seconds that a process has worked so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kills(root: Path, times: int) -> dict[str, int]:
    project = make_project(root, 20_000)
    worker = [sys.executable, str(TESTS / "review_worker.py"), str(project.root), str(times)]
    told = json.loads(subprocess.run(worker, capture_output=True, text=True, check=True).stdout)
    stored = [one.key for one in project.audits(project.config()).verdicts("round-1")]
    lost = set(told["acknowledged"]) - set(stored)
    return {
        "kills": times, "acknowledged": len(told["acknowledged"]), "lost": len(lost),
        "doubled": len(stored) - len(set(stored)),
        "stored_without_reply": len(set(stored) & set(told["cut"])),
    }  # fmt: skip


if __name__ == "__main__":
    main()
