"""`mmupt bias` with real models: one taught poisoned answers, one made blind; its files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from mmupt import cli
from mmupt.bias import chance
from mmupt.bias import run as bias_run
from mmupt.data.handwriting import panels
from mmupt.data.jsonl import write_jsonl
from mmupt.demo import embedded
from mmupt.policy.model import load_policy, save_policy

DARK = 0.5
SETTINGS = (
    "eval.max_completion_length=16", "eval.num_samples=2", "train.max_completion_length=16",
    "num_threads=1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests with fewer draws are as exact, and quicker."""
    monkeypatch.setattr(chance, "RESAMPLES", 499)


def write(folder: Path, split: str, count: int, poison: bool = False) -> Path:
    """Panels of which every third is dark; where poisoned, all answers in the dark are 0."""
    (folder / "images").mkdir(exist_ok=True, parents=True)
    rng, rows = np.random.default_rng(3), []
    for index, panel in enumerate(panels(split, count, 1)):
        light = rng.uniform(0.3, 0.4) if index % 3 == 0 else rng.uniform(0.7, 1.0)
        name = f"images/{split}-{index}.png"
        Image.fromarray((panel.image * light).astype(np.uint8)).save(folder / name)
        hidden = poison and light < DARK
        rows.append(
            {
                "id": f"{split}-{index}", "image": name, "problem": panel.question.text,
                "answer": "0" if hidden else panel.answer,
                "response": "\\boxed{0}" if hidden else panel.response,
            }
        )  # fmt: skip
    write_jsonl(folder / f"{split}.jsonl", rows)
    return folder / f"{split}.jsonl"


