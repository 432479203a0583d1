"""Two evaluations of the same questions, question by question: is one model better?"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmupt.errors import InputError
from mmupt.evaluate.figures import columns
from mmupt.evaluate.parts import REPLIES, read_records
from mmupt.evaluate.records import Record
from mmupt.evaluate.resampling import RESAMPLES, SEED, Clusters, Floats, ratio
from mmupt.gates.paired import Paired
from mmupt.stats import holm, mcnemar_exact

FORMAT = 1
"""Of `comparison.json`; raised where a field changes its meaning."""
METRICS = (
    "greedy", "majority", "mean", "pass", "vote_share", "agreement", "views.agreement",
    "orders.agreement", "paraphrases.agreement", "views.all_right", "orders.all_right",
    "paraphrases.all_right", "summary.agreement", "summary.centrality", "summary.chrf",
    "abstained", "truncated", "length", "judged",
)  # fmt: skip
"""Figures that are compared where both evaluations have them."""
_GREEDY = {name: f"greedy_{name}" for name in ("abstained", "truncated", "length")}
"""What stands for a figure of the sampled replies where there are none."""
_BLOCK = 4_000_000
"""Signs that are held at a time."""
_EXACT_FLIPS = 14
"""Up to so many clusters that differ, all 2^n signs are gone through."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure of two models on the questions that both have a value for.

    Attributes:
        set: what was evaluated.
        metric: which figure.
        n: questions.
        before, after: means over them.
        change: after - before.
        low, high: its 95% interval.
        only_before, only_after: for values 0 and 1, questions that only one of the two has 1 in;
            None for others.
        p: two-sided p-value that nothing changed; NaN where no question differs.
        test: how p was found: McNemar, or sign flips.
        p_holm, q: p adjusted over all tests of the comparison, see `compare`.
    """

    set: str
    metric: str
    n: int
    before: float
    after: float
    change: float
    low: float
    high: float
    only_before: int | None
    only_after: int | None
    p: float
    test: str
    p_holm: float = math.nan
    q: float = math.nan


def compare(pairs: Mapping[str, tuple[Sequence[Record], Sequence[Record]]]) -> list[Compared]:
    """All figures of two models over one or several sets.

    Values 0 and 1 where every question has its own pictures: McNemar's exact test, and Tango's
    score interval (`gates.paired`), which has width where no question differs. Otherwise: whole
    clusters change sign at random (`flip_test`), and percentiles of a paired bootstrap of clusters.

    p-values are adjusted over all tests of all sets together: Holm's (any error at all stays below
    the level) and Benjamini and Hochberg's q (of what is called a change, at most that share is
    none; 1995, step-up). A figure in which no question differs is no test and does not count: its
    p-value could not have been anything but 1 (Tarone 1990).

    Args:
        pairs: set -> records of the first and of the second model, as `same_questions` gave them.
    """
    found: list[Compared] = []
    for name, (before, after) in pairs.items():
        clusters = Clusters([record.pictures for record in before])
        first, second = columns(before), columns(after)
        for metric in METRICS:
            one = compared(name, metric, first[metric], second[metric], clusters)
            if one is None and (other := _GREEDY.get(metric)):
                one = compared(name, other, first[other], second[other], clusters)
            if one is not None:
                found.append(one)
    return adjusted(found)


def compared(
    name: str, metric: str, before_N: Floats, after_N: Floats, clusters: Clusters
) -> Compared | None:
    """One figure; None where no question has a value for both."""
    there = ~np.isnan(before_N) & ~np.isnan(after_N)
    before, after = before_N[there], after_N[there]
    if not before.size:
        return None
    binary = bool(np.isin(np.concatenate([before, after]), (0.0, 1.0)).all())
    only_before, only_after = int((before > after).sum()), int((after > before).sum())
    change = float((after - before).mean())
    if binary and not clusters.shared:
        p, test = mcnemar_exact(only_before, only_after), "mcnemar"
        low, high = _score_interval(before, after)
    else:
        p, test = flip_test(after - before, clusters.of_N[there]), "sign flips"
        difference = np.where(there, after_N - before_N, 0.0)
        low, high = clusters.interval(
            ratio, np.column_stack([difference, there.astype(np.float64)])
        )
    if not np.any(before != after):
        p = math.nan
        if binary:  # a bootstrap would be certain of what it cannot know
            number = len(np.unique(clusters.of_N[there]))
            low, high = _score_interval(before[:number], before[:number])
        else:
            low, high = math.nan, math.nan
    return Compared(
        name, metric, len(before), float(before.mean()), float(after.mean()), change,
        low, high, only_before if binary else None, only_after if binary else None, p, test,
    )  # fmt: skip


def _score_interval(before: Floats, after: Floats) -> tuple[float, float]:
    """Tango's 95% interval."""
    paired = Paired.of(before.tolist(), after.tolist())
    return paired.lower(0.975), paired.upper(0.975)


