"""The pictures that are written about, with the question that each row has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmupt.asking.prompt import IMAGE_MARK
from mmupt.config_synthesis import SynthesisConfig
from mmupt.data.images import printable
from mmupt.errors import ConfigError, InputError
from mmupt.pipeline.digests import FileHashes
from mmupt.synthesis.language import Language, language_of
from mmupt.types import Sample


@dataclass(frozen=True, slots=True)
class Source:
    """One row with pictures.

    Attributes:
        sample: the row; it has no answer.
        pictures: SHA-256 of its pictures: copies of one picture are one picture.
        language: that new questions about it are to be in; None: cannot be told.
    """

    sample: Sample
    pictures: tuple[str, ...]
    language: Language | None

    @property
    def question(self) -> str:
        """The row's own question without its image marks."""
        return self.sample.problem.replace(IMAGE_MARK, " ").strip()


def with_pictures(samples: Sequence[Sample], config: SynthesisConfig) -> list[Sample]:
    """The rows that have pictures, in their order.

    Raises:
        InputError: no row has one.
        ConfigError: a column of `keep` that no row has.
    """
    found = [sample for sample in samples if sample.images]
    if not found:
        raise InputError(
            f"none of the {len(samples)} rows has a picture; questions are written about pictures"
        )
    columns = {name for sample in found for name in sample.meta}
    for name in config.keep:
        if name not in columns:
            known = ", ".join(printable(c, 40) for c in sorted(columns)) or "none"
            raise ConfigError(f"synthesis.keep: no row has a column {name!r} (columns: {known})")
    return found


def read_sources(
    samples: Sequence[Sample], config: SynthesisConfig, hashes: FileHashes
) -> list[Source]:
    """Rows with pictures as sources; reads the pictures' bytes, unless `hashes` knows them."""
    return [
        Source(s, tuple(hashes.of(path) for path in s.images), language_for(s.problem, config))
        for s in samples
    ]


def language_for(question: str, config: SynthesisConfig) -> Language | None:
    """The language that new questions beside this one are to be in; None: cannot be told."""
    return language_of(question) if config.language == "auto" else config.language
