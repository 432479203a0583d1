"""The registry: what a version is, what moves the aliases, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from mmupt.errors import ConfigError, DatabaseError, InputError, ModelError, RefusedError
from mmupt.registry.manifest import build_manifest, read_manifest
from mmupt.registry.moves import State
from mmupt.registry.store import Registry
from mmupt.registry.verify import verify
from mmupt.registry.versions import Lineage, Version, make_version

HEADER = b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'


def tensors(content: bytes = b"abcd") -> bytes:
    """A safetensors file with one tensor of four bytes."""
    return len(HEADER).to_bytes(8, "little") + HEADER + content


def write_model(folder: Path, content: bytes = b"abcd") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    (folder / "model.safetensors").write_bytes(tensors(content))
    (folder / "sub").mkdir()
    (folder / "sub" / ".hidden").write_text("")
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "project").mkdir()
    opened = Registry(tmp_path / "project" / "project.db")
    yield opened
    opened.close()


@pytest.fixture
def add(registry: Registry) -> Callable[..., Version]:
    """Registers a version, with a pass of its gate where it has a parent."""

    def _add(name: str, parent: str | None = None, verdict: str | None = "pass") -> Version:
        folder = write_model(registry.project / "models" / name, name[-4:].encode())
        version = make_version(
            registry.project,
            name,
            folder,
            config=f"# of {name}\n",
            lineage=Lineage(parent, name, data={"a.jsonl": "0" * 64}, audits=("audit-1",)),
        )
        assert registry.register(version)
        if parent is not None and verdict is not None:
            registry.add_decision(name, verdict, '{"why": "audited"}', "gate-1")
        return version

    return _add


@pytest.fixture
def project(registry: Registry, add: Callable[..., Version]) -> Registry:
    """A base model that serves, and two rounds whose gates passed."""
    add("base")
    registry.promote("base", "100%", by="init", reason="start", require_decision=False)
    add("round-1", "base")
    add("round-2", "round-1")
    return registry


class TestManifest:
    def test_every_file_with_its_own_hash(self, tmp_path: Path) -> None:
        manifest = build_manifest(write_model(tmp_path / "m"))
        weights = tensors()
        assert [(e.path, e.size, e.sha256) for e in manifest.files] == [
            ("config.json", 22, hashlib.sha256(b'{"model_type": "tiny"}').hexdigest()),
            ("model.safetensors", len(weights), hashlib.sha256(weights).hexdigest()),
            ("sub/.hidden", 0, hashlib.sha256(b"").hexdigest()),
        ]
        assert manifest.size == 22 + len(weights)

    def test_the_digest_is_that_of_a_text_written_by_hand(self, tmp_path: Path) -> None:
        folder = tmp_path / "m"
        folder.mkdir()
        (folder / "w.safetensors").write_bytes(tensors())
        manifest = build_manifest(folder)
        content = hashlib.sha256(tensors()).hexdigest()
        canonical = (
            '{"files":[{"path":"w.safetensors","sha256":"' + content + '","size":65}],"format":1}'
        )
        assert len(tensors()) == 65
        assert manifest.json == canonical
        assert manifest.digest == hashlib.sha256(canonical.encode()).hexdigest()
        assert read_manifest(canonical) == manifest

    def test_progress_ends_at_all_bytes(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "m")
        (folder / "big.safetensors").write_bytes(tensors() + bytes(2_500_000))
        seen: list[tuple[int, int]] = []
        manifest = build_manifest(folder, lambda done, total: seen.append((done, total)))
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[-1] == (manifest.size, manifest.size)
        assert len(seen) >= 4  # three pieces of the big file, and the others
        again: list[tuple[int, int]] = []
        assert verify(folder, manifest, lambda done, total: again.append((done, total))) == ()
        assert again[-1] == (manifest.size, manifest.size)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("pytorch_model.bin", b"anything"),
            ("a/optimizer.PT", b"anything"),
            ("training_args.bin", b"anything"),
            ("odd\n.pkl", b"anything"),
            ("weights.dat", b"\x80\x04\x95"),
            ("weights", b"PK\x03\x04rest"),
        ],
    )
    def test_weights_that_can_run_code(self, tmp_path: Path, name: str, content: bytes) -> None:
        folder = write_model(tmp_path / "m")
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        with pytest.raises(ModelError, match=r"run code.*safetensors only") as error:
            build_manifest(folder)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "content", [b"", b"\x80\x04\x95" + bytes(60), b"\xff" * 70, tensors()[:20]]
    )
    def test_a_safetensors_file_that_is_none(self, tmp_path: Path, content: bytes) -> None:
        folder = write_model(tmp_path / "m")
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(ModelError, match="is no safetensors file"):
            build_manifest(folder)

    def test_a_header_that_begins_like_a_pickle_is_none(self, tmp_path: Path) -> None:
        """640 is written as bytes 80 02."""
        folder = write_model(tmp_path / "m")
        header = HEADER.ljust(640)
        (folder / "model.safetensors").write_bytes((640).to_bytes(8, "little") + header + b"abcd")
        assert build_manifest(folder).size > 640

    def test_links(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "m")
        inside = folder / "again.safetensors"
        inside.symlink_to("model.safetensors")
        assert len(build_manifest(folder).files) == 4
        inside.unlink()
        (tmp_path / "secret").write_text("x")
        for target in ("../secret", str(tmp_path), "../m2"):
            (folder / "link").symlink_to(target)
            with pytest.raises(ModelError, match="a link that leaves the folder"):
                build_manifest(folder)
            (folder / "link").unlink()
        (folder / "link").symlink_to("link")
        with pytest.raises(ModelError, match="link"):
            build_manifest(folder)
        (folder / "link").unlink()
        (folder / "link").symlink_to("sub")
        with pytest.raises(ModelError, match="is no file"):
            build_manifest(folder)

    def test_what_is_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="is no folder"):
            build_manifest(tmp_path / "none")
        (tmp_path / "empty").mkdir()
        with pytest.raises(ModelError, match=r"holds no \.safetensors"):
            build_manifest(tmp_path / "empty")
        folder = write_model(tmp_path / "m")
        os.mkfifo(folder / "pipe")
        with pytest.raises(ModelError, match="is no file"):
            build_manifest(folder)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            "[" * 100_000,
            '{"files":[],"format":2}',
            '{"files":[{"path":"../x","sha256":"' + "0" * 64 + '","size":1}],"format":1}',
            '{"files":[{"path":"/x","sha256":"' + "0" * 64 + '","size":1}],"format":1}',
            '{"files":[{"path":"x","sha256":"' + "0" * 63 + '","size":1}],"format":1}',
            '{"files":[{"path":"x","sha256":"' + "0" * 64 + '","size":true}],"format":1}',
            '{"files":[{"path":"x","sha256":"' + "0" * 64 + '"}],"format":1}',
        ],
    )
    def test_a_text_that_is_no_manifest(self, text: str) -> None:
        with pytest.raises(DatabaseError, match="not one of mmupt's"):
            read_manifest(text)


class TestVerify:
    def test_says_what_happened_to_which_file(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "m")
        manifest = build_manifest(folder)
        assert verify(folder, manifest) == ()
        weights = bytearray((folder / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "config.json").write_text("{}")
        (folder / "sub" / ".hidden").unlink()
        (folder / "new.txt").write_text("x")
        faults = verify(folder, manifest)
        assert [(f.kind, f.path) for f in faults] == [
            ("changed", "config.json"),
            ("changed", "model.safetensors"),
            ("missing", "sub/.hidden"),
            ("added", "new.txt"),
        ]
        assert str(faults[0]) == "config.json: changed; 2 bytes, registered with 22"
        assert str(faults[1]).startswith("model.safetensors: changed; as long as before (65 bytes)")
        assert hashlib.sha256(weights).hexdigest()[:12] in str(faults[1])

    def test_a_file_that_became_something_else(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "m")
        manifest = build_manifest(folder)
        (tmp_path / "out").write_text('{"model_type": "tiny"}')
        (folder / "config.json").unlink()
        (folder / "config.json").symlink_to(tmp_path / "out")
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").mkdir()
        (folder / "sub" / ".hidden").unlink()
        (folder / "sub").rmdir()
        (folder / "sub").write_text("a file")
        assert [str(fault) for fault in verify(folder, manifest)] == [
            "config.json: changed; it is now a link out of the folder",
            "model.safetensors: changed; it is no longer a file",
            "sub/.hidden: missing",
            "sub: added; it was not there when registered",
        ]

    def test_a_folder_that_is_gone(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "m")
        manifest = build_manifest(folder)
        folder.rename(tmp_path / "elsewhere")
        (fault,) = verify(folder, manifest)
        assert (fault.kind, fault.path) == ("missing", ".")

    def test_the_registry_finds_a_flipped_byte(self, project: Registry) -> None:
        assert project.verify("round-1") == ()
        path = project.project / "models" / "round-1" / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data)
        (fault,) = project.verify("round-1")
        assert (fault.kind, fault.path) == ("changed", "model.safetensors")
        assert project.verify("champion") == ()

    @pytest.mark.parametrize("column", ["manifest", "digest", "path", "config", "lineage"])
    def test_a_changed_record_is_found(self, project: Registry, column: str) -> None:
        change = {"digest": "'" + "0" * 64 + "'"}.get(column, f"{column} || ' '")
        with sqlite3.connect(project.place) as raw:
            raw.execute(f"UPDATE versions SET {column} = {change} WHERE name = 'base'")  # noqa: S608
        raw.close()
        (fault,) = project.verify("base")
        assert (fault.kind, fault.path) == ("record", "project.db")


class TestVersions:
    def test_what_was_registered_comes_back(
        self, registry: Registry, add: Callable[..., Version], tmp_path: Path
    ) -> None:
        base = write_model(tmp_path / "outside")
        version = make_version(
            registry.project, "base", base, config="", lineage=Lineage(None, "base")
        )
        assert version.path == str(base)  # outside the project: absolute
        registry.register(version)
        round_1 = add("round-1", "base")
        assert round_1.path == "models/round-1"
        read = registry.versions()
        assert [v.name for v in read] == ["base", "round-1"]
        assert read[1].digest == round_1.digest
        assert read[1].lineage == round_1.lineage
        assert read[1].config == "# of round-1\n"
        assert registry.folder(read[0]) == base
        assert registry.folder(read[1]) == registry.project / "models" / "round-1"
        assert registry.version("round-1") == read[1]

    def test_versions_are_immutable(self, registry: Registry, add: Callable[..., Version]) -> None:
        version = add("base")
        assert not registry.register(version)
        other = write_model(registry.project / "models" / "other", b"wxyz")
        changed = make_version(
            registry.project, "base", other, config="", lineage=Lineage(None, "base")
        )
        with pytest.raises(RefusedError, match="versions do not change"):
            registry.register(changed)
        assert [past.kind for past in registry.history()] == ["register"]

    def test_a_project_may_be_moved(self, project: Registry, tmp_path: Path) -> None:
        project.close()
        project.project.rename(tmp_path / "moved")
        moved = Registry(tmp_path / "moved" / "project.db")
        assert moved.verify("round-1") == ()
        assert moved.current().champion == "base"

    @pytest.mark.parametrize(
        "name", ["", "Round", "champion", "previous", "../x", "a/b", "x" * 65, "-a", "a\n"]
    )
    def test_names(self, registry: Registry, add: Callable[..., Version], name: str) -> None:
        version = add("base")
        with pytest.raises(InputError, match="expected small letters"):
            registry.register(
                Version(name, version.path, version.manifest, "", Lineage(None, "base"))
            )

    def test_unknown_versions(self, project: Registry) -> None:
        for word in ("round-9", "challenger", "\udc80", "'; DROP TABLE versions; --"):
            with pytest.raises(RefusedError, match="there are base, round-1, round-2"):
                project.version(word)
            with pytest.raises(RefusedError, match="not registered"):
                project.promote(word, "100%", by="", reason="")
        with pytest.raises(RefusedError, match="not registered"):
            project.add_decision("round-9", "pass", "{}", "")
        orphan = Version(
            "orphan", "x", project.version("base").manifest, "", Lineage("nobody", "sft")
        )
        with pytest.raises(RefusedError, match="'nobody' is not registered"):
            project.register(orphan)


class TestDecisions:
    def test_the_same_again_keeps_its_number(self, project: Registry) -> None:
        first = project.add_decision("round-1", "fail", '{"n": 1}', "gate-1")
        assert project.add_decision("round-1", "fail", '{"n": 1}', "gate-1") == first
        second = project.add_decision("round-1", "pass", '{"n": 2}', "gate-1")
        again = project.add_decision("round-1", "fail", '{"n": 1}', "gate-1")
        assert len({first, second, again}) == 3  # said again after something else: a new decision
        latest = project.latest_decision("round-1")
        assert latest is not None
        assert (latest.id, latest.verdict, latest.content) == (again, "fail", '{"n": 1}')
        assert latest.version_digest == project.version("round-1").digest
        assert project.latest_decision("base") is None
        assert len(project.decisions()) == 5

    @pytest.mark.parametrize(
        ("verdict", "content"), [("passed", "{}"), ("pass", "no json"), ("pass", "[" * 100_000)]
    )
    def test_no_decision(self, project: Registry, verdict: str, content: str) -> None:
        with pytest.raises(InputError):
            project.add_decision("round-1", verdict, content, "")

    @pytest.mark.parametrize("verdict", ["fail", "insufficient"])
    def test_only_a_pass_promotes(
        self, project: Registry, add: Callable[..., Version], verdict: str
    ) -> None:
        add("round-3", "round-2", verdict)
        for rollout in ("shadow", "5%", "100%"):
            with pytest.raises(RefusedError, match=f"round-3: its gate said {verdict}"):
                project.promote("round-3", rollout, by="a", reason="")
        project.add_decision("round-3", "pass", "{}", "")
        project.promote("round-3", "5%", by="a", reason="")
        project.add_decision("round-3", verdict, "{}", "")  # looked at again, on its way
        with pytest.raises(RefusedError, match=verdict):
            project.promote("round-3", "25%", by="a", reason="")
        assert project.current() == State("base", "round-3", "5%", None)

    def test_nothing_without_a_decision(
        self, project: Registry, add: Callable[..., Version]
    ) -> None:
        add("round-3", "round-2", None)
        with pytest.raises(RefusedError, match="no decision of its gate yet"):
            project.promote("round-3", "100%", by="a", reason="")
        with pytest.raises(RefusedError, match="no base model"):
            project.promote("round-3", "100%", by="a", reason="", require_decision=False)

    def test_a_pass_of_another_model_counts_for_nothing(self, project: Registry) -> None:
        other = project.version("round-2").digest
        project.add_decision("round-1", "pass", "{}", "", version_digest=other)
        with pytest.raises(RefusedError, match="about another model"):
            project.promote("round-1", "100%", by="a", reason="")
        project.add_decision("round-1", "pass", "{}", "", version_digest="")
        with pytest.raises(RefusedError, match="about another model"):
            project.promote("round-1", "100%", by="a", reason="")
        assert project.current() == State("base")


class TestMoves:
    def test_a_staged_introduction(self, project: Registry) -> None:
        steps = {"shadow": "promote", "5%": "raise", "25%": "raise"}
        for rollout, kind in steps.items():
            move = project.promote("round-1", rollout, by="ann", reason="step")
            assert (move.kind, move.changed) == (kind, True)
            assert project.current() == State("base", "round-1", rollout, None)  # type: ignore[arg-type]
        project.promote("round-1", "100%", by="ann", reason="step")
        assert project.current() == State("round-1", None, None, "base")
        assert project.aliases() == {"champion": "round-1", "previous": "base"}
        past = project.history()[-1]
        decision = project.latest_decision("round-1")
        assert decision is not None
        assert (past.kind, past.version, past.rollout, past.by) == (
            "raise", "round-1", "100%", "ann",
        )  # fmt: skip
        assert past.before == State("base", "round-1", "25%", None)
        assert past.after == State("round-1", None, None, "base")
        assert (past.decision, past.decision_digest) == (decision.id, decision.digest)

    def test_again_changes_nothing_and_says_so(self, project: Registry) -> None:
        project.promote("round-1", "5%", by="a", reason="")
        n = len(project.history())
        move = project.promote("round-1", "5%", by="a", reason="")
        assert (move.changed, move.text) == (False, "round-1 is at 5% already; nothing has changed")
        move = project.promote("base", "25%", by="a", reason="")
        assert (move.changed, move.text) == (
            False, "base is the champion already; nothing has changed",
        )  # fmt: skip
        assert len(project.history()) == n

    def test_a_share_is_not_lowered(self, project: Registry) -> None:
        project.promote("round-1", "25%", by="a", reason="")
        for rollout in ("5%", "shadow"):
            with pytest.raises(RefusedError, match=r"at 25% and is not lowered.*mmupt rollback"):
                project.promote("round-1", rollout, by="a", reason="")

    def test_one_introduction_at_a_time(self, project: Registry) -> None:
        project.promote("round-1", "25%", by="a", reason="")
        with pytest.raises(RefusedError, match="round-1 is being introduced at 25%"):
            project.promote("round-2", "5%", by="a", reason="")
        with pytest.raises(RefusedError, match="round-1 is being introduced at 25%"):
            project.set_challenger("round-2")
        with pytest.raises(RefusedError, match="round-1 is being introduced at 25%"):
            project.set_challenger(None)
        project.promote("round-2", "100%", by="a", reason="")  # wholly, past the challenger
        assert project.current() == State("round-2", "round-1", "25%", "base")

    def test_rollback_withdraws_first(self, project: Registry) -> None:
        project.promote("round-1", "100%", by="a", reason="")
        project.promote("round-2", "5%", by="a", reason="")
        move = project.rollback(by="bob", reason="complaints")
        assert (move.kind, move.text) == (
            "withdraw", "round-2 is withdrawn; round-1 serves alone",
        )  # fmt: skip
        assert project.current() == State("round-1", None, None, "base")
        move = project.rollback(by="bob", reason="still")
        assert move.text == "base is the champion again, instead of round-1"
        assert project.current() == State("base", None, None, "round-1")
        project.rollback(by="bob", reason="it was not that")
        assert project.current() == State("round-1", None, None, "base")
        assert [(p.kind, p.version, p.by, p.reason) for p in project.history()][-3:] == [
            ("withdraw", "round-2", "bob", "complaints"),
            ("rollback", "base", "bob", "still"),
            ("rollback", "round-1", "bob", "it was not that"),
        ]

    def test_a_candidate_is_no_introduction(self, project: Registry) -> None:
        project.promote("round-1", "100%", by="a", reason="")
        project.set_challenger("round-2")
        assert project.current() == State("round-1", "round-2", None, "base")
        assert project.current().fraction == 0
        assert project.route("anyone").serves == "round-1"
        project.rollback(by="a", reason="")
        assert project.current() == State("base", "round-2", None, "round-1")
        project.set_challenger("round-1")
        project.rollback(by="a", reason="")  # the champion is not also the challenger
        assert project.current() == State("round-1", None, None, "base")
        with pytest.raises(RefusedError, match="is the champion"):
            project.set_challenger("round-1")
        project.set_challenger("round-2")
        project.set_challenger(None)
        assert project.current() == State("round-1", None, None, "base")

    def test_nothing_to_undo(self, project: Registry) -> None:
        with pytest.raises(RefusedError, match="no version before base"):
            project.rollback(by="a", reason="")
        with pytest.raises(RefusedError, match="no challenger to withdraw"):
            project.withdraw(by="a", reason="")

    def test_the_first_champion(self, registry: Registry, add: Callable[..., Version]) -> None:
        with pytest.raises(RefusedError, match="no version serves yet"):
            registry.route("x")
        add("base")
        with pytest.raises(RefusedError, match="no champion that serves the rest"):
            registry.promote("base", "5%", by="a", reason="", require_decision=False)
        with pytest.raises(ConfigError, match="expected one of shadow, 5%, 25%, 100%"):
            registry.promote("base", "10%", by="a", reason="", require_decision=False)
        with pytest.raises(RefusedError, match="no decision of its gate"):
            registry.promote("base", "100%", by="a", reason="")
        registry.promote("base", "100%", by="a", reason="", require_decision=False)
        assert registry.current() == State("base")

    def test_files_that_are_gone(self, project: Registry) -> None:
        project.promote("round-1", "100%", by="a", reason="")
        models = project.project / "models"
        (models / "round-2" / "model.safetensors").unlink()
        with pytest.raises(RefusedError, match=r"round-2 is not .* model.safetensors: missing"):
            project.promote("round-2", "100%", by="a", reason="")
        (models / "base").rename(models / "aside")
        with pytest.raises(RefusedError, match=r"base: its folder .* is gone"):
            project.rollback(by="a", reason="")
        assert project.current() == State("round-1", None, None, "base")

    def test_who_and_why_may_be_anything(self, project: Registry) -> None:
        project.promote("round-1", "5%", by="\udcff", reason="';--\0" * 3000)
        past = project.history()[-1]
        assert past.by == "?"
        assert len(past.reason) == 2000

    def test_a_registry_that_is_routed_by_key(self, project: Registry) -> None:
        project.promote("round-1", "25%", by="a", reason="")
        answers = [project.route(f"user-{i}").serves for i in range(40)]
        assert set(answers) == {"base", "round-1"}
        assert answers == [project.route(f"user-{i}").serves for i in range(40)]


WORKER = """
import os, signal, sys, time
from pathlib import Path
from mmupt.errors import RefusedError
from mmupt.registry.store import Registry
place, name, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
registry = Registry(place)
print("ready", flush=True)
sys.stdin.readline()
if what == "promote":
    for _ in range(5):
        registry.promote(name, "100%", by=name, reason="")
