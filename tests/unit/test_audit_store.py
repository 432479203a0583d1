"""The store of audits: what it keeps, refuses and hands out; what several verdicts amount to."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmupt.audit import use
from mmupt.audit.records import Added, Audit, Kind, NewAudit, NewItem, Verdict
from mmupt.audit.store import AuditStore, TakenError
from mmupt.audit.verdicts import Resolution, chosen, outcomes, ratings, resolve, standing
from mmupt.errors import InputError, RefusedError

sys.path.append(str(Path(__file__).parents[1]))
import postgres

T0 = "2026-01-01T00:00:00.000000+00:00"
ROUND = NewAudit("round-1", "model-a", "frame-a", '{"design": "random"}', T0)


def item(number: int, **values: Any) -> NewItem:
    return NewItem(
        **{
            "position": number,
            "unit": f"u{number}",
            "sample_id": f"s{number}",
            "pseudo_label": "12",
            "share": 0.75,
            "stratum": "low",
            "probability": 0.25,
            **values,
        }
    )


def said(unit: str, reviewer: str, kind: Kind, answer: str | None = None, **values: Any) -> Verdict:
    return Verdict(str(uuid.uuid4()), "round-1", unit, reviewer, kind, answer, **values)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "audits.sqlite" if request.param == "sqlite" else postgres.new_database()


@pytest.fixture
def store(place: Path | str) -> AuditStore:
    found = AuditStore(place, "plant")
    found.create(ROUND, [item(i) for i in range(4)])
    return found


# --- audits and items


def test_what_is_stored_comes_back(place: Path | str) -> None:
    store = AuditStore(place, "plant")
    rich = item(
        1,
        pseudo_label="一\x00\n½",  # models write such things
        slices={"line": "北 3"},
        rules=("out-of-range", "constant"),
        payload=json.dumps({"problem": "<image>?", "images": ["a.png"], "answers": []}),
    )
    store.create(ROUND, [rich, item(0)])
    assert store.audit("round-1") == Audit("round-1", "model-a", "frame-a", ROUND.plan, T0, 2)
    first, second = store.items("round-1")  # by position
    assert (first.unit, first.audit, second.audit) == ("u0", "round-1", "round-1")
    assert [getattr(second, name) for name in NewItem.__dataclass_fields__] == [
        getattr(rich, name) for name in NewItem.__dataclass_fields__
    ]


def test_the_same_audit_again_changes_nothing(store: AuditStore) -> None:
    store.add(said("u0", "ann", "accept"))
    store.create(replace(ROUND, created="2027-01-01T00:00:00+00:00"), [item(9)])
    assert [one.unit for one in store.items("round-1")] == ["u0", "u1", "u2", "u3"]
    assert store.audit("round-1").created == T0
    assert len(store.verdicts("round-1")) == 1


def test_another_frame_is_refused_with_both_names(store: AuditStore) -> None:
    with pytest.raises(
        RefusedError, match=r"round-1 of plant is over frame frame-a, not .*frame-b"
    ):
        store.create(replace(ROUND, frame="frame-b"), [item(0)])


def test_projects_share_a_database(store: AuditStore, place: Path | str) -> None:
    other = AuditStore(place, "other plant")
    assert other.audits() == ()
    other.create(replace(ROUND, frame="frame-b"), [item(0)])
    other.create(replace(ROUND, name="round-0", created="2025-01-01T00:00:00+00:00"), [])
    verdict = said("u0", "ann", "accept")
    assert store.add(verdict)
    assert other.add(replace(verdict, kind="reject"))  # the same key in another project
    assert [one.kind for one in store.verdicts("round-1")] == ["accept"]
    assert [one.kind for one in other.verdicts("round-1")] == ["reject"]
    assert [one.name for one in other.audits()] == ["round-0", "round-1"]


def test_an_audit_that_is_not_there(store: AuditStore) -> None:
    for ask in (
        lambda: store.items("round-2"),
        lambda: store.verdicts("round-2"),
        lambda: store.progress("round-2"),
        lambda: store.claim("round-2", "ann", reviewers=1, lease=60),
        lambda: store.add(replace(said("u0", "ann", "accept"), audit="round-2")),
    ):
        with pytest.raises(InputError, match="no audit 'round-2' in plant; there is: round-1"):
            ask()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"position": -1}, '"position" is -1'),
        ({"unit": " "}, '"unit" is blank'),
        ({"unit": "a\u200bb"}, r"hidden character U\+200B at position 2"),
        ({"sample_id": "x" * 301}, '"sample_id" has 301 characters; at most 300'),
        ({"pseudo_label": "x" * 10_001}, '"pseudo_label" has 10001 characters'),
        ({"pseudo_label": "\ud800"}, "half of a surrogate pair"),
        ({"share": 1.5}, '"share" is 1.5; expected 0 to 1'),
        ({"share": float("nan")}, '"share" is nan'),
        ({"probability": 0.0}, '"probability" is 0; what cannot be drawn'),
        ({"payload": "[]"}, "expected the JSON text of an object"),
        ({"payload": "[" * 100_000}, "expected the JSON text of an object"),
        ({"unit": "u0", "position": 5}, "\"unit\" 'u0' is there 2 times"),
        ({"unit": "u5", "position": 0}, '"position" 0 is there 2 times'),
    ],
)
def test_items_that_cannot_be_used(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    store = AuditStore(tmp_path / "a.sqlite", "plant")
    with pytest.raises(InputError, match=says) as caught:
        store.create(ROUND, [item(0), item(1, **values)])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert store.audits() == ()


# --- verdicts


def test_verdicts_in_their_order(store: AuditStore) -> None:
    given = [
        said("u2", "ann", "correct", "14", comment="blurred\n7", seconds=2.5, time=T0),
        said("u0", "bob", "unsure", seconds=1.0, time="2026-01-01T09:00:00+09:00"),
        said("u2", "ann", "undo", time=T0),
    ]
    assert [store.add(one) for one in given] == [True] * 3
    assert store.verdicts("round-1") == (given[0], replace(given[1], time=T0), given[2])


def test_a_repeated_request_adds_nothing(store: AuditStore) -> None:
    verdict = said("u0", "ann", "accept", seconds=3.0)
    assert store.add(verdict)
    assert not store.add(replace(verdict, seconds=4.0, time=T0))  # its clock went on
    assert not store.add(replace(verdict, key=verdict.key.upper()))
    assert [one.seconds for one in store.verdicts("round-1")] == [3.0]


def test_a_key_belongs_to_one_verdict(store: AuditStore) -> None:
    verdict = said("u0", "ann", "accept")
    store.add(verdict)
    with pytest.raises(RefusedError, match="stored as accept by ann on u0, not as reject by ann"):
        store.add(replace(verdict, kind="reject"))
    with pytest.raises(RefusedError, match="a new verdict needs a new key"):
        store.add(replace(verdict, unit="u1"))
    assert len(store.verdicts("round-1")) == 1


def test_several_are_stored_together_or_not_at_all(store: AuditStore) -> None:
    first = said("u0", "ann", "accept")
    with pytest.raises(InputError, match="no unit 'u9' in audit round-1"):
        store.add_all("round-1", [first, said("u9", "ann", "accept")])
    assert store.verdicts("round-1") == ()
    assert store.add_all("round-1", [first, first, said("u1", "ann", "skip")]) == Added(2, 1)
    assert store.add_all("round-1", []) == Added(0, 0)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"key": "1"}, "\"key\" is '1'; expected a UUID"),
        ({"kind": "delete"}, "\"verdict\" is 'delete'; expected one of accept, reject"),
        ({"reviewer": ""}, '"reviewer" is blank'),
        ({"reviewer": "a\nb"}, r"hidden character U\+000A"),
        ({"reviewer": "x" * 301}, '"reviewer" has 301 characters'),
        ({"unit": "u1' OR '1'='1"}, "no unit "),
        ({"answer": "14"}, 'only "correct" has one'),
        ({"kind": "correct"}, '"correct" needs the right answer'),
        ({"kind": "correct", "answer": " "}, '"correct" needs the right answer'),
        ({"kind": "correct", "answer": "1\x004"}, r"hidden character U\+0000 at position 2"),
        ({"kind": "correct", "answer": "1\u202e4"}, r"hidden character U\+202E"),
        ({"kind": "correct", "answer": " 12 "}, 'is the pseudo-label itself; say "accept"'),
        ({"comment": "x" * 10_001}, '"comment" has 10001 characters'),
        ({"comment": "\x1b[31m"}, r"hidden character U\+001B"),
        ({"seconds": -1.0}, '"seconds" is -1.0; expected 0 to 86400'),
        ({"seconds": float("inf")}, '"seconds" is inf'),
        ({"seconds": True}, '"seconds" must be a number'),
        ({"time": "yesterday"}, "\"time\" is 'yesterday'; expected ISO 8601"),
        ({"time": "2026-01-01T00:00:00"}, "expected ISO 8601 with an offset"),
    ],
)
def test_verdicts_that_cannot_be_used(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    store = AuditStore(tmp_path / "a.sqlite", "plant")
    store.create(ROUND, [item(0)])
    with pytest.raises(InputError, match=says) as caught:
        store.add(replace(said("u0", "ann", "accept"), **values))
    assert "\n" not in str(caught.value)
    assert store.verdicts("round-1") == ()


def test_one_name_however_it_is_typed(store: AuditStore) -> None:
    store.add(said("u0", "Zo\u00eb", "accept"))
    store.add(said("u0", " Zoe\u0308 ", "reject"))
    assert list(standing(store.verdicts("round-1"))["u0"]) == ["Zo\u00eb"]


KILLED = """
import sys, uuid
from pathlib import Path
from mmupt.audit.records import Verdict
from mmupt.audit.store import AuditStore
place = sys.argv[1]
store = AuditStore(place if "://" in place else Path(place), "plant")
for number in range(10_000):
    key = str(uuid.uuid4())
    store.add(Verdict(key, "round-1", f"u{number % 4}", "ann", "accept"))
    sys.stdout.write(key + "\\n")
    sys.stdout.flush()
