"""`mmupt check`: right models pass, broken ones are named, costs are those of real steps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES
from safetensors.torch import load_file, save_file
from tiny import picture as drawn
from torch import nn
from typer.testing import CliRunner

from mmupt.asking.maker import PromptMaker
from mmupt.check.cost import extended, full_group, held_bytes, step_cost, whole_seconds
from mmupt.check.exact import compare, gradient_error, sampling
from mmupt.check.memory import LiveBytes, tensor_bytes
from mmupt.check.results import Check, Report
from mmupt.check.run import drawn_samples, two_largest
from mmupt.cli import app
from mmupt.config import load_config
from mmupt.policy.model import Policy, load_policy
from mmupt.train.optim import make_optimizer
from mmupt.train.update import update
from mmupt.types import Sample

# PaliGemma's processor makes labels of a tensor in a way that numpy dislikes.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SMALL = (
    "train.max_completion_length=8",
    "train.num_generations=2",
    "train.prompts_per_step=2",
    "consensus.views=1",
)
NAMES = ["load", "vocabulary", "inputs", "image tokens", "picture", "log-probabilities",
         "gradients", "sampling", "length"]  # fmt: skip

Copy = Callable[[str], Path]


def check(folder: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of the command."""
    settings = [word for setting in SMALL for word in ("--set", setting)]
    done = CliRunner().invoke(app, ["check", "--model", str(folder), "--json", *settings, *more])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout)


def last(found: dict[str, Any]) -> tuple[str, str]:
    """Name and message of the check that ended it, which is not ok."""
    assert not found["ok"]
    assert [c["ok"] for c in found["checks"][:-1]] == [True] * (len(found["checks"]) - 1)
    assert not found["checks"][-1]["ok"]
    return found["checks"][-1]["name"], found["checks"][-1]["message"]


