"""Lives of `mmupt` that a test can end with SIGKILL, without loading everything anew for each.

A fork server imports what a run needs and does no arithmetic; each life is a fork of it.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

LOADED = [
    "mmupt.pipeline.machine",
    "mmupt.pipeline.reporting",
    "mmupt.pipeline.reviewer",
    "mmupt.data.handwriting",
    "transformers.models.auto.processing_auto",
    "transformers.models.idefics3.image_processing_pil_idefics3",
    "transformers.models.idefics3.modeling_idefics3",
    "transformers.models.idefics3.processing_idefics3",
    "transformers.models.llama.modeling_llama",
    "pyarrow.dataset",
]


def start(words: Sequence[str], out: Path, err: Path) -> ForkServerProcess:
    """`mmupt words...` in a process of its own; what it prints goes to the files."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    process = context.Process(target=_live, args=(list(words), str(out), str(err)))
    here = sys.path[:]
    # A user has no torchvision beside the environment, as this process has (conftest.py).
    sys.path[:] = [place for place in here if Path(place).name != "torchvision"]
    try:
        process.start()
    finally:
        sys.path[:] = here
    return process


def _live(words: list[str], out: str, err: str) -> None:
    for path, stream in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, stream)
        os.close(file)
    from mmupt.cli import main

    sys.argv = ["mmupt", *words]
    main()