"""


def test_a_stored_verdict_survives_a_kill(store: AuditStore, place: Path | str) -> None:
    """SIGKILL while it writes: all that `add` came back from is there, and at most one more."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(place)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline().strip() for _ in range(15)]
        os.kill(writer.pid, signal.SIGKILL)
        told += writer.stdout.read().split()
    kept = [verdict.key for verdict in store.verdicts("round-1")]
    told = [key for key in told if len(key) == 36]
    assert len(told) >= 15
    assert kept[: len(told)] == told
    assert len(kept) <= len(told) + 1
    assert store.add(said("u0", "bob", "accept"))  # and nothing is locked


# --- claims


def claimed(store: AuditStore, reviewer: str, reviewers: int = 1, now: str = T0) -> str | None:
    found = store.claim("round-1", reviewer, reviewers=reviewers, lease=60, now=now)
    return None if found is None else found.unit


def test_nobody_gets_what_another_has(store: AuditStore) -> None:
    assert claimed(store, "ann") == "u0"
    assert claimed(store, "bob") == "u1"
    assert claimed(store, "ann") == "u0"  # the page again
    store.add(said("u0", "ann", "accept"))
    assert claimed(store, "ann") == "u2"
    assert claimed(store, "eve") == "u3"
    assert claimed(store, "mia") is None
    assert store.progress("round-1", now=T0).claimed == 3


