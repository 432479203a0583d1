"""The guard of one label-free round: when it looks, what it remembers, what it decides."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from mmupt.config import GuardConfig
from mmupt.events import EventLog
from mmupt.guard.probe import Probe, Start
from mmupt.guard.rules import Finding, Watched, findings, informed
from mmupt.guard.signals import Estimate, Look
from mmupt.policy.model import Policy

Audit = Callable[[Policy], float]
"""Greedy accuracy on rows that people have checked."""

FIRST_LOOKS = 8
"""Within so many first updates looks are close: where a round goes wrong fast, it does so there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a watched round ended.

    Attributes:
        steps: updates that were made.
        stopped_by: the rules that ended it; empty when it ran to its end.
        best_step: update of the checkpoint that the round ends with; 0 is its start.
        anchors: different questions with people's answers that were trained on.
    """

    steps: int
    stopped_by: tuple[str, ...] = ()
    best_step: int | None = None
    anchors: int = 0

    @property
    def stopped(self) -> bool:
        return bool(self.stopped_by)


@dataclass
class Guard:
    """Looks at the policy between updates and keeps the weights that it ranks best.

    Attributes:
        config: bounds and action.
        probe: the fixed questions.
        log: every look, finding and decision is an event.
        stage: name of the round, for the events.
        audit: greedy accuracy of a policy on rows that people have checked, where there are some.
        best: the best weights so far, on the CPU; restored in place when a run resumes.
    """

    config: GuardConfig
    probe: Probe
    log: EventLog
    stage: str
    audit: Audit | None = None
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_step: int = 0
    _start: Start | None = None
    _surplus: Estimate = field(default_factory=lambda: Estimate(math.nan, math.nan))
    _looks: list[Look] = field(default_factory=list)
    _entropies: list[float] = field(default_factory=list)

    def begin(
        self, policy: Policy, labels: Sequence[str | None], *, views: int, stream: int
    ) -> None:
        """Ask the start, take its weights for the best, and weigh what the votes have to say.

        Args:
            policy: the model that the round starts from.
            labels: what the round's own votes make of the probe's prompts; None: not trained on.
            views, stream: the views that the student trains on.
        """
        started = time.perf_counter()
        self._start = self.probe.start(policy)
        self._surplus = self.probe.surplus(policy, labels, self._start, views, stream)
        self._looks = [self._look(policy, self._start, 0)]
        self._keep(policy, 0)
        self.log.emit(
            "guard_started", stage=self.stage, prompts=len(self.probe.samples),
            labelled=sum(label is not None for label in labels),
            surplus=self._surplus.mean, surplus_error=self._surplus.error,
        )  # fmt: skip
        self._emit_look(self._looks[0], started)
        self._judge(self._looks[0])

    def due(self, step: int, last: int) -> bool:
        """Early, then after every `steps`, and after the last.

        Early is each of the first updates where the labels have no surplus, and 1, 2, 4 and 8
        where they have one and harm is slower to come.
        """
        wary = not informed(self._surplus)
        early = step <= FIRST_LOOKS and (wary or step & (step - 1) == 0)
        return early or step % self.config.steps == 0 or step == last

    def after(self, policy: Policy, step: int, entropy: float, last: int) -> list[Finding]:
        """Look if it is time. Returns the findings that end the round."""
        self._entropies.append(entropy)
        if not self.due(step, last):
            return []
        assert self._start is not None  # noqa: S101  `begin` or `restore` came first
        started = time.perf_counter()
        look = self._look(policy, self._start, step)
        self._looks.append(look)
        self._emit_look(look, started)
        found = self._judge(look)
        broken = [finding for finding in found if finding.severity == "stop"]
        # People's answers outrank the rules; without them a look that broke one is never the best.
        if (self.audit is not None or not broken) and look.rank > max(
            one.rank for one in self._looks[:-1]
        ):
            self._keep(policy, step)
        return broken if self.config.action in ("stop", "rollback-to-best") else []

    def finish(self, policy: Policy, steps: int, stopping: Sequence[Finding]) -> Outcome:
        """Put the best weights into the policy where that is asked for, and say so."""
        roll_back = self.config.action == "rollback-to-best" and bool(stopping)
        at_end = self.config.load_best_model_at_end and not stopping
        ends_with = self.best_step if roll_back or at_end else steps
        if ends_with != steps:
            parameters = dict(policy.model.named_parameters())
            with torch.no_grad():
                for name, weights in self.best.items():
                    parameters[name].copy_(weights)
        scores = {look.step: look.score for look in self._looks}
        self.log.emit(
            "best_checkpoint", stage=self.stage, step=ends_with, last_step=steps,
            score=scores.get(ends_with), start_score=scores[0],
            stopped_by=[finding.rule for finding in stopping],
            evidence=[finding.evidence for finding in stopping],
        )  # fmt: skip
        return Outcome(steps, tuple(finding.rule for finding in stopping), ends_with)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs besides `best`; plain JSON."""
        assert self._start is not None  # noqa: S101
        return {
            "start": self._start.as_json(),
            "looks": [asdict(look) for look in self._looks],
            "entropies": self._entropies,
            "surplus": asdict(self._surplus),
            "best_step": self.best_step,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; NaN stands as null in it."""
        self._start = Start.from_json(state["start"])
        self._looks = [Look(**{k: _nan(k, v) for k, v in one.items()}) for one in state["looks"]]
        self._entropies = [math.nan if e is None else e for e in state["entropies"]]
        self._surplus = Estimate(**{k: _nan(k, v) for k, v in state["surplus"].items()})
        self.best_step = state["best_step"]

    def _look(self, policy: Policy, start: Start, step: int) -> Look:
        look = self.probe.look(policy, start, step)
        return look if self.audit is None else replace(look, audited=self.audit(policy))

    def _judge(self, look: Look) -> list[Finding]:
        """The rules that a look breaks, each recorded with what is done about it."""
        first, last = self._both_entropies()
        found = findings(Watched(look, self._looks[0], self._surplus, first, last, self.config))
        for finding in found:
            action = self.config.action if finding.severity == "stop" else "warn"
            self.log.emit("guard_finding", stage=self.stage, action=action, **asdict(finding))
        return found

    def _keep(self, policy: Policy, step: int) -> None:
        """Copy the trained weights to the CPU: an accelerator has no room for a second model."""
        self.best_step = step
        for name, parameter in policy.model.named_parameters():
            if not parameter.requires_grad:
                continue
            if name in self.best:
                self.best[name].copy_(parameter.detach())
            else:
                self.best[name] = parameter.detach().to("cpu", copy=True)

    def _both_entropies(self) -> tuple[float, float]:
        """Policy entropy over the first and the last few updates; a single step is noise."""
        few = [e for e in self._entropies if not math.isnan(e)]
        return _mean(few[:FIRST_LOOKS]), _mean(few[-FIRST_LOOKS:])

    def _emit_look(self, look: Look, started: float) -> None:
        seconds = time.perf_counter() - started
        figures = asdict(look)
        self.log.emit("guard_look", stage=self.stage, score=look.score, **figures, seconds=seconds)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _nan(name: str, value: Any) -> Any:
    return math.nan if value is None and name != "top_answer" else value
