"""A data set written anew, in another schema or kind of file: whole or not at all."""

from __future__ import annotations

import base64
import json
import os
import secrets
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

from mmupt.data.images import FORMATS, printable
from mmupt.data.jsonl import write_jsonl
from mmupt.data.outgoing import TARGETS, Outgoing, Target, written
from mmupt.data.pictures import PictureStore
from mmupt.data.places import find, suffix_of
from mmupt.data.seen import Seen
from mmupt.data.sources import LeftOut, Rows, why_empty
from mmupt.errors import ConfigError, InputError
from mmupt.types import Sample

Images = Literal["copy", "link", "embed"]
Labels = Literal["keep", "drop"]
Tell = Callable[[int, int | None], None]
"""Called with rows done, and rows in all where that is known."""

KINDS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    # --to: schema of the rows, endings of --out (the first is meant where --out has none)
    "jsonl": ("mmupt", (".jsonl", ".ndjson")),
    "json": ("mmupt", (".json",)),
    "parquet": ("mmupt", (".parquet",)),
    "webdataset": ("mmupt", (".tar",)),
    "folder": ("mmupt", ("",)),
    "easyr1": ("easyr1", (".parquet", ".jsonl", ".json")),
    "verl": ("verl", (".parquet", ".jsonl", ".json")),
    "trl": ("trl", (".parquet", ".jsonl", ".json")),
    "llava": ("llava", (".json", ".jsonl")),
    "sharegpt": ("sharegpt", (".json", ".jsonl", ".parquet")),
    "llama-factory": ("llama-factory", (".json", ".jsonl", ".parquet")),
    "alpaca": ("alpaca", (".json", ".jsonl", ".parquet")),
    "openai": ("openai", (".jsonl", ".json")),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted.

    Attributes:
        to: one of `KINDS`.
        out: the file, or with ``folder`` the folder.
        images: beside the file as copies or hard links, or inside the rows; None: inside parquet,
            tar and OpenAI rows, copies otherwise.
        labels: keep answers where there are some, or read none.
    """

    to: str
    out: Path
    images: Images | None = None
    labels: Labels = "keep"


@dataclass(slots=True)
class Converted:
    """What became of a data set.

    Attributes:
        rows: rows written.
        labelled: of them with an answer.
        images: pictures of all rows, each time they are shown.
        left_out: rows that could not be used.
        schema: of the source.
    """

    rows: int = 0
    labelled: int = 0
    images: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    schema: str = ""


def convert(
    source: Path,
    wish: Wish,
    *,
    data_root: Path | None = None,
    schema: str | None = None,
    skip_bad: bool = False,
    tell: Tell = lambda done, total: None,
) -> Converted:
    """Write a data set in another schema or kind of file.

    What fails on the way leaves an older file as it was; pictures that were copied by then stay.

    Args:
        source: what `mmupt.data.places.find` finds.
        wish: what is wanted.
        data_root: as in `read_samples`.
        schema: of the source; None: told from its rows.
        skip_bad: leave unusable rows out instead of stopping.
        tell: hears how far it is.

    Raises:
        InputError: a row that cannot be used or written, or a place that cannot be written.
        ConfigError: an unknown kind, or an ending of the file that does not go with it.
    """
    target, ending = _target(wish)
    _refuse_place(wish, source)
    shown = _Shown(wish, ending)
    done = Converted()

    def outgoing(rows: Rows, value: Callable[[Path], object]) -> Iterator[dict[str, Any]]:
        total = rows.total()
        with Seen() as ids:
            for sample, answer, response in _usable(rows, wish.labels, skip_bad, ids, done):
                pictures = [value(path) for path in sample.images]
                try:
                    yield written(Outgoing(sample, pictures, answer, response), target)
                except InputError as error:
                    raise InputError(f"{sample.origin}: {error}") from error
                rows.store.forget_all()
                done.rows += 1
                done.labelled += answer is not None
                done.images += len(pictures)
                tell(done.rows, total)
        if not done.rows:
            raise InputError(f"{printable(source)}: {why_empty(done.left_out)}")

    def columns() -> Mapping[str, object]:
        """A value of every column; looks at no picture."""
        nonlocal done
        rows = Rows(source, data_root=data_root, schema=schema, pictures=_Unseen())
        found: dict[str, object] = {}
        for row in outgoing(rows, lambda path: {}):
            for name, value in row.items():
                if isinstance(value, dict):
                    before = found.get(name)
                    found[name] = {**(before if isinstance(before, dict) else {}), **value}
                else:
                    found.setdefault(name, value)
        done = Converted()
        return found

    with tempfile.TemporaryDirectory(prefix=".mmupt-", dir=_parent(wish.out)) as work:
        rows = Rows(source, data_root=data_root, schema=schema, work_dir=Path(work) / "pictures")
        _WRITERS[ending](wish.out, lambda: outgoing(rows, shown.value), shown, columns)
        if rows.schema is not None:
            done.schema = rows.schema.name
    return done


def _target(wish: Wish) -> tuple[Target, str]:
    """The schema and the ending of the file."""
    if wish.to not in KINDS:
        raise ConfigError(f"--to {printable(wish.to, 40)}: expected one of {', '.join(KINDS)}")
    name, endings = KINDS[wish.to]
    ending = "" if wish.to == "folder" else suffix_of(wish.out)
    if ending not in endings:
        raise ConfigError(
            f"--out {printable(wish.out)}: with --to {wish.to} its name ends in "
            f"{' or '.join(endings)}"
        )
    if wish.to == "openai" and wish.images == "link":
        raise ConfigError("--images link: OpenAI's rows hold addresses; use embed or copy")
    if ending == ".tar" and wish.images not in (None, "embed"):
        raise ConfigError(f"--images {wish.images}: a shard holds its pictures; leave it out")
    if ending == "" and wish.images == "embed":
        raise ConfigError("--images embed: a folder holds its pictures as files; leave it out")
    return TARGETS[name], ending


def _refuse_place(wish: Wish, source: Path) -> None:
    out = wish.out
    if wish.to == "folder":
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{printable(out)} is there already; name a new folder")
    elif out.is_dir():
        raise InputError(f"{printable(out)} is a folder; name the file")
    elif out.exists() and any(out.samefile(file) for file in find(source).files):
        raise InputError(f"{printable(out)} is a file of the source itself; name another file")


def _parent(out: Path) -> Path:
    if not out.parent.is_dir():
        raise InputError(f"{printable(out.parent)} is not a folder; make it first")
    return out.parent


def _usable(
    rows: Rows, labels: Labels, skip_bad: bool, ids: Seen, done: Converted
) -> Iterator[tuple[Sample, str | None, str | None]]:
    """Questions with answer and response where they are wanted and there."""
    for record in rows:
        try:
            sample, row = rows.question(record)
            answer = response = None
            if labels == "keep" and rows.has_answer(row):
                known = rows.label(sample, row)
                answer, response = known.answer, known.response
            before = ids.first("id", sample.id.encode(), record.origin)
            if before is not None:
                raise InputError(
                    f'id "{printable(sample.id, 60)}" is already used at {before}; every row '
                    "needs its own id"
                )
        except InputError as error:
            if not skip_bad:
                raise InputError(
                    f"{record.origin}: {error}; fix the row or pass --skip-bad"
                ) from error
            done.left_out.append(LeftOut(record.origin, str(error)))
            continue
        yield sample, answer, response


# --- pictures -------------------------------------------------------------------------------------


class _Shown:
    """What stands in a row for a picture."""

    def __init__(self, wish: Wish, ending: str) -> None:
        inside = ending in (".parquet", ".tar") or wish.to == "openai"
        self.mode = wish.images or ("embed" if inside else "copy")
        self.binary = ending in (".parquet", ".tar")
        base = wish.out if ending == "" else wish.out.parent
        name = "images" if ending == "" else f"{wish.out.name[: -len(ending)]}-images"
        self._base, self._store = base, PictureStore(base / name)

    def value(self, path: Path) -> object:
        """A path relative to the file, an address with data, or ``{bytes, path}``."""
        if self.mode == "embed":
            data = _bytes(path)
            if self.binary:
                return {"bytes": data, "path": path.name}
            encoded = base64.b64encode(data).decode("ascii")
            return f"data:image/{_kind(path, data)};base64,{encoded}"
        if self.mode == "copy":
            kept = self._store.put(_bytes(path), printable(path))
        else:
            kept = self._linked(path)
        return kept.relative_to(self._base.resolve()).as_posix()

    def _linked(self, path: Path) -> Path:
        kept = self._store.place(_bytes(path), printable(path))
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.link(path, kept)
        except OSError as error:
            raise InputError(
                f"{printable(path)} cannot be linked ({error.strerror}); use --images copy"
            ) from error
        return kept


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{printable(path)} cannot be read ({error.strerror})") from error


def _kind(path: Path, data: bytes) -> str:
    """The format, for an address."""
    from mmupt.data.images import check_image_bytes

    kind = check_image_bytes(data, printable(path))
    assert kind in FORMATS  # noqa: S101
    return kind.lower()


# --- files ----------------------------------------------------------------------------------------

Columns = Callable[[], Mapping[str, object]]
RowsOf = Callable[[], Iterator[dict[str, Any]]]


def _jsonl(out: Path, rows: RowsOf, shown: _Shown, columns: Columns) -> None:
    write_jsonl(out, rows())


def _json(out: Path, rows: RowsOf, shown: _Shown, columns: Columns) -> None:
    with _replacing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        mark = "["
        for row in rows():
            file.write(f"{mark}\n{json.dumps(row, ensure_ascii=False)}")
            mark = ","
        file.write("\n]\n" if mark == "," else "[]\n")


def _folder_of_pictures(out: Path, rows: RowsOf, shown: _Shown, columns: Columns) -> None:
    """As `datasets` reads it: ``file_name`` or ``file_names`` in metadata.jsonl."""

    def named() -> Iterator[dict[str, Any]]:
        for row in rows():
            images = row.pop("images", [])
            names = {"file_name": images[0]} if len(images) == 1 else {"file_names": images}
            clash = {"file_name", "file_names", "image_file_name", "images_file_names"} & set(row)
            if clash:
                raise InputError(f'column "{min(clash)}" names pictures in a folder; rename it')
            yield (names if images else {}) | row

    out.mkdir(exist_ok=True)
    write_jsonl(out / "metadata.jsonl", named())


def _tar(out: Path, rows: RowsOf, shown: _Shown, columns: Columns) -> None:
    """One sample per row: ``000000000.json`` and its pictures ``000000000.0.png``."""

    def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, BytesIO(data))

    with _replacing(out) as temporary, tarfile.open(temporary, "w") as tar:
        for number, row in enumerate(rows()):
            tar.members = []  # type: ignore[attr-defined]  # it would remember every member
            images = row.pop("images", [])
            add(tar, f"{number:09}.json", json.dumps(row, ensure_ascii=False).encode())
            for place, image in enumerate(images):
                ending = Path(image["path"]).suffix.lower() or ".img"
                add(tar, f"{number:09}.{place}{ending}", image["bytes"])


def _parquet(out: Path, rows: RowsOf, shown: _Shown, columns: Columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _arrow(columns(), embedded=shown.mode == "embed")
    batch: list[dict[str, Any]] = []
    size = 0
    with _replacing(out) as temporary, pq.ParquetWriter(temporary, schema) as file:
        for row in rows():
            batch.append(row)
            size += 1000 + sum(
                len(image["bytes"]) for image in row.get("images", ()) if isinstance(image, dict)
            )
            if size > _GROUP_BYTES:
                file.write_table(pa.Table.from_pylist(batch, schema))
                batch, size = [], 0
        file.write_table(pa.Table.from_pylist(batch, schema))


_GROUP_BYTES: Final = 2**25
"""About as many bytes make a row group."""


def _arrow(columns: Mapping[str, object], *, embedded: bool) -> Any:
    """The types of all columns, told by one value of each; further columns are text."""
    import pyarrow as pa

    text = pa.string()
    picture = pa.struct([("bytes", pa.binary()), ("path", text)]) if embedded else text

    def kind(value: object) -> Any:
        if isinstance(value, Mapping):
            return pa.struct([(name, kind(inner)) for name, inner in value.items()])
        if isinstance(value, list):
            members = [inner for inner in value if isinstance(inner, Mapping)]
            if not members:
                return pa.list_(text)
            merged = {name: inner for member in members for name, inner in member.items()}
            # the parts of a message do not all have the same members
            return pa.list_(kind(_PART if "type" in merged else merged))
        return text

    fields = {name: kind(value) for name, value in columns.items()}
    if "images" in fields:
        fields["images"] = pa.list_(picture)
    return pa.schema(list(fields.items()))


_PART: Final[Mapping[str, object]] = {"type": "", "text": ""}


class _Unseen:
    """Takes every picture for one."""

    def of(self, value: str | bytes, name: str) -> Path:
        return Path(name)


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A temporary file that takes the place of `out` if all went well."""
    temporary = out.with_name(f".mmupt-{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        temporary.replace(out)
    except OSError as error:
        raise InputError(f"{printable(out)} cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


_WRITERS: Final = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
    ".tar": _tar,
    "": _folder_of_pictures,
}
