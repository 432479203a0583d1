"""All benchmarks by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmupt.benchmarks import (
    chartqa,
    easyvqa,
    geometry3k,
    geoqa,
    mathverse,
    mathvision,
    mathvista,
    wemath,
)
from mmupt.benchmarks.files import DataFolder, Pictures, Place, Raw
from mmupt.benchmarks.rows import NO_REPLY, BenchmarkRow, PictureStore, Score
from mmupt.data.images import MAX_PIXELS, printable
from mmupt.errors import ConfigError, InputError


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark: where its rows come from and how a reply is scored.

    Attributes:
        name: as it is written on the command line.
        title: as it is written in papers.
        paper: arXiv id, or the repository.
        split: the split that is usually reported.
        hub: the data set on the Hugging Face hub that holds its files; None: a git repository.
        bases: subfolders that the image paths of its JSON files may be relative to.
        raw_rows: (folder, split) -> the published rows with their places.
        row: one published row -> the question.
        rule: (row, reply) -> score.
    """

    name: str
    title: str
    paper: str
    split: str
    hub: str | None
    bases: tuple[str, ...]
    raw_rows: Callable[[DataFolder, str], Iterator[tuple[Place, Raw]]]
    row: Callable[[Raw, str, PictureStore], BenchmarkRow]
    rule: Callable[[BenchmarkRow, str], Score]


BENCHMARKS: Mapping[str, Benchmark] = {
    entry.name: entry
    for entry in (
        Benchmark(
            "mathvista", "MathVista", "2310.02255", mathvista.SPLIT, "AI4Math/MathVista",
            mathvista.BASES,
            mathvista.raw_rows, mathvista.row, mathvista.score,
        ),
        Benchmark(
            "mathverse", "MathVerse", "2403.14624", mathverse.SPLIT, "AI4Math/MathVerse",
            mathverse.BASES,
            mathverse.raw_rows, mathverse.row, mathverse.score,
        ),
        Benchmark(
            "mathvision", "MATH-Vision", "2402.14804", mathvision.SPLIT, "MathLLMs/MathVision",
            mathvision.BASES,
            mathvision.raw_rows, mathvision.row, mathvision.score,
        ),
        Benchmark(
            "wemath", "We-Math", "2407.01284", wemath.SPLIT, "We-Math/We-Math",
            wemath.BASES,
            wemath.raw_rows, wemath.row, wemath.score,
        ),
        Benchmark(
            "geometry3k", "Geometry3K", "2105.04165", geometry3k.SPLIT, "hiyouga/geometry3k",
            geometry3k.BASES,
            geometry3k.raw_rows, geometry3k.row, geometry3k.score,
        ),
        Benchmark(
            "geoqa", "GeoQA", "2105.14517", geoqa.SPLIT, "hz2475/geoQA",
            geoqa.BASES,
            geoqa.raw_rows, geoqa.row, geoqa.score,
        ),
        Benchmark(
            "chartqa", "ChartQA", "2203.10244", chartqa.SPLIT, "lmms-lab/ChartQA",
            chartqa.BASES,
            chartqa.raw_rows, chartqa.row, chartqa.score,
        ),
        Benchmark(
            "easyvqa", "easy-VQA", "github.com/vzhou842/easy-VQA", easyvqa.SPLIT,
            None, easyvqa.BASES,
            easyvqa.raw_rows, easyvqa.row, easyvqa.score,
        ),
    )
}  # fmt: skip


def benchmark(name: str) -> Benchmark:
    """A benchmark by name; case, dashes and underscores do not matter.

    Raises:
        ConfigError: an unknown name.
    """
    found = BENCHMARKS.get(name.casefold().replace("-", "").replace("_", ""))
    if found is None:
        raise ConfigError(
            f"benchmark {printable(name, 40)!r} is unknown; choose from {', '.join(BENCHMARKS)}"
        )
    return found


def check_downloaded(entry: Benchmark, data_dir: Path, split: str) -> None:
    """Refuse a folder that is not there, and tell how to get it; or one without the split.

    Raises:
        InputError: not a folder, or no row of the split.
    """
    if data_dir.is_dir():
        if next(iter(entry.raw_rows(DataFolder(data_dir), split)), None) is None:
            raise InputError(f"{printable(data_dir)}: no row of {entry.title}")
        return
    get = (
        f"hf download --repo-type dataset {entry.hub} --local-dir {printable(data_dir)}"
        if entry.hub is not None
        else f"git clone https://{entry.paper} {printable(data_dir)}"
    )
    raise InputError(f"{printable(data_dir)} is not a folder; download {entry.title} first: {get}")


def read_rows(
    name: str,
    data_dir: Path,
    work_dir: Path,
    *,
    split: str | None = None,
    limit: int | None = None,
    left_out: list[str] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[BenchmarkRow]:
    """The questions of a benchmark, one by one, in the order of its files.

    Args:
        name: see `benchmark`.
        data_dir: the downloaded files, as on the hub.
        work_dir: where pictures inside tables are written, once, under the hash of their content.
        split: default: the one that is usually reported.
        limit: at most this many.
        left_out: if given, unusable rows are left out and told here, instead of ending the run.
        max_pixels: largest picture.

    Raises:
        ConfigError: an unknown name, or a limit below 1.
        InputError: files or rows that cannot be used, an id that is used twice, or no row at all.
    """
    entry = benchmark(name)
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}, expected at least 1 question or none for all")
    folder = DataFolder(data_dir)
    pictures = Pictures(folder, work_dir, entry.bases, max_pixels)
    seen: set[str] = set()
    for place, raw in entry.raw_rows(folder, split or entry.split):
        try:
            row = entry.row(raw, place, pictures)
            if row.sample.id in seen:
                raise InputError(f'{place}: id "{printable(row.sample.id, 60)}" is used twice')
        except InputError as error:
            if left_out is None:
                raise
            left_out.append(str(error))
            continue
        seen.add(row.sample.id)
        yield row
        if len(seen) == limit:
            return
    if not seen:
        raise InputError(f"{printable(data_dir)}: no usable row of {entry.title}")


def score(name: str, row: BenchmarkRow, reply: str | None) -> Score:
    """What the rule of a benchmark says of one reply.

    Args:
        name: see `benchmark`.
        row: the question.
        reply: what the model wrote; None if no reply came (unscored). A reply that was cut off
            before it answered is to be given as it is: it has no answer and is wrong.

    Raises:
        ConfigError: an unknown name.
    """
    entry = benchmark(name)
    return NO_REPLY if reply is None else entry.rule(row, reply)
