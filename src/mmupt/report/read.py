"""A run folder as one record. Whatever is missing or broken is said in words, never raised."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from mmupt.report.text import clean, words
from mmupt.report.values import mapping, number

Event = Mapping[str, Any]

NEWEST_ROLLOUTS = 6
"""How many rollout files are read; enough to choose examples from."""

_EVENTS, _CONFIG = "events.jsonl", "config.yaml"

_MAX_JSON_BYTES = 16 << 20
_MAX_CONFIG_BYTES = 1 << 20
_MAX_EVENT_LINE = 1 << 20
_MAX_ROLLOUT_BYTES = 64 << 20
_MAX_ROLLOUT_ROWS = 512
_MAX_PROBLEMS = 20

_COLUMNS = (
    "sample_id",
    "stage",
    "step",
    "prompt",
    "images",
    "completions",
    "answers",
    "teacher_answers",
    "classes",
    "pseudo_label",
    "share",
    "tied",
    "kept",
    "rewards",
)
_NO_VOTES = ("anchor", "spare")
"""Columns that newer files have. A row with one of them true is no vote that was trained on: an
anchor's label is a person's answer, and a spare was looked at only."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One prompt of one step: what was sampled, how it was voted on, what it was rewarded.

    Attributes:
        sample_id: id in the data set.
        stage, step: when.
        prompt: the question, with its ``<image>`` marks.
        images: paths, absolute or relative to the data root.
        completions: G sampled responses.
        answers: G extracted answers; None is an abstention.
        votes: the answers that were voted on (the teacher's, or the same G).
        classes: class of each vote; None is an abstention.
        pseudo_label: the winner, or None.
        share: its share of all votes; NaN if unknown.
        tied: whether another class was as large.
        kept: whether the prompt passed the filter and was trained on.
        rewards: G rewards.
    """

    sample_id: str
    stage: str
    step: int
    prompt: str
    images: tuple[str, ...]
    completions: tuple[str, ...]
    answers: tuple[str | None, ...]
    votes: tuple[str | None, ...]
    classes: tuple[int | None, ...]
    pseudo_label: str | None
    share: float
    tied: bool
    kept: bool
    rewards: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything that the report needs of a run folder.

    Attributes:
        path: the folder.
        metrics: `metrics.json`, or empty.
        events: one event for each (type, stage, step), the last one written, in order.
        config: `config.yaml`, or empty.
        config_text: the same as written.
        rollouts: rows of the newest rollout files, newest first.
        data_roots: folders that pictures may come from.
        problems: what could not be read, in words.
    """

    path: Path
    metrics: Mapping[str, Any]
    events: tuple[Event, ...]
    config: Mapping[str, Any]
    config_text: str
    rollouts: tuple[Rollout, ...]
    data_roots: tuple[Path, ...]
    problems: tuple[str, ...]


def load_run(
    run_dir: Path, lang: str = "en", *, data_roots: Sequence[Path] | None = None
) -> RunRecord:
    """Read a run folder, finished or not.

    Args:
        run_dir: the folder.
        lang: language of the problems.
        data_roots: folders that pictures may come from; None means the run folder itself and
            the folders of the data files that its config names.

    Returns:
        The record; `problems` tells what is missing or broken. Only an unknown `lang` raises.
    """
    texts = words(lang)
    problems: list[str] = []
    metrics = read_object(run_dir / "metrics.json", texts, problems)
    events = _read_events(run_dir / _EVENTS, texts, problems)
    config, config_text = _read_config(run_dir / _CONFIG, texts, problems)
    if metrics and "stages" not in metrics:
        # `mmupt eval` writes a single stage and neither events nor a config: nothing is missing.
        absent = [texts["problem_missing"].format(file=name) for name in (_EVENTS, _CONFIG)]
        problems = [problem for problem in problems if problem not in absent]
    order = stage_order(metrics, events)
    rollouts = _read_rollouts(run_dir / "rollouts", order, texts, problems)
    roots = _roots_from(run_dir, config) if data_roots is None else tuple(data_roots)
    return RunRecord(
        path=run_dir,
        metrics=metrics,
        events=events,
        config=config,
        config_text=config_text,
        rollouts=rollouts,
        data_roots=tuple(root.resolve() for root in roots),
        problems=tuple(problems[:_MAX_PROBLEMS]),
    )


def rollouts_of(run_dir: Path, sample: str) -> list[Rollout]:
    """All rollouts of one sample, oldest first; files that cannot be read are passed over."""
    import pyarrow
    import pyarrow.parquet

    found: list[Rollout] = []
    for path in sorted(run_dir.glob("rollouts/*.parquet"), key=lambda path: _written(path)):
        try:
            rows = pyarrow.parquet.read_table(
                path, filters=[("sample_id", "==", sample)]
            ).to_pylist()
        except (pyarrow.ArrowException, OSError, ValueError):
            continue
        found += [
            rollout
            for row in rows
            if set(_COLUMNS) <= set(row) and _is_vote(row)
            if (rollout := _rollout(row)) is not None
        ]
    return found


def events_of(run: RunRecord, kind: str, stage: str | None = None) -> list[Event]:
    """The events of one type, of one stage if given, by step."""
    chosen = [
        event
        for event in run.events
        if event["type"] == kind and (stage is None or event.get("stage") == stage)
    ]
    return sorted(chosen, key=lambda event: step_of(event.get("step")))


def step_of(value: object) -> int:
    """A step as a whole number; 0 if there is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def stage_order(metrics: Mapping[str, Any], events: Iterable[Event]) -> list[str]:
    """Names of the stages and arms in the order in which they ran."""
    names: dict[str, None] = {}
    for event in events:
        if isinstance(event.get("stage"), str):
            names.setdefault(event["stage"])
    listed = metrics.get("stages")
    for stage in listed if isinstance(listed, list) else []:
        names.setdefault(str(mapping(stage).get("name", "")))
    for arm in mapping(metrics.get("arms")):
        names.setdefault(str(arm))
    return list(names)


def read_object(
    path: Path, texts: Mapping[str, str], problems: list[str], name: str = ""
) -> Mapping[str, Any]:
    """The JSON object of a file; empty, with a problem in words, where there is none.

    Args:
        path: of the file.
        texts: words of the reader's language.
        problems: is added to.
        name: what the file is called in words; empty: its own name.
    """
    name = name or path.name
    text = _read_text(path, _MAX_JSON_BYTES, texts, problems, name)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        problems.append(texts["problem_not_json"].format(file=name))
        return {}
    if not isinstance(found, dict):
        problems.append(texts["problem_not_object"].format(file=name))
        return {}
    return found


def _read_events(path: Path, texts: Mapping[str, str], problems: list[str]) -> tuple[Event, ...]:
    """The last event of each (type, stage, step); a last line without its end is torn."""
    last: dict[tuple[str, str, int], Event] = {}
    broken: list[int] = []
    try:
        with path.open("rb") as lines:
            for position, line in enumerate(lines, start=1):
                event = event_of(line)
                if event is None:
                    if line.endswith(b"\n") and line.strip():
                        broken.append(position)
                    continue
                key = (event["type"], str(event.get("stage")), step_of(event.get("step")))
                last.pop(key, None)  # so that the later one also stands at the later place
                last[key] = event
    except FileNotFoundError:
        problems.append(texts["problem_missing"].format(file=path.name))
    except OSError as error:
        problems.append(texts["problem_unreadable"].format(file=path.name, reason=error.strerror))
    if broken:
        shown = ", ".join(str(position) for position in broken[:5])
        if len(broken) > 5:
            shown += ", …"
        problems.append(
            texts["problem_lines"].format(file=path.name, lines=shown, count=len(broken))
        )
    return tuple(last.values())


def event_of(line: bytes) -> Event | None:
    """A line of `events.jsonl` as an event, or None where it is none."""
    if len(line) > _MAX_EVENT_LINE:
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("type"), str) else None


def _read_config(
    path: Path, texts: Mapping[str, str], problems: list[str]
) -> tuple[Mapping[str, Any], str]:
    text = _read_text(path, _MAX_CONFIG_BYTES, texts, problems, path.name)
    if text is None:
        return {}, ""
    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        problems.append(texts["problem_not_yaml"].format(file=path.name))
        return {}, text
    return mapping(config), text


def _read_text(
    path: Path, limit: int, texts: Mapping[str, str], problems: list[str], name: str
) -> str | None:
    try:
        if path.stat().st_size > limit:
            problems.append(texts["problem_large"].format(file=name, limit=limit >> 20))
            return None
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        problems.append(texts["problem_missing"].format(file=name))
    except UnicodeDecodeError:
        problems.append(texts["problem_not_utf8"].format(file=name))
    except OSError as error:
        problems.append(texts["problem_unreadable"].format(file=name, reason=error.strerror))
    return None


def _read_rollouts(
    folder: Path, order: list[str], texts: Mapping[str, str], problems: list[str]
) -> tuple[Rollout, ...]:
    """Rows of the newest files; label-free rounds before arms and other stages."""
    found: list[tuple[bool, int, int, Path]] = []
    for path in folder.glob("*.parquet") if folder.is_dir() else ():
        match = re.fullmatch(r"(.+)-(\d{1,9})", path.stem)
        if match and path.is_file():
            stage, step = match[1], int(match[2])
            place = order.index(stage) if stage in order else -1
            found.append((stage not in ("supervised", "published"), place, step, path))
    rows: list[Rollout] = []
    for _, _, _, path in sorted(found, reverse=True)[:NEWEST_ROLLOUTS]:
        rows += _read_parquet(path, texts, problems)
    return tuple(rows)


def _read_parquet(path: Path, texts: Mapping[str, str], problems: list[str]) -> list[Rollout]:
    import pyarrow
    import pyarrow.parquet

    name = f"rollouts/{clean(path.name, 80)}"
    if path.stat().st_size > _MAX_ROLLOUT_BYTES:
        limit = _MAX_ROLLOUT_BYTES >> 20
        problems.append(texts["problem_large"].format(file=name, limit=limit))
        return []
    try:
        file = pyarrow.parquet.ParquetFile(path)
        missing = [column for column in _COLUMNS if column not in file.schema_arrow.names]
        if missing:
            problems.append(texts["problem_columns"].format(file=name, columns=", ".join(missing)))
            return []
        columns = [*_COLUMNS, *(name for name in _NO_VOTES if name in file.schema_arrow.names)]
        batch = next(file.iter_batches(batch_size=_MAX_ROLLOUT_ROWS, columns=columns), None)
        rows: list[dict[str, Any]] = [] if batch is None else batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError):
        problems.append(texts["problem_not_parquet"].format(file=name))
        return []
    rows = [row for row in rows if _is_vote(row)]
    rollouts = [rollout for rollout in map(_rollout, rows) if rollout is not None]
    if len(rollouts) < len(rows):
        problems.append(texts["problem_rows"].format(file=name, count=len(rows) - len(rollouts)))
    return rollouts


def _is_vote(row: Mapping[str, Any]) -> bool:
    return not any(row.get(name) is True for name in _NO_VOTES)


def _written(path: Path) -> tuple[float, str]:
    """Stages run one after the other, so that a file's time orders them; then its name."""
    try:
        return path.stat().st_mtime, path.name
    except OSError:
        return 0.0, path.name


def _rollout(row: Mapping[str, Any]) -> Rollout | None:
    """A row whose columns hold what they should, otherwise None."""
    label, answers, votes = row["pseudo_label"], row["answers"], row["teacher_answers"]
    classes = row["classes"]
    if not (
        isinstance(row["sample_id"], str)
        and isinstance(row["stage"], str)
        and isinstance(row["prompt"], str)
        and (label is None or isinstance(label, str))
        and _strings(row["images"])
        and _strings(row["completions"])
        and _strings_or_none(answers)
        and _strings_or_none(votes)
        and isinstance(classes, list)
        and len(classes) == len(votes)
        and all(item is None or isinstance(item, int) for item in classes)
        and isinstance(row["rewards"], list)
    ):
        return None
    return Rollout(
        sample_id=row["sample_id"],
        stage=row["stage"],
        step=step_of(row["step"]),
        prompt=row["prompt"],
        images=tuple(row["images"]),
        completions=tuple(row["completions"]),
        answers=tuple(answers),
        votes=tuple(votes),
        classes=tuple(classes),
        pseudo_label=label,
        share=number(row["share"]),
        tied=row["tied"] is True,
        kept=row["kept"] is True,
        rewards=tuple(number(reward) for reward in row["rewards"]),
    )


def _strings(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _strings_or_none(value: object) -> TypeGuard[list[str | None]]:
    return isinstance(value, list) and all(item is None or isinstance(item, str) for item in value)


def _roots_from(run_dir: Path, config: Mapping[str, Any]) -> tuple[Path, ...]:
    """The run folder and the folders of the data files that the config names."""
    roots = [run_dir]
    pending: list[object] = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, str) and value.endswith((".jsonl", ".json", ".parquet")):
            roots.append(Path(value).parent)
    return tuple(dict.fromkeys(roots))
