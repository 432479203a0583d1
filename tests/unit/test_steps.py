"""A step is done once, and known by what it was made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mmupt.errors import RefusedError, RunFolderError
from mmupt.events import EventLog, read_events
from mmupt.pipeline import steps as module
from mmupt.pipeline.steps import Steps, path_of, read_record

INPUTS: dict[str, Any] = {"model": "a" * 64, "train.beta": 0.1, "sizes": [1, 2]}


class Bench:
    """Steps in a folder, with a count of what was done."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps = Steps(root / "stages", EventLog(root / "events.jsonl"))
        self.worked = self.discarded = 0
        self.breaks = False

    def do(
        self,
        inputs: Mapping[str, Any] = INPUTS,
        step: str = "round-1/train",
        *,
        renew: bool = False,
    ) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            self.worked += 1
            if self.breaks:
                raise KeyboardInterrupt
            return {"made": self.worked}

        def discard() -> None:
            self.discarded += 1

        return self.steps.do(step, inputs, work, discard=discard, renew=renew)

    def half_done(self, inputs: Mapping[str, Any] = INPUTS) -> None:
        """As a kill within the work leaves it."""
        self.breaks = True
        with pytest.raises(KeyboardInterrupt):
            self.do(inputs)
        self.breaks, self.worked = False, 0

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [e for e in read_events(self.root / "events.jsonl") if e["type"] == kind]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_finished_step_gives_back_what_it_left(bench: Bench) -> None:
    assert bench.do() == {"made": 1}
    assert bench.do() == {"made": 1}
    assert (bench.worked, bench.discarded) == (1, 0)
    assert [len(bench.events(f"step_{kind}")) for kind in ("started", "finished")] == [1, 1]
    record = bench.steps.record("round-1/train")
    assert record is not None
    assert (record.state, record.outputs, record.inputs) == ("finished", {"made": 1}, INPUTS)
    assert record.started <= record.finished
    assert path_of(bench.root / "stages", "round-1/train").name == "round-1.train.json"


def test_steps_do_not_know_each_other(bench: Bench) -> None:
    assert bench.do(step="sft") == {"made": 1}
    assert bench.do(step="sft/evaluate") == {"made": 2}
    assert bench.do(step="sft") == {"made": 1}
    assert bench.steps.record("round-1/train") is None


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"train.beta": 0.2}, ["another train.beta", "was 0.1, now 0.2"]),
        ({"model": "b" * 64}, ["another model", "a" * 40, "b" * 40]),
        ({"lora.r": 8}, ["another lora.r", "was None, now 8"]),
        ({"train.beta": 0.2, "sizes": [1, 3]}, ["another train.beta", "and 1 more"]),
    ],
)
def test_other_inputs_are_refused_by_name(
    bench: Bench, changed: dict[str, Any], parts: list[str]
) -> None:
    bench.do()
    with pytest.raises(RefusedError) as error:
        bench.do({**INPUTS, **changed})
    for part in (str(bench.root), "round-1/train", *parts):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert (bench.worked, bench.discarded) == (1, 0)
    assert bench.do() == {"made": 1}  # and with the former ones it stands as it stood


def test_a_missing_input_is_named_too(bench: Bench) -> None:
    bench.do()
    with pytest.raises(RefusedError, match=r"another train\.beta"):
        bench.do({key: value for key, value in INPUTS.items() if key != "train.beta"})


def test_renewed_with_other_inputs(bench: Bench) -> None:
    bench.do(renew=True)
    other = {**INPUTS, "test": "c" * 64}
    assert bench.do(other, renew=True) == {"made": 2}
    assert bench.do(other, renew=True) == {"made": 2}
    assert (bench.worked, bench.discarded) == (2, 1)
    (event,) = bench.events("step_discarded")
    assert "another test" in event["reason"]


def test_half_done_goes_on(bench: Bench) -> None:
    bench.half_done()
    record = bench.steps.record("round-1/train")
    assert record is not None
    assert (record.state, record.finished, record.outputs) == ("running", "", {})
    assert bench.do() == {"made": 1}
    assert bench.discarded == 0
    after = bench.steps.record("round-1/train")
    assert after is not None
    assert (after.started, after.identity) == (record.started, record.identity)


def test_half_done_of_something_else_is_thrown_away(bench: Bench) -> None:
    bench.half_done()
    assert bench.do({**INPUTS, "train.beta": 0.2}) == {"made": 1}
    assert bench.discarded == 1
    (event,) = bench.events("step_discarded")
    assert "train.beta" in event["reason"]
    record = bench.steps.record("round-1/train")
    assert record is not None
    assert record.inputs["train.beta"] == 0.2


def test_half_done_by_another_version_of_the_code(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.half_done()
    monkeypatch.setattr(module, "__version__", "9.9.9")
    assert bench.do() == {"made": 1}
    assert bench.discarded == 1
    (event,) = bench.events("step_discarded")
    assert "was begun by mmupt" in event["reason"]
    assert "this is 9.9.9" in event["reason"]


def test_finished_by_another_version_of_the_code_it_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.do()
    monkeypatch.setattr(module, "__version__", "9.9.9")
    assert bench.do() == {"made": 1}
    with pytest.raises(RefusedError, match=r"another train\.beta"):
        bench.do({**INPUTS, "train.beta": 1.0})


def test_inputs_are_compared_as_they_are_written(bench: Bench) -> None:
    """JSON has neither tuples nor infinities; both would look changed to the next run."""
    inputs = {"range": (0.0, math.inf), "nested": {"a": (1, (2, math.nan))}}
    bench.do(inputs)
    assert bench.do(inputs) == {"made": 1}
    assert bench.do(json.loads(json.dumps({"range": [0.0, None], "nested": {"a": [1, [2, None]]}})))
    assert bench.worked == 1


@pytest.mark.parametrize(
    "damage",
    [
        "", "{", "[]", "null", '"x"', "[" * 100_000, "\x00\xff",
        {"step": "sft"}, {"state": "done"}, {"inputs": None}, {"outputs": []}, {"finished": None},
        {"seconds": "1"}, {"seconds": True}, {"surplus": 1}, {"identity": 7},
    ],
)  # fmt: skip
def test_a_damaged_record_is_told(bench: Bench, damage: str | dict[str, Any]) -> None:
    bench.do()
    path = path_of(bench.root / "stages", "round-1/train")
    if isinstance(damage, dict):
        damage = json.dumps({**json.loads(path.read_text(encoding="utf-8")), **damage})
    path.write_bytes(damage.encode("latin-1"))
    with pytest.raises(RunFolderError) as error:
        read_record(bench.root / "stages", "round-1/train")
    assert str(path) in str(error.value)
    assert "restore it from a backup, or remove it" in str(error.value)
    with pytest.raises(RunFolderError):
        bench.do()
    assert bench.worked == 1
    path.unlink()  # as the message says
    assert bench.do() == {"made": 2}


def test_outputs_are_as_a_later_run_will_read_them(bench: Bench) -> None:
    first = bench.steps.do("x", {}, lambda: {"pair": (1, 2)}, discard=lambda: None)
    assert first == bench.steps.do("x", {}, dict, discard=lambda: None) == {"pair": [1, 2]}
