"""Where the time of a step goes: seconds by part, and counts of what was done.

Parts are measured where they happen and added to the profile that is open around them; with none
open, nothing is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Profile:
    """Seconds by part and counts by name; a part's own time excludes parts measured inside it."""

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)


_OPEN: ContextVar[Profile | None] = ContextVar("profile", default=None)
_INSIDE: ContextVar[list[float] | None] = ContextVar("inside", default=None)


@contextmanager
def profiled() -> Iterator[Profile]:
    """Open a profile; what is measured until the end goes into it."""
    profile = Profile()
    token = _OPEN.set(profile)
    try:
        yield profile
    finally:
        _OPEN.reset(token)


@contextmanager
def part(name: str) -> Iterator[None]:
    """Time spent here belongs to `name`, but for the parts inside."""
    profile = _OPEN.get()
    if profile is None:
        yield
        return
    inner = [0.0]
    token = _INSIDE.set(inner)
    started = time.perf_counter()
    try:
        yield
    finally:
        elapsed = time.perf_counter() - started
        _INSIDE.reset(token)
        outer = _INSIDE.get()
        if outer is not None:
            outer[0] += elapsed
        profile.seconds[name] = profile.seconds.get(name, 0.0) + elapsed - inner[0]


def count(name: str, value: float) -> None:
    """Add to a count, such as tokens or FLOPs."""
    profile = _OPEN.get()
    if profile is not None:
        profile.counts[name] = profile.counts.get(name, 0.0) + value
