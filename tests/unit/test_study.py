"""`mmupt study`: its figures are those of its cells, killed studies go on, bad input is one line."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from mmupt import cli
from mmupt.data.handwriting import panels, write_pictures, write_rows
from mmupt.demo import demo_config, embedded
from mmupt.errors import ConfigError
from mmupt.events import read_events
from mmupt.pipeline import stages
from mmupt.pipeline.staged import published_recipe
from mmupt.pipeline.study_arms import choose_arms, parse_seeds, read_arms, shipped_arms
from mmupt.pipeline.study_stats import gain_over_seeds, over_seeds, recovered_share
from mmupt.pipeline.study_table import study_table
from mmupt.report.study_plot import write_study_png
from mmupt.stats import mean_interval

ARMS = ("preset", "supervised", "lmsi", "self-reward")
SEEDS = (0, 3)
SMALL: dict[str, Any] = {
    "num_threads": 1,
    "save_steps": 1,
    "sft": {"num_train_epochs": 2, "per_device_train_batch_size": 4},
    "consensus": {"views": 2, "min_share": 0.5},
    "train": {
        "max_steps": 4, "prompts_per_step": 4, "num_generations": 4, "views": 2,
        "max_completion_length": 12, "warmup_steps": 1,
    },
    "guard": {"action": "warn", "probe_size": 6, "probe_views": 2},
    "eval": {"num_samples": 2, "max_completion_length": 12},
}  # fmt: skip
PATIENCE = 300.0
"""Seconds after which a study that does not move is taken for hung."""

Call = Callable[..., tuple[int, str, str]]


def command(task: Path, out: Path, *more: str) -> list[str]:
    return [
        "study", "--config", str(task / "config.yaml"), "--truth", str(task / "truth.jsonl"),
        "--out", str(out), "--seeds", ",".join(map(str, SEEDS)), "--eval-steps", "2", "--json",
        *(more or ("--arms", ",".join(ARMS))),
    ]  # fmt: skip


def run_apart(*words: str | Path) -> int:
    """Run a command in a process of its own, as a killed one runs; its exit code.

    This process has torchvision, whose pictures differ in their last bits from Pillow's.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mmupt.cli", *map(str, words)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, check=False, text=True,
    )  # fmt: skip
    sys.stderr.write(done.stderr)  # shown where a test fails
    return done.returncode


