"""What a stage worked on, as hashes: questions with their pictures' bytes, folders, settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmupt.errors import InputError
from mmupt.runs import write_atomic
from mmupt.types import LabelledSample, Sample

PIECE = 1 << 20
Progress = Callable[[int, int], None]


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical writing."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class FileHashes:
    """SHA-256 of files, read again only where size or time of change differ.

    Attributes:
        path: where the hashes are kept between runs.
    """

    path: Path
    _known: dict[str, list[Any]] = field(default_factory=dict)
    _changed: bool = False

    def __post_init__(self) -> None:
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(known, dict):
            self._known = known

    def of(self, path: Path) -> str:
        """Hex digest of a file's bytes.

        Raises:
            InputError: it cannot be read.
        """
        try:
            found = path.stat()
            mark = [found.st_size, found.st_mtime_ns]
            known = self._known.get(str(path))
            if isinstance(known, list) and known[:2] == mark:
                return str(known[2])
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror})") from error
        self._known[str(path)] = [*mark, sha256]
        self._changed = True
        return sha256

    def folder(self, root: Path) -> str:
        """Of all files below a folder, by their relative paths."""
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return digest({path.relative_to(root).as_posix(): self.of(path) for path in files})

    def data(
        self, rows: Sequence[Sample | LabelledSample], progress: Progress | None = None
    ) -> str:
        """Of rows as they are used: questions, answers, metadata and the bytes of their pictures.

        The name and the place of the file do not matter.
        """
        sha256 = hashlib.sha256()
        for number, row in enumerate(rows):
            sample: Sample = row.sample if isinstance(row, LabelledSample) else row
            told = [row.answer, row.response] if isinstance(row, LabelledSample) else []
            pictures = [self.of(path) for path in sample.images]
            parts = [
                sample.id, sample.problem, pictures, dict(sample.meta), sample.paraphrases, told
            ]  # fmt: skip
            sha256.update(digest(parts).encode())
            if progress is not None:
                progress(number + 1, len(rows))
        self.save()
        return sha256.hexdigest()

    def save(self) -> None:
        """Keep what was read, for the next run."""
        if self._changed:
            write_atomic(self.path, json.dumps(self._known))
            self._changed = False


def settings(tree: Mapping[str, Any], keys: Sequence[str], without: Sequence[str] = ()) -> Any:
    """The parts of a configuration that determine a stage's output, flat: ``{"train.beta": 0}``.

    Args:
        tree: the dumped configuration.
        keys: sections or single values at the top.
        without: dotted keys that change nothing but time and memory.
    """
    flat = _flat({key: tree[key] for key in keys})
    return {key: value for key, value in flat.items() if key not in without}


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    return {
        key: value
        for part, inner in tree.items()
        for key, value in _flat(inner, f"{prefix}.{part}".lstrip(".")).items()
    }
