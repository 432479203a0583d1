"""Findings about a data set, against figures worked out by hand or by comparing all with all."""

from __future__ import annotations

import io
import json
import os
import random
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rich.console import Console

from mmupt.data.pictures import FOLDER_NAME
from mmupt.datacheck.check import Wish, check
from mmupt.datacheck.figures import Spread
from mmupt.datacheck.near import near_pairs
from mmupt.datacheck.pictures import inspect
from mmupt.datacheck.questions import kind_of, writing_of
from mmupt.errors import ConfigError, InputError, ModelError


def scene(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A smooth picture, as photographs are."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def put(folder: Path, rows: list[Mapping[str, Any]], name: str = "d.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- pictures that look alike -----------------------------------------------------------------------


@pytest.mark.parametrize("distance", [0, 1, 4, 7])
def test_near_pairs_are_those_of_comparing_all_with_all(distance: int) -> None:
    draw = random.Random(distance)
    centres = [draw.getrandbits(64) for _ in range(20)]
    values = set(centres)
    for centre in centres:
        for _ in range(8):
            near = centre
            for bit in draw.sample(range(64), draw.randrange(1, 10)):
                near ^= 1 << bit
            values.add(near)
    values |= set(range(32))  # all in one bucket of most bands
    listed = sorted(values)
    expected = [
        [i, j]
        for i in range(len(listed))
        for j in range(i + 1, len(listed))
        if (listed[i] ^ listed[j]).bit_count() <= distance
    ]
    pairs, more = near_pairs(np.array(listed, dtype=np.uint64), distance)
    assert pairs.tolist() == expected
    assert not more
    assert bool(expected) == (distance > 0)


def test_near_pairs_end_at_their_limit() -> None:
    pairs, more = near_pairs(np.arange(64, dtype=np.uint64), 6, limit=10)
    assert (len(pairs), more) == (10, True)
    assert near_pairs(np.array([], dtype=np.uint64), 3)[0].shape == (0, 2)
    with pytest.raises(ValueError, match="distance 11"):
        near_pairs(np.array([], dtype=np.uint64), 11)


def bits(a: int | None, b: int | None) -> int:
    assert a is not None
    assert b is not None
    return (a ^ b).bit_count()


def test_a_picture_saved_again_looks_alike_and_another_does_not(tmp_path: Path) -> None:
    first, other = scene(1), scene(2)
    first.save(tmp_path / "a.png")
    first.save(tmp_path / "a.jpg", quality=40)
    first.resize((400, 300)).save(tmp_path / "a.webp")
    other.save(tmp_path / "b.png")
    sideways = Image.Exif()
    sideways[0x0112] = 6  # shown turned by 90 degrees clockwise
    first.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "r.png", exif=sideways)
    found = {path.name: inspect(path) for path in tmp_path.iterdir()}
    a = found["a.png"]
    assert bits(a.phash, found["a.jpg"].phash) <= 4
    assert bits(a.phash, found["a.webp"].phash) <= 4
    assert bits(a.phash, found["r.png"].phash) == 0
    assert bits(a.phash, found["b.png"].phash) > 10
    assert (found["r.png"].width, found["r.png"].height) == (96, 72)
    assert found["r.png"].notes == {"rotated"}
    assert len({one.sha256 for one in found.values()}) == 5
    assert found["a.jpg"].format == "JPEG"


def test_pictures_of_one_shade_have_no_hash(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "a.png")
    found = inspect(tmp_path / "a.png")
    assert (found.phash, found.notes) == (None, {"flat"})


# --- what pictures tell -----------------------------------------------------------------------------


def test_metadata_that_tells_about_people_and_places(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8298] = "(c) Works"
    exif[0x0132] = "2026:01:01 00:00:00"
    exif.get_ifd(0x8825)[2] = (35.0, 40.0, 0.0)
    exif.get_ifd(0x8769)[0xA431] = "SN-1"
    exif.get_ifd(0x8769)[0xA430] = "A. Person"
    scene(1).save(tmp_path / "all.jpg", exif=exif)
    assert inspect(tmp_path / "all.jpg").notes == {"gps", "serial", "owner", "copyright", "time"}
    scene(1).save(tmp_path / "none.jpg")
    assert inspect(tmp_path / "none.jpg").notes == set()
    blank = Image.Exif()
    blank[0x8298] = "  "
    scene(1).save(tmp_path / "blank.jpg", exif=blank)
    assert inspect(tmp_path / "blank.jpg").notes == set()
    texts = PngInfo()
    texts.add_text("Author", "A. Person")
    scene(1).save(tmp_path / "text.png", pnginfo=texts)
    assert inspect(tmp_path / "text.png").notes == {"owner"}
    scene(1).save(tmp_path / "xmp.webp", xmp=b"<x exif:GPSLatitude='35,40N'/>")
    assert inspect(tmp_path / "xmp.webp").notes == {"gps"}


