"""What is installed is whole: every file of the package is in the wheel, and in the sdist's."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = {"__pycache__", ".DS_Store"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is versioned of the package, without what lies about in this checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignore)
    return source


def wheel_of(source: Path, out: Path) -> dict[str, str]:
    """Digest of every file of the wheel built of a folder or an sdist."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return wheel_of(source, tmp_path_factory.mktemp("wheel"))


def test_every_file_of_the_package_is_in_the_wheel(wheel: dict[str, str]) -> None:
    package = ROOT / "src"
    expected = {
        path.relative_to(package).as_posix()
        for path in (package / "mmupt").rglob("*")
        if path.is_file() and not MADE & set(path.parts) and not path.name.startswith(".")
    }
    assert sorted(expected - wheel.keys()) == []


def test_the_sdist_makes_the_same_wheel(
    source: Path, wheel: dict[str, str], tmp_path: Path
) -> None:
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True
    )
    (sdist,) = tmp_path.glob("mmupt-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"} <= names
    assert not [name for name in names if MADE & set(Path(name).parts)]
    again = wheel_of(sdist, tmp_path)
    assert {k: v for k, v in again.items() if not k.endswith("/RECORD")} == {
        k: v for k, v in wheel.items() if not k.endswith("/RECORD")
    }
