"""Figures of runs in trackers: what is sent, once, and that no tracker ends a run."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mmupt.config import Config, dump_config, load_config
from mmupt.errors import ConfigError, RunFolderError
from mmupt.events import EventLog, read_events
from mmupt.runs import RunFolder, open_run
from mmupt.trackers.figures import Reader, settings
from mmupt.trackers.send import check_trackers, tracked

tracking = pytest.importorskip("accelerate.tracking")

STEP = {"stage": "round-1", "vote_share": 0.5, "loss": float("nan"), "engine": "trl", "kept": 1}
FINDING = {
    "stage": "round-1", "step": 2, "rule": "top_answer", "failure": "collapse", "severity": "stop",
    "figure": 0.9, "bound": 0.25, "evidence": "SECRET is answered by 90%", "action": "stop",
}  # fmt: skip


class Book:
    """What stands in for a tracker's run: what was logged, and alerts."""

    def __init__(self) -> None:
        self.logged: list[tuple[dict[str, float], int | None]] = []
        self.alerts: list[dict[str, str]] = []
        self.config: dict[str, Any] = {}
        self.finished = 0

    def alert(self, title: str, text: str, level: str) -> None:
        self.alerts.append({"title": title, "text": text, "level": level})


class Fake(tracking.GeneralTracker):  # type: ignore[misc]
    """A tracker of a user's own."""

    name = "fake"
    requires_logging_directory = False
    book = Book()

    def __init__(self, run_name: str, **kwargs: Any) -> None:
        super().__init__()
        self.project = run_name

    @property
    def tracker(self) -> Book:
        return type(self).book

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.book.config = values

    def log(self, values: dict[str, float], step: int | None = None, **kwargs: Any) -> None:
        sys.stdout.write("chatter\n")
        self.book.logged.append((values, step))

    def finish(self) -> None:
        self.book.finished += 1


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Book:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "fake", Fake)
    monkeypatch.setattr(Fake, "book", Book())
    return Fake.book


def config_with(*names: str) -> Config:
    return Config.model_validate({"trackers": {"report_to": names}})


def send(root: Path, events: list[dict[str, Any]], *names: str) -> None:
    log = EventLog(root / "events.jsonl")
    with tracked(log, config_with(*names), RunFolder(root)):
        for event in events:
            log.emit(**{"event_type": "grpo_step", **event})
        log.tell("evaluation_progress", stage="round-1", done=3, total=4)


def step(number: int, **more: Any) -> dict[str, Any]:
    return {**STEP, "step": number, **more}


