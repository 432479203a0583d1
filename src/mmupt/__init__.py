"""Improve a multimodal LLM without labels (MM-UPT, arXiv 2505.22453).

`extract` an answer, `partition` answers into classes, `vote` and `rewards_by_class` need no torch;
`group_advantages` needs numpy, `LabelFreeTrainer` all of it. All are imported when first used, so
that the command line answers at once. docs/api.md has examples.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmupt.types import Completion, Finish, LabelledSample, Sample, Vote
from mmupt.version import __version__

if TYPE_CHECKING:
    from mmupt.consensus.equivalence import partition
    from mmupt.consensus.extract import extract
    from mmupt.consensus.reward import rewards_by_class
    from mmupt.consensus.vote import vote
    from mmupt.train.advantage import group_advantages
    from mmupt.trainer import LabelFreeTrainer

__all__ = [
    "Completion",
    "Finish",
    "LabelFreeTrainer",
    "LabelledSample",
    "Sample",
    "Vote",
    "__version__",
    "extract",
    "group_advantages",
    "partition",
    "rewards_by_class",
    "vote",
]

_LATER = {
    "LabelFreeTrainer": "mmupt.trainer",
    "extract": "mmupt.consensus.extract",
    "group_advantages": "mmupt.train.advantage",
    "partition": "mmupt.consensus.equivalence",
    "rewards_by_class": "mmupt.consensus.reward",
    "vote": "mmupt.consensus.vote",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'mmupt' has no attribute {name!r}")
