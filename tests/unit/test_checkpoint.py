"""A run that was stopped and started again ends with the weights of one that was not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from mmupt.asking.maker import PromptMaker
from mmupt.config import Config, SftConfig
from mmupt.data.views import ViewsConfig
from mmupt.errors import RunFolderError
from mmupt.events import Event, EventLog
from mmupt.policy.model import Policy, load_policy
from mmupt.processes import Processes
from mmupt.train import checkpoint
from mmupt.train.checkpoint import load_state, save_state, weights
from mmupt.train.grpo import train_label_free
from mmupt.train.optim import make_optimizer
from mmupt.train.sft import run_sft
from mmupt.train.stage import Run
from mmupt.types import LabelledSample, Sample

Whole = Callable[[str], tuple[Policy, list[Event], Path]]
"""Policy, events and folder of an uninterrupted round, by its teacher."""

STEPS = 5
SAVE_STEPS = 2


class Killed(Exception):  # noqa: N818
    """Stands for the signal; nothing in the package may catch it."""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Five questions about pictures, one without; files on disk as a user has them."""
    root = tmp_path_factory.mktemp("pictures")
    made = []
    for i in range(5):
        path = root / f"{i}.png"
        tiny.picture(50 + i, 30, 24 + i).save(path)
        made.append(Sample(f"s{i}", f"<image>read {i * 'on '}?", (path,)))
    return [*made, Sample("s5", "no picture here")]


def config_for(teacher: str) -> Config:
    """With a reference, mini-batches and warm-up, which all must find their places again."""
    return tiny.round_config(teacher, save_steps=SAVE_STEPS, max_steps=STEPS)


def label_free(
    talker: Path, samples: Sequence[Sample], out: Path, teacher: str, die_at: int | None = None
) -> tuple[Policy, list[Event]]:
    """One process: the model from its folder, the round as far as it gets."""
    config, events = config_for(teacher), []
    policy = load_policy(talker, device="cpu")
    run = Run(
        config=config,
        prompts=PromptMaker(config.views, max_pixels=10_000, seed=config.seed),
        log=EventLog(out / "events.jsonl", (events.append, dying(die_at))),
        stage="round-1",
        key=1,
        state_dir=out / "state",
        rollouts_dir=out / "rollouts",
    )
    train_label_free(policy, samples, run)
    return policy, events


def sft(
    talker: Path, samples: Sequence[Sample], out: Path, die_at: int | None = None
) -> tuple[Policy, list[Event]]:
    rows = [
        LabelledSample(s, str(i), None if i % 2 else f"it is \\boxed{{{i}}}")
        for i, s in enumerate(samples)
    ]
    events: list[Event] = []
    policy = load_policy(talker, device="cpu")
    run_sft(
        policy,
        rows,
        SftConfig(
            learning_rate=3e-3,
            num_train_epochs=STEPS * 4 / 6,
            per_device_train_batch_size=4,
            augment=True,
        ),
        PromptMaker(ViewsConfig(), max_pixels=10_000, seed=0),
        EventLog(out / "events.jsonl", (events.append, dying(die_at))),
        state_dir=out / "state",
        save_steps=SAVE_STEPS,
        seed=4,
    )
    return policy, events


def dying(step: int | None) -> Callable[[Event], None]:
    """Dies when the event of `step` is told: after its update, before its state is saved."""

    def listener(event: Event) -> None:
        if event["type"].endswith("_step") and event["step"] == step:
            raise Killed

    return listener


def steps_of(events: Sequence[Event]) -> list[Any]:
    return [e["step"] for e in events if e["type"].endswith("_step")]


def expected_resume(die_at: int) -> int:
    """The last point saved before the death: steps 2 and 4, each saved after its event."""
    return max([0, *(s for s in (2, 4) if s < die_at)])


# Supervised fine-tuning


@pytest.fixture(scope="module")
def whole_sft(
    talker: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory
) -> Policy:
    """Uninterrupted."""
    policy, events = sft(talker, samples, tmp_path_factory.mktemp("sft"))
    assert steps_of(events) == [1, 2, 3, 4, 5]
    assert not tiny.same_weights(policy.model, load_policy(talker, device="cpu").model)
    return policy


