"""The same questions in every schema and kind of file are read to the same samples."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmupt.data.convert import KINDS, Wish, convert
from mmupt.data.pictures import FOLDER_NAME
from mmupt.data.sources import read_labelled, read_mixed, read_samples
from mmupt.errors import InputError
from mmupt.types import LabelledSample, Sample

Rows_ = list[dict[str, Any]]


def picture(shade: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 10, 200)).save(buffer, kind)
    return buffer.getvalue()


PICTURES = {"a.png": picture(1), "b.jpg": picture(90, "JPEG"), "c.webp": picture(200, "WEBP")}
QUESTIONS: Rows_ = [
    {"id": "one", "problem": "<image>\nHow many?", "images": ["a.png"], "answer": "14", "kind": "n"},
    {"id": "two", "problem": "<image> or <image>?", "images": ["a.png", "b.jpg"], "answer": "B",
     "response": "The second. \\boxed{B}", "site": "工場"},
    {"id": "three", "problem": "1 + 1 = ?", "answer": "2", "level": "3"},
    {"id": "four", "problem": "Left of <image>, which?\nA. x\nB. y", "images": ["c.webp"],
     "answer": "A. x", "paraphrases": ["Which is left of <image>?\nA. x\nB. y"]},
    {"id": "five", "problem": "何個ありますか。<image>", "images": ["b.jpg"], "answer": "三",
     "response": "三"},
    {"id": "six", "problem": "<image><image><image>same?", "images": ["c.webp", "b.jpg", "a.png"],
     "answer": "\\frac{1}{2}", "kind": "same", "system": "Answer shortly."},
]  # fmt: skip
OWN = ("id", "problem", "images", "answer", "response", "paraphrases")


def meta(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in OWN}


def seen(row: Sample | LabelledSample) -> dict[str, Any]:
    """A row with its pictures' bytes instead of their places."""
    sample = row.sample if isinstance(row, LabelledSample) else row
    found: dict[str, Any] = {
        "id": sample.id, "problem": sample.problem, "meta": dict(sample.meta),
        "images": [path.read_bytes() for path in sample.images],
        "paraphrases": sample.paraphrases,
    }  # fmt: skip
    if isinstance(row, LabelledSample):
        found |= {"answer": row.answer, "response": row.response}
    return found


EXPECTED = [
    {
        "id": row["id"], "problem": row["problem"], "meta": meta(row),
        "images": [PICTURES[name] for name in row.get("images", ())],
        "paraphrases": tuple(row.get("paraphrases", ())),
        "answer": row["answer"], "response": row.get("response"),
    }
    for row in QUESTIONS
]  # fmt: skip
UNLABELLED = [
    {name: value for name, value in row.items() if name not in ("answer", "response")}
    for row in EXPECTED
]


# --- the rows as the other tools would have them, written by hand ----------------------------------


def rest(row: Mapping[str, Any], *, system: bool = True) -> dict[str, Any]:
    """What a schema has no place for stands in columns of its own."""
    left = {"id": row["id"], **meta(row)}
    left |= {name: row[name] for name in ("paraphrases", "response") if name in row}
    return left if system else {name: v for name, v in left.items() if name != "system"}


def first(
    row: Mapping[str, Any], role: str = "role", text: str = "content"
) -> list[dict[str, Any]]:
    return [{role: "system", text: row["system"]}] if "system" in row else []


def images(row: Mapping[str, Any], value: Callable[[str], object]) -> dict[str, Any]:
    return {"images": [value(name) for name in row["images"]]} if "images" in row else {}


def easyr1(row: dict[str, Any], value: Callable[[str], object]) -> dict[str, Any]:
    return {**row, **images(row, value)}


def verl(row: dict[str, Any], value: Callable[[str], object]) -> dict[str, Any]:
    extra = {**meta(row), "id": row["id"], "answer": row["answer"], "split": None}
    extra.pop("system", None)
    kept = {k: v for k, v in rest(row).items() if k in ("paraphrases", "response")}
    return {
        "data_source": "mmupt", **images(row, value), **kept, "extra_info": extra,
        "prompt": [*first(row), {"role": "user", "content": row["problem"]}],
        "reward_model": {"style": "rule", "ground_truth": row["answer"]},
    }  # fmt: skip


