"""Where an audit stands, kept up to date without making a page wait for it."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock, Thread

from mmupt.audit.agreement import krippendorff
from mmupt.audit.design import Plan
from mmupt.audit.estimate import Precision, precision, still_needed
from mmupt.audit.records import Outline
from mmupt.audit.store import AuditStore
from mmupt.audit.verdicts import judges, outcomes, ratings, resolve
from mmupt.config import Config
from mmupt.errors import MmuptError
from mmupt.pipeline.auditing import threshold_of

QUICK = 0.03
"""Seconds within which figures are worked out while the page waits."""

PATIENCE = 1.0
"""Seconds that a page of figures waits for them; that of a sample shows those before."""

REST = 5.0
"""Slower ones are worked out at most once in so many times their own duration."""


@dataclass(frozen=True)
class Figures:
    """An audit in figures.

    Attributes:
        turn: last verdict that is in them.
        asked: pseudo-labels in the audit.
        settled: of them with a verdict that counts, or on which people differ for good.
        precision: what the verdicts prove; None: the audit's plan cannot be read.
        needed: about how many more verdicts the gate needs; 0: it can decide.
        threshold: that the gate asks for; None: it asks for none.
        begun: pseudo-labels that wait for a further reviewer, so that they count.
        judged: by reviewer.
        alpha: Krippendorff's; NaN: not enough units with several reviewers.
        alpha_low, alpha_high: its interval.
        alpha_units: units with several reviewers.
        seconds: that all reviewers spent.
    """

    turn: int
    asked: int
    settled: int
    precision: Precision | None
    needed: int
    threshold: float | None
    begun: int
    judged: dict[str, int]
    alpha: float
    alpha_low: float
    alpha_high: float
    alpha_units: int
    seconds: float


class Board:
    """The figures of a project's audits, each worked out again when verdicts came in.

    Args:
        store: has the audits.
        config: of the project.
    """

    def __init__(self, store: AuditStore, config: Config) -> None:
        self._store, self._config = store, config
        self._plans: dict[str, Plan | None] = {}
        self._outlines: dict[str, tuple[Outline, ...]] = {}
        self._known: dict[str, Figures] = {}
        self._next: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._busy: set[str] = set()
        self._lock = Lock()

    def outline(self, audit: str) -> tuple[Outline, ...]:
        """The items of an audit, read once: they never change."""
        if audit not in self._outlines:
            self._outlines[audit] = self._store.outline(audit)
        return self._outlines[audit]

    def figures(self, audit: str, turn: int, *, wait: bool = False) -> Figures:
        """Those at a turn, or for a large audit those of a moment before.

        Args:
            audit: whose.
            turn: of the last verdict.
            wait: rather be a moment late than of the moment before.
        """
        known = self._known.get(audit)
        patience = PATIENCE if wait else QUICK
        if known is None or (known.turn != turn and self._took[audit] < patience):
            return self._work_out(audit)
        if known.turn != turn:
            with self._lock:
                if audit in self._busy or time.monotonic() < self._next[audit]:
                    return known
                self._busy.add(audit)
            Thread(target=self._later, args=(audit,), daemon=True).start()
        return known

    def _later(self, audit: str) -> None:
        try:
            with suppress(MmuptError):  # the page that needs the database tells
                self._work_out(audit)
        finally:
            with self._lock:
                self._busy.discard(audit)

    def _work_out(self, audit: str) -> Figures:
        start = time.monotonic()
        found = self._figures(audit)
        took = time.monotonic() - start
        self._took[audit], self._next[audit] = took, time.monotonic() + REST * took
        self._known[audit] = found
        return found

    def _plan(self, audit: str) -> Plan | None:
        if audit not in self._plans:
            tree = json.loads(self._store.audit(audit).plan)
            self._plans[audit] = Plan.from_json(tree) if "drawn" in tree else None
        return self._plans[audit]

    def _figures(self, audit: str) -> Figures:
        outline, plan = self.outline(audit), self._plan(audit)
        seen = self._store.seen(audit)
        verdicts = self._store.verdicts(audit)
        asked = self._config.audit
        resolved = resolve(verdicts, asked.reviewers, asked.second_review)
        settled = outcomes(resolved)
        threshold = threshold_of(self._config)
        needed = len(outline) - len(settled)
        proved = None
        if plan is not None:
            slices = {one.unit: one.slices for one in outline}
            proved = precision(plan, settled, slices)
            needed = 0 if threshold is None else still_needed(plan, settled, threshold)
            wrong = sum(value is not True for value in settled.values())
            if plan.acceptance is not None and wrong > plan.acceptance:
                needed = 0  # the lot is rejected, whatever follows
        agreement = krippendorff(ratings(verdicts))
        with seen.lock:
            judged = {
                who: sum(judges(seen.by_unit[unit][who]) for unit in units)
                for who, units in sorted(seen.history.items())
            }
            turn = seen.turn
        return Figures(
            turn=turn,
            asked=len(outline),
            settled=len(settled),
            precision=proved,
            needed=needed,
            threshold=threshold,
            begun=sum(one.state == "open" and bool(one.reviewers) for one in resolved.values()),
            judged={who: count for who, count in judged.items() if count},
            alpha=agreement.alpha,
            alpha_low=agreement.interval.low,
            alpha_high=agreement.interval.high,
            alpha_units=agreement.units,
            seconds=math.fsum(one.seconds for one in verdicts),
        )
