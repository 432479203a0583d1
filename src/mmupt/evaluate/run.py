"""`mmupt eval`: ask what is not asked yet, judge, and work out the figures."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmupt.asking.answerer import Answerer
from mmupt.benchmarks.rows import BenchmarkRow, Score
from mmupt.benchmarks.wemath_metrics import four_dimensional
from mmupt.config import Config
from mmupt.evaluate.asking import Asker, Plan
from mmupt.evaluate.figures import figures
from mmupt.evaluate.judge import Judge
from mmupt.evaluate.judging import Item
from mmupt.evaluate.parts import Parts
from mmupt.evaluate.records import Record
from mmupt.evaluate.summaries import corpus_chrf
from mmupt.events import EventLog
from mmupt.processes import ALONE, Processes
from mmupt.runs import RunFolder, write_json
from mmupt.types import Sample

PART = 64
"""Most questions of a part: what a killed evaluation has to ask again."""


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, and who answers.

    Attributes:
        name: of the set, for bars and records.
        about: what else `metrics.json` says of set and model.
        items: the questions.
        left_out: rows that could not be used, a line each.
        plan: what is asked of each question.
        model: a mark of who answers; another one is refused in the same folder.
        answerer: makes who answers; called only if something is left to ask.
        judge: judges the most likely replies as well; None: only the rule does.
    """

    name: str
    about: Mapping[str, Any]
    items: Sequence[Item]
    left_out: Sequence[str]
    plan: Plan
    model: str
    answerer: Callable[[], Answerer]
    judge: Judge | None = None


def run_evaluation(
    folder: RunFolder,
    evaluation: Evaluation,
    config: Config,
    log: EventLog,
    *,
    about: Callable[[], Mapping[str, Any]] = dict,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """Ask every question that has no reply yet; write ``replies.jsonl``, then ``metrics.json``.

    Each process asks its share of the parts; a part's replies depend on the part alone, so that
    neither kills nor processes change them.

    Args:
        folder: an open run folder.
        evaluation: what is asked of whom.
        config: `eval`, `views`, `seed` and `model.max_pixels` are read.
        log: told about progress.
        about: what a figure must be read with: versions, device.
        processes: who shares the work; the main one writes.

    Returns:
        The content of `metrics.json`.

    Raises:
        RunFolderError: the folder holds replies of another model or to other questions.
        InputError: a picture that cannot be read.
    """
    items, size = evaluation.items, max(1, min(PART, config.eval.batch_size))
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    parts = Parts(folder.root, tuple(len(batch) for batch in batches))
    if processes.main:
        parts.check({"questions": fingerprint(items), "model": evaluation.model})
    done = processes.told(lambda: _finished(folder, parts))
    if done is not None:
        return done
    _ask(parts, batches, evaluation, config, log, processes)
    if not processes.main:
        return {}
    found = [parts.there(number) for number in range(len(batches))]
    records = [record for part in found if part for record in part[0]]
    metrics = {
        "name": evaluation.name,
        **evaluation.about,
        **figures(records, config.eval.temperature),
        **_own_figures(evaluation, records),
        "left_out": list(evaluation.left_out),
        "seconds": sum(part[1] for part in found if part),
        "labels_used": 0,
        **about(),
    }
    log.emit("evaluated", stage=evaluation.name, metrics=metrics)
    parts.finish(records)
    write_json(folder.metrics, metrics)
    if not metrics["failed"]:
        parts.clear()
    return metrics


def _ask(
    parts: Parts,
    batches: Sequence[Sequence[Item]],
    evaluation: Evaluation,
    config: Config,
    log: EventLog,
    processes: Processes,
) -> None:
    """Fill the parts that are missing, or that hold a reply which did not come."""
    missing = processes.told(
        lambda: [number for number in range(len(batches)) if parts.read(number) is None]
    )
    share = processes.share(len(missing))
    mine = missing[share]
    total, done = sum(len(batches[number]) for number in mine), 0
    log.emit("evaluation_started", stage=evaluation.name, total=total)
    if mine:
        asker = Asker(evaluation.answerer(), evaluation.plan, config, judge=evaluation.judge)
        first = [0]
        for batch in batches:
            first.append(first[-1] + len(batch))
        for number in mine:
            started = time.perf_counter()
            records = asker.ask(batches[number], first[number])
            parts.write(number, records, time.perf_counter() - started)
            done += len(records)
            log.tell("evaluation_progress", stage=evaluation.name, done=done, total=total)
    processes.wait()


def _finished(folder: RunFolder, parts: Parts) -> dict[str, Any] | None:
    """The figures of an evaluation that is over."""
    if not folder.metrics.exists() or not parts.whole.exists() or parts.begun():
        return None
    found: dict[str, Any] = json.loads(folder.metrics.read_text(encoding="utf-8"))
    return found


def _own_figures(evaluation: Evaluation, records: Sequence[Record]) -> dict[str, Any]:
    """What only some sets have: We-Math's four dimensions, chrF over all references, a judge."""
    found: dict[str, Any] = {}
    if evaluation.about.get("benchmark") == "wemath":
        found["extra"] = four_dimensions(records)
    if any(record.summary is not None for record in records):
        found["corpus_chrf"] = corpus_chrf(records)
    if evaluation.judge is not None:
        found["judge"] = evaluation.judge.figures(records)
    return found


def four_dimensions(records: Sequence[Record]) -> dict[str, Any]:
    """We-Math's own score of some records, strict and loose."""
    pairs = [
        (
            BenchmarkRow(Sample(record.id, ""), record.answer, fields=record.fields),
            Score(record.greedy.right, record.greedy.answer, record.greedy.rule),
        )
        for record in records
    ]
    return {
        name: asdict(four_dimensional(pairs, strict=strict))
        for name, strict in (("strict", True), ("loose", False))
    }


def fingerprint(items: Sequence[Item]) -> str:
    """SHA-256 of the questions with their references, wordings and the bytes of their pictures."""
    sha256 = hashlib.sha256()
    for item in items:
        sample = item.sample
        parts = [sample.id, sample.problem, sample.paraphrases, item.rule.answer, item.pictures]
        sha256.update(json.dumps(parts).encode())
    return sha256.hexdigest()


def model_mark(path: Path) -> str:
    """A digest of the files of a model's folder: names, sizes and times of change."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    told = [
        [file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns]
        for file in files
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