def test_a_claim_runs_out(store: AuditStore) -> None:
    assert claimed(store, "ann", now="2026-01-01T00:00:00+00:00") == "u0"
    assert claimed(store, "bob", now="2026-01-01T00:00:59+00:00") == "u1"
    assert claimed(store, "eve", now="2026-01-01T00:01:00+00:00") == "u0"
    assert store.add(said("u0", "ann", "accept"))  # late, but said
    assert claimed(store, "ann", now="2026-01-01T00:01:00+00:00") == "u2"
    assert store.progress("round-1", now="2026-01-01T00:01:30+00:00").claimed == 3


def at(minute: int) -> str:
    return f"2026-01-01T00:{minute:02}:00+00:00"


def test_a_claim_is_prolonged_while_it_is_theirs(store: AuditStore) -> None:
    def renewed(who: str, minute: int, unit: str = "u0") -> bool:
        return store.renew("round-1", unit, who, reviewers=1, lease=120, now=at(minute))

    assert renewed("ann", 0)  # free: it is claimed
    assert renewed("ann", 1)
    assert claimed(store, "bob", now=at(2)) == "u1"  # u0 is ann's until minute 3
    assert not renewed("bob", 2)
    assert renewed("ann", 9)  # ran out, and nobody had taken it
    assert claimed(store, "bob", now=at(12)) == "u0"
    assert not renewed("ann", 12)
    store.add(said("u0", "bob", "accept"))
    assert not renewed("ann", 30)  # judged, as often as it needs
    store.add(said("u0", "bob", "undo"))
    assert renewed("ann", 30)
    for unit, audit in (("u9", "round-1"), ("u0", "round-9")):
        with pytest.raises(InputError):
            store.renew(audit, unit, "ann", reviewers=1, lease=60)


