"""Some 250 broken data sets: each is told in one clear line with exit code 2, and no traceback.

They are made from a seed, over all schemas and kinds of file; each has one good row and one fault.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import re
import struct
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image

import mmupt.cli
from mmupt.cli.data import check
from mmupt.data.sources import read_labelled, read_samples
from mmupt.errors import InputError, MmuptError

Row = dict[str, Any]
Make = Callable[[Path], Path]


def png(size: tuple[int, int] = (32, 30)) -> bytes:
    buffer = io.BytesIO()
    image = Image.effect_noise(size, 40)
    image.save(buffer, "PNG")
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def header(width: int, height: int, *chunks: bytes) -> bytes:
    """A picture that is all promise."""
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + b"".join(chunks) + chunk(b"IEND", b"")


GOOD = png()
BAD_PICTURES: dict[str, tuple[bytes, str]] = {
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "html": (b"<!DOCTYPE html><script>alert(1)</script>", "web page"),
    "huge": (header(10_000, 10_000), "100,000,000 pixels"),
    "gigantic": (header(2_000_000_000, 2_000_000_000), "pixels"),
    "text-bomb": (
        header(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 2**26))), "damaged",
    ),
    "pixel-bomb": (header(4000, 4000, chunk(b"IDAT", zlib.compress(b"\0" * 2**20))), "damaged"),
    "truncated": (GOOD[: len(GOOD) // 2], "truncated or damaged"),
    "empty": (b"", "empty"),
    "pdf": (b"%PDF-1.7 ...", "PDF"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
    "zeros": (b"\0" * 500, "another format"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run", "PostScript"),
}  # fmt: skip


# --- one good question in every schema, with a place for text and one for a picture -----------------


def own(text: Any, picture: Any) -> Row:
    return {"problem": text, "images": [picture], "answer": "1"}


def verl(text: Any, picture: Any) -> Row:
    truth = {"style": "rule", "ground_truth": "1"}
    prompt = [{"role": "user", "content": text}]
    return {"data_source": "x", "prompt": prompt, "images": [picture], "reward_model": truth}


def trl(text: Any, picture: Any) -> Row:
    return {"prompt": text, "image": picture, "solution": "1"}


def llava(text: Any, picture: Any) -> Row:
    turns = [{"from": "human", "value": text}, {"from": "gpt", "value": "1"}]
    return {"conversations": turns, "image": picture}


def llama_factory(text: Any, picture: Any) -> Row:
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "1"}]
    return {"messages": turns, "images": [picture]}


def openai(text: Any, picture: Any) -> Row:
    parts = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": text}]
    return {"messages": [{"role": "user", "content": parts}]}


def alpaca(text: Any, picture: Any) -> Row:
    return {"instruction": text, "input": "", "output": "1", "images": [picture]}


SCHEMAS = {
    "own": own, "verl": verl, "trl": trl, "llava": llava, "llama-factory": llama_factory,
    "openai": openai, "alpaca": alpaca,
}  # fmt: skip
QUESTION = "What is it?"


# --- kinds of file ----------------------------------------------------------------------------------


def jsonl(folder: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    (folder / "d.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder / "d.jsonl"


def json_list(folder: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    (folder / "d.json").write_bytes(b"[" + b",\n".join(lines) + b"]")
    return folder / "d.json"


def parquet(folder: Path, rows: list[Any]) -> Path:
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    pq.write_table(table, folder / "d.parquet")
    return folder / "d.parquet"


def tar(folder: Path, members: list[tuple[str, bytes | None]], name: str = "d.tar") -> Path:
    """Members with content None are links to what their name says after ``->``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for member, data in members:
            info = tarfile.TarInfo(member.partition("->")[0])
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, member.partition("->")[2]
                file.addfile(info)
            else:
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    data = buffer.getvalue()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    return folder / name


def good_members(key: str = "0") -> list[tuple[str, bytes | None]]:
    return [(f"{key}.json", b'{"problem": "?"}'), (f"{key}.png", GOOD)]


# --- faults -----------------------------------------------------------------------------------------

Case = tuple[str, Make, str]
"""Name, what makes it, and words that the line has to hold."""

