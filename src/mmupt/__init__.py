"""Improve a multimodal LLM without labels (MM-UPT, arXiv 2505.22453).

The names below need no torch: `extract` an answer, `partition` answers into classes, `vote`.
They are imported when first used, so that the command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmupt.types import Completion, Finish, LabelledSample, Sample, Vote
from mmupt.version import __version__

if TYPE_CHECKING:
    from mmupt.consensus.equivalence import partition
    from mmupt.consensus.extract import extract
    from mmupt.consensus.vote import vote

__all__ = [
    "Completion",
    "Finish",
    "LabelledSample",
    "Sample",
    "Vote",
    "__version__",
    "extract",
    "partition",
    "vote",
]

_LATER = {
    "extract": "mmupt.consensus.extract",
    "partition": "mmupt.consensus.equivalence",
    "vote": "mmupt.consensus.vote",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'mmupt' has no attribute {name!r}")
