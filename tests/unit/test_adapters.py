"""Adapters: trained alone, over weights that stand still, and merged at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from architectures import ARCHITECTURES
from safetensors.torch import load_file
from tiny import Row, idefics3_row, naive_logprobs, picture, qwen_row

from mmupt.asking.maker import PromptMaker
from mmupt.asking.prompt import Prompt
from mmupt.config import Config, LoraConfig, SftConfig, load_config
from mmupt.errors import ConfigError, ModelError
from mmupt.events import Event, EventLog
from mmupt.pipeline.stages import Stages
from mmupt.policy import adapters
from mmupt.policy.inputs import PromptBatch, encode
from mmupt.policy.model import Policy, load_policy, save_policy
from mmupt.policy.score import completion_logprobs, token_batch
from mmupt.runs import RunFolder
from mmupt.train.average import MovingAverage
from mmupt.train.checkpoint import load_state, save_state
from mmupt.train.grpo import train_label_free
from mmupt.train.optim import freeze_vision, make_optimizer
from mmupt.train.stage import Run
from mmupt.types import LabelledSample, Sample

LORA = LoraConfig(r=4, lora_alpha=8)
DORA = LoraConfig(r=4, lora_alpha=8, use_dora=True)
KINDS = pytest.mark.parametrize("config", [LORA, DORA], ids=["lora", "dora"])
PEFT_WARNS = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
"""Its own wrapper asks transformers by an old name; the package does not use the wrapper."""
MODELS = pytest.mark.parametrize("name", ["idefics3", "qwen"])

COMPLETIONS = ((40, 41, 2), (80,), (70, 71, 70, 2), (33, 30, 31))
REPEATS = (3, 1)


@pytest.fixture
def make(load_idefics3: Callable[[], Policy]) -> Callable[[str], Policy]:
    """The same tiny model every time, by name."""
    return lambda name: load_idefics3() if name == "idefics3" else tiny.qwen_policy()


def prompts(policy: Policy, name: str) -> tuple[PromptBatch, list[Row]]:
    """Two prompts of different length: as the engine takes them, and one by one."""
    if name == "idefics3":
        asked = (Prompt("<image>3?", (picture(1),)), Prompt("a longer one, text alone", ()))
        return encode(policy, asked), [idefics3_row(policy, p) for p in asked]
    rows = [qwen_row(1, before=3, grids=[(4, 4)], after=5), qwen_row(2, 20, [], 0)]
    return tiny.left_padded(rows), rows


def logits(policy: Policy, row: Row) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = policy.model(**row).logits
    return found


def learn(policy: Policy, seed: int = 3) -> None:
    """Move everything that is trained, as training would, but farther."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                draw = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.1 * draw.to(parameter.dtype))


def storages(model: Any) -> set[int]:
    return {p.data_ptr() for p in model.parameters()}


def plain(model: Any) -> dict[str, torch.Tensor]:
    """The weights without the adapter, under the names that they have without one."""
    return {
        name.replace(".base_layer", ""): weight
        for name, weight in tiny.weights(model).items()
        if "lora_" not in name
    }


# Attaching


@MODELS
@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_adapter_changes_nothing(
    make: Callable[[str], Policy], name: str, config: LoraConfig, dtype: torch.dtype
) -> None:
    policy = make(name)
    policy.model.to(dtype)
    _, (row, _) = prompts(policy, name)
    row = {k: v.to(dtype) if v.is_floating_point() else v for k, v in row.items()}
    before, kind = logits(policy, row), type(policy.model)
    adapters.attach(policy.model, config, 7)
    assert torch.equal(logits(policy, row), before)
    assert adapters.idle(policy.model)
    assert type(policy.model) is kind
    trained = {n: p for n, p in policy.model.named_parameters() if p.requires_grad}
    assert all(p.dtype == torch.float32 for p in trained.values())
    # Seven linear layers in each of two text layers, each with A and B, and m.
    assert len(trained) == 2 * 7 * (3 if config.use_dora else 2)
    assert all("lora_" in n and ("text_model" in n or "language_model" in n) for n in trained)


