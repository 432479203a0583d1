"""`mmupt synthesize`: write, filter, vote, keep; step by step until enough is kept.

A step plans its attempts from what came of the steps before, asks the writer, reads and filters
what it wrote, has the rest answered in views, and keeps what the votes agree on within the band.
Every reply is kept on disk as soon as it came, so that the run goes on wherever it was killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from mmupt.asking.answerer import Answerer, Draw, SamplingParams, stream_seeds
from mmupt.asking.answers import final_answer
from mmupt.asking.maker import PromptMaker, blanked
from mmupt.asking.prompt import IMAGE_MARK, Prompt
from mmupt.asking.questions import make_question
from mmupt.config import Config
from mmupt.config_synthesis import SynthesisConfig
from mmupt.consensus.equivalence import equivalent
from mmupt.consensus.vote import vote
from mmupt.errors import InputError, ServerError
from mmupt.events import EventLog
from mmupt.synthesis.filters import judge, kind_of, text_reason, words_of
from mmupt.synthesis.parse import read_question
from mmupt.synthesis.record import Attempt, Record, Replies
from mmupt.synthesis.similar import Asked
from mmupt.synthesis.sources import Source, language_for
from mmupt.synthesis.steer import Tally, Try, Way, next_step
from mmupt.synthesis.wording import Example, Request, writing_prompt
from mmupt.types import Sample, Vote

STREAM = 41
"""Keeps views and random numbers apart from those of other uses."""

SAMPLES_AT_A_TIME = 16
"""Questions whose votes are asked for in one piece: what a killed run has to ask again, at most."""

_LONGEST = 8
"""How many of the longest requests are tried before a run starts."""

_LONG_ANSWER = "12345678"

_GONE = 4
"""So many questions in a piece without any reply: it is the server that is gone."""

_WRITE, _EXAMPLE, _VOTE, _BLIND = range(4)

Answers = list[str | None] | None
"""Of one question, None for abstentions; None as a whole: refused, or no reply came."""


@dataclass(frozen=True)
class Wanted:
    """When to stop: `n` questions, or `budget` attempts."""

    n: int
    budget: int


@dataclass(frozen=True)
class Outcome:
    """What a run ended with.

    Attributes:
        attempts: all of them, in order.
        accepted: the first n that were kept.
        ended: `wanted`: n were kept; `budget`: the attempts were spent; `exhausted`: no picture is
            left that may get another question.
    """

    attempts: tuple[Attempt, ...]
    accepted: tuple[Attempt, ...]
    ended: Literal["wanted", "budget", "exhausted"]


@dataclass
class Synthesis:
    """A run.

    Attributes:
        config: `synthesis`, `consensus`, `views`, `seed`, `model.max_pixels` and
            `train.max_completion_length` are read.
        sources: rows with pictures.
        writer: writes the questions.
        voter: answers them.
        record: what is there already.
        log: told about progress.
        forbidden: texts that no question may hold: the models' special tokens.
        tuned: the writer was fine-tuned on plain requests, and is asked nothing else.
    """

    config: Config
    sources: Sequence[Source]
    writer: Answerer
    voter: Answerer
    record: Record
    log: EventLog
    forbidden: tuple[str, ...] = ()
    tuned: bool = False
    _tally: Tally = field(default_factory=Tally)
    _examples: dict[int, tuple[str | None, float | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = self.config.synthesis
        self._maker = PromptMaker(
            self.config.views, max_pixels=self.config.model.max_pixels, seed=self.config.seed
        )
        self._asked = Asked(own.near_duplicate)
        self._known = None
        if own.known_words:
            self._known = {word for s in self.sources for word in words_of(s.sample.problem)}
        for source in self.sources:
            self._asked.add(source.pictures, source.sample.problem)
            for wording in source.sample.paraphrases:
                self._asked.add(source.pictures, wording)

    @property
    def ways(self) -> list[Way]:
        """How can be asked."""
        own = self.config.synthesis
        kinds: Sequence[str] = own.kinds or ("same",)
        if own.kinds is None and own.mode == "direct":
            kinds = ("any",) if self.tuned else ("choice", "number", "free")
        steer = own.steer_difficulty and not self.tuned
        difficulties = ("plain", "easier", "harder") if steer else ("plain",)
        return [(kind, difficulty) for kind in kinds for difficulty in difficulties]

    def run(self, wanted: Wanted) -> Outcome:
        """Go on from what is there until enough is kept or the budget is spent.

        Raises:
            InputError: a picture that cannot be read.
            ServerError: the server is gone; nothing that it did not answer is recorded.
        """
        attempts: list[Attempt] = []
        steps = self.record.steps()
        for step in steps:
            self._learn(step)
            attempts += step
        number = len(steps)
        while True:
            kept = [one for one in attempts if one.reason is None]
            self._tell(attempts, wanted)
            if len(kept) >= wanted.n:
                return Outcome(tuple(attempts), tuple(kept[: wanted.n]), "wanted")
            if len(attempts) >= wanted.budget:
                return Outcome(tuple(attempts), tuple(kept), "budget")
            step = self._step(number, len(attempts), self._size(len(kept), len(attempts), wanted))
            if not step:
                return Outcome(tuple(attempts), tuple(kept), "exhausted")
            self.record.finish(number, step)
            self._learn(step)
            attempts += step
            number += 1
            reasons = Counter(one.outcome for one in step)
            self.log.emit("synthesis_step", step=number, attempts=len(attempts), outcomes=reasons)

    def _size(self, kept: int, attempts: int, wanted: Wanted) -> int:
        """Attempts of a step; near the end no more than may be needed."""
        useful = max(4, 2 * (wanted.n - kept))
        return min(self.config.synthesis.attempts_per_step, useful, wanted.budget - attempts)

    def _learn(self, step: Sequence[Attempt]) -> None:
        """Take what came of a step into account, whether it ran now or before."""
        for one in step:
            source = self.sources[one.source]
            if self.config.synthesis.mode == "in-context":
                self._examples[one.source] = one.example, one.example_share
            if one.share is not None and one.question is not None:
                self._asked.add(source.pictures, one.question)
            if one.reason != "failed":
                done = Try(one.source, one.kind, one.difficulty)
                self._tally.add(done, source.pictures, one.reason is None)

    def _tell(self, attempts: Sequence[Attempt], wanted: Wanted) -> None:
        kept = sum(one.reason is None for one in attempts)
        self.log.tell(
            "synthesis_progress", accepted=min(kept, wanted.n), wanted=wanted.n,
            attempts=len(attempts), budget=wanted.budget,
        )  # fmt: skip

    # --- one step ---------------------------------------------------------------------------------

    def _step(self, number: int, first: int, size: int) -> list[Attempt]:
        own = self.config.synthesis
        tries = next_step(
            size, [s.pictures for s in self.sources], self.ways, self._tally,
            max_per_picture=own.max_per_picture, seed=f"{self.config.seed} {number}",
        )  # fmt: skip
        if own.mode == "in-context":
            self._vote_on_examples(number, tries)
        attempts = [self._begun(first + place, one) for place, one in enumerate(tries)]
        written = self._write(number, attempts)
        attempts = [self._read(one, text) for one, text in zip(attempts, written, strict=True)]
        attempts = self._without_repetitions(attempts)
        asked = [one for one in attempts if one.reason is None]
        groups = self._votes(number, _VOTE, [self.sample_of(one) for one in asked])
        judged = [self._judge(one, group) for one, group in zip(asked, groups, strict=True)]
        if own.blind_check:
            judged = self._blind(number, judged)
        after = {one.number: one for one in judged}
        return [after.get(one.number, one) for one in attempts]

    def _begun(self, number: int, one: Try) -> Attempt:
        source = self.sources[one.source]
        example, share = self._examples.get(one.source, (None, None))
        return Attempt(
            number, one.source, source.sample.id, one.kind, one.difficulty, source.language,
            example, share,
        )  # fmt: skip

    def _vote_on_examples(self, number: int, tries: Sequence[Try]) -> None:
        """The majority's answers to the sources' own questions, each asked once."""
        new = sorted({one.source for one in tries} - set(self._examples))
        groups = self._votes(number, _EXAMPLE, [self.sources[i].sample for i in new])
        for i, group in zip(new, groups, strict=True):
            outcome = self._vote(group or [])
            self._examples[i] = outcome.label, outcome.share if group else None

    def request(self, one: Attempt) -> Request:
        """What the writer is asked in an attempt."""
        source = self.sources[one.source]
        example, kind = None, one.kind
        if self.config.synthesis.mode == "in-context":
            example = Example(source.question, one.example)
            if kind == "same":
                known = one.example is not None
                kind = kind_of(source.sample.problem, one.example)
                kind = kind if known or kind == "choice" else "any"
        return Request(
            len(source.sample.images), source.language, kind, one.difficulty, example, self.tuned
        )

    def _write(self, number: int, attempts: Sequence[Attempt]) -> list[Replies]:
        own = self.config.synthesis
        params = SamplingParams(
            own.temperature, own.top_p, max_completion_length=own.max_completion_length
        )

        def prompts(start: int, stop: int) -> list[Prompt]:
            return [
                self._maker.prompt(
                    replace(
                        self.sources[one.source].sample,
                        problem=writing_prompt(self.request(one)),
                        paraphrases=(),
                    )
                )
                for one in attempts[start:stop]
            ]

        return self._ask(number, _WRITE, self.writer, prompts, len(attempts), 1, 1, params)

    def _read(self, one: Attempt, replies: Replies) -> Attempt:
        """The question in what was written, or the reason why there is none."""
        own, source = self.config.synthesis, self.sources[one.source]
        if replies is None:
            return replace(one, reason="refused")
        (reply,) = replies
        if reply is None:
            return replace(one, reason="failed")
        found = read_question(reply.text, reply.finish, len(source.sample.images), self.forbidden)
        one = replace(one, text=reply.text, question=found.question, reason=found.reason)
        if found.question is None:
            return one
        reason = text_reason(
            found.question,
            language=source.language,
            kind=one.kind,
            strict=own.kinds is not None,
            config=own,
            known=self._known,
        )
        return replace(one, reason=reason)

    def _without_repetitions(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Refuse what repeats a known question about the pictures, or one of the same step."""
        new, result = Asked(self.config.synthesis.near_duplicate), []
        for one in attempts:
            if one.reason is None and one.question is not None:
                pictures = self.sources[one.source].pictures
                reason = self._asked.repeated(pictures, one.question) or new.repeated(
                    pictures, one.question
                )
                new.add(pictures, one.question)
                one = replace(one, reason=reason)
            result.append(one)
        return result

    def _judge(self, one: Attempt, answers: Answers) -> Attempt:
        own, rules = self.config.synthesis, self.config.consensus
        if answers is None:
            return replace(one, reason="refused")
        if not answers:
            return replace(one, reason="failed")
        question = one.question or ""
        found = judge(
            question, answers, own, kind=one.kind, strict=own.kinds is not None,
            answer_kind=rules.kind, rtol=rules.rtol,
        )  # fmt: skip
        return replace(
            one,
            reason=found.reason,
            share=found.vote.share,
            question_kind=kind_of(question, found.vote.label),
            votes=dict(Counter(answer or "" for answer in answers)),
        )

    def _blind(self, number: int, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Refuse what gets the majority's answer about blank pictures, too."""
        kept = [one for one in attempts if one.reason is None]
        samples = [self.sample_of(one) for one in kept]
        params = SamplingParams(0.0, max_completion_length=self.config.train.max_completion_length)

        def prompts(start: int, stop: int) -> list[Prompt]:
            return [blanked(self._maker.prompt(sample)) for sample in samples[start:stop]]

        replies = self._ask(number, _BLIND, self.voter, prompts, len(kept), 1, 1, params)
        known = {}
        for one, sample, group in zip(kept, samples, replies, strict=True):
            answers = self._answers(sample, [group])
            if not answers:  # unchecked is not passed
                reason = "refused" if answers is None else "failed"
                known[one.number] = replace(one, reason=reason)
                continue
            (answer,) = answers
            label = self._vote([a for a, n in one.votes.items() for _ in range(n)]).label
            same = equivalent(answer, label, self.config.consensus.kind, self.config.consensus.rtol)
            known[one.number] = replace(one, reason="blind" if same else None)
        return [known.get(one.number, one) for one in attempts]

    # --- asking -----------------------------------------------------------------------------------

    def sample_of(self, one: Attempt) -> Sample:
        """The new question as a row of data, for its votes."""
        source = self.sources[one.source].sample
        problem = (one.question or "") + self.config.synthesis.suffix
        return Sample(f"attempt-{one.number}", problem, source.images, f"attempt {one.number}")

    def _votes(self, number: int, stage: int, samples: Sequence[Sample]) -> list[Answers]:
        """G answers to each sample, over views as in `consensus`."""
        rules = self.config.consensus
        params = SamplingParams(
            rules.temperature, max_completion_length=self.config.train.max_completion_length
        )

        def prompts(start: int, stop: int) -> list[Prompt]:
            return [
                self._maker.prompt(sample, view, STREAM)
                for sample in samples[start:stop]
                for view in range(rules.views)
            ]

        replies = self._ask(
            number, stage, self.voter, prompts, len(samples), rules.views,
            rules.samples_per_view, params,
        )  # fmt: skip
        return [
            self._answers(sample, replies[i * rules.views : (i + 1) * rules.views])
            for i, sample in enumerate(samples)
        ]

    def _answers(self, sample: Sample, replies: Sequence[Replies]) -> Answers:
        """The answers of a sample's views; empty where half of the replies did not come."""
        found: list[str | None] = []
        for view, group in enumerate(replies):
            if group is None:
                return None
            asked = make_question(
                sample, self.config.views, view, self.config.seed, sample.id, STREAM
            )
            shown = Prompt(asked.problem, (), sample.origin, asked.labels)
            kind = self.config.consensus.kind
            found += [final_answer(one, shown, kind) for one in group if one is not None]
        wanted = sum(len(group) for group in replies if group is not None)
        return found if 2 * len(found) > wanted else []

    def _vote(self, answers: Sequence[str | None]) -> Vote:
        rules = self.config.consensus
        return vote([a or None for a in answers], kind=rules.kind, rtol=rules.rtol)

    def _ask(
        self,
        number: int,
        stage: int,
        answerer: Answerer,
        prompts: Callable[[int, int], list[Prompt]],
        count: int,
        each: int,
        per_prompt: int,
        params: SamplingParams,
    ) -> list[Replies]:
        """Replies to `each` prompts of `count` things, piece by piece, each piece asked once."""
        seeds = stream_seeds(
            self.config.seed, STREAM, number, stage, count=count * each * per_prompt
        )
        found: list[Replies] = []
        for start in range(0, count, SAMPLES_AT_A_TIME):
            stop = min(count, start + SAMPLES_AT_A_TIME)
            own = seeds[start * each * per_prompt : stop * each * per_prompt]
            draw = Draw(params, own, per_prompt)

            def ask(start: int = start, stop: int = stop, draw: Draw = draw) -> list[Replies]:
                return _whole(answerer, _tried(answerer, prompts(start, stop), draw), stop - start)

            found += self.record.replies(number, f"{stage}-{start:06d}", ask)
        return found


def _whole(answerer: Answerer, replies: list[Replies], things: int) -> list[Replies]:
    """The replies to a piece; one or two questions that get none are their own fault.

    Raises:
        ServerError: nothing came at all.
    """
    given = [one for group in replies if group is not None for one in group]
    if things >= _GONE and given and not any(given):
        raise ServerError(
            f"{answerer.name}: none of {len(given)} replies came; repeat the command to go on"
        )
    return replies


def longest_requests(
    samples: Sequence[Sample], config: SynthesisConfig, *, brief: bool = False
) -> list[Sample]:
    """What the writer is asked about the rows with the longest questions and with most pictures."""
    by_text = sorted(samples, key=lambda s: len(s.problem), reverse=True)
    by_pictures = sorted(samples, key=lambda s: len(s.images), reverse=True)
    asked = []
    for sample in {s.id: s for s in (*by_text[:_LONGEST], *by_pictures[:_LONGEST])}.values():
        question = sample.problem.replace(IMAGE_MARK, " ")
        language = language_for(question, config)
        example = Example(question, _LONG_ANSWER) if config.mode == "in-context" else None
        request = Request(len(sample.images), language, "choice", "harder", example, brief)
        asked.append(replace(sample, problem=writing_prompt(request), paraphrases=()))
    return asked


def _tried(answerer: Answerer, prompts: Sequence[Prompt], draw: Draw) -> list[Replies]:
    """Replies to prompts; a prompt that the model cannot take is refused alone."""
    try:
        (groups,) = answerer.complete(prompts, [draw])
    except InputError:  # too long with its pictures, or the processor does not like its text
        if len(prompts) == 1:
            return [None]
        each = draw.count
        return [
            _tried(answerer, [prompt], replace(draw, seeds=draw.seeds[i * each : (i + 1) * each]))[
                0
            ]
            for i, prompt in enumerate(prompts)
        ]
    return [list(group) for group in groups]
