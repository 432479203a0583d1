"""TRL's own GRPOTrainer on the groups of `conformance`: its advantages are those of every engine.

Only what the model would have written is put in its place; rewards, their gathering and the
advantages are TRL's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from conformance import BATCHES, CUT, SCALES, Batch, expected_advantages

from mmupt import partition
from mmupt.errors import ConfigError
from mmupt.trl.reward import MajorityVoteReward, Voted
from mmupt.trl.settings import trl_arguments

pytest.importorskip("trl")
pytest.importorskip("datasets")


def model(tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
            num_attention_heads=1, pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip


def run(batch: Batch, scale: str, folder: Path) -> tuple[list[Voted], list[list[float]]]:
    """A step of TRL: what was voted, and the advantages of each group."""
    import datasets
    from trl import GRPOConfig, GRPOTrainer

    config, tokenizer = batch.config(scale), tiny.byte_tokenizer()
    tokenizer.model_max_length = 1024
    said = [tokens(tokenizer, reply) for case in batch.cases for reply in case.replies]
    voted: list[Voted] = []
    advantages: list[float] = []

    class Trainer(GRPOTrainer):  # type: ignore[misc]
        def _generate_single_turn(self, *args: Any, **more: Any) -> Any:
            return said, None

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            scored = super()._generate_and_score_completions(inputs)
            advantages.extend(scored["advantages"].tolist())
            return scored

    arguments = trl_arguments(config, folder, seed=1, processes=1, cpu=True)
    arguments |= {"max_steps": 1, "save_strategy": "no", "beta": 0.0}
    rows = [
        {"prompt": case.problem, "problem": case.problem, "group": i}
        for i, case in enumerate(batch.cases)
    ]
    Trainer(
        model=model(tokenizer),
        reward_funcs=MajorityVoteReward(
            config.consensus, num_generations=batch.size, end_ids=[tokenizer.eos_token_id],
            told=voted.extend, unkept=None if scale == "batch" else 0.0,
        ),
        args=GRPOConfig(**arguments),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    ).train()  # fmt: skip
    size = batch.size
    return voted, [advantages[i : i + size] for i in range(0, len(advantages), size)]


def tokens(tokenizer: Any, reply: str) -> list[int]:
    """Its bytes and the end of turn; a cut reply has no end, and at least one token."""
    ids: list[int] = tokenizer(reply.removesuffix(CUT), add_special_tokens=False)["input_ids"]
    if not reply.endswith(CUT):
        return [*ids, tokenizer.eos_token_id]
    return ids or [tokenizer.bos_token_id]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: batch.name)
def test_a_step_of_trl(batch: Batch, scale: str, tmp_path: Path) -> None:
    voted, advantages = run(batch, scale, tmp_path)
    kind = batch.config().consensus.kind
    for group, case in zip(voted, batch.cases, strict=True):
        answers = [reply.answer for reply in group.replies]
        assert tuple(partition(answers, kind=kind)) == case.classes
        assert (group.label.answer, group.label.share) == (case.label, case.share)
        assert group.label.kept is case.kept
        assert group.rewards == pytest.approx(case.rewards, abs=1e-12)
    # TRL reckons in float32.
    for got, expected in zip(advantages, expected_advantages(batch, scale), strict=True):
        assert got == pytest.approx(expected, abs=1e-5)


def test_strategies_that_a_reward_function_cannot_serve() -> None:
    batch = BATCHES[0]
    for name in ("weighted", "restrain"):
        other = Batch(name, batch.cases, (f"consensus.strategy={name}",))
        with pytest.raises(ConfigError, match=name):
            MajorityVoteReward(other.config().consensus)
