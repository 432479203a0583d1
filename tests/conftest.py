"""Fixtures that tests of several folders share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes, which share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported anywhere
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
sys.path.insert(0, str(Path(__file__).parent / "unit"))  # `tiny`, whatever the import mode
TORCHVISION = Path(sys.prefix) / "torchvision"
"""Where `make setup` puts torchvision, see the Makefile."""
sys.path.append(str(TORCHVISION))


def _vision_operators() -> object:
    """Let torchvision be imported where its compiled operators are for another build of torch.

    The published wheels go with torch for CUDA. Beside torch for CPUs torchvision misses two
    operators, which no image processor calls, and refuses to be imported; their schemas are enough.
    """
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        torch.ops.load_library(str(TORCHVISION / "torchvision" / "_C.so"))
    except OSError:
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


_OPERATORS = _vision_operators()  # the schemas live as long as this

settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")


def pytest_sessionfinish() -> None:
    """Stop the PostgreSQL of this process, where a test has started one."""
    if "postgres" in sys.modules:
        sys.modules["postgres"].close()


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Arithmetic in one thread: fast for tiny tensors, and in the same order every time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def idefics3_folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A tiny Idefics3 as a Hugging Face folder."""
    import tiny
    from transformers.utils import logging

    logging.disable_progress_bar()
    return tiny.save_idefics3(tmp_path_factory.mktemp("models") / "idefics3")


@pytest.fixture(scope="session")
def model_folder(
    tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> Callable[[str], Path]:
    """Tiny folders of `architectures.ARCHITECTURES` by name, each written once."""
    import architectures
    from transformers.utils import logging

    logging.disable_progress_bar()
    root, made = tmp_path_factory.mktemp("architectures"), dict[str, Path]()

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = architectures.ARCHITECTURES[name](root / name)
        return made[name]

    return folder


@pytest.fixture
def load_idefics3(idefics3_folder: Path) -> Callable[[], object]:
    """Loads the tiny Idefics3 from disk, as anew as a started process would."""
    from mmupt.policy.model import load_policy

    return lambda: load_policy(idefics3_folder, device="cpu")


@pytest.fixture
def idefics3(load_idefics3: Callable[[], object]) -> object:
    """A freshly loaded tiny Idefics3."""
    return load_idefics3()


@pytest.fixture
def qwen(one_thread: None) -> object:
    """A tiny Qwen2.5-VL; its features come from `tiny.qwen_row`, it has no processor."""
    import tiny

    return tiny.qwen_policy()


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory, idefics3_folder: Path) -> Path:
    """A tiny Idefics3 folder; most tokens end its turn, so that short answers sometimes agree."""
    import tiny

    del idefics3_folder  # made first: it silences the progress bars
    folder = tmp_path_factory.mktemp("models") / "talker"
    return tiny.save_idefics3(folder, seed=5, stops=(2, *range(100, 250)))
