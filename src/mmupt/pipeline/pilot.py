"""`mmupt vote`: consensus without training. What would label-free learning have to go on here?

Every question is answered in several views and voted on, some are asked again about other and
blank pictures, and the figures are put to a rule: ready, sft-first or not-suitable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmupt.asking.answerer import SamplingParams
from mmupt.asking.answers import Reply
from mmupt.asking.groups import ask_views
from mmupt.config import Config, ConsensusConfig
from mmupt.config_votes import MajorityVote
from mmupt.errors import ConfigError, InputError
from mmupt.events import EventLog
from mmupt.pipeline.pilot_asked import Asked, Here
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
    tokens_of,
)
from mmupt.pipeline.pilot_rows import figures_of
from mmupt.runs import write_json
from mmupt.train.labels import TEACHER_STREAM, Label, label_by_vote
from mmupt.train.recorded import question_digest
from mmupt.types import Finish, Sample

if TYPE_CHECKING:
    from mmupt.pipeline.stages import Stages

VOTE_STREAM = 7
"""Keeps the random numbers of a pilot apart from those of other uses."""

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
    here = Here(stages, after, within or stages.folder.root)
    return run_votes(here, samples, truth, lang, alone=within is None)


def run_votes(
    asked: Asked,
    samples: Sequence[Sample],
    truth: Mapping[str, str] | None = None,
    lang: str = "en",
    *,
    alone: bool = True,
) -> dict[str, Any]:
    """`run_pilot` of whoever answers; `alone`: it is a run of its own.

    Raises:
        ServerError: a server is gone, or too many of its replies are missing (`max_failed`).
        InputError: it answered none of the questions.
    """
    config, folder, log = asked.config, asked.folder, asked.log
    parts, mark = folder / "parts", fingerprint(samples)
    votes = Parts(folder / "votes.parquet", parts, VOTES, mark)
    pictures = Parts(folder / "pictures.parquet", parts, PICTURES, mark)
    # A swap that is too long for the model is left out; only seen with the model at hand.
    pairs = [] if pictures.whole() else _fitting(asked, swaps(samples, config.seed))
    questions, tested = _slices(samples, asked.rows), _slices(pairs, asked.rows)
    each = config.consensus.views * config.consensus.samples_per_view
    if alone:
        _plan(log, config, votes, pictures, questions, tested, lang)
    _fill(votes, questions, lambda part, key: _vote_rows(asked, part, key), asked, each, lang)
    _fill(
        pictures,
        tested,
        lambda part, key: _picture_rows(asked, part, key),
        asked,
        3 * PICTURE_VIEWS,
        lang,
    )
    remove_parts(parts)
    rows, seconds = votes.read()
    if not rows:
        raise InputError(f"{folder}: not one of {len(samples)} questions was answered")
    tests, more = pictures.read()
    metrics = pilot_metrics(
        [vote_row(row) for row in rows],
        [picture_row(row) for row in tests],
        sum(bool(sample.images) for sample in samples),
        truth,
        config,
        lang,
    )
    counts = votes.counts()
    counts.update(pictures.counts())
    metrics |= {"seconds": seconds + more, **asked.about(counts)}
    write_json(folder / "metrics.json", metrics)
    if alone:
        log.emit("run_finished", verdict=metrics["verdict"], seconds=metrics["seconds"])
    return metrics


def _slices(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _fitting(asked: Asked, pairs: Sequence[Swap]) -> list[Swap]:
    """The swaps whose question and other pictures the model has room for.

    Each fits its own pictures, which were checked before.
    """
    return [pair for pair in pairs if asked.fits(pair.swapped)]


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
    asked: Asked,
    each: int,
    lang: str,
) -> None:
    """Ask every part that is not there, then join them. A part depends on its number alone.

    A part that lacks replies waits for the end: with few enough of them it is kept as it is, else
    it is asked again when the command is repeated.
    """
    if table.whole():
        return
    log, stage = asked.log, table.path.stem
    total, done, replies = _left(table, slices), 0, 0
    log.emit("pilot_started", stage=stage, rows=sum(map(len, slices)), left=total)

    def tell(new: int = 0) -> None:
        nonlocal replies
        replies += new
        rows = min(total, max(done, replies // each))
        log.tell("evaluation_progress", stage=NAMES[lang][stage], done=rows, total=total)

    if total:  # the console's bars are those of evaluations; on resuming they count what is left
        log.tell("evaluation_started", stage=NAMES[lang][stage], total=total)
    there, lacking = set(table.done()), []
    with asked.during(stage, tell):
        for number, part in enumerate(slices):
            if number in there:
                continue
            started, before = time.perf_counter(), asked.counts()
            rows = ask(part, number)
            counts = asked.counts()
            counts.subtract(before)
            answered = (number, rows, time.perf_counter() - started, counts)
            if counts["failed"]:
                lacking.append(answered)
            else:
                table.write(*answered)
            done += len(part)
            tell()
    whole = sum((counts for *_, counts in lacking), table.counts())
    if lacking:
        log.emit("replies_missing", stage=stage, replies=whole["failed"])
        asked.check(whole)
    for answered in lacking:
        table.write(*answered)
    table.join(len(slices))
    log.emit("pilot_finished", stage=stage)


def _vote_rows(asked: Asked, part: Sequence[Sample], number: int) -> list[dict[str, Any]]:
    """Votes on the questions of a part; without a row where no reply came."""
    config, consensus = asked.config, asked.config.consensus
    found = ask_views(
        asked.answerer(), part, asked.prompts,
        views=consensus.views, per_view=consensus.samples_per_view,
        params=SamplingParams(
            consensus.temperature, max_completion_length=config.train.max_completion_length
        ),
        stream=TEACHER_STREAM, key=(config.seed, VOTE_STREAM, number), kind=consensus.kind,
    )  # fmt: skip
    came = [[reply for reply in group if reply is not None] for group in found]
    samples = [sample for sample, group in zip(part, came, strict=True) if group]
    groups = [group for group in came if group]
    labels = label_by_vote(groups, samples, votes_of(consensus))
    each = consensus.views * consensus.samples_per_view
    return [
        _row(sample, group, label, each - len(group)).columns()
        for sample, group, label in zip(samples, groups, labels, strict=True)
    ]


def votes_of(consensus: ConsensusConfig) -> ConsensusConfig:
    """The configured votes; "dual" needs a student beside the teacher, so here the majority."""
    if consensus.strategy.name != "dual":
        return consensus
    return consensus.model_copy(update={"strategy": MajorityVote()})


def _row(sample: Sample, group: Sequence[Reply], label: Label, failed: int) -> VoteRow:
    views = tuple(reply.completion.view for reply in group)
    return VoteRow(
        id=sample.id,
        answers=label.answers,
        views=views,
        truncated=sum(reply.completion.finish is Finish.LENGTH for reply in group),
        tokens=tokens_of(group),
        figures=figures_of(label.vote, views, label.kept),
        failed=failed,
        question=question_digest(sample),
    )


def _picture_rows(asked: Asked, part: Sequence[Swap], number: int) -> list[dict[str, Any]]:
    rows = ask_pictures(asked.answerer(), asked.prompts, part, asked.config, key=(number,))
    return [asdict(row) for row in rows]
