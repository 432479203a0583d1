"""The verbs of people in charge, on a project that waits for its audit and on one that is done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import project_worker as worker
import pytest
import yaml

from mmupt import cli
from mmupt.pipeline.project import Project

SMALL: dict[str, Any] = {
    "sft": None,
    "pilot": {"rows": 0},
    "train": {"max_steps": 2, "prompts_per_step": 12, "anchor_fraction": 0.0},
    "guard": {"steps": 2},
    "eval": {"limit": 16},
}

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("projects")
    answers = worker.write_material(root / "data")
    config = worker.config_of(root / "data", SMALL)
    found = worker.go_on(root / "waiting", config, None, lambda event: None)
    assert found["project"]["state"] == "awaiting-audit"
    shutil.copytree(root / "waiting", root / "done")
    found = worker.go_on(root / "done", config, answers, lambda event: None)
    assert found["project"]["state"] == "done"
    return {name: root / name for name in ("data", "waiting", "done")}


@pytest.fixture
def waiting(made: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made["waiting"], tmp_path / "waiting"))


@pytest.fixture
def done(made: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made["done"], tmp_path / "done"))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mmupt", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def told(call: Call, *words: str | Path, code: int = 0) -> dict[str, Any]:
    """A verb with `--json`: exactly one JSON object, and nothing for people."""
    found, out, err = call(*words, "--json")
    assert (found, err) == (code, ""), err
    assert len(out.strip().splitlines()) == 1
    return dict(json.loads(out))


def refused(call: Call, *words: str | Path) -> str:
    """A verb that ends with one line and exit code 2, with `--json` too. Returns the line."""
    lines = []
    for more in ((), ("--json",)):
        code, out, err = call(*words, *more)
        assert (code, out) == (2, ""), err
        assert len(err.strip().splitlines()) == 1, err
        lines.append(err.strip())
    assert lines[0] == lines[1]
    return lines[0]


# What each verb says


def test_status_of_a_project_that_waits(waiting: Path, call: Call) -> None:
    found = told(call, "status", waiting)
    assert (found["state"], found["stage"]) == ("awaiting-audit", "round-1")
    assert (found["champion"], found["challenger"]) == ("base", "round-1")
    states = {one["name"]: one["state"] for one in found["stages"]}
    assert states == {
        "base": "finished", "base/evaluate": "finished", "round-1/train": "finished",
        "round-1/evaluate": "finished", "round-1/audit": "finished", "round-1/gate": "finished",
        "round-1/promote": "waiting",
    }  # fmt: skip
    audit = found["audits"]["round-1"]
    assert (audit["judged"], audit["asked"] > 0, audit["still_needed"] > 0) == (0, True, True)
    assert set(found["why"]) == {"en", "ja"}
    code, out, _ = call("status", waiting)
    assert code == 0
    for part in ("waits for its audit", "Champion", "base", "mmupt audit export"):
        assert part in out
    code, out, _ = call("status", waiting, "--lang", "ja")
    assert code == 0
    assert "監査" in out or "検査" in out
    assert "waits" not in out


def test_status_of_one_that_was_killed(waiting: Path, call: Call) -> None:
    """Also where an earlier run had come to a halt: the next one takes that back first."""
    record = waiting / "stages" / "round-1.gate.json"
    tree = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps({**tree, "state": "running"}), encoding="utf-8")
    assert told(call, "status", waiting)["state"] == "interrupted"
    assert "mmupt run" in call("status", waiting)[1]
    for text in ("", "[]", '{"state": "nonsense"}', '{"state": 7}'):
        (waiting / "state.json").write_text(text, encoding="utf-8")
        assert told(call, "status", waiting)["state"] == "interrupted"
        assert call("status", waiting)[0] == 0


def test_models_and_gate(done: Path, waiting: Path, call: Call) -> None:
    found = told(call, "models", done)
    assert [(one["name"], one["parent"], one["gate"]) for one in found["versions"]] == [
        ("base", None, None), ("round-1", "base", "pass"),
    ]  # fmt: skip
    assert found["aliases"] == {"champion": "round-1", "previous": "base"}
    assert all(0 <= one["greedy"] <= 1 and one["n"] == 16 for one in found["versions"])
    assert all(Path(one["path"]).is_dir() for one in found["versions"])
    code, out, _ = call("models", done)
    assert code == 0
    assert "round-1" in out
    assert found["versions"][1]["digest"][:12] in out

    passed = told(call, "gate", done)
    assert passed["verdict"] == "pass"
    assert passed == told(call, "gate", done, "round-1")
    assert told(call, "gate", waiting)["verdict"] == "insufficient"
    assert call("gate", done)[0] == 0
    assert "no gate decision" in refused(call, "gate", done, "base")


def test_promote_and_rollback(done: Path, call: Call) -> None:
    back = told(call, "rollback", done, "--by", "A", "--reason", "slower")
    assert (back["champion"], back["previous"], back["moved"]) == ("base", "round-1", True)
    shadow = told(call, "promote", done, "round-1", "--rollout", "shadow")
    assert (shadow["challenger"], shadow["rollout"]) == ("round-1", "shadow")
    assert told(call, "route", "--id", "k", done)["shadow"] == "round-1"
    assert told(call, "promote", done, "round-1", "--rollout", "25%")["rollout"] == "25%"
    again = told(call, "promote", done, "round-1")
    assert (again["champion"], again["challenger"]) == ("round-1", None)
    assert told(call, "promote", done, "round-1")["moved"] is False
    code, out, _ = call("rollback", done)
    assert (code, out) == (0, "base is the champion again, instead of round-1\n")
    history = Project(done).registry().history()
    assert (history[-5].by, history[-5].reason) == ("A", "slower")
    assert history[-1].by  # the user of this machine


def test_route_is_the_same_each_time(done: Path, call: Call) -> None:
    found = told(call, "route", done, "--id", "machine 7")
    assert found == told(call, "route", done, "--id", "machine 7")
    assert (found["serves"], found["id"]) == ("round-1", "machine 7")
    assert Path(found["model"]) == done / "checkpoints" / "round-1"
    assert call("route", done, "--id", "machine 7") == (0, "round-1\n", "")
    assert "expected 1 to" in refused(call, "route", done, "--id", "")


def test_verify_finds_a_flipped_byte_and_a_missing_file(done: Path, call: Call) -> None:
    clean = told(call, "verify", done)
    assert clean == {"intact": True, "versions": {"base": [], "round-1": []}}
    weights = done / "checkpoints" / "round-1" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    found = told(call, "verify", done, code=1)
    assert not found["intact"]
    assert found["versions"]["base"] == []
    ((fault,),) = (found["versions"]["round-1"],)
    assert (fault["kind"], fault["file"]) == ("changed", "model.safetensors")
    (done / "checkpoints" / "round-1" / "config.json").unlink()
    (done / "checkpoints" / "round-1" / "more.txt").write_text("x", encoding="utf-8")
    found = told(call, "verify", done, "champion", code=1)
    assert {(f["kind"], f["file"]) for f in found["versions"]["champion"]} == {
        ("changed", "model.safetensors"), ("missing", "config.json"), ("added", "more.txt"),
    }  # fmt: skip
    assert told(call, "verify", done, "base")["intact"]
    code, out, _ = call("verify", done)
    assert code == 1
    assert "base: as registered" in out
    assert "round-1: NOT as registered" in out
    assert "config.json" in out


def test_roi_and_report(done: Path, call: Call) -> None:
    found = told(call, "roi", done)
    assert found["figures"]
    first = Project(done).ledger().entries()
    assert call("roi", done, "--lang", "ja")[0] == 0
    assert Project(done).ledger().entries() == first  # asking books nothing twice
    written = told(call, "report", done)["files"]
    assert all(Path(path).stat().st_size > 0 for path in written)


def test_round_add(done: Path, made: dict[str, Path], call: Call) -> None:
    data = made["data"] / "unlabelled.jsonl"
    added = told(call, "round", "add", done, "--data", data, "--set", "train.max_steps=3")
    assert added == {"round": 2, "stage": "round-2", "rows": worker.UNLABELLED}
    code, out, _ = call("round", "add", done, "--data", data)
    assert (code, out) == (0, f"round-3: 64 questions; go on with: mmupt run {done}\n")
    names = [one["name"] for one in told(call, "status", done)["stages"]]
    assert names[-5:] == [f"round-3/{s}" for s in ("train", "evaluate", "audit", "gate", "promote")]
    assert "unknown key train.speed" in refused(
        call, "round", "add", done, "--data", data, "--set", "train.speed=1"
    )
    assert "holds for the whole project" in refused(
        call, "round", "add", done, "--data", data, "--set", "eval.num_samples=3"
    )
    assert "none.jsonl" in refused(call, "round", "add", done, "--data", done / "none.jsonl")
    assert len(list((done / "rounds").iterdir())) == 3


def test_run_goes_on_in_the_folder_that_it_is_given(
    waiting: Path, tmp_path: Path, call: Call
) -> None:
    """A copied project is not the one it was copied from, though its `out` still names that."""
    path = waiting / "config.yaml"
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**tree, "out": str(tmp_path / "former")}), encoding="utf-8")
    code, out, err = call("run", waiting, "--json")
    assert code == 0, err
    assert json.loads(out)["project"]["state"] == "awaiting-audit"
    assert not (tmp_path / "former").exists()
    assert told(call, "status", waiting)["state"] == "awaiting-audit"


# Audits


def tasks(call: Call, folder: Path, out: Path) -> list[dict[str, Any]]:
    assert told(call, "audit", "export", folder, "--out", out)["audit"] == "round-1"
    return [json.loads(line)["data"] for line in out.read_text(encoding="utf-8").splitlines()]


def test_an_audit_goes_out_and_comes_back(waiting: Path, tmp_path: Path, call: Call) -> None:
    waits = tasks(call, waiting, tmp_path / "tasks.jsonl")
    before = told(call, "audit", "status", waiting)["audits"]["round-1"]
    assert len(waits) == before["asked"]
    interface = (tmp_path / "tasks.xml").read_text(encoding="utf-8")
    assert interface.startswith("<View>")
    assert 'value="$image"' in interface  # every task has one
    rows = [
        {"unit": one["unit"], "verdict": "accept", "reviewer": "A", "seconds": 5.0} for one in waits
    ]
    file = tmp_path / "verdicts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:4]), encoding="utf-8")
    found = told(call, "audit", "import", waiting, file)
    assert (found["added"], found["already"], found["judged"], found["right"]) == (4, 0, 4, 4)
    found = told(call, "audit", "import", waiting, file)
    assert (found["added"], found["already"], found["judged"]) == (0, 4, 4)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code, out, _ = call("audit", "import", waiting, file)
    assert code == 0
    assert out.startswith(f"added {len(rows) - 4}, already 4\n")
    assert f"the gate can decide: mmupt run {waiting}" in out
    assert told(call, "audit", "status", waiting)["audits"]["round-1"]["still_needed"] == 0
    back = tmp_path / "back.jsonl"
    assert told(call, "audit", "export", waiting, "--verdicts", "--out", back)["rows"] == len(rows)
    assert told(call, "audit", "import", waiting, back)["added"] == 0
    seconds = sum(
        e.quantity for e in Project(waiting).ledger().entries() if e.kind == "review_seconds"
    )
    assert seconds == 0  # not booked yet
    told(call, "roi", waiting)
    seconds = sum(
        e.quantity for e in Project(waiting).ledger().entries() if e.kind == "review_seconds"
    )
    assert seconds == 5.0 * len(rows)


def test_a_bad_line_adds_nothing(waiting: Path, tmp_path: Path, call: Call) -> None:
    unit = tasks(call, waiting, tmp_path / "tasks.jsonl")[0]["unit"]
    good = json.dumps({"unit": unit, "verdict": "accept", "reviewer": "A"})
    file = tmp_path / "verdicts.jsonl"
    for bad in (
        "{", "[1]", '{"unit": "nobody", "verdict": "accept", "reviewer": "A"}',
        json.dumps({"unit": unit, "verdict": "perhaps", "reviewer": "A"}),
        json.dumps({"unit": unit, "verdict": "correct", "reviewer": "A"}),
        json.dumps({"unit": unit, "verdict": "accept"}),
        json.dumps({"unit": unit, "verdict": "accept", "reviewer": "A", "seconds": -1}),
    ):  # fmt: skip
        file.write_text(f"{good}\n{bad}\n", encoding="utf-8")
        line = refused(call, "audit", "import", waiting, file)
        assert f"{file}:2" in line, line
        assert Project(waiting).audits(Project(waiting).config()).verdicts("round-1") == ()
    assert "cannot be read" in refused(call, "audit", "import", waiting, tmp_path / "none.jsonl")
    assert "cannot be read" in refused(call, "audit", "import", waiting, tmp_path)


def test_single_verdicts_next_anchors_and_rules(
    waiting: Path, made: dict[str, Path], call: Call
) -> None:
    first = told(call, "audit", "next", waiting, "--reviewer", "A")["item"]
    assert first == told(call, "audit", "next", waiting, "--reviewer", "A")["item"]
    unit = first["unit"]
    found = told(call, "audit", "verdict", waiting, unit, "correct", "--reviewer", "A",
                 "--answer", "777")  # fmt: skip
    assert (found["added"], found["wrong"]) == (1, 1)
    second = told(call, "audit", "next", waiting, "--reviewer", "A")["item"]["unit"]
    assert second != unit
    told(call, "audit", "verdict", waiting, second, "accept", "--reviewer", "A")
    out = made["data"] / "anchors.jsonl"
    assert told(call, "audit", "anchors", waiting, "--out", out)["rows"] == 1
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert (row["id"], row["answer"]) == (f"round-1-{unit}", "777")
    assert (made["data"] / row["images"][0]).is_file()
    assert told(call, "audit", "anchors", waiting, "--out", out, "--accepted")["rows"] == 2
    assert "choose an --out above the images" in refused(
        call, "audit", "anchors", waiting, "--out", waiting / "anchors.jsonl"
    )
    assert "nobody" in refused(
        call, "audit", "verdict", waiting, "nobody", "accept", "--reviewer", "A"
    )
    assert "needs the right answer" in refused(
        call, "audit", "verdict", waiting, unit, "correct", "--reviewer", "A"
    )
    code, _, err = call("audit", "verdict", waiting, unit, "fine", "--reviewer", "A")
    assert code == 2
    assert "fine" in err
    rules = told(call, "audit", "rules", waiting)
    assert rules["audit"] == "round-1"
    assert all(hit["count"] == len(hit["ids"]) for hit in rules["rules"])
    (waiting / "audits" / "round-1.rules.json").unlink()
    assert "round-1.rules.json" in refused(call, "audit", "rules", waiting)


# What is refused


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["models"], ["gate"], ["promote", "round-1"], ["rollback"], ["verify"],
        ["route", "--id", "k"], ["roi"], ["audit", "status"], ["audit", "anchors", "--out", "x"],
        ["audit", "rules"], ["round", "add", "--data", "x.jsonl"],
    ],
)  # fmt: skip
def test_where_there_is_no_project(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    split = 2 if words[0] in ("audit", "round") else 1
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for folder in ("missing", "empty", "file"):
        line = refused(call, *words[:split], folder, *words[split:])
        assert f"{folder}: no project" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]  # nothing written
    assert not list((tmp_path / "empty").iterdir())


def test_a_damaged_configuration_is_told(done: Path, call: Call) -> None:
    for text in ("{", "- 1", "gate: 7", "nonsense: 1"):
        (done / "config.yaml").write_text(text, encoding="utf-8")
        assert "config.yaml" in refused(call, "status", done)


def test_versions_that_may_not_be_promoted(done: Path, waiting: Path, call: Call) -> None:
    assert "round-9" in refused(call, "promote", done, "round-9")
    assert "insufficient" in refused(call, "promote", waiting, "round-1")
    assert "half" in refused(call, "promote", done, "round-1", "--rollout", "half")
    assert "no version before base" in refused(call, "rollback", waiting)
    assert "round-9" in refused(call, "verify", done, "round-9")
    assert "round-9" in refused(call, "gate", done, "round-9")
    assert "round-9" in refused(call, "audit", "export", done, "--round", "round-9", "--out", "x")
    assert Project(waiting).registry().current().champion == "base"


def test_a_version_whose_bytes_have_changed_is_not_promoted(done: Path, call: Call) -> None:
    told(call, "rollback", done)
    weights = done / "checkpoints" / "round-1" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 128
    weights.write_bytes(content)
    for rollout in ("100%", "shadow"):
        line = refused(call, "promote", done, "round-1", "--rollout", rollout)
        assert "round-1 is not as it was registered: model.safetensors" in line
    assert Project(done).registry().current().champion == "base"


def test_places_that_cannot_be_written(waiting: Path, tmp_path: Path, call: Call) -> None:
    line = refused(call, "audit", "export", waiting, "--out", tmp_path / "none" / "tasks.json")
    assert "cannot be written" in line


# Without the model


@pytest.mark.parametrize(
    "words",
    [["status"], ["models"], ["gate"], ["route", "--id", "k"], ["verify"], ["audit", "status"],
     ["roi"], ["promote", "round-1"], ["rollback"]],
)  # fmt: skip
def test_people_wait_for_no_torch(done: Path, words: list[str]) -> None:
    split = 2 if words[0] == "audit" else 1
    script = (
        "import sys\nfrom mmupt import cli\n"
        f"sys.argv = ['mmupt', *{words[:split]!r}, {str(done)!r}, *{words[split:]!r}]\n"
        "try:\n    cli.main()\n"
        "finally:\n"
        "    heavy = {'torch', 'transformers', 'safetensors', 'matplotlib'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
