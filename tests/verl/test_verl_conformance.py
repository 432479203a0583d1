"""Votes, rewards and advantages on a real DataProto are those of every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
import torch
from conformance import BATCHES, CUT, SCALES, Batch, expected_advantages

from mmupt import partition
from mmupt.errors import ConfigError
from mmupt.verl.votes import vote_on_batch

pytestmark = pytest.mark.filterwarnings("ignore")
verl = pytest.importorskip("verl.protocol")  # this folder, too, can be found as "verl"


def batch_of(batch: Batch, tokenizer: Any) -> Any:
    """The replies as verl has them, groups interleaved, and a padding row at the end."""
    rows, uids, about = [], [], []
    for reply in range(batch.size):
        for number, case in enumerate(batch.cases):
            text = case.replies[reply]
            ids = tokenizer(text.removesuffix(CUT), add_special_tokens=False)["input_ids"]
            end = [] if text.endswith(CUT) else [tokenizer.eos_token_id]
            rows.append([*ids, *end] or [tokenizer.bos_token_id])
            uids.append(f"g{number}")
            about.append({"id": str(number), "problem": case.problem})
    rows.append([])
    width = max(map(len, rows))
    return verl.DataProto.from_single_dict(
        {
            "responses": torch.tensor(
                [r + [tokenizer.eos_token_id] * (width - len(r)) for r in rows]
            ),
            "response_mask": torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows]),
            "uid": np.array([*uids, "pad"], dtype=object),
            "extra_info": np.array([*about, {}], dtype=object),
        }
    )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: batch.name)
def test_a_batch_of_verl(batch: Batch, scale: str) -> None:
    tokenizer, config = tiny.byte_tokenizer(), batch.config(scale)
    data = batch_of(batch, tokenizer)
    judged = vote_on_batch(data, tokenizer, config, [tokenizer.eos_token_id])
    mask, count = data.batch["response_mask"], len(batch.cases)
    expected = expected_advantages(batch, scale)
    for number, (group, case) in enumerate(zip(judged, batch.cases, strict=True)):
        assert tuple(partition(group.answers, kind=config.consensus.kind)) == case.classes
        assert (group.label.answer, group.label.share) == (case.label, case.share)
        assert group.label.kept is case.kept
        rows = [reply * count + number for reply in range(batch.size)]
        rewards = data.batch["token_level_rewards"][rows].sum(-1).tolist()
        assert rewards == pytest.approx(case.rewards, abs=1e-6)
        for row, advantage in zip(rows, expected[number], strict=True):
            assert torch.allclose(data.batch["advantages"][row], advantage * mask[row], atol=1e-5)
    assert not data.batch["advantages"][-1].any()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("consensus.teacher=frozen", "teacher is 'frozen'.*set it to online"),
        ("consensus.strategy=weighted", "strategy weighted is not offered"),
        ("train.num_generations=5", "group 'g0' has 4 responses"),
    ],
)
def test_what_a_batch_cannot_serve_is_refused(setting: str, said: str) -> None:
    one, tokenizer = BATCHES[0], tiny.byte_tokenizer()
    config = Batch(one.name, one.cases, (setting,)).config()
    with pytest.raises(ConfigError, match=said):
        vote_on_batch(batch_of(one, tokenizer), tokenizer, config, [tokenizer.eos_token_id])
