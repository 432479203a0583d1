"""Exports load elsewhere, answer as before, and say what they are."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import picture, save_idefics3
from typer.testing import CliRunner

from mmupt.asking.prompt import Prompt
from mmupt.cli import app
from mmupt.config import LoraConfig
from mmupt.errors import InputError, ModelError, RefusedError, RunFolderError
from mmupt.export.card import export_card, found_license
from mmupt.export.check import Checked
from mmupt.export.formats import stored_dtype
from mmupt.export.run import run_export
from mmupt.export.source import Source, find_source
from mmupt.policy import adapters
from mmupt.policy.model import load_policy, save_policy

PROMPTS = [
    Prompt("<image>What?", (picture(1),)),
    Prompt("Count", ()),
    Prompt("a<image>b", (picture(2),)),
]
GOOD = Checked(1, 1, 1, True, True, "the source")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model two tokens of which end a turn, the second known to the tokenizer alone."""
    folder = save_idefics3(tmp_path_factory.mktemp("model") / "tiny", stops=(7,))
    (folder / "README.md").write_text("---\ntags: [x]\nlicense: cc-by-4.0\n---\n# tiny\n")
    return folder


@pytest.fixture(scope="module")
def adapted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as a stage with LoRA leaves it: the merged model, and the adapter beside it."""
    policy = load_policy(model)
    adapters.attach(policy.model, LoraConfig(r=4, lora_alpha=8), seed=3)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(5)
        for layer in adapters.adapted(policy.model).values():
            layer.lora_B[adapters.NAME].weight.normal_(0.0, 0.3, generator=generator)
    folder = tmp_path_factory.mktemp("stage") / "sft"
    save_policy(policy, folder, "card")
    return folder


def export(kind: Any, place: Path, out: Path, **more: Any) -> dict[str, Any]:
    return run_export(kind, find_source(place), out, prompts=PROMPTS, **more)


def greedy_by_transformers(folder: Path, model: Any = None) -> list[str]:
    """What plain transformers answers, knowing nothing of mmupt."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = model or AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(folder)
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}],
        add_generation_prompt=True,
    )
    inputs = processor(text=text, images=[picture(1)], return_tensors="pt")
    with torch.no_grad():
        # One end for all: an export names more of them than its source, see below.
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=20, eos_token_id=[7, 2])
    return [str(token) for token in tokens[0, inputs["input_ids"].shape[1] :].tolist()]


def test_the_export_answers_as_before_in_plain_transformers(model: Path, tmp_path: Path) -> None:
    record = export("hf", model, tmp_path / "out")
    assert record["check"] == {
        "prompts": 3, "equal": 3, "equal_text": 3, "chat_template": True, "end_of_turn": True,
        "against": "the source", "passed": True,
    }  # fmt: skip
    assert greedy_by_transformers(tmp_path / "out") == greedy_by_transformers(model)
    listed = {one["path"]: one["bytes"] for one in record["files"]}
    there = {p.name: p.stat().st_size for p in (tmp_path / "out").iterdir()}
    assert listed == {k: v for k, v in there.items() if k != "export.json"}


def test_every_token_that_ends_a_turn_is_told_to_others(model: Path, tmp_path: Path) -> None:
    """generate() knows the ends of generation_config.json alone; the tokenizer's own joins them."""
    export("merged", model, tmp_path / "out")
    settings = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == [7, 2]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft's PeftModel
def test_an_adapter_merged_or_by_itself_answers_as_the_stage_did(
    adapted: Path, model: Path, tmp_path: Path
) -> None:
    expected = greedy_by_transformers(adapted)
    assert expected != greedy_by_transformers(model)  # the adapter does something
    for kind in ("hf", "merged", "peft"):
        assert export(kind, adapted, tmp_path / kind)["check"]["equal"] == 3
    assert (tmp_path / "hf" / "adapter" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "merged" / "adapter").exists()
    assert greedy_by_transformers(tmp_path / "merged") == expected
    assert not list((tmp_path / "peft").glob("model*.safetensors"))

    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
    assert (
        greedy_by_transformers(
            tmp_path / "peft", PeftModel.from_pretrained(base, tmp_path / "peft")
        )
        == expected
    )


