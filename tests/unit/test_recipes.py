"""`recipes/`: read by the schema, the paper's values, and `mmupt check` on tiny models."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from mmupt.check.run import run_check
from mmupt.config import Config, load_config
from mmupt.pipeline.staged import published_recipe

ROOT = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.stem for path in ROOT.glob("*.yaml"))
PAPER = [name for name in NAMES if name.startswith("paper-")]
CLASSES = {
    # model folder -> model types of tiny models
    "Qwen2.5-VL-7B-Instruct": ("qwen2_5_vl",),
    "Qwen2.5-VL-3B-Instruct": ("qwen2_5_vl",),
    "Qwen3-VL-8B-Instruct": ("qwen3_vl",),
    "SmolVLM2-500M-Video-Instruct": ("smolvlm", "idefics3"),
}


COUNTS = {"max_steps", "prompts_per_step", "max_completion_length", "anchor_fraction"}
"""How long a run is, and of what; not how a group is sampled and trained."""


@cache
def recipe(name: str) -> Config:
    return load_config(ROOT / f"{name}.yaml")


def model_of(name: str) -> str:
    path = recipe(name).model.path
    assert path is not None
    return path.name


def test_all_that_are_wanted_are_there() -> None:
    assert NAMES == [
        "lora-24gb", "paper-3b-geometry3k", "paper-7b-direct", "paper-7b-geometry3k",
        "paper-7b-geoqa", "paper-7b-in-context", "paper-7b-mmr1", "qwen3-vl", "site-ja", "smolvlm",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_complete_and_stays_beside_its_file(name: str) -> None:
    config, text = recipe(name), (ROOT / f"{name}.yaml").read_text(encoding="utf-8")
    assert config.model.path == ROOT / "models" / model_of(name)
    assert config.data.unlabelled is not None
    assert config.data.test is not None
    rows = (config.data.labelled, config.data.unlabelled, config.data.test)
    assert all(path.is_relative_to(ROOT / "data") for path in rows if path)
    assert (config.sft is None) == (config.data.labelled is None)
    assert config.out is not None
    assert config.out.resolve() == (ROOT.parent / "runs" / name).resolve()
    assert f"mmupt run recipes/{name}.yaml" in text
    assert set(re.findall(r"recipes/([\w.-]+)\.yaml", text)) <= set(NAMES)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_values(name: str) -> None:
    """Those of arXiv 2505.22453 and of the configuration of its reference code."""
    config = recipe(name)
    assert config.sft is None
    assert config.lora is None
    train = config.train
    assert (train.num_generations, train.temperature, train.top_p) == (10, 0.7, 0.99)
    assert (train.prompts_per_step, train.prompts_per_step // train.num_mini_batches) == (512, 128)
    assert (train.learning_rate, train.weight_decay, train.max_grad_norm) == (1e-6, 1e-2, 1.0)
    assert (train.epsilon, train.epsilon_high, train.beta, train.kl_estimator) == (
        0.2, 0.3, 0.01, "k3",
    )  # fmt: skip
    assert (train.scale_rewards, train.loss_type, train.num_iterations) == ("group", "dapo", 1)
    assert (config.model.max_prompt_length, train.max_completion_length) == (2048, 2048)
    assert (train.freeze_vision, train.warmup_steps, train.lr_scheduler_type) == (
        False, 0, "constant",
    )  # fmt: skip
    assert (config.gate, config.guard.load_best_model_at_end, config.pilot.rows) == (None, False, 0)
    published = published_recipe(config)
    assert (published.train, published.consensus) == (config.train, config.consensus)
    mode = {"paper-7b-direct": "direct", "paper-7b-in-context": "in-context"}.get(name)
    if mode is not None:
        assert (config.synthesis.mode, config.synthesis.band) == (mode, (0.0, 1.0))
        assert config.data.unlabelled is not None
        assert config.data.unlabelled.stem == mode


def test_the_readme_lists_each_with_the_classes_it_was_tried_with() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[([\w-]+)\]\(\1\.yaml\) \|.*\| ([^|]+) \|$", text, re.MULTILINE))
    assert sorted(rows) == NAMES
    for name, tried in rows.items():
        assert tuple(re.findall(r"`(\w+)`", tried)) == CLASSES[model_of(name)], name


def variants() -> dict[str, tuple[str, str]]:
    """Recipes whose models train differently, one of each kind: id -> (recipe, model type)."""
    found: dict[tuple[str, str], str] = {}
    for name in NAMES:
        config = recipe(name)
        train = config.train.model_dump(exclude=COUNTS)
        settings = f"{config.lora} {sorted(train.items())}"
        for kind in CLASSES[model_of(name)]:
            found.setdefault((kind, settings), name)
    return {f"{name}-{kind}": (name, kind) for (kind, _), name in found.items()}


@pytest.mark.parametrize("case", variants())
def test_a_tiny_model_of_the_class_works_with_it(
    case: str, model_folder: Callable[[str], Path]
) -> None:
    name, kind = variants()[case]
    # Tiny models have 512 positions; everything else is the recipe's own.
    config = load_config(ROOT / f"{name}.yaml", ["train.max_completion_length=8"])
    report = run_check(model_folder(kind), (), config)
    assert (report.exit_code, report.model_type) == (0, kind), report.json()
    assert [check.name for check in report.checks if not check.ok] == []
    assert report.seconds_per_step is not None
