r"""The process that reads LaTeX with math-verify's parser; started by `symbolic`, never imported.

    python -P -m mmupt.consensus.symbolic_worker

Hostile strings hang or fill memory (9^9^9^9 under a sine, sums that sympy never finishes), so what
reads has to be killable, and a new one has to be there at once, though sympy and the parser need a
second to load and to warm up. Hence two processes: this one loads and waits; its child reads. The
kernel kills the child when its own timers run out (SIGPROF after `LIMIT` seconds of CPU time, so
that a loaded machine changes no key; SIGALRM after `WALL` seconds), and `MEMORY` bounds its address
space. This process then answers for it, "abstains", and forks the next child in milliseconds. It
holds no thread and no torch, so that the fork is safe.

Lines of JSON: {"id": 7, "text": ...} in; {"id": 7, "key": ...} out, null for what is not read, or
{"id": 7, "abstains": true}. Both end when their standard input does, that is with the parent.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from mmupt.consensus.algebra import TooLargeError
from mmupt.consensus.canonical import value
from mmupt.consensus.parts import Key
from mmupt.consensus.symbolic import encoded

LIMIT = 0.3
"""Seconds of CPU time for one string."""
WALL = 3.0
"""Seconds by the clock, should a string ever wait without working."""
MEMORY = 1 << 29
"""Bytes of address space beyond what the loaded process has."""
CHILD_READS = 2000
"""Strings a child reads before a fresh one takes over, so that sympy's caches stay small."""

_AGAIN = 3
_REQUEST_BYTES = 8
_WARM_UP = (
    r"\frac{\sin 2x}{1+\cos 2x}-\tan x", r"\sqrt{3+2\sqrt{2}}+\ln 5", r"\sum_{k=1}^{n} k^2",
    r"\prod_{k=1}^{4} (2k-1)", r"\int_0^1 x^2 \sin x dx", r"\lim_{x→0}\frac{e^x-1}{x}",
    r"2\begin{pmatrix}1&2\\3&4\end{pmatrix}-\begin{pmatrix}1&x\\0&1\end{pmatrix}",
    r"|\frac{x}{2}-1|+\lfloor \frac{7}{2} \rfloor+\lceil x \rceil", r"\log_2 5-\binom{5}{2}+3!",
    r"\frac{x^2-1}{x-1}=\frac{2\sqrt[3]{x}}{3}-2^{x+1}", r"\arcsin\frac{1}{3}+\sinh 1-\frac{-π}{7}",
    r"\frac{\frac{1}{x}+\frac{1}{y}}{\frac{1}{x}-\frac{1}{y}}", r"\sum_{n=1}^∞ \frac{1}{n^2}",
    r"\int_{-∞}^{∞} e^{-x^2} dx", r"\int_0^{\frac{π}{2}} \sin^3 x\cos^2 x dx",
    r"\int_0^1 \sqrt{1-x^2} dx", r"\sum_{n=1}^∞ \frac{(-1)^n}{n}", r"\sum_{k=0}^{n}\binom{n}{k}",
    r"\lim_{x→∞}\frac{3x^2+1}{2x^2-x}",
)  # fmt: skip


def main() -> None:
    """Load, say so, and keep a child reading until the input ends."""
    try:
        # Inside, because a walk over the package's modules may import this one.
        from mmupt.consensus.symbolic_keys import symbolic_key
    except ImportError as error:
        _say({"error": str(error)})
        return
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(5000)
    if None in [_key(text, symbolic_key) for text in _WARM_UP]:
        _say({"error": "this version of math-verify or sympy reads none of what 0.9.0 reads"})
        return
    _bound_memory()
    gc.collect()
    gc.freeze()
    busy = mmap.mmap(-1, _REQUEST_BYTES)
    _say({"ready": True})
    while True:
        child = os.fork()
        if not child:
            _read(busy, symbolic_key)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != _AGAIN:
            return
        if number := int.from_bytes(busy[:], "big"):
            busy[:] = bytes(_REQUEST_BYTES)
            _say({"id": number, "abstains": True})


def _read(busy: mmap.mmap, symbolic_key: Callable[[str], Key | None]) -> NoReturn:
    """The child: one request after the other, each with its timers on."""
    for timer in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(
            timer, signal.SIG_DFL
        )  # which kills; a parent's choice to ignore is inherited
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGPROF, signal.SIGALRM))
    for _ in range(CHILD_READS):
        line = _line()
        if not line:
            os._exit(0)
        request = json.loads(line)
        busy[:] = int(request["id"]).to_bytes(_REQUEST_BYTES, "big")
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        signal.setitimer(signal.ITIMER_REAL, WALL)
        try:
            answer = {"id": request["id"], "key": encoded(_key(request["text"], symbolic_key))}
        except TooLargeError:
            answer = {"id": request["id"], "abstains": True}
        except (MemoryError, RecursionError):
            os._exit(_AGAIN)  # the parent answers; a fresh child forgets what filled this one
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        busy[:] = bytes(_REQUEST_BYTES)
        _say(answer)
    os._exit(_AGAIN)


def _key(text: str, symbolic_key: Callable[[str], Key | None]) -> Key | None:
    """The key of an answer whose parts are read by the house, and where it cannot, by sympy."""

    def last_resort(part: str) -> Key | None:
        try:
            return symbolic_key(part)
        except (MemoryError, RecursionError, TooLargeError):
            raise
        except Exception:  # noqa: BLE001  the edge to the parser and sympy: unread, not a crash
            return None

    return value(text, last_resort)


def _bound_memory() -> None:
    """Limit the address space to what is there now and `MEMORY` more; no core files."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = used + MEMORY if hard == resource.RLIM_INFINITY else min(used + MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _line() -> bytes:
    """One request; read byte-exactly, so that nothing of the next is lost with this process."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 1 << 16)
        if not chunk:
            return b""
        line += chunk
    return line


def _say(message: dict[str, object]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
