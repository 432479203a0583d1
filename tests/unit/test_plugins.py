"""Functions that a configuration names."""

from __future__ import annotations

import math

import pytest

from mmupt.errors import ConfigError
from mmupt.plugins import load_function


def test_a_function_by_name() -> None:
    assert load_function("math:sqrt", "x") is math.sqrt


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("math.sqrt", "expected package.module:name"),
        (":sqrt", "expected package.module:name"),
        ("no_such_module:f", "cannot be imported"),
        ("math:no_such", "has no 'no_such'"),
        ("math:pi", "expected a function"),
    ],
)
def test_what_is_no_function(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_function(name, "views.function")
    assert str(caught.value).startswith("views.function: ")
