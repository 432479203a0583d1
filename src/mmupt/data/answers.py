"""Columns that hold answers, told by their names."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

# fmt: off
_WORDS: Final = frozenset({
    "ans", "chosen", "correct", "cot", "expected", "explanation", "gold", "golden", "gt", "output",
    "outputs", "reference", "references", "rejected", "result", "results", "solution", "solutions",
    "truth",
})
# fmt: on
# Parts that stand in no other common word, so that `goldanswer` is seen and `resolution` is not.
_PARTS: Final = re.compile(
    "answer|respons|(?<!re)solution|groundtruth|label|target|rationale|completion|reasoning"
    "|答え|解答|回答|正解|正答|解説|ラベル"
)


@lru_cache(maxsize=4096)
def is_answer_column(name: str) -> bool:
    """Whether a column is named like something that holds an answer.

    True for every spelling of answer, response, solution, ground truth, label, target and their
    kin (`gold_answer`, `correctOption`, `GT`, `rationale`, `正解`), alone or inside a longer name:
    losing a harmless column costs a slice in a report, keeping a wrong one costs the method.
    """
    plain = unicodedata.normalize("NFKC", name)
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).casefold())
    joined = "".join(words)
    return joined == "y" or not _WORDS.isdisjoint(words) or _PARTS.search(joined) is not None
