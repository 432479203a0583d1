"""What an evaluation costs beyond the generation of its replies.

    python benchmarks/evaluation.py [--rows 500] [--samples 8] [--repeats 5]

The embedded model and panels of the demo's test. Generation alone: the answerer is given prompts
whose pictures are decoded already, part by part as an evaluation asks them. The evaluation is what
`mmupt eval` runs: rows read and checked, pictures hashed and decoded, the same replies generated,
answers read and voted on, parts and replies written, all figures with their intervals. CPU seconds
of this process and its children (the worker that reads LaTeX), one thread. Both are taken in turns,
after a few questions to warm up, and the median ratio of neighbours counts: what else the machine
does falls on both. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from mmupt.asking.answerer import Draw, SamplingParams, greedy, stream_seeds
from mmupt.asking.maker import PromptMaker
from mmupt.config import Config
from mmupt.data.handwriting import panels, write_pictures, write_rows
from mmupt.demo import TEST_SEED, embedded
from mmupt.evaluate.asking import EVALUATION_STREAM, Plan
from mmupt.evaluate.reading import own_items
from mmupt.evaluate.run import PART, Evaluation, run_evaluation
from mmupt.events import EventLog
from mmupt.policy.answers import LocalAnswerer
from mmupt.policy.model import load_policy
from mmupt.runs import RunFolder


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = Config.model_validate({"eval": {"num_samples": given.samples}})
    answerer = LocalAnswerer(load_policy(embedded("model"), device="cpu"), config.eval.batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        drawn = panels("test", given.rows, TEST_SEED)
        write_pictures(folder, "test", drawn)
        write_rows(folder / "test.jsonl", "test", drawn, answers=True)
        generation, evaluation = [], []
        warm = config.model_copy(update={"eval": config.eval.model_copy(update={"limit": 16})})
        evaluate(answerer, folder, folder / "warm", warm)
        for repeat in range(given.repeats):
            generation.append(generate(answerer, folder, config))
            used, metrics = evaluate(answerer, folder, folder / f"out-{repeat}", config)
            evaluation.append(used)
            print(f"generation {generation[-1]:.2f} s, evaluation {evaluation[-1]:.2f} s")
    print(
        json.dumps(
            {
                "bench": "evaluation",
                "rows": given.rows,
                "samples": given.samples,
                "generation_cpu_seconds": statistics.median(generation),
                "evaluation_cpu_seconds": statistics.median(evaluation),
                "ratio": statistics.median(
                    whole / alone for whole, alone in zip(evaluation, generation, strict=True)
                ),
                "greedy": metrics["greedy"],
            }
        )
    )


def generate(answerer: LocalAnswerer, folder: Path, config: Config) -> float:
    """CPU seconds of the replies alone."""
    items, _ = own_items(folder / "test.jsonl", config)
    maker = PromptMaker(config.views, max_pixels=config.model.max_pixels, seed=config.seed)
    prompts = [maker.prompt(item.sample) for item in items]
    settings, k = config.eval, config.eval.num_samples
    params = SamplingParams(settings.temperature, settings.top_p, 0, settings.max_completion_length)
    seeds = stream_seeds(config.seed, EVALUATION_STREAM, count=len(prompts) * k)
    started = cpu_seconds()
    for start in range(0, len(prompts), PART):
        part = prompts[start : start + PART]
        own = seeds[start * k : (start + len(part)) * k]
        answerer.complete(part, [greedy(len(part), params), Draw(params, own, k)])
    return cpu_seconds() - started


def evaluate(
    answerer: LocalAnswerer, folder: Path, out: Path, config: Config
) -> tuple[float, dict[str, Any]]:
    """CPU seconds of everything, and the figures."""
    out.mkdir()
    started = cpu_seconds()
    items, left_out = own_items(folder / "test.jsonl", config)
    told = Evaluation(
        "eval", {}, items, left_out, Plan(config.eval.num_samples), "model", lambda: answerer
    )
    metrics = run_evaluation(RunFolder(out), told, config, EventLog(out / "events.jsonl"))
    return cpu_seconds() - started, metrics


if __name__ == "__main__":
    main()
