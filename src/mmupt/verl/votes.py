"""Group votes, rewards and advantages on a `DataProto` of verl."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmupt.asking.answers import Reply, final_answer
from mmupt.asking.prompt import Prompt
from mmupt.config import Config
from mmupt.errors import ConfigError
from mmupt.train.judge import Judged, reward
from mmupt.train.labels import Label, label_by_vote
from mmupt.train.rollout import Group
from mmupt.types import Completion, Finish, Sample


def vote_on_batch(
    data: Any,
    tokenizer: Any,
    config: Config,
    end_ids: Sequence[int],
    *,
    labels: Callable[[Sequence[Sample]], Sequence[Label]] | None = None,
    samples: Mapping[str, Sample] | None = None,
) -> list[Judged]:
    """Vote on the groups of a batch and write its rewards and advantages, in place.

    Args:
        data: a DataProto of B rows of at most T tokens, one turn each: `responses` (B, T),
            `response_mask` (B, T), `uid` (which group) and `extra_info` with `id` and `problem`.
            Rows without a single token in their mask are verl's padding and are left alone.
            Gets `token_level_scores` and `token_level_rewards` (B, T), the reward at each row's
            last token, and `advantages` and `returns` (B, T).
        tokenizer: decodes responses.
        config: sections `consensus` and `train`; groups whose label is not kept have no advantage.
        end_ids: tokens that end a turn; a response that ends with none of them abstains.
        labels: labels from elsewhere, such as recorded votes of a teacher; None: the groups vote.
        samples: the questions by id, for records; None: made of `extra_info`.

    Returns:
        The groups, in the order in which they appear.

    Raises:
        ConfigError: a group of another size than `train.num_generations`, a teacher other than
            `online` without `labels`, or a strategy that needs what is not in a batch.
    """
    import torch

    if config.consensus.strategy.name in ("weighted", "dual", "harmony"):
        raise ConfigError(
            f"consensus.strategy {config.consensus.strategy.name} is not offered with verl; "
            "take majority"
        )
    if labels is None and config.consensus.teacher != "online":
        raise ConfigError(
            f"consensus.teacher is {config.consensus.teacher!r}, but the groups of a batch of verl "
            "vote themselves; set it to online"
        )
    ends = frozenset(end_ids)
    mask_BT = data.batch["response_mask"]
    uids, about = data.non_tensor_batch["uid"], data.non_tensor_batch["extra_info"]
    places: dict[str, list[int]] = {}
    for row, length in enumerate(mask_BT.sum(-1).tolist()):
        if length:
            places.setdefault(str(uids[row]), []).append(row)
    groups, replies, asked = [], [], []
    for name, rows in places.items():
        if len(rows) != config.train.num_generations:
            raise ConfigError(
                f"group {name[:80]!r} has {len(rows)} responses, expected train.num_generations "
                f"({config.train.num_generations})"
            )
        told = about[rows[0]]
        sample = (samples or {}).get(str(told["id"])) or Sample(
            str(told["id"]), str(told["problem"])
        )
        prompt, own = Prompt(sample.problem, ()), []
        for row in rows:
            ids = tuple(data.batch["responses"][row][mask_BT[row].bool()].tolist())
            text = tokenizer.decode(ids, skip_special_tokens=True)
            finish = Finish.STOP if ids[-1] in ends else Finish.LENGTH
            one = Completion(text, ids, (), finish)
            own.append(Reply(one, final_answer(one, prompt, config.consensus.kind)))
        asked.append(sample)
        replies.append(own)
        groups.append(Group(sample, (), tuple(reply.completion for reply in own)))
    if labels is None:
        found: Sequence[Label] = label_by_vote(replies, asked, config.consensus)
    else:
        found = labels(asked)
    judged = reward(groups, found, replies, config)
    rewards_BT = torch.zeros(mask_BT.shape)
    advantages_BT = torch.zeros(mask_BT.shape)
    for rows, group in zip(places.values(), judged, strict=True):
        scored = zip(rows, group.rewards, group.scored.advantages_G.tolist(), strict=True)
        for row, got, advantage in scored:
            rewards_BT[row, int(mask_BT[row].nonzero()[-1])] = got
            advantages_BT[row] = advantage * mask_BT[row]
    data.batch["token_level_scores"] = rewards_BT
    data.batch["token_level_rewards"] = rewards_BT.clone()
    data.batch["advantages"] = advantages_BT
    data.batch["returns"] = advantages_BT.clone()
    return judged