# --- questions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ("<image>Which?\nA. left\nB. right\nC. none", ("choice", 3)),
        ("Look.\nIs the valve open?", ("yes-no", 0)),
        ("バルブは開いていますか。", ("yes-no", 0)),
        ("How  many bolts?", ("number", 0)),
        ("ボルトは何本?", ("number", 0)),
        ("Describe the picture.", ("open", 0)),
        ("This is a valve. What is it?", ("open", 0)),
    ],
)
def test_kinds_of_question(problem: str, kind: tuple[str, int]) -> None:
    assert kind_of(problem) == kind


@pytest.mark.parametrize(
    ("problem", "writing"),
    [
        ("<image>How many?", "latin"), ("いくつありますか", "ja"), ("这是什么", "han"),
        ("몇 개입니까", "ko"), ("Сколько?", "cyrillic"), ("1 + 1 = ?", "none"),
        ("ABC 会社の型番は?", "ja"), ("型番 ABC", "latin"), ("GPU のメモリ", "ja"),
    ],
)  # fmt: skip
def test_writings(problem: str, writing: str) -> None:
    assert writing_of(problem) == writing


@settings(max_examples=30)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_spread(values: list[int]) -> None:
    spread = Spread()
    for value in values:
        spread.add(value)
    assert (spread.least, spread.most) == (min(values), max(values))
    assert spread.median == statistics.median_low(values)
    assert spread.json()["mean"] == pytest.approx(statistics.mean(values))


def test_spread_of_many_values_is_nearly_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmupt.datacheck.figures._KEPT", 100)
    spread, values = Spread(), [n * n for n in range(1000)]
    for value in values:
        spread.add(value)
    middle = statistics.median_low(values)
    assert spread.median is not None
    assert middle * 63 / 64 <= spread.median <= middle
    assert spread.most == 999**2


# --- a whole check ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number in range(6):
        scene(number).save(folder / f"{number}.png")
    scene(0).save(folder / "0-again.jpg", quality=50)
    scene(2).save(folder / "2-again.jpg", quality=50)
    (folder / "1-copy.png").write_bytes((folder / "1.png").read_bytes())
    Image.new("RGB", (20, 30), (1, 2, 3)).save(folder / "blank.png")
    put(folder, [
        {"image": "0.png", "problem": "How many?", "answer": "14", "license": "CC BY 4.0"},
        {"image": "0.png", "problem": " how  MANY? ", "answer": "14.0"},
        {"image": "1.png", "problem": "How many?", "answer": "3"},
        {"image": "1-copy.png", "problem": "How many?", "answer": "4", "response": "\\boxed{4}"},
        {"images": ["2.png", "3.png"], "problem": "同じですか。", "paraphrases": ["一致しますか。"]},
        {"image": "0-again.jpg", "problem": "A. x\nB. y", "license": "CC BY 4.0"},
        {"problem": "1 + 1?", "answer": "2"},
        {"image": "blank.png", "problem": "Colour?"},
        {"problem": 7},
        {"image": "none.png", "problem": "?"},
    ])  # fmt: skip
    put(folder, [
        {"image": "0.png", "problem": "how many?", "answer": "14"},
        {"image": "4.png", "problem": "How many?", "answer": "5"},
        {"image": "3.png", "problem": "Another question?", "answer": "x"},
        {"image": "2-again.jpg", "problem": "How many?", "answer": "1"},
    ], "t.jsonl")  # fmt: skip
    return folder


def test_a_whole_check(folder: Path) -> None:
    found = check(Wish(folder / "d.jsonl"))
    data = found.json()
    assert json.loads(json.dumps(data)) == data
    assert (data["rows"], data["usable"], data["broken"]["count"]) == (10, 8, 2)
    assert [row["origin"].rpartition(":")[2] for row in data["broken"]["listed"]] == ["9", "10"]
    assert data["exit_code"] == found.exit_code == 2
    assert (data["labelled"], data["unlabelled"], data["responses"]) == (5, 3, 1)
    assert data["paraphrased"] == 1
    assert data["kinds"] == {"number": 4, "open": 2, "yes-no": 1, "choice": 1}
    assert data["options"] == {"2": 1}
    assert data["languages"] == {"latin": 6, "ja": 1, "none": 1}
    assert data["columns"] == {"license": 2}
    assert data["licences"] == {"license: CC BY 4.0": 2}
    images = data["images"]
    assert (images["shown"], images["distinct"]) == (8, 6)  # 0, 1 twice, 2, 3, 0 again, blank
    assert images["per_row"] == {"0": 1, "1": 6, "2": 1}
    assert images["formats"] == {"PNG": 5, "JPEG": 1}
    assert images["below_28_pixels"] == 1
    assert images["width"] == {
        "min": 20, "median": 96, "mean": pytest.approx((5 * 96 + 20) / 6), "max": 96,
    }  # fmt: skip
    assert images["notes"]["flat"]["count"] == 1
    # 14 and 14.0 are one answer, 3 and 4 are two
    assert data["duplicates"]["questions"]["count"] == 2
    assert data["contradictions"]["count"] == 1
    (pair,) = data["contradictions"]["examples"]
    assert [answer for _, answer in pair] == ["3", "4"]
    assert data["duplicates"]["pictures"]["count"] == 1
    near = data["duplicates"]["near_pictures"]
    assert near["count"] == 1
    assert {origin.rpartition(":")[2] for origin in near["examples"][0]} == {"1", "6"}
    assert data["tokens"] is None
    assert data["test"] is None


