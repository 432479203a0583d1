"""Rows of data files: what they become, and one clear line for each that cannot be used."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image

from mmupt.data.answers import is_answer_column
from mmupt.data.entries import MAX_ROW_BYTES
from mmupt.data.jsonl import write_jsonl
from mmupt.data.sources import Dataset, LeftOut, read_labelled, read_samples
from mmupt.errors import ConfigError, InputError
from mmupt.types import LabelledSample, Sample

HINT = "; fix the row or pass --skip-bad"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder with two small pictures."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (2, 2)).save(folder / "images" / name)
    return folder


def put(root: Path, *rows: object, name: str = "train.jsonl") -> Path:
    """A file of lines: bytes and text as they are, anything else as JSON."""
    lines = [
        row
        if isinstance(row, bytes)
        else (row if isinstance(row, str) else json.dumps(row)).encode()
        for row in rows
    ]
    path = root / name
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def fault(path: Path, *, labelled: bool = False, **options: object) -> str:
    """The message of the error, with the folder of the file taken out."""
    read = read_labelled if labelled else read_samples
    with pytest.raises(InputError) as caught:
        read(path, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(f"{path.parent}/", "")


GOOD = {"image": "images/a.png", "problem": "<image>Sum?", "answer": "14"}


# --- what rows become -----------------------------------------------------------------------------


def test_a_full_row(root: Path) -> None:
    path = put(
        root,
        {
            "id": "a-1",
            "images": ["images/a.png", "images/b.png"],
            "problem": "<image>and <image>: sum?",
            "answer": "14",
            "response": "5 and 9: \\boxed{14}",
            "kind": "sum",
            "level": 3,
            "weight": 0.10,
            "hard": False,
            "tags": ["x"],
            "extra": {"y": 1},
            "nothing": None,
        },
    )
    sample = Sample(
        id="a-1",
        problem="<image>and <image>: sum?",
        images=(root.resolve() / "images/a.png", root.resolve() / "images/b.png"),
        origin=f"{path}:1",
        meta={"kind": "sum", "level": "3", "weight": "0.1", "hard": "false"},
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_samples(path) == Dataset((sample,), (), path, digest)
    labelled = LabelledSample(sample, answer="14", response="5 and 9: \\boxed{14}")
    assert read_labelled(path) == Dataset((labelled,), (), path, digest)


def test_a_short_row_and_blank_lines(root: Path) -> None:
    path = put(root, "", GOOD, "  \t\r", {"problem": "1+1?", "answer": 2}, "")
    data = read_labelled(path)
    assert len(data) == 2
    assert [row.sample.id for row in data] == ["train-2", "train-4"]
    assert [row.sample.origin for row in data] == [f"{path}:2", f"{path}:4"]
    assert [row.answer for row in data] == ["14", "2"]
    assert [row.response for row in data] == [None, None]
    assert [len(row.sample.images) for row in data] == [1, 0]


def test_last_line_without_a_line_end_and_windows_line_ends(root: Path) -> None:
    path = root / "a.jsonl"
    path.write_bytes(b'{"problem": "one"}\r\n{"problem": "two"}')
    assert [row.problem for row in read_samples(path)] == ["one", "two"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("14", "14"),
        ("-0.50", "-0.50"),
        ("1e999", "1e999"),
        ("9" * 5000, "9" * 5000),
        ('" 1/2 "', "1/2"),
        ('"はい"', "はい"),
    ],
)
def test_answers_are_kept_as_written(root: Path, written: str, read: str) -> None:
    path = put(root, f'{{"problem": "?", "answer": {written}}}')
    assert next(iter(read_labelled(path))).answer == read


def test_ids(root: Path) -> None:
    rows = [{"problem": "?", "id": value} for value in (7, "x y", "日本", None)]
    assert [row.id for row in read_samples(put(root, *rows))] == ["7", "x y", "日本", "train-4"]


def test_marks_are_put_in_front_when_there_are_none(root: Path) -> None:
    path = put(root, {"images": ["images/a.png", "images/b.png"], "problem": "Which is larger?"})
    assert next(iter(read_samples(path))).problem == "<image><image>Which is larger?"


def test_paraphrases(root: Path) -> None:
    both = ["images/a.png", "images/b.png"]
    rows: list[dict[str, object]] = [
        {"problem": "1+1?", "paraphrases": ["one and one?", " 1 plus 1 "]},
        {"problem": "1+1?", "paraphrases": []},
        {"problem": "1+1?", "paraphrases": None},
        # marks: as many as the problem has after its own were put in front, or none
        {"problem": "Larger?", "images": both, "paraphrases": ["<image>or <image>?", "Which?"]},
        {"problem": "<image>, <image>?", "images": both, "paraphrases": ["Which?"]},
    ]
    path = put(root, *({**row, "answer": "2"} for row in rows))
    expected = [
        ("one and one?", " 1 plus 1 "),
        (),
        (),
        ("<image>or <image>?", "<image><image>Which?"),
        ("<image><image>Which?",),
    ]
    assert [row.paraphrases for row in read_samples(path)] == expected
    assert [row.sample.paraphrases for row in read_labelled(path)] == expected
    assert all(row.meta == {} for row in read_samples(path))


def test_paraphrases_hold_no_answers(root: Path) -> None:
    assert not is_answer_column("paraphrases")
    path = put(root, {"problem": "?", "paraphrases": [{"text": "a", "answer": "s3cret"}]})
    assert fault(path) == (f'train.jsonl:1: "paraphrases[0]" must be text, found an object{HINT}')


def test_empty_list_and_null_mean_no_image(root: Path) -> None:
    path = put(root, {"images": [], "problem": "a"}, {"image": None, "problem": "b"})
    assert [row.images for row in read_samples(path)] == [(), ()]


def test_limit_counts_usable_rows_and_looks_at_no_more(root: Path) -> None:
    path = put(root, GOOD, "broken", GOOD, "broken")
    data = read_samples(path, limit=2, skip_bad=True)
    assert [row.id for row in data] == ["train-1", "train-3"]
    assert [bad.origin for bad in data.left_out] == [f"{path}:2"]
    assert len(read_samples(path, limit=1)) == 1
    assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ConfigError, match="limit is 0, expected at least 1"):
        read_samples(path, limit=0)


def test_json_list(root: Path) -> None:
    text = (
        '[\n  {"problem": "one", "answer": 1},\n\n  {"problem":\n "two"}, {"problem": "three"}\n]\n'
    )
    path = put(root, text, name="rows.json")
    data = read_samples(path)
    assert [row.problem for row in data] == ["one", "two", "three"]
    assert [row.id for row in data] == ["rows-1", "rows-2", "rows-3"]
    assert [row.origin for row in data] == [
        f"{path}:2 (row 1)",
        f"{path}:4 (row 2)",
        f"{path}:5 (row 3)",
    ]
    assert read_labelled(path, skip_bad=True).left_out[0].origin == f"{path}:4 (row 2)"


def test_hidden_characters_that_scripts_need_are_kept(root: Path) -> None:
    text = "می\u200cخواهم 👨\u200d👩 שלום\u200f a\tb\nc"
    assert next(iter(read_samples(put(root, {"problem": text})))).problem == text


# --- answers stay out -----------------------------------------------------------------------------


NAMES_OF_ANSWERS = """
    answer Answer ANSWERS gold_answer answer2 finalAnswer goldanswer answer_type response responses
    solution full_solution SOLUTION ground_truth groundTruth ground-truth groundtruth GT gt_text
    label labels class_label target targets correct correctOption truth rationale explanation cot
    reasoning chosen rejected output expected ans y ａｎｓｗｅｒ 答え 正解 解答欄
