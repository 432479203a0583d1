"""What a stage used up of the machine, ready to be booked."""

from __future__ import annotations

from collections.abc import Sequence

from mmupt.errors import InputError
from mmupt.events import Event
from mmupt.ledger.book import Entry, entry
from mmupt.ledger.compute import Part, compute_of
from mmupt.ledger.energy import energy_of

_PARTS: dict[str, Part] = {"": "all", "train": "train", "evaluate": "evaluate"}


def spent_entries(
    events: Sequence[Event],
    stage: str,
    identity: str,
    *,
    watts: float | None = None,
    gpu: bool = False,
) -> tuple[Entry, ...]:
    """Entries of a stage that has come to its end; the same however often they are asked for.

    Energy that is neither measured nor estimated has no entry.

    Args:
        events: of the whole run, in order.
        stage: as the ledger names it: ``sft`` for all of it, ``round-1/train`` or
            ``round-1/evaluate`` for the parts of what events call ``round-1``. Its events of type
            ``energy`` carry this very name.
        identity: hash that the finished stage is known by.
        watts: `roi.watts`.
        gpu: the work was a GPU's.

    Raises:
        InputError: another part than these.
    """
    name, _, part = stage.partition("/")
    if part not in _PARTS:
        raise InputError(f"ledger: stage {stage[:60]!r}: its events have parts train and evaluate")
    compute = compute_of(events, name, _PARTS[part])
    energy = energy_of(events, stage, compute, watts, gpu=gpu)
    entries = [
        entry(stage, identity, "compute_seconds", compute.seconds),
        entry(stage, identity, "tokens", compute.tokens, "counted"),
    ]
    if energy.joules is not None:
        entries.append(entry(stage, identity, "energy_joules", energy.joules, energy.how))
    return tuple(entries)