def test_a_verdict_on_what_another_took_is_not_stored(store: AuditStore) -> None:
    def held(one: Verdict, minute: int, reviewers: int = 1) -> bool:
        return store.add_held(one, reviewers=reviewers, now=at(minute))

    assert claimed(store, "ann", now=at(0)) == "u0"
    late = said("u0", "ann", "accept")
    assert claimed(store, "bob", now=at(2)) == "u0"  # ann's has run out
    with pytest.raises(TakenError, match="nothing was stored"):
        held(late, 2)
    assert store.verdicts("round-1") == ()
    assert held(late, 2, reviewers=2)  # there is room for two
    assert not held(late, 30)  # sent again: it is there
    assert [one.reviewer for one in store.verdicts("round-1")] == ["ann"]
    assert claimed(store, "eve", now=at(40)) == "u1"
    assert held(said("u1", "eve", "reject"), 50)  # ran out, and nobody minds
    with pytest.raises(TakenError):
        held(said("u1", "ann", "accept"), 50)
    with pytest.raises(RefusedError, match="needs a new key"):
        held(replace(late, kind="reject"), 50)


def test_a_share_needs_two_until_it_is_settled(store: AuditStore) -> None:
    twice = [f"u{n}" for n in range(4) if chosen("round-1", f"u{n}", 0.5)]
    assert 0 < len(twice) < 4
    verdicts = [said(f"u{n}", "ann", "accept") for n in range(4)]
    store.add_all("round-1", verdicts)
    found = resolve(verdicts, 1, 0.5)
    assert {unit for unit, one in found.items() if one.state == "open"} == set(twice)
    assert store.progress("round-1", second=0.5, now=T0).states["right"] == 4 - len(twice)
    second = [said(unit, "bob", "accept") for unit in twice]
    assert {one.state for one in resolve([*verdicts, *second], 1, 0.5).values()} == {"right"}
    two = resolve([*verdicts, *second], 2, 0.5)  # and a third of some, where all have two
    assert {two[unit].state for unit in twice} == {"open"}


def test_a_claim_is_given_back(store: AuditStore) -> None:
    assert claimed(store, "ann") == "u0"
    store.release("round-1", "u0", "ann")
    store.release("round-1", "u1", "ann")  # never claimed
    assert claimed(store, "bob") == "u0"


def test_who_skips_leaves_it_to_others(store: AuditStore) -> None:
    assert claimed(store, "ann") == "u0"
    store.add(said("u0", "ann", "skip"))
    assert claimed(store, "ann") == "u1"
    assert claimed(store, "bob") == "u0"
    store.release("round-1", "u0", "bob")
    store.release("round-1", "u1", "ann")
    store.add(said("u0", "ann", "undo"))
    assert claimed(store, "ann") == "u0"


