"""The ledger: entries that are added once, seconds and tokens from events, energy from counters."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmupt.audit.records import Verdict
from mmupt.errors import DatabaseError, InputError, RefusedError
from mmupt.events import Event, EventLog, read_events
from mmupt.ledger.book import KINDS, Entry, Ledger, Total, entry, review_entries, totals_of
from mmupt.ledger.compute import Compute, compute_of
from mmupt.ledger.energy import Energy, EnergyMeter, energy_of, measured
from mmupt.ledger.spent import spent_entries

sys.path.append(str(Path(__file__).parents[1]))
import postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    sqlite = request.param == "sqlite"
    return Ledger(tmp_path / "project.db" if sqlite else postgres.new_database())


# Entries


def test_an_entry_is_booked_once(ledger: Ledger) -> None:
    one = entry("round-1/train", "abc", "compute_seconds", 620.5)
    assert ledger.book(one)
    assert not ledger.book(one)
    assert not ledger.book(replace(one, time="2026-01-01T00:00:00.000000+00:00", how="estimated"))
    (there,) = ledger.entries()
    assert there.quantity == 620.5
    assert there.how == "measured"
    assert there.time.startswith("20")


def test_another_figure_under_a_key_is_refused(ledger: Ledger) -> None:
    one = entry("round-1/train", "abc", "compute_seconds", 620.5)
    ledger.book(one)
    with pytest.raises(RefusedError, match=r"booked as 620.5 compute_seconds .* not as 621 comp"):
        ledger.book(replace(one, quantity=621.0))
    with pytest.raises(RefusedError, match="key of its own"):
        ledger.book(replace(one, stage="round-2/train"))
    assert [e.quantity for e in ledger.entries()] == [620.5]


def test_several_are_booked_together_or_not_at_all(ledger: Ledger) -> None:
    first = entry("sft", "a", "labels", 100)
    ledger.book(first)
    with pytest.raises(RefusedError):
        ledger.book_all([entry("sft", "a", "tokens", 5), replace(first, quantity=99)])
    assert [e.kind for e in ledger.entries()] == ["labels"]
    assert ledger.book_all([entry("sft", "a", "tokens", 5), first]) == 1


def test_totals_are_sums_and_what_is_not_booked_is_absent(ledger: Ledger) -> None:
    ledger.book_all(
        [
            entry("sft", "a", "compute_seconds", 0.1),
            entry("sft", "b", "compute_seconds", 0.2),
            entry("sft", "a", "energy_joules", 9.0, "estimated: 30 W x 0.3 s"),
            entry("pilot", "a", "tokens", 7),
        ]
    )
    totals = ledger.totals()
    assert totals["sft"]["compute_seconds"].quantity == pytest.approx(0.3)
    assert totals["sft"]["energy_joules"] == Total(9.0, ("estimated: 30 W x 0.3 s",))
    assert set(totals["pilot"]) == {"tokens"}


def test_the_ledger_shares_a_database_that_others_opened(tmp_path: Path) -> None:
    place = tmp_path / "project.db"
    Ledger(place).book(entry("sft", "a", "labels", 100))
    again = Ledger(place)
    assert len(again.entries()) == 1
    again.close()
    assert len(again.entries()) == 1


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "project.db"
    place.write_text("not a database " * 100)
    with pytest.raises(DatabaseError, match="cannot be opened"):
        Ledger(place)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quantity": -1.0}, "expected a number from 0"),
        ({"quantity": float("nan")}, "what is not known is not booked"),
        ({"quantity": float("inf")}, "expected a number from 0"),
        ({"quantity": 1e16}, "expected a number from 0"),
        ({"kind": "minutes"}, "expected one of compute_seconds"),
        ({"stage": "Round 1"}, "expected lower-case letters"),
        ({"stage": "round-1/"}, "expected lower-case letters"),
        ({"stage": "a" * 101}, "at most 100"),
        ({"key": ""}, "printable"),
        ({"key": "a\nb"}, "printable"),
        ({"how": "x" * 201}, "1 to 200 printable"),
    ],
)
def test_what_cannot_be_booked_is_refused(
    ledger: Ledger, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        ledger.book(replace(entry("sft", "a", "labels", 1), **change))
    assert ledger.entries() == ()


def test_text_from_outside_is_only_a_value(ledger: Ledger) -> None:
    name = "x'); DROP TABLE mmupt_ledger; --"
    ledger.book(entry("sft", name, "labels", 1, how=name))
    assert ledger.entries()[0].how == name


quantities = st.floats(0, 1e12)
booked = st.lists(
    st.tuples(
        st.sampled_from(["sft", "round-1/train"]), st.sampled_from(KINDS), st.integers(0, 3),
        quantities,
    ),
    max_size=12,
)  # fmt: skip


@given(booked, st.randoms())
def test_totals_do_not_depend_on_the_order(entries: list[tuple[Any, ...]], shuffle: Any) -> None:
    made = [Entry(f"{i}", stage, kind, q) for i, (stage, kind, _, q) in enumerate(entries)]
    mixed = list(made)
    shuffle.shuffle(mixed)
    assert totals_of(made) == totals_of(mixed)


WRITER = """
import sys
from pathlib import Path
from mmupt.ledger.book import Ledger, entry
ledger = Ledger(Path(sys.argv[1]))
new = sum(ledger.book(entry("round-1/audit", f"v{i}", "review_seconds", i)) for i in range(20))
print(new)
"""


def test_processes_that_book_the_same_at_once_book_it_once(tmp_path: Path) -> None:
    place = tmp_path / "project.db"
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(place)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    new = [int(one.communicate()[0]) for one in running]
    assert sum(new) == 20
    assert Ledger(place).totals()["round-1/audit"]["review_seconds"].quantity == sum(range(20))


# Verdicts


def verdict(key: str, unit: str, kind: Any, seconds: float, reviewer: str = "mina") -> Verdict:
    return Verdict(key, "round-1", unit, reviewer, kind, seconds=seconds, time="")


def test_review_time_grows_with_the_verdicts(ledger: Ledger) -> None:
    verdicts = [verdict("k1", "u1", "accept", 8.0), verdict("k2", "u2", "skip", 2.0)]
    assert ledger.book_all(review_entries("round-1/audit", verdicts)) == 3
    verdicts += [
        verdict("k3", "u1", "reject", 5.0, "kenji"),  # the same label again
        verdict("k4", "u2", "unsure", 4.0),
        verdict("k5", "u2", "undo", 1.0),
    ]
    assert ledger.book_all(review_entries("round-1/audit", verdicts)) == 4
    totals = ledger.totals()["round-1/audit"]
    assert totals["review_seconds"].quantity == 8 + 2 + 5 + 4 + 1
    assert totals["audited_labels"].quantity == 2


# Seconds and tokens


def step(number: int, seconds: float, tokens: int = 10, stage: str = "round-1") -> Event:
    return {
        "type": "grpo_step",
        "stage": stage,
        "step": number,
        "seconds": seconds,
        "tokens": tokens,
    }


def started(stage: str = "round-1", kind: str = "stage_started") -> Event:
    return {"type": kind, "stage": stage, "step": 0}


def finished(seconds: float, stage: str = "round-1") -> Event:
    return {"type": "stage_finished", "stage": stage, "seconds": seconds, "labels_used": 0}


def evaluated(seconds: float | None, stage: str = "round-1", **more: Any) -> Event:
    metrics = {"n": 600, "k": 8, "length": 8.5, "seconds": seconds}
    return {"type": "evaluated", "stage": stage, "metrics": metrics, **more}


def test_a_stage_counts_from_its_start_to_its_end() -> None:
    events = [started(), step(1, 2.0), step(2, 3.0), finished(9.0), evaluated(4.0)]
    assert compute_of(events, "round-1", "train") == Compute(9.0, 20)
    assert compute_of(events, "round-1", "evaluate") == Compute(4.0, 600 * 8 * 8.5)
    assert compute_of(events, "round-1") == Compute(13.0, 20 + 40_800)
    assert compute_of(events, "round-2") == Compute(0.0, 0)


def test_steps_that_were_done_again_were_paid_for_again() -> None:
    look = {"type": "guard_look", "stage": "round-1", "step": 0, "seconds": 5.0}
    events = [
        started(), look, step(1, 2.0), step(2, 2.5), step(3, 2.0),  # killed here
        started(kind="run_resumed"), step(2, 3.0), step(3, 2.0),  # and here
        started(kind="run_resumed"), step(3, 2.0), step(4, 2.0), finished(7.0),
    ]  # fmt: skip
    # 5 + 2 + 2.5 + 2, then 3 + 2, then all 7 seconds of the attempt that came to its end
    assert compute_of(events, "round-1") == Compute(11.5 + 5.0 + 7.0, 70)


def test_a_stage_under_way_counts_what_it_told() -> None:
    assert compute_of([started(), step(1, 2.0)], "round-1") == Compute(2.0, 10)


def test_evaluations_within_a_round_are_in_its_time() -> None:
    inner = evaluated(3.0, interim=True)
    events = [started(), step(1, 2.0), inner, finished(6.0)]
    assert compute_of(events, "round-1", "train") == Compute(6.0, 10 + 40_800)
    # killed after it: what it took is known
    assert compute_of(events[:3], "round-1", "train").seconds == 5.0


def test_other_stages_and_methods_are_kept_apart() -> None:
    events: list[Event] = [
        started("sft"),
        {"type": "sft_step", "stage": "sft", "step": 1, "seconds": 1.0, "tokens": 265},
        finished(1.5, "sft"),
        started("arm"),
        {"type": "lmsi_step", "stage": "arm", "step": 1, "seconds": 4.0, "tokens": 30},
    ]
    assert compute_of(events, "sft") == Compute(1.5, 265)
    assert compute_of(events, "arm") == Compute(4.0, 30)


def test_figures_that_are_none_count_nothing() -> None:
    odd: list[Any] = [
        None, [], {"type": "grpo_step"}, {"stage": "round-1"}, {"stage": "round-1", "type": 7},
        step(1, None), step(2, -1.0), step(3, float("inf")), step(4, "9"), step(5, True),  # type: ignore[arg-type]
        step(6, 10**400), {"type": "evaluated", "stage": "round-1", "metrics": None},
    ]  # fmt: skip
    assert compute_of(odd, "round-1") == Compute(0.0, 60)


# Energy


def zone(root: Path, name: str, called: str, microjoules: int, most: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{called}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_packages_and_memory_are_added_up(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 5)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 7)
    within = zone(tmp_path, "intel-rapl:0:0", "core", 50)
    board = zone(tmp_path, "intel-rapl:2", "psys", 50)
    twin = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 100)
    (tmp_path / "intel-rapl").mkdir()
    meter = EnergyMeter(tmp_path)
    assert meter.joules == 0.0
    for path, reading in ((first, 600), (second, 25), (memory, 37)):
        path.write_text(f"{reading}\n")
    for path in (within, board, twin):
        path.write_text("999999\n")
    meter.read()
    assert meter.joules == pytest.approx((500 + 20 + 30) / 1e6)


def test_a_counter_begins_again_at_zero(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 900_000, most=1_000_000)
    meter = EnergyMeter(tmp_path)
    for reading in (950_000, 30_000, 20_000):
        path.write_text(f"{reading}\n")
        meter.read()
    # 50,000, then to the end and 30,000 on, then once round less 10,000
    assert meter.joules == pytest.approx((50_000 + 80_000 + 990_000) / 1e6)


def test_what_is_used_while_entered_is_counted(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    meter = EnergyMeter(tmp_path)
    path.write_text("400\n")  # before it begins
    with meter:
        path.write_text("2400\n")
    assert meter.joules == pytest.approx(2000 / 1e6)


def test_without_counters_energy_is_unknown_and_not_zero(tmp_path: Path) -> None:
    with EnergyMeter(tmp_path / "nowhere") as meter:
        pass
    assert meter.joules is None
    zone(tmp_path, "intel-rapl:0", "package-0", 100).write_text("no number")
    assert EnergyMeter(tmp_path).joules is None


def test_a_part_is_never_taken_for_the_whole(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    hidden = zone(tmp_path, "intel-rapl:1", "package-1", 100)
    meter = EnergyMeter(tmp_path)
    path.write_text("200\n")
    hidden.unlink()
    meter.read()
    assert meter.joules is None
    assert EnergyMeter(tmp_path).joules is None


def energy(joules: float, seconds: float) -> Event:
    return {"type": "energy", "stage": "round-1", "joules": joules, "seconds": seconds}


def test_measured_energy_comes_first_then_watts_then_nothing() -> None:
    compute = Compute(100.0, 0)
    events = [energy(3000.0, 60.0), energy(2000.0, 40.0)]
    assert energy_of(events, "round-1", compute, 65.0) == Energy(
        5000.0, "measured: RAPL, processor and memory"
    )
    assert energy_of(events[:1], "round-1", compute) == Energy(
        3000.0, "measured: RAPL, processor and memory, 60.0 of 100.0 s"
    )
    assert energy_of([], "round-1", compute, 65.0) == Energy(6500.0, "estimated: 65 W x 100.0 s")
    assert energy_of(events, "sft", compute) == Energy(None, "not available")


def test_a_gpu_is_not_seen_by_the_processor_s_counters() -> None:
    compute, events = Compute(100.0, 0), [energy(5000.0, 100.0)]
    assert energy_of(events, "round-1", compute, 300.0, gpu=True).joules == 30_000.0
    assert energy_of(events, "round-1", compute, gpu=True) == Energy(
        5000.0, "measured: RAPL, processor and memory, without the GPU"
    )


def test_a_stage_is_measured_into_its_events_and_booked(tmp_path: Path, ledger: Ledger) -> None:
    path = zone(tmp_path / "cap", "intel-rapl:0", "package-0", 100, most=10**12)
    log = EventLog(tmp_path / "events.jsonl")
    with suppress(KeyError), measured(log, "round-1/train", tmp_path / "cap"):
        path.write_text("4000100\n")
        raise KeyError  # what an attempt took that failed was used up too
    with measured(log, "round-1/train", tmp_path / "cap"):
        path.write_text("9000100\n")
        log.emit("stage_finished", stage="round-1", seconds=0.0)
    with measured(log, "round-1/evaluate", tmp_path / "nowhere"):
        log.emit("evaluated", stage="round-1", metrics=evaluated(4.0)["metrics"])
    events = list(read_events(log.path))
    assert [e["joules"] for e in events if e["type"] == "energy"] == [4.0, 5.0]
    for part in ("train", "evaluate"):
        assert ledger.book_all(spent_entries(events, f"round-1/{part}", "hash")) > 0
        assert ledger.book_all(spent_entries(events, f"round-1/{part}", "hash")) == 0
    totals = ledger.totals()
    assert totals["round-1/train"]["energy_joules"].quantity == 9.0
    assert totals["round-1/evaluate"] == {
        "compute_seconds": Total(4.0),
        "tokens": Total(40_800.0, ("counted",)),
    }
    estimated = spent_entries(events, "round-1/evaluate", "hash", watts=50)
    assert estimated[2].quantity == 200.0
    assert estimated[2].how == "estimated: 50 W x 4.0 s"
    with pytest.raises(InputError, match="parts train and evaluate"):
        spent_entries(events, "round-1/audit", "hash")


def test_events_of_a_file_can_be_read(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for event in (started(), step(1, 2.0), energy(50.0, 2.0)):
        log.emit(event.pop("type"), **event)
    with log.path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(step(2, 2.0))[:20])  # killed while it wrote
    events = list(read_events(log.path))
    assert compute_of(events, "round-1") == Compute(2.0, 10)
    assert energy_of(events, "round-1", Compute(2.0, 10)).joules == 50.0
