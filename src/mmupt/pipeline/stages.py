"""Stages of a run. Each leaves a checkpoint or a scores file; one that is there is not repeated."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Protocol
from zlib import crc32

import torch

from mmupt.asking.maker import PromptMaker
from mmupt.config import Config
from mmupt.errors import InputError
from mmupt.evaluate.accuracy import blind_scores, evaluate
from mmupt.evaluate.files import read_scores, write_scores
from mmupt.evaluate.scores import Scores
from mmupt.events import EventLog, read_events
from mmupt.guard.watch import Audit, Outcome
from mmupt.pipeline.card import model_card
from mmupt.policy import adapters
from mmupt.policy.inputs import encode
from mmupt.policy.memory import halving
from mmupt.policy.model import Policy, load_policy, save_policy
from mmupt.processes import ALONE, Processes
from mmupt.runs import RunFolder
from mmupt.train.anchors import train_anchored
from mmupt.train.checkpoint import load_state
from mmupt.train.grpo import train_label_free, train_supervised
from mmupt.train.sft import run_sft
from mmupt.train.stage import AfterStep, Run
from mmupt.types import LabelledSample, Sample

INTERIM_ROWS = 200
"""Held-out rows of the quick greedy evaluation that draws the curve between two stages."""


class LabelFree(Protocol):
    """Trains a policy in place on questions without answers."""

    def __call__(
        self,
        policy: Policy,
        samples: Sequence[Sample],
        run: Run,
        *,
        after_step: AfterStep | None = None,
    ) -> Outcome | None: ...


def candidate_name(stage: str, step: int) -> str:
    """Name of the scores of a stage after one of its updates, see `Stages.candidates`."""
    return f"{stage}-step-{step:06d}"


@dataclass
class Stages:
    """Runs stages in one folder, holding at most one trained model.

    Attributes:
        folder: where everything goes.
        config: the run's configuration.
        log: events.
        test: held-out rows; empty: nothing is evaluated.
        candidates: evaluate wholly after every `eval.steps` updates and keep the scores, instead
            of the quick evaluation for the curves.
        audited: rows whose answers people have checked; they choose the best checkpoint of a
            label-free round, and nothing is trained on them.
        processes: who works on the stages together; the main one writes, and all see the folder.
    """

    folder: RunFolder
    config: Config
    log: EventLog
    test: Sequence[LabelledSample] = ()
    candidates: bool = False
    audited: Sequence[LabelledSample] = ()
    processes: Processes = ALONE
    _policy: Policy | None = field(default=None, repr=False)
    _stage: str = ""

    def __post_init__(self) -> None:
        if self.config.lora is not None:
            adapters.check_installed()
        self.prompts = PromptMaker(
            self.config.views, max_pixels=self.config.model.max_pixels, seed=self.config.seed
        )

    def policy(self, stage: str) -> Policy:
        """The model as `stage` left it; "base" is the starting model."""
        if self._policy is None or self._stage != stage:
            path = self.config.model.path if stage == "base" else self.folder.checkpoint(stage)
            assert path is not None  # noqa: S101  checked where the command starts
            self._policy = load_policy(
                path,
                dtype=self.config.model.dtype,
                device=self.config.model.device,
                max_prompt_length=self.config.model.max_prompt_length,
            )
            self._stage = stage
        return self._policy

    def sft(
        self, rows: Sequence[LabelledSample], *, after: str = "base", stage: str = "sft"
    ) -> str:
        assert self.config.sft is not None  # noqa: S101
        sft = self.config.sft

        def work(policy: Policy) -> None:
            run_sft(
                policy, rows, sft, self.prompts, self.log, state_dir=self.folder.state(stage),
                save_steps=self.config.save_steps, seed=self.config.seed, stage=stage,
                processes=self.processes, zero_stage=self.config.train.zero_stage,
            )  # fmt: skip

        return self._train(stage, after, work, len(rows), self.config)

    def label_free(
        self,
        samples: Sequence[Sample],
        *,
        after: str,
        stage: str,
        key: int,
        config: Config | None = None,
        method: LabelFree | None = None,
        how: str | None = None,
        anchors: Sequence[LabelledSample] = (),
    ) -> str:
        """One round on `samples`, which have no answers.

        Args:
            config: of this round; None: the run's.
            anchors: questions with the answers that people gave in audits, mixed in as
                `train.anchor_fraction` says.
            method: how it learns; None: label-free GRPO, watched by the guard.
            how: the same in words, for the model card.
        """
        run = self._run(stage, key, config)
        learn = method or self._learn(anchors)
        return self._train(
            stage,
            after,
            lambda p: learn(p, samples, run, after_step=self._interim(p, stage)),
            0,
            run.config,
            how,
        )

    def _learn(self, anchors: Sequence[LabelledSample]) -> LabelFree:
        if not anchors:
            return partial(train_label_free, audit=self.audit())

        def learn(
            policy: Policy,
            samples: Sequence[Sample],
            run: Run,
            *,
            after_step: AfterStep | None = None,
        ) -> Outcome:
            audit = self.audit()
            return train_anchored(policy, samples, anchors, run, after_step=after_step, audit=audit)

        return learn

    def supervised(
        self, rows: Sequence[LabelledSample], *, after: str, stage: str, key: int, config: Config
    ) -> str:
        """The upper bound: the same updates towards true answers."""
        run = self._run(stage, key, config)
        used = min(len(rows), config.train.max_steps * config.train.prompts_per_step)
        return self._train(
            stage,
            after,
            lambda p: train_supervised(p, rows, run, after_step=self._interim(p, stage)),
            used,
            config,
        )

    def evaluate(self, stage: str) -> Scores:
        """Score the model of `stage` on the held-out rows, once."""
        path = self.folder.scores(stage)
        if not self.processes.told(path.exists):
            self.log.emit("evaluation_started", stage=stage, total=len(self.test))

            def progress(done: int, total: int) -> None:
                self.log.tell("evaluation_progress", stage=stage, done=done, total=total)

            policy = self.policy(stage)
            with halving(self.log, stage, self.processes):
                scores = evaluate(
                    policy, self.test, self.config.eval, self.prompts,
                    seed=self.config.seed, progress=progress, processes=self.processes,
                )  # fmt: skip
            if self.processes.main:
                write_scores(path, scores)
            self.log.emit("evaluated", stage=stage, metrics=scores.metrics())
            self.processes.wait()
        return read_scores(path)

    def blind(self, stage: str) -> Scores:
        """Greedy scores of the model of `stage` on blank pictures, once."""
        path = self.folder.scores(f"{stage}-blind")
        if not self.processes.told(path.exists):
            policy = self.policy(stage)
            with halving(self.log, f"{stage}-blind", self.processes):
                scores = blind_scores(
                    policy, self.test, self.config.eval, self.prompts,
                    seed=self.config.seed, processes=self.processes,
                )  # fmt: skip
            if self.processes.main:
                write_scores(path, scores)
            self.processes.wait()
        return read_scores(path)

    def _run(self, stage: str, key: int, config: Config | None) -> Run:
        return Run(
            config=config or self.config, prompts=self.prompts, log=self.log, stage=stage, key=key,
            state_dir=self.folder.state(stage), rollouts_dir=self.folder.rollouts,
            processes=self.processes,
        )  # fmt: skip

    def _train(
        self,
        stage: str,
        after: str,
        work: Callable[[Policy], Outcome | None],
        labels: int,
        config: Config,
        how: str | None = None,
    ) -> str:
        if not self.processes.told(self.folder.checkpoint(stage).exists):
            started = time.perf_counter()
            policy = self.policy(after)
            self._stage = f"{stage}, unfinished"  # whatever happens now, this is no longer `after`
            if self.config.lora is not None:
                adapters.attach(policy.model, self.config.lora, self._adapter_seed(stage))
            with halving(self.log, stage, self.processes):  # a GRPO round has a limit of its own
                outcome = work(policy)
            labels += outcome.anchors if outcome is not None else 0
            card = model_card(stage, config, labels, how, outcome)
            # First said, then there: killed in between, it is said again, and no label is lost.
            self.log.emit(
                "stage_finished",
                stage=stage,
                labels_used=labels,
                seconds=time.perf_counter() - started,
                **({} if outcome is None else asdict(outcome)),
            )
            if self.processes.main:
                save_policy(policy, self.folder.checkpoint(stage), card)
            adapters.merge(policy.model)  # as it is saved, and as the next stage would load it
            self._policy = replace(policy, path=self.folder.checkpoint(stage))
            self._stage = stage
            self.processes.wait()
        if self.processes.main:
            shutil.rmtree(self.folder.state(stage), ignore_errors=True)
        return stage

    def _adapter_seed(self, stage: str) -> int:
        return crc32(f"{self.config.seed} {stage}".encode())

    def audit(self) -> Audit | None:
        """Greedy accuracy on the audited rows, as the guard asks for it."""
        if not self.audited:
            return None

        def accuracy(policy: Policy) -> float:
            scores = evaluate(
                policy, self.audited, self.config.eval, self.prompts, seed=self.config.seed,
                sampled=False, processes=self.processes,
            )  # fmt: skip
            return float(scores.greedy.mean())

        return accuracy

    def guarded(self, stage: str) -> dict[str, Any]:
        """What the guard made of a finished round: its updates, the checkpoint that it kept, and
        what ended it with the evidence; empty where nothing watched."""
        return self.processes.told(lambda: self._guarded(stage))

    def _guarded(self, stage: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in read_events(self.folder.events):
            if event["type"] == "best_checkpoint" and event["stage"] == stage:
                found = {
                    "steps": event["last_step"],
                    "best_step": event["step"],
                    "stopped_by": event["stopped_by"],
                    "evidence": event["evidence"],
                }
        return found

    def _interim(self, policy: Policy, stage: str) -> AfterStep | None:
        every, rows = self.config.eval.steps, self.test[:INTERIM_ROWS]
        if not every or not rows:
            return None
        if self.candidates:
            return self._candidates(policy, stage, every)

        def after_step(step: int) -> None:
            if step % every == 0:
                scores = evaluate(
                    policy,
                    rows,
                    self.config.eval,
                    self.prompts,
                    seed=self.config.seed,
                    sampled=False,
                    processes=self.processes,
                )
                metrics: dict[str, Any] = {"greedy": float(scores.greedy.mean()), "n": len(rows)}
                self.log.emit("evaluated", stage=stage, step=step, interim=True, metrics=metrics)

        return after_step

    def _candidates(self, policy: Policy, stage: str, every: int) -> AfterStep:
        def after_step(step: int) -> None:
            if step % every == 0:
                self._score_candidate(policy, stage, step)

        if self.folder.state(stage).exists():
            # A step is saved before it is told: killed in between, the run resumes behind it.
            twin = policy.clone()
            throwaway = torch.optim.SGD(twin.model.parameters())
            saved, _ = load_state(self.folder.state(stage), twin.model, throwaway, {})
            if saved and saved % every == 0:
                self._score_candidate(twin, stage, saved)
        return after_step

    def _score_candidate(self, policy: Policy, stage: str, step: int) -> None:
        path = self.folder.scores(candidate_name(stage, step))
        if path.exists():
            return

        def progress(done: int, total: int) -> None:
            self.log.tell("evaluation_progress", stage=stage, done=done, total=total)

        with halving(self.log, stage):
            scores = evaluate(
                policy, self.test, self.config.eval, self.prompts,
                seed=self.config.seed, progress=progress,
            )  # fmt: skip
        write_scores(path, scores)
        metrics = scores.metrics()
        self.log.emit("evaluated", stage=stage, step=step, interim=True, metrics=metrics)


LONGEST = 8
"""How many of the longest prompts are tried before a run starts."""


def check_prompts(policy: Policy, samples: Sequence[Sample], config: Config) -> None:
    """Encode the longest questions and those with most images once, before anything is written.

    Raises:
        InputError: one of them is longer than the limit, or one of its images cannot be read.
    """
    prompts = PromptMaker(config.views, max_pixels=config.model.max_pixels, seed=config.seed)
    reply = max(config.train.max_completion_length, config.eval.max_completion_length)
    longest = sorted(samples, key=lambda s: len(s.problem), reverse=True)[:LONGEST]
    fullest = sorted(samples, key=lambda s: len(s.images), reverse=True)[:LONGEST]
    for sample in {s.id: s for s in (*longest, *fullest)}.values():
        length = int(encode(policy, [prompts.prompt(sample)]).lengths[0])
        if length + reply > policy.max_length:
            raise InputError(
                f"{sample.origin}: {length} tokens with its images leave no room for a reply of "
                f"{reply}, the model takes {policy.max_length}; shorten the problem or lower "
                "max_completion_length"
            )
