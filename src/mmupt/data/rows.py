"""One row of a data file: from its bytes to a question, and to its label where asked for.

The messages name column and value; where the row stands is said by the reader of the file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Final, NoReturn

from mmupt.data.answers import is_answer_column
from mmupt.data.entries import MAX_ROW_BYTES, not_json, not_utf8
from mmupt.data.images import printable, refuse_invisible
from mmupt.data.pictures import Pictures
from mmupt.data.records import Record
from mmupt.errors import InputError
from mmupt.types import LabelledSample, Sample

MARK: Final = "<image>"
"""Stands in a problem for one image."""

_OWN_COLUMNS: Final = frozenset({"id", "problem", "image", "images", "paraphrases"})

# What no reader of a question can see but a model can: control characters other than tab and
# line ends, lone surrogates, bidirectional overrides, tag characters. Zero-width joiners and marks
# stay, as scripts and emoji need them.
_HIDDEN_IN_TEXT: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)


class Number(str):
    """A JSON number as written: 0.10 stays 0.10, and no size overflows."""

    __slots__ = ()


def decode(raw: bytes) -> dict[str, object]:
    """The object that a row is; numbers become `Number`.

    Raises:
        InputError: too long, not UTF-8, not JSON, not an object, a repeated key, NaN or infinity.
    """
    if len(raw) > MAX_ROW_BYTES:
        raise InputError(
            f"row is longer than {MAX_ROW_BYTES // 2**20} MiB; keep images in files and name "
            "their paths"
        )
    try:
        row = json.loads(
            raw.rstrip(b"\r\n").decode("utf-8"),
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError as error:
        raise InputError(not_utf8(error)) from error
    except json.JSONDecodeError as error:
        raise InputError(f"{not_json(error)}; expected one object a line") from error
    except RecursionError as error:
        raise InputError("JSON is nested too deeply; expected a flat object") from error
    if not isinstance(row, dict):
        raise InputError(f'found {described(row)}, expected an object {{"problem": ...}}')
    return row


def sample_of(row: Mapping[str, object], record: Record, images: Pictures) -> Sample:
    """The question of a row. Looks at no column that is named like an answer.

    Args:
        row: in our own columns, whatever schema it came in (`mmupt.data.schemas`).
        record: tells origin and default id.
        images: makes files of its pictures.

    Raises:
        InputError: a column that cannot be used, or marks that do not fit the images.
    """
    problem = _problem(row)
    paths = tuple(images.of(value, name) for value, name in _image_values(row))
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
        id=_id(row, record.default_id),
        problem=problem,
        images=paths,
        origin=record.origin,
        meta=_meta(row),
        paraphrases=_paraphrases(row, len(paths)),
    )


def has_answer(row: Mapping[str, object]) -> bool:
    """Whether there is something in the place of the answer, usable or not."""
    value = row.get("answer")
    return not (value is None or (isinstance(value, str) and not value.strip()))


def labelled(sample: Sample, row: Mapping[str, object]) -> LabelledSample:
    """The question of a row with its answer, and its response if it has one.

    Args:
        sample: what `sample_of` made of the question.
        row: ``answer`` and ``response``, whatever else it has.

    Raises:
        InputError: no answer, or an answer or response that cannot be used.
    """
    value = row.get("answer")
    if not has_answer(row):
        raise InputError(
            "row has no answer: SFT and evaluation need an answer; add an "
            '"answer" column, or use the row without labels (mmupt train)'
        )
    expected = "text or a number"
    answer = str(value) if isinstance(value, Number) else plain_text(value, "answer", expected)
    response = None if row.get("response") is None else plain_text(row["response"], "response")
    for name, text in (("answer", answer), ("response", response or "")):
        if MARK in text:
            raise InputError(f'"{name}" holds an {MARK} mark; marks belong in the problem')
    if response is not None and not response.strip():
        raise InputError('"response" is blank; leave it out to train on the answer alone')
    return LabelledSample(sample, answer.strip(), response)


# --- columns --------------------------------------------------------------------------------------


def _problem(row: Mapping[str, object]) -> str:
    if row.get("problem") is None:
        names = ", ".join(printable(name, 40) for name in list(row)[:10]) or "none"
        raise InputError(f'no "problem" in the row (columns: {names}); put the question there')
    problem = plain_text(row["problem"], "problem")
    if not problem.strip():
        raise InputError('"problem" is blank; put the question there')
    return problem


def _paraphrases(row: Mapping[str, object], images: int) -> tuple[str, ...]:
    """Other wordings; like the problem, each has a mark per image or gets them put in front."""
    value = row.get("paraphrases")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InputError(
            f'"paraphrases" must be a list of texts, found {described(value)}; put a single one '
            "into a list"
        )
    found = []
    for number, part in enumerate(value):
        name = f"paraphrases[{number}]"
        text = plain_text(part, name)
        if not text.strip():
            raise InputError(f'"{name}" is blank; put a question there, or leave it out')
        marks = text.count(MARK)
        if marks not in (0, images):
            raise InputError(
                f'"{name}" has {_counted(marks, f"{MARK} mark")}, the problem has {images}; write '
                "as many, or none to have them put in front"
            )
        found.append(text if marks else MARK * images + text)
    return tuple(found)


def _image_values(row: Mapping[str, object]) -> list[tuple[str | bytes, str]]:
    """The pictures of a row as paths, addresses or bytes, each with the name of its place."""
    one, many = row.get("image"), row.get("images")
    if one is not None and many is not None:
        raise InputError('row has both "image" and "images"; keep one')
    if one is not None:
        return [(_image_value(one, "image"), "image")]
    if many is None:
        return []
    if not isinstance(many, list):
        raise InputError(
            f'"images" must be a list of paths, found {described(many)}; a single path goes into '
            '"image"'
        )
    names = [f"images[{number}]" for number in range(len(many))]
    return [(_image_value(value, name), name) for value, name in zip(many, names, strict=True)]


def _image_value(value: object, name: str) -> str | bytes:
    """A path or an address as text, or the bytes of a picture; also in a hub ``{bytes, path}``."""
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        if isinstance(data, bytes) or (data is None and isinstance(path, str)):
            value = path if data is None else data
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) and value[:5].lower() == "data:":
        return value  # may be megabytes; whoever decodes it is strict
    return plain_text(value, name)


def _id(row: Mapping[str, object], default: str) -> str:
    value = row.get("id")
    if value is None:
        return default
    if isinstance(value, Number) and re.fullmatch(r"-?\d+", value):
        return str(value)
    if not isinstance(value, str) or isinstance(value, Number):
        raise InputError(f'"id" must be text or an integer, found {described(value)}')
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
            meta[plain_text(name, "column name")] = "true" if value else "false"
        elif isinstance(value, str):
            meta[plain_text(name, "column name")] = plain_text(str(value), printable(name, 40))
    return meta


# --- values ---------------------------------------------------------------------------------------


def is_text(value: object) -> bool:
    """Whether a value is text; numbers are text of another class."""
    return isinstance(value, str) and not isinstance(value, Number)


def plain_text(value: object, name: str, expected: str = "text") -> str:
    """A JSON string that shows what it holds.

    Raises:
        InputError: anything else, or text with characters that nobody sees.
    """
    if not isinstance(value, str) or isinstance(value, Number):
        raise InputError(f'"{name}" must be {expected}, found {described(value)}')
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


def described(value: object) -> str:
    """A JSON value in a few words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return f"the number {printable(value, 40)}"
    if isinstance(value, str):
        return f'the text "{printable(value, 40)}"'
    if isinstance(value, bytes):
        return "bytes"
    return "a list" if isinstance(value, list) else "an object"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _refuse_constant(name: str) -> NoReturn:
    raise InputError(f"{name} is not a JSON value; write a number, text or null")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # JSON leaves the meaning of a repeated key open; Python would silently take the last.
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise InputError(f'key "{printable(name, 60)}" appears {count} times; keep one')
    return dict(pairs)
