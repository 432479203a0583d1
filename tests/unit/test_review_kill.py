"""A verdict that was acknowledged is there, whatever happens to the server afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from review_site import make_project


def test_every_acknowledged_verdict_survives_kills(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", 2000)
    worker = Path(__file__).with_name("review_worker.py")
    done = subprocess.run(
        [sys.executable, str(worker), str(project.root), "10"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    stored = [one.key for one in project.audits(project.config()).verdicts("round-1")]
    assert len(told["cut"]) == 10
    assert len(told["acknowledged"]) > 20
    assert len(set(stored)) == len(stored)
    assert set(told["acknowledged"]) <= set(stored)
    assert set(stored) <= {*told["acknowledged"], *told["cut"]}