def parts(row: dict[str, Any], shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pieces: list[dict[str, Any]] = []
    left = list(shown)
    for number, text in enumerate(row["problem"].split("<image>")):
        pieces += [left.pop(0)] if number else []
        pieces += [{"type": "text", "text": text}] if text else []
    return pieces


def trl(row: dict[str, Any], value: Callable[[str], object]) -> dict[str, Any]:
    holes: list[dict[str, Any]] = [{"type": "image"}] * len(row.get("images", ()))
    system = [{"role": "system", "content": [{"type": "text", "text": row.get("system")}]}]
    prompt = [*(system if "system" in row else []), {"role": "user", "content": parts(row, holes)}]
    return {
        **rest(row, system=False), "prompt": prompt, "solution": row["answer"], **images(row, value)
    }  # fmt: skip


def trl_text(row: dict[str, Any], value: Callable[[str], object]) -> dict[str, Any]:
    said = [{"role": "assistant", "content": row.get("response", row["answer"])}]
    return {
        **rest(row), "prompt": row["problem"], "completion": said, **images(row, value),
        "answer": row["answer"],
    }  # fmt: skip


def llava(row: dict[str, Any], value: Callable[[str], object]) -> dict[str, Any]:
    names = row.get("images", [])
    shown = {"image": value(names[0])} if len(names) == 1 else images(row, value)
    said = row.get("response", row["answer"])
    explicit = {"answer": row["answer"]} if "response" in row else {}
    return {
        **rest(row), **shown, **explicit,
        "conversations": [
            {"from": "human", "value": row["problem"]}, {"from": "gpt", "value": said},
        ],
    }  # fmt: skip


def llama_factory(row: dict[str, Any], value: Callable[[str], object]) -> dict[str, Any]:
    said = row.get("response", row["answer"])
    explicit = {"answer": row["answer"]} if "response" in row else {}
    return {
        **rest(row, system=False), **images(row, value), **explicit,
        "messages": [
            *first(row), {"role": "user", "content": row["problem"]},
            {"role": "assistant", "content": said},
        ],
    }  # fmt: skip


def alpaca(row: dict[str, Any], value: Callable[[str], object]) -> dict[str, Any]:
    head, _, tail = row["problem"].partition("\n")
    explicit = {"answer": row["answer"]} if "response" in row else {}
    return {
        **rest(row), **images(row, value), **explicit, "instruction": head, "input": tail,
        "output": row.get("response", row["answer"]), "history": [],
    }  # fmt: skip


def openai(row: dict[str, Any], value: Callable[[str], object]) -> dict[str, Any]:
    shown = [
        {"type": "image_url", "image_url": {"url": value(name), "detail": "low"}}
        for name in row.get("images", ())
    ]
    said = row.get("response", row["answer"])
    explicit = {"answer": row["answer"]} if "response" in row else {}
    return {
        **rest(row, system=False), **explicit,
        "messages": [
            *first(row), {"role": "user", "content": parts(row, shown)},
            {"role": "assistant", "content": said},
        ],
    }  # fmt: skip


SCHEMAS = {
    "easyr1": easyr1, "verl": verl, "trl": trl, "trl-text": trl_text, "llava": llava,
    "llama-factory": llama_factory, "alpaca": alpaca, "openai": openai,
}  # fmt: skip


def by_path(name: str) -> object:
    return name


def by_address(name: str) -> object:
    kind = {"png": "png", "jpg": "jpeg", "webp": "webp"}[name.rpartition(".")[2]]
    return f"data:image/{kind};base64,{base64.b64encode(PICTURES[name]).decode()}"


def by_bytes(name: str) -> object:
    return {"bytes": PICTURES[name], "path": name}


# --- the kinds of file ------------------------------------------------------------------------------


def jsonl(folder: Path, rows: Rows_) -> Path:
    path = folder / "q.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def json_list(folder: Path, rows: Rows_) -> Path:
    (folder / "q.json").write_text(json.dumps(rows, indent=1))
    return folder / "q.json"


def table(rows: Rows_) -> pa.Table:
    """All columns in all rows; contents of messages as parts wherever one is, as Arrow has types."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    rows = [{name: row.get(name) for name in names} for row in rows]
    turns = [turn for row in rows for turn in row.get("messages") or ()]
    if any(isinstance(turn["content"], list) for turn in turns):
        for turn in turns:
            if isinstance(turn["content"], str):
                turn["content"] = [{"type": "text", "text": turn["content"]}]
    return pa.Table.from_pylist(rows)


def parquet(folder: Path, rows: Rows_) -> Path:
    pq.write_table(table(rows), folder / "q.parquet", row_group_size=2)
    return folder / "q.parquet"


def shards(folder: Path, rows: Rows_) -> Path:
    """Three parquet files; a pattern names them."""
    for number in range(3):
        part = table(rows[2 * number : 2 * number + 2])
        pq.write_table(part, folder / f"train-{number:05}-of-00003.parquet")
    return folder / "train-*.parquet"


def members(path: Path, parts: list[tuple[str, bytes]]) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in parts:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    data = buffer.getvalue()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def tar(folder: Path, rows: Rows_) -> Path:
    """Two shards, the second packed; a range of numbers would name them if both ended alike."""
    parts: list[list[tuple[str, bytes]]] = [[], []]
    for number, row in enumerate(rows):
        names = QUESTIONS[number].get("images", [])
        kept = {k: v for k, v in row.items() if k not in ("image", "images")}
        mine = parts[number // 3]
        mine.append((f"deep/{number:03}.json", json.dumps(kept).encode()))
        for place, name in enumerate(names):
            mine.append((f"deep/{number:03}.{place}.{name.rpartition('.')[2]}", PICTURES[name]))
    members(folder / "s-000.tar", parts[0])
    members(folder / "s-001.tar", parts[1])
    return folder / "s-{000..001}.tar"


def names_of_pictures(folder: Path, rows: Rows_) -> Path:
    """A folder of pictures with metadata.jsonl, as `datasets` reads it."""
    inner = folder / "pictures"
    inner.mkdir()
    for name, data in PICTURES.items():
        (inner / name).write_bytes(data)
    lines = []
    for row in rows:
        kept = {k: v for k, v in row.items() if k not in ("image", "images")}
        names = row.get("images") or ([row["image"]] if "image" in row else [])
        if names:
            kept |= {"file_name": names[0]} if len(names) == 1 else {"file_names": names}
        lines.append(json.dumps(kept) + "\n")
    (inner / "metadata.jsonl").write_text("".join(lines))
    return inner


IN_FILES: list[tuple[str, Callable[[Path, Rows_], Path], Callable[[str], object]]] = [
    ("jsonl-paths", jsonl, by_path),
    ("json-addresses", json_list, by_address),
    ("parquet-bytes", parquet, by_bytes),
    ("shards-bytes", shards, by_bytes),
    ("tar", tar, by_path),
    ("folder", names_of_pictures, by_path),
]


def possible(schema: str, kind: str) -> bool:
    # OpenAI's pictures are addresses inside the messages, whatever the file
    return not (schema == "openai" and kind in ("tar", "folder", "parquet-bytes", "shards-bytes"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name, data in PICTURES.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("kind", [name for name, _, _ in IN_FILES])
def test_every_schema_in_every_kind_of_file(
    schema: str, kind: str, tmp_path: Path, pictures: Path
) -> None:
    write, value = next((w, v) for name, w, v in IN_FILES if name == kind)
    if not possible(schema, kind):
        value = by_address
        write = {"tar": jsonl, "folder": json_list}.get(kind, parquet)
    for name in PICTURES:
        shutil.copy(pictures / name, tmp_path / name)
    path = write(tmp_path, [SCHEMAS[schema](dict(row), value) for row in QUESTIONS])
    assert [seen(row) for row in read_samples(path)] == UNLABELLED
    assert [seen(row) for row in read_labelled(path)] == EXPECTED
    assert [seen(row) for row in read_mixed(path)] == EXPECTED
    forced = {"trl-text": "trl"}.get(schema, schema)
    assert [seen(row) for row in read_labelled(path, schema=forced)] == EXPECTED


# --- written and read again -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for name, data in PICTURES.items():
        (folder / name).write_bytes(data)
    return jsonl(folder, QUESTIONS)


ROUND_TRIPS = [
    (to, ending, images)
    for to, (_, endings) in KINDS.items()
    for ending in endings
    for images in (None, "copy", "link", "embed")
    if not (ending == ".tar" and images in ("copy", "link"))
    and not (ending == "" and images == "embed")
    and not (to == "openai" and images == "link")
    and not (ending in (".ndjson",) and images)
]


@pytest.mark.parametrize(("to", "ending", "mode"), ROUND_TRIPS)
def test_round_trips(to: str, ending: str, mode: Any, tmp_path: Path, source: Path) -> None:
    out = tmp_path / f"out{ending}"
    done = convert(source, Wish(to, out, mode))
    assert (done.rows, done.labelled, done.images) == (6, 6, 8)
    assert [seen(row) for row in read_labelled(out)] == EXPECTED
    assert not [
        path
        for path in tmp_path.iterdir()
        if path.name.startswith(".mmupt-") and path.name != FOLDER_NAME
    ]
    # and back, from pictures inside rows too
    back = tmp_path / "back.jsonl"
    assert convert(out, Wish("jsonl", back)).rows == 6
    assert [seen(row) for row in read_labelled(back)] == EXPECTED


@pytest.mark.parametrize("to", KINDS)
def test_dropped_labels_are_nowhere_in_the_output(to: str, tmp_path: Path) -> None:
    secret = [
        {"id": str(n), "problem": "?", "answer": "s3cret", "response": "it is s3cret"}
        for n in range(3)
    ]
    path = jsonl(tmp_path, secret)
    out = tmp_path / f"out{KINDS[to][1][0]}"
    assert convert(path, Wish(to, out, labels="drop")).labelled == 0
    written = [out] if out.is_file() else list(out.rglob("*"))
    for file in written:
        text = (
            str(pq.read_table(file).to_pylist()) if file.suffix == ".parquet" else file.read_text()
        )
        assert "s3cret" not in text
    assert [row.problem for row in read_samples(out)] == ["?"] * 3
    with pytest.raises(InputError, match="no answer"):
        read_labelled(out)
