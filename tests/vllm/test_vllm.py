"""Exported models behind vLLM answer as they do here; run by `make test-vllm`, skipped otherwise.

`MMUPT_VLLM` names the Python of an environment with vLLM's CPU build, which is another than the one
the tests run in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import made
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from started import VLLM, mmupt, serve

from mmupt.asking.answerer import Draw, SamplingParams, greedy
from mmupt.asking.prompt import Prompt
from mmupt.config_server import ServerConfig
from mmupt.data.handwriting import panels, write_pictures, write_rows
from mmupt.demo import embedded
from mmupt.policy.answers import LocalAnswerer
from mmupt.policy.inputs import encode
from mmupt.policy.model import Policy, load_policy
from mmupt.server.answerer import ServerAnswerer
from mmupt.types import Finish

pytestmark = pytest.mark.skipif(not VLLM, reason="MMUPT_VLLM is not set, see make test-vllm")

Tell = Callable[[str], None]
DIGITS = 60
"""Rows of the demo's test."""
VIEWS = 3
PIECE = "\ufffd"
"""What is shown here of a character whose last bytes were cut; vLLM leaves the piece out."""


@dataclass(frozen=True)
class Served:
    """A model's folder, questions with answers, and where vLLM serves it."""

    folder: Path
    data: Path
    url: str
    tokens: int


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A tiny Qwen2.5-VL that `mmupt sft` has taught to answer, as `mmupt export` leaves it."""
    place = tmp_path_factory.mktemp("qwen")
    made.save_model(place / "base")
    train, test = (made.write_questions(place, *one) for one in (("train", 8, 1), ("test", 2, 2)))
    mmupt(
        "sft", "--model", place / "base", "--data", train, "--out", place / "sft",
        "--set", "sft.learning_rate=2e-3", "--set", "sft.num_train_epochs=8",
        "--set", "sft.per_device_train_batch_size=16",
    )  # fmt: skip
    mmupt("export", place / "sft", "--format", "hf", "--out", place / "model")
    with serve(place / "model", place / "vllm.log") as url:
        yield Served(place / "model", test, url, made.CUT)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The demo's base model, exported, and its test's first panels."""
    place = tmp_path_factory.mktemp("demo")
    drawn = panels("test", DIGITS, 0)
    write_pictures(place, "test", drawn)
    write_rows(place / "test.jsonl", "test", drawn, answers=True)
    mmupt("export", embedded("model"), "--format", "hf", "--out", place / "model")
    with serve(place / "model", place / "vllm.log") as url:
        yield Served(place / "model", place / "test.jsonl", url, 16)


@pytest.fixture(params=["qwen", "demo"])
def served(request: pytest.FixtureRequest) -> Served:
    found: Served = request.getfixturevalue(request.param)
    return found


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def policy(qwen: Served) -> Policy:
    return load_policy(qwen.folder, device="cpu")


@pytest.fixture(scope="module")
def prompts(qwen: Served) -> list[Prompt]:
    return [
        Prompt(
            row["problem"],
            tuple(Image.open(qwen.data.parent / name).convert("RGB") for name in row["images"]),
            row["id"],
        )
        for row in lines(qwen.data)
    ]


def both(served: Served, out: Path, verb: str, *words: object) -> list[dict[str, Any]]:
    """What the verb prints about the folder here and about the same behind vLLM; into `out`."""
    told = []
    for name, who in (("here", ["--model", served.folder]), ("there", ["--server", served.url])):
        more = ["--data", served.data, "--out", out / name, "--json", *words]
        told.append(json.loads(mmupt(verb, *who, *more)))
    return told


def test_an_evaluation_is_the_same(served: Served, tmp_path: Path, tell: Tell) -> None:
    here, there = both(
        served, tmp_path, "eval", "--samples", 0,
        "--set", f"eval.max_completion_length={served.tokens}",
    )  # fmt: skip
    rows = [lines(tmp_path / name / "replies.jsonl") for name in ("here", "there")]
    cut = 0
    for one, other in zip(*rows, strict=True):
        if one["truncated"] and one["reply"].endswith(PIECE):
            one["reply"], cut = one["reply"].rstrip(PIECE), cut + 1
        assert one == other
    figures = [name for name in here if name.startswith("greedy") or name in ("n", "subsets")]
    assert {name: here[name] for name in figures} == {name: there[name] for name in figures}
    # It has something to say: right and wrong, and replies that differ between pictures.
    assert 0.1 < here["greedy"] < 0.95
    assert len({row["reply"] for row in rows[0]}) > 8
    if served.tokens == made.CUT:
        assert here["greedy_truncated"] > 0
        assert cut
    tell(
        f"{served.folder.parent.name}: eval {len(rows[0])} replies the same, accuracy "
        f"{here['greedy']:.4f} and {there['greedy']:.4f}, cut off {here['greedy_truncated']:.3f}"
    )