def run_cli(*words: str | Path) -> int:
    """Run a command in this process; its exit code."""
    old, sys.argv = sys.argv, ["mmupt", *map(str, words)]
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = old
    return 0


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def called(*words: str | Path) -> tuple[int, str, str]:
        code = run_cli(*words)
        out, err = capsys.readouterr()
        return code, out, err

    return called


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own task: a few of the demo's panels, the embedded model, a configuration."""
    folder = tmp_path_factory.mktemp("task")
    for name, split, count in (
        ("train", "labelled", 8),
        ("unlabelled", "unlabelled", 12),
        ("test", "test", 10),
    ):
        drawn = panels(split, count, 0)
        write_pictures(folder, name, drawn)
        write_rows(folder / f"{name}.jsonl", name, drawn, answers=split != "unlabelled")
        if split == "unlabelled":
            write_rows(folder / "truth.jsonl", name, drawn, answers=True)
    shutil.copytree(embedded("model"), folder / "model")
    tree = yaml.safe_load(embedded("preset.yaml").read_text(encoding="utf-8"))
    for key, value in SMALL.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    tree["train"]["learning_rate"] = 1e-3  # so that a few steps change answers
    tree["model"]["path"] = "model"
    tree["data"] = {
        "labelled": "train.jsonl", "unlabelled": "unlabelled.jsonl", "test": "test.jsonl",
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def whole(task: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nothing interrupted."""
    out = tmp_path_factory.mktemp("study") / "whole"
    assert run_apart(*command(task, out)) == 0
    return out


def study_of(out: Path) -> dict[str, Any]:
    study: dict[str, Any] = json.loads((out / "study.json").read_text(encoding="utf-8"))
    return study


def timeless(value: Any) -> Any:
    """Without everything that is a duration."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not k.endswith("seconds")}
    return [timeless(v) for v in value] if isinstance(value, list) else value


# Figures


def columns(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    table = pq.read_table(path)
    return {name: np.asarray(table[name].to_pylist()) for name in table.column_names}


def figures_in(out: Path) -> dict[str, dict[str, list[float]]]:
    """By arm and figure, one value per seed: from the parquet of the reported checkpoint alone."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in SEEDS:
        folder = out / f"seed-{seed}"
        files = {"SFT": folder / "sft" / "evaluations" / "sft.parquet"}
        files |= {
            arm: folder / "arms" / arm / "evaluations" / "round-1.parquet"
            for arm in ARMS
            if arm != "supervised"
        }
        looks = [
            *sorted((folder / "arms/supervised/evaluations").glob("supervised-step-*.parquet")),
            folder / "arms/supervised/evaluations/supervised.parquet",
        ]
        files["supervised"] = max(looks, key=lambda f: float(columns(f)["mean"].mean()))
        for name, file in files.items():
            for key, column in (
                ("greedy", "greedy"), ("mean", "mean"), ("majority", "majority"),
                ("pass", "passed"), ("vote_share", "share"),
            ):  # fmt: skip
                value = float(columns(file)[column].mean())
                found.setdefault(name, {}).setdefault(key, []).append(value)
    return found


def test_the_figures_are_those_of_the_cells(whole: Path) -> None:
    study, found = study_of(whole), figures_in(whole)
    lines = {
        line.split(" | ")[0].removeprefix("| "): line.split(" | ")
        for line in (whole / "table.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    }
    assert list(study["arms"]) == list(ARMS)
    for name, by_figure in found.items():
        entry = study["sft"] if name == "SFT" else study["arms"][name]
        for key, values in by_figure.items():
            low, high = mean_interval(values)
            assert entry["over_seeds"][key] == pytest.approx(
                {"value": np.mean(values), "low": low, "high": high}
            ), (name, key)
        row = lines["supervised (bound)" if name == "supervised" else name]
        for place, key in enumerate(("greedy", "mean", "majority", "pass"), start=3):
            shown = float(row[place].split(" ")[0])
            assert shown == pytest.approx(100 * np.mean(by_figure[key]), abs=0.0501), (name, key)
        if name == "SFT":
            continue
        for place, key in ((7, "mean"), (8, "greedy")):
            gains = np.subtract(by_figure[key], found["SFT"][key])
            low, high = mean_interval(gains)
            assert entry["gain"][key] == pytest.approx(
                {"value": gains.mean(), "low": low, "high": high}
            )
            shown = float(row[place].split(" ")[0].replace("−", "-").replace("±", ""))
            assert shown == pytest.approx(100 * gains.mean(), abs=0.0501)
            bound = np.subtract(found["supervised"][key], found["SFT"][key])
            share = entry["recovered"][key]["value"]
            if bound.mean() > 0:
                assert share == pytest.approx(gains.mean() / bound.mean())
            else:
                assert share is None
    assert len({str(v) for v in found.values()}) > 2  # control: the arms do differ


def test_gains_within_a_seed_are_question_by_question(whole: Path) -> None:
    study = study_of(whole)
    for seed in SEEDS:
        folder = whole / f"seed-{seed}"
        before = columns(folder / "sft" / "evaluations" / "sft.parquet")
        after = columns(folder / "arms" / "lmsi" / "evaluations" / "round-1.parquet")
        assert before["id"].tolist() == after["id"].tolist()
        difference = after["mean"] - before["mean"]
        found = study["arms"]["lmsi"]["seeds"][str(seed)]["gain_over_questions"]["mean"]
        low, high = mean_interval(difference)
        assert found == pytest.approx({"estimate": difference.mean(), "low": low, "high": high})


def test_stopping_points(whole: Path) -> None:
    """The guard's choice or the last update without labels; the best on the test for the bound."""
    study = study_of(whole)
    for arm in ARMS:
        for seed in SEEDS:
            cell = study["arms"][arm]["seeds"][str(seed)]
            events = list(read_events(whole / f"seed-{seed}/arms/{arm}/events.jsonl"))
            chosen = [e["step"] for e in events if e["type"] == "best_checkpoint"]
            steps = [one["step"] for one in cell["candidates"]]
            assert steps == sorted(set(steps))
            assert {2, 4} <= set(steps)
            best = max(one["mean"] for one in cell["candidates"])
            assert cell["oracle"]["mean"] == best
            if arm == "supervised":
                assert cell["reported"]["mean"] == best
                assert cell["labels_used"] == min(12, 4 * cell["reported"]["step"])
            else:
                assert cell["reported"]["step"] == (chosen[-1] if chosen else 4)
                assert cell["labels_used"] == 0
            if arm in ("lmsi", "self-reward"):
                assert not chosen
    assert study["sft"]["labels_used"] == 8
    assert (whole / "study.png").read_bytes().startswith(b"\x89PNG")


def test_an_arm_is_the_ordinary_command(whole: Path, task: Path, tmp_path: Path) -> None:
    """Looks at the test between updates change nothing: the weights are those of `mmupt train`."""
    words = [
        "train", "--model", whole / "seed-3" / "sft" / "model", "--data", task / "unlabelled.jsonl",
        "--config", task / "config.yaml", "--seed", "3", "--out", tmp_path / "rl", "--json",
        "--set", "eval.steps=0",
    ]  # fmt: skip
    assert run_cli(*words) == 0
    alone = (tmp_path / "rl" / "model" / "model.safetensors").read_bytes()
    cell = whole / "seed-3" / "arms" / "preset" / "checkpoints" / "round-1"
    assert alone == (cell / "model.safetensors").read_bytes()


# Stopping and going on


def times(out: Path) -> dict[str, int]:
    """When every file of the cells was last written; locks are opened to be held."""
    return {
        str(p.relative_to(out)): p.stat().st_mtime_ns
        for p in out.rglob("*")
        if p.is_file() and p.name != ".lock" and "seed-" in str(p.relative_to(out))
    }


def test_a_finished_cell_is_not_run_again(whole: Path, task: Path, call: Call) -> None:
    before, study = times(whole), (whole / "study.json").read_bytes()
    code, out, err = call(*command(task, whole))
    assert code == 0, err
    assert json.loads(out) == json.loads(study)
    assert times(whole) == before
    assert (whole / "study.json").read_bytes() == study


def test_another_arm_uses_what_is_there(
    whole: Path, task: Path, tmp_path: Path, call: Call
) -> None:
    shutil.copytree(whole, tmp_path / "study")
    out = tmp_path / "study"
    before = times(out)
    own = tmp_path / "mine.yaml"
    own.write_text(
        "mine: {method: label-free, note: no filter and little else, "
        "set: {consensus.min_share: 0.0, guard.action: none, train.max_steps: 2}}",
        encoding="utf-8",
    )
    # A study keeps the way to its SFT model in its cells; this copy lies elsewhere.
    for config in out.glob("seed-*/arms/*/config.yaml"):
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace(str(whole), str(out)), encoding="utf-8")
    before |= {k: v for k, v in times(out).items() if k.endswith("config.yaml")}
    code, text, err = call(*command(task, out, "--arms", "preset", "--arms", str(own)))
    assert code == 0, err
    study = json.loads(text)
    assert list(study["arms"]) == ["preset", "mine"]
    assert study["bound"] is None
    assert study["arms"]["mine"]["step"]["value"] == 2
    assert study["arms"]["mine"]["recovered"] == {}
    after = times(out)
    assert {k: v for k, v in after.items() if "/arms/mine/" not in k} == before
    assert "bound" not in (out / "table.md").read_text(encoding="utf-8")


def test_another_setting_is_refused(whole: Path, task: Path, call: Call) -> None:
    code, out, err = call(*command(task, whole, "--set", "train.max_steps=3"))
    assert (code, out) == (2, "")
    assert "train.max_steps was 4, now 3" in err
    assert len(err.strip().splitlines()) == 1


def events_in(seed: Path, arms: Sequence[str]) -> int:
    logs = [seed / cell / "events.jsonl" for cell in ("sft", *(f"arms/{arm}" for arm in arms))]
    return sum(log.read_bytes().count(b"\n") for log in logs if log.exists())


def test_kill_and_resume(whole: Path, task: Path, tmp_path: Path) -> None:
    """Killed twice in the middle of cells, they say what they would have said."""
    arms, seed = ("preset", "lmsi"), 3
    out = tmp_path / "torn"
    words = command(task, out, "--arms", ",".join(arms))
    words[words.index("--seeds") + 1] = str(seed)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    total = events_in(whole / f"seed-{seed}", arms)
    for wanted in (total // 3, 3 * total // 4):
        process = subprocess.Popen(
            [sys.executable, "-m", "mmupt.cli", *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and events_in(out / f"seed-{seed}", arms) < wanted:
            assert time.monotonic() < deadline, "the study does not move"
            time.sleep(0.005)
        assert process.poll() is None, "finished before it was killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not (out / f"seed-{seed}" / "arms" / "lmsi" / "metrics.json").exists()
    assert run_apart(*words) == 0
    for arm in arms:
        torn, expected = (
            timeless(study_of(o)["arms"][arm]["seeds"][str(seed)]) for o in (out, whole)
        )
        assert torn == expected
        a, b = (
            o / f"seed-{seed}/arms/{arm}/checkpoints/round-1/model.safetensors"
            for o in (whole, out)
        )
        assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("arm", ["preset", "lmsi"])
def test_a_candidate_is_not_lost_between_its_save_and_its_evaluation(
    whole: Path, task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arm: str
) -> None:
    """Save points and candidates fall on the same steps; the run dies in the second evaluation."""

    class Killed(BaseException):
        pass

    real, calls = stages.evaluate, []

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:  # the first is that of SFT
            raise Killed
        return real(*args, **kwargs)

    words = command(task, tmp_path / "o", "--arms", arm)
    words[words.index("--seeds") + 1] = "3"
    monkeypatch.setattr(stages, "evaluate", dying)
    with pytest.raises(Killed):
        run_cli(*words)
    assert run_cli(*words) == 0
    place = f"seed-3/arms/{arm}/evaluations"
    names = sorted(p.name for p in (whole / place).iterdir())
    assert "round-1-step-000002.parquet" in names
    assert sorted(p.name for p in (tmp_path / "o" / place).iterdir()) == names
    for name in names:
        assert pq.read_table(tmp_path / "o" / place / name).equals(
            pq.read_table(whole / place / name)
        ), name


# The demo preset, one seed


def test_the_demo_with_one_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    for name, count in (("LABELLED", 8), ("UNLABELLED", 12), ("TEST", 6)):
        monkeypatch.setattr(f"mmupt.demo.{name}", count)
    settings = [
        f"{key}.{inner}={value}" if inner else f"{key}={value}"
        for key, group in SMALL.items()
        for inner, value in (group.items() if isinstance(group, dict) else [("", group)])
    ]
    code, out, err = call(
        "study", "--preset", "demo", "--seeds", "5", "--out", tmp_path / "o", "--eval-steps", "0",
        "--arms", "preset,supervised", *(w for s in settings for w in ("--set", s)),
    )  # fmt: skip
    assert code == 0, err
    assert "seed 5, preset: greedy" in err
    assert "2/2" not in err
    assert "3/3 cells" in err
    study = study_of(tmp_path / "o")
    cell = study["arms"]["preset"]["seeds"]["5"]
    assert [one["scores"] for one in cell["candidates"]] == ["evaluations/round-1.parquet"]
    estimate = study["arms"]["preset"]["over_seeds"]["greedy"]
    assert (estimate["low"], estimate["high"]) == (None, None)
    assert (tmp_path / "o" / "table.md").read_text(encoding="utf-8") in out
    assert "[" not in out.split("\n\n")[1]  # one seed has no interval


# Words


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0..4", (0, 1, 2, 3, 4)),
        ("0,2,5", (0, 2, 5)),
        ("7", (7,)),
        ("2..3, 0..2", (2, 3, 0, 1)),
    ],
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "3..1", "0..", "..3", "-1", "1..2..3", "0..999999", "1.5", "²", "9" * 30]
)
def test_bad_seeds_are_one_line(text: str, tmp_path: Path, call: Call) -> None:
    code, out, err = call("study", "--seeds", text, "--out", tmp_path / "o")
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert f"--seeds {text}" in err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--arms", "preset,presset"], "unknown arm 'presset'; known: preset, supervised"),
        (["--arms", "none.yaml"], "none.yaml: no such file"),
        (["--set", "train.speed=9"], "unknown key train.speed"),
        (["--truth", "t.jsonl"], "--preset is a task of ours"),
        (["--config", "missing.yaml"], "missing.yaml: no such file"),
    ],
)
def test_bad_words_are_one_line(words: list[str], part: str, tmp_path: Path, call: Call) -> None:
    code, out, err = call("study", *words, "--out", tmp_path / "o")
    assert (code, out) == (2, "")
    assert part in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_what_is_no_study_is_left_alone(tmp_path: Path, task: Path, call: Call) -> None:
    (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
    code, _, err = call(*command(task, tmp_path))
    assert (code, "not empty and no study of mmupt" in err) == (2, True)
    code, _, err = call(*command(task, tmp_path / "thesis.txt"))
    assert (code, "is a file" in err) == (2, True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_supervised_arm_needs_answers(tmp_path: Path, task: Path, call: Call) -> None:
    words = ["study", "--config", task / "config.yaml", "--out", tmp_path / "o"]
    code, _, err = call(*words, "--arms", "preset,supervised")
    assert (code, "pass --truth FILE" in err) == (2, True)
    assert [a.name for a in choose_arms([], truth=False)] == ["preset", "published"]
    assert [a.name for a in choose_arms([])] == ["preset", "published", "supervised"]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("[a]", "expected arms"),
        ("A/../b: {method: lmsi, note: x}", "it is a folder"),
        ("mine: {method: magic, note: x}", "arm mine: method: Input should be"),
        ("mine: {method: lmsi}", "arm mine: note: Field required"),
        ("mine: {method: lmsi, note: x, sett: {}}", "arm mine: sett: Extra inputs"),
        ("mine: 3", "arm mine: expected method"),
        ("preset: {method: lmsi, note: x}", "an arm preset is there already"),
        ("mine: {method: label-free, note: x, set: {train.speed: 1}}", "arm mine: --set: unknown"),
        ("mine: {method: lmsi, note: x}", "arm mine: consensus.teacher is 'ema'"),
    ],
)
def test_bad_arms_are_named(body: str, part: str, tmp_path: Path, call: Call) -> None:
    path = tmp_path / "arms.yaml"
    path.write_text(body, encoding="utf-8")
    code, out, err = call("study", "--arms", path, "--out", tmp_path / "o")
    assert (code, out) == (2, "")
    assert part in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_every_shipped_arm_fits_the_preset() -> None:
    base = demo_config(Path("data"), 0)
    arms = shipped_arms()
    assert {"preset", "published", "supervised", "lmsi", "self-reward", "frozen"} <= set(arms)
    made = {name: arm.config(base) for name, arm in arms.items()}
    assert made["preset"] == base
    assert made["published"] == published_recipe(base)
    for name, arm in arms.items():
        assert arm.note
        changed = made[name] != base or arm.method == "supervised"
        assert changed == (name != "preset"), name
        assert "arXiv" in arm.note or name in ("preset", "one-view"), name


