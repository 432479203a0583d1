"""Does the guard stop what collapses, in time, and leave what is healthy alone?

    python benchmarks/guard.py --seeds 0 1 2 3 4 5 6 7 8 9 --out runs/guard

For each seed, from one SFT checkpoint of the embedded task:

    published   the published recipe (online votes on one view) at a constant learning rate that
                collapses it, watched by the guard with its default settings
    unwatched   the same without the guard, to show that it does collapse
    preset      the shipped recipe, watched

Held-out accuracy is greedy accuracy on panels of other writers, measured after every update of the
watched published run; the guard never sees it. Parts that are
finished are not repeated, so that several processes may share the seeds of one --out. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch

from mmupt.asking.maker import PromptMaker
from mmupt.config import Config, EvalConfig
from mmupt.data.handwriting import panels, write_pictures, write_rows
from mmupt.data.sources import read_labelled, read_samples
from mmupt.demo import demo_config, write_demo_data
from mmupt.evaluate.accuracy import evaluate
from mmupt.events import EventLog, read_events
from mmupt.pipeline.staged import published_recipe
from mmupt.policy.model import Policy, load_policy, save_policy
from mmupt.runs import write_json
from mmupt.train.grpo import train_label_free
from mmupt.train.sft import run_sft
from mmupt.train.stage import Run
from mmupt.types import LabelledSample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--out", type=Path, default=Path("runs/guard"))
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--steps", type=int, default=60, help="updates of the published recipe")
    parser.add_argument("--rows", type=int, default=2000, help="held-out rows")
    parser.add_argument("--parts", nargs="+", default=["published", "unwatched", "preset"])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for seed in args.seeds:
        seed_runs(seed, args)
    results = [seed_runs(seed, args) for seed in args.seeds]
    for result in results:
        print(line(result))
    print(json.dumps(summary(results, args)))


def seed_runs(seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The figures of one seed; parts that are there are read."""
    folder = args.out / f"seed-{seed}"
    data = folder / "data"
    if not (data / "config.yaml").exists():
        write_demo_data(data, seed)
    config = demo_config(data, seed)
    rows = held_out(args.out, args.rows)
    if not (folder / "sft").exists():
        train_sft(config, folder)
    slow = {"learning_rate": args.learning_rate, "lr_scheduler_type": "constant"}
    base = config.model_copy(
        update={"train": config.train.model_copy(update={**slow, "max_steps": args.steps})}
    )
    unwatched = published_recipe(base)
    watched = unwatched.model_copy(update={"guard": config.guard})
    arms = {"published": watched, "unwatched": unwatched, "preset": config}
    result: dict[str, Any] = {"seed": seed}
    for name in args.parts:
        path = folder / f"{name}.json"
        if not path.exists():
            write_json(path, one_run(arms[name], name, folder, rows))
        result[name] = json.loads(path.read_text(encoding="utf-8"))
    return result


def held_out(out: Path, count: int) -> list[LabelledSample]:
    """Panels of writers that no training scan comes from; another draw than the demo's test."""
    path = out / f"held-out-{count}" / "rows.jsonl"
    if not path.exists():
        drawn = panels("test", count, 1)
        partial = path.parent.with_name(f".{path.parent.name}.tmp")
        shutil.rmtree(partial, ignore_errors=True)
        write_pictures(partial, "held-out", drawn)
        write_rows(partial / path.name, "held-out", drawn, answers=True)
        partial.replace(path.parent)
    return list(read_labelled(path).rows)


def train_sft(config: Config, folder: Path) -> None:
    assert config.model.path is not None
    assert config.data.labelled is not None
    assert config.sft is not None
    policy = load_policy(config.model.path, device="cpu")
    run_sft(
        policy, read_labelled(config.data.labelled).rows, config.sft, maker(config),
        EventLog(folder / "sft-events.jsonl"), state_dir=folder / "state", save_steps=10**9,
        seed=config.seed,
    )  # fmt: skip
    save_policy(policy, folder / "sft", "SFT of the guard benchmark")


