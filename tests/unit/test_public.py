"""The public names, and that they do what docs/api.md says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mmupt
from mmupt.errors import ConfigError, ModelError, RunFolderError

API = Path(__file__).parents[2] / "docs" / "api.md"
SMALL = {
    "consensus": {"views": 2, "min_share": 0.0},
    "train": {"max_steps": 2, "prompts_per_step": 2, "num_generations": 4,
              "max_completion_length": 3, "learning_rate": 1e-3},
    "guard": {"action": "warn", "probe_size": 2, "probe_views": 2, "jury_views": 2,
              "load_best_model_at_end": False},
    "eval": {"num_samples": 1, "max_completion_length": 3},
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, talker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `model`, `questions.jsonl` and `test.jsonl`, as docs/api.md assumes."""
    rng = np.random.default_rng(0)
    shutil.copytree(talker, tmp_path / "model")
    rows = []
    for number in range(3):
        pixels = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "problem": f"read {number}", "answer": str(number)})
    for name in ("questions.jsonl", "test.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_public_names_are_pinned() -> None:
    assert mmupt.__all__ == [
        "Completion", "Finish", "LabelFreeTrainer", "LabelledSample", "Sample", "Vote", "__version__",
        "extract", "group_advantages", "partition", "rewards_by_class", "vote",
    ]  # fmt: skip
    for name in mmupt.__all__:
        assert getattr(mmupt, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        _ = mmupt.magic


def test_extract_partition_vote() -> None:
    answers = [
        mmupt.extract(text)
        for text in (r"so \boxed{\frac{1}{2}}", r"\boxed{0.5}", r"\boxed{2}", r"\boxed{")
    ]
    assert mmupt.partition(answers) == [0, 0, 1, None]
    vote = mmupt.vote(answers)
    assert (vote.share, vote.tied, vote.rewards) == (0.5, False, (1.0, 1.0, 0.0, 0.0))


def test_the_examples_of_the_page_run(place: Path) -> None:
    """All python blocks of docs/api.md, one after the other in one namespace."""
    blocks = re.findall(r"^```python\n(.*?)^```", API.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 4
    space: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(API), "exec"), space)  # noqa: S102
    assert (place / "improved" / "model.safetensors").exists()
    assert set(mmupt.__all__) - {"__version__", "Finish", "Completion", "Vote"} <= {
        name for block in blocks for name in re.findall(r"\w+", block)
    }


def test_the_trainer_is_the_verb(place: Path) -> None:
    """Bit for bit what `mmupt train` makes; done again, nothing is trained again."""
    from typer.testing import CliRunner

    from mmupt.cli import app

    seen: list[str] = []

    def trainer() -> Any:
        return mmupt.LabelFreeTrainer(
            "model", "questions.jsonl", {**SMALL, "out": "run"}, eval_dataset="test.jsonl",
            callbacks=[lambda event: seen.append(event["type"])],
        )  # fmt: skip

    with pytest.raises(ModelError, match=r"nothing is trained yet; call train\(\) first"):
        trainer().save_model("kept")
    output = trainer().train()
    assert seen.count("grpo_step") == 2
    assert output.global_step == 2
    assert set(output.evaluations) == {"base", "round-1"}
    assert output.evaluations["base"]["n"] == 3
    assert (output.metrics["rows"], output.metrics["labels_used"]) == (3, 0)
    settings = [f"--set={key}={json.dumps(value)}" for key, value in SMALL.items()]
    done = CliRunner().invoke(
        app, ["train", "--model", "model", "--data", "questions.jsonl", "--out", "verb", *settings]
    )
    assert done.exit_code == 0, done.output
    weights = [Path(run) / "model" / "model.safetensors" for run in ("run", "verb")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    again = trainer().train()
    assert seen.count("grpo_step") == 2
    assert again == output
    assert trainer().save_model() == Path("run") / "model"
    assert (trainer().save_model("kept") / "model.safetensors").exists()
    with pytest.raises(RunFolderError, match="kept: not an empty folder"):
        trainer().save_model("kept")
    other = mmupt.LabelFreeTrainer("model", "questions.jsonl", {**SMALL, "seed": 1, "out": "run"})
    with pytest.raises(RunFolderError, match="holds another run"):
        other.train()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"args": {"out": "r"}}, "no model; pass a folder"),
        ({"model": "model"}, "no run folder; set `out`"),
        ({"model": "model", "args": {"out": "r"}}, "train_dataset has no questions"),
        ({"model": "model", "args": {"train": {"max_stepz": 1}}}, r"unknown key train\.max_stepz"),
    ],
)
def test_what_is_missing_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mmupt.LabelFreeTrainer(**given)
