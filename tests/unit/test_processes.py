"""Two processes do as one: sums, labels, rewards and updates. They are really started, on gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import processes_worker as worker
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from mmupt.processes import ALONE, Processes
from mmupt.train.checkpoint import load_state
from mmupt.train.optim import make_optimizer, share_out

RELATIVE = 1e-6
"""Of weights after two to twelve plain gradient steps, see `tiny.worst_error`. Found: below 6e-7, and 6e-8 after two
steps. What
remains is the order in which single-precision numbers are added."""


def together(what: str, folder: Path, count: int = 2) -> None:
    """Run a part of `processes_worker.py` in `count` processes to its end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(
        [sys.executable, *command, worker.__file__, what, str(folder)],
        env=environment, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("met")
    together("meet", folder)
    return folder


def test_meetings(met: Path) -> None:
    """Expected values are worked out by hand for ranks 0 and 1."""
    found = [read(met / f"meet-{rank}.json") for rank in (0, 1)]
    for one in found:
        assert one["sum"] == [3.0, 1.0, 2e-9]
        assert one["gather"] == [{"rank": 0}, {"rank": 1}]
        assert one["join"] == [0, 1, 1]
        assert one["told"] == "said by 0"
        first, second, third, fourth, fifth, sixth, seventh = one["gradients"]
        assert first == [11.0] * 3
        assert second == [20.0] * 5  # rank 0 has none: a zero
        assert third == [33.0] * 40
        assert fourth == [44.0]
        assert fifth is None
        assert sixth == [66.0] * 2
        assert seventh == [[0.0, 6.0, 12.0], [3.0, 9.0, 15.0]]
    assert found[0]["share"] == [[], [], [0], [0], [0, 1], [0, 1]]
    assert found[1]["share"] == [[], [0], [1], [1, 2], [2, 3], [2, 3, 4]]


def test_one_process_gives_back_what_it_is_given() -> None:
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.tensor([1.0, 2.0, 3.0])
    ALONE.sum_gradients([parameter, nn.Parameter(torch.ones(1))])
    assert parameter.grad.tolist() == [1.0, 2.0, 3.0]
    assert ALONE.reduce_gradients([parameter, nn.Parameter(torch.ones(1))], [0, 0]) == [True, False]
    ALONE.hand_out([parameter.data], [0])
    assert parameter.grad.tolist() == [1.0, 2.0, 3.0]
    assert ALONE.collect({"a": parameter.data})["a"].tolist() == [1.0] * 3
    assert ALONE.sum([1.0, 2.5]) == [1.0, 2.5]
    assert ALONE.gather("a") == ["a"]
    assert ALONE.join([1, 2]) == [1, 2]
    assert ALONE.told(lambda: 7) == 7
    assert list(range(5))[ALONE.share(5)] == [0, 1, 2, 3, 4]
    assert ALONE.main


@pytest.mark.parametrize("count", [2, 3, 8])
def test_shares_are_everything_once_and_even(count: int) -> None:
    for total in (0, 1, 7, 8, 1000):
        shares = [list(range(total))[Processes(r, count).share(total)] for r in range(count)]
        assert list(chain(*shares)) == list(range(total))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert not Processes(1, count).main


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory, talker: Path) -> Path:
    """All cases by one process and by two."""
    folder = tmp_path_factory.mktemp("learned")
    (folder / "talker").symlink_to(talker)
    for count in (1, 2):
        together("learn", folder, count)
    return folder


@pytest.mark.parametrize("number", range(len(worker.CASES)), ids=list(worker.CASES))
def test_two_processes_update_as_one(learned: Path, talker: Path, number: int) -> None:
    one, *two = [
        load_file(learned / f"{number}-{name}.safetensors") for name in ("1-0", "2-0", "2-1")
    ]
    assert all(torch.equal(tensor, two[1][name]) for name, tensor in two[0].items())
    before = load_file(talker / "model.safetensors")
    moved = {name: one[name] - before[name] for name in one}
    assert max(float(m.abs().max()) for m in moved.values()) > 1e-3  # they learned something
    assert tiny.worst_error(two[0], one) < RELATIVE


