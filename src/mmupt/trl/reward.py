"""Agreement with the majority as a reward function for TRL's GRPOTrainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmupt.asking.answers import Reply, final_answer
from mmupt.config import ConsensusConfig
from mmupt.config_votes import WeightedVote
from mmupt.errors import ConfigError
from mmupt.processes import Processes
from mmupt.train.labels import Label, label_by_vote, reward_answers
from mmupt.trl.groups import Row, gathered, rows_of
from mmupt.types import Sample


@dataclass(frozen=True, slots=True)
class Voted:
    """A group of a generation batch, from all processes.

    Attributes:
        name: value of the group column.
        rows: its completions.
        replies: the same with their answers.
        label: what it was rewarded towards.
        rewards: one per completion.
    """

    name: Any
    rows: tuple[Row, ...]
    replies: tuple[Reply, ...]
    label: Label
    rewards: tuple[float, ...]


Told = Callable[[Sequence[Voted]], None]
"""Told the groups of a generation batch; in every process."""


class MajorityVoteReward:
    """r_i = [y_i ~ y*]: whether a completion's answer is that of its group's majority.

    A reward function of TRL sees the rows of its own process only, and a group may span several:
    a vote on those alone is silently wrong. Here the answers of all processes are put together by
    a group column before they are voted on, so that every process votes on whole groups.

        reward = MajorityVoteReward(num_generations=8, end_ids=[tokenizer.eos_token_id])
        trainer = GRPOTrainer(model, reward, train_dataset=dataset)

    where the dataset has a column "group" with one value per question.

    Args:
        config: how votes are counted and which labels are kept; None: the plain majority of
            MM-UPT (arXiv 2505.22453), every label kept. A group whose label is not kept is
            rewarded 0 throughout, so that it has no advantage.
        num_generations: completions of each question; checked if given.
        end_ids: tokens that end a turn; a completion that ends with none of them was cut and
            abstains. Without them nothing counts as cut.
        group_column: column of the dataset that tells the questions apart.
        problem_column: column with the question's text as it is shown, where there is one: its
            options tell which answers name an option.
        view_column: column with the number of the view that a row shows, where a group's rows show
            several; view 0 is the question as it is, and needed with options.
        labels_column: column with a mapping, label of each option as shown -> its label in the
            question as it is, where a view shuffled the options.
        labels: labels of some questions from elsewhere (a frozen teacher), by group; None: the
            groups' own answers vote.
        told: called after every batch, for records.
        unkept: reward of completions whose label is not kept. They have no advantage either way;
            with None TRL leaves them out of the deviation of the whole batch too, as the local
            engine does (`scale_rewards="batch"`), and warns of each such batch.

    Raises:
        ConfigError: a strategy that needs what TRL does not tell a reward function.
    """

    __name__ = "majority_vote"

    def __init__(
        self,
        config: ConsensusConfig | None = None,
        *,
        num_generations: int | None = None,
        end_ids: Sequence[int] = (),
        group_column: str = "group",
        problem_column: str = "problem",
        view_column: str = "view",
        labels_column: str = "shown_labels",
        labels: Callable[[Sequence[Any]], Sequence[Label]] | None = None,
        told: Told | None = None,
        unkept: float | None = 0.0,
    ) -> None:
        self.config = config or ConsensusConfig(min_share=0.0)
        if isinstance(self.config.strategy, WeightedVote):
            raise ConfigError(
                "consensus.strategy weighted needs log-probabilities, which TRL does not tell a "
                "reward function; take majority, or --engine local"
            )
        if self.config.strategy.name == "dual":
            raise ConfigError(
                "consensus.strategy dual compares teacher and student reply by reply, which is "
                "not offered with TRL; take majority, or --engine local"
            )
        if self.config.strategy.name == "restrain":
            raise ConfigError(
                "consensus.strategy restrain takes its penalty off advantages, which a reward "
                "function cannot; take majority, or --engine local"
            )
        self.num_generations, self.end_ids = num_generations, tuple(end_ids)
        self.group_column, self.problem_column = group_column, problem_column
        self.view_column, self.labels_column = view_column, labels_column
        self.labels, self.told, self.unkept = labels, told, unkept

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """One reward per completion of this process; all processes have to call it.

        Raises:
            ConfigError: no group column, or groups that are not whole.
        """
        if self.group_column not in columns:
            raise ConfigError(
                f"the dataset has no column {self.group_column!r}; add one with a value of its own "
                "for each question (and set remove_unused_columns to False)"
            )
        processes = _processes()
        ids = completion_ids if completion_ids is not None else [()] * len(completions)
        ends = self.end_ids if completion_ids is not None else ()
        mine = rows_of(
            completions, ids, columns[self.group_column], ends, processes.rank,
            problems=columns.get(self.problem_column), views=columns.get(self.view_column),
            labels=columns.get(self.labels_column),
        )  # fmt: skip
        groups = gathered(processes.join(mine), self.num_generations)
        replies = {name: [self._reply(row) for row in rows] for name, rows in groups.items()}
        if self.labels is not None:
            found: Sequence[Label] = self.labels(list(groups))
        else:
            samples = [Sample(str(name), _as_it_is(rows)) for name, rows in groups.items()]
            found = label_by_vote(list(replies.values()), samples, self.config)
        batch = [
            Voted(name, tuple(groups[name]), tuple(own), label, self._rewards(label, own))
            for (name, own), label in zip(replies.items(), found, strict=True)
        ]
        if self.told is not None:
            self.told(batch)
        rewards = {
            row.place: reward if group.label.kept else self.unkept
            for group in batch
            for row, reward in zip(group.rows, group.rewards, strict=True)
        }
        return [rewards[row.place] for row in mine]

    def _reply(self, row: Row) -> Reply:
        completion = row.completion()
        return Reply(completion, final_answer(completion, row.prompt, self.config.kind))

    def _rewards(self, label: Label, replies: Sequence[Reply]) -> tuple[float, ...]:
        return reward_answers(label, [reply.answer for reply in replies], self.config)


def _as_it_is(rows: Sequence[Row]) -> str:
    """The question of a group, not as a view shows it."""
    return min(rows, key=lambda row: row.view).prompt.problem


def _processes() -> Processes:
    """The processes of the trainer, whoever started them."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return Processes()
    return Processes(dist.get_rank(), dist.get_world_size())
