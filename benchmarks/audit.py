"""Do audits cover at their nominal rate, and how many verdicts does each design need?

    python benchmarks/audit.py                        # the full run, 1,000 audits each
    python benchmarks/audit.py --audits 50 --repeats 20
    python benchmarks/audit.py --make DEMO DATA       # benchmarks/data/demo_labels.csv anew

The frames are the kept pseudo-labels of the embedded task's demo (`demo`), and the same votes with
labels that are right 97 times in 100 (`sharp`). `--make` reads what `mmupt demo --out DEMO` and
`mmupt demo-data DATA` wrote. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmupt.audit.design import Plan, Unit, make_plan
from mmupt.audit.estimate import Precision, decision, precision
from mmupt.config_supervision import AuditConfig
from mmupt.stats import clopper_pearson

LABELS = Path(__file__).parent / "data" / "demo_labels.csv"
DESIGNS = ("random", "stratified", "risk-first")
Truth = dict[str, bool]
Frame = tuple[list[Unit], Truth]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audits", type=int, default=1000, help="for the coverage")
    parser.add_argument("--repeats", type=int, default=200, help="for widths and decisions")
    parser.add_argument("--verdicts", type=int, default=200)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--make", type=Path, nargs=2, metavar=("DEMO", "DATA"))
    args = parser.parse_args()
    if args.make:
        make(*args.make)
        return
    frames = {"demo": demo_frame(), "sharp": sharp_frame()}
    result: dict[str, Any] = {"benchmark": "audit", "audits": args.audits}
    for part in args.parts:
        started = time.perf_counter()
        result[part] = PARTS[part](frames, args)
        print(f"({part}: {time.perf_counter() - started:.0f} s)\n", flush=True)
    print(json.dumps(result))


# --- frames -----------------------------------------------------------------------------------


def demo_frame() -> Frame:
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ids = [f"u{number:05d}" for number in range(len(rows))]
    units = [
        Unit(name, float(row["share"]), float(row["margin"]), float(row["agreement"]))
        for name, row in zip(ids, rows, strict=True)
    ]
    return units, {name: row["right"] == "1" for name, row in zip(ids, rows, strict=True)}


def sharp_frame() -> Frame:
    """The demo's votes with a fifth of its errors, so that the precision is about 0.97."""
    units, truth = demo_frame()
    keep = np.random.default_rng(0).random(len(units)) < 0.2
    return units, {
        unit.id: truth[unit.id] or not kept for unit, kept in zip(units, keep, strict=True)
    }


def share_of(truth: Truth) -> float:
    return sum(truth.values()) / len(truth)


def audits(
    frame: Frame, args: argparse.Namespace, count: int, **settings: Any
) -> Iterator[tuple[Plan, Truth]]:
    units, truth = frame
    threshold = settings.pop("threshold", 0.7)
    config = AuditConfig.model_validate({"max_verdicts": args.verdicts, **settings})
    for seed in range(count):
        plan = make_plan(units, config, seed=seed, threshold=threshold)
        yield plan, {one.id: truth[one.id] for one in plan.drawn}


def judged(
    frame: Frame, args: argparse.Namespace, count: int, **settings: Any
) -> Iterator[Precision]:
    """Audits that are judged to their end. Fixed samples with the same counts are computed once."""
    known: dict[Any, Precision] = {}
    for plan, outcomes in audits(frame, args, count, **settings):
        key: Any = plan.seed
        if plan.size == "fixed":
            right = dict.fromkeys(plan.strata, 0)
            for one in plan.drawn:
                right[one.stratum] += outcomes[one.id]
            key = tuple(right.values())
        if key not in known:
            known[key] = precision(plan, outcomes)
        yield known[key]


# --- what is measured -------------------------------------------------------------------------


def coverage(frames: dict[str, Frame], args: argparse.Namespace) -> dict[str, Any]:
    """Misses of a nominal 95%; sequences are looked at after each verdict, as ends only tighten."""
    print(f"{'frame':6} {'design':11} {'size':11} {'interval':15} misses  mean error (SE)  width")
    found = {}
    for name, frame in frames.items():
        truth = share_of(frame[1])
        for design in DESIGNS:
            for size in ("fixed", "sequential"):
                missed, errors, wide, kind = 0, [], [], ""
                for p in judged(frame, args, args.audits, design=design, size=size):
                    missed += not p.low - 1e-9 <= truth <= p.high + 1e-9
                    errors.append(p.estimate - truth)
                    wide.append(p.high - p.low)
                    kind = p.method
                error = float(np.mean(errors))
                spread = float(np.std(errors) / np.sqrt(len(errors)))
                width = float(np.mean(wide))
                print(
                    f"{name:6} {design:11} {size:11} {kind:15} {missed / args.audits:6.1%}  "
                    f"{error:+.4f} ({spread:.4f})  {width:.4f}",
                    flush=True,
                )
                found[f"{name}/{design}/{size}"] = {
                    "missed": missed / args.audits, "error": error, "se": spread, "width": width,
                }  # fmt: skip
    return found


