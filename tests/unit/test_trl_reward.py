"""Majority votes as a reward function: whole groups, whatever process their rows lie in.

These need no TRL; what runs its trainer is in tests/trl (`make test-trl`).
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmupt import vote
from mmupt.config import load_config
from mmupt.errors import ConfigError
from mmupt.trl.reward import MajorityVoteReward, Voted
from mmupt.trl.settings import batches, refuse_what_trl_has_not, trl_arguments

GROUPS = st.lists(
    st.lists(
        st.sampled_from(["\\boxed{1}", "1", "\\boxed{2}", "so 3", ""]), min_size=4, max_size=4
    ),
    min_size=1,
    max_size=4,
)


def reward_of(groups: list[list[str]], **more: Any) -> list[float]:
    texts = [text for group in groups for text in group]
    names = [f"g{i}" for i, group in enumerate(groups) for _ in group]
    return MajorityVoteReward(**more)(prompts=texts, completions=texts, group=names)


@settings(max_examples=40)
@given(GROUPS)
def test_rewards_are_those_of_the_vote(groups: list[list[str]]) -> None:
    from mmupt import extract

    expected = [r for g in groups for r in vote([extract(text) for text in g]).rewards]
    assert reward_of(groups) == expected


@settings(max_examples=25)
@given(GROUPS, st.randoms())
def test_the_order_of_rows_changes_nothing(groups: list[list[str]], draw: random.Random) -> None:
    rows = [(f"g{i}", text) for i, group in enumerate(groups) for text in group]
    order = list(range(len(rows)))
    draw.shuffle(order)
    texts = [rows[i][1] for i in order]
    found = MajorityVoteReward()(
        prompts=texts, completions=texts, group=[rows[i][0] for i in order]
    )
    straight = reward_of(groups)
    assert [found[order.index(i)] for i in range(len(rows))] == straight


def test_messages_cut_completions_and_labels_below_the_bar() -> None:
    told: list[Voted] = []
    reward = MajorityVoteReward(
        load_config(None, ["consensus.min_share=0.6"]).consensus, end_ids=[9], told=told.extend
    )
    said = ["\\boxed{5}", "\\boxed{5}", "\\boxed{4}", "\\boxed{5}"]
    messages = [[{"role": "assistant", "content": text}] for text in said]
    ids = [[1, 9], [1, 9], [1, 9], [1, 1]]  # the last was cut: it abstains
    found = reward(prompts=messages, completions=messages, completion_ids=ids, group=["a"] * 4)
    (group,) = told
    assert (group.label.answer, group.label.share, group.label.kept) == ("5", 0.5, False)
    assert found == [0.0] * 4  # two of four are no consensus here
    ids[3] = [1, 9]
    found = reward(prompts=messages, completions=messages, completion_ids=ids, group=["a"] * 4)
    assert found == [1.0, 1.0, 0.0, 1.0]


def test_options_in_the_question_are_read() -> None:
    problem = "Which? A. red B. blue"
    texts = ["The answer is red.", "A", "B"]
    with_question = MajorityVoteReward()(
        prompts=texts, completions=texts, group=["q"] * 3, problem=[problem] * 3
    )
    assert with_question == [1.0, 1.0, 0.0]


def test_views_with_shuffled_options_are_read_in_the_words_of_the_question() -> None:
    told: list[Voted] = []
    as_it_is, shuffled = "Which? A. red B. blue", "Which? A. blue B. red"
    rows = [("A", 1), ("The answer is blue.", 1), ("B", 0), ("A", 0)]  # blue blue blue red
    found = MajorityVoteReward(told=told.extend)(
        prompts=[text for text, _ in rows],
        completions=[text for text, _ in rows],
        group=["q"] * 4,
        problem=[(as_it_is, shuffled)[view] for _, view in rows],
        view=[view for _, view in rows],
        shown_labels=[({}, {"A": "B", "B": "A"})[view] for _, view in rows],
    )
    assert found == [1.0, 1.0, 1.0, 0.0]
    (group,) = told
    assert group.label.answer == "B"
    assert [reply.completion.view for reply in group.replies] == [1, 1, 0, 0]


def test_labels_from_a_teacher_replace_the_vote() -> None:
    from mmupt.train.labels import Label
    from mmupt.types import Vote

    truth = Label(Vote("2", 1.0, False, (0,), (1.0,)), ("2",), True)
    texts = ["\\boxed{1}", "\\boxed{1}", "\\boxed{2}"]
    reward = MajorityVoteReward(labels=lambda names: [truth] * len(names))
    assert reward(prompts=texts, completions=texts, group=["a"] * 3) == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("strategy", ["weighted", "dual", "restrain"])
def test_strategies_that_no_reward_function_can_follow(strategy: str) -> None:
    config = load_config(None, [f"consensus.strategy={strategy}"]).consensus
    with pytest.raises(ConfigError, match=f"strategy {strategy} .*--engine local"):
        MajorityVoteReward(config)


def test_groups_that_are_not_whole_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"group 'g0' has 3 completions, expected 4"):
        reward_of([["1", "2", "3"]], num_generations=4)
    with pytest.raises(ConfigError, match=r"no column 'group'; add one"):
        MajorityVoteReward()(prompts=["a"], completions=["a"])


@pytest.mark.parametrize(
    "setting",
    [
        "consensus.strategy=weighted", "consensus.strategy=restrain",
        "train.dynamic_sampling=true", "train.adv_estimator=rloo", "train.num_mini_batches=2",
        "train.stop_strings=[x]", "train.anchor_fraction=0.1", "train.freeze_vision=true", "train.zero_stage=1",
        "lora={r: 4}",
    ],
)  # fmt: skip
def test_what_trl_has_not_is_refused_by_name(setting: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"{name}.*--engine local"):
        refuse_what_trl_has_not(load_config(None, [setting]))


def test_settings_arrive_in_trl_s_words(tmp_path: Path) -> None:
    config = load_config(
        None,
        ["train.prompts_per_step=6", "train.num_generations=8", "train.micro_batch_size=10",
         "train.epsilon_high=0.28", "train.gradient_checkpointing=true", "train.min_p=0.1"],
    )  # fmt: skip
    refuse_what_trl_has_not(config)
    found = trl_arguments(config, tmp_path, seed=3, processes=2, cpu=True)
    assert found["per_device_train_batch_size"] * found["gradient_accumulation_steps"] * 2 == 48
    assert found["per_device_train_batch_size"] == 8
    assert (found["epsilon"], found["epsilon_high"], found["min_p"]) == (0.2, 0.28, 0.1)
    assert found["activation_checkpointing"] is True
    assert found["save_total_limit"] >= 2  # the older is whole until what is ours is in the newer
    assert "gradient_checkpointing" not in found
    with pytest.raises(ConfigError, match="is 48, which 5 processes cannot share evenly"):
        batches(config, 5)


WORKER = """
import json, os, sys
import torch.distributed as dist
from mmupt.trl.reward import MajorityVoteReward

