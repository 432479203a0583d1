"""Lets the tests of vLLM find the files beside them, and prints what they found out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

_TOLD: list[str] = []


@pytest.fixture
def tell() -> Callable[[str], None]:
    """A line for the end of the tests' output."""
    return _TOLD.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _TOLD:
        terminalreporter.write_line(line)
