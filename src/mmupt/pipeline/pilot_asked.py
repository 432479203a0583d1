"""Whom a pilot asks: a model in this process, or one behind a server, which needs no torch."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmupt.asking.answerer import Answerer
from mmupt.asking.maker import PromptMaker
from mmupt.config import Config
from mmupt.config_votes import WeightedVote
from mmupt.errors import ConfigError, InputError
from mmupt.events import EventLog
from mmupt.server.answerer import ServerAnswerer
from mmupt.server.requests import pieces
from mmupt.types import Sample
from mmupt.version import __version__

if TYPE_CHECKING:
    from mmupt.pipeline.stages import Stages

MOST_ROWS = 64
"""Most questions of a part: what a killed pilot has to ask again."""

TRIED = 8
"""Rows with the most images whose images are read before a server is asked anything."""


def rows_per_part(config: Config) -> int:
    """Questions of a part: their views are held in memory together, decoded.

    Parts are known by number, so nothing may change it that can change when a run is resumed.
    """
    return max(1, min(MOST_ROWS, config.eval.batch_size // config.consensus.views))


class Asked(Protocol):
    """Who answers, and what a pilot needs beside the answers."""

    @property
    def config(self) -> Config: ...
    @property
    def folder(self) -> Path: ...
    @property
    def log(self) -> EventLog: ...
    @property
    def prompts(self) -> PromptMaker: ...
    @property
    def rows(self) -> int:
        """Questions that are asked and kept together."""

    def answerer(self) -> Answerer: ...
    def fits(self, sample: Sample) -> bool:
        """Whether the model has room for the question and its pictures, as far as is known here."""

    def during(self, stage: str, told: Callable[[int], None]) -> AbstractContextManager[None]:
        """Around the questions of a stage; `told` is called with numbers of new replies, if it can
        be said while a part is being answered."""

    def counts(self) -> Counter[str]:
        """What was asked so far, as a server's `Tally`; empty for a model here."""

    def check(self, counts: Counter[str]) -> None:
        """Refuse to go on where too many of these replies are missing."""

    def about(self, counts: Counter[str]) -> dict[str, Any]:
        """What the figures must be read with."""


@dataclass(frozen=True)
class Here:
    """The model that a stage left, in this process."""

    stages: Stages
    after: str
    folder: Path

    @property
    def config(self) -> Config:
        return self.stages.config

    @property
    def log(self) -> EventLog:
        return self.stages.log

    @property
    def prompts(self) -> PromptMaker:
        return self.stages.prompts

    @property
    def rows(self) -> int:
        return rows_per_part(self.config)

    def answerer(self) -> Answerer:
        from mmupt.policy.answers import StreamedAnswerer

        return StreamedAnswerer(self.stages.policy(self.after), self.config.eval.batch_size)

    def fits(self, sample: Sample) -> bool:
        from mmupt.pipeline.stages import check_prompts

        try:
            check_prompts(self.stages.policy(self.after), [sample], self.config)
        except InputError:
            return False
        return True

    def during(self, stage: str, told: Callable[[int], None]) -> AbstractContextManager[None]:
        from mmupt.policy.memory import halving

        del told
        return halving(self.log, stage)

    def counts(self) -> Counter[str]:
        return Counter()

    def check(self, counts: Counter[str]) -> None:
        del counts

    def about(self, counts: Counter[str]) -> dict[str, Any]:
        from mmupt.pipeline.about import about

        del counts
        return about(self.config)


@dataclass(frozen=True)
class There:
    """A model behind a server."""

    served: ServerAnswerer
    folder: Path
    config: Config
    log: EventLog
    prompts: PromptMaker

    @property
    def rows(self) -> int:
        return rows_per_part(self.config)

    def answerer(self) -> Answerer:
        return self.served

    def fits(self, sample: Sample) -> bool:
        """Only the server knows; a question that it refuses is counted as missing."""
        del sample
        return True

    def during(self, stage: str, told: Callable[[int], None]) -> AbstractContextManager[None]:
        del stage
        self.served.progress = told
        return nullcontext()

    def counts(self) -> Counter[str]:
        return Counter(asdict(self.served.tally))

    def check(self, counts: Counter[str]) -> None:
        self.served.check_failures(counts["failed"], counts["failed"] + counts["replies"])

    def about(self, counts: Counter[str]) -> dict[str, Any]:
        import openai

        versions = {
            "mmupt": __version__,
            "python": platform.python_version(),
            "openai": openai.__version__,
        }
        server = {**self.served.identity(), **counts}
        about = {"seed": self.config.seed, "device": "server", "versions": versions}
        return {**about, "server": server}


def check_served(samples: Sequence[Sample], config: Config, served: ServerAnswerer) -> None:
    """Whether a server is there and the questions can be put to it, before anything is written.

    Raises:
        ServerError: it does not answer, or does not serve the model.
        InputError: a picture that cannot be read.
        ConfigError: votes are weighed by what the server is not asked for.
    """
    strategy = config.consensus.strategy
    if isinstance(strategy, WeightedVote):
        if strategy.weights == "self-certainty":
            raise ConfigError(
                "consensus.strategy.weights: self-certainty needs the probabilities of all tokens, "
                "which no server tells; take logprob, or another strategy"
            )
        if not config.server.logprobs:
            raise ConfigError(
                "consensus.strategy.weights: logprob needs the tokens' log-probabilities; set "
                "server.logprobs to true"
            )
    prompts = PromptMaker(config.views, max_pixels=config.model.max_pixels, seed=config.seed)
    for sample in sorted(samples, key=lambda s: len(s.images), reverse=True)[:TRIED]:
        pieces(prompts.prompt(sample))
    served.connect()
