"""What a round was trained on, worked out by hand from made rollouts; and the audits over it."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmupt.audit.records import Verdict
from mmupt.audit.store import AuditStore
from mmupt.config import Config, ConsensusConfig
from mmupt.errors import RefusedError, RunFolderError
from mmupt.pipeline.auditing import learned, open_audit, standing_of
from mmupt.pipeline.frame import (
    Labelled,
    frame_digest,
    frame_of,
    last_rows,
    read_frame,
    rollout_rows,
    write_frame,
)
from mmupt.pipeline.rounds import Round
from mmupt.pipeline.taken import round_data, take
from mmupt.train.records import SCHEMA
from mmupt.types import Sample


def row(
    sample: str,
    step: int,
    label: str | None,
    votes: Sequence[str | None],
    said: Sequence[str | None],
    **more: Any,
) -> dict[str, Any]:
    agreed = sum(vote == label for vote in votes) / len(votes) if votes else 0.0
    return {
        "sample_id": sample, "stage": "round-1", "step": step, "prompt": f"<image>{sample}?",
        "images": [f"/data/{sample}.png"],
        "completions": [f"I say \\boxed{{{answer}}}" for answer in said],
        "views": [0] * len(said), "answers": list(said), "teacher_answers": list(votes),
        "classes": [], "pseudo_label": label, "share": agreed, "tied": False, "kept": True,
        "anchor": False, "spare": False, "rewards": [], "advantages": [],
    } | more  # fmt: skip


def write(folder: Path, stage: str, step: int, rows: Sequence[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    pq.write_table(table, folder / f"{stage}-{step:06d}.parquet")


def frame(rows: Sequence[dict[str, Any]], **meta: dict[str, str]) -> dict[str, Labelled]:
    return {one.sample_id: one for one in frame_of(rows, ConsensusConfig(), meta)}


# The labels


def test_margin_share_and_agreement_by_hand() -> None:
    """Eight votes: four for 0.5 in three spellings, two for 3, one for 4, one silent."""
    votes = ["0.5", "1/2", "\\frac{1}{2}", "0.50", "3", "3", "4", None]
    said = ["1/2", "3", None, "0.5"]
    found = frame([row("a", 7, "0.5", votes, said, share=0.5)], a={"line": "north"})["a"]
    assert found.share == 0.5  # as the vote said it
    assert found.margin == (4 - 2) / 8
    assert found.agreement == 2 / 4
    assert (found.step, found.pseudo_label, found.meta) == (7, "0.5", {"line": "north"})
    assert (found.problem, found.images) == ("<image>a?", ("/data/a.png",))
    shown = json.loads(found.answers)
    assert [(one["answer"], one["count"]) for one in shown] == [("0.5", 4), ("3", 2), ("4", 1)]
    assert shown[0]["completion"] == "I say \\boxed{1/2}"  # the first of the student's that agrees
    assert shown[2]["completion"] == ""  # the student never said 4


def test_without_a_teacher_the_completions_are_the_votes() -> None:
    found = frame([row("a", 1, "7", [], ["7", "7", "8"], share=2 / 3)])["a"]
    assert (found.margin, found.agreement) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_agreement_across_views_by_hand() -> None:
    """A teacher answers view by view; completions say which view they saw."""
    votes = ["0.5", "1/2", "\\frac{1}{2}", "0.50", "3", "3", "4", None]
    taught = frame([row("a", 1, "0.5", votes, ["1"], share=0.5)])["a"]  # eight views, once each
    assert taught.view_agreement == pytest.approx((6 + 1) / 21)  # of C(7, 2) pairs
    own = row("a", 1, "7", [], ["7", "8", "7", "7"], views=[0, 0, 1, 1])
    assert frame([own])["a"].view_agreement == 2 / 4  # of 2 x 2 pairs; those of one view are none
    assert math.isnan(frame([own | {"views": [0, 0, 0, 0]}])["a"].view_agreement)
    odd = row("a", 1, "7", ["7", "7", "8"], ["7"])  # three votes of a teacher: of which views?
    assert math.isnan(frame([odd])["a"].view_agreement)


def test_a_label_against_which_nobody_voted_leads_by_all() -> None:
    found = frame([row("a", 1, "7", ["7", "7", None, "7"], ["1"])])["a"]
    assert (found.margin, found.agreement) == (0.75, 0.0)


def test_nothing_said_is_no_agreement_at_all() -> None:
    assert math.isnan(frame([row("a", 1, "7", ["7"], [])])["a"].agreement)


def test_what_was_not_trained_on_is_no_label() -> None:
    rows = [
        row("kept", 1, "7", ["7"], ["7"]),
        row("filtered", 1, "7", ["7"], ["7"], kept=False),
        row("silent", 1, None, [None], [None]),
    ]
    assert list(frame(rows)) == ["kept"]


def test_rows_of_the_round_alone_up_to_the_kept_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "rollouts"
    write(folder, "round-1", 1, [row("a", 1, "1", ["1"], ["1"]), row("b", 1, "1", ["1"], ["1"])])
    write(folder, "round-1", 2, [
        row("a", 2, "2", ["2"], ["2"]),
        row("known", 2, "9", ["9"], ["9"], anchor=True),
        row("over", 2, "9", ["9"], ["9"], spare=True),
        row("b", 2, "9", ["9"], ["9"], spare=True),
    ])  # fmt: skip
    write(folder, "round-1", 3, [row("late", 3, "3", ["3"], ["3"])])
    write(folder, "round-10", 1, [row("ten", 1, "1", ["1"], ["1"], stage="round-10")])
    write(folder, "round-1", 12, [row("b", 12, "5", ["5"], ["5"])])
    (folder / "round-1-000002.tmp-9.parquet.part").write_bytes(b"half")

    def found(last: int) -> list[tuple[str, int, str]]:
        rows = last_rows(rollout_rows(folder, "round-1", last))
        return [(r["sample_id"], r["step"], r["pseudo_label"]) for r in rows]

    assert found(2) == [("a", 2, "2"), ("b", 1, "1")]
    assert found(3) == [("a", 2, "2"), ("b", 1, "1"), ("late", 3, "3")]
    assert found(12) == [("a", 2, "2"), ("b", 12, "5"), ("late", 3, "3")]
    assert found(0) == []  # the guard kept the start: nothing was learned


def test_a_frame_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [row("a", 1, "7", ["7", "8"], []), row("項目 1", 2, "七", ["七"], ["七"], images=[])]
    written = frame_of(rows, ConsensusConfig(), {"a": {"line": "北", "shift": ""}})
    write_frame(tmp_path / "audits" / "round-1.parquet", written)
    read = read_frame(tmp_path / "audits" / "round-1.parquet")
    assert math.isnan(read[0].agreement)
    assert [repr(one) for one in read] == [repr(one) for one in written]
    assert frame_digest(read) == frame_digest(written)


def test_the_digest_is_that_of_labels_and_votes() -> None:
    rows = [row("a", 1, "7", ["7", "7", "8"], ["7"]), row("b", 1, "2", ["2"], ["2"])]
    start = frame_digest(frame_of(rows, ConsensusConfig(), {}))

    def changed(**more: Any) -> str:
        return frame_digest(frame_of([{**rows[0], **more}, rows[1]], ConsensusConfig(), {}))

    assert changed() == start
    assert changed(step=9, completions=["else \\boxed{7}"], prompt="other words") == start
    for change in (
        {"pseudo_label": "8"}, {"share": 0.9}, {"sample_id": "c"}, {"kept": False},
        {"teacher_answers": ["7", "8", "8"]},
    ):  # fmt: skip
        assert changed(**change) != start, change
    assert frame_digest(frame_of(rows[::-1], ConsensusConfig(), {})) != start


# Audits over them


CONFIG = Config.model_validate(
    {"audit": {"design": "random", "size": "sequential", "max_verdicts": 20}}
)


def labels(count: int, wrong: str = "") -> list[Labelled]:
    rows = [row(f"q{i}", 1, str(i) + wrong, [str(i) + wrong] * 4, [str(i)]) for i in range(count)]
    return frame_of(rows, ConsensusConfig(), {f"q{i}": {"line": "ns"[i % 2]} for i in range(count)})


@pytest.fixture
def store(tmp_path: Path) -> AuditStore:
    return AuditStore(tmp_path / "project.db", "project")


def opened(store: AuditStore, name: str = "round-1", config: Config = CONFIG) -> None:
    open_audit(store, name, "f" * 64, labels(40), {"q3": ("low-margin",)}, config)


def say(store: AuditStore, unit: str, kind: Any, answer: str | None = None, by: str = "A") -> None:
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{unit} {by} {kind}"))
    store.add(Verdict(key, "round-1", unit, by, kind, answer))


def test_an_audit_is_drawn_once(store: AuditStore) -> None:
    opened(store)
    first = store.items("round-1")
    assert len(first) == 20
    assert len({item.unit for item in first}) == 20
    assert all(0 < item.probability <= 1 for item in first)
    say(store, first[0].unit, "accept")
    opened(store)  # killed before its step was finished: the same again
    assert store.items("round-1") == first
    assert len(store.verdicts("round-1")) == 1
    with pytest.raises(RefusedError, match="over frame"):
        open_audit(store, "round-1", "f" * 64, labels(40, "0"), {}, CONFIG)


def test_an_item_shows_what_the_round_saw(store: AuditStore) -> None:
    sliced = CONFIG.model_copy(
        update={"audit": CONFIG.audit.model_copy(update={"slices": ("line",), "max_verdicts": 40})}
    )
    opened(store, config=sliced)
    item = {one.unit: one for one in store.items("round-1")}["q3"]
    assert (item.pseudo_label, item.share, item.rules) == ("3", 1.0, ("low-margin",))
    assert item.slices == {"line": "s"}
    assert json.loads(item.payload) == {
        "problem": "<image>q3?", "images": ["/data/q3.png"],
        "answers": [{"answer": "3", "count": 4, "completion": "I say \\boxed{3}"}],
    }  # fmt: skip


def test_where_an_audit_stands_by_hand(store: AuditStore) -> None:
    assert standing_of(store, "round-1", CONFIG) is None
    opened(store)
    standing = standing_of(store, "round-1", CONFIG)
    assert standing is not None
    assert (standing.judged, standing.last, standing.subject) == (0, "", "f" * 64)
    assert standing.open
    units = [item.unit for item in store.items("round-1")]
    for unit in units[:6]:
        say(store, unit, "accept")
    say(store, units[6], "reject")
    say(store, units[7], "unsure")
    say(store, units[8], "skip")
    standing = standing_of(store, "round-1", CONFIG)
    assert standing is not None
    found = standing.precision
    assert (found.right, found.wrong, found.unsure, standing.judged) == (6, 1, 1, 8)
    assert standing.last == store.verdicts("round-1")[-1].time


def test_no_threshold_needs_no_verdict(store: AuditStore) -> None:
    opened(store)
    for gate in ({"min_precision": None}, None):
        config = Config.model_validate({**CONFIG.model_dump(mode="json"), "gate": gate})
        standing = standing_of(store, "round-1", config)
        assert standing is not None
        assert (standing.needed, standing.open) == (0, False)


@pytest.mark.parametrize(
    "id_", ["か\u3099そう", " blanks ", "x" * 301, "\U0001f469\u200d\U0001f527", "a\u0301"]
)
def test_ids_that_people_could_not_type_are_judged_all_the_same(
    store: AuditStore, tmp_path: Path, id_: str
) -> None:
    """Decomposed, as file names of some systems are; too long; with what nobody sees."""
    rows = [row(f"{id_}{i}" if i else id_, 1, "7", ["7"], ["7"]) for i in range(12)]
    audited = frame_of(rows, ConsensusConfig(), {})
    settings = config(0.25, size="fixed", half_width=0.01)
    open_audit(store, "round-1", "f" * 64, audited, {id_: ("low-margin",)}, settings)
    items = store.items("round-1")
    assert len({item.unit for item in items}) == 12
    (special,) = [item for item in items if item.rules == ("low-margin",)]
    for item in items:
        say(
            store,
            item.unit,
            "correct" if item == special else "accept",
            "8" if item == special else None,
        )
    standing = standing_of(store, "round-1", settings)
    assert standing is not None
    found = standing.precision
    assert (found.right, found.wrong, standing.judged) == (11, 1, 12)
    taken = take(tmp_path / "t.json", store, ROUNDS[:2], settings)
    assert taken.quarantined == (id_,)
    assert taken.anchors == ((1, id_, "8"),)
    data = round_data(
        taken,
        ROUNDS[1],
        ROUNDS[:2],
        lambda _: [Sample(r["sample_id"], "?") for r in rows],
        settings,
    )
    assert (data.samples, [r.sample.id for r in data.anchors]) == ([], [id_])


# What the next round takes


def config(fraction: float, **audit: Any) -> Config:
    return Config.model_validate({
        "train": {"anchor_fraction": fraction}, "data": {"unlabelled": "/data/u.jsonl"},
        "audit": {"design": "random", "max_verdicts": 40, **audit},
    })  # fmt: skip


def samples(count: int) -> list[Sample]:
    return [Sample(f"q{i}", f"question {i}") for i in range(count)]


ROUNDS = [Round(1), Round(2), Round(3, "/data/new.jsonl", planned=False)]


def judged(store: AuditStore) -> None:
    opened(store, config=config(0.0))
    for unit, kind, answer in (
        ("q1", "reject", None), ("q2", "correct", "22"), ("q3", "accept", None),
        ("q4", "unsure", None), ("q5", "correct", "55"), ("q6", "accept", None),
    ):  # fmt: skip
        say(store, unit, kind, answer)


def test_verdicts_become_quarantine_anchors_and_choosers(store: AuditStore, tmp_path: Path) -> None:
    judged(store)
    found = learned(store, "round-1", CONFIG)
    assert found.quarantined == {"q1", "q2", "q5"}
    assert found.corrected == {"q2": "22", "q5": "55"}
    assert found.accepted == {"q3": "3", "q6": "6"}
    mixed = take(tmp_path / "mixed.json", store, ROUNDS[:2], config(0.25))
    assert mixed.quarantined == ("q1", "q2", "q5")
    assert mixed.anchors == ((1, "q2", "22"), (1, "q5", "55"))
    assert mixed.audited == ((1, "q3", "3"), (1, "q6", "6"))
    plain = take(tmp_path / "plain.json", store, ROUNDS[:2], config(0.0))
    assert plain.anchors == ()
    assert set(plain.audited) == {*mixed.anchors, *mixed.audited}
    assert take(tmp_path / "first.json", store, ROUNDS[:1], config(0.25)).quarantined == ()


def test_known_rows_are_left_out_of_the_pool(store: AuditStore, tmp_path: Path) -> None:
    judged(store)
    settings = config(0.25)
    taken = take(tmp_path / "t.json", store, ROUNDS[:2], settings)
    data = round_data(taken, ROUNDS[1], ROUNDS[:2], lambda _: samples(8), settings)
    # Without the rejected and the confirmed; anchors are among the rejected.
    assert [sample.id for sample in data.samples] == ["q0", "q4", "q7"]
    assert [(r.sample.id, r.answer) for r in data.anchors] == [("q2", "22"), ("q5", "55")]
    assert [(r.sample.id, r.answer) for r in data.audited] == [("q3", "3"), ("q6", "6")]


def test_on_other_data_nothing_is_left_out(store: AuditStore, tmp_path: Path) -> None:
    """Ids of another file mean other questions; answers of the former one still help."""
    judged(store)
    settings = config(0.25)
    taken = take(tmp_path / "t.json", store, ROUNDS, settings)
    assert taken.quarantined == ()
    questions = {None: samples(8), "/data/new.jsonl": samples(4)}
    data = round_data(taken, ROUNDS[2], ROUNDS, lambda one: questions[one.data], settings)
    assert [sample.id for sample in data.samples] == ["q0", "q1", "q2", "q3"]
    assert [row.answer for row in data.anchors] == ["22", "55"]
    assert [row.answer for row in data.audited] == ["3", "6"]


def test_the_projects_own_file_added_again_is_the_same_data(
    store: AuditStore, tmp_path: Path
) -> None:
    judged(store)
    rounds = [Round(1), Round(2, "/data/u.jsonl", planned=False)]
    taken = take(tmp_path / "t.json", store, rounds, config(0.25))
    assert taken.quarantined == ("q1", "q2", "q5")
    data = round_data(taken, rounds[1], rounds, lambda _: samples(8), config(0.25))
    assert [sample.id for sample in data.samples] == ["q0", "q4", "q7"]


def test_what_is_taken_is_fixed_when_the_round_begins(store: AuditStore, tmp_path: Path) -> None:
    judged(store)
    path = tmp_path / "t.json"
    first = take(path, store, ROUNDS[:2], config(0.25))
    say(store, "q7", "correct", "77")
    say(store, "q2", "undo")
    assert take(path, store, ROUNDS[:2], config(0.25)) == first
    assert take(tmp_path / "later.json", store, ROUNDS[:2], config(0.25)) != first


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"quarantined": 1}', "\xff"])
def test_a_damaged_note_of_what_was_taken_is_told(
    store: AuditStore, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(damage.encode("latin-1"))
    with pytest.raises(RunFolderError, match="restore it from a backup") as error:
        take(path, store, ROUNDS[:2], config(0.0))
    assert str(path) in str(error.value)


def test_two_reviewers_settle_a_label_together(store: AuditStore, tmp_path: Path) -> None:
    both = config(0.25, reviewers=2)
    opened(store, config=both)
    for by in ("A", "B"):
        say(store, "q1", "correct", "11", by)
    say(store, "q2", "correct", "22", "A")
    say(store, "q3", "correct", "33", "A")
    say(store, "q3", "accept", None, "B")
    taken = take(tmp_path / "t.json", store, ROUNDS[:2], both)
    assert taken.anchors == ((1, "q1", "11"),)
    assert taken.quarantined == ("q1",)
