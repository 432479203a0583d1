"""Made files in every published schema, read to the same questions; hostile files told in a line."""

from __future__ import annotations

import hashlib
import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmupt.benchmarks.catalog import BENCHMARKS, benchmark, read_rows
from mmupt.benchmarks.files import DataFolder, Pictures, parquet_rows
from mmupt.benchmarks.rows import BenchmarkRow
from mmupt.data.images import load_image
from mmupt.errors import ConfigError, InputError


def png(shade: int = 0, size: tuple[int, int] = (8, 6)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, 10, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def hub(data: bytes) -> dict[str, object]:
    """An image as the hub writes it."""
    return {"bytes": data, "path": "1.png"}


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def picture(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(shade))
    return path


def read(name: str, folder: Path, **options: Any) -> list[BenchmarkRow]:
    work = folder.parent / "work"
    work.mkdir(exist_ok=True)
    return list(read_rows(name, folder, work, **options))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data-dir"
    folder.mkdir()
    return folder


VISTA: dict[str, Any] = {
    "pid": "7",
    "question": "What fraction is blue?",
    "image": "images/7.png",
    "choices": ["3/11", "8/11"],
    "unit": None,
    "precision": None,
    "answer": "8/11",
    "question_type": "multi_choice",
    "answer_type": "text",
    "metadata": {"source": "IconQA", "task": "figure question answering", "context": "puzzle",
                 "category": "math-targeted-vqa", "grade": "elementary school",
                 "language": "english", "skills": ["arithmetic reasoning", "logical reasoning"],
                 "img_height": 6, "img_width": 8, "split": "testmini"},
    "query": "Hint: ...\nQuestion: What fraction is blue?\nChoices:\n(A) 3/11\n(B) 8/11",
}  # fmt: skip


def test_mathvista_from_parquet_and_from_json(data: Path) -> None:
    parquet(data / "data" / "testmini-00000-of-00001-abc.parquet", [
        {**VISTA, "decoded_image": hub(png())},
        {**VISTA, "pid": "8", "choices": None, "answer": "1.45", "precision": 2.0, "unit": "$",
         "question_type": "free_form", "answer_type": "float", "decoded_image": hub(png())},
    ])  # fmt: skip
    first, second = read("MathVista", data)
    assert first.sample.id == "7"
    assert first.sample.problem == "<image>" + VISTA["query"]
    assert first.answer == "B"
    assert first.choices == ("3/11", "8/11")
    assert first.groups["skills"] == ("arithmetic reasoning", "logical reasoning")
    assert first.groups["source"] == ("IconQA",)
    assert second.fields == {
        "question_type": "free_form", "answer_type": "float", "precision": "2", "unit": "$",
    }  # fmt: skip
    # One picture, written once, under the hash of its content.
    digest = hashlib.sha256(png()).hexdigest()
    (path,) = first.sample.images
    assert (path.name, second.sample.images) == (f"{digest}.png", (path,))
    assert load_image(path).size == (8, 6)

    other = data.parent / "repository"
    picture(other / "data" / "images" / "7.png")
    write(other / "data" / "testmini.json", {"7": {k: VISTA[k] for k in VISTA if k != "pid"}})
    (same,) = read("mathvista", other)
    assert (same.sample.id, same.sample.problem, same.answer, same.choices, same.groups) == (
        "7", first.sample.problem, "B", first.choices, first.groups,
    )  # fmt: skip
    assert same.sample.images == ((other / "data" / "images" / "7.png").resolve(),)


def test_mathvista_builds_the_query_where_it_is_missing(data: Path) -> None:
    picture(data / "images" / "7.png")
    row = {k: v for k, v in VISTA.items() if k != "query"}
    number = {**row, "pid": "8", "choices": None, "question": "How long?", "unit": "cm",
              "answer": "14", "question_type": "free_form", "answer_type": "integer"}  # fmt: skip
    write(data / "testmini.json", [row, number])
    first, second = read("mathvista", data)
    assert first.sample.problem == (
        "<image>Hint: Please answer the question and provide the correct option letter, e.g., "
        "A, B, C, D, at the end.\nQuestion: What fraction is blue?\nChoices:\n(A) 3/11\n(B) 8/11"
    )
    assert second.sample.problem.endswith("at the end.\nQuestion: How long? (Unit: cm)")


def test_mathverse_from_parquet_and_from_json(data: Path) -> None:
    row = {
        "sample_index": "1", "problem_index": "1", "problem_version": "Vision Only",
        "question": "", "answer": "C", "question_type": "multi-choice",
        "metadata": {"split": "testmini", "source": "GeoQA", "subject": "Plane Geometry",
                     "subfield": "Angle"},
        "query_wo": "directly", "query_cot": "According to the question shown in the image, ...",
        "question_for_eval": "Find it.\nChoices:\nA:50°\nB:60°\nC:65°",
    }  # fmt: skip
    text = {**row, "sample_index": "2", "problem_version": "Text Only", "question": "x?\nA:1\nB:2",
            "answer": "B"}  # fmt: skip
    parquet(data / "testmini.parquet", [{**row, "image": hub(png())}])
    parquet(data / "testmini_text_only.parquet", [{**text, "image": ""}])
    (first,) = read("mathverse", data)
    assert first.sample.problem == "<image>According to the question shown in the image, ..."
    assert (first.answer, first.choices) == ("C", ("50°", "60°", "65°"))
    assert first.groups == {
        "question_type": ("multi-choice",), "problem_version": ("Vision Only",),
        "subject": ("Plane Geometry",), "subfield": ("Angle",), "source": ("GeoQA",),
    }  # fmt: skip
    (second,) = read("mathverse", data, split="testmini_text_only")
    assert (second.sample.images, second.choices, second.answer) == ((), ("1", "2"), "B")

    other = data.parent / "repository"
    picture(other / "images" / "images_version_6" / "image_1.png")
    write(other / "testmini.json", [{**row, "image": "images_version_6/image_1.png"}])
    (same,) = read("mathverse", other)
    assert (same.sample.problem, same.answer, same.choices) == (
        first.sample.problem, first.answer, first.choices,
    )  # fmt: skip


def test_mathvision_from_parquet_and_from_json_lines(data: Path) -> None:
    row = {"id": "4", "question": "Which piece is missing?\n<image1>", "options": ["10", "12"],
           "image": "images/4.jpg", "answer": "B", "solution": None, "level": 2,
           "subject": "combinatorial geometry"}  # fmt: skip
    drawn = {**row, "id": "5", "options": ["A", "B", "C"], "answer": "C"}
    parquet(data / "data" / "test-00000-of-00001.parquet", [
        {**row, "decoded_image": hub(png())}, {**drawn, "decoded_image": hub(png(9))},
    ])  # fmt: skip
    first, second = read("mathvision", data)
    assert first.sample.problem.startswith("<image>Please solve the problem step by step")
    assert first.sample.problem.endswith(
        "Which piece is missing?\nChoices:\n(A) 10\n(B) 12"
    )  # fmt: skip
    assert (first.answer, first.choices) == ("B", ("10", "12"))
    assert first.groups == {
        "form": ("choice",), "level": ("2",), "subject": ("combinatorial geometry",)
    }  # fmt: skip
    assert (second.answer, second.choices) == ("C", ())  # nothing to list
    assert second.sample.problem.endswith("Which piece is missing?")

    other = data.parent / "repository"
    picture(other / "images" / "4.jpg")
    (other / "data").mkdir()
    (other / "data" / "test.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (same,) = read("math-vision", other)
    assert same.sample.problem == first.sample.problem
    assert len(same.sample.images) == 1


def test_wemath_from_parquet_and_from_json(data: Path) -> None:
    row = {"ID": "2steps_1", "split": "testmini", "knowledge concept": "Length Units",
           "question": "OA = ( ) m", "option": "A. 300, 400;B. 400, 300; C. No correct answer",
           "answer": "B", "key": "2steps_1", "question number": 1,
           "knowledge concept description": "..."}  # fmt: skip
    whole = {**row, "key": "2steps_multi"}
    parquet(data / "data" / "testmini-00000-of-00001.parquet", [
        {**row, "image_path": hub(png())}, {**whole, "image_path": hub(png(1))},
    ])  # fmt: skip
    first, second = read("We-Math", data)
    assert [first.sample.id, second.sample.id] == ["2steps_1/2steps_1", "2steps_1/2steps_multi"]
    assert first.choices == ("300, 400", "400, 300", "No correct answer")
    assert "Question: OA = ( ) m\nOption: A. 300, 400;B. 400, 300;" in first.sample.problem
    assert first.fields == {"problem": "2steps_1", "steps": "2", "step": "1"}
    assert first.groups["steps"] == ("1 step",)
    assert second.groups["steps"] == ("2 steps",)

    other = data.parent / "repository"
    picture(other / "testmini" / "2steps" / "image" / "1-1.png")
    write(other / "testmini.json", [{**row, "image_path": "2steps/image/1-1.png"}])
    (same,) = read("wemath", other)
    assert (same.sample.problem, same.choices) == (first.sample.problem, first.choices)


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("A. 3, 5, 4; B. 3, 50, 40; C. 30, 50, 40.; D. None",
         ("3, 5, 4", "3, 50, 40", "30, 50, 40.", "None")),
        ("A. 1 cm;B. 1.5 cm;C. 3.14 cm; D. None", ("1 cm", "1.5 cm", "3.14 cm", "None")),
        ("A. F;    B. D;    C. B;    D. I; E. None", ("F", "D", "B", "I", "None")),
        ("A. B; B. C; C. D; D. E; E. None", ("B", "C", "D", "E", "None")),
        ("A. 15π;B. 10π;C. 5π; D. None", ("15π", "10π", "5π", "None")),
        ("A. Left; B. Right; C. Unknown.; D. None", ("Left", "Right", "Unknown.", "None")),
    ],
)  # fmt: skip
def test_options_of_wemath_as_they_are_spaced(option: str, choices: tuple[str, ...]) -> None:
    raw = {"ID": "2steps_1", "key": "2steps_1", "question": "q", "option": option, "answer": "C"}
    row = BENCHMARKS["wemath"].row(raw, "row", Pictures(DataFolder(Path()), Path()))
    assert (row.choices, row.answer) == (choices, "C")
    for reply in ("<Answer>: <<C>>", f"<Answer>: <<C. {choices[2]}>>"):
        assert BENCHMARKS["wemath"].rule(row, reply).right