ADDRESS = "data:image/png;base64," + base64.b64encode(GOOD).decode()
PICTURE_VALUES: dict[str, tuple[Any, str]] = {
    "http": ("http://example.org/a.png", "is an address"),
    "https": ("https://user:pw@10.0.0.1/a.png", "is an address"),
    "file-address": ("file:///etc/passwd", "is an address"),
    "parent": ("../../outside.png", "outside the data root"),
    "absolute": ("/etc/passwd", "outside the data root"),
    "link-out": ("link.png", "outside the data root"),
    "nul-in-path": ("a\0.png", "hidden character U+0000"),
    "missing": ("nowhere.png", "does not exist"),
    "folder": (".", "is a folder"),
    "broken-base64": ("data:image/png;base64,@@@", "not base64"),
    "no-base64": ("data:image/png,abc", "base64"),
    "html-address": ("data:text/html;base64,PGI+", "no picture"),
    "cut-address": (ADDRESS[:200], ""),
}  # fmt: skip
TEXTS: dict[str, tuple[Any, str]] = {
    "nul": ("a\0b", "U+0000"), "surrogate": ("a\ud800b", "U+D800"), "bidi": ("a\u202eb", "U+202E"),
    "escape": ("\x1b[31mred", "U+001B"), "blank": (" \n", "blank"), "number": (5, "number 5"),
    "object": ({"a": [1]}, "object"), "marks": ("<image><image>?", "2 <image> marks"),
    "many-marks": ("<image>" * 50, "<image> marks"),
}  # fmt: skip


def with_row(schema: Callable[[Any, Any], Row], bad: Row, write: Any = jsonl) -> Make:
    """A good row, then a bad one."""

    def make(folder: Path) -> Path:
        (folder / "good.png").write_bytes(GOOD)
        (folder / "link.png").symlink_to("/etc/passwd")
        return Path(write(folder, [schema(QUESTION, "good.png"), bad]))

    return make


def row_cases() -> Iterator[Case]:
    for number, (name, schema) in enumerate(SCHEMAS.items()):
        write = (jsonl, json_list)[number % 2]
        for fault, (picture, words) in PICTURE_VALUES.items():
            yield f"{name}-{fault}", with_row(schema, schema(QUESTION, picture), write), words
        for fault, (text, words) in TEXTS.items():
            if fault == "object" and schema is trl:
                words = "list of messages"
            if schema is openai and fault in ("blank", "marks"):
                continue  # a picture stands in the text itself: not blank, and one mark more
            yield f"{name}-{fault}", with_row(schema, schema(text, "good.png"), write), words


def picture_cases() -> Iterator[Case]:
    """Bytes that are no picture: as a file, in an address, in parquet, in a shard, in a folder."""
    for fault, (data, words) in BAD_PICTURES.items():
        address = "data:image/png;base64," + base64.b64encode(data).decode()

        def on_disk(folder: Path, data: bytes = data) -> Path:
            (folder / "bad.png").write_bytes(data)
            return with_row(own, own(QUESTION, "bad.png"))(folder)

        def in_parquet(folder: Path, data: bytes = data) -> Path:
            good, bad = ({"bytes": b, "path": "a.png"} for b in (GOOD, data))
            return parquet(folder, [verl(QUESTION, good), verl(QUESTION, bad)])

        def in_tar(folder: Path, data: bytes = data) -> Path:
            bad = [("1.json", b'{"problem": "?"}'), ("1.jpg", data)]
            return tar(folder, [*good_members(), *bad], "d.tar.gz")

        yield f"disk-{fault}", on_disk, words
        yield f"address-{fault}", with_row(openai, openai(QUESTION, address)), words
        yield f"parquet-{fault}", in_parquet, words
        yield f"tar-{fault}", in_tar, words