def test_reading_keeps_the_order(tmp_path: Path) -> None:
    path = tmp_path / "arms.yaml"
    path.write_text("z: {method: lmsi, note: a}\nb: {method: supervised, note: c}\n")
    assert list(read_arms(path)) == ["z", "b"]
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_arms(_written(tmp_path / "broken.yaml", "a: ["))


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# Statistics


def test_means_over_seeds_by_hand() -> None:
    """1, 2, 6: mean 3, s = sqrt 7, t(2) = 4.302653, half = 4.302653 sqrt(7 / 3) = 6.572..."""
    estimate = over_seeds([1.0, 2.0, 6.0])
    half = 4.302652729749464 * math.sqrt(7 / 3)
    assert estimate == pytest.approx((3.0, 3.0 - half, 3.0 + half))
    assert gain_over_seeds([1.0, 1.0, 1.0], [2.0, 3.0, 7.0]) == pytest.approx(estimate)
    one = over_seeds([0.5])
    assert one.value == 0.5
    assert math.isnan(one.low)
    assert math.isnan(over_seeds([]).value)


def test_fieller_by_hand() -> None:
    """Two seeds, t(1) = 12.7062: gains (2, 4), bound (10, 10): only the numerator varies.

    a = 100, b = 30, c = 9 - 161.447 / 2 * 2: theta = (3 +- 12.7062) / 10.
    """
    t = 12.706204736432095
    share = recovered_share([2.0, 4.0], [10.0, 10.0])
    assert share == pytest.approx((0.3, (3 - t) / 10, (3 + t) / 10))


