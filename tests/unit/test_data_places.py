"""Where data sets are, what their pictures become, and what converting leaves behind."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmupt.data import hub
from mmupt.data.convert import Wish, convert
from mmupt.data.hub import hub_name
from mmupt.data.pictures import FOLDER_NAME, PictureStore
from mmupt.data.places import find
from mmupt.data.schemas import SCHEMAS
from mmupt.data.seen import Seen
from mmupt.data.sources import Rows, data_sha256, read_labelled, read_mixed, read_samples
from mmupt.errors import ConfigError, InputError
from mmupt.pipeline.rounds import add_round
from mmupt.types import LabelledSample, Sample


def picture(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def put(folder: Path, rows: list[Mapping[str, Any]], name: str = "d.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def fault(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_samples(path, **options)
    return str(caught.value)


# --- answers stay out -------------------------------------------------------------------------------

SENTINEL = "zqxj7031"
SAID = [{"role": "user", "content": "?"}, {"role": "assistant", "content": SENTINEL}]
LABELLED: dict[str, dict[str, Any]] = {
    "mmupt": {"problem": "?", "answer": SENTINEL, "response": SENTINEL, "solution": SENTINEL},
    "verl": {
        "prompt": SAID, "reward_model": {"ground_truth": SENTINEL},
        "extra_info": {"answer": SENTINEL, "solution": SENTINEL, "split": "train"},
        "answer": SENTINEL,
    },
    "trl": {"prompt": "?", "solution": SENTINEL, "completion": SENTINEL, "ground_truth": SENTINEL},
    "llava": {
        "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": SENTINEL}],
        "chosen": {"from": "gpt", "value": SENTINEL}, "rejected": SENTINEL,
    },
    "messages": {"messages": SAID, "label": SENTINEL},
    "alpaca": {"instruction": "?", "input": "", "output": SENTINEL, "gt": SENTINEL},
}  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_no_answer_of_any_schema_reaches_a_sample(schema: str, tmp_path: Path) -> None:
    row = LABELLED[schema]
    path = put(tmp_path, [row])
    (sample,) = read_samples(path)
    assert SENTINEL not in repr(sample)
    assert sample.problem == "?"
    assert SENTINEL not in repr(SCHEMAS[schema].question(row)) or schema == "mmupt"
    (labelled,) = read_labelled(path)
    assert labelled.answer == SENTINEL  # control: there was one to find
    assert labelled.sample == sample
    assert read_mixed(path).rows == (labelled,)


@pytest.mark.parametrize("schema", [name for name in SCHEMAS if name != "mmupt"])
def test_unlabelled_reading_does_not_look_at_answers(schema: str, tmp_path: Path) -> None:
    """What cannot be an answer is no fault of a question."""
    text = json.dumps(LABELLED[schema]).replace(f'"{SENTINEL}"', '["no", {"answer": 1}]')
    path = put(tmp_path, [json.loads(text)])
    assert read_samples(path).rows[0].problem == "?"
    with pytest.raises(InputError):
        read_labelled(path)


def test_rows_with_and_without_answers_together(tmp_path: Path) -> None:
    path = put(tmp_path, [{"problem": "a", "answer": 1}, {"problem": "b"}, {"problem": "c"}])
    found = read_mixed(path).rows
    assert [type(row) for row in found] == [LabelledSample, Sample, Sample]
    chats = [{"messages": SAID}, {"messages": SAID[:1]}]
    found = read_mixed(put(tmp_path, chats)).rows
    assert [type(row) for row in found] == [LabelledSample, Sample]
    path = put(tmp_path, [{"problem": "a", "answer": [1]}, {"problem": "b"}])
    with pytest.raises(InputError, match='"answer" must be text or a number'):
        read_mixed(path)
    assert [row.origin for row in read_mixed(path, skip_bad=True).left_out] == [f"{path}:1"]


def test_the_answer_in_a_box_is_the_answer_of_a_conversation(tmp_path: Path) -> None:
    said = [
        ("It is \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}", "It is \\boxed{\\frac{1}{2}}."),
        ("\\boxed{1} no, \\boxed{2}", "2", "\\boxed{1} no, \\boxed{2}"),
        ("\\boxed{open", "\\boxed{open", None),
        ("Blue.", "Blue.", None),
    ]
    rows = [{"messages": [SAID[0], {"role": "assistant", "content": text}]} for text, _, _ in said]
    found = read_labelled(put(tmp_path, rows)).rows
    assert [(row.answer, row.response) for row in found] == [(a, r) for _, a, r in said]


def test_a_forced_schema_and_one_that_nobody_knows(tmp_path: Path) -> None:
    both = {"problem": "own?", "messages": [{"role": "user", "content": "chat?"}]}
    path = put(tmp_path, [both])
    assert read_samples(path).rows[0].problem == "own?"
    assert read_samples(path, schema="openai").rows[0].problem == "chat?"
    with pytest.raises(ConfigError, match=r"schema 'coco': expected one of mmupt, verl"):
        read_samples(path, schema="coco")


# --- places -----------------------------------------------------------------------------------------


def test_patterns_ranges_and_folders(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / "set", [{"problem": str(number)}], f"a-{number:05}-of-00003.jsonl")
    put(tmp_path / "set", [{"problem": "other"}], "notes.txt")
    for place in ("set", "set/a-*.jsonl", "set/a-{00000..00002}-of-00003.jsonl"):
        rows = read_samples(tmp_path / place)
        assert [row.problem for row in rows] == ["0", "1", "2"], place
        assert [row.id for row in rows] == [f"a-{n:05}-of-00003-1" for n in range(3)]
        assert rows.sha256 == data_sha256(tmp_path / "set")
    put(tmp_path / "hub" / "data", [{"problem": "!"}], "train-00000-of-00001.jsonl")
    (tmp_path / "hub" / "README.md").write_text("# about")
    assert read_samples(tmp_path / "hub").rows[0].problem == "!"


def test_the_digest_of_several_files_depends_on_all_of_them(tmp_path: Path) -> None:
    for name in ("a-0.jsonl", "a-1.jsonl"):
        put(tmp_path, [{"problem": name}], name)
    before = data_sha256(tmp_path)
    put(tmp_path, [{"problem": "changed"}], "a-1.jsonl")
    changed = data_sha256(tmp_path)
    (tmp_path / "a-1.jsonl").rename(tmp_path / "a-2.jsonl")
    assert len({before, changed, data_sha256(tmp_path)}) == 3


def test_a_round_may_be_of_several_files(tmp_path: Path) -> None:
    for number in range(2):
        put(tmp_path, [{"problem": str(number)}], f"a-{number}.jsonl")
    added = add_round(tmp_path / "rounds", tmp_path / "a-*.jsonl")
    assert added.sha256 == data_sha256(tmp_path / "a-*.jsonl")
    put(tmp_path, [{"problem": "changed"}], "a-1.jsonl")
    assert added.sha256 != data_sha256(Path(str(added.data)))


def test_a_file_with_a_name_like_a_pattern_is_itself(tmp_path: Path) -> None:
    assert read_samples(put(tmp_path, [{"problem": "?"}], "a[1].jsonl")).rows[0].id == "a[1]-1"


def test_rows_are_counted_before_they_are_read(tmp_path: Path) -> None:
    path = put(tmp_path, [{"problem": "?"}] * 7)
    pq.write_table(pa.table({"problem": ["?"] * 5}), tmp_path / "d.parquet")
    assert Rows(path).total() == 7
    assert Rows(tmp_path / "d.parquet").total() == 5
    (tmp_path / "d.json").write_text("[]")
    assert Rows(tmp_path / "d.json").total() is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:org/name", ("org/name", None, "")),
        ("hf:org/name@v1.0/data/train-*.parquet", ("org/name", "v1.0", "data/train-*.parquet")),
        ("/somewhere/hf:org/name", ("org/name", None, "")),
    ],
)
def test_names_of_the_hub(text: str, expected: tuple[str, str | None, str]) -> None:
    name = hub_name(Path(text))
    assert name is not None
    assert (name.repo, name.revision, name.inner) == expected
    assert hub_name(Path("data/hf.jsonl")) is None


def test_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot as the hub's cache keeps it: links into its blobs, which paths may follow."""
    cache = tmp_path / "datasets--org--name"
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    (cache / "blobs" / "1").write_bytes(picture())
    (cache / "blobs" / "2").write_text('{"file_name": "a.png", "problem": "?"}\n')
    (snapshot / "a.png").symlink_to("../../blobs/1")
    (snapshot / "metadata.jsonl").symlink_to("../../blobs/2")
    asked = []

    def fetch(repo: str, **options: Any) -> str:
        asked.append((repo, options))
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    (sample,) = read_samples(Path("hf:org/name@main"))
    assert sample.images[0].read_bytes() == picture()
    (repo, options), *_ = asked
    assert (repo, options["repo_type"], options["revision"]) == ("org/name", "dataset", "main")
    (snapshot / "a.png").unlink()
    (snapshot / "a.png").symlink_to("/etc/passwd")
    assert "outside the data root" in fault(Path("hf:org/name"))


