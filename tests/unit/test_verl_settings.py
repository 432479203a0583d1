"""What `mmupt launch --engine verl` hands over, refuses and leaves alone; none of it needs verl.

What verl makes of it is in tests/verl (`make test-verl`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from test_cli import call as call_with

from mmupt.config import load_config
from mmupt.errors import ConfigError, InputError, ModelError
from mmupt.types import Sample
from mmupt.verl.settings import _word, refuse_what_verl_has_not
from mmupt.verl.start import refuse_code
from mmupt.verl.table import write_table

Call = Callable[..., tuple[int, str, str]]
OFFERED = ["consensus.teacher=online", "guard.action=none"]


@pytest.mark.parametrize(
    "setting",
    [
        "lora={r: 4}", "train.views=2", "train.dynamic_sampling=true", "train.anchor_fraction=0.1",
        "train.min_p=0.1", "train.stop_strings=[x]", "train.loss_type=bnpo",
        "train.lr_scheduler_type=linear", "train.mask_truncated_completions=true",
        "train.zero_stage=1", "consensus.strategy=weighted", "consensus.strategy=harmony",
        "consensus.teacher=frozen", "guard.action=stop",
    ],
)  # fmt: skip
def test_what_verl_has_not_is_refused_by_name(setting: str) -> None:
    refuse_what_verl_has_not(load_config(None, OFFERED))
    with pytest.raises(ConfigError, match=rf"^{setting.partition('=')[0]} .*--engine verl"):
        refuse_what_verl_has_not(load_config(None, [*OFFERED, setting]))


def test_mini_batches_that_do_not_divide_a_step() -> None:
    with pytest.raises(ConfigError, match="prompts_per_step is 32, which 5 mini-batches"):
        refuse_what_verl_has_not(load_config(None, [*OFFERED, "train.num_mini_batches=5"]))


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (1e-6, "1e-06"), (True, "true"), (None, "null"), (["console"], '["console"]'),
        (Path("/a/b-1.x"), "/a/b-1.x"), ("2024", "'2024'"), ("1e5", "'1e5'"), ("null", "'null'"),
        ("a b", "'a b'"), ("it's", r"'it\'s'"), ("k=v,w", "'k=v,w'"),
    ],
)  # fmt: skip
def test_words_of_hydra(value: object, word: str) -> None:
    assert _word("key", value) == word


@given(st.sampled_from(["${oc.env:HOME}", "a\nb", "a\\"]))
def test_what_hydra_would_read_otherwise(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be told to Hydra"):
        _word("trainer.default_local_dir", text)


def test_the_table_has_no_answers_and_is_whole_or_not_there(tmp_path: Path) -> None:
    tiny.picture(1).save(tmp_path / "a.png")
    good = Sample("a", "<image> and?", (tmp_path / "a.png",))
    table = tmp_path / "t.parquet"
    assert write_table(table, [good]) == 1
    (row,) = pq.read_table(table).to_pylist()
    assert row["reward_model"] == {"style": "rule", "ground_truth": ""}
    assert row["images"][0]["bytes"] == (tmp_path / "a.png").read_bytes()
    assert row["prompt"] == [{"role": "user", "content": "<image>and?"}]
    gone = Sample("b", "<image>?", (tmp_path / "b.png",), origin="rows.jsonl:2")
    other = tmp_path / "other.parquet"
    with pytest.raises(InputError, match=r"rows.jsonl:2: .*b.png cannot be read"):
        write_table(other, [good, gone])
    with pytest.raises(InputError, match="holds <video>, which verl reads"):
        write_table(other, [Sample("c", "a <video>?")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "t.parquet"]


def test_models_with_code_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder of a model"):
        refuse_code(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    refuse_code(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": "a/b--c.D"}}')
    with pytest.raises(ModelError, match="auto_map asks for code"):
        refuse_code(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "modeling.py").write_text("print(1)")
    with pytest.raises(ModelError, match=r"holds code \(modeling.py\)"):
        refuse_code(tmp_path)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return partial(call_with, monkeypatch, capsys)


@pytest.fixture
def material(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    rows = [{"id": f"s{i}", "problem": f"{i} + 1?"} for i in range(4)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(text)
    (tmp_path / "config.yaml").write_text(
        "model: {path: model}\ndata: {unlabelled: rows.jsonl}\n"
        "consensus: {teacher: online}\nguard: {action: none}\ntrain: {prompts_per_step: 4}\n"
    )
    return tmp_path


def test_a_dry_run_prints_the_command_and_writes_nothing(material: Path, call: Call) -> None:
    before = sorted(material.rglob("*"))
    out = material / "out"
    code, shown, _ = call(
        "launch", "--engine", "verl", "--dry-run", "--out", str(out), "--n-gpus-per-node", "2",
        str(material / "config.yaml"), "trainer.logger=[console,wandb]",
    )  # fmt: skip
    assert code == 0
    words = shlex.split(shown)
    assert words[1:3] == ["-m", "verl.trainer.main_ppo"]
    assert f"actor_rollout_ref.model.path={material / 'model'}" in words
    assert f"data.train_files={out / 'verl' / 'unlabelled.parquet'}" in words
    assert "trainer.n_gpus_per_node=2" in words
    assert words[-1] == "trainer.logger=[console,wandb]"
    assert sorted(material.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nproc", "2", "CONFIG"], "--nproc is for torchrun"),
        (["CONFIG", "--out", "x"], "'--out' is no override of verl's"),
        (["--n-gpus-per-node", "3", "CONFIG"], "is 64, which 3 GPUs cannot share evenly"),
        (["--set", "train.prompts_per_step=8", "CONFIG"], "4 questions are fewer than"),
        (["--set", "model.path=null", "CONFIG"], "no model: name its folder by --model"),
        (["--set", "data.unlabelled=null", "CONFIG"], "no data; name it by --data"),
        (["--set", "train.views=2", "CONFIG"], "train.views must be 1"),
        (["gone.yaml"], "gone.yaml"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(material: Path, call: Call, words: list[str], said: str) -> None:
    config = str(material / "config.yaml")
    shown = [config if word == "CONFIG" else word for word in words]
    out = ["--out", str(material / "out")] if "--out" not in words else []
    code, _, errors = call("launch", "--engine", "verl", *out, *shown)
    assert code == 2
    (line,) = errors.strip().splitlines()
    assert line.startswith("mmupt: ")
    assert said in line
    assert not (material / "out").exists()


def test_without_verl_it_says_where_to_get_it(material: Path, call: Call) -> None:
    out = str(material / "out")
    code, _, errors = call("launch", "--engine", "verl", "--out", out, material / "config.yaml")
    assert code == 2
    assert "needs verl, which is not installed here; docs/verl.md" in errors
    assert not (material / "out").exists()
