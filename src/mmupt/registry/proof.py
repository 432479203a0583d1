"""What a version must have proven before it is promoted."""

from __future__ import annotations

import json

from mmupt.errors import InputError, RefusedError
from mmupt.registry.versions import Decision, Version

MAX_DECISION = 16 << 20
"""Longest text of a decision in characters."""


def refuse_unproven(version: Version, decision: Decision | None, required: bool) -> None:
    """Refuse to promote what its gate has not let pass, as it is now.

    Args:
        version: to be promoted.
        decision: what its gate said last; None: nothing yet.
        required: False for a base model, which no gate has seen.

    Raises:
        RefusedError: says the verdict and what to do.
    """
    name, base = version.name, version.lineage.parent is None
    if not required:
        if base:
            return
        raise RefusedError(f"{name} is no base model; it must pass its gate")
    if decision is None:
        raise RefusedError(f"{name} has no decision of its gate yet; `mmupt run` asks it")
    if decision.version_digest != version.digest:
        raise RefusedError(
            f"{name}: decision {decision.id} of its gate is about another model (digest "
            f"{decision.version_digest[:12]}..., this is {version.digest[:12]}...); let the gate "
            "decide again"
        )
    if decision.verdict != "pass":
        todo = {
            "insufficient": "it needs more evidence, such as verdicts of an audit",
            "fail": "it stays as it is; train another round",
        }[decision.verdict]
        raise RefusedError(
            f"{name}: its gate said {decision.verdict} (decision {decision.id}, "
            f"{decision.made[:10]}); {todo}"
        )


def check_json(content: str) -> None:
    """Raises InputError: a decision that is no JSON, or too long."""
    try:
        if len(content) > MAX_DECISION:
            raise ValueError
        json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"decision {content[:40]!r}: expected JSON of at most {MAX_DECISION:,} characters"
        ) from error