def test_an_adapter_alone_is_merged_onto_its_base(
    adapted: Path, model: Path, tmp_path: Path
) -> None:
    source = find_source(adapted / "adapter", base=model)
    assert (source.model, source.merged) == (model, False)
    run_export("merged", source, tmp_path / "out", prompts=PROMPTS)
    assert greedy_by_transformers(tmp_path / "out") == greedy_by_transformers(adapted)


def test_an_adapter_of_another_model_is_refused(adapted: Path, model: Path, tmp_path: Path) -> None:
    import shutil

    other = shutil.copytree(adapted / "adapter", tmp_path / "other")
    tensors = load_file(other / "adapter_model.safetensors")
    first = min(tensors)
    tensors[first.replace("layers.0", "layers.9")] = tensors.pop(first)
    save_file(tensors, other / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"does not go onto Idefics3.*: .*lora_A.* has no match"):
        run_export("merged", find_source(other, base=model), tmp_path / "out", prompts=PROMPTS)


def test_where_the_base_is_gone_it_is_asked_for(adapted: Path, tmp_path: Path) -> None:
    export("peft", adapted, tmp_path / "peft", base_name="org/base-7b")
    said = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == "org/base-7b"
    assert 'base_model: "org/base-7b"' in (tmp_path / "peft" / "README.md").read_text()
    with pytest.raises(ModelError, match=r"names 'org/base-7b', which is no folder here; .*--base"):
        find_source(tmp_path / "peft")


def test_a_merged_model_whose_base_moved_takes_it(
    adapted: Path, model: Path, tmp_path: Path
) -> None:
    import shutil

    moved = shutil.copytree(adapted, tmp_path / "moved")
    path = moved / "adapter" / "adapter_config.json"
    path.write_text(path.read_text().replace(str(model.resolve()), "/gone/tiny"))
    with pytest.raises(ModelError, match=r"moved.adapter: its base model.*--base"):
        export("peft", moved, tmp_path / "out")
    source = find_source(moved, base=model)
    assert run_export("peft", source, tmp_path / "out", prompts=PROMPTS)["check"]["equal"] == 3


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: 'mit'\n---\n", "mit"),
        ('---\r\ntags: [x]\r\nlicense: "apache-2.0"\r\n---\r\n', "apache-2.0"),
        ("---\ntags: [x]\n---\nlicense: mit\n", None),  # of something the text tells about
        ("license: mit\n", None),
        ("---\nlicense: mit\n", None),  # the head does not end
    ],
)
def test_a_licence_is_read_from_the_head_of_a_card_alone(
    tmp_path: Path, card: str, licence: str | None
) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert found_license(tmp_path) == licence


