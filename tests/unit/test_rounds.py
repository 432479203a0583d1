"""Rounds: how they are numbered and kept, and how a project goes from one to the next."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import project_worker as worker
import pytest

from mmupt.config import Config
from mmupt.errors import ConfigError, InputError, RefusedError, RunFolderError
from mmupt.events import read_events
from mmupt.pipeline.project import Project
from mmupt.pipeline.rounds import Round, add_round, plan_rounds, read_rounds

# Their files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new.jsonl"
    path.write_text('{"problem": "1+1"}\n', encoding="utf-8")
    return path


def planned(rounds: int) -> Config:
    return Config.model_validate({"train": {"rounds": rounds}, "data": {"unlabelled": "/u.jsonl"}})


def test_planned_and_added_rounds_are_numbered_as_they_come(tmp_path: Path, file: Path) -> None:
    folder = tmp_path / "rounds"
    assert read_rounds(folder) == []
    assert [one.stage for one in plan_rounds(folder, planned(1))] == ["round-1"]
    added = add_round(folder, file, ["train.max_steps=3"])
    assert (added.number, added.planned, added.settings) == (2, False, ("train.max_steps=3",))
    found = plan_rounds(folder, planned(2))
    assert [(one.number, one.planned) for one in found] == [(1, True), (2, False), (3, True)]
    assert plan_rounds(folder, planned(2)) == found == read_rounds(folder)
    assert plan_rounds(folder, planned(1)) == found  # what is planned is not taken back
    assert found[1].config(planned(2)).train.max_steps == 3
    assert found[0].config(planned(2)) == planned(2)
    assert found[0].path(planned(2)) == Path("/u.jsonl")
    assert found[1].path(planned(2)) == file


def test_many_processes_add_rounds_at_once(tmp_path: Path, file: Path) -> None:
    folder, count = tmp_path / "rounds", 4
    code = (
        "import sys; from pathlib import Path; from mmupt.pipeline.rounds import add_round\n"
        "sys.stdin.readline()\n"
        "for _ in range(5): add_round(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), str(file)],
                         stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(count)
    ]  # fmt: skip
    for one in running:  # all are loaded before the first is let go
        assert one.stdin is not None
        one.stdin.write(b"go\n")
        one.stdin.flush()
    for one in running:
        assert one.communicate()[1] == b""
        assert one.returncode == 0
    assert [one.number for one in read_rounds(folder)] == list(range(1, 5 * count + 1))
    assert len(list(folder.iterdir())) == 5 * count  # nothing is left over


def test_a_data_file_that_has_changed_is_refused(tmp_path: Path, file: Path) -> None:
    added = add_round(tmp_path / "rounds", file)
    file.write_text('{"problem": "1+2"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="changed since it was added for round-1") as error:
        added.path(planned(1))
    assert str(file) in str(error.value)
    file.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        added.path(planned(1))
    with pytest.raises(InputError, match="cannot be read"):
        add_round(tmp_path / "rounds", file)
    assert len(read_rounds(tmp_path / "rounds")) == 1


@pytest.mark.parametrize(
    "setting",
    ["gate.min_precision=0.1", "gate=null", "train.rounds=3", "model.path=/x", "seed=4",
     "views.rotate=3", "eval.limit=3", "nonsense", "=3", "audit.reviewers=2"],
)  # fmt: skip
def test_a_setting_that_would_change_nothing_is_refused(
    tmp_path: Path, file: Path, setting: str
) -> None:
    with pytest.raises(ConfigError, match="holds for the whole project"):
        add_round(tmp_path / "rounds", file, ["train.max_steps=3", setting])
    assert read_rounds(tmp_path / "rounds") == []


def test_a_setting_out_of_range_is_told_by_its_round() -> None:
    with pytest.raises(ConfigError, match=r"train\.max_steps"):
        Round(1, settings=("train.max_steps=0",)).config(planned(1))


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "{}", '{"number": 1}', '{"number": 2, "settings": []}',
     '{"number": 1, "settings": 3}', '{"number": 1, "settings": [], "surplus": 1}', "\xff"],
)  # fmt: skip
def test_a_damaged_round_is_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "round-1.json"
    path.write_bytes(damage.encode("latin-1"))
    (tmp_path / "round-01.json").write_text("not ours", encoding="utf-8")
    with pytest.raises(RunFolderError, match="is no round") as error:
        read_rounds(tmp_path)
    assert str(path) in str(error.value)


# A project from round to round. Without SFT and pilot, so that a round takes a second.


SMALL: dict[str, Any] = {
    "sft": None,
    "pilot": {"rows": 0},
    "train": {"max_steps": 2, "prompts_per_step": 12, "anchor_fraction": 0.0},
    "guard": {"steps": 2},
    "eval": {"limit": 24},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("material")
    return folder, worker.write_material(folder)


class Bench:
    """A project and what `mmupt run` says of it."""

    def __init__(self, root: Path, data: tuple[Path, dict[str, str]]) -> None:
        self.root, (self.data, self.answers) = root, data
        self.project = Project(root)

    def run(self, *, reviewed: bool = True, **settings: Mapping[str, Any]) -> dict[str, Any]:
        merged = {
            key: {**SMALL.get(key, {}), **settings.get(key, {})}
            if isinstance(SMALL.get(key, {}), dict)
            else SMALL[key]
            for key in {**SMALL, **settings}
        }
        config = worker.config_of(self.data, merged)
        answers = self.answers if reviewed else None
        found = worker.go_on(self.root, config, answers, lambda event: None)
        return dict(found["project"], metrics=found)

    def finished(self) -> Counter[str]:
        events = read_events(self.root / "events.jsonl")
        return Counter(e["step"] for e in events if e["type"] == "step_finished")

    def add(self, *settings: str) -> Round:
        return add_round(self.project.rounds, self.data / "unlabelled.jsonl", settings)

    def moves(self) -> list[tuple[str, str]]:
        return [(past.kind, past.version) for past in self.project.registry().history()]

    def decided(self) -> list[tuple[str, str]]:
        return [(one.version, one.verdict) for one in self.project.registry().decisions()]

    def parent(self, name: str) -> str | None:
        return self.project.registry().version(name).lineage.parent

    def copied(self, root: Path) -> Bench:
        shutil.copytree(self.root, root)
        return Bench(root, (self.data, self.answers))


@pytest.fixture
def bench(
    tmp_path: Path, data: tuple[Path, dict[str, str]], one_thread: None
) -> Callable[[], Bench]:
    return lambda: Bench(tmp_path / "project", data)


STRICT = {"gate": {"min_precision": 0.97}, "train": {"rounds": 2}}


@pytest.fixture(scope="module")
def refused(
    tmp_path_factory: pytest.TempPathFactory, data: tuple[Path, dict[str, str]], one_thread: None
) -> Bench:
    """A project whose first of two planned rounds has too many wrong labels."""
    bench = Bench(tmp_path_factory.mktemp("refused") / "project", data)
    stands = bench.run(**STRICT)
    assert (stands["state"], stands["stage"]) == ("refused", "round-1")
    assert stands["gates"]["round-1"]["verdict"] == "fail"
    return bench


def test_a_refused_planned_round_stops_the_project(refused: Bench, tmp_path: Path) -> None:
    bench = refused.copied(tmp_path / "copy")
    assert bench.project.registry().aliases() == {"champion": "base"}
    before = (bench.moves(), bench.decided(), bench.finished())
    assert bench.run(**STRICT)["state"] == "refused"
    # Run again it changes nothing: no decision, no challenger who comes and goes.
    assert (bench.moves(), bench.decided(), bench.finished()) == before
    assert "round-2/train" not in before[2]


def test_an_added_round_goes_on_from_the_champion(refused: Bench, tmp_path: Path) -> None:
    bench = refused.copied(tmp_path / "copy")
    bench.add("train.learning_rate=1e-6")  # round-2 is planned, and would only repeat round-1
    stands = bench.run(**STRICT)
    assert (stands["state"], stands["stage"]) == ("refused", "round-3")
    assert bench.parent("round-3") == "base"
    assert [one.name for one in bench.project.registry().versions()] == [
        "base", "round-1", "round-3",
    ]  # fmt: skip
    finished = bench.finished()
    assert finished["round-1/train"] == finished["round-1/gate"] == 1
    # Once it has begun, what came before is not decided again, whatever is asked for now.
    loose = {"gate": {"min_precision": 0.05}, "train": {"rounds": 2}}
    stands = bench.run(**loose)
    assert (stands["state"], stands["aliases"]["champion"]) == ("done", "round-3")
    assert bench.decided() == [("round-1", "fail"), ("round-3", "fail"), ("round-3", "pass")]
    assert bench.finished()["round-3/train"] == 1


def test_another_gate_decides_again_without_training(refused: Bench, tmp_path: Path) -> None:
    bench = refused.copied(tmp_path / "copy")
    stands = bench.run(gate={"min_precision": 0.05}, train={"rounds": 2})
    assert (stands["state"], stands["aliases"]["champion"]) == ("done", "round-2")
    assert bench.decided() == [("round-1", "fail"), ("round-1", "pass"), ("round-2", "pass")]
    assert bench.parent("round-2") == "round-1"
    finished = bench.finished()
    assert finished["round-1/gate"] == 2
    assert all(n == 1 for step, n in finished.items() if step != "round-1/gate")


def test_an_audit_of_another_version_proves_nothing(refused: Bench, tmp_path: Path) -> None:
    """As when two copies of a project share a database of audits."""
    bench = refused.copied(tmp_path / "copy")
    with sqlite3.connect(bench.project.database) as connection:
        changed = connection.execute("UPDATE mmupt_audits SET subject = ?", ("f" * 64,))
        assert changed.rowcount == 1
    connection.close()
    stands = bench.run(gate={"min_precision": 0.05}, train={"rounds": 1})
    assert (stands["state"], stands["aliases"]["champion"]) == ("insufficient", "base")
    assert bench.decided()[-1] == ("round-1", "insufficient")
    (check,) = [
        check
        for check in json.loads(bench.project.registry().decisions()[-1].content)["checks"]
        if check["name"] == "precision"
    ]
    assert (check["verdict"], check["key"]) == ("insufficient", "other-version")


def test_other_test_rows_are_measured_and_decided_again(refused: Bench, tmp_path: Path) -> None:
    bench = refused.copied(tmp_path / "copy")
    stands = bench.run(**STRICT, eval={"limit": 16})
    assert stands["state"] == "refused"
    assert [stage["n"] for stage in stands["metrics"]["stages"]] == [16, 16]
    assert {step for step, n in bench.finished().items() if n == 2} == {
        "base/evaluate", "round-1/evaluate", "round-1/gate",
    }  # fmt: skip
    assert bench.decided() == [("round-1", "fail"), ("round-1", "fail")]


def test_other_training_settings_are_refused_by_name(refused: Bench, tmp_path: Path) -> None:
    bench = refused.copied(tmp_path / "copy")
    with pytest.raises(RefusedError, match=r"round-1/train was made with another train\.beta"):
        bench.run(**STRICT | {"train": {"rounds": 2, "beta": 0.5}})


def test_people_promote_roll_back_and_go_on(bench: Callable[[], Bench]) -> None:
    """Without `promotion.auto`: nothing serves before a person says so."""
    one, by_hand = bench(), {"promotion": {"auto": False}, "train": {"rounds": 2}}
    for _ in range(2):
        stands = one.run(**by_hand)
        assert (stands["state"], stands["stage"]) == ("passed", "round-1")
        assert stands["aliases"] == {"champion": "base", "challenger": "round-1"}
    assert one.decided() == [("round-1", "pass")]
    registry = one.project.registry()

    registry.promote("round-1", "25%", by="A", reason="carefully")
    stands = one.run(**by_hand)
    assert (stands["state"], stands["stage"]) == ("introducing", "round-1")
    registry.promote("round-1", "100%", by="A", reason="well done")
    stands = one.run(**by_hand)
    assert (stands["state"], stands["stage"]) == ("passed", "round-2")
    assert one.parent("round-2") == "round-1"

    registry.promote("round-2", "100%", by="A", reason="")
    before = (one.decided(), one.finished())
    stands = one.run(**by_hand)  # round-1 is not held against its successor
    assert (stands["state"], stands["aliases"]["champion"]) == ("done", "round-2")
    assert (one.decided(), one.finished()) == before

    registry.rollback(by="A", reason="it was worse after all")
    stands = one.run(**by_hand)
    assert (stands["state"], stands["aliases"]["champion"]) == ("done", "round-1")
    one.add()
    stands = one.run(**by_hand)
    assert (stands["state"], stands["stage"]) == ("passed", "round-3")
    assert one.parent("round-3") == "round-1"
    assert all(n == 1 for n in one.finished().values())
    # Other test rows: all versions are measured on the same ones, or they could not be compared.
    stands = one.run(**by_hand, eval={"limit": 16})
    assert [stage["n"] for stage in stands["metrics"]["stages"]] == [16] * 4


def test_a_share_of_the_requests_is_introduced_first(bench: Callable[[], Bench]) -> None:
    """And people review: the project waits for them, and goes on once they have."""
    one, slowly = bench(), {"promotion": {"rollout": "5%"}, "train": {"rounds": 1}}
    stands = one.run(**slowly, reviewed=False)
    assert (stands["state"], stands["stage"]) == ("awaiting-audit", "round-1")
    assert stands["aliases"] == {"champion": "base", "challenger": "round-1"}
    assert one.run(**slowly, reviewed=False)["state"] == "awaiting-audit"
    assert one.decided() == [("round-1", "insufficient")]
    stands = one.run(**slowly)
    assert (stands["state"], stands["stage"]) == ("introducing", "round-1")
    assert one.project.registry().current().rollout == "5%"
    one.add()
    stands = one.run(**slowly)
    assert (stands["state"], stands["stage"]) == ("introducing", "round-1")
    one.project.registry().rollback(by="A", reason="complaints")
    stands = one.run(**slowly)
    assert (stands["state"], stands["stage"]) == ("introducing", "round-2")
    assert (one.parent("round-2"), stands["aliases"]["challenger"]) == ("base", "round-2")
    assert all(n == 1 for step, n in one.finished().items() if step != "round-1/gate")


def test_a_guard_that_stops_a_round_refuses_it(bench: Callable[[], Bench]) -> None:
    """A round whose start was kept has learned nothing: no label of it is audited."""
    one = bench()
    guard = {"action": "rollback-to-best", "max_kl": 1e-9}
    stands = one.run(guard=guard, train={"rounds": 1})
    assert (stands["state"], stands["stage"]) == ("refused", "round-1")
    found = one.project.run
    assert found.root == one.root
    record = json.loads((one.project.steps / "round-1.audit.json").read_text(encoding="utf-8"))
    assert (record["inputs"]["last_step"], record["outputs"]["labels"]) == (0, 0)
    assert one.project.audits(Config()).audits() == ()
    one.add("guard.action=warn")
    stands = one.run(guard=guard, train={"rounds": 1})
    assert (stands["state"], stands["aliases"]["champion"]) == ("done", "round-2")
    assert one.parent("round-2") == "base"


def test_a_model_whose_bytes_have_changed_is_not_promoted(refused: Bench, tmp_path: Path) -> None:
    bench = refused.copied(tmp_path / "copy")
    weights = bench.project.run.checkpoint("round-1") / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RefusedError, match="round-1 is not as it was registered"):
        bench.run(gate={"min_precision": 0.05}, train={"rounds": 1})
    assert bench.project.registry().current().champion == "base"


def test_the_configuration_of_the_last_run_is_kept(refused: Bench, tmp_path: Path) -> None:
    """Other verbs read it; what a person has written by hand stays as it is."""
    bench = refused.copied(tmp_path / "copy")
    bench.run(gate={"min_precision": 0.9}, train={"rounds": 1})
    gate = bench.project.config().gate
    assert gate is not None
    assert gate.min_precision == 0.9
    mine = "# mine\n" + bench.project.run.config.read_text(encoding="utf-8")
    bench.project.run.config.write_text(mine, encoding="utf-8")
    bench.run(gate={"min_precision": 0.8}, train={"rounds": 1})
    assert bench.project.run.config.read_text(encoding="utf-8") == mine
