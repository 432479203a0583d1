"""Held-out questions that a later stage answers and an earlier one does not, and the reverse."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mmupt.report.text import clean, words
from mmupt.report.values import mapping, number

_MAX_SCORES_BYTES = 256 << 20
_MAX_LINE = 1 << 20
_MOST_LINES = 1_000_000
_COLUMNS = ("id", "greedy")
_OPTIONAL = ("mean",)
_SAID = ("reply", "answer")
"""Columns of newer files: the most likely reply, and the answer in it."""
_REPLY_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Said:
    """What a stage answered without sampling.

    Attributes:
        reply: as the model wrote it, cut; None if it was not kept or did not come.
        answer: the final answer in it; None: none in it.
    """

    reply: str | None
    answer: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """A question that one of two stages answers rightly without sampling.

    Attributes:
        kind: `better` where the later one does.
        sample_id: of the question.
        mean_before, mean_after: share of right sampled answers; NaN if unknown.
        question, answer, images: of the test data; empty where they are not found.
        said_before, said_after: the two answers; None where replies were not kept.
    """

    kind: Literal["better", "worse"]
    sample_id: str
    mean_before: float
    mean_after: float
    question: str = ""
    answer: str = ""
    images: tuple[str, ...] = ()
    said_before: Said | None = None
    said_after: Said | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """How the answers of two stages differ.

    Attributes:
        before, after: the stages.
        n: questions that both answered.
        better, worse: how many changed from wrong to right, and from right to wrong.
        right, wrong: how many stayed.
        examples: of both kinds, the largest change of the sampled answers first.
    """

    before: str
    after: str
    n: int
    better: int
    worse: int
    right: int
    wrong: int
    examples: tuple[Change, ...]


def changes_between(
    run_dir: Path,
    before: str,
    after: str,
    config: Mapping[str, Any],
    *,
    most: int = 4,
    lang: str = "en",
    problems: list[str] | None = None,
) -> Changes | None:
    """What changed from one stage to the other, question by question.

    Args:
        run_dir: the run folder; its `evaluations/` has one row a question.
        before, after: names of stages.
        config: of the run; its test data has the questions.
        most: examples of each kind.
        lang: language of the problems.
        problems: which of the two files is missing or broken is added, in words.

    Returns:
        None where one of the two was not recorded by question, or cannot be read.
    """
    folder = run_dir / "evaluations"
    first, last = (_scores(folder, name) for name in (before, after))
    if not first or not last:
        if problems is not None:
            problems += [
                _problem(folder, name, lang)
                for name, rows in ((before, first), (after, last))
                if not rows
            ]
        return None
    both = [key for key in first if key in last]
    better = [key for key in both if first[key][0] < last[key][0]]
    worse = [key for key in both if first[key][0] > last[key][0]]
    right = sum(first[key][0] == last[key][0] and first[key][0] > 0 for key in both)
    chosen: list[Change] = []
    for kind, keys in (("better", better), ("worse", worse)):
        ranked = sorted(keys, key=lambda key: -_distance(first[key][1], last[key][1]))
        chosen += [
            Change(kind, key, first[key][1], last[key][1])  # type: ignore[arg-type]
            for key in ranked[:most]
        ]
    ids = {one.sample_id for one in chosen}
    rows = _questions(run_dir, config, ids)
    test = mapping(config.get("data")).get("test")
    if ids and not rows and isinstance(test, str) and problems is not None:
        problems.append(words(lang)["problem_questions"].format(file=clean(Path(test).name, 80)))
    said = [_replies(folder, name, ids) for name in (before, after)]
    return Changes(
        before=before, after=after, n=len(both), better=len(better), worse=len(worse), right=right,
        wrong=len(both) - len(better) - len(worse) - right,
        examples=tuple(
            replace(
                _told(one, rows.get(one.sample_id, {})),
                said_before=said[0].get(one.sample_id), said_after=said[1].get(one.sample_id),
            )
            for one in chosen
        ),
    )  # fmt: skip


def _problem(folder: Path, stage: str, lang: str) -> str:
    """Why there are no scores of a stage."""
    name = f"{clean(stage, 60)}.parquet"
    key = "problem_not_parquet" if (folder / name).exists() else "problem_missing"
    return words(lang)[key].format(file=f"evaluations/{name}")


def _told(change: Change, row: Mapping[str, Any]) -> Change:
    images = row.get("images")
    return replace(
        change,
        question=str(row.get("problem", "")).replace("<image>", " ").strip(),
        answer=str(row.get("answer", "")),
        images=tuple(i for i in images if isinstance(i, str)) if isinstance(images, list) else (),
    )


def _distance(before: float, after: float) -> float:
    return 0.0 if math.isnan(before) or math.isnan(after) else abs(after - before)


def _scores(folder: Path, stage: str) -> dict[str, tuple[float, float]]:
    """Greedy score and mean of the sampled ones by question; empty where there are none."""
    return {
        row["id"]: (number(row["greedy"]), number(row.get("mean")))
        for row in _table(folder, stage, _COLUMNS, _OPTIONAL)
        if isinstance(row["id"], str) and not math.isnan(number(row["greedy"]))
    }


def _replies(folder: Path, stage: str, ids: set[str]) -> dict[str, Said]:
    """What a stage answered to some questions; empty where replies were not kept."""
    if not ids:
        return {}
    return {
        row["id"]: Said(_text(row["reply"]), _text(row["answer"]))
        for row in _table(folder, stage, ("id", *_SAID), (), ids)
    }


def _text(value: object) -> str | None:
    return value[:_REPLY_LIMIT] if isinstance(value, str) else None


def _table(
    folder: Path,
    stage: str,
    needed: Sequence[str],
    more: Sequence[str],
    ids: set[str] | None = None,
) -> list[dict[str, Any]]:
    """Rows of a stage's evaluation; none where the file or a needed column is not there.

    Args:
        folder: of the evaluations.
        stage: a name from a file, which must not lead out of the folder.
        needed, more: columns; of `more` those that are there.
        ids: of the questions; None: all.
    """
    import pyarrow
    import pyarrow.parquet

    path = (folder / f"{stage}.parquet").resolve()
    try:
        if path.parent != folder.resolve() or path.stat().st_size > _MAX_SCORES_BYTES:
            return []
        names = pyarrow.parquet.read_schema(path).names
        if not set(needed) <= set(names):
            return []
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(
            path,
            columns=[*needed, *(name for name in more if name in names)],
            filters=None if ids is None else [("id", "in", sorted(ids))],
        ).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError):
        return []
    return rows


def _questions(run_dir: Path, config: Mapping[str, Any], ids: set[str]) -> dict[str, Any]:
    """Rows of the test data by id, as far as they are found."""
    name = mapping(config.get("data")).get("test")
    if not isinstance(name, str) or not ids:
        return {}
    found: dict[str, Any] = {}
    for path in (run_dir / name, Path(name)):
        try:
            with path.open("rb") as lines:
                for position, line in enumerate(lines):
                    if position >= _MOST_LINES or len(found) == len(ids):
                        break
                    row = _row(line)
                    if row.get("id") in ids:
                        found.setdefault(row["id"], row)
        except (OSError, ValueError):
            continue
        if found:
            break
    return found


def _row(line: bytes) -> Mapping[str, Any]:
    if len(line) > _MAX_LINE:
        return {}
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) and isinstance(row.get("id"), str) else {}


def pairs_of(
    stages: Sequence[str], versions: Sequence[Mapping[str, Any]]
) -> tuple[str, str] | None:
    """Which two stages to compare: the last version and the one it would replace.

    Args:
        stages: evaluated ones, in order.
        versions: rows of a project's versions, with `name` and `parent`; none for a run alone.

    Returns:
        (before, after); None where there are no two.
    """
    parents = {str(row.get("name")): row.get("parent") for row in versions}
    for name in reversed(stages):
        parent = parents.get(name)
        if isinstance(parent, str) and parent in stages:
            return parent, name
    if len(stages) < 2:
        return None
    return ("sft" if "sft" in stages[:-1] else stages[-2]), stages[-1]