def test_overlap_and_disputes(store: AuditStore) -> None:
    assert [claimed(store, who, 2) for who in ("ann", "bob", "eve", "mia")] == [
        "u0", "u0", "u1", "u1"
    ]  # fmt: skip
    store.add(said("u0", "ann", "accept"))
    store.add(said("u0", "bob", "reject"))
    # They differ: one more is asked, and no more than one.
    store.release("round-1", "u1", "eve")
    assert claimed(store, "eve", 2) == "u0"
    store.release("round-1", "u1", "mia")
    assert claimed(store, "mia", 2) == "u1"
    store.add(said("u0", "eve", "reject"))
    assert store.progress("round-1", reviewers=2, now=T0).states == {
        "right": 0, "wrong": 1, "unsure": 0, "open": 3, "disputed": 0,
    }  # fmt: skip


def test_progress_by_hand(store: AuditStore) -> None:
    for verdict in (
        said("u0", "ann", "accept", seconds=2.0),
        said("u1", "ann", "reject", seconds=3.0),
        said("u1", "ann", "undo"),
        said("u1", "ann", "unsure", seconds=1.5),
        said("u2", "bob", "skip", seconds=0.5),
    ):
        store.add(verdict)
    progress = store.progress("round-1")
    assert progress.states == {"right": 1, "wrong": 0, "unsure": 1, "open": 2, "disputed": 0}
    assert (progress.items, progress.verdicts, progress.claimed) == (4, 5, 0)
    assert (progress.judged, progress.seconds) == ({"ann": 2}, 7.0)


# --- what several verdicts amount to


def state(*kinds: Kind, reviewers: int) -> str:
    given = [
        said("u0", f"r{i}", kind, "14" if kind == "correct" else None)
        for i, kind in enumerate(kinds)
    ]
    return resolve(given, reviewers)["u0"].state


@pytest.mark.parametrize(
    ("kinds", "reviewers", "wanted"),
    [
        (["accept"], 1, "right"),
        (["reject"], 1, "wrong"),
        (["correct"], 1, "wrong"),
        (["unsure"], 1, "unsure"),
        (["skip"], 1, "open"),
        (["accept"], 2, "open"),
        (["accept", "skip"], 2, "open"),
        (["accept", "accept"], 2, "right"),
        (["reject", "correct"], 2, "wrong"),
        (["accept", "reject"], 2, "disputed"),
        (["accept", "unsure"], 2, "disputed"),
        (["accept", "reject", "accept"], 2, "right"),
        (["accept", "reject", "unsure"], 2, "disputed"),
        (["accept", "reject", "accept", "reject"], 2, "disputed"),
        (["accept", "reject"], 1, "disputed"),
        (["accept", "accept", "reject"], 3, "disputed"),
        (["accept", "accept", "reject", "accept"], 3, "right"),
    ],
)
def test_states(kinds: list[Kind], reviewers: int, wanted: str) -> None:
    assert state(*kinds, reviewers=reviewers) == wanted


def test_an_undo_takes_back_one() -> None:
    given = [
        said("u0", "ann", "accept", seconds=1.0),
        said("u0", "ann", "correct", "14", seconds=2.0),
        said("u0", "bob", "undo"),  # takes back nothing of ann's
        said("u0", "ann", "undo", seconds=0.5),
    ]
    assert resolve(given) == {"u0": Resolution("right", None, ("ann",), 3.5)}
    again = [*given, said("u0", "ann", "undo"), said("u0", "ann", "undo")]
    assert resolve(again) == {"u0": Resolution("open", None, (), 3.5)}
    assert outcomes(resolve(again)) == {}


def test_answers_count_where_they_are_the_same() -> None:
    one = [said("u0", "ann", "correct", "14"), said("u0", "bob", "reject")]
    assert resolve(one, 2)["u0"] == Resolution("wrong", "14", ("ann", "bob"), 0.0)
    two = [*one, said("u0", "eve", "correct", "15")]
    assert resolve(two, 2)["u0"].answer is None
    outvoted = [said("u0", "ann", "correct", "14"), *(said("u0", w, "accept") for w in "bcd")]
    assert resolve(outvoted, 2)["u0"] == Resolution("right", None, ("ann", "b", "c", "d"), 0.0)


