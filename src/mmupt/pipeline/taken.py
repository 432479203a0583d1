"""What a round takes from the audits before it, fixed when it begins.

Verdicts may come in while a round trains; what it was made of must not change under it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmupt.audit.store import AuditStore
from mmupt.config import Config
from mmupt.errors import RunFolderError
from mmupt.pipeline.auditing import learned
from mmupt.pipeline.rounds import Round
from mmupt.runs import write_json
from mmupt.train.anchors import without
from mmupt.types import LabelledSample, Sample

Read = Callable[[Round], Sequence[Sample]]
"""The questions of a round."""


@dataclass(frozen=True)
class Taken:
    """What people said in earlier audits, as one round uses it.

    Attributes:
        quarantined: ids of this round's data whose label people rejected.
        anchors: ``[round, sample id, answer]``: true answers that are mixed into training.
        audited: the same for answers that only choose the best checkpoint.
    """

    quarantined: tuple[str, ...] = ()
    anchors: tuple[tuple[int, str, str], ...] = ()
    audited: tuple[tuple[int, str, str], ...] = ()


@dataclass(frozen=True)
class RoundData:
    """The rows of a round, as training takes them."""

    samples: Sequence[Sample]
    anchors: Sequence[LabelledSample]
    audited: Sequence[LabelledSample]


def take(path: Path, store: AuditStore, rounds: Sequence[Round], config: Config) -> Taken:
    """What the last of `rounds` takes from the others' audits, once: from `path` if it is there.

    With `train.anchor_fraction` corrected answers are anchors and confirmed ones choose the
    checkpoint; without it both choose.
    """
    if path.exists():
        return _read(path)
    this = rounds[-1]
    bad: set[str] = set()
    anchors: list[tuple[int, str, str]] = []
    audited: list[tuple[int, str, str]] = []
    for former in rounds[:-1]:
        found = learned(store, former.stage, config)
        if former.source(config) == this.source(config):
            bad |= found.quarantined
        corrected = [(former.number, *pair) for pair in sorted(found.corrected.items())]
        (anchors if config.train.anchor_fraction else audited).extend(corrected)
        audited.extend((former.number, *pair) for pair in sorted(found.accepted.items()))
    taken = Taken(tuple(sorted(bad)), tuple(anchors), tuple(audited))
    write_json(path, asdict(taken))
    return taken


def round_data(
    taken: Taken, this: Round, rounds: Sequence[Round], read: Read, config: Config
) -> RoundData:
    """The rows of a round: rejected ones left out, and none of those that choose checkpoints."""
    needed = {number for number, *_ in (*taken.anchors, *taken.audited)}
    questions = {
        (one.number, sample.id): sample
        for one in rounds
        if one.number in needed
        for sample in read(one)
    }
    anchors, audited = (_rows(part, questions) for part in (taken.anchors, taken.audited))
    same = {one.number for one in rounds if one.source(config) == this.source(config)}
    aside = {id_ for number, id_, _ in taken.audited if number in same}
    samples = without(read(this), {*taken.quarantined, *aside})
    return RoundData(samples, anchors, audited)


def _rows(
    part: Sequence[tuple[int, str, str]], questions: Mapping[tuple[int, str], Sample]
) -> list[LabelledSample]:
    """Labelled rows, one for each id: what was said last counts."""
    rows = {
        id_: LabelledSample(questions[number, id_], answer)
        for number, id_, answer in part
        if (number, id_) in questions
    }
    return list(rows.values())


def _read(path: Path) -> Taken:
    try:
        tree: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Taken(
            tuple(str(i) for i in tree["quarantined"]),
            tuple((int(n), str(i), str(a)) for n, i, a in tree["anchors"]),
            tuple((int(n), str(i), str(a)) for n, i, a in tree["audited"]),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunFolderError(
            f"{path}: does not say what the round takes from audits ({error}); restore it from a "
            "backup"
        ) from error
