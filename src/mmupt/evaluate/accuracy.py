"""Greedy and sampled accuracy, majority@k, pass@k and vote share on held-out rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from mmupt.asking.answerer import Draw, SamplingParams, greedy, stream_seeds
from mmupt.asking.maker import PromptMaker, blanked
from mmupt.asking.prompt import Prompt
from mmupt.config import EvalConfig
from mmupt.evaluate.asking import EVALUATION_STREAM
from mmupt.evaluate.figures import truth
from mmupt.evaluate.judging import ByAnswer
from mmupt.evaluate.scores import COLUMNS, Said, Scores
from mmupt.policy.answers import LocalAnswerer
from mmupt.policy.model import Policy
from mmupt.processes import ALONE, Processes
from mmupt.types import Completion, LabelledSample

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
    params = SamplingParams(config.temperature, config.top_p, 0, config.max_completion_length)
    answerer = LocalAnswerer(policy, config.batch_size)
    mine = processes.share(len(rows))
    for start in range(mine.start, mine.stop, config.batch_size):
        part = rows[start : min(start + config.batch_size, mine.stop)]
        shown = [prompts.prompt(r.sample) for r in part]
        if blind:
            shown = [blanked(prompt) for prompt in shown]
        draws = [greedy(len(part), params)]
        if seeds is not None:
            draws.append(Draw(params, seeds[start * k : (start + len(part)) * k], k))
        best, *drawn = answerer.complete(shown, draws)
        for i, row in enumerate(part):
            replies = (best[i][0], *(drawn[0][i] if drawn else ()))
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
    answer: str, prompt: Prompt, replies: Sequence[Completion | None], config: EvalConfig
) -> tuple[tuple[float, ...], Said]:
    """The columns of one question, from its greedy reply and the drawn ones behind it."""
    rule = ByAnswer(answer, config.kind, config.rtol)
    first, *drawn = rule.judge([(prompt, reply) for reply in replies])
    said = Said(
        first.reply, first.answer, first.right, tuple(one.reply for one in drawn),
        tuple(one.answer for one in drawn), tuple(one.right for one in drawn),
    )  # fmt: skip
    outcome = rule.majority(drawn)
    if outcome is None:
        return (truth(first.right),) + (float("nan"),) * 7, said
    columns = (
        truth(first.right),
        float(np.mean([one.right is True for one in drawn])),
        truth(outcome.right),
        float(any(one.right for one in drawn)),
        outcome.share,
        float(np.mean([one.answer is None for one in drawn])),
        float(np.mean([one.truncated for one in drawn])),
        float(np.mean([np.nan if one.tokens is None else one.tokens for one in drawn])),
    )
    return columns, said