def turn_cases() -> Iterator[Case]:
    user, said = {"role": "user", "content": "?"}, {"role": "assistant", "content": "1"}
    rows: dict[str, tuple[Any, str]] = {
        "two-questions": ([user, said, user], "2 turns of the user"),
        "no-question": ([said], "0 turns of the user"),
        "tool": ([{"role": "tool", "content": "x"}], '"tool"'),
        "no-role": ([{"content": "x"}], "expected user"),
        "assistant-first": ([said, user], "begins with the assistant"),
        "no-list": ("?", "must be a list of messages"),
        "empty": ([], "must be a list of messages"),
        "text-turn": (["?"], "must be a message"),
        "no-content": ([{"role": "user"}], "expected text"),
        "video-part": ([{"role": "user", "content": [{"type": "video_url"}]}], '"video_url"'),
        "url-of-no-part": (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "without url",
        ),
        "half-placed": (
            [{"role": "user", "content": [{"type": "image"}, {"type": "image", "image": "a.png"}]}],
            "without a picture",
        ),
    }  # fmt: skip
    for name, (turns, words) in rows.items():
        bad = {"messages": turns}
        yield f"turns-{name}", with_row(lambda *_: {"messages": [user]}, bad), words
    yield "video", with_row(llava, llava("?", None) | {"videos": ["a.mp4"]}), "only images"
    yield "history", with_row(alpaca, alpaca("?", None) | {"history": [["a", "b"]]}), "history"
    two = llama_factory("?", "good.png") | {"image": "good.png"}
    yield "image-and-images", with_row(llama_factory, two), "both"


def json_cases() -> Iterator[Case]:
    deep = b'{"problem": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    lines: dict[str, tuple[bytes, str]] = {
        "nested": (deep, "nested too deeply"),
        "nan": (b'{"problem": "?", "x": NaN}', "NaN is not a JSON value"),
        "twice": (b'{"problem": "?", "problem": "!"}', "appears 2 times"),
        "cut": (b'{"problem": "?', "not JSON"),
        "list": (b"[1, 2]", "found a list"),
        "latin-1": (b'{"problem": "caf\xe9"}', "not UTF-8"),
        "no-columns": (b"{}", 'no "problem"'),
        "other-columns": (b'{"question": "?"}', 'no "problem"'),
        "long": (b'{"problem": "' + b"a" * (2**24 + 1) + b'"}', "longer than"),
        "id": (b'{"problem": "?", "id": [1]}', '"id" must be text'),
    }
    for name, (line, words) in lines.items():

        def make(folder: Path, line: bytes = line) -> Path:
            return jsonl(folder, [{"problem": "good"}, line])

        yield f"json-{name}", make, words


def file_cases() -> Iterator[Case]:
    """Files that cannot be read as a whole, or from some row on."""
    draw = random.Random(7)

    def content(name: str, data: bytes) -> Make:
        def make(folder: Path) -> Path:
            (folder / name).write_bytes(data)
            return folder / name

        return make

    def cut(write: Make, share: float) -> Make:
        def make(folder: Path) -> Path:
            path = write(folder)
            data = path.read_bytes()
            path.write_bytes(data[: int(len(data) * share)])
            return path

        return make

    whole = with_row(own, own(QUESTION, "good.png"), parquet)
    for number in range(12):
        share = draw.uniform(0.05, 0.95)
        yield f"parquet-cut-{number}", cut(whole, share), "cannot be read as parquet"
    for number in range(12):
        share = draw.uniform(0.02, 0.29)  # the rest is padding
        yield f"tar-cut-{number}", cut(lambda f: tar(f, good_members()), share), "d.tar"
        packed = cut(lambda f: tar(f, good_members(), "d.tar.gz"), share)
        yield f"tar-gz-cut-{number}", packed, "d.tar.gz"
    noise = draw.randbytes(3000)
    noise = noise.replace(b"\n", b"")
    for ending in ("parquet", "tar", "tar.gz", "json", "jsonl"):
        yield f"noise-{ending}", content(f"d.{ending}", noise), f"d.{ending}"
    yield "empty-parquet", content("d.parquet", b""), "cannot be read as parquet"
    yield "empty-tar", content("d.tar", b""), "cannot be read as a tar shard"
    yield "empty-jsonl", content("d.jsonl", b""), "holds no rows"
    yield "bom", content("d.jsonl", b'\xef\xbb\xbf{"problem": "?"}'), "byte order mark"
    yield "utf-16", content("d.jsonl", '{"problem": "?"}'.encode("utf-16")), "UTF-16"
    yield "zip", content("d.zip", b"PK\x03\x04" + noise), "unknown kind of file"
    yield "zip-as-parquet", content("d.parquet", b"PK\x03\x04" + noise), "parquet"
    yield "object", content("d.json", b'{"problem": "?"}'), "expected a list"
    yield "deep-list", content("d.json", b"[" * 100_000), "nested too deeply"
    yield "gz-bomb", content("d.tar.gz", gzip.compress(b"\0" * 2**24)), "d.tar.gz"

    def pax_bomb(folder: Path) -> Path:
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 2**32
        path = folder / "d.tar"
        path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 1024)
        return path

    yield "pax-bomb", pax_bomb, "at once"

    columns = pa.Table.from_arrays([pa.array(["?"]), pa.array(["!"])], names=["problem"] * 2)

    def two_columns(folder: Path) -> Path:
        pq.write_table(columns, folder / "d.parquet")
        return folder / "d.parquet"

    yield "parquet-columns", two_columns, "appears twice"
    infinite = [{"problem": "?", "x": 1.0}, {"problem": "?", "x": float("inf")}]
    yield "parquet-infinite", lambda f: parquet(f, infinite), "infinite"
    texts = pa.array([b"good", b"caf\xe9"]).view(pa.string())

    def no_utf8(folder: Path) -> Path:
        pq.write_table(pa.table({"problem": texts}), folder / "d.parquet")
        return folder / "d.parquet"

    yield "parquet-latin-1", no_utf8, "cannot be read"


