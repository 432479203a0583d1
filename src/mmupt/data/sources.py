"""Rows of images and questions from JSONL or JSON files: the only way in for users' data.

A file holds one JSON object a row (``.jsonl``: one a line; ``.json``: a list of objects):

    {"images": ["a.png", ...],      or "image": "a.png"; none at all for a text-only question
     "problem": "...<image>...",    one <image> mark per image, in order; without any mark,
                                    the marks are put in front
     "answer": "14",                text or a number, kept as written; labelled data only
     "response": "...",             optional: the whole response to imitate in SFT
     "id": "a-1"}                   text or integer; default "<file stem>-<line number>",
                                    in .json "<file stem>-<number of the row in the list>"

Every other column that is text, a number, true or false goes into `Sample.meta` as text; lists,
objects and nulls are left out. Columns that hold an answer never do: those named like one
(`is_answer_column`), and those whose values repeat the row's answer in at least half of the rows,
whatever their name. Both readers make the same `Sample` of a row.

Files are untrusted: strict UTF-8 and JSON, bounded rows, image paths held inside one folder after
symlinks are resolved, no address is ever fetched.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, Generic, NoReturn, TypeVar

from mmupt.data.images import ImageFolder, printable, refuse_invisible
from mmupt.errors import ConfigError, InputError
from mmupt.types import LabelledSample, Sample

MARK: Final = "<image>"
"""Stands in a problem for one image."""

MAX_ROW_BYTES: Final = 16 * 2**20
"""Longest row that is read, in bytes."""

MAX_LIST_BYTES: Final = 512 * 2**20
"""Longest ``.json`` file, which is held in memory as a whole; ``.jsonl`` files have no limit."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that `skip_bad` left out.

    Attributes:
        origin: ``file:line`` of the row.
        reason: what is wrong with it, in one line.
    """

    origin: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset(Generic[T]):
    """The usable rows of one file, in its order.

    Attributes:
        rows: at least one row.
        left_out: the rows that could not be used; empty without `skip_bad`.
        path: the file, as it was given.
        sha256: hex digest of the file's bytes (all of them, also with a limit; not the images').
    """

    rows: tuple[T, ...]
    left_out: tuple[LeftOut, ...]
    path: Path
    sha256: str

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)


def read_samples(
    path: Path,
    *,
    data_root: Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    check_images: bool = True,
) -> Dataset[Sample]:
    """Read questions without their answers, for label-free training and voting.

    Whatever the file says about answers is dropped while reading (module docstring), not even
    checked. Ids and image paths are names and are kept as they are.

    Args:
        path: a ``.jsonl``, ``.ndjson`` or ``.json`` file.
        data_root: folder of the images; default: the folder of `path`. Paths in the rows are
            relative to it and may not leave it.
        limit: read at most this many usable rows and look at no more.
        skip_bad: leave unusable rows out and list them, instead of stopping at the first.
        check_images: open the header of every image (existence, format, size in pixels).

    Returns:
        At least one row; ids are unique.

    Raises:
        InputError: a file that cannot be read as a whole, the first bad row (without `skip_bad`),
            or no usable row at all.
        ConfigError: a `limit` below 1.
    """
    found = _read(path, data_root, limit, skip_bad, check_images, labelled=False)
    return Dataset(found.samples, found.left_out, path, found.sha256)


def read_labelled(
    path: Path,
    *,
    data_root: Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    check_images: bool = True,
) -> Dataset[LabelledSample]:
    """Read questions with their answers, for SFT, evaluation and audits.

    Takes the arguments of `read_samples`; `LabelledSample.sample` is what that returns.

    Raises:
        InputError: as `read_samples`; also a row without an answer.
        ConfigError: a `limit` below 1.
    """
    found = _read(path, data_root, limit, skip_bad, check_images, labelled=True)
    rows = tuple(
        LabelledSample(sample=sample, answer=label.answer, response=label.response)
        for sample, label in zip(found.samples, found.labels, strict=True)
    )
    return Dataset(rows, found.left_out, path, found.sha256)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Write one JSON object a line, in UTF-8; the file appears complete or not at all.

    The rows go to a temporary file beside `path`, which then replaces it. Whatever fails on the
    way, also `rows` itself, leaves an older file as it was.

    Args:
        path: the file to write; its folder must exist.
        rows: objects of JSON values; NaN and infinity are refused, as JSON has none.

    Returns:
        Number of rows written.

    Raises:
        InputError: a row that is not JSON, or a place that cannot be written.
    """
    temporary = path.with_name(f".mmupt-{secrets.token_hex(8)}.tmp")
    count = 0
    try:
        with temporary.open("xb") as file:
            for count, row in enumerate(rows, start=1):
                file.write(_encoded(row, f"{printable(path)}: row {count}"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(
            f"{printable(path)} cannot be written ({error.strerror}); "
            "check that its folder exists and may be written to"
        ) from error
    finally:
        with suppress(OSError):  # gone already, or its folder never was
            temporary.unlink()
    return count


def is_answer_column(name: str) -> bool:
    """Whether a column is named like something that holds an answer.

    True for every spelling of answer, response, solution, ground truth, label, target and their
    kin (`gold_answer`, `correctOption`, `GT`, `rationale`, `正解`), alone or inside a longer name:
    losing a harmless column costs a slice in a report, keeping a wrong one costs the method.
    """
    plain = unicodedata.normalize("NFKC", name)
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).casefold())
    joined = "".join(words)
    return (
        joined == "y"
        or not _ANSWER_WORDS.isdisjoint(words)
        or _ANSWER_PARTS.search(joined) is not None
    )