"""
OTHER_NAMES = """
    kind level source resolution image_resolution question category id problem images image site
    paraphrases camera year ansatz cotton gtx 解像度 難易度 種類
"""


@pytest.mark.parametrize("name", NAMES_OF_ANSWERS.split())
def test_names_of_answer_columns(name: str) -> None:
    assert is_answer_column(name)


@pytest.mark.parametrize("name", OTHER_NAMES.split())
def test_names_of_other_columns(name: str) -> None:
    assert not is_answer_column(name)


def test_named_answers_do_not_reach_a_sample(root: Path) -> None:
    row = {**GOOD, "solution": "s3cret", "ground_truth": "s3cret", "Label": "s3cret", "kind": "k"}
    path = put(root, row)
    (sample,) = read_samples(path)
    assert sample.meta == {"kind": "k"}
    (labelled,) = read_labelled(path)
    assert labelled.sample == sample


def test_columns_are_dropped_by_name_not_by_what_they_hold(root: Path) -> None:
    rows = [{"problem": "?", "answer": a, "digits": f"it is {a}", "level": a} for a in (3, 5)]
    assert [sample.meta for sample in read_samples(put(root, *rows))] == [
        {"digits": "it is 3", "level": "3"},
        {"digits": "it is 5", "level": "5"},
    ]


def test_unlabelled_reading_does_not_check_answers(root: Path) -> None:
    path = put(root, {"problem": "?", "answer": ["not", "text"], "response": 3, "label": "\u202e"})
    assert next(iter(read_samples(path))).meta == {}


# --- bad rows -------------------------------------------------------------------------------------

BAD_ROWS: list[tuple[object, str]] = [
    (
        "{not json",
        "not JSON: Expecting property name enclosed in double quotes at column 2; "
        "expected one object a line",
    ),
    (
        '{"problem": "a"} {"problem": "b"}',
        "not JSON: Extra data at column 18; expected one object a line",
    ),
    (
        '{"problem": "a',
        "not JSON: Unterminated string starting at column 13; expected one object a line",
    ),
    ("[1]", 'found a list, expected an object {"problem": ...}'),
    ('"text"', 'found the text "text", expected an object {"problem": ...}'),
    ("17", 'found the number 17, expected an object {"problem": ...}'),
    ("null", 'found null, expected an object {"problem": ...}'),
    ("[" * 100_000, "JSON is nested too deeply; expected a flat object"),
    ('{"problem": "?", "answer": NaN}', "NaN is not a JSON value; write a number, text or null"),
    (
        '{"problem": "?", "x": [-Infinity]}',
        "-Infinity is not a JSON value; write a number, text or null",
    ),
    ('{"problem": "a", "problem": "b"}', 'key "problem" appears 2 times; keep one'),
    (b'{"problem": "caf\xe9"}', "not UTF-8 (byte 0xe9 at position 17); save the file as UTF-8"),
    (
        {"question": "?", "x": 1},
        'no "problem" in the row (columns: question, x); put the question there',
    ),
    ({}, 'no "problem" in the row (columns: none); put the question there'),
    ({"problem": None}, 'no "problem" in the row (columns: problem); put the question there'),
    ({"problem": " \n"}, '"problem" is blank; put the question there'),
    ({"problem": 5}, '"problem" must be text, found the number 5'),
    ({"problem": ["?"]}, '"problem" must be text, found a list'),
    ({"problem": "a\x00b"}, '"problem" holds the hidden character U+0000 at position 2; remove it'),
    (
        '{"problem": "in \\boxed{}"}',
        '"problem" holds the hidden character U+0008 at position 4; in '
        "JSON a backslash is written \\\\; remove it",
    ),
    (
        {"problem": "a\u202eb"},
        '"problem" holds the hidden character U+202E at position 2; remove it',
    ),
    (
        {"problem": "a\U000e0041"},
        '"problem" holds the hidden character U+E0041 at position 2; remove it',
    ),
    (
        '{"problem": "\\ud800"}',
        '"problem" holds the hidden character U+D800 at position 1; remove it',
    ),
    (
        {"problem": "?", "kind": "a\x1b[31m"},
        '"kind" holds the hidden character U+001B at position 2; remove it',
    ),
    ({"problem": "?", "id": 1.5}, '"id" must be text or an integer, found the number 1.5'),
    ({"problem": "?", "id": True}, '"id" must be text or an integer, found true'),
    ({"problem": "?", "id": ["a"]}, '"id" must be text or an integer, found a list'),
    ({"problem": "?", "id": " "}, '"id" is blank; leave it out to have the row numbered'),
    (
        {"problem": "?", "id": "a\u200bb"},
        '"id" holds the hidden character U+200B at position 2; remove it',
    ),
    ({"problem": "?", "image": 3}, '"image" must be text, found the number 3'),
    ({"problem": "?", "image": {"bytes": "..."}}, '"image" must be text, found an object'),
    (
        {"problem": "?", "images": "images/a.png"},
        '"images" must be a list of paths, found the text'
        ' "images/a.png"; a single path goes into "image"',
    ),
    ({"problem": "?", "images": ["images/a.png", None]}, '"images[1]" must be text, found null'),
    (
        {"problem": "?", "image": "images/a.png", "images": ["images/a.png"]},
        'row has both "image" and "images"; keep one',
    ),
    (
        {"problem": "<image>?"},
        "problem has 1 <image> mark but the row has 0 images; write one mark"
        " per image, or none to have them put in front",
    ),
    (
        {"problem": "<image><image>?", "image": "images/a.png"},
        "problem has 2 <image> marks but the"
        " row has 1 image; write one mark per image, or none to have them put in front",
    ),
    (
        {"problem": "?", "paraphrases": "another"},
        '"paraphrases" must be a list of texts, found the text "another"; put a single one into'
        " a list",
    ),
    (
        {"problem": "?", "paraphrases": {"a": "b"}},
        '"paraphrases" must be a list of texts, found an object; put a single one into a list',
    ),
    (
        {"problem": "?", "paraphrases": ["a", 2]},
        '"paraphrases[1]" must be text, found the number 2',
    ),
    ({"problem": "?", "paraphrases": [None]}, '"paraphrases[0]" must be text, found null'),
    (
        {"problem": "?", "paraphrases": ["a", " \n"]},
        '"paraphrases[1]" is blank; put a question there, or leave it out',
    ),
    (
        {"problem": "?", "paraphrases": ["a\u202eb"]},
        '"paraphrases[0]" holds the hidden character U+202E at position 2; remove it',
    ),
    (
        '{"problem": "?", "paraphrases": ["in \\boxed{}"]}',
        '"paraphrases[0]" holds the hidden character U+0008 at position 4; in '
        "JSON a backslash is written \\\\; remove it",
    ),
    (
        {"problem": "?", "paraphrases": ["<image>?"]},
        '"paraphrases[0]" has 1 <image> mark, the problem has 0; write as many, or none to have'
        " them put in front",
    ),
    (
        {"problem": "?", "image": "images/a.png", "paraphrases": ["<image>", "<image><image>"]},
        '"paraphrases[1]" has 2 <image> marks, the problem has 1; write as many, or none to have'
        " them put in front",
    ),
    ({"problem": "?", "image": " "}, "image path is blank; name a file"),
    (
        {"problem": "?", "image": "images/a\u200b.png"},
        '"image path" holds the hidden character U+200B at position 9; remove it',
    ),
    ({"problem": "?", "image": "images/no.png"}, "image images/no.png does not exist"),
    ({"problem": "?", "image": "images"}, "image images is a folder, expected an image file"),
    (
        {"problem": "?", "image": "train.jsonl"},
        "image train.jsonl is damaged or of another format;"
        " expected one of PNG, JPEG, WEBP, BMP, GIF, TIFF: convert it to PNG",
    ),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_bad_rows(root: Path, row: object, reason: str) -> None:
    path = put(root, GOOD, "", row, GOOD)
    assert fault(path) == f"train.jsonl:3: {reason}{HINT}"
    assert fault(path, labelled=True) == f"train.jsonl:3: {reason}{HINT}"

    data = read_samples(path, skip_bad=True)
    assert [sample.id for sample in data] == ["train-1", "train-4"]
    (left_out,) = data.left_out
    assert left_out.origin == f"{path}:3"
    assert left_out.reason.replace(f"{root}/", "") == reason


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/a.png",
        "https://example.org/a.png",
        "HTTPS://example.org/a.png",
        " http://example.org/a.png",
        "http:example.org",
        "blob:https://example.org/1",
        "file:///etc/passwd",
        "file:images/a.png",
        "ftp://example.org/a.png",
        "s3://bucket/a.png",
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_addresses_are_never_fetched(root: Path, address: str, check: bool) -> None:
    text = fault(put(root, {"problem": "?", "image": address}), check_images=check)
    assert text == (
        f'train.jsonl:1: image "{address}" is an address: images are read from disk only; save '
        f"the file under the data root and give its path{HINT}"
    )


def test_long_values_are_cut_in_messages(root: Path) -> None:
    path = put(root, {"problem": "?", "image": "data:image/png;base64," + "A" * 10_000})
    assert len(fault(path)) < 400
    assert len(fault(put(root, {"problem": "?", "image": "x" * 10_000}))) < 1_000
    assert len(fault(put(root, {"problem": "?", "images": "x" * 10_000}))) < 400
    assert len(fault(put(root, {"k" * 10_000: 1}))) < 400
    assert len(fault(put(root, {"problem": "?", "paraphrases": "x" * 10_000}))) < 400
    assert (
        len(
            fault(
                put(
                    root, {"problem": "?", "id": "x" * 10_000}, {"problem": "?", "id": "x" * 10_000}
                )
            )
        )
        < 400
    )


@pytest.mark.parametrize("check", [True, False])
def test_images_stay_inside_the_data_root(root: Path, check: bool) -> None:
    outside = root.parent / "outside.png"
    Image.new("RGB", (2, 2)).save(outside)
    (root / "images" / "link.png").symlink_to(outside)
    (root / "up").symlink_to(root.parent)
    for text in (
        "../outside.png",
        "images/../../outside.png",
        str(outside),
        "images/link.png",
        "up/outside.png",
        "/etc/passwd",
        "//server/share/a.png",
    ):
        found = fault(put(root, {"problem": "?", "image": text}), check_images=check)
        assert found == (
            f'train.jsonl:1: image "{text}" is outside the data root {root.resolve()}; move it '
            f"inside, or name another data root{HINT}"
        ).replace(f"{root}/", "")


def test_a_folder_whose_name_begins_like_the_root_is_outside(root: Path) -> None:
    (root.parent / "data-2").mkdir()
    Image.new("RGB", (2, 2)).save(root.parent / "data-2" / "a.png")
    assert "outside the data root" in fault(put(root, {"problem": "?", "image": "../data-2/a.png"}))


def test_paths_inside_the_root_may_be_written_in_any_way(root: Path) -> None:
    (root / "link.png").symlink_to("images/a.png")
    texts = (str(root / "images/a.png"), "link.png", "./images/../images/a.png")
    path = put(root, *({"problem": "?", "image": text} for text in texts))
    assert [row.images for row in read_samples(path)] == [(root.resolve() / "images/a.png",)] * 3


def test_symlink_loop_and_over_long_name(root: Path) -> None:
    (root / "loop.png").symlink_to("loop.png")
    text = fault(put(root, {"problem": "?", "image": "loop.png"}))
    assert text.startswith('train.jsonl:1: image "loop.png" cannot be found (Symlink loop')
    text = fault(put(root, {"problem": "?", "image": "n" * 400}))
    assert text.startswith("train.jsonl:1: image nnn")
    assert "cannot be read" in text


def test_data_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    path = put(tmp_path / "lists", GOOD)
    assert "does not exist" in fault(path)
    assert len(read_samples(path, data_root=root)) == 1
    assert fault(path, data_root=root / "no") == (
        f"data root {root}/no is not a folder; check the path"
    )


def test_a_file_reached_through_a_link_keeps_its_folder_as_root(root: Path, tmp_path: Path) -> None:
    path = put(root, GOOD)
    (tmp_path / "elsewhere").symlink_to(root)
    (sample,) = read_samples(tmp_path / "elsewhere" / path.name)
    assert sample.images == (root.resolve() / "images/a.png",)


def test_images_are_checked_unless_told_not_to(root: Path) -> None:
    (root / "images" / "bad.png").write_bytes(b"nothing")
    path = put(root, {"problem": "?", "image": "images/bad.png"})
    assert "bad.png is damaged or of another format" in fault(path)
    assert len(read_samples(path, check_images=False)) == 1


def test_too_many_pixels(root: Path) -> None:
    Image.new("1", (8001, 8000)).save(root / "images" / "big.png")
    assert fault(put(root, {"problem": "?", "image": "images/big.png"})) == (
        "train.jsonl:1: image images/big.png has 8001x8000 = 64,008,000 pixels, the limit is "
        f"64,000,000; make it smaller or raise max_pixels{HINT}"
    )


def test_duplicate_ids_name_both_lines(root: Path) -> None:
    path = put(root, {"problem": "a", "id": 7}, {"problem": "b"}, {"problem": "c", "id": "7"})
    assert fault(path) == (
        'train.jsonl:3: id "7" is already used at train.jsonl:1; every row needs its own id' + HINT
    )
    assert [row.problem for row in read_samples(path, skip_bad=True)] == ["a", "b"]
    path = put(root, {"problem": "a", "id": "train-2"}, {"problem": "b"})
    assert 'id "train-2" is already used at train.jsonl:1' in fault(path)


def test_a_left_out_row_does_not_take_its_id(root: Path) -> None:
    path = put(root, {"id": "x"}, {"id": "x", "problem": "kept"})
    assert [row.problem for row in read_samples(path, skip_bad=True)] == ["kept"]


def test_over_long_line(root: Path) -> None:
    long = b'{"problem": "' + b"a" * MAX_ROW_BYTES + b'"}'
    path = put(root, GOOD, long, GOOD)
    reason = "row is longer than 16 MiB; keep images in files and name their paths"
    assert fault(path) == f"train.jsonl:2: {reason}{HINT}"
    data = read_samples(path, skip_bad=True)
    assert data.left_out == (LeftOut(f"{path}:2", reason),)
    assert [row.id for row in data] == ["train-1", "train-3"]

    exact = b'{"problem": "' + b"a" * (MAX_ROW_BYTES - 15 - 1) + b'"}'
    assert len(exact) + 1 == MAX_ROW_BYTES
    assert len(read_samples(put(root, exact))) == 1


# --- rows without a usable label ------------------------------------------------------------------

BAD_LABELS: list[tuple[Mapping[str, object], str]] = [
    (
        {},
        'row has no answer: SFT and evaluation need an answer; add an "answer" column, or use'
        " the row without labels (mmupt train)",
    ),
    (
        {"answer": None},
        'row has no answer: SFT and evaluation need an answer; add an "answer"'
        " column, or use the row without labels (mmupt train)",
    ),
    (
        {"answer": " "},
        'row has no answer: SFT and evaluation need an answer; add an "answer"'
        " column, or use the row without labels (mmupt train)",
    ),
    ({"answer": True}, '"answer" must be text or a number, found true'),
    ({"answer": ["14"]}, '"answer" must be text or a number, found a list'),
    ({"answer": "1\x07"}, '"answer" holds the hidden character U+0007 at position 2; remove it'),
    ({"answer": "<image>"}, '"answer" holds an <image> mark; marks belong in the problem'),
    ({"answer": "1", "response": 1}, '"response" must be text, found the number 1'),
    (
        {"answer": "1", "response": ""},
        '"response" is blank; leave it out to train on the answer alone',
    ),
    (
        {"answer": "1", "response": "a <image> b"},
        '"response" holds an <image> mark; marks belong in the problem',
    ),
]


@pytest.mark.parametrize(("label", "reason"), BAD_LABELS, ids=range(len(BAD_LABELS)))
def test_bad_labels(root: Path, label: Mapping[str, object], reason: str) -> None:
    path = put(root, GOOD, {"problem": "?", **label})
    assert fault(path, labelled=True) == f"train.jsonl:2: {reason}{HINT}"
    assert read_labelled(path, skip_bad=True).left_out == (LeftOut(f"{path}:2", reason),)
    assert len(read_samples(path)) == 2


# --- bad files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip_bad", [True, False])
@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b"", "a.jsonl: holds no rows, expected at least one JSON object"),
        ("a.jsonl", b"\n \n\t\n", "a.jsonl: holds no rows, expected at least one JSON object"),
        ("a.json", b"", "a.json: holds no rows, expected at least one JSON object"),
        ("a.json", b" [ ] ", "a.json: holds no rows, expected at least one JSON object"),
        (
            "a.jsonl",
            b'\xef\xbb\xbf{"problem": "?"}',
            "a.jsonl:1: starts with a byte order mark (BOM); save as UTF-8 without BOM",
        ),
        (
            "a.json",
            b'\xef\xbb\xbf[{"problem": "?"}]',
            "a.json:1: starts with a byte order mark (BOM); save as UTF-8 without BOM",
        ),
        (
            "a.jsonl",
            '{"problem": "?"}'.encode("utf-16"),
            "a.jsonl:1: is UTF-16; save the file as UTF-8",
        ),
        (
            "a.json",
            b'[{"problem": "?"},\n{"problem": "?"\n',
            "a.json:3: not JSON: Expecting ',' delimiter at column 1; expected a list of objects "
            "(with one object a line, name the file .jsonl)",
        ),
        (
            "a.json",
            b'{"problem": "?"}\n{"problem": "?"}',
            "a.json:1: not JSON: Expecting '[' at "
            "column 1; expected a list of objects (with one object a line, name the file .jsonl)",
        ),
        (
            "a.json",
            b'[{"problem": "?"} {}]',
            "a.json:1: not JSON: Expecting ',' or ']' at column "
            "19; expected a list of objects (with one object a line, name the file .jsonl)",
        ),
        (
            "a.json",
            b'[{"problem": "?"},]',
            "a.json:1: not JSON: Expecting value at column 19; "
            "expected a list of objects (with one object a line, name the file .jsonl)",
        ),
        (
            "a.json",
            b'[{"problem": "?"}]\n]',
            "a.json:2: not JSON: Extra data at column 1; "
            "expected a list of objects (with one object a line, name the file .jsonl)",
        ),
        ("a.json", b"[" * 100_000, "a.json: JSON is nested too deeply; expected flat objects"),
        (
            "a.json",
            b'[{"problem":\n"\xff"}]',
            "a.json:2: not UTF-8 (byte 0xff at position 15); save the file as UTF-8",
        ),
        (
            "a.csv",
            b"id,problem",
            "a.csv: unknown kind of file '.csv', expected .jsonl (one object "
            "a line) or .json (a list of objects)",
        ),
    ],
)
def test_bad_files(
    tmp_path: Path, name: str, content: bytes, expected: str, skip_bad: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert fault(path, skip_bad=skip_bad) == expected


def test_over_long_list(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmupt.data.entries.MAX_LIST_BYTES", 2**20)
    path = put(root, "[" + " " * (2**20 - 2) + "]", name="a.json")  # and a line end
    assert fault(path) == "a.json: is longer than 1 MiB; write it as .jsonl, one object a line"


def test_bad_elements_of_a_list(root: Path) -> None:
    text = '[{"problem": "ok"},\n3, {"problem": NaN},\n{"problem": "a", "problem": "b"}]'
    path = put(root, text, name="a.json")
    assert fault(path) == (
        'a.json:2 (row 2): found the number 3, expected an object {"problem": ...}' + HINT
    )
    data = read_samples(path, skip_bad=True)
    assert [row.id for row in data] == ["a-1"]
    assert [(bad.origin.removeprefix(f"{root}/"), bad.reason) for bad in data.left_out] == [
        ("a.json:2 (row 2)", 'found the number 3, expected an object {"problem": ...}'),
        ("a.json:2 (row 3)", "NaN is not a JSON value; write a number, text or null"),
        ("a.json:3 (row 4)", 'key "problem" appears 2 times; keep one'),
    ]


def test_everything_bad(root: Path) -> None:
    path = put(root, "broken", {"problem": 1})
    assert fault(path, skip_bad=True) == (
        "train.jsonl: no usable row, all 2 were left out; the first: train.jsonl:1: not JSON: "
        "Expecting value at column 1; expected one object a line"
    )


def test_places_that_are_no_data_file(tmp_path: Path) -> None:
    assert fault(tmp_path / "no.jsonl") == "no.jsonl does not exist; check the path"
    (tmp_path / "dir.jsonl").mkdir()
    assert fault(tmp_path / "dir.jsonl") == "dir.jsonl is a folder, expected a .jsonl or .json file"
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "pipe.jsonl is not a regular file" in fault(tmp_path / "pipe.jsonl")


# --- writing --------------------------------------------------------------------------------------


def test_write_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert write_jsonl(path, [{"problem": "和は?\n", "answer": 1}, {"x": None}]) == 2
    assert path.read_bytes() == '{"problem": "和は?\\n", "answer": 1}\n{"x": null}\n'.encode()
    assert write_jsonl(path, []) == 0
    assert path.read_bytes() == b""
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{}])
    (tmp_path / "b").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.jsonl", "b")]
    assert modes[0] == modes[1]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old\n")

    def rows() -> Iterator[Mapping[str, object]]:
        yield {"x": 1}
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_jsonl(path, rows())
    for value in (float("nan"), float("inf"), tmp_path, "\ud800", {1, 2}):
        with pytest.raises(InputError) as caught:
            write_jsonl(path, [{"x": 1}, {"x": value}])
        assert str(caught.value).startswith(f"{path}: row 2 cannot be written as JSON: ")
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dir.jsonl").mkdir()
    for path, why in (
        (tmp_path / "no" / "a.jsonl", "No such file or directory"),
        (tmp_path / "file" / "a.jsonl", "Not a directory"),
        (tmp_path / "dir.jsonl", "Is a directory"),
    ):
        with pytest.raises(InputError) as caught:
            write_jsonl(path, [{"x": 1}])
        assert str(caught.value) == (
            f"{path} cannot be written ({why}); check that its folder exists and may be written to"
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dir.jsonl", "file"]