def test_geometry3k_from_parquet_and_from_folders(data: Path) -> None:
    parquet(data / "data" / "test-00000-of-00001.parquet", [
        {"images": [hub(png())], "problem": "<image>Find x.", "answer": "8 \\sqrt { 3 }", "id": 5,
         "choices": ["8", "8 \\sqrt { 3 }"], "ground_truth": "B"},
    ])  # fmt: skip
    (first,) = read("geometry3k", data)
    assert first.sample.problem == (
        "<image>Find x.\nSolve the problem step by step and put the final answer in \\boxed{}."
    )
    assert (first.sample.id, first.answer) == ("5", "8 \\sqrt { 3 }")

    other = data.parent / "original"
    for name in ("2401", "2402"):
        write(other / "test" / name / "data.json", {
            "problem_text": "Find m \\widehat A B.", "choices": ["30", "80"], "answer": "B",
            "problem_type_graph": ["Circle"], "problem_type_goal": ["Angle"], "id": int(name),
        })  # fmt: skip
        picture(other / "test" / name / "img_diagram.png")
    rows = read("geometry3k", other)
    assert [row.sample.id for row in rows] == ["2401", "2402"]
    assert rows[0].answer == "80"
    assert rows[0].groups == {"goal": ("Angle",), "shape": ("Circle",)}
    assert rows[0].sample.images == ((other / "test/2401/img_diagram.png").resolve(),)


