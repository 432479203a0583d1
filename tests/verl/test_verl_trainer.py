"""verl itself takes what we give it: settings, questions, trainer, and a step's advantages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from conformance import BATCHES, CUT, Batch, expected_advantages

from mmupt.config import dump_config, load_config
from mmupt.types import Sample
from mmupt.verl.settings import TRAINER, Place, overrides, refuse_what_verl_has_not
from mmupt.verl.table import write_table

pytestmark = pytest.mark.filterwarnings("ignore")
verl = pytest.importorskip("verl.protocol")  # this folder, too, can be found as "verl"

SETTINGS = ["consensus.teacher=online", "guard.action=none", "train.scale_rewards=batch"]


def place(folder: Path) -> Place:
    out = folder / "a run's own, place=1"
    return Place(
        folder / "model", out / "verl" / "unlabelled.parquet", out / "config.yaml",
        Path("zero.py"), out, nnodes=2, n_gpus_per_node=4,
    )  # fmt: skip


def composed(words: list[str]) -> Any:
    import verl.trainer.main_ppo as main
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(Path(main.__file__).parent / "config"), version_base=None):
        return compose("ppo_trainer", overrides=[w for w in words if not w.startswith("hydra.")])


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["train.loss_type=dr_grpo", "train.beta=0.02", "train.delta=4", "train.epsilon_high=0.28"],
        ["train.loss_type=grpo", "train.importance_sampling_level=sequence",
         "train.num_mini_batches=2", "train.num_iterations=3", "train.lr_scheduler_type=cosine"],
    ],
)  # fmt: skip
def test_verl_composes_and_validates_our_settings(more: list[str], tmp_path: Path) -> None:
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    config, where = load_config(None, [*SETTINGS, *more]), place(tmp_path)
    refuse_what_verl_has_not(config)
    found = composed(overrides(config, where))
    validate_config(found, need_reference_policy(found), need_critic(found))
    assert not need_critic(found)
    assert need_reference_policy(found) is bool(config.train.beta)
    actor, train = found.actor_rollout_ref.actor, config.train
    assert (actor.optim.lr, actor.kl_loss_coef) == (train.learning_rate, train.beta)
    assert actor.ppo_mini_batch_size * train.num_mini_batches == train.prompts_per_step
    assert actor.clip_ratio_c == (train.delta or 1e9)
    assert found.actor_rollout_ref.rollout.n == train.num_generations
    assert found.actor_rollout_ref.rollout.top_k == -1
    assert found.data.train_files == str(where.table)  # quotes, spaces, commas and all
    assert found.mmupt.out == str(where.out)
    assert found.trainer.v1.trainer_mode == TRAINER
    env = found.ray_kwargs.ray_init.runtime_env.env_vars
    assert env.VERL_USE_EXTERNAL_MODULES == "mmupt.verl.trainer"


def test_losses_of_verl_mean_what_ours_do() -> None:
    """Means over tokens, over completions' means, and over completions of a constant length."""
    from verl.trainer.ppo.core_algos import agg_loss

    from mmupt.verl.settings import AGGREGATED

    losses = torch.tensor([[1.0, 2.0, 9.0], [3.0, 9.0, 9.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    expected = {"dapo": 6 / 3, "grpo": (1.5 + 3) / 2, "dr_grpo": 6 / (2 * 8)}
    for name, mode in AGGREGATED.items():
        scale = 8 if name == "dr_grpo" else None
        found = agg_loss(losses, mask, mode, loss_scale_factor=scale)
        assert found.item() == pytest.approx(expected[name])


def test_verl_reads_our_questions(tmp_path: Path) -> None:
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset

    tiny.picture(3, 30, 24).save(tmp_path / "a.png")
    samples = [
        Sample("one", "Look: <image>\nhow many?", (tmp_path / "a.png",)),
        Sample("two", "<image><image> the same?", (tmp_path / "a.png",) * 2),
        Sample("three", "no picture, 3 + 4?"),
    ]
    table = tmp_path / "deep" / "rows.parquet"
    assert write_table(table, samples) == 3
    assert [p.name for p in table.parent.iterdir()] == ["rows.parquet"]
    processor = type("Processor", (), {"image_processor": None})()
    data = RLHFDataset(
        str(table), tiny.byte_tokenizer(),
        OmegaConf.create({
            "image_key": "images", "filter_overlong_prompts": False, "return_raw_chat": True,
            "cache_dir": str(tmp_path / "cache"), "return_multi_modal_inputs": False,
        }),
        processor,
    )  # fmt: skip
    rows = [data[i] for i in range(3)]
    (message,) = rows[0]["raw_prompt"]
    assert message["role"] == "user"
    text, picture, rest = message["content"]
    assert (text["text"], rest["text"]) == ("Look:", "how many?")
    shown = picture["image"]
    assert shown.tobytes() == tiny.picture(3, 30, 24).tobytes()
    assert [part["type"] for part in rows[1]["raw_prompt"][0]["content"]] == [
        "image",
        "image",
        "text",
    ]
    assert [row["extra_info"]["id"] for row in rows] == ["one", "two", "three"]
    assert rows[0]["extra_info"]["problem"] == samples[0].problem
    assert {row["reward_model"]["ground_truth"] for row in rows} == {""}


def test_the_reward_function_that_verl_loads() -> None:
    from omegaconf import OmegaConf
    from verl.trainer.ppo.reward import get_custom_reward_fn

    from mmupt.verl import zero

    function = {"path": zero.__file__, "name": "compute_score"}
    score = get_custom_reward_fn(OmegaConf.create({"reward": {"custom_reward_function": function}}))
    assert score(data_source="mmupt", solution_str="4", ground_truth="", extra_info={}) == 0.0


def test_a_process_of_verl_knows_the_trainer() -> None:
    run = subprocess.run(
        [sys.executable, "-c",
         "import verl; from verl.trainer.ppo.v1 import get_trainer_cls as g; print(g('mmupt'))"],
        env={**os.environ, "VERL_USE_EXTERNAL_MODULES": "mmupt.verl.trainer"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "mmupt.verl.trainer.MajorityVoteTrainer" in run.stdout


@pytest.fixture(scope="module")
def queue() -> Iterator[None]:
    """A TransferQueue on a Ray of this machine."""
    import ray
    import transfer_queue as tq
    from omegaconf import OmegaConf

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    found = composed(
        [
            "transfer_queue.enable=true",
            "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        ]
    )
    tq.init(OmegaConf.create(OmegaConf.to_container(found.transfer_queue)))
    yield
    tq.close()
    ray.shutdown()


def nested(rows: list[list[float]], dtype: torch.dtype) -> Any:
    return torch.nested.as_nested_tensor(
        [torch.tensor(row, dtype=dtype) for row in rows], layout=torch.jagged
    )


@pytest.mark.parametrize("scale", ["none", "batch"])
def test_a_step_through_transfer_queue(queue: None, scale: str, tmp_path: Path) -> None:
    """`_compute_advantage` on what verl's rollouts put there, and what its update reads."""
    import transfer_queue as tq
    from omegaconf import OmegaConf
    from tensordict import TensorDict
    from tensordict.tensorclass import NonTensorStack
    from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size

    from mmupt.verl.trainer import Judge, MajorityVoteTrainer

    batch = next(b for b in BATCHES if b.name == "labels below the bar are not trained on")
    settings = ["guard.action=none", f"train.scale_rewards={scale}"]
    config = Batch(batch.name, batch.cases, (*batch.settings, *settings)).config(scale)
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    tokenizer = tiny.byte_tokenizer()
    keys, uids, about, replies = [], [], [], []
    for session in range(batch.size):
        for number, case in enumerate(batch.cases):
            text = case.replies[session]
            ids = tokenizer(text.removesuffix(CUT), add_special_tokens=False)["input_ids"]
            keys.append(f"u{number}_{session}_0")
            uids.append(f"u{number}")
            about.append({"id": str(number), "problem": case.problem})
            replies.append(ids + ([] if text.endswith(CUT) else [tokenizer.eos_token_id]))
    fields = TensorDict(
        {
            "uid": NonTensorStack(*uids), "extra_info": NonTensorStack(*about),
            "responses": nested(replies, torch.int64),
            "response_mask": nested([[1] * len(r) for r in replies], torch.int64),
            "rm_scores": nested([[0.0] * len(r) for r in replies], torch.float32),
            "rollout_log_probs": nested([[-1.0] * len(r) for r in replies], torch.float32),
            "old_log_probs": nested([[-1.0] * len(r) for r in replies], torch.float32),
        },
        batch_size=len(keys),
    )  # fmt: skip
    meta = tq.kv_batch_put(
        keys=keys, partition_id=f"train-{scale}", fields=fields, tags=[{} for _ in keys]
    )
    # As verl makes a batch divisible: rows that nobody wrote.
    meta = upsample_batch_to_divisible_size(meta, len(keys) + 1, tokenizer.eos_token_id)
    keys = meta.keys
    trainer = object.__new__(MajorityVoteTrainer)
    trainer.judge, trainer.tokenizer, trainer.global_steps = (
        Judge(tmp_path / "config.yaml", tmp_path), tokenizer, 7,
    )  # fmt: skip
    trainer.config = OmegaConf.create(
        {"algorithm": {"rollout_correction": None},
         "actor_rollout_ref": {"model": {"path": str(tmp_path)}}}
    )  # fmt: skip
    metrics: dict[str, Any] = {}
    trainer._compute_advantage(meta, metrics)
    back = tq.kv_batch_get(
        keys=keys, partition_id=f"train-{scale}", select_fields=["advantages", "rm_scores"]
    )
    expected = expected_advantages(batch, scale)
    for row, (got, score) in enumerate(
        zip(back["advantages"].unbind(), back["rm_scores"].unbind(), strict=True)
    ):
        if row == len(replies):
            assert not got.any()
            break
        session, number = divmod(row, len(batch.cases))
        assert got.shape == score.shape == (len(replies[row]),)
        assert torch.allclose(got, torch.full_like(got, expected[number][session]), atol=1e-5)
        assert score.sum().item() == pytest.approx(batch.cases[number].rewards[session])
    assert metrics["mmupt/kept"] == 0.5
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(e["type"], e["step"], e["engine"]) for e in events] == [("grpo_step", 7, "verl")]
    assert (tmp_path / "rollouts" / "round-1-000007.parquet").is_file()


@pytest.mark.parametrize("scaled", [False, True])
def test_verl_s_own_estimator_on_our_rewards(scaled: bool) -> None:
    """Where the definitions are the same, verl reckons the same (its epsilon is 1e-6)."""
    from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

    for batch in BATCHES:
        kept = [case for case in batch.cases if case.kept]
        rewards = torch.tensor([case.rewards for case in kept], dtype=torch.float32)
        mask = torch.ones(rewards.numel(), 1)
        index = np.repeat(np.arange(len(kept)), batch.size)
        found, _ = compute_grpo_outcome_advantage(
            rewards.reshape(-1, 1), mask, index, norm_adv_by_std_in_grpo=scaled
        )
        ours = expected_advantages(batch, "group" if scaled else "none", epsilon=1e-6)
        wanted = [a for case, a in zip(batch.cases, ours, strict=True) if case.kept]
        assert torch.allclose(found.reshape(-1, batch.size), torch.tensor(wanted), atol=1e-4)
