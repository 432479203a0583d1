"""From the cells of a study to `study.json`: everything over seeds, computed from files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmupt.evaluate.files import read_scores
from mmupt.pipeline.study_arms import Arm
from mmupt.pipeline.study_stats import Estimate, gain_over_seeds, over_seeds, recovered_share
from mmupt.runs import RunFolder
from mmupt.stats import paired_difference

FIGURES = ("greedy", "mean", "majority", "pass", "vote_share")
"""`mean` is sampled accuracy, mean@k."""

COMPARED = ("greedy", "mean")
"""What gains and recovered shares are reported for."""


def collect(root: Path, arms: Sequence[Arm], seeds: Sequence[int]) -> dict[str, Any]:
    """Everything that `study.json` holds.

    Args:
        root: folder of the study; the cells of these arms and seeds are finished.
        arms: in the order of the table.
        seeds: over which.
    """
    start = {seed: _read_cell(root / f"seed-{seed}" / "sft") for seed in seeds}
    cells = {
        arm.name: {
            seed: _arm_of_seed(root, seed, arm.name, start[seed]["scores"]) for seed in seeds
        }
        for arm in arms
    }
    bound = next((arm.name for arm in arms if not arm.label_free), None)
    first = start[seeds[0]]
    sft = {
        "labels_used": first["labels_used"],
        "over_seeds": _means(list(start.values())),
        "seconds": over_seeds([cell["seconds"] for cell in start.values()])._asdict(),
        "seeds": {str(seed): cell for seed, cell in start.items()},
    }
    return {
        "seeds": list(seeds),
        **{key: first[key] for key in ("n", "k", "temperature", "device", "versions")},
        "bound": bound,
        "sft": sft,
        "arms": {
            arm.name: {
                "method": arm.method,
                "note": arm.note,
                "set": arm.settings,
                **_over_seeds(cells[arm.name], start, cells[bound] if bound else None),
            }
            for arm in arms
        },
    }


def _read_cell(root: Path) -> dict[str, Any]:
    cell: dict[str, Any] = json.loads(RunFolder(root).metrics.read_text(encoding="utf-8"))
    return cell


def _arm_of_seed(root: Path, seed: int, name: str, sft_scores: str) -> dict[str, Any]:
    """What the cell wrote, and its gain over SFT question by question."""
    folder = root / f"seed-{seed}"
    cell = _read_cell(folder / "arms" / name)
    for key in ("seed", "device", "versions"):
        del cell[key]
    before = read_scores(folder / "sft" / sft_scores)
    after = read_scores(folder / "arms" / name / cell["reported"]["scores"])
    cell["gain_over_questions"] = {
        key: paired_difference(getattr(before, key), getattr(after, key))._asdict()
        for key in COMPARED
    }
    return cell


def _over_seeds(
    cells: Mapping[int, dict[str, Any]],
    start: Mapping[int, dict[str, Any]],
    bound: Mapping[int, dict[str, Any]] | None,
) -> dict[str, Any]:
    reported = [cell["reported"] for cell in cells.values()]
    gains = {key: _gains(cells, start, key) for key in COMPARED}
    recovered: dict[str, Estimate] = {}
    if bound is not None:
        recovered = {
            key: recovered_share(gains[key], _gains(bound, start, key)) for key in COMPARED
        }
    return {
        "labels_used": over_seeds([cell["labels_used"] for cell in cells.values()]).value,
        "step": over_seeds([row["step"] for row in reported])._asdict(),
        "seconds": over_seeds([cell["seconds"] for cell in cells.values()])._asdict(),
        "over_seeds": _means(reported),
        "oracle": _means([cell["oracle"] for cell in cells.values()]),
        "gain": {
            key: gain_over_seeds(
                [cell[key] for cell in start.values()], [row[key] for row in reported]
            )._asdict()
            for key in COMPARED
        },
        "recovered": {key: value._asdict() for key, value in recovered.items()},
        "seeds": {str(seed): cell for seed, cell in cells.items()},
    }


def _gains(
    cells: Mapping[int, dict[str, Any]], start: Mapping[int, dict[str, Any]], key: str
) -> list[float]:
    return [cell["reported"][key] - start[seed][key] for seed, cell in cells.items()]


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    return {key: over_seeds([row[key] for row in rows])._asdict() for key in FIGURES}
