"""Scores worked out by hand, from completions that were made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.config import Config, EvalConfig
from mmupt.evaluate.accuracy import _score, evaluate
from mmupt.evaluate.files import read_replies, read_scores, write_scores
from mmupt.evaluate.scores import COLUMNS, Said, Scores
from mmupt.pipeline.staged import _gain, _recovered, published_recipe
from mmupt.types import Completion, Finish, LabelledSample, Sample


def completion(text: str, finish: Finish = Finish.STOP) -> Completion:
    return Completion(text, tuple(range(len(text))), (0.0,) * len(text), finish)


ASKED = Prompt("<image>How many?", ())


def test_one_question_by_hand() -> None:
    drawn = [
        completion("\\boxed{4}"),
        completion("\\boxed{4.0}"),
        completion("\\boxed{5}"),
        completion("\\boxed{4", Finish.LENGTH),
    ]
    replies = [completion("\\boxed{5}"), *drawn]
    columns, said = _score("4", ASKED, replies, EvalConfig())
    scores = dict(zip(COLUMNS, columns, strict=True))
    assert said == Said(
        "\\boxed{5}", "5", False, tuple(c.text for c in drawn), ("4", "4.0", "5", None),
        (True, True, False, False),
    )  # fmt: skip
    assert scores["greedy"] == 0.0
    assert scores["mean"] == 0.5
    assert scores["majority"] == 1.0
    assert scores["passed"] == 1.0
    assert scores["share"] == 0.5
    assert scores["abstained"] == 0.25
    assert scores["truncated"] == 0.25
    assert scores["length"] == pytest.approx((9 + 11 + 9 + 8) / 4)


def test_nobody_answers() -> None:
    silent = completion("\\boxed{}", Finish.STOP)
    columns, said = _score("4", ASKED, [silent] * 4, EvalConfig())
    assert (said.answer, said.right, said.answers) == (None, False, (None,) * 3)
    scores = dict(zip(COLUMNS, columns, strict=True))
    assert [scores[c] for c in ("greedy", "mean", "majority", "passed", "share", "abstained")] == [
        0,
        0,
        0,
        0,
        0,
        1,
    ]


def scores_of(greedy: list[float], mean: list[float]) -> Scores:
    n = len(greedy)
    columns = {name: np.zeros(n) for name in COLUMNS} | {
        "greedy": np.array(greedy),
        "mean": np.array(mean),
    }
    return Scores.from_columns(
        [f"{i}" for i in range(n)], columns, k=8, temperature=1.0, seconds=2.5
    )


def test_scores_survive_the_disk(tmp_path: Path) -> None:
    scores = scores_of([1, 0, 1], [0.5, 0.25, 1.0])
    write_scores(tmp_path / "evaluations" / "sft.parquet", scores)
    back = read_scores(tmp_path / "evaluations" / "sft.parquet")
    assert back.metrics() == scores.metrics()
    assert back.ids == ("0", "1", "2")
    assert scores.metrics()["greedy"] == pytest.approx(2 / 3)
    assert scores.metrics()["mean"] == pytest.approx(1.75 / 3)


def test_replies_stand_with_the_scores(tmp_path: Path) -> None:
    path = tmp_path / "evaluations" / "sft.parquet"
    scores = scores_of([1, 0], [0.5, 0.5])
    write_scores(path, scores)
    assert read_replies(path) == {}  # a file that was written before replies were kept
    assert read_scores(path).said == ()
    said = (
        Said("それは\\boxed{4}", "4", True, ("<b>4</b>", None), ("4", None), (True, None)),
        Said(None, None, None, ("a \ud800 b", ""), (None, None), (False, False)),
    )
    write_scores(path, replace(scores, said=said))
    mended = replace(said[1], sampled=("a ? b", ""))
    assert read_replies(path) == {"0": said[0], "1": mended}
    assert read_scores(path).said == (said[0], mended)
    assert read_scores(path).metrics() == scores.metrics()
    greedy = Scores(("0",), np.ones(1), *[np.empty(0)] * 7, 0, 1.0, 0.5, (Said("4", "4", True),))
    write_scores(path, greedy)
    assert read_replies(path) == {"0": Said("4", "4", True)}


def test_gain_and_recovery_by_hand() -> None:
    before = scores_of([0, 0, 1, 1], [0.2, 0.2, 0.6, 0.6])
    after = scores_of([0, 1, 1, 1], [0.3, 0.4, 0.6, 0.7])
    bound = scores_of([1, 1, 1, 1], [0.6, 0.6, 0.6, 0.6])
    gain = _gain(before, after)
    assert gain["greedy"] == pytest.approx(0.25)
    assert gain["mean"] == pytest.approx(0.1)
    assert gain["mean_ci"][0] < 0.1 < gain["mean_ci"][1]
    assert _recovered(before, after, bound, "greedy") == pytest.approx(0.5)
    assert _recovered(before, after, bound, "mean") == pytest.approx(0.5)
    assert _recovered(before, after, before, "mean") is None


def test_the_published_recipe_is_the_published_recipe() -> None:
    recipe = published_recipe(Config())
    assert recipe.consensus.teacher == "online"
    assert recipe.consensus.min_share == 0.0
    train = recipe.train
    assert (train.views, train.temperature, train.top_p) == (1, 0.7, 0.99)
    assert (train.epsilon, train.epsilon_high, train.beta) == (0.2, 0.3, 0.01)
    assert (train.scale_rewards, train.loss_type) == ("group", "dapo")
    assert train.learning_rate == Config().train.learning_rate


def test_figures_do_not_depend_on_the_batch(idefics3: object, tmp_path: Path) -> None:
    rows = [LabelledSample(Sample(f"{i}", f"What is {i}?"), "1") for i in range(5)]
    found = []
    for size in (5, 2):
        config = EvalConfig(num_samples=3, max_completion_length=6, batch_size=size)
        prompts = PromptMaker(Config().views, max_pixels=10_000, seed=0)
        found.append(evaluate(idefics3, rows, config, prompts, seed=4).metrics())  # type: ignore[arg-type]
    for one in found:
        del one["seconds"]
    assert found[0] == found[1]
