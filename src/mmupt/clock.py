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
from typing import Any


@dataclass
class Profile:
    """What is measured; a part's own time excludes parts measured inside it.

    Attributes:
        seconds: by part.
        counts: by name.
        flops: floating-point operations by part.
        memo: what need not be worked out again while the profile is open.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    memo: dict[Any, Any] = field(default_factory=dict)


_OPEN: ContextVar[Profile | None] = ContextVar("profile", default=None)
_NAME: ContextVar[str] = ContextVar("part", default="other")
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
    token, named = _INSIDE.set(inner), _NAME.set(name)
    started = time.perf_counter()
    try:
        yield
    finally:
        elapsed = time.perf_counter() - started
        _INSIDE.reset(token)
        _NAME.reset(named)
        outer = _INSIDE.get()
        if outer is not None:
            outer[0] += elapsed
        profile.seconds[name] = profile.seconds.get(name, 0.0) + elapsed - inner[0]


def count(name: str, value: float) -> None:
    """Add to a count, such as tokens."""
    profile = _OPEN.get()
    if profile is not None:
        profile.counts[name] = profile.counts.get(name, 0.0) + value


def open_profile() -> Profile | None:
    """The profile that is open, if one is."""
    return _OPEN.get()


def add_flops(value: float, name: str | None = None) -> None:
    """Add floating-point operations to a part; None: the part that is running."""
    profile = _OPEN.get()
    if profile is not None:
        name = _NAME.get() if name is None else name
        profile.flops[name] = profile.flops.get(name, 0.0) + value
