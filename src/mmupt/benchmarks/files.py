"""The files of a benchmark's folder: tables read row by row, pictures held inside the folder.

Everything is untrusted: no path leaves the folder, sizes are bounded, a picture's header is checked
(`mmupt.data.images`) before anybody uses it, and whatever a reader raises becomes one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NoReturn

from mmupt.data.entries import MAX_LIST_BYTES, MAX_ROW_BYTES, not_json, not_utf8, read_entries
from mmupt.data.images import MAX_PIXELS, ImageFolder, check_image, printable
from mmupt.data.pictures import PictureStore
from mmupt.data.rows import decode
from mmupt.errors import InputError

_BATCH: Final = 16
"""Rows of a parquet file that are decoded at a time: their pictures are in memory together."""
_BUFFER: Final = 2**20
"""Bytes of a parquet file that are read at a time."""

Place = str
Raw = Mapping[str, object]


class DataFolder:
    """The folder that a benchmark was downloaded to.

    Args:
        root: an existing folder, laid out as on the hub.

    Raises:
        InputError: not a folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise InputError(f"{printable(root)} is not a folder; give the downloaded benchmark")
        self.root = root.resolve()

    def tables(self, split: str) -> list[Path]:
        """The parquet or JSON files of a split, in order; parquet first, as it holds its pictures.

        Looked for in the folder, in ``data/`` and in a folder named like the split:
        ``{split}-00000-of-00001.parquet``, ``{split}.parquet``, ``{split}.jsonl``,
        ``{split}.json``, or any ``.parquet`` in ``{split}/`` (the hub's converted branch).

        Raises:
            InputError: none of them is there.
        """
        places = [self.root, self.root / "data", self.root / "default"]
        for place in places:
            found = [*place.glob(f"{split}-*.parquet"), *place.glob(f"{split}.parquet")]
            found = found or [*(place / split).glob("*.parquet")]
            if found:
                return [self.inside(path) for path in sorted(found)]
        for place in (*places, self.root / split):
            for name in (f"{split}.jsonl", f"{split}.json"):
                if (place / name).is_file():
                    return [self.inside(place / name)]
        raise InputError(
            f"{printable(self.root)} has no table of the split {printable(split, 40)!r}; expected "
            f"{split}-*.parquet, {split}.parquet, {split}.jsonl or {split}.json in it or in data/"
        )

    def inside(self, path: Path) -> Path:
        """A path whose target is in the folder, or in the hub cache that the folder is a view of.

        Raises:
            InputError: it leads elsewhere.
        """
        target = path.resolve()
        if target.is_relative_to(self.root):
            return path
        # ~/.cache/huggingface/hub/datasets--x/snapshots/<revision>: links into its blobs/
        if self.root.parent.name == "snapshots" and target.is_relative_to(
            self.root.parent.parent / "blobs"
        ):
            return path
        raise InputError(f"{printable(path)} leads outside {printable(self.root)}; copy it inside")

    def rows(self, paths: Iterable[Path]) -> Iterator[tuple[Place, Raw]]:
        """The rows of some tables, each with its place, one after the other."""
        for path in paths:
            yield from parquet_rows(path) if path.suffix == ".parquet" else json_rows(path)


def parquet_rows(path: Path) -> Iterator[tuple[Place, Raw]]:
    """The rows of a parquet file, a few at a time.

    Raises:
        InputError: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = printable(path)
    number = 0
    try:
        # Without these the file's bytes stay in memory until its last row.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
            for batch in file.iter_batches(batch_size=_BATCH, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{name}: row {number}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{name} cannot be read as parquet ({printable(error, 120)}); download it again"
        ) from error


def json_rows(path: Path) -> Iterator[tuple[Place, Raw]]:
    """The rows of JSON lines, of a JSON list, or of one object of objects (key -> row).

    Raises:
        InputError: not such a file, or a broken row.
    """
    with path.open("rb") as file:
        start = file.read(64).lstrip()
        file.seek(0)
        if path.suffix == ".json" and start.startswith(b"{"):
            yield from _object_rows(file.read(MAX_LIST_BYTES + 1), printable(path))
            return
        for entry in read_entries(file, path):
            try:
                yield entry.origin, decode(entry.raw)
            except InputError as error:
                raise InputError(f"{entry.origin}: {error}") from error


def json_object(path: Path) -> Raw:
    """The one object of a JSON file.

    Raises:
        InputError: not such a file, or longer than a row may be.
    """
    with path.open("rb") as file:
        try:
            return decode(file.read(MAX_ROW_BYTES + 1))
        except InputError as error:
            raise InputError(f"{printable(path)}: {error}") from error


def json_value(data: bytes, place: str) -> object:
    """Any JSON value; numbers that are no numbers are refused.

    Raises:
        InputError: not UTF-8, not JSON, nested too deeply, NaN or infinity.
    """
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: {not_utf8(error)}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: {not_json(error)}") from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{place}: unusable JSON ({printable(error, 80)})") from error


def json_lists(path: Path) -> Iterator[tuple[Place, object]]:
    """The elements of a JSON list, of any type."""
    with path.open("rb") as file:
        for entry in read_entries(file, path):
            yield entry.origin, json_value(entry.raw, entry.origin)


def _object_rows(data: bytes, name: str) -> Iterator[tuple[Place, Raw]]:
    if len(data) > MAX_LIST_BYTES:
        raise InputError(f"{name}: is longer than {MAX_LIST_BYTES // 2**20} MiB")
    table = json_value(data, name)
    for key, row in table.items() if isinstance(table, dict) else ():
        if not isinstance(row, dict):
            raise InputError(f"{name}: {printable(key, 40)} is no object; expected key -> row")
        yield f"{name}: {printable(key, 40)}", {"pid": key, **row}


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


class Pictures:
    """Image columns as files: paths stay where they are, bytes are written once.

    Args:
        folder: the data; paths are relative to it and may not leave it.
        work: folder that bytes are written to, in ``pictures/`` under the hash of their content.
        bases: subfolders of the data that paths may also be relative to.
        max_pixels: largest picture, in pixels.
    """

    def __init__(
        self,
        folder: DataFolder,
        work: Path,
        bases: tuple[str, ...] = (),
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._images = ImageFolder(folder.root, check=False)
        self._bases = ("", *bases)
        self._store = PictureStore(work / "pictures", max_pixels=max_pixels)
        self._max_pixels = max_pixels
        self._checked: set[Path] = set()

    def of(self, value: object, place: str) -> Path:
        """The file of an image: bytes, a hub image ({bytes, path}), or a path.

        Raises:
            InputError: none of them, outside the folder, or not a usable picture.
        """
        if isinstance(value, Mapping):
            data, path = value.get("bytes"), value.get("path")
            value = data if data is not None else path
        if isinstance(value, bytes):
            return self._store.put(value, f"{place}: image in the table")
        if isinstance(value, str) and value.strip():
            return self._found(value, place)
        raise InputError(f"{place}: no image (found {type(value).__name__}); need bytes or a path")

    def _found(self, text: str, place: str) -> Path:
        try:
            tries = [
                self._images.resolve(f"{base}/{text}" if base else text) for base in self._bases
            ]
        except InputError as error:
            raise InputError(f"{place}: {error}") from error
        path = next((path for path in tries if path.is_file()), tries[0])
        if path not in self._checked:
            check_image(path, max_pixels=self._max_pixels, origin=place)
            self._checked.add(path)
        return path
