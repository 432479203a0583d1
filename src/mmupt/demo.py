"""The embedded default: a small model, real handwriting, and the preset that earns its gain."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import yaml

from mmupt.config import Config
from mmupt.data.handwriting import panels, write_pictures, write_rows

LABELLED, UNLABELLED, TEST = 100, 4000, 600
"""Rows of the demo's three files."""

TEST_SEED = 0
"""The held-out rows are the same for every seed of a run."""


def embedded(*parts: str) -> Path:
    """A file or folder that ships with the package."""
    return Path(str(files("mmupt").joinpath("embedded", *parts)))


def demo_config(folder: Path, seed: int) -> Config:
    """The preset, pointed at the data and model of `folder`."""
    tree = yaml.safe_load(embedded("preset.yaml").read_text(encoding="utf-8"))
    tree["seed"] = seed
    tree["model"]["path"] = str(folder / "model")
    tree["data"] = {
        "labelled": str(folder / "train.jsonl"),
        "unlabelled": str(folder / "unlabelled.jsonl"),
        "test": str(folder / "test.jsonl"),
    }
    return Config.model_validate(tree)


def demo_answers(seed: int) -> dict[str, str]:
    """True answers of the unlabelled rows, for the demo's reviewer; training never sees them."""
    drawn = panels("unlabelled", UNLABELLED, seed)
    return {f"unlabelled-{index:05d}": panel.answer for index, panel in enumerate(drawn)}


def write_demo_data(folder: Path, seed: int, *, truth: bool = False) -> None:
    """Write the data, the base model and the preset as ordinary files.

    Args:
        folder: gets `images/`, `train.jsonl`, `unlabelled.jsonl`, `test.jsonl`, `model/` and
            `config.yaml`.
        seed: which panels are drawn for training; the test is always the same.
        truth: also write `unlabelled-truth.jsonl`, for the supervised arm of a comparison.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, split, count, its_seed in (
        ("train", "labelled", LABELLED, seed),
        ("unlabelled", "unlabelled", UNLABELLED, seed),
        ("test", "test", TEST, TEST_SEED),
    ):
        drawn = panels(split, count, its_seed)
        write_pictures(folder, name, drawn)
        write_rows(folder / f"{name}.jsonl", name, drawn, answers=split != "unlabelled")
        if truth and split == "unlabelled":
            write_rows(folder / "unlabelled-truth.jsonl", name, drawn, answers=True)
    shutil.copytree(embedded("model"), folder / "model", dirs_exist_ok=True)
    preset = yaml.safe_load(embedded("preset.yaml").read_text(encoding="utf-8"))
    preset["seed"] = seed
    preset["model"]["path"] = "model"
    preset["data"] = {
        "labelled": "train.jsonl",
        "unlabelled": "unlabelled.jsonl",
        "test": "test.jsonl",
    }
    text = yaml.safe_dump(preset, sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