@pytest.fixture
def copy(model_folder: Callable[[str], Path], tmp_path: Path) -> Copy:
    """A copy of a tiny folder, to be broken."""

    def copied(name: str) -> Path:
        return Path(shutil.copytree(model_folder(name), tmp_path / name))

    return copied


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file, nested ones as `a__b`."""
    tree = json.loads(file.read_text())
    for key, value in changes.items():
        *path, end = key.split("__")
        place = tree
        for part in path:
            place = place[part]
        place[end] = value
    file.write_text(json.dumps(tree))


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_right_models_are_right(name: str, model_folder: Callable[[str], Path]) -> None:
    code, found = check(model_folder(name))
    windowed = name == "gemma3"  # its first layer sees 8 tokens back
    assert code == (1 if windowed else 0), found
    assert list(found) == [
        "ok", "model_type", "checks", "fallbacks", "memory_mb", "seconds_per_step",
        "seconds_per_step_max",
    ]  # fmt: skip
    assert (found["ok"], found["model_type"]) == (True, name)
    assert [f.startswith("layers that see 8 tokens back") for f in found["fallbacks"]] == (
        [True] if windowed else []
    )
    assert [c["name"] for c in found["checks"]] == NAMES
    assert found["memory_mb"] > 0
    assert found["seconds_per_step_max"] == found["seconds_per_step"] > 0


def test_no_model_at_all(tmp_path: Path) -> None:
    code, found = check(tmp_path / "nothing")
    assert code == 2
    assert last(found) == (
        "load",
        f"{tmp_path / 'nothing'}: not a folder; --model takes a local Hugging Face model folder",
    )


def test_missing_chat_template(copy: Copy) -> None:
    folder = copy("qwen2_5_vl")
    (folder / "chat_template.jinja").unlink()
    code, found = check(folder)
    assert code == 2
    name, message = last(found)
    assert name == "load"
    assert "no chat template in it; add chat_template.jinja" in message


def test_missing_tensor(copy: Copy) -> None:
    """transformers draws it at random and warns."""
    folder = copy("idefics3")
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "text_model.layers.1" in name and "q_proj" in name)
    del weights[gone]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    code, found = check(folder)
    assert code == 2
    name, message = last(found)
    assert name == "load"
    assert "1 weights are missing in its *.safetensors, such as " in message
    assert gone.removeprefix("model.") in message


def test_tensor_of_another_shape(copy: Copy) -> None:
    folder = copy("llava")
    edit(folder / "config.json", text_config__intermediate_size=40)
    code, found = check(folder)
    assert code == 2
    name, message = last(found)
    assert name == "load"
    assert "6 weights do not have the shape that config.json asks for" in message
    assert "layers.0.mlp.down_proj.weight: (32, 48) in the file, (32, 40) wanted" in message


def test_another_patch_size_in_the_processor(copy: Copy) -> None:
    """Patches of 16 make (32 / 16)^2 image tokens; the model makes (32 / 8)^2 features."""
    folder = copy("llava")
    edit(folder / "processor_config.json", patch_size=16)
    code, found = check(folder)
    assert code == 2
    name, message = last(found)
    assert name == "image tokens"
    assert "writes 4 image tokens, the model makes 16 features" in message
    assert "patch, merge or sequence size" in message


def test_another_merge_size_in_the_processor(copy: Copy) -> None:
    """Nothing is merged by the processor, four patches by the model."""
    folder = copy("qwen2_5_vl")
    edit(folder / "processor_config.json", image_processor__merge_size=1)
    code, found = check(folder)
    assert code == 2
    name, message = last(found)
    assert name == "image tokens"
    assert "preprocessor_config.json" in message or "patch, merge or sequence size" in message


def test_a_template_without_pictures(copy: Copy) -> None:
    """The processor counts the marks itself and refuses."""
    folder = copy("idefics3")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("<image>", ""))
    code, found = check(folder)
    assert code == 2
    name, message = last(found)
    assert name == "inputs"
    assert "refused by the processor" in message


def test_tokens_without_an_embedding(copy: Copy) -> None:
    folder = copy("llava_onevision")
    policy = load_policy(folder, device="cpu")
    rows = policy.model.get_input_embeddings().num_embeddings
    policy.tokenizer.add_tokens(["<new>", "<newer>"])
    policy.processor.save_pretrained(folder)
    code, found = check(folder)
    assert code == 2
    name, message = last(found)
    assert name == "vocabulary"
    assert f"tokens up to {rows + 1} of the tokenizer outside the model's {rows} emb" in message


def test_a_model_that_sees_nothing(copy: Copy) -> None:
    """Its pictures' features are zeros: everything else agrees."""
    folder = copy("idefics3")
    weights = load_file(folder / "model.safetensors")
    (name,) = (name for name in weights if "connector" in name)
    weights[name].zero_()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    code, found = check(folder)
    assert code == 1
    wrong = {c["name"]: c["message"] for c in found["checks"] if not c["ok"]}
    assert wrong == {"picture": "the model answers the same whatever the picture shows"}


def test_no_end_token_is_replaced(copy: Copy) -> None:
    folder = copy("idefics3")
    edit(folder / "tokenizer_config.json", eos_token=None)
    code, found = check(folder)
    assert found["fallbacks"] == [
        "the tokenizer names no end token: that of the generation config is used (2)"
    ]
    assert code == 1
    assert all(c["ok"] for c in found["checks"])


def test_no_pad_token_is_no_matter(copy: Copy) -> None:
    """Padding is masked, whatever token it is."""
    folder = copy("idefics3")
    edit(folder / "tokenizer_config.json", pad_token=None)
    assert check(folder)[0] == 0


def test_no_room_for_replies(model_folder: Callable[[str], Path]) -> None:
    code, found = check(model_folder("llava"), "--set", "train.max_completion_length=500")
    assert code == 1
    (wrong,) = (c for c in found["checks"] if not c["ok"])
    assert wrong["name"] == "length"
    assert wrong["value"] > wrong["tolerance"] == 512
    assert "lower train.max_completion_length" in wrong["message"]


def test_training_that_is_refused(model_folder: Callable[[str], Path]) -> None:
    code, found = check(model_folder("idefics3"), "--set", "model.dtype=float16")
    assert code == 1
    (wrong,) = (c for c in found["checks"] if not c["ok"])
    assert wrong["name"] == "training"
    assert "float16" in wrong["message"]
    assert found["memory_mb"] is None