dist.init_process_group("gloo")
rank = dist.get_rank()
rows = json.loads(sys.argv[1])
mine = rows[rank * len(rows) // 2 : (rank + 1) * len(rows) // 2]
texts, groups = [text for _, text in mine], [group for group, _ in mine]
whole = MajorityVoteReward(num_generations=4)(prompts=texts, completions=texts, group=groups)
print(json.dumps({"rank": rank, "rewards": whole}))
dist.destroy_process_group()
"""


def test_a_group_that_spans_two_processes_is_voted_on_whole(tmp_path: Path) -> None:
    rows = [
        ("b", "7"),
        ("a", "1"),
        ("a", "2"),
        ("b", "7"),
        ("a", "2"),
        ("b", "8"),
        ("b", "8"),
        ("a", "2"),
    ]
    (tmp_path / "worker.py").write_text(WORKER)
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone",
         str(tmp_path / "worker.py"), json.dumps(rows)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {}
    for line in run.stdout.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            found[told["rank"]] = told["rewards"]
    # a: 1 2 2 2, the majority is 2; b: 7 7 8 8, a tie, no reward
    assert found == {0: [0.0, 0.0, 1.0, 0.0], 1: [1.0, 0.0, 0.0, 1.0]}
    # The rows of the first process alone would have tied a and rewarded 7.
    alone = MajorityVoteReward()(
        prompts=[t for _, t in rows[:4]], completions=[t for _, t in rows[:4]],
        group=[g for g, _ in rows[:4]],
    )  # fmt: skip
    assert alone != found[0]
