"""Votes over shards: every row once, whoever is killed, and nothing but the answers looked at."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mmupt.cli import app
from mmupt.config import ConsensusConfig, load_config
from mmupt.errors import ConfigError, InputError, RefusedError, RunFolderError
from mmupt.pool.claim import claimed
from mmupt.pool.counts import count, figures, total
from mmupt.pool.merge import merge
from mmupt.pool.rows import voted
from mmupt.pool.shards import join_plan, make_plan
from mmupt.pool.work import vote_shard, work
from mmupt.pool.workers import run_workers

MAJORITY = load_config(None, ["consensus.min_share=0.6"]).consensus


def write_shard(folder: Path, name: str, **columns: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def make_pool(folder: Path, shards: int = 3, rows: int = 40) -> Path:
    random_ = random.Random(0)
    for shard in range(shards):
        ids = [f"q-{shard}-{row}" for row in range(rows)]
        answers = [[random_.choice(["7", "7 ", "8", None]) for _ in range(5)] for _ in ids]
        write_shard(folder, f"s-{shard}", id=ids, answers=answers)
    return folder


def read_votes(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(out.glob("votes/*.parquet")) for row in read_file(path)]


def read_file(path: Path) -> list[dict[str, Any]]:
    """Rows with NaN as None, so that equal rows are equal."""
    rows = pq.read_table(path).to_pylist()
    return [{k: None if v != v else v for k, v in row.items()} for row in rows]


def vote_all(
    pool: Path, out: Path, config: ConsensusConfig = MAJORITY, **own: Any
) -> dict[str, Any]:
    plan = make_plan(pool, out, config, **{"skip_bad": False, **own})
    join_plan(plan)
    work(plan)
    return merge(plan)


def test_a_vote_is_what_it_is_by_hand(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "pool", "a",
        id=["one", "two", "three"],
        answers=[["0.5", "1/2", "50%", "3"], ["x", "y", None, None], [None, None, None, None]],
        views=pa.array([[0, 0, 1, 1], [0, 1, 2, 3], [0, 1, 2, 3]], pa.list_(pa.int32())),
    )  # fmt: skip
    result = vote_all(tmp_path / "pool", tmp_path / "out")
    one, two, three = read_votes(tmp_path / "out")
    assert (one["share"], one["classes"], one["kept"]) == (0.75, [0, 0, 0, 1], True)
    assert one["pseudo_label"] == "1/2" or one["pseudo_label"] in ("0.5", "50%")
    assert one["view_agreement"] == pytest.approx(2 / 4)  # pairs across views: 0-1 same, 0-3 not
    assert (two["pseudo_label"], two["tied"], two["abstentions"]) == (None, True, 2)
    assert (three["pseudo_label"], three["share"], three["abstentions"]) == (None, 0.0, 4)
    assert result["rows"] == 3
    assert result["labelled"] == 1
    assert result["kept"] == 1
    assert result["abstained"] == 6 / 12
    assert result["vote_share"] == pytest.approx((0.75 + 0.25 + 0) / 3)
    assert result["share_bins"] == [1, 0, 1, 0, 0, 0, 0, 1, 0, 0]


def test_completions_are_read_and_cut_ones_abstain(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "pool", "a",
        id=["one"],
        completions=[["so \\boxed{12}", "The answer is 12.", "\\boxed{13}", "\\boxed{13}"]],
        truncated=[[False, False, False, True]],
        problem=["How many?"],
    )  # fmt: skip
    vote_all(tmp_path / "pool", tmp_path / "out")
    (row,) = read_votes(tmp_path / "out")
    assert row["answers"] == ["12", "12", "13", None]
    assert (row["pseudo_label"], row["share"]) == ("12", 0.5)


def test_true_answers_in_the_pool_change_nothing(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"id": ["a", "b"], "answers": [["1", "1", "2"], ["3", "4", "4"]]}
    write_shard(tmp_path / "plain", "s", **columns)
    write_shard(
        tmp_path / "labelled", "s", **columns, answer=["2", "3"], label=["2", "3"],
        pseudo_label=["2", "3"],
    )  # fmt: skip
    vote_all(tmp_path / "plain", tmp_path / "one")
    vote_all(tmp_path / "labelled", tmp_path / "two")
    assert read_votes(tmp_path / "one") == read_votes(tmp_path / "two")


def test_strategies_that_need_a_column_get_it(tmp_path: Path) -> None:
    weighted = load_config(None, ["consensus.strategy=weighted"]).consensus
    pool = tmp_path / "pool"
    write_shard(pool, "s", id=["a"], answers=[["1", "1", "2"]], weights=[[0.1, 0.2, 0.9]])
    vote_all(pool, tmp_path / "out", weighted)
    assert read_votes(tmp_path / "out")[0]["pseudo_label"] == "2"
    bare = tmp_path / "bare"
    write_shard(bare, "s", id=["a"], answers=[["1", "1", "2"]])
    with pytest.raises(InputError, match=r's\.parquet: has no column "weights"'):
        vote_all(bare, tmp_path / "other", weighted)


@pytest.mark.parametrize(
    "setting",
    ["consensus.strategy=prior", "consensus.strategy=dual", "consensus.easiest_fraction=0.5"],
)
def test_what_needs_other_questions_is_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match="in a pool"):
        make_plan(
            make_pool(tmp_path, 1, 1), tmp_path / "out", load_config(None, [setting]).consensus,
            skip_bad=False,
        )  # fmt: skip


def test_workers_share_the_shards_and_give_what_one_gives(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", 5)
    alone = vote_all(pool, tmp_path / "one")
    plan = make_plan(pool, tmp_path / "two", MAJORITY, skip_bad=False)
    join_plan(plan)
    seen: list[int] = []
    run_workers(plan, 2, (1, 1), seen.append, pytest.fail)
    assert merge(plan) == alone
    assert seen[-1] == 200
    files = [(tmp_path / out / "votes" / "s-3.parquet").read_bytes() for out in ("one", "two")]
    assert files[0] == files[1]


def test_parts_are_disjoint_and_whole(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", 5, 2)
    plan = make_plan(pool, tmp_path / "out", MAJORITY, skip_bad=False)
    join_plan(plan)
    assert work(plan, (2, 3)) == 2  # the second and the fifth
    assert sorted(p.stem for p in plan.out.glob("votes/*")) == ["s-1", "s-4"]
    with pytest.raises(RefusedError, match="3 of 5 shards have no votes yet, the first is s-0"):
        merge(plan)
    assert work(plan, (1, 3)) + work(plan, (3, 3)) == 3
    assert merge(plan)["rows"] == 10


SLOW = """
import sys, time
from pathlib import Path
from mmupt.config import load_config
from mmupt.pool import rows, work as module
from mmupt.pool.shards import join_plan, make_plan

