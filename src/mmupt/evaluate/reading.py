"""The questions of an evaluation: rows of people's own, or of a public benchmark."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mmupt.benchmarks.catalog import benchmark, read_rows
from mmupt.config import Config
from mmupt.data.sources import LeftOut, read_labelled, read_samples
from mmupt.errors import InputError
from mmupt.evaluate.judging import ByAnswer, ByBenchmark, Item
from mmupt.types import Sample

MOST_VALUES = 24
"""A column of people's own with more values than that makes no subsets."""


class Digests:
    """SHA-256 of pictures, each file read once."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def of(self, sample: Sample) -> str:
        """One for all pictures of a question, or its id where it has none.

        Raises:
            InputError: a picture that cannot be read.
        """
        if not sample.images:
            return f"id {sample.id}"
        found = [self._one(path, sample.origin) for path in sample.images]
        return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()

    def _one(self, path: Path, origin: str) -> str:
        if path not in self._known:
            try:
                with path.open("rb") as file:
                    self._known[path] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise InputError(f"{origin}: {path} cannot be read ({error.strerror})") from error
        return self._known[path]


def subset_columns(samples: Sequence[Sample]) -> list[str]:
    """Metadata columns with 2 to `MOST_VALUES` values, in alphabetical order."""
    values: dict[str, set[str]] = {}
    for sample in samples:
        for name, value in sample.meta.items():
            if value.strip():
                values.setdefault(name, set()).add(value)
    return sorted(name for name, found in values.items() if 1 < len(found) <= MOST_VALUES)


def own_items(path: Path, config: Config) -> tuple[list[Item], list[str]]:
    """Rows of a file with their answers, and lines on those that were left out.

    Only free text (`eval.kind` is text) is worth an evaluation without answers.

    Raises:
        InputError: rows that cannot be used.
    """
    settings, data = config.eval, config.data
    references: dict[str, str] = {}
    left_out: Sequence[LeftOut]
    if settings.kind == "text":
        found = read_samples(path, data_root=data.root, skip_bad=data.skip_bad)
        samples, left_out = found.rows, found.left_out
        try:  # whoever has references has them for some rows, or for none
            known = read_labelled(path, data_root=data.root, skip_bad=True, check_images=False)
            references = {row.sample.id: row.answer for row in known.rows}
        except InputError as error:
            if "row has no answer" not in str(error):
                raise
    else:
        labelled = read_labelled(path, data_root=data.root, skip_bad=data.skip_bad)
        samples, left_out = tuple(row.sample for row in labelled.rows), labelled.left_out
        references = {row.sample.id: row.answer for row in labelled.rows}
    digests, samples = Digests(), samples[: settings.limit]
    columns = subset_columns(samples)
    items = [
        Item(
            sample,
            ByAnswer(references.get(sample.id), settings.kind, settings.rtol),
            digests.of(sample),
            {name: (sample.meta[name],) for name in columns if sample.meta.get(name, "").strip()},
        )
        for sample in samples
    ]
    return items, [f"{row.origin}: {row.reason}" for row in left_out]


def benchmark_items(
    name: str, data_dir: Path, work: Path, config: Config, split: str | None
) -> tuple[list[Item], list[str]]:
    """Rows of a benchmark, and lines on those that were left out.

    Raises:
        ConfigError: an unknown name.
        InputError: files or rows that cannot be used.
    """
    entry, digests = benchmark(name), Digests()
    left_out: list[str] | None = [] if config.data.skip_bad else None
    rows = read_rows(
        name, data_dir, work, split=split, limit=config.eval.limit, left_out=left_out,
        max_pixels=config.model.max_pixels,
    )  # fmt: skip
    items = [
        Item(
            row.sample, ByBenchmark(entry, row), digests.of(row.sample), dict(row.groups),
            dict(row.fields),
        )
        for row in rows
    ]  # fmt: skip
    return items, left_out or []