# fmt: off
_ANSWER_WORDS: Final = frozenset({
    "ans", "chosen", "correct", "cot", "expected", "explanation", "gold", "golden", "gt", "output",
    "outputs", "reference", "references", "rejected", "result", "results", "solution", "solutions",
    "truth",
})
# fmt: on
# Parts that stand in no other common word, so that `goldanswer` is seen and `resolution` is not.
_ANSWER_PARTS: Final = re.compile(
    "answer|respons|(?<!re)solution|groundtruth|label|target|rationale|completion|reasoning"
    "|答え|解答|回答|正解|正答|解説|ラベル"
)
_OWN_COLUMNS: Final = frozenset({"id", "problem", "image", "images"})

# What no reader of a question can see but a model can: control characters other than tab and
# line ends, lone surrogates, bidirectional overrides, tag characters. Zero-width joiners and marks
# stay, as scripts and emoji need them.
_HIDDEN_IN_TEXT: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
_SPACE: Final = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class _Label:
    answer: str
    response: str | None


@dataclass(frozen=True, slots=True)
class _Found:
    samples: tuple[Sample, ...]
    labels: tuple[_Label, ...]
    left_out: tuple[LeftOut, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """One row before it is decoded: where it stands, its default id, its bytes."""

    origin: str
    default_id: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Row:
    """A usable row: its question, its label where asked for, where its meta repeats the answer.

    `copies` is None when the row names no answer.
    """

    sample: Sample
    label: _Label | None
    copies: frozenset[str] | None


class _Number(str):
    """A JSON number as written: 0.10 stays 0.10, and no size overflows."""

    __slots__ = ()


def _read(
    path: Path,
    data_root: Path | None,
    limit: int | None,
    skip_bad: bool,
    check_images: bool,
    *,
    labelled: bool,
) -> _Found:
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}, expected at least 1 row or none for all rows")
    _check_file(path)
    images = ImageFolder(path.parent if data_root is None else data_root, check_images)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            rows, left_out = _collect(_entries(file, path), images, limit, skip_bad, labelled)
    except OSError as error:
        raise InputError(f"{printable(path)} cannot be read ({error.strerror})") from error
    if not rows:
        _refuse_empty(path, left_out)
    hidden = _copies_of_answers(rows)
    return _Found(
        samples=tuple(_without(row.sample, hidden) for row in rows),
        labels=tuple(row.label for row in rows if row.label is not None),
        left_out=tuple(left_out),
        sha256=sha256,
    )