def test_geoqa_in_four_schemas(data: Path) -> None:
    parquet(data / "data" / "test-0.parquet", [
        {"image": hub(png()), "problem": "Find it.", "solution": "<answer> 145° </answer>"},
    ])  # fmt: skip
    (first,) = read("geoqa", data)
    assert (first.answer, first.choices) == ("145°", ())
    assert first.sample.problem.startswith("<image>Find it. Output the thinking process in <think>")

    prompts = data.parent / "prompts"
    picture(prompts / "geo" / "1.png")
    prompts.joinpath("test.jsonl").write_text(
        json.dumps({"image_path": "./geo/1.png", "question": "Find it.", "ground_truth": "145°"})
    )
    (second,) = read("geoqa", prompts)
    assert (second.answer, second.sample.problem) == ("145°", first.sample.problem)

    listed = data.parent / "listed"
    parquet(listed / "data" / "test-0.parquet", [
        {"images": [hub(png())], "problem": "Angle 2 is ()\nA. 40°\nB. 50°", "answer": "B"},
    ])  # fmt: skip
    (third,) = read("geoqa", listed)
    assert (third.answer, third.choices) == ("B", ("40°", "50°"))

    port = data.parent / "port"
    parquet(port / "test.parquet", [
        {"id": i, "subject": "如图", "choices": ["40°", "50°"], "label": 1, "answer": "so A",
         "original_split": split, "image": hub(png())} for i, split in enumerate(("train", "test"))
    ])  # fmt: skip
    (fourth,) = read("geoqa", port)
    assert (fourth.sample.id, fourth.answer, fourth.choices) == ("1", "B", ("40°", "50°"))
    assert "so A" not in fourth.sample.problem
    assert "(A) 40°\n(B) 50°" in fourth.sample.problem