def test_nothing_is_fetched_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub, "download", refuse)
    assert fault(tmp_path / "org" / "name.jsonl").endswith("does not exist; check the path")
    assert find(put(tmp_path, [{"problem": "?"}])).files == (tmp_path / "d.jsonl",)


# --- pictures from inside rows ----------------------------------------------------------------------


def embedded(folder: Path, *shades: int) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [
        {"problem": f"{n}?", "images": [{"bytes": picture(shade), "path": "../../x.png"}]}
        for n, shade in enumerate(shades)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "d.parquet")
    return folder / "d.parquet"


def test_bytes_become_files_named_by_their_content(tmp_path: Path) -> None:
    path = embedded(tmp_path / "data", 1, 2, 1)
    samples = read_samples(path).rows
    first, second, third = (sample.images[0] for sample in samples)
    assert first == third != second
    assert first.read_bytes() == picture(1)
    assert first.is_relative_to((tmp_path / "data" / FOLDER_NAME).resolve())
    assert len([p for p in (tmp_path / "data" / FOLDER_NAME).rglob("*") if p.is_file()]) == 2
    elsewhere = read_samples(path, work_dir=tmp_path / "work").rows[0].images[0]
    assert elsewhere.name == first.name
    assert elsewhere.is_relative_to((tmp_path / "work").resolve())
    assert read_samples(path).rows == samples  # again: the same places


