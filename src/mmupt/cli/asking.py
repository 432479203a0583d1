"""Answers from options, from a person at the terminal, or from defaults; and how they are read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer

from mmupt.errors import ConfigError, MmuptError

T = TypeVar("T")

_THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d*)?")


@dataclass(frozen=True)
class Asking:
    """Where answers come from: options first, then the person at the terminal, then defaults.

    Attributes:
        words: the texts of `mmupt.starter` in one language.
        given: the options by name; None where there was none.
        asks: somebody is at the terminal.
    """

    words: Mapping[str, str]
    given: Mapping[str, object]
    asks: bool

    def about(
        self,
        name: str,
        check: Callable[[str], T],
        default: str | None = None,
        **parts: str,
    ) -> T:
        """One answer, as `check` reads it; what it refuses is asked for again."""
        value = self.given[name]
        if value is not None:
            return check(str(value))
        if not self.asks:
            if default is None:
                raise ConfigError(f"{flag(name)} is missing; give it, or answer at a terminal")
            return check(default)
        _complete_paths()
        typer.secho(f"\n{self.words[f'why.{name}'].format(**parts)}", dim=True)
        while True:
            text = typer.prompt(self.words[f"ask.{name}"], default, show_default=bool(default))
            try:
                return check(str(text).strip())
            except MmuptError as error:
                typer.secho(f"  {error}", fg="red")

    def missing(self, *names: str) -> None:
        """Refuse at once if nobody can be asked for these."""
        flags = [flag(name) for name in names if self.given[name] is None]
        if flags and not self.asks:
            raise ConfigError(
                f"{', '.join(flags)} missing: without questions (no terminal, --yes or --json) "
                "init needs them as options"
            )


def _complete_paths() -> None:
    """Tab completes file names, where the terminal can."""
    with suppress(ImportError):
        import readline

        readline.set_completer_delims("")  # names with spaces are one word
        readline.parse_and_bind("tab: complete")


def flag(name: str) -> str:
    """The option of an answer's name."""
    return f"--{name.replace('_', '-')}"


def path_of(text: str) -> Path:
    """As typed or dragged into a terminal: `~` is the home folder, quotes around it fall away."""
    path = Path(text)
    if not path.exists() and len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        path = Path(text[1:-1])
    with suppress(RuntimeError):  # nobody of that name has a home
        return path if path.exists() or not text.startswith("~") else path.expanduser()
    return path


def number(text: str, name: str) -> float:
    """A number, also with commas between thousands or in full width.

    Raises:
        ConfigError: none.
    """
    plain = unicodedata.normalize("NFKC", text)
    if _THOUSANDS.fullmatch(plain):  # and not 0,5, which would become 5
        plain = plain.replace(",", "")
    try:
        return float(plain)
    except ValueError:
        raise ConfigError(
            f"{flag(name)}: expected a number such as 0.5, found {text!r:.40}"
        ) from None


def share(text: str) -> float:
    """A share, also as `70%`."""
    plain = unicodedata.normalize("NFKC", text)
    value = number(plain.removesuffix("%"), "min_precision")
    return value / 100 if plain.endswith("%") else value


def yes_or_no(text: str, words: Mapping[str, str]) -> bool:
    """Whether the answer is yes.

    Raises:
        ConfigError: neither yes nor no.
    """
    answer = unicodedata.normalize("NFKC", text).casefold()
    if answer in ("y", "yes", "true", "はい"):
        return True
    if answer in ("n", "no", "false", "いいえ"):
        return False
    raise ConfigError(words["yes_or_no"])
