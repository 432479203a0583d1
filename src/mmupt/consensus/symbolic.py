r"""The reader of last resort: LaTeX that no reader of the house reads, with math-verify's parser.

Measured: math-verify 0.9.0 hangs on some strings, guards itself with signals that work in the main
thread only, and its `verify` is neither symmetric nor transitive (see `equivalence`). So nothing of
it runs here. A worker process (`symbolic_worker`) parses one string at a time and gives back a key,
plain data; equivalence stays equality of keys. A string that takes more than 0.3 s of CPU time or
half a gigabyte is killed with its process and abstains; the next string finds another process.

What is asked here (`canonical`): answers with a LaTeX command that no reader of the house can read,
such as \sum_{k=1}^{4} k, and answers that it reads without knowing their value, such as
\sin\frac{\pi}{6} (an opaque part in their key). All others never start the process.

The worker is the package's one piece of state: starting it takes two seconds, so that it is kept
for the life of this process. What it answers depends on the string alone: its hash seed and number
types are fixed, the limit counts CPU time, and a killed child leaves nothing behind. The exception
is a string that needs about the limit, and may or may not abstain on another machine or when
sympy's caches are warmer; what it says if it does not abstain is the same.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Hashable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmupt.consensus.algebra import TooLargeError
from mmupt.consensus.parts import Key
from mmupt.consensus.symbolic_latex import plausible
from mmupt.errors import MmuptError

START_SECONDS = 120.0
"""How long the worker may take to load on a busy machine."""
ANSWER_SECONDS = 10.0
"""How long an answer may take in all; the worker's own limits are far below."""

_ABSTAINS: Key = ("abstains",)
_OPAQUE = re.compile(r"#[0-9a-f]{32}$")


def symbolic(text: str) -> Key | None:
    """The key of an answer by its mathematical value, or None if it is not read.

    Args:
        text: an answer after `writing.plain` and `writing.delatex`.

    Raises:
        TooLargeError: the string took more time or memory than it may; it abstains.
        MmuptError: the worker process cannot be started.
    """
    if not plausible(text):
        return None
    key = asked(text)
    if key == _ABSTAINS:
        raise TooLargeError
    return key


@lru_cache(maxsize=1 << 16)
def asked(text: str) -> Key | None:
    """What the worker says of a string; each distinct string is parsed once."""
    return _worker.ask(text)


def opaque(key: Hashable) -> bool:
    """Whether a key holds a part that was not computed with (`algebra.opaque`)."""
    if isinstance(key, tuple):
        return any(opaque(part) for part in key)
    return isinstance(key, str) and _OPAQUE.search(key) is not None


def encoded(key: object) -> object:
    """A key as JSON: integers in hexadecimal, whose length Python does not limit."""
    if isinstance(key, tuple):
        return ["t", *(encoded(part) for part in key)]
    if isinstance(key, Fraction):
        return ["f", hex(key.numerator), hex(key.denominator)]
    if isinstance(key, int) and not isinstance(key, bool):
        return ["i", hex(key)]
    return key


def decoded(value: Any) -> Any:
    """The way back from `encoded`."""
    if not isinstance(value, list):
        return value
    kind, *parts = value
    if kind == "t":
        return tuple(decoded(part) for part in parts)
    numbers = [int(part, 16) for part in parts]
    return Fraction(*numbers) if kind == "f" else numbers[0]


class _DiedError(Exception):
    """The worker ended without an answer."""


class _Worker:
    """A handle on the worker process: started when first asked, started anew when it died."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.unread = b""
        self.number = 0

    def ask(self, text: str) -> Key | None:
        """One string at a time, from any thread."""
        with self.lock:
            for _ in range(2):
                try:
                    return self._answer(text)
                except _DiedError:
                    # Killed from outside, which says nothing about the string: once more.
                    self._stop()
            return _ABSTAINS

    def close(self) -> None:
        """End the process in peace; the next string starts another."""
        with self.lock:
            self._stop(patience=1.0)

    def forget(self) -> None:
        """After a fork, in the child: the process belongs to the parent."""
        self.lock = threading.Lock()
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self.process.returncode = 0  # not ours to wait for
        self.process = None

    def _answer(self, text: str) -> Key | None:
        if self.process is not None and self.process.poll() is not None:
            self._stop()
        process = self.process or self._started()
        self.number += 1
        request = {"id": self.number, "text": text}
        line = json.dumps(request, ensure_ascii=False).encode() + b"\n"
        try:
            assert process.stdin is not None  # noqa: S101
            process.stdin.write(line)
        except OSError as error:
            raise _DiedError from error
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            answer = self._said(process, deadline)
            if answer is None:
                self._stop()
                return _ABSTAINS
            if answer.get("id") == self.number:
                return _ABSTAINS if answer.get("abstains") else decoded(answer["key"])

    def _started(self) -> subprocess.Popen[bytes]:
        package = Path(__file__).parents[2]
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONHASHSEED": "0",
            "SYMPY_GROUND_TYPES": "python",
            "MPMATH_NOGMPY": "1",
        }
        # A session of its own: an interrupt at the terminal is for the parent to handle.
        self.process = process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mmupt.consensus.symbolic_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
            start_new_session=True,
        )
        self.unread = b""
        try:
            first = self._said(process, time.monotonic() + START_SECONDS)
        except _DiedError:
            first = None
        if first is None or not first.get("ready"):
            self._stop()
            raise MmuptError(
                "the reader of LaTeX answers (math-verify in a process of its own) did not start: "
                f"{(first or {}).get('error', 'it ended at once')}; try "
                "`python -m mmupt.consensus.symbolic_worker`, and `pip install math-verify`"
            )
        return process

    def _said(self, process: subprocess.Popen[bytes], deadline: float) -> dict[str, Any] | None:
        """The next message; None when the time is over."""
        assert process.stdout is not None  # noqa: S101
        output = process.stdout.fileno()
        while b"\n" not in self.unread:
            waiting = select.poll()  # select() refuses descriptors above 1023
            waiting.register(output, select.POLLIN)
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            chunk = os.read(output, 1 << 16)
            if not chunk:
                raise _DiedError
            self.unread += chunk
        line, _, self.unread = self.unread.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _stop(self, patience: float = 0.0) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(patience)  # it ends with its input, unless it hangs
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_worker = _Worker()


def close() -> None:
    """End the worker process, if there is one; the next string that needs it starts another."""
    _worker.close()


atexit.register(close)
os.register_at_fork(after_in_child=_worker.forget)