real = module.voted
def slow(row, config):
    print(row["id"], flush=True)
    time.sleep(0.002)
    return real(row, config)
module.voted = slow
plan = make_plan(
    Path(sys.argv[1]), Path(sys.argv[2]), load_config(None, ["consensus.min_share=0.6"]).consensus,
    skip_bad=False,
)
join_plan(plan)
print("did", module.work(plan), flush=True)
"""


def test_a_killed_worker_s_shards_are_taken_by_the_other(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", 6, 60)
    alone = vote_all(pool, tmp_path / "one")
    command = [sys.executable, "-c", SLOW, str(pool), str(tmp_path / "two")]
    first, second = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    assert first.stdout is not None
    for _ in range(30):  # in the midst of a shard
        first.stdout.readline()
    os.kill(first.pid, signal.SIGKILL)
    left, _ = second.communicate()
    first.communicate()
    plan = make_plan(pool, tmp_path / "two", MAJORITY, skip_bad=False)
    assert merge(plan) == alone
    assert read_votes(tmp_path / "two") == read_votes(tmp_path / "one")
    done_by_second = int(left.rpartition("did ")[2])
    assert 1 <= done_by_second <= 6


def test_a_worker_waits_for_the_shard_that_another_holds(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", 1, 300)
    command = [sys.executable, "-c", SLOW, str(pool), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        plan = make_plan(pool, tmp_path / "out", MAJORITY, skip_bad=False)
        assert work(plan) == 0
        assert plan.votes(plan.shards[0]).exists()
        other.communicate()


def test_every_worker_killed_is_said(tmp_path: Path) -> None:
    from mmupt.errors import ProcessError

    pool = make_pool(tmp_path / "pool", 2, 20000)
    plan = make_plan(pool, tmp_path / "out", MAJORITY, skip_bad=False)
    join_plan(plan)
    said: list[str] = []

    def kill_all(_: int) -> None:
        for child in _children():
            os.kill(child, signal.SIGKILL)

    with pytest.raises(ProcessError, match="every worker was killed"):
        run_workers(plan, 2, (1, 1), kill_all, said.append)
    assert len(said) == 2
    assert "SIGKILL" in said[0]


def test_what_ends_a_worker_keeps_its_kind(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    for name in ("a", "b"):
        write_shard(pool, name, id=[name], answers=[[1]])
    plan = make_plan(pool, tmp_path / "out", MAJORITY, skip_bad=False)
    join_plan(plan)
    with pytest.raises(InputError, match="row 1"):
        run_workers(plan, 2, (1, 1), lambda _: None, pytest.fail)
    assert not _children()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_the_command_takes_its_workers_with_it(tmp_path: Path, sent: signal.Signals) -> None:
    pool, out = make_pool(tmp_path / "pool", 2, 30_000), tmp_path / "out"
    verb = ["pool", "vote", str(pool), "--out", str(out), "--workers", "2"]
    with subprocess.Popen(
        [sys.executable, "-c", "from mmupt.cli import main; main()", *verb],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        while not list(out.glob("votes/.*")):  # a worker is at work, another may still import
            time.sleep(0.02)
            assert parent.poll() is None
        if sent is signal.SIGINT:
            os.killpg(parent.pid, sent)  # as a terminal does
        else:
            parent.send_signal(sent)
        _, said = parent.communicate()  # ends when no worker has its stderr any more
    assert "Traceback" not in said
    if sent is signal.SIGINT:
        assert parent.returncode == 130
        assert said.splitlines()[-1].startswith("mmupt: interrupted")


def _children() -> list[int]:
    import multiprocessing

    return [child.pid for child in multiprocessing.active_children() if child.pid]


def test_votes_of_another_pool_or_setting_are_never_mixed(tmp_path: Path) -> None:
    pool, out = make_pool(tmp_path / "pool", 2, 3), tmp_path / "out"
    vote_all(pool, out)
    other = load_config(None, ["consensus.min_share=0.7"]).consensus
    with pytest.raises(RunFolderError, match=r"pool\.json: these votes were counted by other"):
        vote_all(pool, out, other)
    write_shard(pool, "s-1", id=["new"], answers=[["1", "2"]])
    with pytest.raises(RunFolderError, match=r"the pool was changed since: s-1\.parquet; choose"):
        vote_all(pool, out)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty"):
        vote_all(make_pool(tmp_path / "pool", 1, 1), tmp_path / "out")


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"answers": [["1"]]}, r'has no column "id"'),
        ({"id": ["a"]}, r'has neither a column "answers" nor one "completions"'),
        ({"id": [None], "answers": [["1"]]}, r'row 1: "id" is None, expected text'),
        ({"id": ["a"], "answers": ["1"]}, r"row 1: \"answers\" is '1', expected a list of texts"),
        ({"id": ["a"], "answers": [[1, 2]]}, r'row 1: "answers" is \[1, 2\], expected a list'),
        ({"id": ["a"], "answers": pa.array([None], pa.list_(pa.string()))}, "row 1: .*are null"),
        ({"id": ["a"], "answers": pa.array([[]], pa.list_(pa.string()))}, "has 0 entries"),
        ({"id": ["a"], "answers": [["1", "2"]], "views": [[0]]}, "1 entries for 2 answers"),
        ({"id": ["a"], "answers": [["1"]], "views": [[1 << 40]]}, "from 0 to 2147483647"),
        ({"id": pa.array([b"\xff"]).view(pa.string()), "answers": [["1"]]}, "cannot be read"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, columns: dict[str, Any], line: str) -> None:
    write_shard(tmp_path / "pool", "s", **columns)
    with pytest.raises(InputError, match=line):
        vote_all(tmp_path / "pool", tmp_path / "out")
    assert not list((tmp_path / "out").glob("votes/*"))
    assert not list((tmp_path / "out").glob("votes/.*"))


def test_bad_rows_can_be_left_out_and_are_counted(tmp_path: Path) -> None:
    write_shard(tmp_path / "pool", "s", id=["a", None, "c"], answers=[["1"], ["2"], ["3"]])
    result = vote_all(tmp_path / "pool", tmp_path / "out", skip_bad=True)
    assert (result["rows"], result["left_out"]) == (2, 1)
    assert [row["id"] for row in read_votes(tmp_path / "out")] == ["a", "c"]
    assert 'row 2: "id" is None' in result["reasons"][0]


@pytest.mark.parametrize("at_once", [100, 2])
def test_an_id_that_is_there_twice_is_named(tmp_path: Path, at_once: int) -> None:
    write_shard(tmp_path / "pool", "s", id=["a", "b", "c"], answers=[["1"]] * 3)
    write_shard(tmp_path / "pool", "t", id=["d", "b"], answers=[["1"]] * 2)
    plan = make_plan(tmp_path / "pool", tmp_path / "out", MAJORITY, skip_bad=False)
    join_plan(plan)
    work(plan)
    with pytest.raises(InputError, match=r"id 'b' is in s\.parquet and in t\.parquet"):
        merge(plan, ids_at_once=at_once)


def test_one_file_of_all_votes(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", 3, 7)
    vote_all(pool, tmp_path / "out")
    plan = make_plan(pool, tmp_path / "out", MAJORITY, skip_bad=False)
    merge(plan, tmp_path / "all.parquet")
    assert read_file(tmp_path / "all.parquet") == read_votes(tmp_path / "out")


def test_a_broken_file_of_votes_is_named_and_made_again(tmp_path: Path) -> None:
    pool, out = make_pool(tmp_path / "pool", 1, 3), tmp_path / "out"
    vote_all(pool, out)
    path = out / "votes" / "s-0.parquet"
    before = path.read_bytes()
    path.write_bytes(before[:50])
    with pytest.raises(RunFolderError, match=r"s-0\.parquet: is no file of votes"):
        vote_all(pool, out)
    path.unlink()
    vote_all(pool, out)
    assert path.read_bytes() == before


def test_the_verbs(tmp_path: Path) -> None:
    pool, out = make_pool(tmp_path / "pool", 2, 5), tmp_path / "out"
    run = CliRunner().invoke
    common = [str(pool), "--out", str(out), "--json"]
    half = run(app, ["pool", "vote", *common, "--part", "1/2"])
    assert json.loads(half.stdout) == {"open_shards": 1}
    so_far = json.loads(run(app, ["pool", "status", *common]).stdout)
    assert (so_far["done"], so_far["shards"], so_far["rows"]) == (1, 2, 5)
    whole = json.loads(run(app, ["pool", "vote", *common]).stdout)
    assert whole["rows"] == 10
    assert json.loads((out / "metrics.json").read_text()) == whole
    one = tmp_path / "all.parquet"
    assert run(app, ["pool", "merge", *common, "--file", str(one)]).exit_code == 0
    assert pq.read_metadata(one).num_rows == 10
    wrong = run(app, ["pool", "vote", *common, "--part", "3/2"])
    assert isinstance(wrong.exception, ConfigError)


ROWS = st.lists(
    st.lists(st.sampled_from(["1", "2", "x", None]), min_size=1, max_size=4), max_size=12
)


@settings(max_examples=30, deadline=None)
@given(ROWS, st.integers(0, 12))
def test_sums_do_not_depend_on_batches(groups: list[list[str | None]], cut: int) -> None:
    rows = [voted({"id": str(i), "answers": g}, MAJORITY) for i, g in enumerate(groups)]
    whole, parts = figures(count(rows)), figures(total([count(rows[:cut]), count(rows[cut:])]))
    for name, value in whole.items():
        exact = isinstance(value, list)
        assert parts[name] == (value if exact else pytest.approx(value, nan_ok=True)), name


def test_what_a_killed_worker_began_is_swept_up_and_a_living_one_s_is_not(tmp_path: Path) -> None:
    pool, out = make_pool(tmp_path / "pool", 2, 2), tmp_path / "out"
    vote_all(pool, out)
    dead, living = (out / "votes" / f".s-{n}.parquet.tmp-elsewhere-{n}" for n in (0, 1))
    dead.touch()
    living.touch()
    with claimed(out / "locks" / "s-1.lock"):
        merge(make_plan(pool, out, MAJORITY, skip_bad=False))
    assert (dead.exists(), living.exists()) == (False, True)


def test_a_worker_that_starts_at_the_same_moment_is_no_stranger(tmp_path: Path) -> None:
    pool, out = make_pool(tmp_path / "pool", 1, 1), tmp_path / "out"
    out.mkdir()
    (out / ".pool.json.tmp-77").write_text("{")  # its plan, which it has not moved yet
    assert vote_all(pool, out)["rows"] == 1


def test_without_locks_parts_go_on_and_others_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unknown)
    plan = make_plan(make_pool(tmp_path / "pool", 2, 2), tmp_path / "out", MAJORITY, skip_bad=False)
    join_plan(plan)
    with pytest.raises(RunFolderError, match=r"No locks available.*--part"):
        work(plan)
    assert work(plan, (1, 2)) + work(plan, (2, 2)) == 2
    assert merge(plan)["rows"] == 4


@pytest.mark.parametrize("name", ["full", "blocked"])
def test_votes_that_cannot_be_written_are_one_line(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, out = make_pool(tmp_path / "pool", 1, 3), tmp_path / "out"
    if name == "blocked":
        out.write_text("a file")
    else:

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFolderError, match=r"cannot be written \((No space|File exists|Not a)"):
        vote_all(pool, out)
    assert not list(tmp_path.glob("out/votes/.*"))


def test_the_one_file_never_lands_among_shards_or_votes(tmp_path: Path) -> None:
    pool, out = make_pool(tmp_path / "pool", 1, 3), tmp_path / "out"
    vote_all(pool, out)
    before = (pool / "s-0.parquet").read_bytes()
    plan = make_plan(pool, out, MAJORITY, skip_bad=False)
    for file in (pool / "s-0.parquet", out / "votes" / "all.parquet"):
        with pytest.raises(ConfigError, match="choose another folder"):
            merge(plan, file)
    with pytest.raises(ConfigError, match="is a folder"):
        merge(plan, tmp_path)
    assert (pool / "s-0.parquet").read_bytes() == before


def test_status_refuses_other_settings(tmp_path: Path) -> None:
    pool, out = make_pool(tmp_path / "pool", 1, 3), tmp_path / "out"
    vote_all(pool, out)
    line = ["pool", "status", str(pool), "--out", str(out), "--set", "consensus.min_share=0.7"]
    assert isinstance(CliRunner().invoke(app, line).exception, RunFolderError)


def test_progress_counts_every_row_once(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", 1, 5000)
    plan = make_plan(pool, tmp_path / "out", MAJORITY, skip_bad=False)
    told: list[int] = []
    vote_shard(plan, plan.shards[0], lambda _, rows: told.append(rows))
    assert told == [2048, 4096, 5000, 5000]
