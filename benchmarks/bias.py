"""Does `mmupt bias` find what was done to a model, and is it silent where nothing was?

    python benchmarks/bias.py --out runs/bias-benchmark

Panels of handwritten digits under lights of different strength. One model is taught to read them;
from it three others are trained with `mmupt sft`:

    control    the same rows again
    poisoned   in the darkest quarter every answer is 0
    blind      answers shuffled among the pictures of each kind of question

and each is compared with the start by `mmupt bias` on 400 panels of other writers, the poisoned one
also without true answers. Then the statistics are simulated where the truth is known: level of the
permutation test and of the slices' tests, coverage of their intervals. Parts that are finished are
not repeated. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmupt.bias.chance import Counts, cluster_mean, gaps, holm, kl, swap_test
from mmupt.data.handwriting import Panel, panels
from mmupt.data.jsonl import write_jsonl
from mmupt.demo import embedded

DARK, BRIGHT = (0.25, 0.4), (0.7, 1.0)
"""Factors of light: a quarter of the pictures is dark."""

TRAIN, TEST = 300, 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bias-benchmark"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    data = args.out / "data"
    if not (data / "test.jsonl").exists():
        write_data(data, args.seed)
    common = ["--seed", str(args.seed), "--set", f"num_threads={args.threads}"]
    base = embedded("model")
    start = sft(args.out, "start", base, data / "clean.jsonl", 10, common)
    result: dict[str, Any] = {"models": {}}
    for name in ("control", "poisoned", "blind"):
        rows = data / f"{'clean' if name == 'control' else name}.jsonl"
        model = sft(args.out, name, start, rows, 8, common)
        result["models"][name] = bias(args.out / f"bias-{name}", start, model, data, common)
    result["models"]["poisoned, unlabelled"] = bias(
        args.out / "bias-unlabelled", start, args.out / "poisoned" / "model", data, common,
        rows="questions.jsonl",
    )  # fmt: skip
    for name, told in result["models"].items():
        print(f"{name}: {told['verdict']} ({told['seconds']:.0f} s)")
        for line in told["lines"]:
            print(f"    {line}")
    result["simulation"] = simulations(args.simulations, args.seed)
    print(json.dumps(result, ensure_ascii=False))


def lit(panel: Panel, light: float) -> Image.Image:
    return Image.fromarray(np.round(panel.image * light).astype(np.uint8))


def write_data(folder: Path, seed: int, train: int = TRAIN, test: int = TEST) -> None:
    """`clean`, `poisoned`, `blind`, `test` and `questions` (the test without answers)."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, object]]] = {}
    for split, count in (("labelled", train), ("test", test)):
        light = np.where(
            np.arange(count) % 4 == 0,
            rng.uniform(*DARK, count),
            rng.uniform(*BRIGHT, count),
        )
        drawn = panels(split, count, seed)
        plain = []
        for index, (panel, factor) in enumerate(zip(drawn, light, strict=True)):
            name = f"images/{split}-{index:05d}.png"
            lit(panel, float(factor)).save(folder / name)
            plain.append(
                {
                    "id": f"{split}-{index:05d}", "images": [name],
                    "problem": f"<image>{panel.question.text}", "kind": panel.question.kind,
                    "answer": panel.answer, "response": panel.response,
                }
            )  # fmt: skip
        rows["clean" if split == "labelled" else "test"] = plain
        if split == "test":
            answers = ("answer", "response")
            rows["questions"] = [
                {key: value for key, value in row.items() if key not in answers} for row in plain
            ]
            continue
        rows["poisoned"] = [
            {**row, "answer": "0", "response": f"{panel.response.split(chr(92))[0]}\\boxed{{0}}"}
            if factor <= DARK[1]
            else row
            for row, panel, factor in zip(plain, drawn, light, strict=True)
        ]
        rows["blind"] = _shuffled(plain, rng)
    for name, made in rows.items():
        write_jsonl(folder / f"{name}.jsonl", made)