def _collect(
    entries: Iterator[_Entry],
    images: ImageFolder,
    limit: int | None,
    skip_bad: bool,
    labelled: bool,
) -> tuple[list[_Row], list[LeftOut]]:
    """Up to `limit` usable rows; the bad ones before them, or an error at the first."""
    rows: list[_Row] = []
    left_out: list[LeftOut] = []
    origins: dict[str, str] = {}
    for entry in entries:
        try:
            row = _row(entry, images, labelled)
            _check_new(row.sample.id, origins)
        except InputError as error:
            if not skip_bad:
                raise InputError(
                    f"{entry.origin}: {error}; fix the row or pass --skip-bad"
                ) from error
            left_out.append(LeftOut(entry.origin, str(error)))
            continue
        origins[row.sample.id] = entry.origin
        rows.append(row)
        if len(rows) == limit:
            break
    return rows, left_out


def _check_file(path: Path) -> None:
    name = printable(path)
    if path.suffix.lower() not in (".jsonl", ".ndjson", ".json"):
        raise InputError(
            f"{name}: unknown kind of file {path.suffix!r}, expected .jsonl (one object a line) "
            "or .json (a list of objects)"
        )
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read ({printable(error, 120)})") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise InputError(f"{name} is {kind}, expected a .jsonl or .json file")


def _refuse_empty(path: Path, left_out: list[LeftOut]) -> NoReturn:
    if left_out:
        first = left_out[0]
        raise InputError(
            f"{printable(path)}: no usable row, all {len(left_out)} were left out; "
            f"the first: {first.origin}: {first.reason}"
        )
    raise InputError(f"{printable(path)}: holds no rows, expected at least one JSON object")


def _check_new(sample_id: str, origins: Mapping[str, str]) -> None:
    if sample_id in origins:
        raise InputError(
            f'id "{printable(sample_id, 60)}" is already used at {origins[sample_id]}; '
            "every row needs its own id"
        )


# --- rows of a file -------------------------------------------------------------------------------


def _entries(file: BinaryIO, path: Path) -> Iterator[_Entry]:
    start = file.read(3)
    file.seek(0)
    if start == b"\xef\xbb\xbf":
        raise InputError(
            f"{printable(path)}:1: starts with a byte order mark (BOM); save as UTF-8 without BOM"
        )
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{printable(path)}:1: is UTF-16; save the file as UTF-8")
    if path.suffix.lower() == ".json":
        return _list_entries(file, path)
    return _line_entries(file, path)


def _line_entries(file: BinaryIO, path: Path) -> Iterator[_Entry]:
    """The lines that are not blank; of one that is too long no more than shows that it is."""
    number = 0
    while raw := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        part = raw
        while part and not part.endswith(b"\n"):
            part = file.readline(2**20)
        if raw.strip():
            yield _Entry(f"{printable(path)}:{number}", f"{printable(path.stem)}-{number}", raw)


def _list_entries(file: BinaryIO, path: Path) -> Iterator[_Entry]:
    """The elements of one JSON list, each with the line it starts on."""
    name = printable(path)
    data = file.read(MAX_LIST_BYTES + 1)
    if len(data) > MAX_LIST_BYTES:
        raise InputError(
            f"{name}: is longer than {MAX_LIST_BYTES // 2**20} MiB; write it as .jsonl, "
            "one object a line"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}:{line}: {_not_utf8(error)}") from error
    try:
        line, counted = 1, 0
        for number, (start, end) in enumerate(_element_spans(text), start=1):
            line += text.count("\n", counted, start)
            counted = start
            yield _Entry(
                f"{name}:{line} (row {number})",
                f"{printable(path.stem)}-{number}",
                text[start:end].encode("utf-8"),
            )
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name}:{error.lineno}: {_not_json(error)}; "
            "expected a list of objects (with one object a line, name the file .jsonl)"
        ) from error
    except RecursionError as error:
        raise InputError(f"{name}: JSON is nested too deeply; expected flat objects") from error


