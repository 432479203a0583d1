"""Texts in English and Japanese: one JSON file per language beside the package that says them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal, get_args

from mmupt.errors import ConfigError

Lang = Literal["en", "ja"]
LANGUAGES: tuple[Lang, ...] = get_args(Lang)


@cache
def texts(package: str, lang: str) -> Mapping[str, str]:
    """All texts of a package by key, from its ``locale/{lang}.json``.

    Raises:
        ConfigError: a language that there are no texts for.
    """
    if lang not in LANGUAGES:
        raise ConfigError(f"lang = {lang!r}: expected one of {', '.join(LANGUAGES)}")
    path = resources.files(package) / "locale" / f"{lang}.json"
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found
