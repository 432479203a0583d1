"""How fast the machine multiplies matrices: what the FLOPs of a step are held against."""

from __future__ import annotations

import time
from functools import cache

import torch

ROWS = 1024
"""Tokens of a typical batch."""
SECONDS = 0.3
"""How long is measured."""


@cache
def matmul_rate(
    hidden: int, inner: int, dtype: torch.dtype, device: str, seconds: float = SECONDS
) -> float:
    """FLOPs per second of products (ROWS, hidden) x (hidden, inner), 2 ROWS hidden inner each.

    The best of about ten stretches, as others may be at work on the machine; measured once in a
    process. No global random numbers are drawn.
    """
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(ROWS, hidden, generator=generator).to(device, dtype)
    right = torch.randn(hidden, inner, generator=generator).to(device, dtype)
    out = torch.empty(ROWS, inner, device=device, dtype=dtype)

    def stretch(repeats: int) -> float:
        started = time.perf_counter()
        for _ in range(repeats):
            torch.mm(left, right, out=out)
        if out.device.type != "cpu":
            torch.accelerator.synchronize(out.device)
        return time.perf_counter() - started

    with torch.no_grad():
        stretch(1)  # what the first product sets up
        repeats = max(1, int(seconds / 10 / max(stretch(1), 1e-9)))
        ends, best = time.perf_counter() + seconds, float("inf")
        while time.perf_counter() < ends or best == float("inf"):
            best = min(best, stretch(repeats) / repeats)
    return 2.0 * ROWS * hidden * inner / best
