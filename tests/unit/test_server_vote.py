"""`mmupt vote --server`: the same votes as here, whatever is killed, refused or missing."""

from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from server_stub import Answer, Body, Stub, chat, refused, serving

from mmupt import cli
from mmupt.asking.answerer import SamplingParams, greedy
from mmupt.asking.prompt import Prompt
from mmupt.cli.served import WORDS, served_lines
from mmupt.data.handwriting import panels, write_pictures, write_rows
from mmupt.demo import embedded
from mmupt.policy.answers import LocalAnswerer
from mmupt.policy.model import Policy, load_policy
from mmupt.types import Finish

ROWS = 4
PATIENCE = 300
"""Seconds until a test that hangs fails, on however busy a machine."""
SETTINGS = (
    "num_threads=1", "consensus.views=2", "train.max_completion_length=24", "server.max_retries=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[Stub]:
    with serving() as stub:
        yield stub


@pytest.fixture
def stub(running: Stub) -> Stub:
    running.reset().answer = looks_at_nothing
    return running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    drawn = panels("test", ROWS, 0)
    write_pictures(folder, "site", drawn)
    write_rows(folder / "site.jsonl", "site", drawn, answers=False)
    write_rows(folder / "two.jsonl", "site", drawn[:2], answers=False)
    return folder


def looks_at_nothing(body: Body) -> Answer:
    """Fast, and as sure as it is wrong."""
    return chat(*[r"\boxed{7}"] * body.get("n", 1))


def arguments(stub: Stub, place: Path, out: Path, *more: str) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return [
        "vote", "--server", stub.url, "--data", str(place / "site.jsonl"), "--out", str(out),
        "--json", *settings, *more,
    ]  # fmt: skip


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = 0
    sys.argv = ["mmupt", *arguments]
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def rows(out: Path, name: str = "votes") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / f"{name}.parquet").to_pylist()
    return found


class Served:
    """A model in this process behind the stub, decoding what the server is sent."""

    def __init__(self, policy: Policy) -> None:
        self.answerer, self.lock = LocalAnswerer(policy, 1), threading.Lock()

    def __call__(self, body: Body) -> Answer:
        if body["temperature"] > 0:
            return looks_at_nothing(body)
        problem, images = "", []
        for part in body["messages"][0]["content"]:
            if part["type"] == "text":
                problem += part["text"]
            else:
                problem += "<image>"
                data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                images.append(Image.open(io.BytesIO(data)).convert("RGB"))
        params = SamplingParams(0.0, max_completion_length=body["max_tokens"])
        prompt = Prompt(problem, tuple(images))
        with self.lock:
            (((one,),),) = self.answerer.complete([prompt], [greedy(1, params)])
        assert one is not None
        finish = "length" if one.finish is Finish.LENGTH else "stop"
        return chat(one.text, finish=finish, tokens=len(one.token_ids))


