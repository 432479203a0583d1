"""Audits to Label Studio and back, and verdicts as JSONL."""

from __future__ import annotations

import json
import uuid
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmupt.audit.exchange import (
    export_tasks,
    export_verdicts,
    import_verdicts,
    label_config,
    local_files,
    write_tasks,
)
from mmupt.audit.records import Added, NewAudit, NewItem, Verdict
from mmupt.audit.store import AuditStore
from mmupt.audit.verdicts import resolve
from mmupt.errors import InputError

T0 = "2026-01-01T00:00:00.000000+00:00"
PAYLOAD = {
    "problem": "<image>How many?\n数",
    "images": ["pictures/a b.png"],
    "answers": [
        {"answer": "12", "count": 9, "completion": "... 12"},
        {"answer": "<13>", "count": 4, "completion": "... 13"},
    ],
}


def item(number: int, payload: dict[str, Any]) -> NewItem:
    return NewItem(
        number, f"u{number}", f"s{number}", "12", 0.6923, "low", 0.5, payload=json.dumps(payload)
    )


@pytest.fixture
def store(tmp_path: Path) -> AuditStore:
    found = AuditStore(tmp_path / "audits.sqlite", "plant")
    audit = NewAudit("round-1", "model-a", "frame-a", "{}", T0)
    found.create(audit, [item(0, PAYLOAD), item(1, {}), item(2, {"images": []})])
    return found


def kinds(store: AuditStore) -> list[tuple[str, str, str, str | None]]:
    return [(v.unit, v.reviewer, v.kind, v.answer) for v in store.verdicts("round-1")]


# --- out


def test_a_task_by_hand(store: AuditStore) -> None:
    assert next(export_tasks(store, "round-1")) == {
        "data": {
            "unit": "u0",
            "audit": "round-1",
            "project": "plant",
            "sample_id": "s0",
            "question": "<image>How many?\n数",
            "pseudo_label": "12",
            "images": ["pictures/a b.png"],
            "image": "pictures/a b.png",
            "votes": "12 (9), <13> (4); share 0.69",
        }
    }
    assert [task["data"]["unit"] for task in export_tasks(store, "round-1")] == ["u0", "u1", "u2"]


def test_blind_tasks_do_not_tell_the_votes(store: AuditStore) -> None:
    for task in export_tasks(store, "round-1", blind=True):
        text = json.dumps(task)
        assert not any(word in text for word in ("votes", "share", "0.69", "13", "completion"))


def test_images_that_label_studio_serves(store: AuditStore) -> None:
    address = local_files(Path("/data"))
    task = next(export_tasks(store, "round-1", address=address))
    assert task["data"]["image"] == "/data/local-files/?d=pictures/a%20b.png"
    assert address("/data/x/ü.png") == "/data/local-files/?d=x/%C3%BC.png"
    with pytest.raises(InputError, match=r"image '/other/x.png' is not in /data"):
        address("/other/x.png")