def test_what_of_a_test_set_is_in_the_data(folder: Path) -> None:
    found = check(Wish(folder / "d.jsonl", test=folder / "t.jsonl"))
    test = found.json()["test"]
    assert (test["rows"], test["labelled"]) == (4, 4)
    leaked = test["leakage"]
    name = str(folder / "t.jsonl")
    assert leaked["questions"]["count"] == 1
    assert leaked["questions"]["examples"] == [[f"{name}:1", f"{folder / 'd.jsonl'}:1"]]
    assert leaked["pictures"]["count"] == 2
    assert [pair[0] for pair in leaked["pictures"]["examples"]] == [f"{name}:1", f"{name}:3"]
    # 0.png, which is also like 0-again.jpg, is told as a copy already
    assert leaked["near_pictures"] == {
        "count": 1, "examples": [[f"{name}:4", f"{folder / 'd.jsonl'}:5"]]
    }  # fmt: skip
    assert found.json()["duplicates"]["near_pictures"]["count"] == 1  # as without a test set


def test_the_table_says_it_and_a_clean_set_ends_with_0(folder: Path, tmp_path: Path) -> None:
    found = check(Wish(folder / "d.jsonl", test=folder / "t.jsonl"))
    console = Console(file=io.StringIO(), width=200)
    console.print(found.table())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("10, 8 usable, 2 broken", "CC BY 4.0 2", "1 questions with different answers",
                 "1 test rows, 2 test pictures; 1 more look like one of the data"):  # fmt: skip
        assert part in text
    assert len(list(found.broken_lines())) == 2
    clean = check(Wish(put(tmp_path, [{"problem": "?", "answer": 1}])))
    assert (clean.exit_code, clean.usable, list(clean.broken_lines())) == (0, 1, [])


def test_the_list_of_broken_rows_is_bounded_and_counted(tmp_path: Path) -> None:
    path = put(tmp_path, [{"problem": n} for n in range(30)])
    lines = list(check(Wish(path, listing=5)).broken_lines())
    assert len(lines) == 6
    assert lines[-1].endswith("25 more broken rows (--listing 0 lists all)")
    assert len(list(check(Wish(path, listing=0)).broken_lines())) == 30


def test_a_check_writes_nothing_beside_the_data(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    scene(1).save(buffer, "PNG")
    image = {"bytes": buffer.getvalue(), "path": None}
    rows = [{"id": str(n), "problem": f"{n}?", "images": [image]} for n in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    found = check(Wish(tmp_path / "d.parquet"))
    assert (found.exit_code, found.pictures.shown, found.pictures.distinct) == (0, 4, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["d.parquet"]
    assert not (tmp_path / FOLDER_NAME).exists()


def test_tokens_by_a_models_processor(folder: Path, idefics3_folder: Path) -> None:
    """The tiny processor: a token a byte, 4 image tokens with one at each end a picture."""
    tokens = check(Wish(folder / "d.jsonl", model=idefics3_folder)).json()["tokens"]
    assert tokens["rows"] == 8
    assert tokens["image"]["min"] == 4
    assert tokens["image"]["max"] == 8
    assert tokens["limit"] == 256
    assert (tokens["too_long"], tokens["refused"]) == (0, [])
    # 1 + 1? has 6 bytes, <end_of_utterance> and "=" of the template
    assert tokens["prompt"]["min"] == 8


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    scene(1).save(folder / "a.png")
    found = check(Wish(put(folder, [{"image": "a.png", "problem": "?"}])))
    assert (found.exit_code, found.pictures.distinct) == (0, 1)
    out = io.StringIO()
    Console(file=out).print(found.table())
    out.getvalue().encode("utf-8")
    json.dumps(found.json(), ensure_ascii=False).encode("utf-8")


def test_wrong_wishes(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--distance 11"):
        check(Wish(folder / "d.jsonl", distance=11))
    with pytest.raises(ConfigError, match="--listing"):
        check(Wish(folder / "d.jsonl", listing=-1))
    with pytest.raises(InputError, match="does not exist"):
        check(Wish(folder / "d.jsonl", test=folder / "none.jsonl"))
    with pytest.raises(ModelError, match=r"config\.json"):
        check(Wish(folder / "d.jsonl", model=tmp_path))