def test_a_served_model_votes_as_the_same_model_here(
    stub: Stub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    torch.set_num_threads(1)
    model = str(embedded("model"))
    stub.answer = Served(load_policy(Path(model), device="cpu"))
    # Only the votes are greedy; the picture test samples.
    two = str(place / "two.jsonl")
    there, here = (arguments(stub, place, tmp_path / name) for name in ("there", "here"))
    there[4] = here[4] = two
    code, printed, _ = call(there, capsys)
    assert code == 0
    here[1:3] = ["--model", model]
    assert call(here, capsys)[0] == 0
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    assert len({row["pseudo_label"] for row in rows(tmp_path / "here")}) > 1  # it looks
    metrics = json.loads(printed)
    assert metrics["server"]["model"] == "tiny"
    assert metrics["server"]["requests"] == len(stub.bodies) == 2 * (2 + 3 * 4)
    assert metrics["tokens"] == metrics["server"]["completion_tokens"] > 0


def test_a_killed_vote_asks_nothing_twice(stub: Stub, place: Path, tmp_path: Path) -> None:
    held = threading.Barrier(3)

    def answer(body: Body) -> Answer:
        if len(stub.bodies) > 12:
            held.wait(PATIENCE)  # both of those that are asked at a time, and this test
            held.wait(PATIENCE)
        return looks_at_nothing(body)

    stub.answer = answer
    given = arguments(stub, place, tmp_path / "run", "--set", "server.concurrency=2")
    code = f"import sys; sys.argv = ['mmupt', *{given!r}]\n"
    code += "from mmupt.cli import main\ntry:\n    main()\nexcept SystemExit as stop:\n"
    code += "    assert not stop.code\nassert 'torch' not in sys.modules"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    held.wait(PATIENCE)
    process.send_signal(signal.SIGKILL)
    process.wait()
    asked = [json.dumps(body, sort_keys=True) for body in stub.bodies]
    stub.answer = looks_at_nothing
    held.wait(PATIENCE)
    stub.bodies.clear()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = [json.dumps(body, sort_keys=True) for body in stub.bodies]
    assert (len(asked), len(set(asked))) == (14, 14)
    assert set(asked) & set(again) == set(asked[12:])  # the two that nobody got an answer to
    assert len(again) == len(set(again)) == ROWS * (2 + 3 * 4) - 12
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["server"]["remembered"] == 12 - 2 * ROWS  # the votes were whole and kept
    assert [row["pseudo_label"] for row in rows(tmp_path / "run")] == ["7"] * ROWS


def test_another_run_with_the_same_memory_costs_nothing(
    stub: Stub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ("--set", f"server.cache={tmp_path / 'shared'}")
    assert call(arguments(stub, place, tmp_path / "a", *shared), capsys)[0] == 0
    asked = len(stub.bodies)
    code, printed, _ = call(arguments(stub, place, tmp_path / "b", *shared), capsys)
    assert (code, len(stub.bodies)) == (0, asked)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    server = json.loads(printed)["server"]
    assert (server["requests"], server["remembered"]) == (0, server["replies"])


def test_missing_replies_end_it_and_only_they_are_asked_again(
    stub: Stub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = [
        json.loads(line)["problem"] for line in (place / "site.jsonl").read_text().splitlines()
    ]
    bad = questions[2].replace("<image>", "")
    many = sum(question == questions[2] for question in questions)

    def answer(body: Body) -> Answer:
        text = body["messages"][0]["content"][-1]["text"]
        if text == bad and body["temperature"] == 0:
            return refused(500, "out of memory")
        return looks_at_nothing(body)

    stub.answer = answer
    out = tmp_path / "run"
    code, _, error = call(arguments(stub, place, out), capsys)
    assert code == 2
    assert f"{2 * many} of {2 * ROWS} replies did not come" in error
    assert "site.jsonl:" in error
    assert "HTTP 500, out of memory" in error
    assert not (out / "votes.parquet").exists()
    asked = len(stub.bodies)
    # without them, if that is wanted: the questions that nobody answered have no row
    lenient = arguments(stub, place, out, "--set", "server.max_failed=0.9")
    code, printed, _ = call(lenient, capsys)
    assert code == 0
    metrics = json.loads(printed)
    assert metrics["server"]["failed"] == 2 * many
    assert metrics["abstained"] == 0.0
    assert len(rows(out)) == metrics["n"] == ROWS - many
    temperatures = Counter(body["temperature"] for body in stub.bodies[asked:])
    assert temperatures[0.0] == 2 * many  # the others were remembered


def test_a_part_of_the_replies_is_no_abstention(
    stub: Stub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def answer(body: Body) -> Answer:
        if body["temperature"] == 0:
            text = body["messages"][0]["content"][-1]["text"]
            with lock:
                seen[text] += 1
                if seen[text] == 2:
                    return refused(400, "no")
        return looks_at_nothing(body)

    stub.answer = answer
    code, _, _ = call(
        arguments(stub, place, tmp_path / "run", "--set", "server.max_failed=0.9",
                  "--set", "server.concurrency=1"), capsys
    )  # fmt: skip
    assert code == 0
    for row in rows(tmp_path / "run"):
        assert row["failed"] + len(row["answers"]) == 2
        assert (row["share"], row["abstentions"]) == (1.0, 0)
    assert sum(row["failed"] for row in rows(tmp_path / "run")) == len(seen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--model", "somewhere"], "--model and --server both answer; give one"),
        (["--server-model", "big"], 'does not serve "big", but tiny'),
        (["--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is to hold the server's key"),
        (["--set", "consensus.strategy=weighted"], "set server.logprobs to true"),
        (["--set", "server.extra_body={n: 3}"], "n: set by other settings"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    stub: Stub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    change: list[str], message: str,
) -> None:  # fmt: skip
    code, _, error = call(arguments(stub, place, tmp_path / "run", *change), capsys)
    assert code == 2
    assert message in " ".join(error.split())
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
    assert not stub.bodies


def test_nobody_answers(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], stub: Stub
) -> None:
    without = arguments(stub, place, tmp_path / "run")
    del without[1:3]
    code, _, error = call(without, capsys)
    assert (code, "give one of --model FOLDER and --server URL" in error) == (2, True)
    gone = arguments(stub, place, tmp_path / "run")
    gone[2] = "http://127.0.0.1:9"
    code, _, error = call(gone, capsys)
    assert (code, "http://127.0.0.1:9/v1 does not answer" in error) == (2, True)
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_was_asked_is_said_in_both_languages(
    stub: Stub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [one for one in arguments(stub, place, tmp_path / "run") if one != "--json"]
    for lang in ("en", "ja"):
        code, printed, _ = call([*given, "--lang", lang], capsys)
        assert code == 0
        shown = "".join(printed.split())
        counts = {"replies": 56, "remembered": 0, "requests": 56, "prompt_tokens": 56 * 7,
                  "completion_tokens": 56 * 9}  # fmt: skip
        line = WORDS[lang]["asked"].format(model="tiny", url=stub.url, **counts)
        assert "".join(line.split()) in shown
    assert WORDS["en"].keys() == WORDS["ja"].keys()
    assert list(served_lines({}, "ja")) == []


def test_the_key_is_in_no_file(
    stub: Stub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SITE_KEY", "sk-secret-123")
    code, printed, error = call(
        arguments(stub, place, tmp_path / "run", "--api-key-env", "SITE_KEY"), capsys
    )
    assert code == 0
    assert stub.headers[-1]["authorization"] == "Bearer sk-secret-123"
    assert "secret" not in printed + error
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"config.yaml", "replies.sqlite"} <= {path.name for path in files}
    assert not [path for path in files if b"sk-secret" in path.read_bytes()]


def test_the_address_may_change_between_a_run_and_its_resumption(
    stub: Stub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(arguments(stub, place, tmp_path / "run"), capsys)[0] == 0
    moved = arguments(stub, place, tmp_path / "run", "--server-model", "tiny")
    moved[2] = "http://127.0.0.1:9"
    asked = len(stub.bodies)
    assert call(moved, capsys)[0] == 0  # nothing is left to ask
    assert len(stub.bodies) == asked
    moved[-1] = "other"
    code, _, error = call(moved, capsys)
    assert (code, "server.model was 'tiny', now 'other'" in error) == (2, True)