def test_chartqa_in_three_schemas(data: Path) -> None:
    parquet(data / "data" / "test-0.parquet", [
        {"type": "human_test", "question": "How many?", "answer": "14", "image": hub(png())},
    ])  # fmt: skip
    (first,) = read("chartqa", data)
    assert first.sample.problem == (
        "<image>How many?\nAnswer the question using a single word or phrase."
    )
    assert (first.answer, first.groups) == ("14", {"type": ("human",)})

    other = data.parent / "m4"
    parquet(other / "data" / "test-0.parquet", [
        {"image": hub(png()), "query": "How many?", "label": ["14"], "human_or_machine": 1},
        {"image": hub(png()), "query": "Which?", "label": ["Yes", "No"], "human_or_machine": 0},
    ])  # fmt: skip
    second, third = read("chartqa", other)
    assert (second.sample.problem, second.answer) == (first.sample.problem, "14")
    assert (second.groups, third.answer) == ({"type": ("augmented",)}, "[Yes, No]")

    original = data.parent / "original"
    for kind, answer in (("human", "14"), ("augmented", "15")):
        write(original / "test" / f"test_{kind}.json", [
            {"imgname": "41.png", "query": "How many?", "label": answer},
        ])  # fmt: skip
    picture(original / "test" / "png" / "41.png")
    rows = read("chartqa", original)
    assert [(row.answer, row.groups["type"]) for row in rows] == [
        ("14", ("human",)), ("15", ("augmented",)),
    ]  # fmt: skip
    assert rows[0].sample.images == rows[1].sample.images
    assert rows[0].sample.id != rows[1].sample.id


@pytest.mark.parametrize("inner", ["", "data", "easy_vqa/data"])
def test_easyvqa_from_its_folder(data: Path, inner: str) -> None:
    place = data / inner / "test"
    write(place / "questions.json", [
        ["what shape is in the image?", "circle", 0], ["is there a red shape?", "no", 0],
    ])  # fmt: skip
    picture(place / "images" / "0.png")
    first, second = read("easy-VQA", data)
    assert first.sample.problem == (
        "<image>what shape is in the image?\nAnswer with one word: circle, rectangle, triangle."
    )
    assert (first.answer, first.groups) == ("circle", {"kind": ("shape",)})
    assert (second.answer, second.groups) == ("no", {"kind": ("yes/no",)})


@pytest.mark.parametrize("name", ["chartqa", "geoqa", "geometry3k"])
def test_rows_without_ids_in_two_shards(data: Path, name: str) -> None:
    row = {"problem": "x?", "question": "x?", "answer": "1", "image": hub(png())}
    for shard in (0, 1):
        parquet(data / "data" / f"test-0000{shard}-of-00002.parquet", [row, row])
    assert [one.sample.id for one in read(name, data)] == [
        "test-00000-of-00002.parquet-1", "test-00000-of-00002.parquet-2",
        "test-00001-of-00002.parquet-1", "test-00001-of-00002.parquet-2",
    ]  # fmt: skip