def test_files_that_came_with_the_data_are_not_trusted(tmp_path: Path) -> None:
    path = embedded(tmp_path / "data", 1)
    (sample,) = read_samples(path)
    sample.images[0].write_bytes(picture(9))  # another picture under this name
    assert read_samples(path).rows[0].images[0].read_bytes() == picture(1)
    sample.images[0].unlink()
    sample.images[0].symlink_to("/etc/passwd")
    assert read_samples(path).rows[0].images[0].read_bytes() == picture(1)
    assert not sample.images[0].is_symlink()
    store = tmp_path / "data" / FOLDER_NAME
    store.rename(tmp_path / "moved")
    store.symlink_to(tmp_path / "moved")
    assert "is a link, expected a folder" in fault(path)


def test_the_folder_of_pictures_is_bounded(tmp_path: Path) -> None:
    one, two = picture(1), picture(2)
    store = PictureStore(tmp_path / "s", max_bytes=len(one) + 5)
    kept = store.put(one, "a")
    assert store.put(one, "a") == kept
    with pytest.raises(InputError, match=f"holds {len(one)} bytes, the limit is"):
        store.put(two, "b")
    with pytest.raises(InputError, match="the limit is"):  # what is there already counts
        PictureStore(tmp_path / "s", max_bytes=len(one) + 5).put(two, "b")
    assert store.place(two, "b").name != kept.name
    store.forget_all()
    assert not kept.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    path = embedded(tmp_path / "data", 1)
    (tmp_path / "data").chmod(0o500)
    assert "mmupt data convert" in fault(path)


# --- converting -------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    path = put(folder, [
        {"id": "a", "problem": "?", "image": "a.png", "answer": "1", "kind": "k"},
        {"id": "b", "problem": "!", "answer": "2"},
    ])  # fmt: skip
    (folder / "a.png").write_bytes(picture(5))
    return path


