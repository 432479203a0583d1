"""The commands as a user meets them: results, and one line for every bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mmupt import cli
from mmupt.data.handwriting import panels, write_pictures, write_rows
from mmupt.demo import embedded

SMALL = [
    "--set", "num_threads=1", "--set", "sft.num_train_epochs=1", "--set", "sft.per_device_train_batch_size=4",
    "--set", "train.max_steps=2", "--set", "train.prompts_per_step=4", "--set", "train.num_generations=4",
    "--set", "train.views=2", "--set", "train.max_completion_length=12", "--set", "train.learning_rate=1e-4",
    "--set", "guard.probe_size=8", "--set", "guard.jury_views=2", "--set", "guard.probe_views=2",
    "--set", "consensus.views=2", "--set", "consensus.min_share=0.5",
    "--set", "eval.num_samples=2", "--set", "eval.max_completion_length=12",
]  # fmt: skip


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's files at a tiny size."""
    folder = tmp_path_factory.mktemp("material")
    for name, split, count in (
        ("train", "labelled", 8),
        ("unlabelled", "unlabelled", 12),
        ("test", "test", 6),
    ):
        drawn = panels(split, count, 0)
        write_pictures(folder, name, drawn)
        write_rows(folder / f"{name}.jsonl", name, drawn, answers=split != "unlabelled")
    shutil.copytree(embedded("model"), folder / "model")
    return folder


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str | Path
) -> tuple[int, str, str]:
    """Run a command in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["mmupt", *map(str, words)])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_sft_train_eval_through_files(
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sft, rl, ev = tmp_path / "sft", tmp_path / "rl", tmp_path / "ev"
    code, out, err = call(
        monkeypatch, capsys, "sft", "--model", material / "model", "--data", material / "train.jsonl",
        "--out", sft, "--json", *SMALL,
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["labels_used"] == 8
    code, out, err = call(
        monkeypatch, capsys, "train", "--model", sft / "model", "--data", material / "unlabelled.jsonl",
        "--out", rl, "--json", *SMALL,
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["labels_used"] == 0
    assert len(list((rl / "rollouts").glob("round-1-*.parquet"))) == 2
    code, out, err = call(
        monkeypatch, capsys, "eval", "--model", rl / "model", "--data", material / "test.jsonl",
        "--out", ev, "--json", *SMALL,
    )  # fmt: skip
    assert code == 0, err
    stage = json.loads((ev / "metrics.json").read_text(encoding="utf-8"))
    assert json.loads(out) == stage
    assert stage["n"] == 6
    assert {"greedy", "mean", "majority", "pass", "vote_share", "seconds", "greedy_ci"} <= set(
        stage
    )
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        "README.md",
        "processor_config.json",
    ):
        assert (rl / "model" / name).is_file(), name


def rows(material: Path, path: Path, *changes: dict[str, object]) -> Path:
    """The training rows with the first few changed; beside the images."""
    lines = [
        json.loads(x) for x in (material / "train.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for line, change in zip(lines, changes, strict=False):
        line.update(change)
        for key in [k for k, v in line.items() if v is None]:
            del line[key]
    target = material / path
    target.write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
    return target


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"images": ["images/none.png"]}, [":1:", "images/none.png"]),
        ({"images": ["../secret.png"]}, [":1:", "../secret.png"]),
        ({"images": ["http://127.0.0.1/x.png"]}, [":1:", "http"]),
        ({"answer": None}, [":1:", "answer"]),
        ({"problem": "<image><image>twice?"}, [":1:", "<image>"]),
        ({"problem": None}, [":1:", "problem"]),
    ],
)
def test_bad_rows_are_named(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    change: dict[str, object], parts: list[str],
) -> None:  # fmt: skip
    data = rows(material, Path("bad.jsonl"), change)
    code, out, err = call(
        monkeypatch,
        capsys,
        "sft",
        "--model",
        material / "model",
        "--data",
        data,
        "--out",
        tmp_path / "o",
        *SMALL,
    )
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1, err
    for part in (str(data), *parts):
        assert part in err
    assert not (tmp_path / "o").exists()


def test_skip_bad_goes_on_and_lists(
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = rows(material, Path("some-bad.jsonl"), {"images": ["images/none.png"]}, {"problem": ""})
    code, out, err = call(
        monkeypatch, capsys, "train", "--model", material / "model", "--data", data,
        "--out", tmp_path / "o", "--skip-bad", "--json", *SMALL,
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["rows"] == 6
    assert f"left out {data}:1" in err
    assert f"left out {data}:2" in err


def test_models_that_are_none(
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    empty, pickled, text = tmp_path / "empty", tmp_path / "pickled", tmp_path / "text"
    for folder in (empty, pickled, text):
        folder.mkdir()
    shutil.copy(material / "model" / "config.json", pickled)
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    (text / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (text / "model.safetensors").write_bytes(b"broken")
    for model, part in (
        (tmp_path / "missing", "not a folder"),
        (empty, "no config.json"),
        (pickled, "no *.safetensors"),
        (text, "cannot be loaded as an image-text model"),
    ):
        code, _, err = call(
            monkeypatch, capsys, "eval", "--model", model, "--data", material / "test.jsonl",
            "--out", tmp_path / "o", *SMALL,
        )  # fmt: skip
        assert code == 2, err
        assert str(model) in err
        assert part in err
        assert len(err.strip().splitlines()) == 1, err
        assert not (tmp_path / "o").exists()


def test_out_that_holds_something_else(
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["eval", "--model", material / "model", "--data", material / "test.jsonl", *SMALL]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious", encoding="utf-8")
    code, _, err = call(monkeypatch, capsys, *words, "--out", foreign)
    assert code == 2
    assert "not empty and no run of mmupt" in err
    assert (foreign / "thesis.txt").read_text(encoding="utf-8") == "precious"

    out = tmp_path / "o"
    assert call(monkeypatch, capsys, *words, "--out", out, "--json")[0] == 0
    before = (out / "metrics.json").read_bytes()
    code, _, err = call(monkeypatch, capsys, *words, "--out", out, "--seed", "5")
    assert code == 2
    assert "seed was 0, now 5" in err
    assert (out / "metrics.json").read_bytes() == before


def test_a_prompt_that_is_too_long_is_refused_whole(
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = rows(material, Path("long.jsonl"), {"problem": "<image>" + "why " * 600})
    code, _, err = call(
        monkeypatch,
        capsys,
        "eval",
        "--model",
        material / "model",
        "--data",
        data,
        "--out",
        tmp_path / "o",
        *SMALL,
    )
    assert code == 2
    assert f"{data}:1" in err
    assert "tokens with its images, the limit is 512" in err


def test_empty_file_unknown_key_and_missing_config(
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (material / "empty.jsonl").write_text("", encoding="utf-8")
    base = ["train", "--model", material / "model", "--out", tmp_path / "o"]
    code, _, err = call(monkeypatch, capsys, *base, "--data", material / "empty.jsonl", *SMALL)
    assert (code, "empty" in err) == (2, True)
    code, _, err = call(
        monkeypatch,
        capsys,
        *base,
        "--data",
        material / "unlabelled.jsonl",
        "--set",
        "train.speed=9",
    )
    assert (code, "unknown key train.speed" in err) == (2, True)
    code, _, err = call(monkeypatch, capsys, "run", tmp_path / "none.yaml")
    assert (code, "no such file" in err) == (2, True)


def test_an_unreadable_image_is_named(
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (60, 60), "white").save(material / "images" / "torn.png")
    whole = (material / "images" / "torn.png").read_bytes()
    (material / "images" / "torn.png").write_bytes(whole[: len(whole) // 2])
    data = rows(material, Path("torn.jsonl"), {"images": ["images/torn.png"]})
    code, _, err = call(
        monkeypatch, capsys, "train", "--model", material / "model", "--data", data, "--out", tmp_path / "o",
        *SMALL, "--set", "train.prompts_per_step=8",
    )  # fmt: skip
    assert code == 2, err
    assert "torn.png" in err


def test_help_and_import_are_light() -> None:
    script = (
        "import sys, mmupt, mmupt.cli\n"
        "heavy = {'torch', 'transformers', 'numpy', 'matplotlib', 'sklearn', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    shown = subprocess.run(
        [sys.executable, "-m", "mmupt.cli", "--help"], capture_output=True, text=True, check=True
    )
    for verb in ("demo", "demo-data", "sft", "train", "eval", "run"):
        assert verb in shown.stdout


def test_the_demo_and_its_files_give_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in (("LABELLED", 8), ("UNLABELLED", 12), ("TEST", 6)):
        monkeypatch.setattr(f"mmupt.demo.{name}", count)
    demo, d, r = tmp_path / "demo", tmp_path / "d", tmp_path / "r"
    seed = ("--seed", "4")
    code, out, err = call(
        monkeypatch, capsys, "demo", "--out", demo, *seed, "--compare", "--json", *SMALL
    )
    assert code == 0, err
    metrics = json.loads(out)
    assert metrics == json.loads((demo / "metrics.json").read_text(encoding="utf-8"))
    assert [stage["name"] for stage in metrics["stages"]] == ["base", "sft", "round-1"]
    assert [stage["labels_used"] for stage in metrics["stages"]] == [0, 8, 0]
    assert (metrics["labels_used"], metrics["seed"], metrics["device"]) == (8, 4, "cpu")
    assert set(metrics["arms"]) == {"supervised", "published"}
    assert metrics["arms"]["supervised"]["labels_used"] == 8
    assert (demo / "summary.png").stat().st_size > 10_000
    assert "<html" in (demo / "index.html").read_text(encoding="utf-8")

    steps = [
        ["demo-data", d, *seed],
        ["sft", "--model", d / "model", "--data", d / "train.jsonl", "--out", r / "sft"],
        [
            "train",
            "--model",
            r / "sft" / "model",
            "--data",
            d / "unlabelled.jsonl",
            "--out",
            r / "rl",
        ],
        ["eval", "--model", r / "rl" / "model", "--data", d / "test.jsonl", "--out", r / "eval"],
    ]
    for words in steps:
        common = (
            [] if words[0] == "demo-data" else ["--config", d / "config.yaml", "--json", *SMALL]
        )
        code, out, err = call(monkeypatch, capsys, *words, *common)
        assert code == 0, err
    for stage, model in (("sft", r / "sft" / "model"), ("round-1", r / "rl" / "model")):
        mine = (demo / "checkpoints" / stage / "model.safetensors").read_bytes()
        assert mine == (model / "model.safetensors").read_bytes(), stage
    last, alone = metrics["stages"][-1], json.loads(out)
    for key in ("greedy", "mean", "majority", "pass", "vote_share", "n", "k", "mean_ci"):
        assert last[key] == alone[key], key

    code, again, _ = call(
        monkeypatch, capsys, "demo", "--out", demo, *seed, "--compare", "--json", *SMALL
    )
    assert code == 0
    assert json.loads(again)["stages"][-1]["mean"] == last["mean"]
