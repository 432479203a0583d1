"""The copy in MLflow's registry, with a real one in SQLite, and a real server where there is one.

Needs `pip install --constraint constraints.txt -e '.[mlflow]'`; the server's test the whole `mlflow`.
"""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmupt.errors import DatabaseError, InputError, RefusedError
from mmupt.registry.mlflow import mirror
from mmupt.registry.store import Registry
from mmupt.registry.versions import Lineage, make_version

MLFLOW = all(importlib.util.find_spec(name) for name in ("mlflow", "alembic"))
needs_mlflow = pytest.mark.skipif(not MLFLOW, reason="needs mmupt[mlflow]")
needs_server = pytest.mark.skipif(
    not (MLFLOW and importlib.util.find_spec("flask")), reason="needs the whole mlflow"
)
pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own, such as of SQLAlchemy 2.1

HEADER = b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'


def add(registry: Registry, name: str, parent: str | None) -> None:
    folder = registry.project / name
    folder.mkdir()
    weights = len(HEADER).to_bytes(8, "little") + HEADER + name[-4:].encode()
    (folder / "model.safetensors").write_bytes(weights)
    lineage = Lineage(parent, name, data={"a.jsonl": "0" * 64})
    registry.register(make_version(registry.project, name, folder, config="", lineage=lineage))


def new_project(folder: Path) -> Registry:
    folder.mkdir()
    registry = Registry(folder / "project.db")
    add(registry, "base", None)
    registry.promote("base", "100%", by="a", reason="", require_decision=False)
    for name, verdict in (("round-1", "pass"), ("round-2", "fail")):
        add(registry, name, "base")
        registry.add_decision(name, verdict, "{}", "gate")
    return registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    opened = new_project(tmp_path / "project")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
                *("--port", str(port), "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "log").read_text()
            try:
                with urllib.request.urlopen(f"{place}/health", timeout=5):  # noqa: S310
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield place
    finally:
        process.terminate()
        process.wait(30)


def client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def check_a_mirror(registry: Registry, uri: str, source: Callable[[str], str]) -> None:
    done = mirror(registry, uri, "reader")
    assert done.created == ("base", "round-1", "round-2")
    assert (done.changed, done.moved) == ((), ("champion",))
    mlflow = client(uri)
    there = {v.tags["mmupt.version"]: v for v in mlflow.search_model_versions("name='reader'")}
    assert set(there) == {"base", "round-1", "round-2"}
    for version in registry.versions():
        assert there[version.name].tags["mmupt.digest"] == version.digest
        assert there[version.name].tags["mmupt.lineage"] == version.lineage.json
        assert there[version.name].source == source(version.name)
    assert [there[n].tags.get("mmupt.verdict", "") for n in sorted(there)] == ["", "pass", "fail"]
    assert [there[n].tags.get("mmupt.rollout", "") for n in sorted(there)] == ["100%", "", ""]
    assert mlflow.get_model_version_by_alias("reader", "champion").tags["mmupt.version"] == "base"

    again = mirror(registry, uri, "reader")
    assert (again.created, again.changed, again.moved) == ((), (), ())
    assert again.numbers == done.numbers

    registry.promote("round-1", "25%", by="a", reason="")
    done = mirror(registry, uri, "reader")
    assert (done.created, done.changed, done.moved) == ((), ("round-1",), ("challenger",))
    registry.promote("round-1", "100%", by="a", reason="")
    mlflow.set_registered_model_alias("reader", "ours", "1")
    done = mirror(registry, uri, "reader")
    assert done.changed == ("base", "round-1")
    assert done.moved == ("champion", "challenger", "previous")
    names = {
        alias: mlflow.get_model_version("reader", str(number)).tags["mmupt.version"]
        for alias, number in mlflow.get_registered_model("reader").aliases.items()
    }
    assert names == {"champion": "round-1", "previous": "base", "ours": "base"}

    add(registry, "round-3", "round-1")
    assert mirror(registry, uri, "reader").created == ("round-3",)


@needs_mlflow
def test_a_mirror_in_sqlite(registry: Registry, tmp_path: Path) -> None:
    check_a_mirror(
        registry,
        f"sqlite:///{tmp_path}/mlflow.db",
        lambda name: str((registry.project / name).resolve()),
    )


@needs_server
def test_a_mirror_on_a_server(registry: Registry, server: str) -> None:
    check_a_mirror(registry, server, lambda name: f"mmupt://reader/{name}")


@needs_mlflow
def test_another_project_under_the_same_name(registry: Registry, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    other = new_project(tmp_path / "other")
    add(other, "extra", "base")
    mirror(other, uri, "reader")
    with pytest.raises(RefusedError, match=r"\(extra\) that is not of this project"):
        mirror(registry, uri, "reader")
    assert mirror(registry, uri, "reader two").created == ("base", "round-1", "round-2")
    client(uri).create_model_version("reader two", "/elsewhere")
    with pytest.raises(RefusedError, match="version 4"):
        mirror(registry, uri, "reader two")
    other.close()


@needs_mlflow
def test_a_registry_that_is_not_there(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all" * 100)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    for uri in (f"sqlite:///{tmp_path}/text.db", "nothing://x", nobody):
        with pytest.raises(DatabaseError) as error:
            mirror(registry, uri, "reader")
        assert "\n" not in str(error.value)
        assert uri.removeprefix("sqlite:///") in str(error.value)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "o'brien", "x" * 101])
def test_names_that_mlflow_does_not_take(registry: Registry, name: str) -> None:
    with pytest.raises(InputError, match="no name of a model in MLflow"):
        mirror(registry, "sqlite:///x.db", name)


@pytest.mark.skipif(MLFLOW, reason="MLflow is installed")
def test_without_mlflow(registry: Registry) -> None:
    with pytest.raises(DatabaseError, match=r"https://user:\*\*\*@host.*install mmupt\[mlflow\]"):
        mirror(registry, "https://user:secret@host", "reader")