def test_fieller_against_its_definition() -> None:
    """theta is in the set when the t interval of gains - theta * bound holds 0."""
    gains, bound = [0.085, 0.071, 0.092, 0.066, 0.080], [0.120, 0.101, 0.125, 0.118, 0.109]
    share = recovered_share(gains, bound)
    assert share.value == pytest.approx(sum(gains) / sum(bound))
    assert share.low < share.value < share.high
    for theta, edge in ((share.low, "high"), (share.high, "low")):
        ends = mean_interval(np.subtract(gains, theta * np.array(bound)))
        low, high = ends
        if edge == "high":  # gains - theta * bound is far above 0 there: its lower end touches
            assert low == pytest.approx(0.0, abs=1e-12)
            assert high > 0
        else:
            assert high == pytest.approx(0.0, abs=1e-12)
            assert low < 0


@pytest.mark.parametrize(
    ("gains", "bound", "value"),
    [
        ([0.1, 0.2], [0.1, -0.1], math.nan),  # nothing to recover on average
        ([0.1], [0.2], 0.5),  # a single seed
        ([0.1, 0.2, 0.1], [0.9, 0.01, 0.02], 0.4 / 0.93),  # the bound is not clear of 0
        ([], [], math.nan),
    ],
)
def test_shares_without_an_interval(gains: list[float], bound: list[float], value: float) -> None:
    share = recovered_share(gains, bound)
    assert share.value == pytest.approx(value, nan_ok=True)
    assert math.isnan(share.low)
    assert math.isnan(share.high)


def test_the_bound_recovers_itself() -> None:
    assert recovered_share([0.1, 0.12, 0.09], [0.1, 0.12, 0.09]) == pytest.approx((1, 1, 1))
    with pytest.raises(ValueError, match="not pairs"):
        recovered_share([0.1], [0.1, 0.2])


# The table and the plot, from a file that somebody else wrote


def test_words_from_outside_stay_on_their_line(whole: Path, tmp_path: Path) -> None:
    study = study_of(whole)
    study["arms"]["lmsi"]["note"] = "one\n| two |\x1b[31m $x$ " + "long " * 100
    text = study_table(study)
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3 + len(ARMS)
    assert len({row.count(" | ") for row in rows}) == 1
    study["arms"] = {f"arm-{i}-$x^2$": study["arms"]["lmsi"] for i in range(40)}
    write_study_png(study, tmp_path / "many.png")
    assert (tmp_path / "many.png").stat().st_size > 10_000