@pytest.mark.parametrize("number", range(len(worker.CASES)), ids=list(worker.CASES))
def test_labels_rewards_and_completions_are_those_of_one(learned: Path, number: int) -> None:
    one, *two = [read(learned / f"{number}-{name}.json")["steps"] for name in ("1-0", "2-0", "2-1")]
    assert any(step["learned"] for step in one)
    for step, others in zip(one, zip(*two, strict=True), strict=True):
        for other in others:
            for key in ("labels", "kept", "rewards", "tokens", "learned", "counted"):
                assert other[key] == step[key], key
            assert other["loss"] == pytest.approx(step["loss"], rel=1e-4, abs=1e-6)
            assert other["norms"] == pytest.approx(step["norms"], rel=1e-5)
        # Each rolled out its own and nobody all, unless there was only one.
        assert sum(other["here"] for other in others) == step["here"]
        assert all(other["here"] < step["here"] or step["here"] == 1 for other in others)


def alone(steps: range, state: Path | None = None) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The same steps by one process, from a point if one is given; weights and norms."""
    model = worker.small_model()
    optimizer = make_optimizer(model, 1e-2, 0.1)
    if state is not None:
        load_state(state, model, optimizer, {})
    norms = worker.descend(model, optimizer, steps, ALONE, range(2))
    return {name: p.detach() for name, p in model.items()}, norms


@pytest.mark.parametrize("stage", [0, 1])
def test_shared_out_state_gives_the_same_update(met: Path, stage: int) -> None:
    """Four steps with a point between, by two processes; by one, from the start and from there."""
    found = [load_file(met / f"shard-{stage}-{rank}.safetensors") for rank in (0, 1)]
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())
    expected, norms = alone(range(4))
    resumed, last = alone(range(2, 4), met / f"state-{stage}")
    assert last == pytest.approx(norms[2:], rel=1e-6)
    for weights in (found[0], resumed):
        # A rounded weight may fall on the other side; its master is compared below.
        assert torch.allclose(weights["low"], expected["low"], rtol=2**-7)
        whole = {name: t for name, t in expected.items() if name != "low"}
        assert tiny.worst_error({name: weights[name] for name in whole}, whole) < RELATIVE
    for rank in (0, 1):
        told = read(met / f"shard-{stage}-{rank}.json")["norms"]
        assert told == pytest.approx(norms, rel=1e-6)
    before = worker.small_model()
    assert torch.equal(found[0]["never"], before["never"])
    assert not any(torch.equal(found[0][n], before[n]) for n in before if n != "never")


def test_each_process_holds_its_share_of_the_state(met: Path) -> None:
    """Moments of 24 + 5 + 21 + 8 + 18 numbers, and a master of the 18. In order of size the first
    process owns 24 and 8 and the five; the second 21 and 18."""
    held = [[read(met / f"shard-{s}-{r}.json")["held"] for r in (0, 1)] for s in (0, 1)]
    assert held[0] == [2 * 76 + 18] * 2
    assert held[1] == [2 * (24 + 8 + 5), 2 * (21 + 18) + 18]
    points = [load_file(met / f"state-{s}/000002/optimizer.safetensors") for s in (0, 1)]
    assert points[0].keys() == points[1].keys()  # whole, whoever had it
    assert "low.master" in points[0]
    assert tiny.worst_error(points[1], points[0]) < RELATIVE


@given(st.lists(st.integers(0, 1000), max_size=30), st.integers(1, 8))
def test_no_owner_has_more_than_its_share_and_the_largest_item(
    sizes: list[int], count: int
) -> None:
    owners = share_out(sizes, count)
    loads = [sum(s for s, o in zip(sizes, owners, strict=True) if o == r) for r in range(count)]
    assert sum(loads) == sum(sizes)
    assert max(loads) - min(loads) <= max(sizes, default=0)