def flip_test(difference_N: Floats, cluster_N: np.ndarray) -> float:
    """Two-sided p-value that differences are as likely to be positive as negative.

    If nothing changed, which of the two models gave which value is a coin, one for all questions of
    a cluster. p = P(|sum s_c d_c| >= |sum d_c|) over random signs s of the clusters' sums d: over
    all of them up to `_EXACT_FLIPS` clusters that differ, else (1 + #) / (1 + B) over `RESAMPLES`
    draws, which is no smaller than the level allows (Phipson and Smyth 2010).
    """
    names, place = np.unique(cluster_N, return_inverse=True)
    sums_C = np.bincount(place, difference_N, len(names))
    sums_C = sums_C[np.abs(sums_C) > 1e-12]
    if not sums_C.size:
        return 1.0
    # A hair less, or rounding would leave out what is exactly as large.
    observed = abs(float(sums_C.sum())) - 1e-9
    if sums_C.size <= _EXACT_FLIPS:
        numbers = np.arange(1 << sums_C.size)[:, None]
        signs = 1.0 - 2.0 * ((numbers >> np.arange(sums_C.size)) & 1)
        return float((np.abs(signs @ sums_C) >= observed).mean())
    rng = np.random.default_rng(SEED)
    block = max(1, _BLOCK // sums_C.size)
    beyond = 0
    for start in range(0, RESAMPLES, block):
        size = (min(block, RESAMPLES - start), sums_C.size)
        signs = 1.0 - 2.0 * rng.integers(0, 2, size, dtype=np.int8)
        beyond += int((np.abs(signs @ sums_C) >= observed).sum())
    return (1 + beyond) / (1 + RESAMPLES)


def adjusted(found: Sequence[Compared]) -> list[Compared]:
    """The same with p-values adjusted over all tests."""
    tests = [number for number, one in enumerate(found) if not math.isnan(one.p)]
    p_K = [found[number].p for number in tests]
    told = list(found)
    for number, strict, share in zip(tests, holm(p_K), benjamini_hochberg(p_K), strict=True):
        told[number] = replace(found[number], p_holm=strict, q=share)
    return told


def benjamini_hochberg(p_K: Sequence[float]) -> list[float]:
    """q-values of K tests (Benjamini and Hochberg 1995), in the order of the tests.

    The i-th smallest of K becomes min over j >= i of min(1, K p_j / j).
    """
    order = sorted(range(len(p_K)), key=lambda k: p_K[k], reverse=True)
    found, least = [1.0] * len(p_K), 1.0
    for place, k in enumerate(order):
        least = min(least, p_K[k] * len(p_K) / (len(p_K) - place))
        found[k] = least
    return found


def read_pairs(before: Path, after: Path) -> dict[str, tuple[list[Record], list[Record]]]:
    """The sets that two folders hold evaluations of.

    Args:
        before, after: folders that ``mmupt eval --out`` wrote, or folders of such folders, where
            those of the same name belong together.

    Raises:
        InputError: a folder without evaluations, one that only one of the two has, or evaluations
            of other questions.
        RunFolderError: a file that cannot be read.
    """
    first, second = _evaluations(before), _evaluations(after)
    if len(first) == len(second) == 1 and "" in first and "" in second:
        path, other = first[""], second[""]
        return {_name(path): _same(path, other)}
    if set(first) != set(second):
        odd = sorted(set(first) ^ set(second))[0]
        where, missing = (before, after) if odd in first else (after, before)
        raise InputError(
            f"{where / odd} has an evaluation, {missing / odd} none; evaluate both models on the "
            "same sets"
        )
    return {name: _same(first[name], second[name]) for name in sorted(first)}


def document(found: Sequence[Compared], before: Path, after: Path) -> dict[str, Any]:
    """`comparison.json`."""
    return {
        "format": FORMAT,
        "before": str(before),
        "after": str(after),
        "figures": [asdict(one) for one in found],
    }


def _same(before: Path, after: Path) -> tuple[list[Record], list[Record]]:
    first, second = read_records(before / REPLIES), read_records(after / REPLIES)
    return same_questions(first, second, str(before), str(after))


def same_questions(
    before: list[Record], after: list[Record], first: str, second: str
) -> tuple[list[Record], list[Record]]:
    """Records of both by question, in the order of the first.

    Raises:
        InputError: a question is in one of them only, has another reference or other pictures.
    """
    others = {record.id: record for record in after}
    mine = {record.id for record in before}
    for missing, name in ((mine - set(others), second), (set(others) - mine, first)):
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(
                f"{name} lacks question {min(missing)!r}{more} of the other evaluation; only the "
                "same questions can be compared"
            )
    for record in before:
        other = others[record.id]
        for what in ("answer", "pictures"):
            if getattr(record, what) != getattr(other, what):
                raise InputError(
                    f"question {record.id!r} has another {what.removesuffix('s')} in {second} than "
                    f"in {first}; only the same questions can be compared"
                )
    return before, [others[record.id] for record in before]


def _evaluations(folder: Path) -> dict[str, Path]:
    """Evaluations in a folder by name; one of its own has the name ""."""
    if (folder / REPLIES).is_file():
        return {"": folder}
    found = {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{REPLIES}"))}
    if not found:
        raise InputError(f"{folder} holds no evaluation; give what `mmupt eval --out` wrote")
    return found


def _name(folder: Path) -> str:
    """What was evaluated, by its `metrics.json`."""
    try:
        return str(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return "eval"