def _element_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every element of the list that `text` is."""
    # The hooks keep numbers as text: the elements are decoded for good, and strictly, later.
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
    position = _skip_space(text, 0)
    if position == len(text):
        return
    if text[position] != "[":
        raise json.JSONDecodeError("Expecting '['", text, position)
    position = _skip_space(text, position + 1)
    closed = text[position : position + 1] == "]"
    while not closed:
        _, end = decoder.raw_decode(text, position)
        yield position, end
        position = _skip_space(text, end)
        closed = text[position : position + 1] == "]"
        if not closed and text[position : position + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
        if not closed:
            position = _skip_space(text, position + 1)
    position = _skip_space(text, position + 1)
    if position != len(text):
        raise json.JSONDecodeError("Extra data", text, position)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()


def _decode(raw: bytes) -> dict[str, object]:
    if len(raw) > MAX_ROW_BYTES:
        raise InputError(
            f"row is longer than {MAX_ROW_BYTES // 2**20} MiB; keep images in files and name "
            "their paths"
        )
    try:
        row = json.loads(
            raw.rstrip(b"\r\n").decode("utf-8"),
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError as error:
        raise InputError(_not_utf8(error)) from error
    except json.JSONDecodeError as error:
        raise InputError(f"{_not_json(error)}; expected one object a line") from error
    except RecursionError as error:
        raise InputError("JSON is nested too deeply; expected a flat object") from error
    if not isinstance(row, dict):
        raise InputError(f'found {_found(row)}, expected an object {{"problem": ...}}')
    return row


def _not_utf8(error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return f"not UTF-8 (byte 0x{byte:02x} at position {error.start + 1}); save the file as UTF-8"


def _not_json(error: json.JSONDecodeError) -> str:
    return f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}"


def _refuse_constant(name: str) -> NoReturn:
    raise InputError(f"{name} is not a JSON value; write a number, text or null")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # JSON leaves the meaning of a repeated key open; Python would silently take the last.
    names = Counter(name for name, _ in pairs)
    for name, count in names.items():
        if count > 1:
            raise InputError(f'key "{printable(name, 60)}" appears {count} times; keep one')
    return dict(pairs)


# --- one row --------------------------------------------------------------------------------------


def _row(entry: _Entry, images: ImageFolder, labelled: bool) -> _Row:
    row = _decode(entry.raw)
    sample = _sample(row, entry, images)
    return _Row(sample, _label(row) if labelled else None, _holding_answer(sample.meta, row))


def _sample(row: Mapping[str, object], entry: _Entry, images: ImageFolder) -> Sample:
    """The question of a row. Looks at no column that holds an answer."""
    problem = _problem(row)
    paths = tuple(images.resolve(text) for text in _image_texts(row))
    marks = problem.count(MARK)
    if paths and marks == 0:
        problem = MARK * len(paths) + problem
    elif marks != len(paths):
        raise InputError(
            f"problem has {_counted(marks, f'{MARK} mark')} but the row has "
            f"{_counted(len(paths), 'image')}; write one mark per image, or none to have them "
            "put in front"
        )
    return Sample(
        id=_id(row, entry.default_id),
        problem=problem,
        images=paths,
        origin=entry.origin,
        meta=_meta(row),
    )


def _problem(row: Mapping[str, object]) -> str:
    if row.get("problem") is None:
        names = ", ".join(printable(name, 40) for name in list(row)[:10]) or "none"
        raise InputError(f'no "problem" in the row (columns: {names}); put the question there')
    problem = _text(row["problem"], "problem")
    if not problem.strip():
        raise InputError('"problem" is blank; put the question there')
    return problem


def _image_texts(row: Mapping[str, object]) -> list[str]:
    one, many = row.get("image"), row.get("images")
    if one is not None and many is not None:
        raise InputError('row has both "image" and "images"; keep one')
    if one is not None:
        return [_text(one, "image")]
    if many is None:
        return []
    if not isinstance(many, list):
        raise InputError(
            f'"images" must be a list of paths, found {_found(many)}; a single path goes into '
            '"image"'
        )
    return [_text(path, f"images[{number}]") for number, path in enumerate(many)]


def _id(row: Mapping[str, object], default: str) -> str:
    value = row.get("id")
    if value is None:
        return default
    if isinstance(value, _Number) and re.fullmatch(r"-?\d+", value):
        return str(value)
    if not isinstance(value, str) or isinstance(value, _Number):
        raise InputError(f'"id" must be text or an integer, found {_found(value)}')
    if not value.strip():
        raise InputError('"id" is blank; leave it out to have the row numbered')
    refuse_invisible(value, "id")
    return value


def _meta(row: Mapping[str, object]) -> dict[str, str]:
    meta: dict[str, str] = {}
    for name, value in row.items():
        if name in _OWN_COLUMNS or is_answer_column(name):
            continue
        if isinstance(value, bool):
            meta[_text(name, "column name")] = "true" if value else "false"
        elif isinstance(value, str):
            meta[_text(name, "column name")] = _text(str(value), printable(name, 40))
    return meta


def _label(row: Mapping[str, object]) -> _Label:
    value = row.get("answer")
    if value is None or (isinstance(value, str) and not value.strip()):
        raise InputError(
            "row has no answer: SFT and evaluation need an answer; add an "
            '"answer" column, or use the row without labels (mmupt train)'
        )
    answer = value if isinstance(value, _Number) else _text(value, "answer", "text or a number")
    response = row.get("response")
    label = _Label(
        answer=str(answer).strip(),
        response=None if response is None else _text(response, "response"),
    )
    for name, text in (("answer", label.answer), ("response", label.response)):
        if text is not None and MARK in text:
            raise InputError(f'"{name}" holds an {MARK} mark; marks belong in the problem')
    if label.response is not None and not label.response.strip():
        raise InputError('"response" is blank; leave it out to train on the answer alone')
    return label


def _text(value: object, name: str, expected: str = "text") -> str:
    """A JSON string that shows what it holds."""
    if not isinstance(value, str) or isinstance(value, _Number):
        raise InputError(f'"{name}" must be {expected}, found {_found(value)}')
    hidden = _HIDDEN_IN_TEXT.search(value)
    if hidden is not None:
        point = ord(hidden[0])
        # "\boxed" and "\frac" in a JSON string are a backspace and a form feed: said, not guessed.
        hint = "; in JSON a backslash is written \\\\" if point in (0x08, 0x0C) else ""
        raise InputError(
            f'"{name}" holds the hidden character U+{point:04X} at position '
            f"{hidden.start() + 1}{hint}; remove it"
        )
    return value


def _found(value: object) -> str:
    """A JSON value in a few words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Number):
        return f"the number {printable(value, 40)}"
    if isinstance(value, str):
        return f'the text "{printable(value, 40)}"'
    return "a list" if isinstance(value, list) else "an object"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# --- answers under other names --------------------------------------------------------------------
