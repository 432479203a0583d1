"""A trainer of verl whose rewards are group votes; registered by importing this module.

    VERL_USE_EXTERNAL_MODULES=mmupt.verl.trainer python -m verl.trainer.main_ppo \
        trainer.v1.trainer_mode=mmupt +mmupt.config=config.yaml +mmupt.out=runs/verl ...

It is verl's synchronous trainer (0.9.1) but for the advantages: those are ours, of whole groups, in
one place. Only what `_compute_advantage` reads and writes is relied on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transfer_queue as tq
from omegaconf import open_dict
from tensordict import TensorDict
from verl.protocol import DataProto
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.workers.utils.padding import response_to_nested

from mmupt.config import Config, load_config
from mmupt.errors import ConfigError
from mmupt.events import EventLog
from mmupt.train.judge import Judged, summarise
from mmupt.train.labels import Label, label_by_vote
from mmupt.train.recorded import recorded_of
from mmupt.train.records import write_rollouts
from mmupt.train.update import UpdateStats
from mmupt.types import Sample
from mmupt.verl.settings import TRAINER, refuse_what_verl_has_not
from mmupt.verl.votes import vote_on_batch

STAGE = "round-1"
FIELDS = (
    "uid", "extra_info", "responses", "response_mask", "rollout_log_probs", "old_log_probs",
    "ref_log_prob",
)  # fmt: skip


@register_trainer(TRAINER)
class MajorityVoteTrainer(PPOTrainerSync):  # type: ignore[misc]
    """verl's synchronous trainer with majority votes as rewards (MM-UPT, arXiv 2505.22453)."""

    def __init__(self, config: Any) -> None:
        if config.get("mmupt") is None:
            raise ConfigError(
                "trainer.v1.trainer_mode=mmupt needs +mmupt.config=FILE and +mmupt.out=FOLDER; "
                "`mmupt launch --engine verl` gives them"
            )
        self.judge = Judge(Path(config.mmupt.config), Path(config.mmupt.out))
        with open_dict(config):
            # verl's own parts ask for this name, and ours is of that kind.
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        """Votes, rewards and advantages of a step, from TransferQueue and back into it."""
        fields = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=list(FIELDS)
        )
        nested_mask = fields["response_mask"]
        data = as_proto(fields)
        figures = self.judge.step(data, self.tokenizer, self.stops(), self.global_steps)
        metrics.update({f"mmupt/{name}": value for name, value in figures.items()})
        written = ["rm_scores", "advantages", "returns"]
        data.batch["rm_scores"] = data.batch["token_level_rewards"]
        correction = self.config.algorithm.get("rollout_correction", None)
        if (
            correction is not None
            and "rollout_log_probs" in data.batch
            and not correction.get("bypass_mode", False)
        ):
            data, told = compute_rollout_correction_and_add_to_batch(data, correction)
            metrics.update(told)
            written.append("response_mask")
            if "rollout_is_weights" in data.batch:
                written.append("rollout_is_weights")
        output = TensorDict(
            {name: response_to_nested(data.batch[name], nested_mask) for name in written},
            batch_size=len(batch),
        )
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=output)

    def stops(self) -> list[int]:
        """Tokens that end a turn: the tokenizer's, and those of the model's generation settings."""
        from transformers import GenerationConfig

        try:
            kept = GenerationConfig.from_pretrained(self.config.actor_rollout_ref.model.path)
        except OSError:
            return [self.tokenizer.eos_token_id]
        more = kept.eos_token_id if kept.eos_token_id is not None else []
        return [self.tokenizer.eos_token_id, *([more] if isinstance(more, int) else more)]


class Judge:
    """Votes on a step's groups and keeps its records.

    Args:
        config_path: our settings, YAML.
        out: folder of `events.jsonl` and `rollouts/`.

    Raises:
        ConfigError: settings that verl has not.
        InputError: recorded votes that cannot be read.
    """

    def __init__(self, config_path: Path, out: Path) -> None:
        self.config: Config = load_config(config_path)
        refuse_what_verl_has_not(self.config)
        self.out = out
        self.log = EventLog(out / "events.jsonl")
        votes = self.config.consensus.votes
        self._recorded = None if votes is None else recorded_of(self.config.consensus)
        self.samples = self._read() if self._recorded is not None else {}
        self._started = time.perf_counter()

    def step(
        self, data: Any, tokenizer: Any, end_ids: Sequence[int], step: int
    ) -> dict[str, float]:
        """Write rewards and advantages into `data` (`vote_on_batch`); the figures of its votes."""
        judged = vote_on_batch(
            data, tokenizer, self.config, end_ids,
            labels=None if self._recorded is None else self._labels, samples=self.samples,
        )  # fmt: skip
        figures = _figures(judged)
        write_rollouts(self.out / "rollouts", STAGE, step, judged)
        self.log.emit(
            "grpo_step", stage=STAGE, step=step, engine="verl", **figures,
            seconds=time.perf_counter() - self._started,
        )  # fmt: skip
        self._started = time.perf_counter()
        return {name: float(value) for name, value in figures.items()}

    def _labels(self, samples: Sequence[Sample]) -> list[Label]:
        assert self._recorded is not None  # noqa: S101
        return label_by_vote(self._recorded.replies(samples), samples, self.config.consensus)

    def _read(self) -> dict[str, Sample]:
        """The questions themselves: recorded votes are of these very pictures."""
        from mmupt.data.sources import read_samples

        data = self.config.data
        assert data.unlabelled is not None  # noqa: S101
        rows = read_samples(data.unlabelled, data_root=data.root, skip_bad=data.skip_bad).rows
        return {sample.id: sample for sample in rows}


OF_THE_UPDATE = ("loss", "entropy", "kl", "clip_fraction", "grad_norm")
"""Figures that verl tells itself."""


def _figures(judged: Sequence[Judged]) -> dict[str, Any]:
    figures = summarise(judged, UpdateStats())
    kept = {name: value for name, value in figures.items() if name not in OF_THE_UPDATE}
    return {**kept, "prompts": len(judged)}


def as_proto(fields: Any) -> Any:
    """A DataProto of what TransferQueue holds: tensors padded with 0, the rest as objects."""
    import tensordict

    fields = fields.clone(recurse=False)
    objects = {}
    for name in ("uid", "extra_info"):
        values = fields.pop(name).tolist()
        objects[name] = np.fromiter(values, dtype=object, count=len(values))
    assert isinstance(fields, tensordict.TensorDictBase)  # noqa: S101
    padded = fields.to_padded_tensor(padding=0)
    padded["response_mask"] = padded["response_mask"].to(torch.int64)
    return DataProto(batch=padded, non_tensor_batch=objects)
