"""Answers about blank pictures, greedy scores on disk, and rows by their metadata."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_update_processes import Table, Threads

from mmupt.asking.answerer import SamplingParams
from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.config import Config, EvalConfig
from mmupt.consensus.equivalence import equivalent
from mmupt.errors import InputError
from mmupt.evaluate.accuracy import blind_scores, evaluate
from mmupt.evaluate.files import read_scores, write_scores
from mmupt.evaluate.scores import COLUMNS, Scores
from mmupt.evaluate.slices import NO_VALUE, slice_table
from mmupt.policy.answers import ask
from mmupt.policy.model import Policy, load_policy
from mmupt.types import LabelledSample, Sample

EVAL = EvalConfig(num_samples=3, max_completion_length=4, batch_size=3)


def maker() -> PromptMaker:
    return PromptMaker(Config().views, max_pixels=10_000, seed=0)


@pytest.fixture(scope="module")
def policy(talker: Path) -> Policy:
    return load_policy(talker, device="cpu")


def greedy_answers(policy: Policy, prompts: list[Prompt]) -> list[str | None]:
    """One at a time."""
    params = SamplingParams(0.0, max_completion_length=EVAL.max_completion_length)
    seeds = np.zeros(1, np.uint64)
    groups = (ask(policy, [p], 1, params, seeds, kind="auto", batch_size=1) for p in prompts)
    return [group[0][0].answer for group in groups]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, policy: Policy) -> list[LabelledSample]:
    """Every third without a picture; true is what the model says about a blank one, by its words.

    The pictures are drawn with a majority of one colour, which is therefore their median.
    """
    root = tmp_path_factory.mktemp("pictures")
    samples, blanks = [], []
    for i in range(8):
        size, colour = (30, 24 + i), (20 * i, 250 - 30 * i, 90)
        picture = Image.new("RGB", size, colour)
        picture.paste(tiny.picture(i, 30, 10), (0, 0))
        picture.save(root / f"{i}.png")
        plain = i % 3 == 2
        text = f"read {i * 'on '}?"
        samples.append(
            Sample(f"q{i}", text)
            if plain
            else Sample(f"q{i}", f"<image>{text}", (root / f"{i}.png",))
        )
        blanks.append(
            Prompt(samples[-1].problem, () if plain else (Image.new("RGB", size, colour),))
        )
    return [
        LabelledSample(sample, answer if answer is not None and i != 3 else "another answer")
        for i, (sample, answer) in enumerate(
            zip(samples, greedy_answers(policy, blanks), strict=True)
        )
    ]


def test_blind_accuracy_is_that_of_blank_pictures(
    policy: Policy, rows: list[LabelledSample]
) -> None:
    told: list[tuple[int, int]] = []
    scores = blind_scores(
        policy, rows, EVAL, maker(), seed=3, progress=lambda *done: told.append(done)
    )
    assert scores.ids == ("q0", "q1", "q3", "q4", "q6", "q7")  # those with pictures
    # Right where an answer was what is said about the blank picture, and can be read.
    readable = [float(equivalent(r.answer, r.answer)) for r in rows if r.sample.images]
    readable[2] = 0.0
    assert scores.greedy.tolist() == readable
    assert sum(readable) >= 3
    assert (scores.k, told) == (0, [(3, 6), (6, 6)])
    seeing = evaluate(policy, rows, EVAL, maker(), seed=3, sampled=False)
    pictured = [i for i, row in enumerate(rows) if row.sample.images]
    shown = greedy_answers(policy, [maker().prompt(rows[i].sample) for i in pictured])
    expected = [float(equivalent(a, rows[i].answer)) for a, i in zip(shown, pictured, strict=True)]
    assert seeing.greedy[pictured].tolist() == expected
    assert seeing.greedy[pictured].tolist() != scores.greedy.tolist()  # control: pictures matter


def test_rows_without_pictures_have_no_blind_figures(policy: Policy, tmp_path: Path) -> None:
    rows = [LabelledSample(Sample("a", "why?"), "4")]
    scores = blind_scores(policy, rows, EVAL, maker(), seed=0)
    assert scores.ids == ()
    assert scores.metrics()["n"] == 0
    assert scores.metrics()["greedy_ci"] is None
    write_scores(tmp_path / "blind.parquet", scores)
    assert read_scores(tmp_path / "blind.parquet").ids == ()


def test_two_processes_are_as_blind_as_one(talker: Path, rows: list[LabelledSample]) -> None:
    table = Table()

    policies = [load_policy(talker, device="cpu") for _ in range(2)]

    def one(rank: int) -> Scores:
        return blind_scores(
            policies[rank], rows, EVAL, maker(), seed=3, processes=Threads(rank, 2, table)
        )

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(one, range(2)))
    alone = blind_scores(load_policy(talker, device="cpu"), rows, EVAL, maker(), seed=3)
    for scores in both:
        assert scores.ids == alone.ids
        assert scores.greedy.tolist() == alone.greedy.tolist()


# On disk


@pytest.mark.parametrize("k", [0, 3])
def test_scores_come_back_from_disk(
    policy: Policy, rows: list[LabelledSample], tmp_path: Path, k: int
) -> None:
    scores = evaluate(policy, rows, EVAL, maker(), seed=3, sampled=k > 0)
    write_scores(tmp_path / "scores.parquet", scores)
    back = read_scores(tmp_path / "scores.parquet")
    assert (back.ids, back.k, back.temperature, back.seconds) == (
        scores.ids, k, scores.temperature, scores.seconds,
    )  # fmt: skip
    for name in COLUMNS:
        found, expected = getattr(back, name), getattr(scores, name)
        assert found.dtype == np.float64
        assert found.tolist() == expected.tolist()
        assert len(found) == (len(rows) if k or name == "greedy" else 0)
    assert str(back.metrics()) == str(scores.metrics())


# Slices


def labelled(meta: Mapping[str, str]) -> LabelledSample:
    return LabelledSample(Sample("q", "?", meta=meta), "1")


def test_slices_by_hand() -> None:
    rows = [
        labelled({"site": "Ōsaka", "shift": "night"}),
        labelled({"site": "Kyōto"}),
        labelled({"site": "Ōsaka", "shift": " "}),
        labelled({}),
    ]
    assert slice_table(rows, ["site", "shift"]) == {
        "site": {"Ōsaka": [0, 2], "Kyōto": [1], NO_VALUE: [3]},
        "shift": {"night": [0], NO_VALUE: [1, 2, 3]},
    }
    assert slice_table(rows, []) == {}
    with pytest.raises(
        InputError, match=r"no row has a column line\\n; known columns: shift, site"
    ):
        slice_table(rows, ["site", "line\n"])
    with pytest.raises(InputError, match="known columns: none"):
        slice_table([], ["site"])


VALUES = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["x", "y", "", "\u3000", "z"]))


@given(st.lists(VALUES, min_size=1, max_size=12))
def test_every_row_is_in_one_group_of_each_column(metas: list[dict[str, str]]) -> None:
    rows = [labelled(meta) for meta in metas]
    columns = {name for meta in metas for name in meta}
    table = slice_table(rows, columns)
    assert set(table) == columns
    for column, groups in table.items():
        assert sorted(i for group in groups.values() for i in group) == list(range(len(rows)))
        assert all(group == sorted(group) and group for group in groups.values())
        for value, group in groups.items():
            for i in group:
                own = metas[i].get(column, "")
                assert own == value or (value == NO_VALUE and not own.strip())
