"""The answer in a completion, in the words of the data."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mmupt.asking.prompt import Prompt
from mmupt.consensus.extract import extract
from mmupt.consensus.reorder import relabelled
from mmupt.types import Completion, Finish


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion with its final answer, None where it abstains."""

    completion: Completion
    answer: str | None


def final_answer(completion: Completion, prompt: Prompt, kind: str) -> str | None:
    """The completion's answer in the words of the question as it stands in the data.

    A truncated completion abstains. Where the view shuffled the options, labels are mapped back,
    also several of them and those with a text (`relabelled`); the text of an option, which needs no
    mapping, is kept or, if the kind reads it as a label, mapped like one.
    """
    if completion.finish is Finish.LENGTH:
        return None
    answer = extract(completion.text, kind=kind, prompt=prompt.problem)
    if answer is None or not prompt.labels:
        return answer
    return _in_json(answer, prompt) if kind == "json" else relabelled(answer, prompt.labels)


def _in_json(answer: str, prompt: Prompt) -> str:
    """`relabelled` for a JSON text, or for a list of labels."""
    value = json.loads(answer)
    if isinstance(value, str):
        return json.dumps(relabelled(value, prompt.labels), ensure_ascii=False)
    if isinstance(value, list) and all(isinstance(v, str) and v in prompt.labels for v in value):
        return json.dumps(sorted(prompt.labels[v] for v in value), ensure_ascii=False)
    return answer
