"""The data of a staged run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmupt.types import LabelledSample, Sample


@dataclass(frozen=True)
class Material:
    """What the stages learn from and are measured on.

    Attributes:
        labelled: for SFT; empty leaves the stage out.
        unlabelled: for the label-free rounds.
        test: held out, for evaluation.
        truth: the unlabelled questions with answers, for the supervised arm alone; with them the
            run also trains the two arms that label-free training is compared with.
        audited: rows whose answers people have checked, for the choice of checkpoints alone.
    """

    labelled: Sequence[LabelledSample]
    unlabelled: Sequence[Sample]
    test: Sequence[LabelledSample]
    truth: Sequence[LabelledSample] = ()
    audited: Sequence[LabelledSample] = ()
