"""Gates: whether a model has proven enough to be promoted, and on what evidence.

`decide` judges evidence about a subject; `insufficient` never promotes.
"""

from __future__ import annotations

from mmupt.gates.decide import Check, Decision, decide
from mmupt.gates.evidence import Evidence, Subject

__all__ = ["Check", "Decision", "Evidence", "Subject", "decide"]
