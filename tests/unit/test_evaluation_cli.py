"""`mmupt eval` with a server and a judge, and `mmupt compare`, as they are typed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import made_benchmarks
import pytest
from server_stub import Answer, Body, Stub, chat, refused, serving

from mmupt import cli


@pytest.fixture(scope="module")
def running() -> Iterator[Stub]:
    with serving() as stub:
        yield stub


@pytest.fixture
def stub(running: Stub) -> Stub:
    running.reset().answer = answer
    return running


def question(body: Body) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)


def answer(body: Body) -> Answer:
    """Greedy 4; of the samples every second; and as a judge of what ends in 4."""
    asked = question(body)
    if "You grade" in asked:
        reply = asked.split(" reply\n")[1].split("\n====")[0]
        return chat("CORRECT" if reply.strip().endswith("4") else "INCORRECT")
    return chat(*(("4", "5")[i % 2] for i in range(body.get("n", 1))))


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = 0
    sys.argv = ["mmupt", *map(str, words)]
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return made_benchmarks.make("chartqa", tmp_path / "ChartQA")


def test_a_benchmark_is_asked_of_a_server_and_judged(
    stub: Stub, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["eval", "--benchmark", "ChartQA", "--data-dir", data, "--server", stub.url,
             "--judge", stub.url, "--samples", 2, "--views", 2, "--out", out,
             "--set", "server.max_retries=0"]  # fmt: skip
    seen = []

    def fails_late(body: Body) -> Answer:
        seen.append(body)
        return refused(500, "tired") if len(seen) > 2 else answer(body)

    stub.answer = fails_late
    code, _, err = call(capsys, *words)
    assert code == 2
    assert "replies did not come" in err
    stub.answer = answer
    before = len(stub.bodies)
    code, told, err = call(capsys, *words, "--json")
    assert code == 0, err
    metrics = json.loads(told)
    assert metrics == json.loads((out / "metrics.json").read_text())
    assert (metrics["benchmark"], metrics["split"], metrics["n"]) == ("chartqa", "test", 3)
    assert (metrics["greedy"], metrics["mean"], metrics["failed"]) == (1.0, 0.5, 0)
    # One completion's tokens are told; of two in one reply only the sum is.
    assert (metrics["greedy_length"], metrics["length"]) == (1.0, None)
    assert metrics["model"] == f"tiny at {stub.url}"
    assert metrics["judge"]["accuracy"]["value"] == 1.0
    assert metrics["judge"]["model"] == metrics["model"]
    # Greedy, two samples, a second view and the judge. Two rows are word for word the same, so the
    # second of them is remembered or, if both are under way, asked for as well.
    assert 2 * 4 - 2 <= len(stub.bodies) - before <= 3 * 4
    before = len(stub.bodies)
    code, again, _ = call(capsys, *words, "--json")
    assert (code, json.loads(again), len(stub.bodies)) == (0, metrics, before)
    code, shown, _ = call(capsys, *words)
    assert code == 0
    for part in ("chartqa: 3 questions about 2 pictures", "pass@2", "image views agree", "human"):
        assert part in shown, part
    assert "torch" not in " ".join(stub.headers[0])
    code, _, err = call(capsys, *words, "--samples", 3)
    assert code == 2
    assert "holds another run" in err

    other = tmp_path / "other"
    words[words.index(out)] = other
    stub.answer = lambda body: answer(body) if "You grade" in question(body) else chat(
        *["5"] * body.get("n", 1)
    )  # fmt: skip
    assert call(capsys, *words, "--json")[0] == 0
    code, told, err = call(capsys, "compare", other, out, "--json", "--out", tmp_path / "c.json")
    assert code == 0, err
    figures = {one["metric"]: one for one in json.loads(told)["figures"]}
    assert json.loads(told) == json.loads((tmp_path / "c.json").read_text())
    assert (figures["greedy"]["before"], figures["greedy"]["after"]) == (0.0, 1.0)
    assert figures["greedy"]["p"] == 0.5  # two pictures: two coins
    assert figures["abstained"]["p"] is None
    assert "length" not in figures  # no server told it
    code, shown, _ = call(capsys, "compare", other, out)
    assert code == 0
    assert "no question differs: " in shown
    code, _, err = call(capsys, "compare", other, tmp_path)
    assert code == 2
    assert "lacks" in err or "evaluation" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--benchmark", "vqa", "--data-dir", "D"], "'vqa' is unknown; choose from mathvista"),
        (["--benchmark", "mathvista"], "--benchmark and --data-dir belong together"),
        (["--data", "x.jsonl", "--benchmark", "chartqa", "--data-dir", "D"], "give one of --data"),
        ([], "give one of --data FILE and --benchmark NAME"),
        (["--data", "x.jsonl", "--split", "test"], "--split does nothing without --benchmark"),
        (["--data", "x.jsonl", "--judge-model", "m"], "--judge-model does nothing without --judge"),
        (["--benchmark", "mathvista", "--data-dir", "missing"],
         "hf download --repo-type dataset AI4Math/MathVista --local-dir missing"),
        (["--benchmark", "easyvqa", "--data-dir", "missing"],
         "git clone https://github.com/vzhou842/easy-VQA missing"),
        (["--benchmark", "chartqa", "--data-dir", "D", "--split", "val"],
         "has no table of the split 'val'"),
    ],
)  # fmt: skip
def test_what_eval_refuses(
    words: list[str], said: str, data: Path, stub: Stub, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = [str(data) if word == "D" else word for word in words]
    code, _, err = call(capsys, "eval", "--server", stub.url, "--out", tmp_path / "o", *words)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not stub.bodies
    assert not (tmp_path / "o").exists()


def test_a_local_model_and_a_folder_that_is_none(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(
        capsys, "eval", "--model", tmp_path / "gone", "--benchmark", "chartqa", "--data-dir", data,
        "--out", tmp_path / "o",
    )  # fmt: skip
    assert code == 2
    assert "gone: not a folder" in err
    assert not (tmp_path / "o").exists()
