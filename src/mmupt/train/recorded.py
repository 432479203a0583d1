"""Votes that were cast before: a `votes.parquet` in the place of the frozen teacher.

So a large model behind a server labels a pool once (`mmupt vote --server`), and a small one is
trained on it elsewhere. The answers are voted on anew, under this run's strategy and filters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmupt.asking.answers import Reply
from mmupt.config import ConsensusConfig
from mmupt.config_votes import VetoVote, WeightedVote
from mmupt.errors import ConfigError, InputError
from mmupt.types import Completion, Finish, Sample

COLUMNS = ("id", "question", "answers", "views")


def question_digest(sample: Sample) -> str:
    """SHA-256 of a question and the bytes of its pictures, wherever they lie.

    Raises:
        InputError: a picture cannot be read.
    """
    pictures = []
    for path in sample.images:
        try:
            with path.open("rb") as file:
                pictures.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise InputError(f"{sample.origin}: {path} cannot be read ({error.strerror})") from (
                error
            )
    text = json.dumps([sample.problem, pictures], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class Recorded:
    """The recorded answers of a `votes.parquet`.

    Attributes:
        path: the file.
        rows: digest, answers and views by id.
        lacking: whether replies were missing when it was made, so that questions may have no row.
    """

    path: Path
    rows: dict[str, tuple[str, list[str | None], list[int]]]
    lacking: bool
    _checked: set[str] = field(default_factory=set)

    def check(self, samples: Sequence[Sample]) -> None:
        """Refuse samples that are not those that were voted on.

        Raises:
            InputError: names the first of them.
        """
        for sample in samples:
            if sample.id in self._checked:
                continue
            if sample.id not in self.rows:
                if not self.lacking:
                    raise InputError(
                        f'{sample.origin}: id "{sample.id}" has no row in {self.path}; vote on '
                        "this data, or leave the row out"
                    )
            elif self.rows[sample.id][0] != question_digest(sample):
                raise InputError(
                    f"{sample.origin}: {self.path} holds votes on another question or picture "
                    f'under id "{sample.id}"; vote on this data again'
                )
            self._checked.add(sample.id)

    def replies(self, samples: Sequence[Sample]) -> list[list[Reply]]:
        """The recorded replies to each sample; one abstention where there is none.

        Raises:
            InputError: see `check`.
        """
        self.check(samples)
        return [self._replies(sample) for sample in samples]

    def _replies(self, sample: Sample) -> list[Reply]:
        _, answers, views = self.rows.get(sample.id, ("", [None], [0]))
        return [
            Reply(Completion("", (), (), Finish.STOP, view=view), answer)
            for answer, view in zip(answers, views, strict=True)
        ]


def read_recorded(path: Path) -> Recorded:
    """The votes in a file.

    Raises:
        InputError: no such file, or not one that `mmupt vote` wrote.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=list(COLUMNS))
        about: Any = json.loads((table.schema.metadata or {})[b"mmupt"])
        lacking = about["counts"].get("failed", 0) > 0
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not readable as the votes.parquet of `mmupt vote` ({type(error).__name__})"
        ) from None
    rows = {row["id"]: (row["question"], row["answers"], row["views"]) for row in table.to_pylist()}
    return Recorded(path, rows, bool(lacking))


def check_recorded(config: ConsensusConfig, samples: Sequence[Sample]) -> None:
    """Before a run: whether recorded votes, if there are any, can teach these samples.

    Raises:
        ConfigError: the settings ask for what is not recorded.
        InputError: the file, or votes on other data.
    """
    if config.votes is not None:
        recorded_of(config).check(samples)


def recorded_of(config: ConsensusConfig) -> Recorded:
    """The votes that a configuration names.

    Raises:
        ConfigError: the settings ask for what is not recorded.
        InputError: see `read_recorded`.
    """
    assert config.votes is not None  # noqa: S101
    strategy = config.strategy
    wants_text = isinstance(strategy, VetoVote) and (strategy.arithmetic or strategy.program)
    if isinstance(strategy, WeightedVote) or wants_text:
        raise ConfigError(
            f"consensus.strategy {strategy.name} looks at whole replies, and consensus.votes holds "
            "answers alone; take another strategy"
        )
    if config.teacher != "frozen":
        raise ConfigError(
            f"consensus.teacher is {config.teacher!r}, but consensus.votes were cast before and "
            "stay as they are; set it to frozen"
        )
    return read_recorded(config.votes)