def test_a_place_that_cannot_be_written_is_one_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"cannot be written \(Not a directory\)"):
        export("hf", model, tmp_path / "file" / "out")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mmupt.export.run.write_format", full)
    with pytest.raises(RunFolderError, match=r"out: cannot be written \(No space left"):
        export("hf", model, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_path_of_this_machine_is_not_told(adapted: Path, tmp_path: Path) -> None:
    export("peft", adapted, tmp_path / "peft")
    assert str(tmp_path.parent) not in (tmp_path / "peft" / "adapter_config.json").read_text()


def test_ready_for_gguf_means_16_bits_one_file_and_a_template(model: Path, tmp_path: Path) -> None:
    record = export("gguf-ready", model, tmp_path / "out")
    assert record["dtype"] == stored_dtype(tmp_path / "out") == "bfloat16"
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    source = load_file(model / "model.safetensors")
    assert all(torch.equal(tensors[name], source[name].bfloat16()) for name in tensors)
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    template = (tmp_path / "out" / "chat_template.jinja").read_text()
    assert settings["chat_template"] == template
    assert record["check"]["against"] == "the source in bfloat16"


def test_without_an_adapter_there_is_none_to_export(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no adapter beside it"):
        export("peft", model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_answers_otherwise_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mmupt.export.run as run

    real = run.write_format

    def damaged(kind: Any, source: Source, folder: Path, *rest: Any) -> None:
        real(kind, source, folder, *rest)
        path = folder / "model.safetensors"
        tensors = load_file(path)
        name = next(n for n in tensors if n.endswith("down_proj.weight"))
        tensors[name] = -tensors[name]
        save_file(tensors, path, metadata={"format": "pt"})

    monkeypatch.setattr(run, "write_format", damaged)
    with pytest.raises(ModelError, match=r"answers otherwise than its source: [0-2] of 3"):
        export("hf", model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_taken_stays(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(RefusedError, match="is there already"):
        export("hf", model, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.fixture(scope="module")
def project(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two versions, the first of which the gate has passed."""
    import shutil

    from mmupt.config import Config, dump_config
    from mmupt.registry.store import Registry
    from mmupt.registry.versions import Lineage, make_version

    root = tmp_path_factory.mktemp("projects") / "shop <b>"
    root.mkdir()
    (root / "config.yaml").write_text(dump_config(Config()))
    registry = Registry(root / "project.db")
    for name, parent in (("base", None), ("round-1", "base")):
        shutil.copytree(model, root / "checkpoints" / name)
        (root / "checkpoints" / name / "README.md").write_text(f"# {name}\n")
        lineage = Lineage(
            parent, name, data={"unlabelled": "ab" * 32} if parent else {},
            rounds=("round-1",) if parent else (), audits=("round-1",) if parent else (),
        )  # fmt: skip
        version = make_version(root, name, root / "checkpoints" / name, config="", lineage=lineage)
        registry.register(version)
    registry.close()
    return root


def test_of_a_project_the_champion_or_a_named_version(project: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"no version is the champion yet.*--version"):
        find_source(project)
    source = find_source(project, "round-1")
    assert (source.passed, source.version["parent"]) == (False, "base")
    record = run_export("hf", source, tmp_path / "out", prompts=PROMPTS)
    assert record["source"]["digest"] == source.digest
    assert record["source"]["gate_passed"] is False
    card = (tmp_path / "out" / "README.md").read_text()
    assert "**Not judged.**" in card
    assert "improved by 1 label-free round:" in card
    assert f"`{source.digest}`" in card
    assert "data unlabelled: SHA-256 `abab" in card
    assert "shop <b>" not in card  # markup is escaped
    assert "shop \\<b\\>" in card


def test_a_version_that_was_changed_is_refused(project: Path) -> None:
    path = project / "checkpoints" / "base" / "README.md"
    before = path.read_text()
    path.write_text("other")
    with pytest.raises(RefusedError, match=r"base: its files are not what was registered.*README"):
        find_source(project, "base")
    path.write_text(before)


def test_the_card_of_a_version_that_passed_names_its_checks() -> None:
    version = {
        "name": "round-2", "digest": "d" * 64, "parent": "round-1", "rounds": ["round-1", "round-2"],
        "gate": "pass", "greedy": 0.81, "greedy_ci": [0.78, 0.84], "mean": 0.7, "mean_ci": None,
        "n": 600, "audits": [], "data": {},
    }  # fmt: skip
    decision = {
        "checks": [
            {"name": "precision", "verdict": "pass", "figure": 0.912, "bound": 0.9},
            {"name": "guard", "verdict": "pass", "figure": None, "bound": None},
        ]
    }
    source = Source(Path("m"), name="x", version=version, decision=decision)
    card = export_card("hf", source, GOOD, "mit", "b", "qwen2_5_vl")
    assert "Passed: the quality gate has let exactly these files through." in card
    assert "- precision: pass: 0.912 against 0.9\n- guard: pass\n" in card
    assert "most likely answer: 81.0% right (95% interval 78.0% to 84.0%)" in card
    assert "sampled answers" not in card  # no interval, no claim
    assert card.startswith('---\nlibrary_name: transformers\nlicense: "mit"\n')


def test_the_licence_comes_from_the_source_or_the_user(model: Path, tmp_path: Path) -> None:
    assert export("hf", model, tmp_path / "one")["license"] == "cc-by-4.0"
    assert export("hf", model, tmp_path / "two", license_name="mit")["license"] == "mit"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": "champion"}, "is no project"),
        ({"base": Path("x")}, "holds no adapter"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    model: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        find_source(model, **options)


def test_the_verb(model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (9, 9, 200)).save(tmp_path / "a.png")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"image": "a.png", "problem": "What?"}) + "\n")
    run = CliRunner().invoke
    out = tmp_path / "out"
    result = run(app, ["export", str(model), "--out", str(out), "--data", str(rows), "--json"])
    assert json.loads(result.stdout) == json.loads((out / "export.json").read_text())
    assert json.loads(result.stdout)["check"]["prompts"] == 1
    said = run(app, ["export", str(model), "--out", str(tmp_path / "two")]).stdout
    assert "6 of 6 greedy answers as before" in said
