"""The table that TRL reads: one row per completion, the views of the local engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from mmupt.asking.maker import PromptMaker
from mmupt.config import load_config
from mmupt.events import EventLog
from mmupt.train.rollout import STUDENT_STREAM
from mmupt.train.sft import batch_indices
from mmupt.train.stage import Run
from mmupt.trl.rows import in_order, rows_to_ask
from mmupt.types import Sample

pytest.importorskip("datasets")


def test_rows_show_the_views_of_the_local_engine(tmp_path: Path) -> None:
    config = load_config(
        None,
        ["train.max_steps=2", "train.prompts_per_step=3", "train.num_generations=4",
         "train.views=2", "views.rotate=20", "views.shuffle_options=true"],
    )  # fmt: skip
    samples = []
    for i in range(4):
        tiny.picture(i, 30, 24).save(tmp_path / f"{i}.png")
        question = f"<image>{i}? A. red B. blue C. green D. white"
        samples.append(Sample(f"s{i}", question, (tmp_path / f"{i}.png",)))
    prompts = PromptMaker(config.views, max_pixels=10_000, seed=config.seed)
    run = Run(
        config, prompts, EventLog(tmp_path / "events.jsonl"), "round-1", 1, tmp_path / "state",
        tmp_path / "rollouts",
    )  # fmt: skip
    asked = in_order(samples, run)
    assert [s.id for s in asked[3:]] == [f"s{i}" for i in batch_indices(4, 3, 2, run.seed)]
    table = rows_to_ask(asked, run)
    assert len(table) == 2 * 3 * 4
    shuffled = 0
    for number in range(len(table)):
        place, member = divmod(number, 4)
        view, step = member // 2, 1 + place // 3
        expected = prompts.prompt(asked[place], view, STUDENT_STREAM, step)
        row = table[number]
        assert (row["group"], row["view"]) == (place, view)
        assert row["problem"] == expected.problem
        assert row["shown_labels"] == dict(expected.labels)
        assert [i.tobytes() for i in row["images"]] == [i.tobytes() for i in expected.images]
        shuffled += bool(view) and row["problem"] != asked[place].problem
    assert shuffled