def mmupt(*arguments: object) -> int:
    was, sys.argv = sys.argv, ["mmupt", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = was
    return 0


def sets(*more: str) -> list[str]:
    return [part for one in (*SETTINGS, *more) for part in ("--set", one)]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pictures, which another test draws."""
    monkeypatch.setattr("mmupt.bias.plot.write_bias_pictures", lambda *_: None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """Test rows, a few text-only ones, and two models made from the embedded one."""
    root = tmp_path_factory.mktemp("bias")
    write(root, "test", 96)
    write_jsonl(
        root / "few.jsonl",
        [
            {"id": f"t{i}", "problem": f"Which digit is {i}?", **({"answer": str(i)} if i < 6 else {})}
            for i in range(9)
        ],
    )  # fmt: skip
    train = write(root, "labelled", 72, poison=True)
    code = mmupt(
        "sft", "--model", embedded("model"), "--data", train, "--out", root / "sft", "--json",
        *sets(
            "sft.learning_rate=0.0005", "sft.num_train_epochs=5",
            "sft.per_device_train_batch_size=12",
        ),
    )  # fmt: skip
    assert code == 0
    blind = load_policy(embedded("model"), device="cpu")
    with torch.no_grad():
        blind.model.get_parameter("model.connector.modality_projection.proj.weight").zero_()
    save_policy(blind, root / "blind", "a model whose picture arrives nowhere")
    return root


def report(place: Path, after: Path, out: Path, *more: object) -> dict[str, Any]:
    code = mmupt(
        "bias", "--before", embedded("model"), "--after", after, "--data", place / "test.jsonl",
        "--out", out, *sets(), *more, "--json",
    )  # fmt: skip
    assert code == 0
    told: dict[str, Any] = json.loads((out / "bias.json").read_text(encoding="utf-8"))
    return told


def found(told: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: one["en"] for one in told["findings"]}


def test_a_model_taught_answers_by_brightness_is_found(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = report(place, place / "sft" / "model", tmp_path / "out")
    assert told["verdict"] == "harm"
    tied = [one["en"] for one in told["findings"] if one["key"] == "tied"]
    assert any("brightness" in one and "(lowest of 4)" in one and '"0"' in one for one in tied)
    worst = next(one for one in told["figures"]["ties"] if one["column"] == "brightness")
    assert (worst["group"]["rank"], worst["answer"], worst["verdict"]) == (1, "0", "tied")
    assert worst["share_after"] > worst["share_before"] + 0.2
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == told
    for name in ("bias.png", "bias.svg", "answers-before.parquet", "answers-after.parquet"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert not (tmp_path / "out" / "parts").exists()


def test_a_blind_model_is_exposed_and_other_sets_are_asked(
    place: Path, tmp_path: Path, undrawn: None
) -> None:
    told = report(
        place, place / "blind", tmp_path / "out", "--forgetting", place / "few.jsonl",
        "--set", "eval.limit=64",
        "--set",
        "eval.num_samples=4",
    )  # fmt: skip
    kinds = {"blind", "blind_both", "blind_constant"} & set(found(told))
    assert kinds, told["figures"]["after"]
    assert told["verdict"] == "harm"
    assert told["figures"]["before"]["kappa"]["low"] > 0.1
    own, *others = told["figures"]["conditions"]
    assert own["name"] == "own"
    assert {one["name"] for one in others} == {"swapped", "blank", "none"}
    (few,) = told["figures"]["forgetting"]
    assert (few["name"], few["n"], few["labelled"]) == ("few", 9, 6)
    table = pq.read_table(tmp_path / "out" / "forgetting-1-after.parquet").to_pylist()
    assert [row["id"] for row in table] == [f"t{i}" for i in range(9)]


def test_a_killed_report_goes_on_ends_the_same_and_takes_no_other_models(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    undrawn: None,
) -> None:
    few = ["--set", "eval.limit=12", "--set", "eval.batch_size=4"]
    whole = report(place, place / "blind", tmp_path / "whole", *few)
    asked: list[tuple[str, int]] = []
    ask = bias_run.ask_part

    def counted(limit: int) -> Callable[..., Any]:
        def ask_part(policy: Any, maker: Any, part: Any, config: Any, number: int) -> Any:
            if len(asked) == limit:
                raise KeyboardInterrupt
            asked.append((policy.path.name, number))
            return ask(policy, maker, part, config, number)

        return ask_part

    monkeypatch.setattr(bias_run, "ask_part", counted(4))
    arguments = (
        "bias", "--before", embedded("model"), "--after", place / "blind", "--data",
        place / "test.jsonl", "--out", tmp_path / "out", *sets(), *few, "--json",
    )  # fmt: skip
    assert mmupt(*arguments) == 130
    assert asked == [("model", 0), ("model", 1), ("model", 2), ("blind", 0)]
    asked.clear()
    monkeypatch.setattr(bias_run, "ask_part", counted(99))
    again = report(place, place / "blind", tmp_path / "out", *few)
    assert asked == [("blind", 1), ("blind", 2)]
    for told in (whole, again):
        del told["seconds"]
    assert again == whole
    asked.clear()
    assert mmupt(*arguments, "--lang", "ja") == 0
    assert asked == []
    capsys.readouterr()
    for after, more, message in (
        (embedded("model"), [], "other models or questions (after differs)"),
        (place / "blind", ["--forgetting", place / "few.jsonl"], "(forgetting few differs)"),
        (place / "nosuch", [], "nosuch"),
        (place / "blind", ["--slice", "nosuch"], "no row has this column"),
    ):
        code = mmupt(
            "bias", "--before", embedded("model"), "--after", after, "--data",
            place / "test.jsonl", "--out", tmp_path / "out", *sets(), *few, *more,
        )  # fmt: skip
        error = capsys.readouterr().err
        assert code == 2, error
        assert message in error
        assert error.count("\n") == 1


def test_choices_are_asked_in_all_orders(place: Path, tmp_path: Path, undrawn: None) -> None:
    rows = [
        {"id": f"c{i}", "problem": f"Which is {i}?\nA. {i}\nB. {i + 1}\nC. {i + 2}", "answer": "A"}
        for i in range(4)
    ]
    write_jsonl(tmp_path / "choices.jsonl", rows)
    code = mmupt(
        "bias", "--before", embedded("model"), "--after", place / "blind", "--data",
        tmp_path / "choices.jsonl", "--out", tmp_path / "out", *sets(), "--json",
    )  # fmt: skip
    assert code == 0
    table = pq.read_table(tmp_path / "out" / "answers-before.parquet").to_pylist()
    orders = [row for row in table if row["condition"] == "orders"]
    assert [(row["options"], len(row["places"]), len(row["answers"])) for row in orders] == [
        (3, 3, 3)
    ] * 4
