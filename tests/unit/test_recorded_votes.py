"""Votes cast before teach as the frozen teacher would: the same labels, and only for their rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from server_stub import Answer, Body, Stub, chat, refused, serving

from mmupt import cli
from mmupt.asking.maker import PromptMaker
from mmupt.config import Config, ConsensusConfig, load_config
from mmupt.data.handwriting import panels, write_pictures, write_rows
from mmupt.data.sources import read_samples
from mmupt.demo import embedded
from mmupt.errors import ConfigError, InputError
from mmupt.policy.model import load_policy
from mmupt.train.labels import TeacherVotes
from mmupt.train.recorded import check_recorded, question_digest, recorded_of
from mmupt.types import Sample

ROWS, LENGTH = 4, 24


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    drawn = panels("test", ROWS, 0)
    write_pictures(folder, "site", drawn)
    write_rows(folder / "site.jsonl", "site", drawn, answers=False)
    return folder


@pytest.fixture(scope="module")
def samples(place: Path) -> list[Sample]:
    return list(read_samples(place / "site.jsonl").rows)


def run(*arguments: object) -> None:
    sys.argv = ["mmupt", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as stop:
        assert not stop.code, arguments  # noqa: PT017


def settings(*more: str) -> list[str]:
    own = ("num_threads=1", "consensus.views=4", f"train.max_completion_length={LENGTH}", *more)
    return [part for one in own for part in ("--set", one)]


@pytest.fixture(scope="module")
def votes(place: Path) -> Path:
    """Greedy votes of the demo's base model."""
    torch.set_num_threads(1)
    run("vote", "--model", embedded("model"), "--data", place / "site.jsonl",
        "--out", place / "pilot", "--json", *settings())  # fmt: skip
    return place / "pilot" / "votes.parquet"


def test_the_same_labels_as_the_frozen_teacher(votes: Path, samples: list[Sample]) -> None:
    policy = load_policy(embedded("model"), device="cpu")
    config = load_config(None, ["consensus.views=4"])
    maker = PromptMaker(config.views, max_pixels=10**6, seed=config.seed)

    def labels(consensus: ConsensusConfig) -> list[Any]:
        teacher = TeacherVotes(policy, maker, consensus, LENGTH, config.seed, 8)
        return teacher.labels(samples[::-1], 3)

    recorded = labels(config.consensus.model_copy(update={"votes": votes}))
    assert recorded == labels(config.consensus)
    assert len({label.answers for label in recorded}) > 1


@pytest.fixture(scope="module")
def running() -> Iterator[Stub]:
    with serving() as stub:
        yield stub


def test_a_served_teacher_labels_and_a_model_here_is_trained(
    place: Path, running: Stub, samples: list[Sample], tmp_path: Path
) -> None:
    def teacher(body: Body) -> Answer:
        text = body["messages"][0]["content"][-1]["text"]
        lost = text == samples[1].problem.removeprefix("<image>")
        return refused(400, "no") if lost else chat(r"It is \boxed{7}")

    running.answer = teacher
    out = tmp_path / "teacher"
    run("vote", "--server", running.url, "--data", place / "site.jsonl", "--out", out, "--json",
        *settings("server.max_failed=0.9", "server.max_retries=0"))  # fmt: skip
    answered = {row["id"] for row in pq.read_table(out / "votes.parquet").to_pylist()}
    assert 0 < len(answered) < ROWS
    asked = len(running.bodies)
    run("train", "--model", embedded("model"), "--data", place / "site.jsonl",
        "--out", tmp_path / "student", "--json",
        *settings(f"consensus.votes={out / 'votes.parquet'}", "train.max_steps=1",
                  f"train.prompts_per_step={ROWS}", "train.num_generations=2",
                  "guard.action=none", "guard.load_best_model_at_end=false"))  # fmt: skip
    assert len(running.bodies) == asked
    (path,) = (tmp_path / "student" / "rollouts").glob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    assert {row["sample_id"] for row in rows} == {sample.id for sample in samples}
    for row in rows:
        known = row["sample_id"] in answered
        assert (row["pseudo_label"], row["kept"]) == (("7", True) if known else (None, False))
    assert (tmp_path / "student" / "model" / "config.json").exists()


def consensus(votes: Path, **more: Any) -> ConsensusConfig:
    return Config.model_validate({"consensus": {"votes": str(votes), **more}}).consensus


def test_votes_on_other_data_are_refused(
    votes: Path, samples: list[Sample], tmp_path: Path
) -> None:
    check_recorded(consensus(votes), samples)
    other = replace(samples[0], images=samples[1].images)
    with pytest.raises(InputError, match=r"site.jsonl:1: .* another question or picture under id"):
        check_recorded(consensus(votes), [other])
    with pytest.raises(InputError, match="another question or picture"):
        check_recorded(consensus(votes), [replace(samples[0], problem="<image>Else?")])
    with pytest.raises(InputError, match='id "new" has no row in'):
        recorded_of(consensus(votes)).replies([replace(samples[0], id="new")])
    # the same picture elsewhere is the same question
    moved = tmp_path / "moved.png"
    moved.write_bytes(samples[0].images[0].read_bytes())
    check_recorded(consensus(votes), [replace(samples[0], images=(moved,))])
    assert question_digest(samples[0]) != question_digest(samples[1])


def test_files_and_settings_that_cannot_teach_are_refused(
    votes: Path, place: Path, samples: list[Sample]
) -> None:
    for path in (place / "site.jsonl", place / "none.parquet", place / "pilot/pictures.parquet"):
        with pytest.raises(InputError, match=r"not readable as the votes\.parquet"):
            check_recorded(consensus(path), samples)
    with pytest.raises(ConfigError, match="holds answers alone"):
        check_recorded(consensus(votes, strategy="weighted"), samples)
    with pytest.raises(ConfigError, match=r"consensus\.teacher is 'ema'"):
        check_recorded(consensus(votes, teacher="ema"), samples)


def test_the_path_is_relative_to_the_configuration(place: Path) -> None:
    (place / "c.yaml").write_text(json.dumps({"consensus": {"votes": "pilot/votes.parquet"}}))
    assert load_config(place / "c.yaml").consensus.votes == place / "pilot" / "votes.parquet"
