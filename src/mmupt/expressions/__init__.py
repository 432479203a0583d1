"""A small language for conditions in the configuration: `share < 0.7 and contains(label, "mm")`.

It is ours alone: nothing is run as code, there are no attributes, no loops and no functions but
those of a table. A text is cut into tokens (`tokens`), read into a tree (`parser`), checked against
the vocabulary (`kinds`, `vocabulary`) and judged on the words' values (`evaluate`). Lengths, depth
and the work of a judgement are bounded, so a condition may come from anyone. See docs/rules.md.
"""

from __future__ import annotations

from mmupt.expressions.evaluate import World, judge
from mmupt.expressions.kinds import read_condition
from mmupt.expressions.parser import parse
from mmupt.expressions.tree import Node, shown
from mmupt.expressions.vocabulary import FUNCTIONS, WORDS, Kind

__all__ = [
    "FUNCTIONS",
    "WORDS",
    "Kind",
    "Node",
    "World",
    "judge",
    "parse",
    "read_condition",
    "shown",
]
