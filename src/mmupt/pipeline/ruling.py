"""The error-detection rules over a round: what they are told, and what they hit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmupt.audit.rule_facts import facts_of, picture_digest
from mmupt.audit.rules import Hits, apply_rules
from mmupt.audit.store import AuditStore
from mmupt.config import Config
from mmupt.consensus.vote import vote
from mmupt.pipeline.auditing import learned
from mmupt.pipeline.frame import read_frame
from mmupt.pipeline.project import Project

HashOf = Callable[[str], str]
"""SHA-256 of the file of a path."""


def look(
    rows: Sequence[Mapping[str, Any]],
    config: Config,
    *,
    meta: Mapping[str, Mapping[str, str]],
    blind: Mapping[str, str],
    confirmed: Mapping[str | tuple[str, str], str],
    hash_of: HashOf,
) -> tuple[Hits, ...]:
    """What every rule hits among a round's rows.

    Args:
        rows: of the rollouts, one of each sample.
        config: of the project.
        meta: the samples' columns, by id.
        blind: labels that blank pictures gave, by id, where the pilot asked.
        confirmed: answers that people know, by picture and question.
        hash_of: for the pictures.
    """
    facts = [
        facts_of(
            {**row, "meta": meta.get(row["sample_id"]), "blind_label": blind.get(row["sample_id"])},
            hash_of,
        )
        for row in rows
    ]
    consensus = config.consensus
    return apply_rules(
        facts, config.rules, confirmed=confirmed, kind=consensus.kind, rtol=consensus.rtol
    )


def blind_labels(pilot: Path, config: Config) -> dict[str, str]:
    """The majority's answer to blank pictures, of the questions that the pilot asked them of."""
    path = pilot / "pictures.parquet"
    if not path.exists():
        return {}
    found = {}
    for row in pq.read_table(path, columns=["id", "blank"]).to_pylist():
        label = vote(row["blank"], kind=config.consensus.kind, rtol=config.consensus.rtol).label
        if label is not None:
            found[row["id"]] = label
    return found


def confirmed_answers(
    project: Project, store: AuditStore, rounds: Sequence[str], config: Config, hash_of: HashOf
) -> dict[str | tuple[str, str], str]:
    """What people said in the audits of some rounds, by pictures and question: ids are a file's."""
    found: dict[str | tuple[str, str], str] = {}
    for name in rounds:
        known = learned(store, name, config)
        answers = {**known.accepted, **known.corrected}
        if not answers:
            continue
        for one in read_frame(project.frame(name)):
            if one.sample_id in answers and one.images:
                key = (picture_digest(one.images, hash_of), one.problem)
                found[key] = answers[one.sample_id]
    return found