def test_outcomes_and_ratings_by_hand() -> None:
    given = [
        said("u0", "ann", "accept"), said("u0", "bob", "accept"),
        said("u1", "ann", "correct", "14"), said("u1", "bob", "reject"),
        said("u2", "ann", "accept"), said("u2", "bob", "reject"),
        said("u3", "ann", "unsure"), said("u3", "bob", "unsure"),
        said("u4", "ann", "accept"),
        said("u5", "ann", "skip"),
    ]  # fmt: skip
    assert outcomes(resolve(given, 2)) == {"u0": True, "u1": False, "u2": None, "u3": None}
    assert ratings(given) == [
        {"ann": "right", "bob": "right"},
        {"ann": "wrong", "bob": "wrong"},
        {"ann": "right", "bob": "wrong"},
        {"ann": "right"},
    ]


def test_what_was_changed_in_sight_of_others_is_no_rating() -> None:
    given = [
        said("u0", "ann", "skip"), said("u0", "ann", "accept"), said("u0", "bob", "reject"),
        said("u0", "ann", "reject"),  # talked over: it counts for the label, not for agreement
        said("u1", "ann", "accept"), said("u1", "ann", "undo"), said("u1", "ann", "reject"),
        said("u1", "bob", "unsure"), said("u1", "bob", "reject"),
    ]  # fmt: skip
    assert outcomes(resolve(given, 2)) == {"u0": False, "u1": False}
    assert ratings(given) == [{"ann": "right", "bob": "wrong"}, {"ann": "wrong"}]


KINDS = st.sampled_from(["accept", "reject", "correct", "unsure", "skip", "undo"])
HISTORY = st.lists(st.tuples(st.sampled_from("abc"), KINDS), max_size=12)


@given(HISTORY, st.integers(1, 3))
def test_states_against_another_way(history: list[tuple[str, Kind]], reviewers: int) -> None:
    """Reviewer by reviewer from the end: an undo crosses out one that came before it."""
    given_ = [said("u", who, kind, "9" if kind == "correct" else None) for who, kind in history]
    votes = []
    for who in "abc":
        open_undos = 0
        for _, kind in reversed([one for one in history if one[0] == who]):
            if kind == "undo":
                open_undos += 1
            elif open_undos:
                open_undos -= 1
            else:
                votes += [] if kind == "skip" else [kind.replace("correct", "reject")]
                break
    counts = Counter(votes)
    names = {"accept": "right", "reject": "wrong", "unsure": "unsure"}
    if len(votes) < reviewers:
        wanted = "open"
    elif len(counts) == 1:
        wanted = names[votes[0]]
    else:
        many = [kind for kind, n in counts.items() if n > len(votes) / 2]
        wanted = names[many[0]] if many and len(votes) > reviewers else "disputed"
    assert resolve(given_, reviewers).get("u", Resolution("open", None, (), 0)).state == wanted


@given(st.lists(st.sampled_from(["accept", "reject", "unsure"]), min_size=1, max_size=4))
def test_the_order_of_reviewers_does_not_matter(kinds: list[Kind]) -> None:
    found = {state(*order, reviewers=2) for order in itertools.permutations(kinds)}
    assert len(found) == 1


# --- use


def test_use_by_hand() -> None:
    items = [item(i) for i in range(5)]
    resolved = resolve(
        [
            said("u0", "ann", "accept"),
            said("u1", "ann", "reject"),
            said("u2", "ann", "correct", "14"),
            said("u3", "ann", "unsure"),
        ]
    )
    assert use.quarantined(items, resolved) == {"s1", "s2"}
    assert use.anchors(items, resolved) == {"s2": "14"}
    assert use.anchors(items, resolved, accepted=True) == {"s0": "12", "s2": "14"}


def test_a_sample_with_two_answers_is_no_anchor() -> None:
    items = [item(0, sample_id="s"), item(1, sample_id="s"), item(2)]
    resolved = resolve([said(f"u{i}", "ann", "correct", a) for i, a in enumerate("789")])
    assert use.anchors(items, resolved) == {"s2": "9"}