def test_pictures_are_copied_linked_or_inside(source: Path, tmp_path: Path) -> None:
    original = source.parent / "a.png"
    for mode, same in (("copy", False), ("link", True)):
        out = tmp_path / f"{mode}.jsonl"
        convert(source, Wish("jsonl", out, mode))  # type: ignore[arg-type]
        kept = read_samples(out).rows[0].images[0]
        assert kept.parent.parent.name == f"{mode}-images"
        assert kept.samefile(original) is same
    out = tmp_path / "in" / "e.jsonl"
    out.parent.mkdir()
    convert(source, Wish("jsonl", out, "embed"))
    assert [path.name for path in out.parent.iterdir()] == ["e.jsonl"]
    assert json.loads(out.read_text().splitlines()[0])["images"][0].startswith("data:image/png;")


def test_what_verl_and_trl_get(source: Path, tmp_path: Path) -> None:
    convert(source, Wish("verl", tmp_path / "v.parquet"))
    first, second = pq.read_table(tmp_path / "v.parquet").to_pylist()
    assert first["prompt"] == [{"role": "user", "content": "<image>?"}]
    assert first["images"][0]["bytes"] == picture(5)
    assert first["reward_model"] == {"style": "rule", "ground_truth": "1"}
    assert first["extra_info"] == {"id": "a", "kind": "k"}
    assert second["images"] is None
    convert(source, Wish("trl", tmp_path / "t.parquet"))
    first = pq.read_table(tmp_path / "t.parquet").to_pylist()[0]
    (turn,) = first["prompt"]
    assert [part["type"] for part in turn["content"]] == ["image", "text"]


def test_what_fails_leaves_the_old_file_and_nothing_half_written(
    source: Path, tmp_path: Path
) -> None:
    put(source.parent, [{"problem": "?"}, {"problem": 1}], "bad.jsonl")
    for name, to in (("o.jsonl", "jsonl"), ("o.json", "json"), ("o.parquet", "parquet"),
                     ("o.tar", "webdataset")):  # fmt: skip
        out = tmp_path / name
        out.write_text("old")
        with pytest.raises(InputError, match=r"bad\.jsonl:2: .*pass --skip-bad"):
            convert(source.parent / "bad.jsonl", Wish(to, out))
        assert out.read_text() == "old"
        done = convert(source.parent / "bad.jsonl", Wish(to, out), skip_bad=True)
        assert (done.rows, len(done.left_out)) == (1, 1)
        assert len(read_samples(out)) == 1
        with pytest.raises(InputError, match="no usable row, all 1 were left out"):
            convert(put(source.parent, [{}], "no.jsonl"), Wish(to, out), skip_bad=True)
        assert len(read_samples(out)) == 1
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"source", "o.jsonl", "o.json", "o.parquet", "o.tar"}


def test_wishes_that_cannot_be(source: Path, tmp_path: Path) -> None:
    for to, name, images, words in (
        ("parquet", "a.jsonl", None, "its name ends in .parquet"),
        ("openai", "a.jsonl", "link", "use embed or copy"),
        ("webdataset", "a.tar", "copy", "a shard holds its pictures"),
        ("folder", "a", "embed", "holds its pictures as files"),
        ("coco", "a.json", None, "expected one of jsonl"),
    ):
        with pytest.raises(ConfigError, match=words):
            convert(source, Wish(to, tmp_path / name, images))  # type: ignore[arg-type]
    before = source.read_bytes()
    for several in (source, source.with_name("*.jsonl")):
        with pytest.raises(InputError, match="is a file of the source itself"):
            convert(several, Wish("jsonl", source))
    assert source.read_bytes() == before
    with pytest.raises(InputError, match="is there already"):
        convert(source, Wish("folder", source.parent))
    with pytest.raises(InputError, match="make it first"):
        convert(source, Wish("jsonl", tmp_path / "no" / "a.jsonl"))
    row = {"id": "1", "problem": "?", "messages": "a note"}
    with pytest.raises(InputError, match='"messages" means something else in this schema'):
        convert(put(tmp_path, [row]), Wish("openai", tmp_path / "o.jsonl"))
    twice = put(tmp_path, [{"id": "1", "problem": "?"}, {"id": "1", "problem": "!"}])
    with pytest.raises(InputError, match='id "1" is already used at'):
        convert(twice, Wish("jsonl", tmp_path / "o.jsonl"))


def test_seen() -> None:
    with Seen() as seen:
        assert seen.first("id", b"a", "x:1") is None
        assert seen.first("id", b"a", "x:2") == "x:1"
        assert seen.first("other", b"a", "x:3") is None
