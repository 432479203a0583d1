"""Functions of a user's own, named in the configuration as `package.module:name`.

They run with the rights of the process: a configuration is code, and is trusted as such. Data
files, model output and model folders can never name one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from mmupt.errors import ConfigError


@cache
def load_function(name: str, key: str) -> Callable[..., Any]:
    """The function that `name` means.

    Args:
        name: `package.module:function`, importable from where mmupt runs.
        key: the setting that names it, for messages.

    Raises:
        ConfigError: not of that form, not importable, or not callable. Whatever else the module
            raises while it is imported is its author's to see, and comes through.
    """
    module, colon, attribute = name.partition(":")
    if not (colon and attribute and all(module.split("."))):
        raise ConfigError(f"{key}: {name!r} is no function; expected package.module:name")
    try:
        found = import_module(module)
    except (ImportError, SyntaxError) as error:
        raise ConfigError(f"{key}: module {module!r} cannot be imported ({error})") from error
    try:
        function = getattr(found, attribute)
    except AttributeError:
        raise ConfigError(f"{key}: module {module!r} has no {attribute!r}") from None
    if not callable(function):
        raise ConfigError(f"{key}: {name!r} is {type(function).__name__}, expected a function")
    return function  # type: ignore[no-any-return]
