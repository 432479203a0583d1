"""Greedy and sampled accuracy, majority@k, pass@k and vote share on held-out rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from mmupt.asking.answerer import SamplingParams, stream_seeds
from mmupt.asking.answers import final_answer
from mmupt.asking.maker import PromptMaker, blanked
from mmupt.asking.prompt import Prompt
from mmupt.config import EvalConfig
from mmupt.consensus.equivalence import partition
from mmupt.consensus.vote import vote
from mmupt.evaluate.scores import COLUMNS, Said, Scores
from mmupt.policy.model import Policy
from mmupt.policy.sampler import decode, prefilled
from mmupt.policy.shared import Prefix
from mmupt.processes import ALONE, Processes
from mmupt.types import Completion, Finish, LabelledSample

EVALUATION_STREAM = 3
Progress = Callable[[int, int], None]


def evaluate(
    policy: Policy,
    rows: Sequence[LabelledSample],
    config: EvalConfig,
    prompts: PromptMaker,
    *,
    seed: int,
    sampled: bool = True,
    blind: bool = False,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> Scores:
    """Answer every row greedily and `num_samples` times at `temperature`, and score the answers.

    Greedy and sampled answers share one prefill of the prompt and its images. Each process answers
    its share of the rows, and all get all scores.

    Args:
        policy: who answers.
        rows: N questions with their true answers.
        config: samples, temperature and how answers are read.
        prompts: makes prompts of samples.
        seed: of the sampled answers.
        sampled: False: greedy answers alone, `Scores.k` 0.
        blind: show blank pictures of the same sizes instead (`blanked`).
        progress: told how many of the N rows are done.
        processes: who shares the rows.
    """
    started = time.perf_counter()
    k = config.num_samples if sampled else 0
    seeds = stream_seeds(seed, EVALUATION_STREAM, count=len(rows) * k) if k else None
    scored: list[tuple[tuple[float, ...], Said]] = []
    mine = processes.share(len(rows))
    for start in range(mine.start, mine.stop, config.batch_size):
        part = rows[start : min(start + config.batch_size, mine.stop)]
        shown = [prompts.prompt(r.sample) for r in part]
        if blind:
            shown = [blanked(prompt) for prompt in shown]
        greedy: list[list[Completion]] = []
        drawn: list[list[Completion]] = []
        for prefix, count in prefilled(policy, shown):  # more than one where memory is short
            first = (start + len(greedy)) * k
            greedy += _decode(policy, prefix, config, 0.0, np.zeros(count, np.uint64))
            if seeds is not None:
                own = seeds[first : first + count * k]
                drawn += _decode(policy, prefix, config, config.temperature, own)
        for i, row in enumerate(part):
            replies = (greedy[i][0], *(drawn[i] if drawn else ()))
            scored.append(_score(row.answer, shown[i], replies, config))
        if progress is not None:
            done = start + len(part) - mine.start
            progress(round(len(rows) * done / (mine.stop - mine.start)), len(rows))
    scored = processes.join(scored)
    table = np.asarray([one for one, _ in scored], dtype=np.float64).reshape(-1, len(COLUMNS))
    return Scores.from_columns(
        [r.sample.id for r in rows],
        {name: table[:, i] if k or i == 0 else np.empty(0) for i, name in enumerate(COLUMNS)},
        k=k,
        temperature=config.temperature,
        seconds=time.perf_counter() - started,
        said=[said for _, said in scored],
    )


def blind_scores(
    policy: Policy,
    rows: Sequence[LabelledSample],
    config: EvalConfig,
    prompts: PromptMaker,
    *,
    seed: int,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> Scores:
    """Greedy accuracy on blank pictures: what the questions alone give away.

    Rows without pictures are left out, as nothing is hidden from them; `Scores.ids` tells which
    rows are there.
    """
    pictured = [row for row in rows if row.sample.images]
    return evaluate(
        policy, pictured, config, prompts, seed=seed, sampled=False, blind=True, progress=progress,
        processes=processes,
    )  # fmt: skip


def _score(
    answer: str, prompt: Prompt, replies: Sequence[Completion], config: EvalConfig
) -> tuple[tuple[float, ...], Said]:
    """The columns of one question, from its greedy reply and the drawn ones behind it."""
    drawn = replies[1:]
    answers = [final_answer(c, prompt, config.kind) for c in replies]
    truth, *classes = partition([answer, *answers], kind=config.kind, rtol=config.rtol)
    first, *right = (c is not None and c == truth for c in classes)
    said = Said(
        replies[0].text, answers[0], first, tuple(c.text for c in drawn), tuple(answers[1:]),
        tuple(right),
    )  # fmt: skip
    if not drawn:
        return (float(first),) + (float("nan"),) * 7, said
    outcome = vote(answers[1:], kind=config.kind, rtol=config.rtol, tie="first-class-by-key")
    winner, label = partition([answer, outcome.label], kind=config.kind, rtol=config.rtol)
    columns = (
        float(first),
        float(np.mean(right)),
        float(label is not None and winner == label),
        float(any(right)),
        outcome.share,
        float(np.mean([a is None for a in answers[1:]])),
        float(np.mean([c.finish is Finish.LENGTH for c in drawn])),
        float(np.mean([len(c.token_ids) for c in drawn])),
    )
    return columns, said


def _decode(
    policy: Policy,
    prefix: Prefix,
    config: EvalConfig,
    temperature: float,
    seeds: npt.NDArray[np.uint64],
) -> list[list[Completion]]:
    """As many completions of each prompt as there are seeds for it."""
    rows = len(prefix.next_B)
    params = SamplingParams(temperature, config.top_p, 0, config.max_completion_length)
    return decode(policy, prefix, [len(seeds) // rows] * rows, seeds, params)
