"""Where a data set is: one file, files by a pattern, a folder, or a data set of the hub.

rows.jsonl   rows.json   rows.parquet   shard-000.tar[.gz]
"train-*.parquet"   "shard-{000..009}.tar"          several files, in the order of their names
FOLDER                                              metadata.jsonl, metadata.csv or
                                                    metadata.parquet with pictures, or shards
hf:ORG/NAME[@REVISION][/PATH or pattern]            only this form asks the hub
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mmupt.data.images import printable
from mmupt.errors import InputError

JSON_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")
SUFFIXES: Final = (*JSON_SUFFIXES, ".parquet", ".tar", ".tar.gz", ".tgz")
METADATA: Final = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
MAX_FILES: Final = 100_000
"""Most files of one data set."""

_MAGIC: Final = re.compile(r"[*?\[]|\{\d+\.\.\d+\}")
_BRACES: Final = re.compile(r"\{(\d+)\.\.(\d+)\}")
_NUMBER: Final = re.compile(r"[-_.]?\d+(?:-of-\d+)?$")


@dataclass(frozen=True, slots=True)
class Place:
    """The files of a data set.

    Attributes:
        files: at least one, in order.
        root: folder that paths of pictures are relative to.
        metadata: whether it is a folder of pictures, whose rows name them in `file_name`.
        also: further folders that links in `root` may lead to.
    """

    files: tuple[Path, ...]
    root: Path
    metadata: bool = False
    also: tuple[Path, ...] = ()


def find(path: Path) -> Place:
    """The files that a path stands for.

    Raises:
        InputError: nothing is there, it is of an unknown kind, or it is more than one data set.
    """
    from mmupt.data.hub import download, hub_name

    name = hub_name(path)
    if name is not None:
        folder, inner, also = download(name)
        return _inside(folder / inner if inner else folder, also)
    return _inside(path, ())


def suffix_of(path: Path) -> str:
    """The ending that tells the kind of a file, in lower case."""
    name = path.name.lower()
    return next((ending for ending in SUFFIXES if name.endswith(ending)), path.suffix.lower())


def _inside(path: Path, also: tuple[Path, ...]) -> Place:
    if suffix_of(path) not in JSON_SUFFIXES and _is_folder(path):
        return _folder(path, also)
    if _MAGIC.search(path.name) and not _exists(path):
        files = _matching(path)
        return Place(_kept(files, path.parent, also), path.parent, _is_metadata(files), also)
    _check_file(path)
    return Place((path,), path.parent, path.name in METADATA, also)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_metadata(files: Sequence[Path]) -> bool:
    return all(file.name in METADATA for file in files)


def _check_file(path: Path) -> None:
    """A regular file of a known kind."""
    name, ending = printable(path), suffix_of(path)
    if ending not in SUFFIXES and path.name not in METADATA:
        raise InputError(
            f"{name}: unknown kind of file {path.suffix!r}, expected .jsonl (one object a line) "
            "or .json (a list of objects)"
        )
    kinds = "a .jsonl or .json file" if ending in JSON_SUFFIXES else f"a {ending} file"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read ({printable(error, 120)})") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise InputError(f"{name} is {kind}, expected {kinds}")


# --- several files --------------------------------------------------------------------------------


def _matching(path: Path) -> list[Path]:
    """The files of a pattern in the last part of a path."""
    name = printable(path)
    patterns = _expanded(path.name)
    if len(patterns) > 1 or not re.search(r"[*?\[]", path.name):
        files = [path.with_name(pattern) for pattern in patterns]
        for file in files:
            _check_file(file)
        return files
    try:
        files = sorted(file for file in path.parent.glob(patterns[0]) if file.is_file())
    except (OSError, ValueError, re.error) as error:
        raise InputError(f"{name} is no pattern of names ({printable(error, 80)})") from error
    if not files:
        raise InputError(f"{name}: no file is named so; check the pattern")
    for file in files:
        _check_file(file)
    return files


def _expanded(pattern: str) -> list[str]:
    """WebDataset's ``shard-{000..009}.tar`` as its names."""
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    first, last = int(match[1][:9]), int(match[2][:9])
    if last < first or last - first >= MAX_FILES:
        raise InputError(f"{printable(pattern, 80)}: {match[0]} is no range of names")
    width = len(match[1])
    return [
        f"{pattern[: match.start()]}{number:0{width}}{pattern[match.end() :]}"
        for number in range(first, last + 1)
    ]


def _folder(folder: Path, also: tuple[Path, ...]) -> Place:
    """Pictures with their metadata, or the shards of one split of one kind."""
    name = printable(folder)
    metadata = [folder / file for file in METADATA if (folder / file).is_file()]
    if len(metadata) > 1:
        names = " and ".join(file.name for file in metadata)
        raise InputError(f"{name} holds {names}; keep one, or name it")
    if metadata:
        return Place(_kept(metadata, folder, also), folder, True, also)
    files = _shards(folder) or _shards(folder / "data")
    if not files:
        raise InputError(
            f"{name} holds no data set; expected metadata.jsonl or metadata.csv with pictures, or "
            f"files that end in {', '.join(SUFFIXES)}"
        )
    groups = sorted({_group(file) for file in files})
    if len(groups) > 1:
        shown = ", ".join(printable(group, 60) for group in groups[:6])
        raise InputError(
            f"{name} holds {len(groups)} data sets ({shown}); name one, such as "
            f"{printable(files[0].parent / groups[0])}"
        )
    return Place(_kept(files, folder, also), folder, False, also)


def _shards(folder: Path) -> list[Path]:
    try:
        found = [
            file
            for file in folder.iterdir()
            if suffix_of(file) in SUFFIXES and not file.name.startswith(".") and file.is_file()
        ]
    except OSError:
        return []
    if len(found) > MAX_FILES:
        raise InputError(f"{printable(folder)} holds more than {MAX_FILES:,} files")
    # what the hub's and the trainers' folders keep beside their tables
    return sorted(file for file in found if file.name not in ("dataset_info.json", "state.json"))


def _group(file: Path) -> str:
    """The pattern of the files that belong together: the name without its running number."""
    ending = suffix_of(file)
    stem = file.name[: len(file.name) - len(ending)]
    plain = _NUMBER.sub("", stem)
    return f"{plain}*{ending}" if plain != stem else f"{stem}{ending}"


def _kept(files: Iterable[Path], root: Path, also: tuple[Path, ...]) -> tuple[Path, ...]:
    """Files that no link leads outside the folder."""
    kept, folders = tuple(files), tuple(folder.resolve() for folder in (root, *also))
    for file in kept:
        target = file.resolve()
        if not any(target.is_relative_to(folder) for folder in folders):
            raise InputError(
                f"{printable(file)} is a link that leads outside {printable(root)}; copy it inside"
            )
    return kept
