"""From the records of an evaluation to its figures with intervals. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from mmupt.evaluate.calibration import calibration
from mmupt.evaluate.records import WAYS, Judged, Record, Way
from mmupt.evaluate.resampling import Clusters, Estimate, Floats
from mmupt.stats import pass_at_k

SUMMARIES = ("agreement", "centrality", "chrf")
SHARES = ("greedy", "majority", "pass")
"""Columns whose values are 0 or 1; the others are fractions, and `length` counts tokens."""


def columns(records: Sequence[Record]) -> dict[str, Floats]:
    """One value a question for every figure; NaN where it has none."""
    most = max((len(record.sampled) for record in records), default=0)
    found: dict[str, Callable[[Record], float]] = {
        "greedy": lambda r: truth(r.greedy.right),
        "mean": lambda r: _over(r.sampled, _right),
        "majority": lambda r: truth(r.majority.right) if r.majority else math.nan,
        "pass": lambda r: _pass(r, len(r.sampled)),
        "vote_share": lambda r: r.majority.share if r.majority else math.nan,
        "abstained": lambda r: _over(r.sampled, _abstained),
        "truncated": lambda r: _over(r.sampled, _truncated),
        "length": lambda r: _over(r.sampled, _length),
        "greedy_abstained": lambda r: _abstained(r.greedy),
        "greedy_truncated": lambda r: _truncated(r.greedy),
        "greedy_length": lambda r: _length(r.greedy),
        "agreement": lambda r: r.majority.agreement if r.majority else math.nan,
        "judged": lambda r: truth(r.judged),
    }
    for k in reaches(most):
        found[f"pass@{k}"] = partial(_pass, k=k)
    for way in WAYS:
        for name, read in _OF_WAY.items():
            found[f"{way}.{name}"] = partial(_of_way, way=way, read=read)
    for name in SUMMARIES:
        found[f"summary.{name}"] = partial(_of_summary, name=name)
    return {
        name: np.asarray([value(record) for record in records], dtype=np.float64)
        for name, value in found.items()
    }


def reaches(most: int) -> list[int]:
    """k = 1, 2, 4, ... and the number of samples itself."""
    powers = [1 << i for i in range(most.bit_length()) if 1 << i <= most]
    return powers if not most or powers[-1] == most else [*powers, most]


def figures(records: Sequence[Record], temperature: float) -> dict[str, Any]:
    """All figures of an evaluation, as in `metrics.json`.

    Args:
        records: N questions.
        temperature: of the sampled replies.

    Returns:
        The keys of a run's stage (`Scores.metrics`) and more; NaN where nothing is scored. `n` is
        the number of all questions, `unscored` of those without a verdict on the greedy reply.
    """
    clusters = Clusters([record.pictures for record in records])
    values = columns(records)
    k = max((len(record.sampled) for record in records), default=0)
    stage: dict[str, Any] = {"n": len(records), "k": k, "temperature": temperature}
    told: dict[str, Estimate] = {name: estimate(name, values[name], clusters) for name in values}
    for name in ("greedy", "majority", "pass", "mean", "vote_share"):
        _put(stage, name, told[name])
    for name in ("abstained", "truncated", "length"):
        _put(stage, name, told[name])
    stage["unscored"] = int(np.isnan(values["greedy"]).sum())
    stage["failed"] = sum(not record.complete for record in records)
    stage["pictures"] = clusters.count
    stage["intervals"] = "cluster bootstrap" if clusters.shared else "wilson"
    for name in ("greedy_abstained", "greedy_truncated", "greedy_length"):
        _put(stage, name, told[name])
    stage["pass_at"] = [{"k": reach, **_plain(told[f"pass@{reach}"])} for reach in reaches(k)]
    stage["consistency"] = _consistency(told)
    # Where nobody answered there is no majority that could be right.
    silent = [record.majority is not None and record.majority.answer is None for record in records]
    claimed = np.where(silent, np.nan, values["majority"])
    stage["calibration"] = calibration(values["vote_share"], claimed, clusters)
    if any(record.summary is not None for record in records):
        stage["summaries"] = {name: _plain(told[f"summary.{name}"]) for name in SUMMARIES}
    stage["subsets"] = _subsets(records, values["greedy"], clusters)
    return stage


def estimate(name: str, values_N: Floats, clusters: Clusters) -> Estimate:
    """The mean of a column with the interval that fits its values."""
    last = name.rpartition(".")[2]
    if last in (
        *SHARES,
        "greedy_abstained",
        "greedy_truncated",
        "unchanged",
        "all_right",
        "judged",
    ):
        return clusters.share(values_N)
    return clusters.mean(values_N, fractions=last not in ("length", "greedy_length"))


def _consistency(told: Mapping[str, Estimate]) -> dict[str, Any]:
    """Agreement of the replies to one question, by what differs between them."""
    found: dict[str, Any] = {"samples": {"agreement": _plain(told["agreement"])}}
    for way in WAYS:
        if told[f"{way}.agreement"].n:
            found[way] = {name: _plain(told[f"{way}.{name}"]) for name in _OF_WAY}
    return found


def _subsets(
    records: Sequence[Record], greedy_N: Floats, clusters: Clusters
) -> dict[str, dict[str, Any]]:
    """Greedy accuracy by column and value, both in alphabetical order; a row may have several."""
    members: dict[str, dict[str, list[int]]] = {}
    for index, record in enumerate(records):
        for column, kinds in record.groups.items():
            for kind in dict.fromkeys(kinds):
                members.setdefault(column, {}).setdefault(kind, []).append(index)
    found: dict[str, dict[str, Any]] = {}
    for column in sorted(members):
        found[column] = {}
        for kind, rows in sorted(members[column].items()):
            own = np.full(len(records), np.nan)
            own[rows] = greedy_N[rows]
            found[column][kind] = _plain(clusters.share(own))
    return found


def _put(stage: dict[str, Any], name: str, one: Estimate) -> None:
    stage[name], stage[f"{name}_ci"] = one.value, one.ends


def _plain(one: Estimate) -> dict[str, Any]:
    return asdict(one)


def truth(right: bool | None) -> float:
    """1, 0, or NaN for unscored."""
    return math.nan if right is None else float(right)


def _right(one: Judged) -> float:
    return truth(one.right)


def _abstained(one: Judged) -> float:
    return math.nan if one.reply is None else float(one.answer is None)


def _truncated(one: Judged) -> float:
    return math.nan if one.reply is None else float(one.truncated)


def _length(one: Judged) -> float:
    return math.nan if one.reply is None or one.tokens is None else float(one.tokens)


def _over(replies: Sequence[Judged], read: Callable[[Judged], float]) -> float:
    """Mean over replies; NaN unless each has a value."""
    return math.fsum(read(one) for one in replies) / len(replies) if replies else math.nan


def _pass(record: Record, k: int) -> float:
    right = [one.right for one in record.sampled]
    if None in right:
        return math.nan
    return pass_at_k(len(right), sum(one is True for one in right), k)


def _of_way(record: Record, way: str, read: Callable[[Way], float]) -> float:
    return read(record.ways[way]) if way in record.ways else math.nan


def _of_summary(record: Record, name: str) -> float:
    return math.nan if record.summary is None else float(getattr(record.summary, name))


def _unchanged(way: Way) -> float:
    return math.nan if math.isnan(way.agreement) else float(way.agreement == 1)


def _all_right(way: Way) -> float:
    if any(one.right is None for one in way.replies):
        return math.nan
    return float(all(one.right for one in way.replies))


_OF_WAY: dict[str, Callable[[Way], float]] = {
    "agreement": lambda way: way.agreement,
    "unchanged": _unchanged,
    "accuracy": lambda way: _over(way.replies, _right),
    "all_right": _all_right,
}
