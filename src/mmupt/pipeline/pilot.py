"""`mmupt vote`: consensus without training. What would label-free learning have to go on here?

Every question is answered in several views and voted on, some are asked again about other and
blank pictures, and the figures are put to a rule: ready, sft-first or not-suitable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmupt.asking.answerer import SamplingParams
from mmupt.asking.answers import Reply
from mmupt.config import Config, ConsensusConfig
from mmupt.config_votes import MajorityVote
from mmupt.errors import ConfigError, InputError
from mmupt.events import EventLog
from mmupt.pipeline.about import about
from mmupt.pipeline.pilot_files import (
    PICTURES,
    VOTES,
    Parts,
    VoteRow,
    fingerprint,
    picture_row,
    remove_parts,
    vote_row,
)
from mmupt.pipeline.pilot_metrics import pilot_metrics
from mmupt.pipeline.pilot_pictures import (
    PICTURE_VIEWS,
    Swap,
    ask_pictures,
    swaps,
)
from mmupt.pipeline.pilot_rows import figures_of
from mmupt.pipeline.stages import Stages, check_prompts
from mmupt.policy.answers import ask_views
from mmupt.policy.memory import halving
from mmupt.runs import write_json
from mmupt.train.labels import TEACHER_STREAM, Label, label_by_vote
from mmupt.types import Finish, Sample

VOTE_STREAM = 7
"""Keeps the random numbers of a pilot apart from those of other uses."""

MOST_ROWS = 64
"""Most questions of a part: what a killed pilot has to ask again."""

NAMES = {
    "en": {"votes": "votes", "pictures": "picture test"},
    "ja": {"votes": "投票", "pictures": "画像検査"},
}
"""The two bars on the terminal."""


def with_votes(config: Config, samples: int | None, views: int | None) -> Config:
    """The configuration with G answers to each question, spread evenly over N views.

    Args:
        config: `consensus.views` and `consensus.samples_per_view` are the defaults.
        samples: G; None: as many per view as configured.
        views: N; None: as configured.

    Raises:
        ConfigError: G is not a multiple of N, or one of them is below 1.
    """
    for name, value in (("samples", samples), ("views", views)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value} is below 1; ask for at least one")
    consensus = config.consensus
    across = consensus.views if views is None else views
    per_view, left = consensus.samples_per_view, 0
    if samples is not None:
        per_view, left = divmod(samples, across)
    if left or not per_view:
        raise ConfigError(
            f"--samples {samples} is not a multiple of the {across} views; "
            f"ask for {max(1, round((samples or 0) / across)) * across}, or change --views"
        )
    update = {"views": across, "samples_per_view": per_view}
    return config.model_copy(update={"consensus": consensus.model_copy(update=update)})


def run_pilot(
    stages: Stages,
    samples: Sequence[Sample],
    truth: Mapping[str, str] | None = None,
    lang: str = "en",
    *,
    after: str = "base",
    within: Path | None = None,
) -> dict[str, Any]:
    """Ask what is not asked yet, and write the tables and `metrics.json`. Returns the metrics.

    Args:
        stages: model, folder, configuration and events of the run.
        samples: the questions; without answers.
        truth: true answers of some of them by id; with them the majority is audited. They touch
            nothing but the figures, so an audit can be added to a finished pilot.
        lang: language of the reasons, `en` or `ja`.
        after: the stage whose model is asked.
        within: the pilot's folder in a project; None: it is a run of its own.
    """
    config, folder = stages.config, within or stages.folder.root
    parts, mark = folder / "parts", fingerprint(samples)
    votes = Parts(folder / "votes.parquet", parts, VOTES, mark)
    pictures = Parts(folder / "pictures.parquet", parts, PICTURES, mark)
    size = max(1, min(MOST_ROWS, config.eval.batch_size // config.consensus.views))
    # A swap that is too long for the model is left out; only seen with the model at hand.
    pairs = [] if pictures.whole() else _fitting(stages, after, swaps(samples, config.seed))
    asked, tested = _slices(samples, size), _slices(pairs, size)
    if within is None:
        _plan(stages.log, config, votes, pictures, asked, tested, lang)
    _fill(votes, asked, lambda part, key: _vote_rows(stages, after, part, key), stages.log, lang)
    _fill(
        pictures,
        tested,
        lambda part, key: _picture_rows(stages, after, part, key),
        stages.log,
        lang,
    )
    remove_parts(parts)
    rows, seconds = votes.read()
    tests, more = pictures.read()
    metrics = pilot_metrics(
        [vote_row(row) for row in rows],
        [picture_row(row) for row in tests],
        sum(bool(sample.images) for sample in samples),
        truth,
        config,
        lang,
    )
    metrics |= {"seconds": seconds + more, **about(config)}
    write_json(folder / "metrics.json", metrics)
    if within is None:
        stages.log.emit("run_finished", verdict=metrics["verdict"], seconds=metrics["seconds"])
    return metrics


def _slices(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _fitting(stages: Stages, after: str, pairs: Sequence[Swap]) -> list[Swap]:
    """The swaps whose question and other pictures the model has room for."""
    fitting = []
    for pair in pairs:
        try:
            check_prompts(stages.policy(after), [pair.swapped], stages.config)
        except InputError:
            continue  # each fits its own pictures, which were checked before
        fitting.append(pair)
    return fitting


def _plan(
    log: EventLog, config: Config, votes: Parts, pictures: Parts,
    asked: Sequence[Sequence[Sample]], tested: Sequence[Sequence[Swap]], lang: str,
) -> None:  # fmt: skip
    """What is left to do, in answers, for the bar of the whole run."""
    each = config.consensus.views * config.consensus.samples_per_view
    work = {
        f"evaluate {NAMES[lang][table.path.stem]}": float(rows * answers)
        for table, slices, answers in (
            (votes, asked, each), (pictures, tested, 3 * PICTURE_VIEWS)
        )
        if (rows := _left(table, slices))
    }  # fmt: skip
    if work:
        log.tell("run_planned", work=work)


def _left(table: Parts, slices: Sequence[Sequence[Any]]) -> int:
    """Questions that are not asked yet."""
    if table.whole():
        return 0
    done = set(table.done())
    return sum(len(part) for number, part in enumerate(slices) if number not in done)


def _fill(
    table: Parts,
    slices: Sequence[Sequence[Any]],
    ask: Callable[[Sequence[Any], int], list[dict[str, Any]]],
    log: EventLog,
    lang: str,
) -> None:
    """Ask every part that is not there, then join them. A part depends on its number alone."""
    if table.whole():
        return
    stage, total, done = table.path.stem, _left(table, slices), 0
    log.emit("pilot_started", stage=stage, rows=sum(map(len, slices)), left=total)
    if total:  # the console's bars are those of evaluations; on resuming they count what is left
        log.tell("evaluation_started", stage=NAMES[lang][stage], total=total)
    there = set(table.done())
    with halving(log, stage):
        for number, part in enumerate(slices):
            if number in there:
                continue
            started = time.perf_counter()
            rows = ask(part, number)
            table.write(number, rows, time.perf_counter() - started)
            done += len(part)
            log.tell("evaluation_progress", stage=NAMES[lang][stage], done=done, total=total)
    table.join(len(slices))
    log.emit("pilot_finished", stage=stage)


def _vote_rows(
    stages: Stages, after: str, part: Sequence[Sample], number: int
) -> list[dict[str, Any]]:
    config, consensus = stages.config, stages.config.consensus
    groups = ask_views(
        stages.policy(after), part, stages.prompts,
        views=consensus.views, per_view=consensus.samples_per_view,
        params=SamplingParams(
            consensus.temperature, max_completion_length=config.train.max_completion_length
        ),
        stream=TEACHER_STREAM, key=(config.seed, VOTE_STREAM, number),
        kind=consensus.kind, batch_size=config.eval.batch_size,
    )  # fmt: skip
    labels = label_by_vote(groups, part, votes_of(consensus))
    return [
        _row(sample, group, label).columns()
        for sample, group, label in zip(part, groups, labels, strict=True)
    ]


def votes_of(consensus: ConsensusConfig) -> ConsensusConfig:
    """The configured votes; "dual" needs a student beside the teacher, so here the majority."""
    if consensus.strategy.name != "dual":
        return consensus
    return consensus.model_copy(update={"strategy": MajorityVote()})


def _row(sample: Sample, group: Sequence[Reply], label: Label) -> VoteRow:
    views = tuple(reply.completion.view for reply in group)
    return VoteRow(
        id=sample.id,
        answers=label.answers,
        views=views,
        truncated=sum(reply.completion.finish is Finish.LENGTH for reply in group),
        tokens=sum(len(reply.completion.token_ids) for reply in group),
        figures=figures_of(label.vote, views, label.kept),
    )


def _picture_rows(
    stages: Stages, after: str, part: Sequence[Swap], number: int
) -> list[dict[str, Any]]:
    rows = ask_pictures(stages.policy(after), stages.prompts, part, stages.config, key=(number,))
    return [asdict(row) for row in rows]
