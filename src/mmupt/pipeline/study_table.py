"""A study as a table in Markdown: `table.md`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mmupt.report.text import NOTHING, clean, count, percent, points
from mmupt.report.values import mapping, number

_HEAD = (
    "arm", "labels", "stopped at", "greedy", "sampled", "majority@{k}", "pass@{k}",
    "sampled against SFT", "greedy against SFT", "recovered, sampled", "recovered, greedy",
    "oracle, sampled", "seconds",
)  # fmt: skip


def study_table(study: Mapping[str, Any]) -> str:
    """One line per arm, means over seeds with 95% intervals, and what must be known to read it.

    Args:
        study: the content of `study.json`.
    """
    head = [cell.format(k=study["k"]) for cell in _HEAD]
    lines = [_title(study), "", _row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    lines.append(_row(_sft_cells(study["sft"])))
    lines += [_row(_arm_cells(name, arm)) for name, arm in study["arms"].items()]
    lines += ["", *_footnotes(study), "", *_notes(study)]
    return "\n".join(lines) + "\n"


def _title(study: Mapping[str, Any]) -> str:
    seeds = ", ".join(str(seed) for seed in study["seeds"])
    return (
        f"Means over {_plural(len(study['seeds']), 'seed')} ({seeds}), "
        f"{count(number(study['n']))} held-out questions, in percent, with 95% intervals over "
        f"seeds. Sampled: mean over {study['k']} answers at temperature {study['temperature']:g}."
    )


def _sft_cells(sft: Mapping[str, Any]) -> list[str]:
    figures = sft["over_seeds"]
    return [
        "SFT", count(number(sft["labels_used"])), "",
        *(_percent(figures[key]) for key in ("greedy", "mean", "majority", "pass")),
        "", "", "", "", "", count(number(sft["seconds"]["value"])),
    ]  # fmt: skip


def _arm_cells(name: str, arm: Mapping[str, Any]) -> list[str]:
    figures = arm["over_seeds"]
    recovered = mapping(arm.get("recovered"))
    return [
        f"{name} (bound)" if arm["method"] == "supervised" else name,
        count(number(arm["labels_used"])),
        count(number(arm["step"]["value"])),
        *(_percent(figures[key]) for key in ("greedy", "mean", "majority", "pass")),
        *(_points(arm["gain"][key]) for key in ("mean", "greedy")),
        *(_share(mapping(recovered.get(key))) for key in ("mean", "greedy")),
        percent(number(arm["oracle"]["mean"]["value"])),
        count(number(arm["seconds"]["value"])),
    ]


def _footnotes(study: Mapping[str, Any]) -> list[str]:
    lines = [
        "- Every arm starts from its seed's SFT model. Differences are paired by seed. The test "
        "is the same for all seeds: the intervals are about training, not about other questions.",
        "- An arm without labels is reported where it ended; where its guard chose a checkpoint, "
        "without labels, that is its end. *Oracle* is its best candidate on the test: nobody can "
        "choose that without labels; it is for information.",
    ]
    if study.get("bound"):
        lines += [
            "- The bound is reported at the candidate with the best sampled accuracy on the test "
            "itself, which favours it; its labels are those used until there.",
            "- *Recovered*: mean gain over SFT / mean supervised gain over SFT, with Fieller's "
            "interval; no interval where the supervised gain is not clear of 0.",
        ]
    lines.append("- *Labels*: used by this line alone. *Seconds*: training, without evaluations.")
    return lines


def _notes(study: Mapping[str, Any]) -> list[str]:
    """What each arm is; user's words are cut to a line."""
    lines = []
    for name, arm in study["arms"].items():
        settings = ", ".join(f"{key}={_written(value)}" for key, value in arm["set"].items())
        tail = f" `{clean(settings, 400)}`" if settings else ""
        lines.append(f"- **{name}** ({arm['method']}): {clean(str(arm['note']), 200)}.{tail}")
    return lines


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _percent(estimate: Mapping[str, Any]) -> str:
    return percent(number(estimate["value"])) + _ends(estimate, percent)


def _points(estimate: Mapping[str, Any]) -> str:
    value = number(estimate["value"])
    return NOTHING if math.isnan(value) else points(value) + _ends(estimate, points)


def _share(estimate: Mapping[str, Any]) -> str:
    value = number(estimate.get("value"))
    return NOTHING if math.isnan(value) else _whole(value) + _ends(estimate, _whole)


def _ends(estimate: Mapping[str, Any], write: Any) -> str:
    low, high = number(estimate["low"]), number(estimate["high"])
    return "" if math.isnan(low) else f" [{write(low)}, {write(high)}]"


def _whole(fraction: float) -> str:
    """0.723 as `72%`."""
    return f"{round(100 * fraction)}%".replace("-", "−")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plural(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}{'' if number_of == 1 else 's'}"