def test_own_rows(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    drawn(1).save(tmp_path / "a.png")
    row = {"id": "1", "images": ["a.png"], "problem": "<image>?", "answer": "1"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    folder = model_folder("idefics3")
    code, found = check(folder, "--data", str(tmp_path / "rows.jsonl"))
    assert code == 0
    # <image> is 4 tokens and 3 around them; "?", the end of the turn and "=".
    assert found["checks"][2]["message"] == "prompts of 10 tokens"


def test_the_largest_rows_are_tried() -> None:
    rows = [Sample(str(i), "?" * length, (Path("x"),) * images) for i, (images, length) in
            enumerate([(1, 5), (2, 1), (0, 9), (2, 3)])]  # fmt: skip
    assert [row.id for row in two_largest(rows)] == ["3", "1"]


def test_for_people(model_folder: Callable[[str], Path]) -> None:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    done = CliRunner().invoke(app, ["check", "--model", str(model_folder("idefics3")), *settings])
    assert done.exit_code == 0
    assert "works: results with the shared prompt are those of plain rows" in done.stdout
    assert "a training step: " in done.stdout


def sociable(policy: Policy) -> Policy:
    """A model whose rows disturb each other, as with a batch norm that learns."""

    def hook(module: nn.Module, args: Any) -> Any:
        rows, *others = args
        return rows + 0.5 * (rows.mean(0) - rows[:1]), *others

    policy.model.model.text_model.layers[0].register_forward_pre_hook(hook)
    return policy


def test_rows_that_disturb_each_other_are_found(idefics3: Policy, tmp_path: Path) -> None:
    maker = PromptMaker(load_config(None).views, max_pixels=10**6, seed=0)
    prompts = [maker.prompt(sample) for sample in drawn_samples(tmp_path)]
    assert all(found.ok for found in compare(idefics3, prompts))
    logprobs, gradients = compare(sociable(idefics3), prompts)
    assert not logprobs.ok
    assert not gradients.ok
    assert logprobs.value is not None
    assert logprobs.value > 0.1
    report = Report(checks=[logprobs, gradients, sampling(idefics3, prompts)])
    assert report.exit_code == 1
    assert "not right: log-probabilities, gradients; do not train" in report.verdict()


def test_exit_codes() -> None:
    right, wrong = Check("a", True), Check("b", False)
    assert Report(checks=[right]).exit_code == 0
    assert Report(checks=[right], fallbacks=["other"]).exit_code == 1
    assert Report(checks=[right, wrong]).exit_code == 1
    assert Report(checks=[right]).fail("c", "gone").exit_code == 2


def test_gradient_error_by_hand() -> None:
    """|(3, 4) - (3, 3)| / |(3, 3)| = 1 / sqrt(18); a missing gradient is a whole one off."""
    expected = {"w": torch.tensor([3.0, 3.0]), "v": torch.tensor([1.0])}
    found = {"w": torch.tensor([3.0, 4.0]), "v": torch.tensor([1.0])}
    assert gradient_error(found, expected) == pytest.approx(18**-0.5)
    assert gradient_error({"w": expected["w"]}, expected) == pytest.approx(1.0)
    # Below 1e-3 of all gradients together (5 here): measured against that.
    assert gradient_error(
        {"w": torch.tensor([5.0]), "v": torch.tensor([2e-3])},
        {"w": torch.tensor([5.0]), "v": torch.tensor([1e-3])},
    ) == pytest.approx(1e-3 / 5e-3)
    assert gradient_error({}, {"w": torch.zeros(2)}) == float("inf")


def test_live_bytes_by_hand() -> None:
    """Each of these is 4,000 bytes: tanh keeps its output, exp keeps its own."""
    weight = torch.randn(1000, requires_grad=True)
    with LiveBytes() as memory:
        first = weight * 2.0
        assert memory.live == 4000
        second = first.tanh()
        del first
        assert memory.live == 4000
        third = second.exp()
        assert memory.live == 8000
        view = third[:10]
        assert memory.live == 8000
        third.add_(0.0)
        assert memory.live == 8000
        del second, third
        assert memory.live == 8000  # the view holds the one, the graph the other
        del view
    assert memory.peak == 8000


def test_tensor_bytes_count_storages_once() -> None:
    tensor = torch.zeros(10, dtype=torch.bfloat16)
    assert tensor_bytes([tensor, tensor[:2], torch.zeros(3)]) == 20 + 12


def test_time_of_whole_batches_and_a_rest() -> None:
    """Seven prompts, three at once: 1 + 2 * 2 twice, and 1 for the rest."""
    assert whole_seconds(1.0, 3.0, 7, 3) == 5.0 + 5.0 + 1.0
    assert whole_seconds(1.0, 3.0, 6, 3) == 10.0


def test_dynamic_sampling_draws_again_and_updates_once(
    idefics3: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Update, rollouts and labels of 10 s each; two more batches of rollouts and labels at most."""
    maker = PromptMaker(load_config(None).views, max_pixels=10**6, seed=0)
    config = load_config(None, [*SMALL, "train.dynamic_sampling=true", "train.max_resample=2"])
    monkeypatch.setattr("mmupt.check.cost.whole_seconds", lambda *_: 10.0)
    cost = step_cost(idefics3, drawn_samples(tmp_path), maker, config)
    assert (cost.seconds, cost.seconds_most) == (30.0, 70.0)
    report = Report(memory_mb=1.0, seconds_per_step=30.0, seconds_per_step_max=70.0)
    assert report.lines()[0].endswith(
        "about 30.0 s, up to 70.0 s where dynamic sampling draws all its batches"
    )


def test_the_line_through_one_and_two() -> None:
    assert extended(10.0, 14.0, 1) == 10.0
    assert extended(10.0, 14.0, 5) == 26.0
    assert extended(10.0, 9.0, 5) == 10.0  # noise, no discount


@pytest.mark.parametrize("together", [8, 2])
def test_predicted_bytes_are_those_of_a_whole_step(
    idefics3: Policy, load_idefics3: Callable[[], Policy], tmp_path: Path, together: int
) -> None:
    """Seven prompts, at once or two by two, from a trial with two."""
    config = load_config(
        None,
        ["train.max_completion_length=12", "train.num_generations=4", "train.prompts_per_step=7",
         f"train.micro_batch_size={together}", "consensus.teacher=online", "guard.action=none"],
    )  # fmt: skip
    maker = PromptMaker(config.views, max_pixels=10**6, seed=0)
    samples = drawn_samples(tmp_path)
    cost = step_cost(idefics3, samples, maker, config)
    other = load_idefics3()
    optimizer = make_optimizer(other.model, 1e-6, 0.0)
    groups = [full_group(other, samples[1], maker, config.train) for _ in range(7)]
    update(other, optimizer, groups, config.train)
    held = held_bytes(other, optimizer, [], config)
    weights = sum(p.numel() for p in {id(p): p for p in other.model.parameters()}.values())
    assert 3 * 4 * weights < held < 3.1 * 4 * weights  # weights and two moments, and buffers
    assert cost.held == held
    with LiveBytes() as memory:
        update(other, optimizer, groups, config.train)
    passing = (cost.peak - held - 60e6) / 1.15  # see `cost.ALLOCATOR` and `cost.LIBRARIES`
    assert passing == pytest.approx(memory.peak, rel=0.03)


def test_a_frozen_teacher_is_held_as_well(
    load_idefics3: Callable[[], Policy], tmp_path: Path
) -> None:
    """By the weights once more; with the guard, once more again."""
    maker = PromptMaker(load_config(None).views, max_pixels=10**6, seed=0)
    samples = drawn_samples(tmp_path)
    held = []
    for more in (("consensus.teacher=online", "guard.action=none"), ("guard.action=none",), ()):
        config = load_config(None, [*SMALL, *more])
        held.append(step_cost(load_idefics3(), samples, maker, config).held)
    policy = load_idefics3()
    weights = sum(4 * p.numel() for p in policy.model.parameters())
    assert held[2] - held[1] == weights
    assert held[1] - held[0] == pytest.approx(weights, rel=0.02)  # and the teacher's buffers