def one_run(config: Config, name: str, folder: Path, rows: list[LabelledSample]) -> dict[str, Any]:
    """Train one arm from the SFT checkpoint; greedy accuracy at the start, on the way, at the end.

    The way is measured after every update of the published arm, elsewhere every 20.
    """
    assert config.data.unlabelled is not None
    started = time.perf_counter()
    events = folder / f"{name}-events.jsonl"
    events.unlink(missing_ok=True)
    policy = load_policy(folder / "sft", device="cpu")
    every = 1 if name == "published" else 20
    accuracy = {0: greedy(policy, rows, config)}

    def after_step(step: int) -> None:
        if step % every == 0:
            accuracy[step] = greedy(policy, rows, config)
            print(f"seed {config.seed} {name} {step}: {accuracy[step]:.3f}", file=sys.stderr)

    run = Run(
        config=config.model_copy(update={"save_steps": 10**9}), prompts=maker(config),
        log=EventLog(events), stage=name, key=1, state_dir=folder / "state",
        rollouts_dir=folder / f"{name}-rollouts",
    )  # fmt: skip
    outcome = train_label_free(
        policy, read_samples(config.data.unlabelled).rows, run, after_step=after_step
    )
    final = greedy(policy, rows, config)
    found = [e for e in read_events(events) if e["type"] == "guard_finding"]
    return {
        "start": accuracy[0],
        "path": accuracy,
        "last": accuracy.get(outcome.steps, final),
        "final": final,
        "steps": outcome.steps,
        "stopped_by": list(outcome.stopped_by),
        "best_step": outcome.best_step,
        "findings": [[e["step"], e["rule"], e["evidence"]] for e in found],
        "surplus": next(
            (e["surplus"] for e in read_events(events) if e["type"] == "guard_started"), None
        ),
        "seconds": time.perf_counter() - started,
    }


def greedy(policy: Policy, rows: list[LabelledSample], config: Config) -> float:
    evaluation = EvalConfig(max_completion_length=16, batch_size=250)
    scores = evaluate(policy, rows, evaluation, maker(config), seed=config.seed, sampled=False)
    return float(scores.greedy.mean())


def maker(config: Config) -> PromptMaker:
    return PromptMaker(config.views, max_pixels=config.model.max_pixels, seed=config.seed)


def lowest(run: dict[str, Any]) -> float:
    """Deepest fall below the start in points, up to and including the last update."""
    return min(100 * (value - run["start"]) for value in run["path"].values())


def line(result: dict[str, Any]) -> str:
    parts = [f"seed {result['seed']}"]
    for name in ("published", "unwatched", "preset"):
        if name in result:
            run = result[name]
            fall = f", deepest {lowest(run):+.1f}" if name == "published" else ""
            parts.append(
                f"{name}: {run['steps']} steps, stopped by {', '.join(run['stopped_by']) or '-'}"
                f"{fall}, last {100 * (run['last'] - run['start']):+.1f}, "
                f"ends {100 * (run['final'] - run['start']):+.1f} (step {run['best_step']})"
            )
    return "; ".join(parts)


def summary(results: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """What is promised, counted over the seeds; points are of held-out greedy accuracy."""

    def column(name: str, figure: Any) -> list[Any]:
        return [figure(r[name]) for r in results if name in r]

    return {
        "bench": "guard",
        "seeds": args.seeds,
        "rows": args.rows,
        "learning_rate": args.learning_rate,
        "published_stopped": sum(column("published", lambda r: bool(r["stopped_by"]))),
        "published_in_time": sum(
            column("published", lambda r: bool(r["stopped_by"]) and lowest(r) >= -3.0)
        ),
        "published_stop_step": column("published", lambda r: r["steps"]),
        "published_deepest": column("published", lambda r: round(lowest(r), 1)),
        "published_ends": column("published", lambda r: round(100 * (r["final"] - r["start"]), 1)),
        "unwatched_ends": column("unwatched", lambda r: round(100 * (r["last"] - r["start"]), 1)),
        "preset_stopped": sum(column("preset", lambda r: bool(r["stopped_by"]))),
        "preset_ends": column("preset", lambda r: round(100 * (r["final"] - r["start"]), 1)),
        "preset_last": column("preset", lambda r: round(100 * (r["last"] - r["start"]), 1)),
        "surplus_published": column("published", lambda r: round(r["surplus"], 3)),
        "surplus_preset": column("preset", lambda r: round(r["surplus"], 3)),
    }


if __name__ == "__main__":
    main()
