"""How often does each criterion of the gate pass, fail or ask for more, by chance and by merit?

    python benchmarks/gates.py --runs 1000

Simulated questions: each has an ability of the baseline drawn from a normal distribution; the new
model moves every ability by the same shift, chosen so that mean accuracy changes by the wanted
points, and by a normal shift of its own. The greedy answer is right or wrong by the ability, the
sampled accuracy is of 8 answers. So questions are of very different difficulty, most agree between
the models, and the two accuracies belong together. The share of questions whose greedy answer
changes sides is printed as `turn`.

Judged by the functions that `decide` uses, with the default settings. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from mmupt.config_supervision import GateConfig
from mmupt.gates.criteria import blind, regression, slices
from mmupt.gates.evidence import Evidence
from mmupt.gates.paired import Paired, worse_p

K = 8
SPREAD = 2.0
"""Standard deviation of the abilities, in probits."""
OWN = 0.5
"""Standard deviation of what the new model moves question by question, in probits."""
ACCURACY = 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    result: dict[str, Any] = {"runs": args.runs, "error": exact_errors()}
    for name, study in (
        ("regression", regressions),
        ("mean_bound", mean_bounds),
        ("slices", groups),
        ("blind", blinds),
    ):
        result[name] = list(study(args.runs, np.random.default_rng(args.seed)))
        print(f"\n{name}")
        for row in result[name]:
            print("  ", "  ".join(f"{key} {value:g}" for key, value in row.items()))
    print(json.dumps(result))


def questions(rng: np.random.Generator, n: int, change: float, own: float = OWN) -> dict[str, Any]:
    """Greedy and sampled accuracy of n questions before and after."""
    # Abilities are probits, so that mean accuracy has a closed form: P(ability + luck > 0).
    start = NormalDist().inv_cdf(ACCURACY) * math.hypot(SPREAD, 1)
    end = NormalDist().inv_cdf(ACCURACY + change) * math.hypot(SPREAD, 1, own)
    ability = rng.normal(start, SPREAD, n)
    after = ability + (end - start) + rng.normal(0, own, n)
    # What else decides a greedy answer is the same for both models.
    luck = rng.normal(0, 1, n)
    figures: dict[str, Any] = {"ids_sha256": "simulated"}
    for name, level in (("before", ability), ("after", after)):
        p = np.array([0.5 + 0.5 * math.erf(x / math.sqrt(2)) for x in level])
        figures[f"greedy_{name}"] = [int(x) for x in level + luck > 0]
        figures[f"mean_{name}"] = [float(x) for x in rng.binomial(K, p) / K]
        figures[f"share_{name}"] = [float(x) for x in np.maximum(p, 1 - p)]
        figures[f"abstained_{name}"] = figures[f"truncated_{name}"] = [0.0] * n
    return figures


def regressions(runs: int, rng: np.random.Generator) -> Iterator[dict[str, float]]:
    """Verdicts of `regression` by rows and true change."""
    for n in (100, 200, 300, 600, 1000):
        for change in (0.05, 0.02, 0.0, -0.03, -0.06):
            outcomes, turn = [], 0.0
            for _ in range(runs):
                one = questions(rng, n, change)
                outcomes.append(regression(evidence(one), GateConfig()).outcome)
                turn += float(np.mean(np.not_equal(one["greedy_before"], one["greedy_after"])))
            yield {
                "rows": n, "points": 100 * change, "turn": round(turn / runs, 3),
                **verdicts(outcomes),
            }  # fmt: skip


def mean_bounds(runs: int, rng: np.random.Generator) -> Iterator[dict[str, float]]:
    """How often the lower bound for sampled accuracy lies above the truth (nominal 0.05)."""
    for n in (20, 50, 100, 300):
        for losing, loss in ((0.3, 0.125), (0.03, 1.0)):  # many small losses, few large ones
            above = plain = 0
            for _ in range(runs):
                d = np.where(rng.random(n) < losing, loss, 0.0)
                bound = Paired.of([1.0] * n, [float(x) for x in 1 - d])
                bound = Paired(bound.n, bound.won, bound.lost, bound.squares, False)
                above += bound.lower(0.95) > -losing * loss
                spread = d.std(ddof=1) / math.sqrt(n)
                plain += -d.mean() - 1.66 * spread > -losing * loss
            yield {
                "rows": n, "losing": losing, "by": loss, "above": above / runs,
                "plain_t": plain / runs,
            }  # fmt: skip


def groups(runs: int, rng: np.random.Generator) -> Iterator[dict[str, float]]:
    """Verdicts of `slices` for six groups of which one loses; `own` as OWN."""
    config = GateConfig(slices=("site",))
    for own in (OWN, 3 * OWN):
        for n in (20, 50, 100):
            for change in (0.0, -0.10, -0.20, -0.30):
                outcomes = []
                for _ in range(runs):
                    columns = {}
                    for group in range(6):
                        one = questions(rng, n, change if group == 0 else 0.0, own)
                        columns[str(group)] = {
                            "before": one["greedy_before"], "after": one["greedy_after"]
                        }  # fmt: skip
                    outcomes.append(slices(evidence({"site": columns}), config).outcome)
                yield {"own": own, "rows": n, "points": 100 * change, **verdicts(outcomes)}


def blinds(runs: int, rng: np.random.Generator) -> Iterator[dict[str, float]]:
    """Verdicts of `blind`: accuracy 10% without pictures; of all answers, `turn` change sides."""
    for margin in (0.05, 0.10):
        config = GateConfig(max_blind_rise=margin)
        for n in (100, 200, 300, 600):
            for turn, rise in ((0.05, 0.0), (0.18, 0.0), (0.05, 0.05), (0.1, 0.1), (0.2, 0.2)):
                won, lost = (turn + rise) / 2, (turn - rise) / 2
                outcomes = []
                for _ in range(runs):
                    draw = rng.random(n)
                    before = [int(x < 0.1) for x in draw]
                    after = [int(lost <= x < 0.1 or x > 1 - won) for x in draw]
                    figures = {"before": before, "after": after}
                    outcomes.append(blind(evidence(figures), config).outcome)
                yield {
                    "margin": margin, "rows": n, "turn": turn, "points": 100 * rise,
                    **verdicts(outcomes),
                }  # fmt: skip


def exact_errors() -> list[dict[str, float]]:
    """Largest exact probability to pass a model whose true loss is the margin (nominal 0.05).

    By summing over all outcomes (lost, won) of n questions, over several rates of won questions.
    """
    rows = []
    for margin in (0.03, 0.05, 0.10):
        for n in (50, 100, 200, 300, 500):
            worst = max(passing(n, margin, won) for won in (0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2))
            rows.append({"margin": margin, "rows": n, "passes": round(worst, 4)})
    return rows


def passing(n: int, margin: float, won_rate: float) -> float:
    """P(pass) by greedy answers alone, at a true loss of `margin`."""
    lost_rate = won_rate + margin
    total = 0.0
    for won in range(reach(n, won_rate)):
        for lost in range(min(reach(n, lost_rate), n - won + 1)):
            chance = trinomial(n, lost, won, lost_rate, won_rate)
            if chance > 1e-9 and worse_p(lost, won) > 0.05:
                seen = Paired(n, won, lost, won + lost, True)
                total += chance * (seen.lower(0.95) >= -margin)
    return total


def reach(n: int, rate: float) -> int:
    """Counts beyond this are too rare to matter."""
    return int(n * rate + 6 * math.sqrt(n * rate + 1) + 3)


def trinomial(n: int, lost: int, won: int, lost_rate: float, won_rate: float) -> float:
    log = math.lgamma(n + 1)
    for count, rate in (
        (lost, lost_rate),
        (won, won_rate),
        (n - lost - won, 1 - lost_rate - won_rate),
    ):
        if count and rate <= 0:
            return 0.0
        log += count * math.log(rate) - math.lgamma(count + 1) if count else 0.0
    return math.exp(log)


def verdicts(outcomes: Sequence[str]) -> dict[str, float]:
    seen = Counter(outcomes)
    return {name: seen[name] / len(outcomes) for name in ("pass", "insufficient", "fail")}


def evidence(figures: Any) -> Evidence:
    return Evidence("held-out", "v", "b", "d", "2026-01-01T00:00:00+00:00", figures)


Study = Callable[[int, np.random.Generator], Iterator[dict[str, float]]]

if __name__ == "__main__":
    main()
