"""What the stages of a project used up, booked from what they left, and what it returned."""

from __future__ import annotations

from collections.abc import Iterator

from mmupt.audit.store import AuditStore
from mmupt.config import Config
from mmupt.evaluate.files import read_scores
from mmupt.evaluate.scores import Scores
from mmupt.events import Event, read_events
from mmupt.ledger.book import Entry, entry, review_entries
from mmupt.ledger.compute import Compute, compute_of
from mmupt.ledger.energy import energy_of
from mmupt.ledger.figures import Accuracy, Results, Roi
from mmupt.ledger.roi import roi_of
from mmupt.pipeline.project import Project
from mmupt.pipeline.rounds import read_rounds
from mmupt.pipeline.steps import Record, read_record
from mmupt.stats import paired_difference, wilson


def book(project: Project, config: Config) -> None:
    """Book everything that is finished and not booked yet; the same again books nothing."""
    events = list(read_events(project.run.events))
    ledger = project.ledger()
    booked = {one.key for one in ledger.entries()}  # by whichever version of mmupt: it stays
    entries = [one for record in _finished(project) for one in _of(project, record, events, config)]
    reviews = _reviews(project.audits(config))
    ledger.book_all(one for one in (*entries, *reviews) if one.key not in booked)


def project_roi(project: Project) -> Roi:
    """Costs and returns, at the prices of the project's configuration."""
    config = project.config()
    book(project, config)
    return roi_of(project.ledger().totals(), _results(project), config.roi)


def _finished(project: Project) -> Iterator[Record]:
    names = ["base/evaluate", "sft", "sft/evaluate", "pilot"]
    for one in read_rounds(project.rounds):
        names += [f"{one.stage}/{step}" for step in ("train", "evaluate", "audit")]
    for name in names:
        record = read_record(project.steps, name)
        if record is not None and record.state == "finished":
            yield record


def _of(project: Project, record: Record, events: list[Event], config: Config) -> Iterator[Entry]:
    """What a finished step used up."""
    stage, _, step = record.step.partition("/")
    trains = record.step == "sft" or step == "train"
    compute = Compute(record.seconds, 0)
    if trains:
        compute = compute_of(events, stage, "train")
        labels = [e["labels_used"] for e in events if _is(e, "stage_finished", stage)]
        yield entry(record.step, record.identity, "labels", labels[-1] if labels else 0, "counted")
    elif step == "evaluate" and project.run.scores(stage).exists():
        compute = Compute(record.seconds, _answered(read_scores(project.run.scores(stage))))
    elif step == "" and "tokens" in record.outputs:
        compute = Compute(record.seconds, int(record.outputs["tokens"]))
    yield entry(record.step, record.identity, "compute_seconds", compute.seconds)
    if compute.tokens:
        yield entry(record.step, record.identity, "tokens", compute.tokens, "counted")
    energy = energy_of(events, record.step, compute, config.roi.watts)
    if energy.joules is not None:
        yield entry(record.step, record.identity, "energy_joules", energy.joules, energy.how)


def _reviews(store: AuditStore) -> Iterator[Entry]:
    for audit in store.audits():
        yield from review_entries(f"{audit.name}/audit", store.verdicts(audit.name))


def _results(project: Project) -> Results:
    """From the model that the label-free rounds of the champion began with, to the champion."""
    registry = project.registry()
    after = registry.current().champion or "base"
    before = registry.version(after)
    while before.lineage.stage.startswith("round-") and before.lineage.parent is not None:
        before = registry.version(before.lineage.parent)
    scores = {
        name: read_scores(project.run.scores(name))
        for name in (before.name, after)
        if project.run.scores(name).exists()
    }
    gain = None
    first, last = scores.get(before.name), scores.get(after)
    if first is not None and last is not None and before.name != after:
        gain = paired_difference(first.greedy, last.greedy)
    questions = 0
    for stage in registry.version(after).lineage.rounds:
        record = read_record(project.steps, f"{stage}/audit")
        questions += int(record.outputs.get("labels", 0)) if record else 0
    accuracies = {name: _accuracy(found) for name, found in scores.items()}
    return Results(before.name, after, accuracies, questions, gain)


def _accuracy(scores: Scores) -> Accuracy:
    value = float(scores.greedy.mean())
    return Accuracy(value, *wilson(float(scores.greedy.sum()), len(scores.greedy)))


def _answered(scores: Scores) -> int:
    """Tokens of the sampled answers."""
    return round(float(scores.length.sum()) * scores.k) if scores.k else 0


def _is(event: Event, kind: str, stage: str) -> bool:
    return event.get("type") == kind and event.get("stage") == stage