def test_no_prompt_holds_its_answer_in_meta(data: Path) -> None:
    """`Sample.meta` never carries what is named like an answer."""
    parquet(data / "data" / "testmini-0.parquet", [{**VISTA, "decoded_image": hub(png())}])
    (row,) = read("mathvista", data)
    assert "answer" not in " ".join(row.sample.meta)
    assert "8/11" not in row.sample.meta.values()


# --- hostile and broken files -------------------------------------------------------------------


def table(data: Path, *rows: dict[str, Any]) -> None:
    write(data / "test.json", list(rows))


CHART: dict[str, Any] = {"id": "1", "question": "How many?", "answer": "14", "image": "1.png"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "../outside.png"}, "outside the data root"),
        ({"image": "/etc/hostname"}, "outside the data root"),
        ({"image": "https://example.org/1.png"}, "is an address"),
        ({"image": "missing.png"}, "does not exist"),
        ({"image": "text.png"}, "damaged or of another format"),
        ({"image": "big.png"}, "400 pixels, the limit is 100"),
        ({"image": 5}, "does not exist"),
        ({"image": {"path": None}}, "need bytes or a path"),
        ({"image": ["1.png"] * 27}, "at most 26"),
        ({"question": None}, '"question" is missing'),
        ({"question": ["x"]}, "need text or a number"),
        ({"question": True}, "need text or a number"),
        ({"question": "x" * 200_001}, "at most 200,000"),
        ({"label": ["a"] * 27, "answer": None}, "a list of texts"),
    ],
)
def test_a_broken_row_is_one_line_that_names_its_place(
    data: Path, change: dict[str, Any], said: str
) -> None:
    picture(data / "1.png")
    picture(data.parent / "outside.png")
    (data / "text.png").write_text("no picture")
    (data / "big.png").write_bytes(png(size=(20, 20)))
    table(data, {**CHART, **change})
    with pytest.raises(InputError) as error:
        read("chartqa", data, max_pixels=100)
    assert said in str(error.value)
    assert "test.json:1" in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_rows_can_be_left_out(data: Path) -> None:
    picture(data / "1.png")
    table(data, CHART, {**CHART, "id": "2", "image": "gone.png"}, {**CHART, "id": "3"})
    left_out: list[str] = []
    assert [row.sample.id for row in read("chartqa", data, left_out=left_out)] == ["1", "3"]
    assert len(left_out) == 1
    assert "gone.png" in left_out[0]
    table(data, {**CHART, "image": "gone.png"})
    with pytest.raises(InputError, match="no usable row of ChartQA"):
        read("chartqa", data, left_out=[])


def test_links_out_of_the_folder_are_refused_but_not_those_of_the_hub_cache(data: Path) -> None:
    elsewhere = data.parent / "elsewhere.parquet"
    parquet(elsewhere, [{**CHART, "image": hub(png())}])
    (data / "test.parquet").symlink_to(elsewhere)
    with pytest.raises(InputError, match="leads outside"):
        read("chartqa", data)
    cache = data.parent / "datasets--x"
    (cache / "blobs").mkdir(parents=True)
    elsewhere.rename(cache / "blobs" / "abc")
    snapshot = cache / "snapshots" / "1f2e"
    (snapshot / "data").mkdir(parents=True)
    (snapshot / "data" / "test-0.parquet").symlink_to(cache / "blobs" / "abc")
    assert len(read("chartqa", snapshot)) == 1


def test_pictures_in_tables_are_checked_and_never_half_written(data: Path) -> None:
    broken = png()[:20]
    for value, said in (
        (broken, "in the table is"),
        (b"GIF89a", "in the table is"),
        (b"", "empty"),
    ):
        parquet(data / "test.parquet", [{**CHART, "image": hub(value)}])
        with pytest.raises(InputError, match=said):
            read("chartqa", data)
    parquet(data / "test.parquet", [{**CHART, "image": hub(png(size=(20, 20)))}])
    with pytest.raises(InputError, match="400 pixels"):
        read("chartqa", data, max_pixels=100)
    assert not [path for path in (data.parent / "work").rglob("*") if path.is_file()]