elif what == "rollback":
    for _ in range(5):
        try:
            registry.rollback(by=name, reason="")
        except RefusedError:
            pass
else:  # dies while it moves the aliases
    from mmupt.registry import tables
    def dies(*_args, **_more):
        os.kill(os.getpid(), signal.SIGKILL)
    tables._next = dies
    registry.promote(name, "100%", by=name, reason="")
"""


def start(registry: Registry, name: str, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(registry.place), name, what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_promoters_and_rollbacks_at_once(project: Registry, add: Callable[..., Version]) -> None:
    add("round-3", "base")
    work = [
        ("round-1", "promote"),
        ("round-2", "promote"),
        ("round-3", "promote"),
        ("x", "rollback"),
    ]
    processes = [start(project, name, what) for name, what in work]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    history = project.history()
    moves = [past for past in history if past.kind != "register"]
    assert [past.id for past in history] == list(range(1, len(history) + 1))
    for one, after in pairwise(history):
        assert one.after == after.before  # each saw what the last one left
    for past in moves:
        assert past.after.champion == past.version
        assert past.after.previous == past.before.champion
    assert project.current() == history[-1].after
    assert {past.by for past in moves} >= {"round-1", "round-2", "round-3"}


def test_a_promoter_that_is_killed_leaves_nothing_behind(project: Registry) -> None:
    before, history = project.current(), project.history()
    process = start(project, "round-1", "die")
    process.communicate("go\n", timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert project.current() == before
    assert project.history() == history
    project.promote("round-1", "100%", by="a", reason="")
    assert project.current().champion == "round-1"


def test_records_are_plain_json(project: Registry) -> None:
    """Other programs may read them."""
    project.promote("round-1", "5%", by="a", reason="")
    with sqlite3.connect(project.place) as raw:
        (lineage,) = raw.execute("SELECT lineage FROM versions WHERE name='round-1'").fetchone()
        (after,) = raw.execute("SELECT state_after FROM history ORDER BY id DESC").fetchone()
    raw.close()
    assert json.loads(lineage)["parent"] == "base"
    assert json.loads(after) == {
        "champion": "base", "challenger": "round-1", "rollout": "5%", "previous": None,
    }  # fmt: skip
