"""A project walked through three rounds, as a company would, with every verb of the command line.

    python benchmarks/walk.py --out DIR [--kill] [--small]

Pilot and SFT; round 1 is audited, passes and is promoted; round 2 is poisoned (its pictures are
swapped among its samples) and has to be refused; a wrong promotion is rolled back; round 3 goes on
from the champion with new material. Verdicts come from the true answers, through files, as from a
reviewer elsewhere. With `--kill` the run is ended with SIGKILL at every stage boundary and inside
two stages, and goes on each time. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from mmupt.consensus.equivalence import partition
from mmupt.data.handwriting import panels, write_pictures, write_rows

SECONDS_A_VERDICT = 6.0
"""What a reviewer is taken to need; booked as review time."""

INSIDE = {"sft": ("sft_step", 12), "round-1/train": ("grpo_step", 7)}
"""Stages that are also killed between their boundaries, after so many updates."""


def mmupt(*words: str, check: bool = True) -> dict[str, Any]:
    """A verb with `--json`; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "mmupt.cli", *words, "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if check and done.returncode:
        raise SystemExit(f"mmupt {' '.join(words)}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout or "{}"))


def write_data(folder: Path, small: bool) -> dict[str, str]:
    """Material of three rounds. Returns the true answers of the unlabelled rows by id."""
    subprocess.run([sys.executable, "-m", "mmupt.cli", "demo-data", str(folder)], check=True)
    truth = [json.loads(x) for x in (folder / "unlabelled-truth.jsonl").open(encoding="utf-8")]
    (folder / "unlabelled-truth.jsonl").unlink()  # nobody but the reviewer has it
    answers = {row["id"]: row["answer"] for row in truth}
    count = 300 if small else 1500
    for name, seed in (("second", 21), ("third", 22)):
        drawn = panels("unlabelled", count, seed)
        write_pictures(folder, name, drawn)
        write_rows(folder / f"{name}.jsonl", name, drawn, answers=False)
        answers |= {f"{name}-{i:05d}": panel.answer for i, panel in enumerate(drawn)}
    poison(folder / "second.jsonl")
    return answers


def poison(path: Path) -> None:
    """Every sample gets the picture of another one, as after a broken export."""
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    pictures = [row["images"] for row in rows]
    random.Random(0).shuffle(pictures)
    for row, images in zip(rows, pictures, strict=True):
        row["images"] = images
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_config(folder: Path, out: Path, small: bool) -> Path:
    tree = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    tree |= {"out": str(out), "num_threads": 1}
    if small:
        tree["sft"]["num_train_epochs"] = 10
        tree["train"] |= {"max_steps": 10}
        tree["eval"] |= {"num_samples": 4, "steps": 0}
        tree["guard"] = {"probe_size": 96}
        tree["pilot"] = {"rows": 60}
        tree["save_steps"] = 5
    path = folder / "walk.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def run(config: Path, project: Path, kills: list[str] | None) -> dict[str, Any]:
    """`mmupt run` to where it halts, killed on the way wherever it has not been yet."""
    while True:
        words = [sys.executable, "-m", "mmupt.cli", "run", str(config), "--json"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if kills is not None and _killed(process, project, kills):
            process.communicate()
            continue
        out, err = process.communicate()
        if process.returncode:
            raise SystemExit(f"mmupt run: {err[-3000:]}")
        return dict(json.loads(out)["project"])


def _killed(process: subprocess.Popen[str], project: Path, kills: list[str]) -> bool:
    """Watch the events; SIGKILL at the first boundary or inner point that is new."""
    seen = len(_events(project))
    while process.poll() is None:
        found = _events(project)
        for event in found[seen:]:
            place = ""
            if event["type"] == "step_finished":
                place = f"after {event['step']}"
            for step, (kind, number) in INSIDE.items():
                if event["type"] == kind and event["step"] == number:
                    place = f"inside {step}"
            if place and place not in kills:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                kills.append(place)
                return True
        seen = len(found)
        time.sleep(0.005)
    return False


def _events(project: Path) -> list[dict[str, Any]]:
    path = project / "events.jsonl"
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def review(project: Path, answers: dict[str, str], scratch: Path) -> int:
    """Judge what the gate still needs, ten at a time, through files."""
    judged = 0
    tasks = scratch / "tasks.jsonl"
    mmupt("audit", "export", str(project), "--out", str(tasks))
    waiting = [json.loads(line)["data"] for line in tasks.open(encoding="utf-8")]
    done = scratch / "verdicts.jsonl"
    while waiting:
        rows = []
        for task in waiting[:10]:
            truth = answers[task["sample_id"]]
            label, right = partition([task["pseudo_label"], truth])
            row = {"unit": task["unit"], "reviewer": "walk", "seconds": SECONDS_A_VERDICT}
            row |= (
                {"verdict": "accept"} if label == right else {"verdict": "correct", "answer": truth}
            )
            rows.append(json.dumps(row) + "\n")
        waiting = waiting[10:]
        done.write_text("".join(rows), encoding="utf-8")
        stands = mmupt("audit", "import", str(project), str(done))
        judged += len(rows)
        if not stands["still_needed"]:
            break
    return judged


def until_decided(
    config: Path, project: Path, answers: dict[str, str], kills: list[str] | None
) -> tuple[dict[str, Any], int]:
    """Run and review in turn until the project waits for nobody."""
    judged = 0
    while True:
        stands = run(config, project, kills)
        if stands["state"] != "awaiting-audit":
            return stands, judged
        judged += review(project, answers, project.parent)


def walk(out: Path, small: bool, kill: bool) -> dict[str, Any]:
    data, project = out / "data", out / "project"
    answers = write_data(data, small)
    config = write_config(data, project, small)
    kills: list[str] | None = [] if kill else None
    told: dict[str, Any] = {"rounds": {}}

    def round_(name: str) -> dict[str, Any]:
        stands, judged = until_decided(config, project, answers, kills)
        versions = {one["name"]: one for one in mmupt("models", str(project))["versions"]}
        one = {
            "gate": versions[name]["gate"], "verdicts": judged, "state": stands["state"],
            "champion": stands["aliases"]["champion"], "greedy": versions[name]["greedy"],
            "parent": versions[name]["parent"],
        }  # fmt: skip
        told["rounds"][name] = one
        print(f"{name}: {one}\n  {stands['gates'][name]['explained']['en']}", flush=True)
        return one

    first = round_("round-1")
    mmupt("round", "add", str(project), "--data", str(data / "second.jsonl"))
    second = round_("round-2")
    refused = subprocess.run(
        [sys.executable, "-m", "mmupt.cli", "promote", str(project), "round-2"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(refused.stderr.strip(), flush=True)
    champion = first["champion"]
    mmupt("promote", str(project), "sft", "--reason", "a mistake")
    back = mmupt("rollback", str(project), "--reason", "the mistake is undone")
    print(back["text"], flush=True)
    mmupt("round", "add", str(project), "--data", str(data / "third.jsonl"))
    round_("round-3")
    finished = Counter(e["step"] for e in _events(project) if e["type"] == "step_finished")
    verified = mmupt("verify", str(project))
    roi = mmupt("roi", str(project))
    told |= {
        "refused_by_promote": refused.returncode == 2,
        "restored": back["champion"] == champion and second["champion"] == champion,
        "repeated": sorted(step for step, n in finished.items() if n > 1 and "gate" not in step),
        "gates_renewed": {step: n for step, n in finished.items() if n > 1 and "gate" in step},
        "kills": len(kills or ()),
        "killed": kills or [],
        "intact": verified["intact"],
        "roi": {one["key"]: one["value"] for one in roi["figures"] if not one.get("about")},
    }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    started = time.perf_counter()
    told = walk(options.out.resolve(), options.small, options.kill)
    print(json.dumps({**told, "seconds": round(time.perf_counter() - started, 1)}))


if __name__ == "__main__":
    main()