def member_cases() -> Iterator[Case]:
    question = b'{"problem": "?"}'
    members: dict[str, tuple[list[tuple[str, bytes | None]], str]] = {
        "parent": ([("../1.json", question)], "leads outside the shard"),
        "absolute": ([("/etc/1.json", question)], "leads outside the shard"),
        "link": ([("1.json", question), ("1.png->/etc/passwd", None)], "a link or a device"),
        "no-question": ([("1.png", GOOD)], "no .json and no .txt"),
        "not-json": ([("1.json", b"{")], "not JSON"),
        "latin-1": ([("1.txt", b"caf\xe9")], "not UTF-8"),
        "twice": ([("1.json", question), ("1.json", question)], "there twice"),
        "many": ([("1.json", question), *((f"1.{n}.png", GOOD) for n in range(70))], "more than"),
        "other-name": ([("1.json", b'{"problem": "?", "images": ["/etc/passwd"]}')], "no member"),
        "nul": ([("1.json", b'{"problem": "a\\u0000"}')], "U+0000"),
        "marks": ([("1.json", b'{"problem": "<image><image>"}'), ("1.png", GOOD)], "2 <image>"),
        "same-key": ([("1.json", question), ("2.json", question), ("1.json", question)], "used at"),
    }  # fmt: skip
    for name, (bad, words) in members.items():

        def make(folder: Path, bad: list[tuple[str, bytes | None]] = bad) -> Path:
            return tar(folder, [*good_members(), *bad])

        yield f"member-{name}", make, words

    def sparse(folder: Path) -> Path:
        info = tarfile.TarInfo("1.png")
        info.size = 2**40
        path = tar(folder, good_members())
        data = path.read_bytes().rstrip(b"\0")
        data += b"\0" * (-len(data) % 512)
        path.write_bytes(data + info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)
        return path

    yield "member-huge", sparse, "d.tar"


def folder_cases() -> Iterator[Case]:
    def folder(files: dict[str, bytes], links: dict[str, str] | None = None) -> Make:
        def make(root: Path) -> Path:
            place = root / "set"
            place.mkdir()
            for name, data in files.items():
                (place / name).write_bytes(data)
            for name, target in (links or {}).items():
                (place / name).symlink_to(target)
            return place

        return make

    line = b'{"file_name": "a.png", "problem": "?"}\n'
    other = line.replace(b"a.png", b"%s")
    rows: dict[str, tuple[bytes, str]] = {
        "parent": (other % b"../../a.png", "outside the data root"),
        "missing": (other % b"b.png", "does not exist"),
        "both": (b'{"file_name": "a.png", "image": "a.png", "problem": "?"}', "both"),
        "type": (b'{"file_name": 3, "problem": "?"}', "must be text"),
    }
    for name, (bad, words) in rows.items():
        yield f"folder-{name}", folder({"a.png": GOOD, "metadata.jsonl": line + bad}), words
    head = b"file_name,problem\na.png,good\n"
    tables: dict[str, tuple[bytes, str]] = {
        "fields": (head + b"a.png,?,more\n", "3 fields"),
        "nul": (head + b"a.png,a\0b\n", "U+0000"),
        "quote": (head + b'a.png,"open\n', "not CSV"),
        "latin-1": (head + b"a.png,caf\xe9\n", "not UTF-8"),
        "twice": (b"problem,problem\n?,?\n", "named twice"),
    }
    for name, (table, words) in tables.items():
        yield f"csv-{name}", folder({"a.png": GOOD, "metadata.csv": table}), words
    question = b'{"problem": "?"}\n'
    yield "folder-empty", folder({}), "holds no data set"
    yield "folder-two", folder({"metadata.jsonl": line, "metadata.csv": head}), "keep one"
    splits = {f"{n}-00000-of-00001.jsonl": question for n in ("train", "test")}
    yield "folder-splits", folder(splits), "2 data sets"
    yield "folder-kinds", folder({"a.jsonl": question, "b.tar": b""}), "2 data sets"
    yield "folder-link", folder({}, {"a.jsonl": "/etc/hostname"}), "leads outside"
    yield "pattern", lambda root: root / "none-*.tar", "no file is named so"
    yield "range", lambda root: root / "s-{000..002}.tar", "does not exist"
    yield "backwards", lambda root: root / "s-{9..1}.tar", "no range"
    yield "endless", lambda root: root / "s-{0..999999999}.tar", "no range"
    yield "missing-file", lambda root: root / "d.jsonl", "does not exist"
    yield "hub-name", lambda root: Path("hf:only"), "expected hf:ORG/NAME"
    yield "hub-path", lambda root: Path("hf:a/b/../../c"), "expected hf:ORG/NAME"
    yield "hub-offline", lambda root: Path("hf:org/nothing"), "cannot be fetched"


