"""Functions that a configuration names."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from mmupt.errors import ConfigError
from mmupt.plugins import load_function


def test_a_function_by_name() -> None:
    assert load_function("math:sqrt", "x") is math.sqrt
    assert load_function("os.path:join", "x") is __import__("os").path.join
    assert load_function("collections:Counter", "x") is Counter  # what is called, a class too


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("math.sqrt", "'math.sqrt' is no function; expected package.module:name"),
        (":sqrt", "expected package.module:name"),
        ("math:", "expected package.module:name"),
        ("", "expected package.module:name"),
        (".math:sqrt", "expected package.module:name"),  # relative to nothing
        ("os..path:join", "expected package.module:name"),
        ("no_such_module:f", "module 'no_such_module' cannot be imported"),
        ("math.no_such:f", "module 'math.no_such' cannot be imported"),
        ("math:no_such", "module 'math' has no 'no_such'"),
        ("math:pi", "'math:pi' is float, expected a function"),
    ],
)
def test_what_is_no_function(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_function(name, "views.function")
    assert str(caught.value).startswith("views.function: ")
    assert "\n" not in str(caught.value)


def test_a_module_with_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong while it is imported is not laid to the function's name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "plugin_with_typo.py").write_text("def f(:\n")
    with pytest.raises(ConfigError, match=r"'plugin_with_typo' cannot be imported \(invalid"):
        load_function("plugin_with_typo:f", "x")
    (tmp_path / "plugin_that_needs.py").write_text("import no_such_module\ndef f(): ...\n")
    with pytest.raises(ConfigError, match="No module named 'no_such_module'"):
        load_function("plugin_that_needs:f", "x")
    (tmp_path / "plugin_that_fails.py").write_text("import math\nmath.sqroot(2)\ndef f(): ...\n")
    with pytest.raises(AttributeError, match="sqroot"):
        load_function("plugin_that_fails:f", "x")


def test_a_failure_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="cannot be imported"):
        load_function("plugin_of_later:f", "x")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "plugin_of_later.py").write_text("def f(): return 3\n")
    function = load_function("plugin_of_later:f", "x")
    assert function() == 3
    assert load_function("plugin_of_later:f", "x") is function