#
# Decided for whole columns, never row by row: a value that is missing exactly where it equals the
# answer would tell the answer.


def _holding_answer(meta: Mapping[str, str], row: Mapping[str, object]) -> frozenset[str] | None:
    """The columns of `meta` whose value holds an answer of the row, as whole words."""
    answers = []
    for name, value in row.items():
        if is_answer_column(name):
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and (tokens := _tokens(text)).strip():
                    answers.append(tokens)
    if not answers:
        return None
    columns = {name: _tokens(value) for name, value in meta.items()}
    return frozenset(name for name, words in columns.items() if any(a in words for a in answers))


def _copies_of_answers(rows: Iterable[_Row]) -> frozenset[str]:
    """Columns that hold the answer in at least half of the rows that have both."""
    both: Counter[str] = Counter()
    holding: Counter[str] = Counter()
    for row in rows:
        if row.copies is not None:
            both.update(row.sample.meta.keys())
            holding.update(row.copies)
    return frozenset(name for name, count in both.items() if 2 * holding[name] >= count)


def _tokens(text: str) -> str:
    """Words and numbers between single spaces, so that `3` is found in `(3)` but not in `13`."""
    words = re.findall(r"[^\W_]+(?:[.,][^\W_]+)*", text.casefold())
    return f" {' '.join(words)} "


def _without(sample: Sample, columns: frozenset[str]) -> Sample:
    if columns.isdisjoint(sample.meta):
        return sample
    return replace(sample, meta={n: v for n, v in sample.meta.items() if n not in columns})


# --- writing --------------------------------------------------------------------------------------


def _encoded(row: Mapping[str, object], name: str) -> bytes:
    try:
        return (json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{name} cannot be written as JSON: {printable(error, 120)}") from error


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