def test_votes_are_the_same(served: Served, tmp_path: Path, tell: Tell) -> None:
    words = [f"consensus.views={VIEWS}", "consensus.temperature=0"]
    words += ["views.brightness=[0.3,1.7]", "views.contrast=[0.2,1.8]"]
    words.append(f"train.max_completion_length={served.tokens}")
    both(served, tmp_path, "vote", *[part for word in words for part in ("--set", word)])
    here, there = (
        pq.read_table(tmp_path / name / "votes.parquet").to_pylist() for name in ("here", "there")
    )
    for one, other in zip(here, there, strict=True):
        # repr: NaN where nobody answered
        assert {k: repr(v) for k, v in one.items()} == {k: repr(v) for k, v in other.items()}
    answers = sum(len(row["answers"]) for row in here)
    assert answers == VIEWS * len(here)
    assert len({row["pseudo_label"] for row in here}) > 4
    assert any(len(set(row["answers"])) > 1 for row in here)  # views are not all the same
    tell(f"{served.folder.parent.name}: vote {answers} answers, {len(here)} votes the same")


def test_tokens_and_their_probabilities_are_the_same(
    qwen: Served, policy: Policy, prompts: list[Prompt], tell: Tell
) -> None:
    """The chat template and the pictures reach the model as here: every log-probability says so."""
    draw = greedy(len(prompts), SamplingParams(0.0, max_completion_length=made.CUT))
    (here,) = LocalAnswerer(policy, 16).complete(prompts, [draw])
    with ServerAnswerer(qwen.url, config=ServerConfig(logprobs=True)) as server:
        (there,) = server.complete(prompts, [draw])
        asked = server.tally.prompt_tokens
    assert asked == sum(int(encode(policy, [prompt]).lengths[0]) for prompt in prompts)
    worst = 0.0
    for (one,), (other,) in zip(here, there, strict=True):
        assert one is not None
        assert other is not None
        assert (one.finish, one.length) == (other.finish, other.length)
        worst = max(worst, *np.abs(np.subtract(one.logprobs, other.logprobs)))
    assert worst < 1e-4
    ends = {one.finish for (one,) in here if one is not None}
    assert ends == {Finish.STOP, Finish.LENGTH}  # the end of a turn ends it, and the limit does
    tell(f"{asked} prompt tokens the same, log-probabilities differ by {worst:.1e} at most")


def test_eight_samples_by_seed(qwen: Served, prompts: list[Prompt]) -> None:
    some = prompts[4:6]  # a story, which is cut, and a sum
    params = SamplingParams(1.5, max_completion_length=14)

    def texts(first: int) -> list[list[str]]:
        seeds = (np.arange(16, dtype=np.uint64) + np.uint64(first)) << np.uint64(40)
        with ServerAnswerer(qwen.url) as server:
            (drawn,) = server.complete(some, [Draw(params, seeds, 8)])
            assert server.tally.requests == 2  # n=8 each
            assert not server.failures
        assert [len(group) for group in drawn] == [8, 8]
        finishes = {one.finish for group in drawn for one in group if one is not None}
        assert finishes == {Finish.STOP, Finish.LENGTH}
        return [[one.text for one in group if one is not None] for group in drawn]

    first = texts(1)
    assert first == texts(1)
    assert first != texts(1000)
    assert all(len(set(group)) > 1 for group in first)  # not the defaults of generation_config.json


def test_stop_strings_as_documented(qwen: Served, policy: Policy, prompts: list[Prompt]) -> None:
    """vLLM leaves the string out unless it is asked not to."""
    params = SamplingParams(0.0, max_completion_length=made.CUT, stop_strings=("}",))
    draw = greedy(3, params)
    (here,) = LocalAnswerer(policy, 3).complete(prompts[:3], [draw])
    kept = ServerConfig(extra_body={"include_stop_str_in_output": True})
    told = []
    for config in (ServerConfig(), kept):
        with ServerAnswerer(qwen.url, config=config) as server:
            told.append([one.text for (one,) in server.complete(prompts[:3], [draw])[0] if one])
    expected = [one.text for (one,) in here if one is not None]
    assert all(text.endswith("}") for text in expected)
    assert told == [[text[:-1] for text in expected], expected]
