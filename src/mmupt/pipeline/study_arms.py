"""Arms of a study are data: a name, a method, and what it changes in the configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmupt.config import Config, load_config
from mmupt.demo import embedded
from mmupt.errors import ConfigError
from mmupt.train.offline import check_teacher

Method = Literal["label-free", "supervised", "lmsi", "self-reward"]

DEFAULT_ARMS = ("preset", "published", "supervised")
MAX_SEEDS = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,59}")


class Arm(BaseModel):
    """One line of the table.

    Attributes:
        name: also its folder's name.
        method: what trains it.
        note: what it shows, with the paper.
        settings: dotted keys of the configuration; `set` in the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    method: Method
    note: str
    settings: dict[str, Any] = Field(default={}, alias="set")

    @property
    def label_free(self) -> bool:
        return self.method != "supervised"

    def config(self, base: Config) -> Config:
        """The arm's configuration: what it sets wins over `base`, that is what makes it the arm.

        Raises:
            ConfigError: an unknown key, a value out of range, or a teacher the method cannot use.
        """
        settings = [f"{key}={json.dumps(value)}" for key, value in self.settings.items()]
        try:
            config = load_config(None, settings, base)
            if self.method in ("lmsi", "self-reward"):
                check_teacher(config)
        except ConfigError as error:
            raise ConfigError(f"arm {self.name}: {error}") from None
        return config


def shipped_arms() -> dict[str, Arm]:
    return read_arms(embedded("study.yaml"))


def read_arms(path: Path) -> dict[str, Arm]:
    """Arms by name, in the order of the file.

    Raises:
        ConfigError: not readable, no arms in it, or an arm that is none.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable: {error}") from error
    except yaml.YAMLError:
        raise ConfigError(f"{path}: not valid YAML") from None
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(f"{path}: expected arms, name: {{method: ..., note: ..., set: {{...}}}}")
    return {str(name): _arm(path, str(name), body) for name, body in tree.items()}


def choose_arms(words: Sequence[str], *, truth: bool = True) -> tuple[Arm, ...]:
    """The arms that were asked for, in that order.

    Args:
        words: names, or YAML files whose arms are added; each word may hold several, with commas.
            None at all: `DEFAULT_ARMS`.
        truth: whether there are answers for a supervised arm; without them it is no default.

    Raises:
        ConfigError: an unknown name, a bad file, or a file with a name that is already taken.
    """
    known, wanted = shipped_arms(), list[str]()
    for word in (part.strip() for one in words for part in one.split(",")):
        if word.endswith((".yaml", ".yml")):
            own = read_arms(Path(word))
            taken = sorted(own.keys() & known.keys())
            if taken:
                raise ConfigError(f"{word}: an arm {taken[0]} is there already; rename yours")
            known |= own
            wanted += own
        elif word:
            wanted.append(word)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--arms: unknown arm {name!r}; known: {', '.join(known)}")
    if not wanted:
        wanted = [name for name in DEFAULT_ARMS if truth or known[name].label_free]
    return tuple(known[name] for name in dict.fromkeys(wanted))


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0..4` is 0, 1, 2, 3, 4; `0,2,5` is what it says; both may be mixed.

    Raises:
        ConfigError: not of that form, a range that runs backwards, or too many.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        ends = part.strip().split("..")
        if len(ends) > 2 or not all(e.isascii() and e.isdecimal() and len(e) < 10 for e in ends):
            raise ConfigError(f"--seeds {text}: expected 0..4 or 0,2,5")
        first, last = int(ends[0]), int(ends[-1])
        if last < first:
            raise ConfigError(f"--seeds {text}: {part.strip()} runs backwards")
        if last - first >= MAX_SEEDS:
            raise ConfigError(f"--seeds {text}: {last - first + 1} seeds, at most {MAX_SEEDS}")
        seeds |= dict.fromkeys(range(first, last + 1))
    return tuple(seeds)


def _arm(path: Path, name: str, body: Any) -> Arm:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{path}: arm {name!r}: a name has small letters, digits, - and _ only; it is a folder"
        )
    if not isinstance(body, Mapping):
        raise ConfigError(f"{path}: arm {name}: expected method, note and set")
    try:
        return Arm.model_validate({**body, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: arm {name}: {where}: {first['msg']}") from None