CASES = [
    case
    for cases in (
        row_cases, picture_cases, turn_cases, json_cases, file_cases, member_cases, folder_cases,
    )
    for case in cases()
]  # fmt: skip


def test_there_are_enough() -> None:
    assert len({name for name, _, _ in CASES}) == len(CASES) >= 200


def run(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The verb itself, without building the whole command line for each of hundreds of files."""
    try:
        check(path, as_json=True)
    except typer.Exit as stop:
        code, told = stop.exit_code, ""
    except MmuptError as error:  # `mmupt.cli.main` prints these and exits with 2
        code, told = 2, str(error)
    return code, capsys.readouterr().out, told


@pytest.mark.parametrize(("make", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_one_clear_line(
    make: Make, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path)
    code, out, err = run(path, capsys)
    assert code == 2
    if out:
        found = json.loads(out)
        assert found["broken"]["count"] == 1, found["broken"]
        assert found["usable"] == found["rows"] - 1 or found["usable"] <= 1
        (broken,) = found["broken"]["listed"]
        lines = [f"{broken['origin']}: {broken['reason']}"]
    else:
        lines = err.splitlines()
    assert len(lines) == 1
    line = lines[0]
    assert words in line
    assert path.name[:2] in line  # names its place
    assert "Traceback" not in line
    assert len(line) < 900
    assert not re.search(r"[\x00-\x1f\x7f\ud800-\udfff\u202a-\u202e]", line)
    # Training and evaluation read the same files: nothing but `InputError` comes out of them.
    for read in (read_samples, read_labelled):
        assert "\n" not in fault(read, path)


def fault(read: Callable[[Path], object], path: Path) -> str:
    """What a reader says; not every fault of a picture is seen without decoding it."""
    try:
        read(path)
    except InputError as error:
        return str(error)
    return ""


def test_a_parquet_bomb_is_told_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmupt.data.parquet._BOMB_BYTES", 2**20)
    path = tmp_path / "d.parquet"
    table = pa.table({"problem": pa.array(["a" * 2**16] * 64)})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    with pytest.raises(InputError, match=r'column "problem" grows from .* a decompression bomb'):
        read_samples(path)


@pytest.mark.parametrize("verb", ["check", "convert"])
def test_the_command_line_prints_it(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jsonl(tmp_path, [{"problem": "good"}, {"problem": "a", "image": "../x.png"}])
    out = tmp_path / "out.jsonl"
    more = {"check": [], "convert": ["--to", "jsonl", "--out", str(out)]}[verb]
    monkeypatch.setattr(sys, "argv", ["mmupt", "data", verb, str(path), *more])
    with pytest.raises(SystemExit) as stop:
        mmupt.cli.main()
    assert stop.value.code == 2
    told = capsys.readouterr()
    lines = [line for line in (told.out + told.err).splitlines() if "outside the data root" in line]
    assert len(lines) == 1
    assert f"{path}:2: " in lines[0]
    assert not out.exists()