def test_figures_go_out_as_stage_and_figure(
    book: Book, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = {"greedy": 0.75, "greedy_ci": [0.7, 0.8], "n": 200, "name": "SECRET"}
    send(
        tmp_path,
        [
            {"event_type": "sft_step", "stage": "sft", "step": 1, "loss": 2.0, "time": "later"},
            {"event_type": "guard_look", "stage": "round-1", "step": 0, "support": 0.25,
             "top_answer": "SECRET"},
            step(1),
            {"event_type": "evaluated", "stage": "round-1", "step": 1, "interim": True,
             "metrics": {"greedy": 0.5}},
            {"event_type": "evaluated", "stage": "round-1", "metrics": metrics},
            {"event_type": "vote", "stage": "round-1", "step": 1, "share": 0.1},
        ],
        "fake",
    )  # fmt: skip
    assert book.logged == [
        ({"sft/loss": 2.0}, 1),
        ({"round-1/guard/support": 0.25}, 0),
        ({"round-1/vote_share": 0.5, "round-1/kept": 1.0}, 1),
        ({"round-1/interim/greedy": 0.5}, 1),
        ({"round-1/eval/greedy": 0.75, "round-1/eval/n": 200.0}, 1),
    ]
    assert "SECRET" not in str(vars(book))
    assert book.finished == 1
    assert capsys.readouterr().out == ""  # what a tracker prints would spoil --json
    assert all(e["type"] != "tracker_failed" for e in read_events(tmp_path / "events.jsonl"))


def test_findings_and_stops_are_alerts_without_answers(book: Book, tmp_path: Path) -> None:
    stop = {"event_type": "best_checkpoint", "stage": "round-1", "step": 1, "last_step": 2,
            "stopped_by": ["top_answer"], "evidence": ["SECRET"]}  # fmt: skip
    send(tmp_path, [{"event_type": "guard_finding", **FINDING}, stop], "fake")
    assert book.logged == [
        ({"round-1/guard/finding/top_answer": 1.0}, 2),
        ({"round-1/guard/stopped": 1.0}, 2),
    ]
    assert [(a["title"], a["level"]) for a in book.alerts] == [
        ("round-1: top_answer", "ERROR"), ("round-1 stopped", "ERROR"),
    ]  # fmt: skip
    assert "0.9 against 0.25" in book.alerts[0]["text"]
    assert "update 2, kept is update 1" in book.alerts[1]["text"]
    assert "SECRET" not in str(book.alerts)


def test_a_resumed_run_sends_no_step_twice(book: Book, tmp_path: Path) -> None:
    send(tmp_path, [step(1), step(2), step(3)], "fake")
    with (tmp_path / "events.jsonl").open("a") as file:  # killed before it was told
        file.write(json.dumps({"type": "grpo_step", "time": "t", **step(4, loss=None)}) + "\n")
    send(tmp_path, [step(3), step(4), step(5)], "fake")  # resumed after step 2
    assert [at for _, at in book.logged] == [1, 2, 3, 4, 5]
    send(tmp_path, [], "fake")
    assert len(book.logged) == 5


def test_a_run_goes_on_with_other_trackers(tmp_path: Path) -> None:
    """And with nothing else changed, be it a setting or the verb."""
    with open_run(tmp_path / "run", config_with("fake"), "train"):
        pass
    with open_run(tmp_path / "run", config_with(), "train"):
        pass
    other = config_with().model_copy(update={"seed": 1})
    with pytest.raises(RunFolderError, match="seed was 0, now 1"), \
            open_run(tmp_path / "run", other, "train"):  # fmt: skip
        pass
    with pytest.raises(RunFolderError, match="written by `mmupt train`"), \
            open_run(tmp_path / "run", config_with(), "sft"):  # fmt: skip
        pass


def test_a_stage_that_is_made_anew_is_told_anew(book: Book, tmp_path: Path) -> None:
    again = {"event_type": "step_discarded", "step": "round-1/train", "reason": "other rows"}
    send(tmp_path, [step(1), step(2), again, step(1, vote_share=0.9)], "fake")
    assert [at for _, at in book.logged] == [1, 2, 1]


@pytest.mark.parametrize("moment", ["start", "log"])
def test_a_tracker_that_fails_never_ends_a_run(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def fails(self: Fake, *_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host\nsecond line")

    with monkeypatch.context() as broken:
        broken.setattr(Fake, moment, fails)
        send(tmp_path, [step(1), step(2)], "fake")
    told = [e for e in read_events(tmp_path / "events.jsonl") if e["type"] == "tracker_failed"]
    assert [(e["tracker"], e["error"]) for e in told] == [
        ("fake", "ConnectionError: no route to host")
    ]
    send(tmp_path, [step(3)], "fake")  # it is back, and gets what it missed
    assert [at for _, at in book.logged] == [1, 2, 3]


def test_what_is_missing_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"no tracker 'wandbb'; known here: .*tensorboard"):
        check_trackers(config_with("wandbb"))
    monkeypatch.setattr(tracking, "_available_trackers", [])
    with pytest.raises(ConfigError, match=r"tensorboard is not installed: pip install 'mmupt\["):
        check_trackers(config_with("tensorboard"))
    with pytest.raises(ConfigError, match="no subclass of accelerate's GeneralTracker"):
        check_trackers(config_with("pathlib:Path"))
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ConfigError, match="needs accelerate, which is not installed"):
        check_trackers(config_with("tensorboard"))


@pytest.mark.skipif(find_spec("dvclive") is not None, reason="dvclive is installed")
@pytest.mark.parametrize(
    ("name", "message"),
    [("wandbb", "no tracker 'wandbb'"), ("dvclive", "dvclive is not installed")],
)
def test_the_command_line_says_it_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    """In a process of its own, where nothing has prepared accelerate."""
    done = subprocess.run(
        [sys.executable, "-m", "mmupt.cli", "demo", "--out", str(tmp_path / "run"),
         "--set", f"trackers.report_to={name}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"mmupt: trackers.report_to: {message}")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_settings_hold_no_paths_and_no_wording() -> None:
    config = load_config(
        None,
        ["model.path=/secret/model", "data.test=/secret/t.jsonl", "train.stop_strings=[secret]",
         "consensus.votes=/secret/v", "server.url=http://secret", "train.beta=0.25"],
    )  # fmt: skip
    told = settings(config.model_dump(mode="json"))
    assert told["train.beta"] == 0.25
    assert told["consensus.strategy"] == "majority"
    assert told["consensus.min_share"] == 0.7
    assert "secret" not in str(told)


def test_report_to_as_in_transformers() -> None:
    for value, names in (("wandb", ("wandb",)), ("none", ()), (["a", "a", "b"], ("a", "b"))):
        config = Config.model_validate({"trackers": {"report_to": value}})
        assert config.trackers.report_to == names
    assert "report_to: []" in dump_config(Config())


def test_events_from_elsewhere_are_no_messages() -> None:
    reader = Reader()
    odd: tuple[dict[str, Any], ...] = (
        {}, {"type": "grpo_step"}, {"type": "grpo_step", "stage": 3, "step": 1},
        {"type": "grpo_step", "stage": "a", "step": "x", "loss": 1.0},
        {"type": "grpo_step", "stage": "a", "step": 1, "loss": True},
    )  # fmt: skip
    assert [reader.read(event) for event in odd] == [None] * 5


def test_tensorboard_files_hold_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    finding = {"event_type": "guard_finding", **FINDING}
    send(tmp_path, [step(1), step(2, vote_share=0.75), finding], "tensorboard")
    read = EventAccumulator(str(tmp_path / "trackers" / "mmupt"))
    read.Reload()
    assert [(s.step, s.value) for s in read.Scalars("round-1/vote_share")] == [(1, 0.5), (2, 0.75)]
    assert [s.step for s in read.Scalars("round-1/guard/finding/top_answer")] == [2]
    assert "round-1/guard/alerts/text_summary" in read.Tags()["tensors"]