def test_what_is_drawn_depends_on_the_seed_alone(make: Callable[[str], Policy]) -> None:
    one, other, third = (make("qwen") for _ in range(3))
    state = torch.random.get_rng_state()
    adapters.attach(one.model, LORA, 7)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    adapters.attach(other.model, LORA, 7)
    adapters.attach(third.model, LORA, 8)
    assert tiny.same_weights(one.model, other.model)
    assert not tiny.same_weights(one.model, third.model)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_linear_is_the_language_model(
    model_folder: Callable[[str], Path], architecture: str
) -> None:
    model = load_policy(model_folder(architecture), device="cpu").model
    adapters.attach(model, LORA, 0)
    text = (
        "model.text_model." if architecture in ("idefics3", "smolvlm") else "model.language_model."
    )
    names = adapters.adapted(model)
    assert len(names) == 2 * 7
    assert {n.rpartition(".")[2] for n in names} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert all(n.startswith(text) for n in names)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("q_proj",), 4),  # two text layers and two of the vision tower
        (r"model\.text_model\..*\.(q|v)_proj", 4),
        (("text_model.layers.1.mlp.up_proj",), 1),
    ],
)
def test_targets_as_in_peft(
    make: Callable[[str], Policy], targets: str | tuple[str, ...], expected: int
) -> None:
    model = make("idefics3").model
    adapters.attach(model, LoraConfig(target_modules=targets), 0)
    assert len(adapters.adapted(model)) == expected


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("nothing_like_it",), "nothing_like_it"),
        ("model[", "target_modules"),
        (("lm_head",), "lm_head is the output layer"),
        (("embed_tokens",), "embed_tokens is Embedding"),
        (("patch_embedding",), "patch_embedding is Conv2d"),
        (("self_attn",), "self_attn|Attention"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings")
def test_targets_that_cannot_be(
    make: Callable[[str], Policy], targets: str | tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        adapters.attach(make("idefics3").model, LoraConfig(target_modules=targets), 0)


def test_one_adapter_at_a_time(make: Callable[[str], Policy]) -> None:
    model = make("qwen").model
    adapters.attach(model, LORA, 0)
    with pytest.raises(ModelError, match="an adapter already"):
        adapters.attach(model, LORA, 0)


def test_without_peft(make: Callable[[str], Policy], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"pip install 'mmupt\[lora\]'"):
        adapters.attach(make("qwen").model, LORA, 0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lora.lora_dropout=0.1", "lora_dropout is 0.1, but has to be 0"),
        ("lora.target_modules=[]", "names nothing"),
        ("lora.r=0", "greater than or equal to 1"),
        ("lora.rank=4", "unknown key lora.rank; known here: r, lora_alpha"),
    ],
)
def test_bad_settings(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [setting])


def test_settings() -> None:
    assert Config().lora is None
    lora = load_config(None, ["lora.r=8", "lora.target_modules=[q_proj, v_proj]"]).lora
    assert lora == LoraConfig(r=8, target_modules=("q_proj", "v_proj"))


# What an adapted model computes


@MODELS
@KINDS
def test_outputs_are_those_of_the_formula(
    make: Callable[[str], Policy], name: str, config: LoraConfig
) -> None:
    """W + 2 B A, or m V / |V| by rows with V = W + 2 B A, put into a plain model by hand."""
    policy, by_hand = make(name), make(name)
    adapters.attach(policy.model, config, 7)
    learn(policy)
    learned = tiny.weights(policy.model)
    weights = dict(by_hand.model.named_parameters())
    with torch.no_grad():
        for layer in adapters.adapted(policy.model):
            down, up = (learned[f"{layer}.lora_{x}.default.weight"] for x in "AB")
            total = weights[f"{layer}.weight"] + 8 / 4 * up @ down
            if config.use_dora:
                magnitude = learned[f"{layer}.lora_magnitude_vector.default.weight"]
                total *= (magnitude / total.square().sum(1).sqrt())[:, None]
            weights[f"{layer}.weight"].copy_(total)
    _, rows = prompts(policy, name)
    for row in rows:
        found = logits(policy, row)
        assert float((found - logits(make(name), row)).abs().max()) > 0.5
        torch.testing.assert_close(found, logits(by_hand, row), atol=1e-4, rtol=0)


@MODELS
@KINDS
def test_gradients_through_the_shared_prompt(
    make: Callable[[str], Policy], name: str, config: LoraConfig
) -> None:
    policy = make(name)
    adapters.attach(policy.model, config, 7)
    learn(policy)
    batch, rows = prompts(policy, name)
    weights = torch.randn(4, 4, generator=torch.Generator().manual_seed(5))
    tokens = token_batch(policy, COMPLETIONS)
    found, _ = completion_logprobs(policy, batch, REPEATS, tokens, 0.7)
    (found * tokens.mask_NT * weights).sum().backward()
    shared = {n: g for n, g in tiny.gradients(policy.model).items() if "lora_" in n}
    assert all(p.grad is None for n, p in policy.model.named_parameters() if "lora_" not in n)
    policy.model.zero_grad()
    owners = [row for row, count in zip(rows, REPEATS, strict=True) for _ in range(count)]
    for i, (row, completion) in enumerate(zip(owners, COMPLETIONS, strict=True)):
        logps = naive_logprobs(policy.model, row, completion, 0.7)
        (logps * weights[i, : len(completion)]).sum().backward()
    expected = {n: g for n, g in tiny.gradients(policy.model).items() if "lora_" in n}
    assert all(g.norm() > 0 for g in expected.values())
    assert tiny.worst_error(shared, expected) < 1e-4


# References, teachers


@MODELS
@KINDS
def test_the_reference_is_the_base_model(
    make: Callable[[str], Policy], name: str, config: LoraConfig
) -> None:
    """Bit for bit, without a copy, while the policy learns."""
    policy, base = make(name), make(name)
    base.model.requires_grad_(False)  # torch multiplies in another order by weights that learn
    adapters.attach(policy.model, config, 7)
    reference = policy.reference()
    assert storages(reference.model) == storages(policy.model) - {
        p.data_ptr() for p in policy.model.parameters() if p.requires_grad
    }
    learn(policy)
    batch, rows = prompts(policy, name)
    assert not any(p.requires_grad for p in reference.model.parameters())
    assert any(p.requires_grad for p in policy.model.parameters())
    tokens = token_batch(policy, COMPLETIONS)
    with torch.no_grad():
        found, expected, moved = (
            completion_logprobs(p, batch, REPEATS, tokens)[0] for p in (reference, base, policy)
        )
    assert torch.equal(found, expected)
    assert not torch.equal(found, moved)
    for row in rows:
        assert torch.equal(logits(reference, row), logits(base, row))


@KINDS
def test_a_reference_of_a_trained_adapter_keeps_it(
    make: Callable[[str], Policy], config: LoraConfig
) -> None:
    policy = make("qwen")
    adapters.attach(policy.model, config, 7)
    learn(policy)
    _, (row, _) = prompts(policy, "qwen")
    before = logits(policy, row)
    reference = policy.reference()
    learn(policy, seed=4)
    assert torch.equal(logits(reference, row), before)
    assert not torch.equal(logits(policy, row), before)
    assert storages(reference.model) & storages(policy.model) == {
        p.data_ptr() for p in policy.model.parameters() if not p.requires_grad
    }


def test_only_the_magnitude_has_moved(make: Callable[[str], Policy]) -> None:
    """Such an adapter is not idle, though every B is zero."""
    policy = make("qwen")
    adapters.attach(policy.model, DORA, 7)
    layer = next(iter(adapters.adapted(policy.model).values()))
    with torch.no_grad():
        layer.lora_magnitude_vector["default"].weight[0] *= 1.5
    assert not adapters.idle(policy.model)


def test_without_an_adapter_what_is_trained_is_copied(make: Callable[[str], Policy]) -> None:
    policy = make("idefics3")
    assert not storages(policy.reference().model) & storages(policy.model)
    freeze_vision(policy.model)
    reference = policy.reference()
    kept, tower = tiny.weights(policy.model), storages(policy.model.model.vision_model)
    assert tower <= storages(reference.model)
    assert not storages(policy.model.model.text_model) & storages(reference.model)
    learn(policy)
    assert all(torch.equal(w, kept[n]) for n, w in tiny.weights(reference.model).items())
    assert reference.model.lm_head.weight is reference.model.get_input_embeddings().weight


def test_a_moving_average_moves_what_is_trained(make: Callable[[str], Policy]) -> None:
    policy = make("qwen")
    adapters.attach(policy.model, LORA, 7)
    teacher = policy.clone()
    before = tiny.weights(teacher.model)
    average = MovingAverage(teacher, policy, 0.75)
    assert average.averages.keys() == {
        n for n, p in policy.model.named_parameters() if p.requires_grad
    }
    learn(policy)
    average.update()
    after, fast = tiny.weights(teacher.model), tiny.weights(policy.model)
    for name, weight in after.items():
        expected = 0.75 * before[name] + 0.25 * fast[name] if "lora_" in name else before[name]
        torch.testing.assert_close(weight, expected, atol=1e-7, rtol=1e-6)
    assert not tiny.same_weights(teacher.model, policy.model)


def test_a_moving_average_of_bfloat16_does_not_stand_still(make: Callable[[str], Policy]) -> None:
    """Steps of 1/8 of the distance between two neighbours: each alone would be rounded away."""
    policy = make("qwen")
    policy.model.to(torch.bfloat16)
    teacher = policy.clone()
    average = MovingAverage(teacher, policy, 0.875)
    one, other = policy.model.lm_head.weight, teacher.model.lm_head.weight
    with torch.no_grad():
        one.fill_(1.0 + 2**-7)  # the neighbour of 1 in bfloat16
        average.averages["lm_head.weight"].fill_(1.0)
        average.show()
    assert bool((other == 1.0).all())
    for _ in range(5):  # the rest of the way after n steps is 0.875^n: 0.513 after 5, 0.449 after 6
        average.update()
        assert bool((other == 1.0).all())
    average.update()
    assert bool((other == 1.0 + 2**-7).all())


# Saving


@MODELS
@KINDS
def test_merging(make: Callable[[str], Policy], name: str, config: LoraConfig) -> None:
    policy = make(name)
    adapters.attach(policy.model, config, 7)
    reference = policy.reference()
    learn(policy)
    _, rows = prompts(policy, name)
    before, base = [logits(policy, r) for r in rows], [logits(reference, r) for r in rows]
    adapters.merge(policy.model)
    assert tiny.weights(policy.model).keys() == tiny.weights(make(name).model).keys()
    assert all(p.requires_grad for p in policy.model.parameters())
    assert not adapters.adapted(policy.model)
    for row, adapted, start in zip(rows, before, base, strict=True):
        torch.testing.assert_close(logits(policy, row), adapted, atol=1e-4, rtol=0)
        assert torch.equal(logits(reference, row), start)  # its weights are the old ones
    adapters.attach(policy.model, config, 8)  # the next stage
    assert adapters.idle(policy.model)


@PEFT_WARNS
@KINDS
def test_a_saved_folder_is_a_model_as_any_other(
    idefics3_folder: Path, tmp_path: Path, config: LoraConfig
) -> None:
    from peft import PeftModel

    policy = load_policy(idefics3_folder, device="cpu")
    adapters.attach(policy.model, config, 7)
    learn(policy)
    kept = tiny.weights(policy.model)
    _, rows = prompts(policy, "idefics3")
    expected = [logits(policy, row) for row in rows]
    save_policy(policy, tmp_path / "saved", "card")
    assert all(torch.equal(w, kept[n]) for n, w in tiny.weights(policy.model).items())
    names = load_file(tmp_path / "saved" / "model.safetensors").keys()
    assert names == load_file(idefics3_folder / "model.safetensors").keys()
    merged = load_policy(tmp_path / "saved", device="cpu")
    again = load_policy(idefics3_folder, device="cpu").model
    by_peft = PeftModel.from_pretrained(again, tmp_path / "saved" / "adapter").eval()
    for row, logits_of_policy in zip(rows, expected, strict=True):
        torch.testing.assert_close(logits(merged, row), logits_of_policy, atol=1e-4, rtol=0)
        with torch.no_grad():
            assert torch.equal(by_peft(**row).logits, logits_of_policy)
    adapters.merge(policy.model)  # as a run goes on with it
    assert tiny.same_weights(policy.model, merged.model)
    settings = json.loads((tmp_path / "saved" / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(idefics3_folder)
    assert (settings["r"], settings["use_dora"]) == (4, config.use_dora)


@PEFT_WARNS
def test_biases_beside_the_adapter(tmp_path: Path, make: Callable[[str], Policy]) -> None:
    """Qwen's q, k and v have biases; what is saved has them moved."""
    from peft import PeftModel

    policy, base = make("qwen"), make("qwen")
    adapters.attach(policy.model, LoraConfig(r=2, bias="lora_only"), 0)
    reference = policy.reference()
    learn(policy)
    _, (row, _) = prompts(policy, "qwen")
    assert torch.equal(logits(reference, row), logits(base, row))
    moved = [n for n, w in plain(policy.model).items() if not torch.equal(w, plain(base.model)[n])]
    assert len(moved) == 2 * 3
    assert all(n.endswith("_proj.bias") for n in moved)
    adapters.save_adapter(policy.model, tmp_path / "adapter", Path("base"))
    by_peft = PeftModel.from_pretrained(base.model, tmp_path / "adapter").eval()
    with torch.no_grad():
        assert torch.equal(by_peft(**row).logits, logits(policy, row))


def test_an_adapter_is_no_model(idefics3_folder: Path, tmp_path: Path) -> None:
    policy = load_policy(idefics3_folder, device="cpu")
    adapters.attach(policy.model, LORA, 7)
    save_policy(policy, tmp_path / "saved", "card")
    with pytest.raises(ModelError, match="an adapter only; merge it into its base model"):
        load_policy(tmp_path / "saved" / "adapter")


def test_a_diverged_adapter_is_not_merged(make: Callable[[str], Policy]) -> None:
    policy = make("qwen")
    adapters.attach(policy.model, LORA, 7)
    with torch.no_grad():
        next(p for p in policy.model.parameters() if p.requires_grad).fill_(float("inf"))
    with pytest.raises(ModelError, match=r"q_proj: its weights are not finite"):
        adapters.merge(policy.model)


# A round


class Killed(Exception):  # noqa: N818
    """Stands for the signal; nothing in the package may catch it."""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    root = tmp_path_factory.mktemp("pictures")
    for i in range(5):
        tiny.picture(50 + i).save(root / f"{i}.png")
    return [Sample(f"s{i}", f"<image>read {i * 'on '}?", (root / f"{i}.png",)) for i in range(5)]


def one_round(
    folder: Path,
    samples: Sequence[Sample],
    out: Path,
    config: Config,
    die_at: int | None = None,
) -> tuple[Policy, list[Event]]:
    """One process: the model from its folder with a new adapter, the round as far as it gets."""
    events: list[Event] = []

    def dying(event: Event) -> None:
        if event["type"] == "grpo_step" and event["step"] == die_at:
            raise Killed

    policy = load_policy(folder, device="cpu", dtype=config.model.dtype)
    if config.lora is not None:
        adapters.attach(policy.model, config.lora, 1)
    run = Run(
        config=config,
        prompts=PromptMaker(config.views, max_pixels=10_000, seed=config.seed),
        log=EventLog(out / "events.jsonl", (events.append, dying)),
        stage="round-1",
        key=1,
        state_dir=out / "state",
        rollouts_dir=out / "rollouts",
    )
    train_label_free(policy, samples, run)
    return policy, events


@pytest.mark.parametrize(
    ("teacher", "lora", "dtype"),
    [
        ("frozen", LORA, "float32"),
        ("ema", DORA, "float32"),
        ("ema", LORA, "bfloat16"),
        ("ema", None, "bfloat16"),
    ],
)
def test_a_round_learns_resumes_and_leaves_the_base_alone(
    talker: Path,
    samples: list[Sample],
    tmp_path: Path,
    teacher: str,
    lora: LoraConfig | None,
    dtype: str,
) -> None:
    config = tiny.round_config(teacher, save_steps=2, max_steps=3).model_copy(
        update={"lora": lora, "model": Config().model.model_copy(update={"dtype": dtype})}
    )
    with pytest.raises(Killed):
        one_round(talker, samples, tmp_path / "killed", config, die_at=3)
    names = load_file(tmp_path / "killed" / "state" / "000002" / "model.safetensors").keys()
    again, events = one_round(talker, samples, tmp_path / "killed", config)
    assert [e["step"] for e in events if e["type"] == "grpo_step"] == [3]
    policy, events = one_round(talker, samples, tmp_path / "whole", config)
    steps = [e for e in events if e["type"] == "grpo_step"]
    assert [e["step"] for e in steps] == [1, 2, 3]
    assert all(e["grad_norm"] > 0 for e in steps)
    assert any(e["kl"] > 0 for e in steps)
    assert tiny.same_weights(again.model, policy.model)
    base = load_policy(talker, device="cpu", dtype=dtype)
    if lora is None:
        assert names == tiny.weights(base.model).keys()
        assert not tiny.same_weights(policy.model, base.model)
        return
    assert all("lora_" in n for n in names)
    assert not adapters.idle(policy.model)
    found, expected = plain(policy.model), tiny.weights(base.model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[n], expected[n]) for n in found)


# Freezing

TEXT = {
    "idefics3": ("model.text_model.",),
    "smolvlm": ("model.text_model.",),
}
"""Where the language model is; elsewhere `model.language_model.`, and everywhere `lm_head.`."""


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # PaliGemma's processor
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_freezing_the_vision_tower(model_folder: Callable[[str], Path], architecture: str) -> None:
    """Tower, projector and the rest of what is not text; and no graph is kept of them."""
    policy = load_policy(model_folder(architecture), device="cpu")
    text = (*TEXT.get(architecture, ("model.language_model.",)), "lm_head.")
    expected = [n for n, _ in policy.model.named_parameters() if not n.startswith(text)]
    assert freeze_vision(policy.model) == len(expected) > 10
    frozen = [n for n, p in policy.model.named_parameters() if not p.requires_grad]
    assert frozen == expected
    seen: list[bool] = []
    tower = policy.model.get_encoder(modality="image")

    def remember(module: Any, arguments: Any, output: Any) -> None:
        tensors = output if isinstance(output, tuple) else tuple(getattr(output, "values", list)())
        seen.extend(t.requires_grad for t in tensors if isinstance(t, torch.Tensor))

    assert tower is not policy.model
    tower.register_forward_hook(remember)
    batch = encode(policy, [Prompt("<image>3?", (picture(1),))])
    batch.features.pop("labels", None)  # PaliGemma's processor makes some
    logps, _ = completion_logprobs(policy, batch, [1], token_batch(policy, [(40, 41)]))
    logps.sum().backward()
    assert seen
    assert not any(seen)
    graded = {n for n, p in policy.model.named_parameters() if p.grad is not None}
    assert graded
    assert not graded & set(frozen)


def test_a_model_without_a_tower_is_refused() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(**small, num_attention_heads=1, vocab_size=8))
    with pytest.raises(ConfigError, match="no vision tower found in LlamaForCausalLM"):
        freeze_vision(model)


def test_nothing_left_to_train(make: Callable[[str], Policy]) -> None:
    model = make("idefics3").model
    adapters.attach(model, LoraConfig(target_modules=r".*vision_model.*\.q_proj"), 0)
    freeze_vision(model)
    with pytest.raises(ConfigError, match="nothing is trained"):
        make_optimizer(model, 1e-3, 0.0)


# bfloat16


def descend(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Gradients that depend on the step alone."""
    for step in steps:
        for i, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(100 * step + i)
            wanted = getattr(parameter, "grad_dtype", None) or parameter.dtype
            draw = torch.randn(parameter.shape, generator=generator) + 0.5
            parameter.grad = draw.bfloat16().to(wanted)
        optimizer.step()
        optimizer.zero_grad()


def two_layers(dtype: torch.dtype) -> torch.nn.Module:
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3))
    tiny.spread_weights(model, 0)
    return model.bfloat16().to(dtype)


def test_bfloat16_weights_are_the_float32_ones_rounded() -> None:
    """As many steps, from the same weights, with the same gradients."""
    rounded, exact = two_layers(torch.bfloat16), two_layers(torch.float32)
    start = tiny.weights(rounded)
    descend(rounded, make_optimizer(rounded, 1e-5, 0.01), range(40))
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in exact.parameters() if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in exact.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=1e-5,
    )
    descend(exact, optimizer, range(40))
    for (name, low), high in zip(rounded.named_parameters(), exact.parameters(), strict=True):
        assert low.dtype == torch.bfloat16
        assert torch.equal(low, high.bfloat16())
        assert not torch.equal(high, start[name].float())
    assert not all(torch.equal(w, start[n]) for n, w in tiny.weights(rounded).items())
    # Control: these steps are too small for bfloat16 by itself.
    lost = two_layers(torch.bfloat16)
    descend(lost, torch.optim.AdamW(lost.parameters(), lr=1e-5, weight_decay=0.0), range(40))
    assert torch.equal(lost[0].weight, start["0.weight"])


def test_masters_are_saved_and_restored(tmp_path: Path) -> None:
    whole, killed, again = (two_layers(torch.bfloat16) for _ in range(3))
    descend(whole, make_optimizer(whole, 1e-5, 0.01), range(40))
    optimizer = make_optimizer(killed, 1e-5, 0.01)
    descend(killed, optimizer, range(25))
    save_state(tmp_path, 25, killed, optimizer, {})
    optimizer = make_optimizer(again, 1e-5, 0.01)
    assert load_state(tmp_path, again, optimizer, {})[0] == 25
    descend(again, optimizer, range(25, 40))
    assert tiny.same_weights(again, whole)
    assert not tiny.same_weights(killed, whole)


@pytest.mark.skipif(not hasattr(torch.Tensor, "grad_dtype"), reason="this torch cannot")
def test_gradients_of_micro_batches_add_up_in_float32() -> None:
    """256 and then 1, a hundred times: in bfloat16 each 1 would be lost."""
    model = torch.nn.Linear(1, 1, bias=False).bfloat16()
    make_optimizer(model, 1e-3, 0.0)
    for x in (256.0, *[1.0] * 100):
        model(torch.full((1, 1), x, dtype=torch.bfloat16)).sum().backward()
    assert float(model.weight.grad) == 356.0


@pytest.mark.parametrize("lora", [None, LORA])
def test_float16_is_not_trained(make: Callable[[str], Policy], lora: LoraConfig | None) -> None:
    model = make("qwen").model.half()
    if lora is not None:
        adapters.attach(model, lora, 0)
    with pytest.raises(ConfigError, match=r"model\.dtype is 'float16'"):
        make_optimizer(model, 1e-3, 0.0)


# A run


def stages_in(folder: Path, config: Config) -> tuple[Stages, list[Event]]:
    events: list[Event] = []
    log = EventLog(folder / "events.jsonl", (events.append,))
    return Stages(RunFolder(folder), config, log), events


def work(stages: Stages, samples: Sequence[Sample]) -> str:
    """Fine-tuning, then two rounds; stages that are there are not repeated."""
    rows = [LabelledSample(s, str(i)) for i, s in enumerate(samples)]
    after = stages.sft(rows)
    for number in (1, 2):
        after = stages.label_free(samples, after=after, stage=f"round-{number}", key=number)
    return after


@PEFT_WARNS
def test_a_run_of_several_stages(talker: Path, samples: list[Sample], tmp_path: Path) -> None:
    """Each stage trains an adapter of its own; in one process or in three it is the same run."""
    from peft import PeftModel

    config = tiny.round_config("frozen", save_steps=2, max_steps=2)
    config = config.model_copy(
        update={
            "model": config.model.model_copy(update={"path": talker}),
            "lora": LORA,
            "sft": SftConfig(learning_rate=3e-3, per_device_train_batch_size=2),
        }
    )
    one, _ = stages_in(tmp_path / "one", config)
    last = one.policy(work(one, samples))
    for number in range(3):  # as if it had been killed after each stage
        part, events = stages_in(tmp_path / "parts", config)
        if number < 2:
            with pytest.raises(Killed):
                dying_after(part, number + 1, lambda part=part: work(part, samples))
        else:
            work(part, samples)
        assert sum(e["type"] == "stage_finished" for e in events) == 1
    for stage in ("sft", "round-1", "round-2"):
        names = ("model.safetensors", "adapter/adapter_model.safetensors")
        for name in names:
            left, right = (
                load_file(tmp_path / run / "checkpoints" / stage / name) for run in ("one", "parts")
            )
            assert left.keys() == right.keys()
            assert all(torch.equal(left[n], right[n]) for n in left)
    assert tiny.same_weights(last.model, load_policy(last.path, device="cpu").model)
    # What peft makes of a stage's start and its adapter is what the stage left.
    before, after = (tmp_path / "one" / "checkpoints" / stage for stage in ("round-1", "round-2"))
    start = load_policy(before, device="cpu")
    settings = json.loads((after / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(before)
    _, (row, _) = prompts(start, "idefics3")
    assert not torch.equal(logits(start, row), logits(last, row))
    by_peft = PeftModel.from_pretrained(start.model, after / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(by_peft(**row).logits, logits(last, row), atol=1e-4, rtol=0)
    assert "LoRA adapter" in (after / "README.md").read_text()


def dying_after(stages: Stages, count: int, run: Callable[[], Any]) -> None:
    """Runs until `count` stages of the folder are finished and the next one is about to begin."""
    train = stages._train

    def stopping(stage: str, *more: Any) -> str:
        done = len(list((stages.folder.root / "checkpoints").glob("*")))
        if done >= count and not stages.folder.checkpoint(stage).exists():
            raise Killed
        return train(stage, *more)

    stages._train = stopping  # type: ignore[method-assign]
    run()


def test_a_run_without_peft_does_not_begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"pip install 'mmupt\[lora\]'"):
        stages_in(tmp_path, Config(lora=LORA))
    stages_in(tmp_path, Config())
