"""A decision in words, for people who decide whether to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmupt.words import texts

PACKAGE = "mmupt.gates"
_LONGEST_NAME = 60
_TERMS = ("criterion", "kind", "what")
"""Values that are keys of our own."""

Told = tuple[str, str, str, Mapping[str, Any]]
"""Verdict, criterion, key and values of a check."""


def say(key: str, lang: str, **values: Any) -> str:
    """A text of this package, filled."""
    return texts(PACKAGE, lang)[key].format(**values)


def sentence(key: str, values: Mapping[str, Any], lang: str) -> str:
    """A check's sentence, without a full stop; names from data are made fit for a terminal."""
    return texts(PACKAGE, lang)[f"check.{key}"].format(**filled(values, lang))


def filled(values: Mapping[str, Any], lang: str) -> dict[str, Any]:
    """Values as a text takes them: our own terms in the language, other text made harmless."""
    words = texts(PACKAGE, lang)
    return {
        name: clean(words.get(f"{name}.{value}", value) if name in _TERMS else value)
        if isinstance(value, str)
        else value
        for name, value in values.items()
    }


def explanation(verdict: str, names: tuple[str, str], checks: Sequence[Told], lang: str) -> str:
    """One sentence: the decision, and the checks that it rests on.

    A refusal names what failed, a lack of evidence what is missing, a pass all that was proven.
    """
    version, baseline = (clean(name) for name in names)
    told = [one for one in checks if one[0] == verdict]
    if not told:
        return say("explain.nothing", lang, version=version)
    reasons = say("join", lang).join(
        sentence(key, {"criterion": name, **values}, lang) for _, name, key, values in told
    )
    return say(f"explain.{verdict}", lang, version=version, baseline=baseline, reasons=reasons)


def clean(text: str, longest: int = _LONGEST_NAME) -> str:
    """One line of printable characters, cut where it is too long."""
    shown = "".join(c if c.isprintable() else "?" for c in text[: longest + 1])
    return shown if len(shown) <= longest else shown[:longest] + "…"
