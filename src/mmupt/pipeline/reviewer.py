"""A reviewer who knows the answers: for the demo and for walks through a project."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from mmupt.audit.records import Item, Kind, Verdict
from mmupt.audit.store import AuditStore
from mmupt.config import Config
from mmupt.consensus.equivalence import partition
from mmupt.pipeline.auditing import sample_of, standing_of
from mmupt.pipeline.machine import Reviewer

BATCH = 10
"""Verdicts between two looks at whether the gate needs more."""


def answer_key(answers: Mapping[str, str], name: str = "answer key") -> Reviewer:
    """Judges pseudo-labels by true answers, in the audit's order, until the gate can decide.

    Args:
        answers: true answer by sample id.
        name: the reviewer's, as it stands in the records.
    """

    def review(store: AuditStore, audit: str, config: Config) -> None:
        standing = standing_of(store, audit, config)
        if standing is None or not standing.open:
            return
        judged = {verdict.unit for verdict in store.verdicts(audit)}
        waiting = [item for item in store.items(audit) if item.unit not in judged]
        for start in range(0, len(waiting), BATCH):
            store.add_all(
                audit,
                [_verdict(item, answers, name, config) for item in waiting[start : start + BATCH]],
            )
            standing = standing_of(store, audit, config)
            if standing is None or not standing.open:
                return

    return review


def _verdict(item: Item, answers: Mapping[str, str], name: str, config: Config) -> Verdict:
    truth = answers.get(sample_of(item))
    kind: Kind = "unsure"
    if truth is not None:
        consensus = config.consensus
        own, right = partition([item.pseudo_label, truth], kind=consensus.kind, rtol=consensus.rtol)
        kind = "accept" if own is not None and own == right else "correct"
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"mmupt:{item.audit}:{item.unit}:{name}"))
    answer = truth if kind == "correct" else None
    return Verdict(key, item.audit, item.unit, name, kind, answer)
