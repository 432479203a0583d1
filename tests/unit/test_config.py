from __future__ import annotations

from pathlib import Path

import pytest

from mmupt.config import Config, dump_config, load_config
from mmupt.errors import ConfigError


def test_round_trip_through_yaml(tmp_path: Path) -> None:
    config = load_config(None, ["train.learning_rate=3e-5", "seed=7", "consensus.teacher=ema"])
    path = tmp_path / "c.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
    assert (config.train.learning_rate, config.seed, config.consensus.teacher) == (3e-5, 7, "ema")


def test_settings_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 3\ntrain: {max_steps: 5}\n", encoding="utf-8")
    config = load_config(path, ["train.max_steps=9"])
    assert (config.seed, config.train.max_steps) == (3, 9)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: {path: m}\ndata: {test: t.jsonl}\nout: o\n", encoding="utf-8")
    config = load_config(path)
    assert (config.model.path, config.data.test, config.out) == (
        tmp_path / "m", tmp_path / "t.jsonl", tmp_path / "o",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train: {learning_rat: 1}", ["unknown key train.learning_rat", "learning_rate"]),
        ("sft: {epochs: 1}", ["unknown key sft.epochs", "num_train_epochs"]),
        ("nonsense: 1", ["unknown key nonsense", "train"]),
        (
            "train: {num_generations: 1}",
            ["train.num_generations", "greater than or equal to 2", "found 1"],
        ),
        (
            "train: {num_generations: 10, views: 4}",
            ["num_generations (10) is not a multiple of views (4)"],
        ),
        ("train: [1", ["c.yaml:", "not valid YAML"]),
        ("- 1", ["expected keys and values, found list"]),
        (
            "consensus: {teacher: nobody}",
            ["consensus.teacher", "'online', 'frozen' or 'ema'", "'nobody'"],
        ),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for part in parts:
        assert part in message


def test_bad_setting_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--set seed: expected key=value"):
        load_config(None, ["seed"])
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.yaml")


def test_every_field_says_what_it_does_or_is_a_standard_name() -> None:
    standard = {
        "learning_rate", "weight_decay", "max_grad_norm", "temperature", "top_p", "top_k", "max_completion_length",
        "loss_type", "scale_rewards", "seed",
    }  # fmt: skip
    for section in Config.model_fields.values():
        for kind in (section.annotation, *getattr(section.annotation, "__args__", ())):
            for name, field in getattr(kind, "model_fields", {}).items():
                assert field.description or name in standard, f"{kind}.{name}"


def test_the_documented_configuration_is_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.syspath_prepend(str(root / "scripts"))
    import config_docs

    assert (root / "docs" / "config.md").read_text(encoding="utf-8") == config_docs.render()
