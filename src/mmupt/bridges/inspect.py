"""Tasks for inspect-ai: the same prompts, the same rules, its models, logs and viewer.

    inspect eval mmupt/benchmark -T name=chartqa -T data_dir=ChartQA -T work_dir=work --model ...
    inspect eval mmupt/rows -T data=test.jsonl --model ...

Needs ``pip install 'mmupt[inspect]'``. A question without a reference or a reply is unscored and in
no mean; standard errors are clustered by picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageUser, Content, ContentImage, ContentText
from inspect_ai.scorer import (
    CORRECT,
    INCORRECT,
    Score,
    Scorer,
    Target,
    accuracy,
    scorer,
    stderr,
)
from inspect_ai.solver import TaskState, generate

from mmupt.asking.prompt import IMAGE_MARK, Prompt
from mmupt.config import Config, load_config
from mmupt.evaluate.judging import Item
from mmupt.evaluate.reading import benchmark_items, own_items
from mmupt.types import Completion, Finish


@task(name="benchmark")
def benchmark(
    name: str,
    data_dir: str,
    work_dir: str = "mmupt-work",
    split: str | None = None,
    limit: int | None = None,
) -> Task:
    """A public benchmark by its own rule.

    Args:
        name: a name of `mmupt.benchmarks.catalog`.
        data_dir: the folder that it was downloaded to.
        work_dir: where pictures out of tables are written.
        split: default: the one usually reported.
        limit: only the first so many questions.
    """
    work = Path(work_dir)
    work.mkdir(parents=True, exist_ok=True)
    items, _ = benchmark_items(name, Path(data_dir), work, _config(limit=limit), split)
    return _task(items)


@task(name="rows")
def rows(data: str, kind: str = "auto", limit: int | None = None) -> Task:
    """Rows of your own with answers.

    Args:
        data: JSONL file.
        kind: of the answers, see `mmupt.extract`.
        limit: only the first so many rows.
    """
    items, _ = own_items(Path(data), _config(limit=limit, kind=kind))
    return _task(items)


def _config(**settings: object) -> Config:
    return load_config(None, [f"eval.{k}={v}" for k, v in settings.items() if v is not None])


def _task(items: Sequence[Item]) -> Task:
    by_id = {item.sample.id: item for item in items}

    # Grouped standard errors: questions about one picture are not independent.
    @scorer(metrics=[accuracy(), stderr(cluster="pictures")], name="mmupt")
    def rule() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            del target  # the rule has it
            return judged(by_id[str(state.sample_id)], state)

        return score

    samples = [
        Sample(
            input=asked(item),
            target=item.rule.answer or "",
            id=item.sample.id,
            metadata={
                "pictures": item.pictures,
                **{name: ", ".join(values) for name, values in item.groups.items()},
            },
        )
        for item in items
    ]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=rule())


def asked(item: Item) -> list[ChatMessage]:
    """The question as one message, its pictures where its marks are."""
    content: list[Content] = []
    pictures = iter(item.sample.images)
    for part in re.split(f"({re.escape(IMAGE_MARK)})", item.sample.problem):
        if part == IMAGE_MARK:
            content.append(ContentImage(image=str(next(pictures))))
        elif part.strip():
            content.append(ContentText(text=part.strip()))
    return [ChatMessageUser(content=content)]


def judged(item: Item, state: TaskState) -> Score:
    """The verdict of the question's rule on what the model said."""
    finish = Finish.LENGTH if state.output.stop_reason == "max_tokens" else Finish.STOP
    completion = Completion(state.output.completion, (), (), finish)
    said = None if state.output.error else completion
    (one,) = item.rule.judge([(Prompt(item.sample.problem, ()), said)])
    if one.right is None:
        return Score.unscored(answer=one.answer, explanation=one.rule or "no reply")
    return Score(value=CORRECT if one.right else INCORRECT, answer=one.answer, explanation=one.rule)