def peeking(frames: dict[str, Frame], args: argparse.Namespace) -> dict[str, float]:
    """What Clopper and Pearson's interval would do if it were looked at every five verdicts."""
    found = {}
    ends = {}
    for name, frame in frames.items():
        truth, missed = share_of(frame[1]), 0
        for plan, outcomes in audits(frame, args, args.audits, design="random"):
            right = np.cumsum([outcomes[one.id] for one in plan.drawn])
            for n in range(10, len(right) + 1, 5):
                key = (int(right[n - 1]), n)
                if key not in ends:
                    ends[key] = clopper_pearson(*key)
                if not ends[key].low <= truth <= ends[key].high:
                    missed += 1
                    break
        found[name] = missed / args.audits
        print(f"{name:6} Clopper-Pearson looked at every five verdicts misses {found[name]:.1%}")
    return found


def widths(frames: dict[str, Frame], args: argparse.Namespace) -> dict[str, Any]:
    """Verdicts until the interval is as narrow, on average, as that of 200 by `random`."""
    found: dict[str, Any] = {}
    steps = np.array([100, 120, 140, 160, 200])
    for name, frame in frames.items():
        for size in ("sequential", "fixed"):
            curves = {}
            for design in ("random", "risk-first"):
                curves[design] = np.array([
                    np.mean([
                        p.high - p.low
                        for p in judged(
                            frame, args, args.repeats, design=design, size=size, threshold=None,
                            max_verdicts=int(n), half_width=0.01,
                        )
                    ])
                    for n in (steps if design == "risk-first" else steps[-1:])
                ])  # fmt: skip
            target = float(curves["random"][-1])
            needed = float(np.interp(-target, -curves["risk-first"], steps))
            print(
                f"{name:6} {size:11} width {target:.4f}: random 200, risk-first {needed:.0f} "
                f"({needed / 200 - 1:+.0%}); at 200 risk-first {curves['risk-first'][-1]:.4f}",
                flush=True,
            )
            found[f"{name}/{size}"] = {"width": target, "needed": needed}
    return found


def decisions(frames: dict[str, Frame], args: argparse.Namespace) -> dict[str, Any]:
    """Verdicts until "precision >= threshold" is decided, at most 600."""
    found = {}
    frame = frames["demo"]
    for threshold in (0.7, 0.75, 0.8):
        means = {}
        for design in DESIGNS:
            needed = [
                first_decided(plan, outcomes, threshold)
                for plan, outcomes in audits(
                    frame, args, args.repeats, design=design, max_verdicts=600,
                    threshold=threshold,
                )
            ]  # fmt: skip
            means[design] = float(np.mean(needed))
            print(
                f"threshold {threshold}: {design:11} {np.mean(needed):6.1f} verdicts on average, "
                f"half of the audits {np.median(needed):.0f}, nine tenths "
                f"{np.quantile(needed, 0.9):.0f}",
                flush=True,
            )
            found[f"{threshold}/{design}"] = {
                "mean": means[design], "median": float(np.median(needed)),
            }  # fmt: skip
        print(f"    risk-first {means['risk-first'] / means['random'] - 1:+.0%}")
    return found


def first_decided(plan: Plan, outcomes: Truth, threshold: float) -> int:
    """By halving, as a decision once made is kept."""
    low, high = 0, len(plan.drawn)
    while high - low > 1:
        n = (low + high) // 2
        seen = {one.id: outcomes[one.id] for one in plan.drawn[:n]}
        if decision(precision(plan, seen), threshold) == "insufficient":
            low = n
        else:
            high = n
    return high


# --- the frame of the demo --------------------------------------------------------------------


def make(demo: Path, data: Path) -> None:
    """The last kept pseudo-label of each sample of the demo's round, against the true answers."""
    import pyarrow.parquet as pq

    truth = {}
    for line in (data / "unlabelled-truth.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        truth[row["id"]] = row["answer"]
    last: dict[str, Any] = {}
    for path in sorted((demo / "rollouts").glob("round-1-*.parquet")):
        for row in pq.read_table(path).to_pylist():
            last[row["sample_id"]] = row
    LABELS.parent.mkdir(exist_ok=True)
    with LABELS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["share", "margin", "agreement", "right"])
        for name in sorted(last):
            row = last[name]
            if not row["kept"]:
                continue
            label, votes = row["pseudo_label"], row["teacher_answers"]
            own = votes.count(label)
            most = max((votes.count(v) for v in set(votes) - {label, None}), default=0)
            agreement = row["answers"].count(label) / len(row["answers"])
            right = int(label == truth[name])
            writer.writerow([row["share"], (own - most) / len(votes), agreement, right])
    print(f"wrote {LABELS}")


PARTS = {
    "coverage": coverage, "peeking": peeking, "widths": widths, "decisions": decisions,
}  # fmt: skip

if __name__ == "__main__":
    main()