@pytest.mark.parametrize("die_at", [1, 2, 3, 5])
def test_sft_goes_on_bit_for_bit(
    whole_sft: Policy, talker: Path, samples: list[Sample], tmp_path: Path, die_at: int
) -> None:
    with pytest.raises(Killed):
        sft(talker, samples, tmp_path, die_at)
    again, events = sft(talker, samples, tmp_path)
    assert steps_of(events)[0] == expected_resume(die_at) + 1
    assert tiny.same_weights(again.model, whole_sft.model)


# Label-free rounds


@pytest.fixture(scope="module")
def whole(talker: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Uninterrupted rounds, one for each kind of teacher."""
    made: dict[str, tuple[Policy, list[Event], Path]] = {}

    def get(teacher: str) -> tuple[Policy, list[Event], Path]:
        if teacher not in made:
            out = tmp_path_factory.mktemp(teacher)
            made[teacher] = (*label_free(talker, samples, out, teacher), out)
        return made[teacher]

    return get


@pytest.mark.parametrize("teacher", ["frozen", "ema", "online"])
def test_the_rounds_under_test_learn_something(whole: Whole, talker: Path, teacher: str) -> None:
    """Control: a round that skipped every group would be resumed bit for bit by doing nothing."""
    policy, events, _ = whole(teacher)
    assert steps_of(events) == [1, 2, 3, 4, 5]
    steps = [e for e in events if e["type"] == "grpo_step"]
    assert all(e["grad_norm"] > 0 for e in steps)
    assert all(0 < e["reward_mean"] < 1 for e in steps)
    assert any(e["kl"] > 0 for e in steps)
    assert not tiny.same_weights(policy.model, load_policy(talker, device="cpu").model)


def test_the_teachers_differ(whole: Whole) -> None:
    """Control: were the moving average never moved, `ema` would pass as `frozen`."""
    assert not tiny.same_weights(whole("ema")[0].model, whole("frozen")[0].model)


@pytest.mark.parametrize(
    ("teacher", "die_at"), [("frozen", 1), ("frozen", 5), ("ema", 3), ("ema", 5), ("online", 4)]
)
def test_label_free_goes_on_bit_for_bit(
    whole: Whole, talker: Path, samples: list[Sample], tmp_path: Path, teacher: str, die_at: int
) -> None:
    """Weights and records: the rollouts of a repeated step replace those of the lost one."""
    with pytest.raises(Killed):
        label_free(talker, samples, tmp_path, teacher, die_at)
    again, events = label_free(talker, samples, tmp_path, teacher)
    assert steps_of(events)[0] == expected_resume(die_at) + 1
    policy, _, out = whole(teacher)
    assert tiny.same_weights(again.model, policy.model)
    names = [f"round-1-{step:06d}.parquet" for step in range(1, STEPS + 1)]
    for place in (out, tmp_path):
        assert sorted(path.name for path in (place / "rollouts").iterdir()) == names
    for name in names:
        one, other = (pq.read_table(place / "rollouts" / name) for place in (out, tmp_path))
        assert one.num_rows > 0
        assert one.equals(other)


def test_label_free_goes_on_after_several_deaths(
    whole: Whole, talker: Path, samples: list[Sample], tmp_path: Path
) -> None:
    for die_at in (3, 4, 5):
        with pytest.raises(Killed):
            label_free(talker, samples, tmp_path, "ema", die_at)
    again, events = label_free(talker, samples, tmp_path, "ema")
    assert steps_of(events) == [5]
    assert tiny.same_weights(again.model, whole("ema")[0].model)


@pytest.mark.parametrize("file_number", [2, 4, 5, 8])
def test_label_free_goes_on_after_a_death_while_saving(
    whole: Whole,
    talker: Path,
    samples: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file_number: int,
) -> None:
    """A point of a watched `ema` round has four tensor files: 1 to 4 of step 2, 5 to 8 of step 4."""
    written = []

    def torn(tensors: dict[str, torch.Tensor], path: Path) -> None:
        written.append(path)
        if len(written) == file_number:
            path.write_bytes(b"half a file")
            raise Killed
        save_file(tensors, path)

    save_file = checkpoint.save_file
    monkeypatch.setattr(checkpoint, "save_file", torn)
    with pytest.raises(Killed):
        label_free(talker, samples, tmp_path, "ema")
    assert len(written) == file_number
    monkeypatch.undo()
    again, events = label_free(talker, samples, tmp_path, "ema")
    assert steps_of(events)[0] == (1 if file_number <= 4 else 3)
    assert tiny.same_weights(again.model, whole("ema")[0].model)


# The points themselves


def trained(policy: Policy, steps: int) -> torch.optim.AdamW:
    """AdamW with moments that are not zero."""
    optimizer = make_optimizer(policy.model, 1e-2, 0.01)
    generator = torch.Generator().manual_seed(steps)
    for _ in range(steps):
        for parameter in policy.model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return optimizer


def test_a_point_restores_weights_moments_and_extra_models(talker: Path, tmp_path: Path) -> None:
    policy, teacher = (load_policy(talker, device="cpu") for _ in range(2))
    optimizer = trained(policy, 3)
    trained(teacher, 1)
    save_state(tmp_path / "state", 7, policy.model, optimizer, {"teacher": weights(teacher.model)})
    fresh, fresh_teacher = (load_policy(talker, device="cpu") for _ in range(2))
    fresh_optimizer = make_optimizer(fresh.model, 1e-2, 0.01)
    extra = {"teacher": weights(fresh_teacher.model)}
    assert load_state(tmp_path / "state", fresh.model, fresh_optimizer, extra) == (7, {})
    assert tiny.same_weights(fresh.model, policy.model)
    assert tiny.same_weights(fresh_teacher.model, teacher.model)
    assert not tiny.same_weights(fresh.model, fresh_teacher.model)
    for one, other in zip(policy.model.parameters(), fresh.model.parameters(), strict=True):
        left, right = optimizer.state[one], fresh_optimizer.state[other]
        assert left.keys() == right.keys() == {"step", "exp_avg", "exp_avg_sq"}
        for key, value in left.items():
            assert torch.equal(value, right[key])
            assert value.dtype == right[key].dtype
            assert value.shape == right[key].shape
    # The same next step from both.
    for p, o in ((policy, optimizer), (fresh, fresh_optimizer)):
        for parameter in p.model.parameters():
            parameter.grad = torch.ones_like(parameter)
        o.step()
    assert tiny.same_weights(fresh.model, policy.model)
    assert fresh.model.lm_head.weight is fresh.model.get_input_embeddings().weight  # still tied


def test_only_the_newest_point_is_kept(talker: Path, tmp_path: Path) -> None:
    policy = load_policy(talker, device="cpu")
    optimizer = make_optimizer(policy.model, 1e-2, 0.01)
    for step in (9, 10, 100):
        save_state(tmp_path, step, policy.model, optimizer, {})
        assert [p.name for p in tmp_path.iterdir()] == [f"{step:06d}"]
        assert load_state(tmp_path, policy.model, optimizer, {}) == (step, {})


def test_the_newest_of_several_points_counts(talker: Path, tmp_path: Path) -> None:
    """A death after a point was written and before the older one was deleted leaves both."""
    policy = load_policy(talker, device="cpu")
    optimizer = make_optimizer(policy.model, 1e-2, 0.01)
    save_state(tmp_path, 99, policy.model, optimizer, {})
    (tmp_path / "000099").rename(tmp_path.parent / "older")
    save_state(tmp_path, 100, policy.model, optimizer, {})
    (tmp_path.parent / "older").rename(tmp_path / "000099")
    assert load_state(tmp_path, policy.model, optimizer, {}) == (100, {})


def test_no_point_is_step_zero(talker: Path, tmp_path: Path) -> None:
    policy = load_policy(talker, device="cpu")
    before = tiny.weights(policy.model)
    optimizer = make_optimizer(policy.model, 1e-2, 0.01)
    assert load_state(tmp_path / "never made", policy.model, optimizer, {}) == (0, {})
    assert all(torch.equal(w, before[n]) for n, w in tiny.weights(policy.model).items())
    assert not optimizer.state


def test_incomplete_points_are_ignored(talker: Path, tmp_path: Path) -> None:
    """Folders without `state.json`, half-written ones under their temporary names, stray files."""
    policy = load_policy(talker, device="cpu")
    optimizer = trained(policy, 1)
    save_state(tmp_path, 4, policy.model, optimizer, {})
    kept = tiny.weights(policy.model)
    (tmp_path / "000006").mkdir()
    (tmp_path / "000006" / "model.safetensors").write_bytes(b"torn")
    (tmp_path / ".tmp-123").mkdir()
    (tmp_path / ".tmp-123" / "state.json").write_text(json.dumps({"step": 8}))
    (tmp_path / "000009").write_text("not a folder")
    (tmp_path / "notes").mkdir()
    fresh = load_policy(talker, device="cpu")
    assert load_state(tmp_path, fresh.model, make_optimizer(fresh.model, 1e-2, 0.01), {}) == (4, {})
    assert all(torch.equal(w, kept[n]) for n, w in tiny.weights(fresh.model).items())


def test_a_point_holds_no_duplicate_of_tied_weights(talker: Path, tmp_path: Path) -> None:
    policy = load_policy(talker, device="cpu")
    save_state(tmp_path, 1, policy.model, make_optimizer(policy.model, 1e-2, 0.0), {})
    names = load_file(tmp_path / "000001" / "model.safetensors").keys()
    assert "lm_head.weight" not in names
    assert "model.text_model.embed_tokens.weight" in names


def test_a_point_holds_what_is_trained(talker: Path, tmp_path: Path) -> None:
    """What is frozen is not saved; what was saved is found by its name, frozen now or not."""
    policy = load_policy(talker, device="cpu")
    policy.model.requires_grad_(False)
    head = policy.model.model.connector.modality_projection.proj
    head.requires_grad_(True)
    optimizer = make_optimizer(policy.model, 1e-2, 0.01)
    head.weight.grad = torch.ones_like(head.weight)
    optimizer.step()
    save_state(tmp_path, 1, policy.model, optimizer, {})
    name = "model.connector.modality_projection.proj.weight"
    assert load_file(tmp_path / "000001" / "model.safetensors").keys() == {name}
    moments = load_file(tmp_path / "000001" / "optimizer.safetensors")
    assert moments.keys() == {f"{name}.{kind}" for kind in ("step", "exp_avg", "exp_avg_sq")}
    frozen = load_policy(talker, device="cpu")
    frozen.model.requires_grad_(False)
    throwaway = torch.optim.SGD(frozen.model.parameters())
    assert load_state(tmp_path, frozen.model, throwaway, {}) == (1, {})
    assert tiny.same_weights(frozen.model, policy.model)


def test_moments_find_their_parameters_whatever_the_order(talker: Path, tmp_path: Path) -> None:
    policy, fresh = (load_policy(talker, device="cpu") for _ in range(2))
    optimizer = trained(policy, 2)
    save_state(tmp_path, 1, policy.model, optimizer, {})
    turned = torch.optim.AdamW(list(fresh.model.parameters())[::-1])
    load_state(tmp_path, fresh.model, turned, {})
    for one, other in zip(policy.model.parameters(), fresh.model.parameters(), strict=True):
        assert torch.equal(optimizer.state[one]["exp_avg"], turned.state[other]["exp_avg"])


def test_moments_by_number_are_still_read(talker: Path, tmp_path: Path) -> None:
    """Points of version 0.1: the key is the place of the parameter in the optimizer."""
    policy, fresh = (load_policy(talker, device="cpu") for _ in range(2))
    optimizer = trained(policy, 2)
    save_state(tmp_path, 1, policy.model, optimizer, {})
    numbered = {
        f"{place}.{kind}": value
        for place, parameter in enumerate(
            p for group in optimizer.param_groups for p in group["params"]
        )
        for kind, value in optimizer.state[parameter].items()
    }
    save_file(numbered, tmp_path / "000001" / "optimizer.safetensors")
    again = make_optimizer(fresh.model, 1e-2, 0.01)
    load_state(tmp_path, fresh.model, again, {})
    for one, other in zip(policy.model.parameters(), fresh.model.parameters(), strict=True):
        for kind, value in optimizer.state[one].items():
            assert torch.equal(value, again.state[other][kind])


def test_a_point_of_another_model_is_refused(talker: Path, tmp_path: Path) -> None:
    policy = load_policy(talker, device="cpu")
    optimizer = make_optimizer(policy.model, 1e-2, 0.01)
    save_state(tmp_path, 1, policy.model, optimizer, {})
    save_file({"elsewhere.weight": torch.ones(2)}, tmp_path / "000001" / "model.safetensors")
    with pytest.raises(RunFolderError, match="another model, such as elsewhere"):
        load_state(tmp_path, policy.model, optimizer, {})


def test_only_the_main_process_writes(talker: Path, tmp_path: Path) -> None:
    policy = load_policy(talker, device="cpu")
    optimizer = make_optimizer(policy.model, 1e-2, 0.01)
    save_state(tmp_path, 1, policy.model, optimizer, {}, processes=Processes(1, 2))
    assert list(tmp_path.iterdir()) == []