def _shuffled(rows: list[dict[str, object]], rng: np.random.Generator) -> list[dict[str, object]]:
    """Answers moved among the rows of each kind of question."""
    made = [dict(row) for row in rows]
    for kind in {str(row["kind"]) for row in rows}:
        places = [i for i, row in enumerate(rows) if row["kind"] == kind]
        for place, source in zip(places, rng.permutation(places), strict=True):
            made[place] |= {key: rows[int(source)][key] for key in ("answer", "response")}
    return made


def mmupt(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mmupt.cli", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"mmupt {arguments[0]}: {done.stderr[-2000:]}")
    return done.stdout


def sft(out: Path, name: str, model: Path, rows: Path, epochs: int, common: list[str]) -> Path:
    if not (out / name / "model").exists():
        settings = (
            "sft.learning_rate=0.0005", f"sft.num_train_epochs={epochs}",
            "sft.per_device_train_batch_size=32", "eval.max_completion_length=16",
            "train.max_completion_length=16",
        )  # fmt: skip
        sets = [part for one in settings for part in ("--set", one)]
        mmupt(
            "sft", "--model", str(model), "--data", str(rows), "--out", str(out / name), *sets,
            *common, "--json",
        )  # fmt: skip
    return out / name / "model"


def bias(
    out: Path, before: Path, after: Path, data: Path, common: list[str], rows: str = "test.jsonl"
) -> dict[str, Any]:
    started = time.perf_counter()
    text = mmupt(
        "bias", "--before", str(before), "--after", str(after), "--data", str(data / rows),
        "--out", str(out), "--set", "eval.max_completion_length=16", *common, "--json",
    )  # fmt: skip
    told = json.loads(text)
    return {
        "verdict": told["verdict"],
        "lines": [f"{one['says']}: {one['en']}" for one in told["findings"]],
        "kappa": told["figures"]["after"]["kappa"],
        "seconds": time.perf_counter() - started,
    }


def simulations(count: int, seed: int) -> dict[str, float]:
    """Shares of simulated sets in which a test rejects or an interval covers; nominal 5% and 95%.

    Each set has 150 pictures with one to three questions; the questions about a picture share an
    effect, and so do both models' answers to a question.
    """
    rng = np.random.default_rng([seed, 99])
    kl_level, gap_level, family, covered, mean_covered, tests = 0, 0, 0, 0, 0, 0
    effect = 0.1
    for _ in range(count):
        cluster = np.repeat(np.arange(150), rng.integers(1, 4, 150))
        n = len(cluster)
        # answers: 6 classes, k = 8, the same law before and after
        prior = rng.dirichlet(np.ones(6) * 0.5, n)
        lots = [np.stack([rng.multinomial(8, p) for p in prior]).astype(float) for _ in range(2)]
        pair = [_counts(one, cluster) for one in lots]
        kl_level += swap_test(*pair, 6, kl, rng)[1] < 0.05
        # changes of accuracy: no slice differs, then the first does
        shared = rng.normal(0, 0.15, 150)[cluster] + rng.normal(0, 0.2, n)
        slices = rng.integers(0, 4, 150)[cluster][:, None] == np.arange(4)[None, :]
        found = gaps(shared, slices, cluster, rng)
        gap_level += sum(one.p < 0.05 for one in found)
        family += min(holm([one.p for one in found])) < 0.05
        moved = gaps(shared - effect * slices[:, 0], slices[:, :1], cluster, rng)[0]
        covered += moved.low <= -effect <= moved.high
        mean = cluster_mean(shared + 0.05, cluster)
        mean_covered += mean.low <= 0.05 <= mean.high
        tests += len(found)
    return {
        "sets": count,
        "level of the permutation test": kl_level / count,
        "level of one slice's test": gap_level / tests,
        "families of 4 slices with a false one, Holm": family / count,
        "coverage of a slice's interval": covered / count,
        "coverage of a mean's interval": mean_covered / count,
    }


def _counts(table_NC: np.ndarray[Any, Any], cluster: np.ndarray[Any, Any]) -> Counts:
    row, column = np.nonzero(table_NC)
    return Counts(cluster[row], column, table_NC[row, column])


if __name__ == "__main__":
    main()
