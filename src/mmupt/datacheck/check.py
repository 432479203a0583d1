"""Look at every row and picture of a data set once, and say what is wrong and what is in it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmupt.data.images import printable
from mmupt.data.records import Record
from mmupt.data.sources import Rows
from mmupt.datacheck.catalog import Catalog
from mmupt.datacheck.pictures import Picture, inspect
from mmupt.datacheck.questions import answer_key, kind_of, normal, writing_of
from mmupt.datacheck.report import Findings, Leakage, Listed, Near
from mmupt.errors import ConfigError, InputError
from mmupt.types import LabelledSample, Sample

if TYPE_CHECKING:
    from mmupt.datacheck.tokens import Tokens

Tell = Callable[[str, int, int | None], None]
"""Called with what is being read, rows done, rows in all where that is known."""

LISTED = 20
"""Examples of everything but broken rows."""
_FEW = 28
"""Pixels along the shorter side below which most models see less than one patch pair."""
_LICENCES = ("license", "licence", "copyright", "rights", "ライセンス", "著作権")
_NAMES = 200
"""Further columns, and different licences, that are counted; the rest is dropped."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is checked, and how.

    Attributes:
        path: the data.
        test: held-out data that must not be in it.
        model: folder whose processor counts tokens.
        data_root, schema: as in `read_samples`.
        listing: broken rows that are kept for the list; 0: all.
        distance: bits in which hashes of pictures that look alike may differ.
        model_rows: rows whose tokens are counted, spread over the data.
    """

    path: Path
    test: Path | None = None
    model: Path | None = None
    data_root: Path | None = None
    schema: str | None = None
    listing: int = 100
    distance: int = 4
    model_rows: int = 256


def check(wish: Wish, tell: Tell = lambda what, done, total: None) -> Findings:
    """Check a data set; see `Findings`.

    Raises:
        InputError: nothing is at one of the paths. What is wrong inside them is a finding.
        ConfigError: a number out of range, an unknown schema.
        ModelError: the model's processor cannot be loaded.
    """
    from mmupt.datacheck.near import MAX_DISTANCE

    if not 0 <= wish.distance <= MAX_DISTANCE:
        raise ConfigError(f"--distance {wish.distance}: expected 0 to {MAX_DISTANCE} bits")
    if wish.listing < 0 or wish.model_rows < 1:
        raise ConfigError("--listing is 0 or more, --model-rows 1 or more")
    with tempfile.TemporaryDirectory(prefix="mmupt-") as work, Catalog() as catalog:
        data = _scan(wish, wish.path, 0, catalog, Path(work), tell)
        test = None
        if wish.test is not None:
            test = _scan(wish, wish.test, 1, catalog, Path(work), tell)
        catalog.index_questions()
        data.same_files = Listed(*catalog.same_files(0))
        data.same_questions = Listed(*catalog.same_questions(0))
        data.contradictions = Listed(*catalog.contradictions())
        near = _near(catalog, wish.distance)
        data.near = Near(near.within, near.listed_within, near.more, wish.distance)
        if test is not None:
            questions, pictures = catalog.leaked_questions(), catalog.leaked_pictures()
            data.leakage = Leakage(
                test, Listed(*questions), Listed(*pictures), Listed(near.across, near.listed_across)
            )
        if wish.model is not None:
            data.tokens = _tokens(wish, data, Path(work), tell)
    return data


# --- one pass -------------------------------------------------------------------------------------


def _scan(wish: Wish, path: Path, side: int, catalog: Catalog, work: Path, tell: Tell) -> Findings:
    rows = Rows(
        path, data_root=wish.data_root if side == 0 else None, schema=wish.schema if side == 0
        else None, work_dir=work / "pictures", check_images=False,
    )  # fmt: skip
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    found = Findings(path=shown, listing=wish.listing)
    total = rows.total()
    name = printable(path.name, 40)
    records = _until_broken(rows, found)
    for record in records:
        found.rows += 1
        tell(name, found.rows, total)
        try:
            sample, row = rows.question(record)
            answer = rows.label(sample, row) if rows.has_answer(row) else None
            shas = [_look(image, record, side, catalog, found) for image in sample.images]
            before = catalog.id_before(side, sample.id, record.origin)
            if before is not None:
                raise InputError(
                    f'id "{printable(sample.id, 60)}" is already used at {before}; every row needs '
                    "its own id"
                )
        except InputError as error:
            found.broken.add(record.origin, str(error))
            continue
        finally:
            rows.store.forget_all()
        _count(sample, answer, shas, side, catalog, found)
    if found.rows == 0 and not found.broken.count:
        found.broken.add(printable(path), "holds no rows, expected at least one")
    found.schema = rows.schema.name if rows.schema is not None else None
    tell(name, found.rows, found.rows)
    return found


def _until_broken(rows: Rows, found: Findings) -> Iterator[Record]:
    """Records up to where a file cannot be read any more, which is a finding too."""
    try:
        yield from rows
    except InputError as error:
        found.broken.add(printable(rows.path), str(error))


def _look(path: Path, record: Record, side: int, catalog: Catalog, found: Findings) -> bytes:
    """The content of a picture, which is decoded when it is first met."""
    key = f"{side} ".encode() + os.fsencode(path)  # names need not be UTF-8
    known = catalog.picture_at(key)
    if known is not None:
        return known
    picture = inspect(path)
    new = catalog.add_picture(key, picture.sha256, picture.phash, record.origin, side)
    if new:
        _count_picture(picture, record, found)
    return picture.sha256


def _count_picture(picture: Picture, record: Record, found: Findings) -> None:
    pictures = found.pictures
    pictures.distinct += 1
    pictures.formats[picture.format] += 1
    pictures.width.add(picture.width)
    pictures.height.add(picture.height)
    if min(picture.width, picture.height) < _FEW:
        pictures.small += 1
    for note in sorted(picture.notes):
        pictures.notes[note] += 1
        examples = pictures.examples.setdefault(note, [])
        if len(examples) < 5:
            examples.append(record.origin)


def _count(
    sample: Sample,
    answer: LabelledSample | None,
    shas: list[bytes],
    side: int,
    catalog: Catalog,
    found: Findings,
) -> None:
    """A row that can be used."""
    found.usable += 1
    found.labelled += answer is not None
    found.responses += answer is not None and answer.response is not None
    found.paraphrased += bool(sample.paraphrases)
    found.characters.add(len(sample.problem))
    kind, listed = kind_of(sample.problem)
    found.kinds[kind] += 1
    if listed:
        found.options[listed] += 1
    found.languages[writing_of(sample.problem)] += 1
    found.pictures.per_row[len(shas)] += 1
    for name, value in sample.meta.items():
        if len(found.columns) < _NAMES or name in found.columns:
            found.columns[name] += 1
        if any(part in name.casefold() for part in _LICENCES):
            text = f"{printable(name, 40)}: {printable(value, 80)}"
            if len(found.licences) < _NAMES or text in found.licences:
                found.licences[text] += 1
    key = hashlib.sha256(b"".join([*shas, normal(sample.problem).encode("utf-8")])).digest()
    meant = None if answer is None else answer_key(answer.answer)
    shown = "" if answer is None else printable(answer.answer, 80)
    catalog.add_question(key, side, meant, shown, sample.origin)


# --- after the rows -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Pairs:
    within: int = 0
    across: int = 0
    listed_within: list[tuple[str, str]] = field(default_factory=list)
    listed_across: list[tuple[str, str]] = field(default_factory=list)
    more: bool = False


def _near(catalog: Catalog, distance: int) -> _Pairs:
    """Pictures that look alike: pairs within the data, and those of the test set like one of it.

    Pictures of one hash are each paired with the first of them, not all with all. A test picture
    that is in the data byte for byte is told as such and not here.
    """
    import numpy as np

    from mmupt.datacheck.near import near_pairs

    found = _Pairs()
    if not catalog.hashes:
        return found
    hashes = np.frombuffer(catalog.hashes, dtype=np.uint64)
    numbers = np.frombuffer(catalog.hashed, dtype=np.uint64).astype(np.int64)
    values, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    near, found.more = near_pairs(values, distance)
    # The data were read first: the first picture of a hash is one of theirs if there is any.
    same = np.stack([numbers[first[inverse]], numbers], axis=1)
    same = same[same[:, 0] != same[:, 1]]
    pairs = np.concatenate([same, numbers[first[near]].reshape(-1, 2)])
    for left, right in pairs.tolist():
        a, b = catalog.about(left), catalog.about(right)
        if a.side == b.side == 0:
            found.within += 1
            if len(found.listed_within) < LISTED:
                found.listed_within.append((a.origin, b.origin))
    alike: dict[int, list[int]] = {}
    for left, right in near.tolist():
        alike.setdefault(left, []).append(right)
        alike.setdefault(right, []).append(left)
    for group, number in zip(inverse.tolist(), numbers.tolist(), strict=True):
        one = catalog.about(number)
        if one.side == 0 or catalog.in_data(one.sha):
            continue
        others = (catalog.about(int(numbers[first[g]])) for g in (group, *alike.get(group, ())))
        other = next((other for other in others if other.side == 0), None)
        if other is not None:
            found.across += 1
            if len(found.listed_across) < LISTED:
                found.listed_across.append((one.origin, other.origin))
    return found


def _tokens(wish: Wish, data: Findings, work: Path, tell: Tell) -> Tokens:
    """Tokens of rows that are spread evenly over the data."""
    from mmupt.datacheck.tokens import count_tokens

    assert wish.model is not None  # noqa: S101
    step = max(data.rows // wish.model_rows, 1)
    rows = Rows(
        wish.path, data_root=wish.data_root, schema=wish.schema, work_dir=work / "pictures",
        check_images=False,
    )  # fmt: skip

    def chosen() -> Iterator[Sample]:
        done = 0
        for number, record in enumerate(_until_broken(rows, Findings(str(wish.path)))):
            if number % step or done == wish.model_rows:
                continue
            try:
                sample, _ = rows.question(record)
            except InputError:
                continue
            yield sample
            done += 1
            rows.store.forget_all()
            tell("tokens", done, min(wish.model_rows, data.rows))

    return count_tokens(wish.model, chosen())