def test_files_of_tasks(store: AuditStore, tmp_path: Path) -> None:
    tasks = list(export_tasks(store, "round-1"))
    assert write_tasks(tasks, tmp_path / "tasks.jsonl") == 3
    lines = (tmp_path / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == tasks
    assert write_tasks(tasks, tmp_path / "tasks.json") == 3
    assert json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8")) == tasks


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("images", [0, 1, 3])
def test_the_labeling_interface_fits_the_tasks(store: AuditStore, blind: bool, images: int) -> None:
    """All that it shows is in a task, and what it asks for is what comes back."""
    view = ET.fromstring(label_config(blind=blind, images=images))  # noqa: S314 - our own text
    task = next(export_tasks(store, "round-1", blind=blind))
    shown = {
        value.removeprefix("$")
        for tag in view.iter()
        for name, value in tag.attrib.items()
        if name in ("value", "valueList") and value.startswith("$")
    }
    assert shown <= set(task["data"])
    assert ("votes" in shown) is not blind
    assert {"image", "images"} & shown == [set(), {"image"}, {"images"}][min(images, 2)]
    objects = {tag.get("name") for tag in view.iter() if tag.tag in ("Text", "Image")}
    controls = {tag.get("name"): tag for tag in view.iter() if tag.get("toName")}
    assert set(controls) == {"verdict", "answer", "comment"}
    assert {tag.get("toName") for tag in controls.values()} <= objects
    assert [tag.get("value") for tag in controls["verdict"]] == [
        "accept", "reject", "correct", "unsure"
    ]  # fmt: skip
    (hidden,) = [tag for tag in view.iter("View") if tag.get("visibleWhen")]
    assert hidden.get("whenTagName") == "verdict"
    assert hidden.get("whenChoiceValue") == "correct"
    assert [tag.get("name") for tag in hidden] == ["answer"]


# --- our own rows


def rows(*values: dict[str, Any]) -> list[str]:
    return [json.dumps(value) for value in values]


OWN = rows(
    {"unit": "u0", "verdict": "accept", "reviewer": "ann", "seconds": 2.5},
    {"unit": "u1", "verdict": "correct", "answer": 14, "reviewer": "ann", "sample_id": "ignored"},
    {"unit": "u1", "verdict": "unsure", "reviewer": "bob", "comment": "dark", "time": T0},
)


def test_our_own_rows(store: AuditStore) -> None:
    assert import_verdicts(store, "round-1", OWN) == Added(3, 0)
    assert kinds(store) == [
        ("u0", "ann", "accept", None), ("u1", "ann", "correct", "14"), ("u1", "bob", "unsure", None)
    ]  # fmt: skip
    assert [v.seconds for v in store.verdicts("round-1")] == [2.5, 0.0, 0.0]
    assert store.verdicts("round-1")[2].comment == "dark"


def test_the_same_file_adds_nothing_twice(store: AuditStore) -> None:
    import_verdicts(store, "round-1", OWN)
    assert import_verdicts(store, "round-1", OWN) == Added(0, 3)
    assert import_verdicts(store, "round-1", [f"{line}\r\n".encode() for line in OWN]) == Added(
        0, 3
    )
    assert import_verdicts(store, "round-1", "\n\n".join(OWN)) == Added(0, 3)
    more = rows({"unit": "u2", "verdict": "reject", "reviewer": "ann"})
    assert import_verdicts(store, "round-1", [*OWN, *more]) == Added(1, 3)


def test_numbers_stay_as_written(store: AuditStore) -> None:
    line = '{"unit": "u0", "verdict": "correct", "answer": 0.10, "reviewer": "ann"}'
    import_verdicts(store, "round-1", [line])
    assert kinds(store)[0][3] == "0.10"


def test_verdicts_move_to_another_store(store: AuditStore, tmp_path: Path) -> None:
    first = Verdict(str(uuid.uuid4()), "round-1", "u0", "ann", "accept", None, "", 1.25, T0)
    for verdict in (
        first,
        replace(first, key=str(uuid.uuid4()), kind="undo"),
        replace(first, key=str(uuid.uuid4()), kind="correct", answer="一", comment="a\nb"),
    ):
        store.add(verdict)
    lines = [json.dumps(row) for row in export_verdicts(store, "round-1")]
    other = AuditStore(tmp_path / "other.sqlite", "plant")
    other.create(NewAudit("round-1", "model-a", "frame-a", "{}", T0), [item(0, PAYLOAD)])
    assert import_verdicts(other, "round-1", lines) == Added(3, 0)
    assert other.verdicts("round-1") == store.verdicts("round-1")
    assert import_verdicts(store, "round-1", lines) == Added(0, 3)


# --- Label Studio's export


def annotation(verdict: str | None, **values: Any) -> dict[str, Any]:
    """As in its documentation of the JSON format."""
    texts = {name: values.pop(name) for name in ("answer", "comment") if name in values}
    result = [
        {"id": "a1", "from_name": name, "to_name": "pseudo_label", "type": "textarea",
         "origin": "manual", "value": {"text": [text]}}
        for name, text in texts.items()
    ]  # fmt: skip
    if verdict is not None:
        result.append(
            {"id": "a2", "from_name": "verdict", "to_name": "pseudo_label", "type": "choices",
             "origin": "manual", "value": {"choices": [verdict]}}
        )  # fmt: skip
    return {
        "id": 1001, "completed_by": 10, "result": result, "was_cancelled": False,
        "ground_truth": False, "created_at": "2026-01-01T10:00:00.000000Z",
        "updated_at": "2026-01-01T10:00:05.000000Z", "lead_time": 4.288, "task": 1,
        "unique_id": "6f1c3b0e-6a5c-4f7e-9a2d-000000000001", **values,
    }  # fmt: skip


def task(unit: str, *annotations: Any, audit: str = "round-1") -> dict[str, Any]:
    return {
        "id": 1, "data": {"unit": unit, "audit": audit, "image": "a.png"}, "meta": {},
        "annotations": list(annotations), "drafts": [{"result": []}], "predictions": [7],
        "created_at": "2026-01-01T09:00:00Z", "updated_at": "2026-01-01T10:00:05Z", "project": 83,
    }  # fmt: skip


EXPORT = [
    task(
        "u0",
        annotation("accept", updated_at="2026-01-01T10:00:09Z"),
        annotation(
            "correct", answer=" 14 ", comment="blurred", lead_time=None, unique_id=str(uuid.UUID(int=2)),
            completed_by={"id": 3, "email": "eve@example.org", "first_name": ""},
        ),
    ),
    task("u1", annotation(None, was_cancelled=True, lead_time=1e6, unique_id=str(uuid.UUID(int=3)))),
    task("u2"),
]  # fmt: skip


@pytest.mark.parametrize("form", ["list", "pretty", "lines"])
def test_label_studios_export(store: AuditStore, form: str) -> None:
    text = {
        "list": json.dumps(EXPORT),
        "pretty": json.dumps(EXPORT, indent=2),
        "lines": "\n".join(json.dumps(one) for one in EXPORT),
    }[form]
    lines = text.splitlines(keepends=True)
    assert import_verdicts(store, "round-1", lines) == Added(3, 0)
    assert sorted(kinds(store)) == [
        ("u0", "eve@example.org", "correct", "14"),
        ("u0", "label-studio-10", "accept", None),
        ("u1", "label-studio-10", "skip", None),
    ]
    seconds = {v.kind: v.seconds for v in store.verdicts("round-1")}
    assert seconds == {"accept": 4.288, "correct": 0.0, "skip": 86_400.0}
    assert store.verdicts("round-1")[-1].time == "2026-01-01T10:00:09.000000+00:00"
    assert import_verdicts(store, "round-1", lines) == Added(0, 3)


def test_an_annotation_that_was_changed_counts_anew(store: AuditStore) -> None:
    before = task("u0", annotation("accept"))
    after = task("u0", annotation("reject", updated_at="2026-01-02T10:00:00Z"))
    import_verdicts(store, "round-1", json.dumps([before]))
    assert import_verdicts(store, "round-1", json.dumps([after])) == Added(1, 0)
    assert resolve(store.verdicts("round-1"))["u0"].state == "wrong"


def test_tasks_that_went_out_come_back(store: AuditStore) -> None:
    """What Label Studio adds to our tasks is all that is needed."""
    tasks = [
        {**one, "annotations": [annotation("accept", unique_id=str(uuid.uuid4()))]}
        for one in export_tasks(store, "round-1", blind=True)
    ]
    assert import_verdicts(store, "round-1", json.dumps(tasks)) == Added(3, 0)
    assert [state.state for state in resolve(store.verdicts("round-1")).values()] == ["right"] * 3


# --- what cannot be used


def own(**values: Any) -> str:
    return json.dumps({"unit": "u0", "verdict": "accept", "reviewer": "ann", **values})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "v.jsonl:2: not JSON"),
        ("[1, 2]", "v.jsonl:2: found a list"),
        (own(unit=None), 'v.jsonl:2: no "unit" \\(columns: \'unit\', \'verdict\', \'reviewer\'\\)'),
        (own(unit="u9"), "v.jsonl:2: unit 'u9' is not in audit round-1"),
        (own(unit=["u0"]), 'v.jsonl:2: "unit" must be text'),
        (own(verdict="yes"), "v.jsonl:2: \"verdict\" is 'yes'; expected one of accept"),
        (own(verdict=["accept"]), 'v.jsonl:2: "verdict" is'),
        (own(reviewer=" "), 'v.jsonl:2: "reviewer" is blank'),
        (own(answer="14"), "v.jsonl:2: \"accept\" comes with the answer '14'"),
        (own(verdict="correct"), 'v.jsonl:2: "correct" needs the right answer'),
        (own(verdict="correct", answer="12"), "v.jsonl:2: .* is the pseudo-label itself"),
        (own(verdict="correct", answer={"a": 1}), 'v.jsonl:2: "answer" must be text'),
        (own(seconds="long"), "v.jsonl:2: \"seconds\" must be a number, found 'long'"),
        (own(seconds=-1), 'v.jsonl:2: "seconds" is -1.0'),
        ('{"unit": "u0", "verdict": "accept", "reviewer": "a", "seconds": 1e999}', "is inf"),
        (own(time="2026"), "v.jsonl:2: \"time\" is '2026'"),
        (own(audit="round-2"), "v.jsonl:2: \"audit\" is 'round-2'; .* go to round-1"),
        (own(comment="\x1b]0;"), r"v.jsonl:2: \"comment\" holds the hidden character U\+001B"),
        ('{"unit": "u0", "unit": "u1"}', "v.jsonl:2: "),
        (json.dumps(task("u9", annotation("accept"))), "v.jsonl:2: unit 'u9' is not in audit"),
        (json.dumps(task("u0", annotation("accept"), audit="r")), "v.jsonl:2: \"audit\" is 'r'"),
        (json.dumps(task("u0", annotation(None))), "v.jsonl:2: annotation 1: nothing is chosen"),
        (json.dumps(task("u0", 5)), "v.jsonl:2: annotation 1: found '5'; expected an object"),
        (json.dumps(task("u0", annotation("accept", completed_by=None))), '"completed_by" is None'),
        (json.dumps({"annotations": [], "data": {}}), 'v.jsonl:2: task has no "unit"'),
        (json.dumps({"annotations": 5, "data": {"unit": "u0"}}), '"annotations" is'),
        ("\ud800", "v.jsonl:2: not UTF-8"),
        ('{"a":' * 100_000, "v.jsonl:2: "),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_used(store: AuditStore, line: str, says: str) -> None:
    """One line that says where and what; and of the good row before it nothing is stored."""
    with pytest.raises(InputError, match=says) as caught:
        import_verdicts(store, "round-1", [own(unit="u1"), line], name="v.jsonl")
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 400
    assert store.verdicts("round-1") == ()


SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = SCALAR | st.lists(SCALAR, max_size=2) | st.dictionaries(st.text(max_size=3), SCALAR)
FIELDS = ["key", "audit", "verdict", "answer", "comment", "seconds", "time", "reviewer", "unit"]
PARTS = ["result", "completed_by", "unique_id", "lead_time", "updated_at", "was_cancelled"]


def test_whatever_comes_is_stored_or_refused(store: AuditStore) -> None:
    messages, added = [], 0

    @given(
        st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)),
        st.fixed_dictionaries({}, optional=dict.fromkeys(PARTS, JSON)),
    )
    @settings(max_examples=60)
    def hand_in(row: dict[str, Any], part: dict[str, Any]) -> None:
        nonlocal added
        for line in (own(**row), json.dumps(task("u0", {**annotation("accept"), **part}))):
            try:
                added += import_verdicts(store, "round-1", [line]).added
            except InputError as error:
                messages.append(str(error))

    hand_in()
    assert len(store.verdicts("round-1")) == added > 0
    assert messages
    assert all(message.isprintable() and len(message) < 500 for message in messages)


def test_lists_tell_line_and_row(store: AuditStore) -> None:
    tasks = [task("u0", annotation("accept")), task("u9", annotation("accept"))]
    with pytest.raises(InputError, match=r"^export\.json:\d+ \(row 2\): unit 'u9' is not in"):
        import_verdicts(store, "round-1", json.dumps(tasks, indent=1), name="export.json")
    with pytest.raises(InputError, match=r"^x is empty; expected verdicts"):
        import_verdicts(store, "round-1", ["\n"], name="x")
    with pytest.raises(InputError, match="no audit 'round-2'"):
        import_verdicts(store, "round-2", OWN)