def test_files_that_are_no_tables(data: Path) -> None:
    with pytest.raises(InputError, match="no table of the split 'test'"):
        read("chartqa", data)
    (data / "test.parquet").write_bytes(b"PAR1 not a parquet file PAR1")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        read("chartqa", data)
    (data / "test.parquet").unlink()
    for text, said in (
        ("[1]", "expected an object"),
        ("[{]", "not JSON"),
        ('{"a": 1}', "is no object"),
        ('{"a": NaN}', "unusable JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('"text"', "expected a list"),
    ):
        (data / "test.json").write_text(text)
        with pytest.raises(InputError, match=said):
            read("chartqa", data)
    with pytest.raises(InputError, match="is not a folder"):
        read("chartqa", data / "gone")


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("mathvista", {**VISTA, "answer": "7/11"}, "is none of the choices"),
        ("mathvista", {**VISTA, "choices": []}, "the texts of the options"),
        ("mathvista", {**VISTA, "precision": 1e9}, "0 to 12 decimals"),
        ("mathvista", {**VISTA, "metadata": "x"}, "need an object"),
        ("wemath", {"ID": "x", "key": "2steps_3", "option": "A. 1; B. 2"}, "3steps_multi"),
        ("wemath", {"ID": "x", "key": "2steps_1", "option": "A. 1; B. 2", "answer": "F",
                    "question": "q"}, "the letter of an option"),
        ("mathvision", {"id": "1", "question": "q", "options": ["1", "2"], "answer": "C"},
         "the letter of an option"),
        ("geoqa", {"subject": "q", "choices": ["1"], "label": 1}, "the index of a choice"),
        ("geoqa", {"subject": "q", "choices": ["1"], "label": -1}, "the index of a choice"),
    ],
)  # fmt: skip
def test_references_that_do_not_fit_their_row(
    data: Path, name: str, row: dict[str, Any], said: str
) -> None:
    picture(data / "images" / "7.png")
    write(data / f"{benchmark(name).split}.json", [row])
    with pytest.raises(InputError, match=said):
        read(name, data)


def test_easyvqa_refuses_other_elements(data: Path) -> None:
    for item, said in (
        (["a", "b"], "expected"),
        ("x", "expected"),
        (["a", "b", "../1"], "integer"),
    ):
        write(data / "test" / "questions.json", [item])
        with pytest.raises(InputError, match=said):
            read("easyvqa", data)
    with pytest.raises(InputError, match=r"questions\.json"):
        read("easyvqa", data, split="train")


def test_ids_limit_and_names(data: Path) -> None:
    picture(data / "1.png")
    table(data, CHART, CHART)
    with pytest.raises(InputError, match="is used twice"):
        read("chartqa", data)
    assert len(read("chartqa", data, limit=1)) == 1
    with pytest.raises(ConfigError, match="limit is 0"):
        read("chartqa", data, limit=0)
    with pytest.raises(ConfigError, match="choose from mathvista, "):
        read("imagenet", data)
    assert {entry.name for entry in BENCHMARKS.values()} == set(BENCHMARKS)


def test_a_large_table_does_not_stay_in_memory(data: Path) -> None:
    """40 MB of pictures in 160 row groups; Arrow holds 16 rows (4 MB) and what it works with."""
    noise = random.Random(0)
    rows = [{**CHART, "id": str(i), "image": noise.randbytes(2**18)} for i in range(160)]
    pq.write_table(pa.Table.from_pylist(rows), data / "test.parquet", row_group_size=1)
    del rows
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in parquet_rows(data / "test.parquet")]
    assert len(held) == 160
    assert max(held) < 16 * 2**20


def test_rows_are_read_one_by_one(data: Path) -> None:
    """The first row comes before the second is looked at."""
    picture(data / "1.png")
    table(data, CHART, {**CHART, "id": "2", "image": "gone.png"})
    work = data.parent
    rows = read_rows("chartqa", data, work)
    assert next(rows).sample.id == "1"
    with pytest.raises(InputError, match=r"gone\.png"):
        next(rows)


def test_hidden_characters_and_stray_marks_leave_the_question(data: Path) -> None:
    picture(data / "1.png")
    table(data, {**CHART, "question": "How\u202e many <image> <image>?\u0000"})
    (row,) = read("chartqa", data)
    assert row.sample.problem.startswith("<image>How many  ?")
    assert row.sample.problem.count("<image>") == 1
