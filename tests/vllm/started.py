"""Processes of the vLLM tests: verbs as they are typed, and vLLM itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

VLLM = os.environ.get("MMUPT_VLLM", "")
"""The Python of an environment with vLLM."""
if VLLM and not Path(VLLM).is_file():
    raise pytest.UsageError(
        f"MMUPT_VLLM is to name a Python that has vLLM, and {VLLM} is not there"
    )
MMUPT = [
    sys.executable,
    "-c",
    "import sys; from mmupt.cli import main; sys.argv[0] = 'mmupt'; main()",
]
SITE = Path(__file__).parent / "site"
TORCHVISION = Path(sys.prefix) / "torchvision"
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1"}
PATIENCE = 300
"""Seconds until a server that does not come up, or a verb that hangs, fails."""


def mmupt(*words: object) -> str:
    paths = os.pathsep.join([str(SITE), str(TORCHVISION)])
    run = subprocess.run(
        [*MMUPT, *map(str, words)], env={**ENVIRONMENT, "PYTHONPATH": paths}, timeout=PATIENCE,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def serve(folder: Path, log: Path) -> Iterator[str]:
    """vLLM with the options of docs/export.md and those of a small machine; its address.

    The module is what `vllm serve` starts, whose script the CPU package cannot run.
    """
    port = free_port()
    words = [
        str(Path(VLLM).absolute()), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder),
        "--generation-config", "vllm", "--limit-mm-per-prompt", '{"image": 2, "video": 0}',
        "--dtype", "float32", "--max-model-len", "512", "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    environment = {
        **ENVIRONMENT, "PYTHONPATH": str(SITE), "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    with log.open("w", encoding="utf-8") as lines:
        server = subprocess.Popen(
            words, env=environment, cwd=log.parent, stdout=lines, stderr=lines,
            start_new_session=True,
        )  # fmt: skip
    try:
        until = time.monotonic() + PATIENCE
        while not is_up(port):
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"vLLM does not serve:\n{log.read_text(encoding='utf-8')[-6000:]}")
            time.sleep(1.0)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        # It ends its own processes if it is asked to; what is left then is killed with the group.
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
