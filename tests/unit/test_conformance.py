"""The local engine on the groups of `conformance`: classes, votes, rewards, advantages."""

from __future__ import annotations

import pytest
from conformance import BATCHES, SCALES, Batch, expected_advantages

from mmupt import partition
from mmupt.asking.answers import Reply, final_answer
from mmupt.asking.prompt import Prompt
from mmupt.train.judge import Judged, reward
from mmupt.train.labels import label_by_vote
from mmupt.train.rollout import Group
from mmupt.types import Completion, Finish, Sample


def judged(batch: Batch, scale: str) -> list[Judged]:
    config = batch.config(scale)
    samples = [Sample(str(i), one.problem) for i, one in enumerate(batch.cases)]
    groups, replies = [], []
    for sample, one in zip(samples, batch.cases, strict=True):
        completions = tuple(
            Completion(text, (1,), (0.0,), Finish.LENGTH if cut else Finish.STOP)
            for text, cut in zip(one.texts, one.truncated, strict=True)
        )
        prompt = Prompt(sample.problem, ())
        groups.append(Group(sample, (), completions))
        replies.append(
            [Reply(c, final_answer(c, prompt, config.consensus.kind)) for c in completions]
        )
    labels = label_by_vote(replies, samples, config.consensus)
    return reward(groups, labels, replies, config)


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: batch.name)
def test_votes_and_rewards(batch: Batch) -> None:
    consensus = batch.config().consensus
    for one, expected in zip(judged(batch, "group"), batch.cases, strict=True):
        assert tuple(partition(one.answers, kind=consensus.kind)) == expected.classes
        assert (one.label.answer, one.label.share) == (expected.label, expected.share)
        assert one.label.kept is expected.kept
        assert one.rewards == pytest.approx(expected.rewards, abs=1e-12)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: batch.name)
def test_advantages(batch: Batch, scale: str) -> None:
    found = [one.scored.advantages_G.tolist() for one in judged(batch, scale)]
    for got, expected in zip(found, expected_advantages(batch, scale), strict=True):
        assert got == pytest.approx(expected, abs=1e-9)
    for got, by_hand in zip(found, batch.by_hand.get(scale, ()), strict=False):
        assert got == pytest.approx(by_hand, abs=1e-5)
