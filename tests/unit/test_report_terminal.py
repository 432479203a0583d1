"""`mmupt watch` and `mmupt show`: what they say of a run, live and afterwards."""

from __future__ import annotations

import json
import math
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from mmupt.errors import InputError, RunFolderError
from mmupt.report.live import Tail, Watched, follow, snapshot, sparkline
from mmupt.report.sample import blocks, sample_figures, sample_view, verdict_line
from mmupt.words import LANGUAGES


def step(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "grpo_step", "stage": "round-1", "step": number, "vote_share": number / 10,
            "seconds": 2.0, **more}  # fmt: skip


STARTED = {"type": "stage_started", "stage": "round-1", "step": 0, "total_steps": 10}


def watched_of(*events: dict[str, Any]) -> Watched:
    watched = Watched()
    for event in events:
        watched.tell(event)
    return watched


def said(watched: Watched, lang: str = "en", width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(snapshot(watched, "run", width, lang))
    return capture.get()


# --- watch ------------------------------------------------------------------------------------


def test_sparkline_by_hand() -> None:
    assert sparkline([0.0, 0.5, 1.0], 10, 0, 1) == "▁▅█"
    assert sparkline([0, 1, 0, 1], 2, 0, 1) == "▅▅"  # means of pairs
    assert sparkline([0.2, math.nan, 0.9], 3, 0, 1) == "▂ █"
    assert sparkline([3.0, 3.0], 5, 3, 3) == "▁▁"
    assert sparkline([], 5, 0, 1) == ""
    assert len(sparkline(list(range(1000)), 40, 0, 999)) == 40


def test_time_left_is_the_pace_of_the_latest_steps() -> None:
    assert watched_of(STARTED, step(1), step(2), step(3, seconds=5.0)).left == 7 * 3.0
    assert math.isnan(watched_of(STARTED).left)
    assert math.isnan(watched_of(STARTED, step(10)).left)
    assert math.isnan(watched_of(STARTED, step(1), {"type": "run_finished"}).left)


def test_a_resumed_run_forgets_the_steps_it_does_again() -> None:
    resumed = {"type": "run_resumed", "stage": "round-1", "step": 1, "total_steps": 10}
    watched = watched_of(STARTED, step(1), step(2), step(3), {"type": "run_finished"}, resumed)
    assert list(watched.steps["round-1"]) == [1]
    assert not watched.finished
    assert "round 1: step 1 of 10" in said(watched)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("width", [50, 80, 160])
def test_the_view_fits_and_tells_signals_and_events(lang: str, width: int) -> None:
    finding = {"type": "guard_finding", "stage": "round-1", "step": 2, "rule": "support-lost",
               "evidence": "support fell \x1b[31m", "time": "2026-03-01T09:30:12+00:00"}  # fmt: skip
    evaluated = {"type": "evaluated", "stage": "sft", "metrics": {"greedy": 0.731, "mean": 0.672}}
    text = said(watched_of(STARTED, evaluated, step(1), step(7), finding), lang, width)
    assert all(len(line) <= width for line in text.splitlines())
    for part in ("70.0%", "73.1%", "09:30:12", "fell", "6"):
        assert part in text, part
    assert ("guard round 1" if lang == "en" else "監視 ラウンド1") in text
    assert "\x1b" not in text


def test_a_step_without_updates_is_named_while_it_is_at_work() -> None:
    started = {"type": "step_started", "step": "round-1/evaluate"}
    watched = watched_of(STARTED, step(10), started)
    assert "at work: round 1 / evaluate" in said(watched)
    assert "実行中：ラウンド1" in said(watched, "ja")
    watched.tell({"type": "step_finished", "step": "round-1/evaluate"})
    assert "no step is under way" in said(watched)
    watched.tell({"type": "step_started", "step": "pilot"})
    watched.tell({"type": "run_started"})  # it was killed there, and begins anew
    assert "no step is under way" in said(watched)


def test_an_empty_run_is_no_error() -> None:
    assert "no training step yet" in said(Watched())


def test_the_tail_waits_for_the_rest_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_text(json.dumps(STARTED) + "\n" + '{"type": "grpo')
    assert tail.read() == [STARTED]
    with path.open("a") as file:
        file.write('_step", "stage": "x"}\nno json\n[1]\n')
    assert tail.read() == [{"type": "grpo_step", "stage": "x"}]
    assert tail.read() == []
    path.write_text('{"type": "new"}\n')  # a shorter file under the same name
    assert tail.read() == [{"type": "new"}]


def test_without_a_terminal_a_run_is_shown_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunFolderError, match="no such file; expected the folder of a run"):
        follow(tmp_path, "en")
    (tmp_path / "events.jsonl").write_text(json.dumps(STARTED) + "\n" + json.dumps(step(4)) + "\n")
    follow(tmp_path, "en")
    assert "step 4 of 10" in capsys.readouterr().out


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_a_key_leaves_the_live_view(tmp_path: Path, key: bytes) -> None:
    """On a real terminal: it follows the file, and the key ends it with the last state shown."""
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(STARTED) + "\n" + json.dumps(step(4)) + "\n")
    main, side = pty.openpty()
    code = f"from pathlib import Path; from mmupt.report.live import follow; follow(Path({str(tmp_path)!r}), 'en')"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=side, stdout=side, stderr=side,
        env={**os.environ, "TERM": "xterm-256color"}, start_new_session=True,
        preexec_fn=_own_terminal,
    )  # fmt: skip
    os.close(side)
    shown = _until(main, b"step 4 of 10")
    with path.open("a") as file:
        file.write(json.dumps(step(5)) + "\n")
    shown += _until(main, b"step 5 of 10")
    os.write(main, key)
    while _chunk(main):
        pass
    assert child.wait(timeout=30) == 0
    os.close(main)


def _own_terminal() -> None:
    """Makes the side the child's controlling terminal, so that Ctrl-C reaches it."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _until(file: int, text: bytes) -> bytes:
    got, end = b"", time.monotonic() + 60
    while text not in got:
        assert time.monotonic() < end, got[-500:]
        got += _chunk(file)
    return got


def _chunk(file: int) -> bytes:
    try:
        ready, _, _ = select.select([file], [], [], 5)
        return os.read(file, 65536) if ready else b""
    except OSError:  # the other side is closed
        return b""


# --- show -------------------------------------------------------------------------------------


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "rollouts").mkdir(parents=True)
    Image.new("RGB", (4, 4), (255, 0, 0)).save(folder / "red.png")
    rows = [
        {"sample_id": name, "stage": "round-1", "step": number, "prompt": "<image>Which digit?",
         "images": ["red.png", "../secret.png"], "completions": [f"It is \x1b[31m{number}.", "Hm."],
         "answers": ["7", "9"], "teacher_answers": ["7", "7", "9", None],
         "classes": [0, 0, 1, None], "pseudo_label": "7", "share": 0.5, "tied": False,
         "kept": True, "rewards": [1.0, 0.0], "anchor": name == "anchor"}
        for number, name in ((1, "a"), (2, "a"), (2, "anchor"))
    ]  # fmt: skip
    for number in (1, 2):
        table = pa.Table.from_pylist([row for row in rows if row["step"] == number])
        path = folder / "rollouts" / f"round-1-{number:06d}.parquet"
        pq.write_table(table, path)
        os.utime(path, (number, number))
    (folder / "rollouts" / "round-1-000003.parquet").write_bytes(b"torn")
    return folder


VERDICT = {"audit": "round-1", "time": "2026-03-01T09:30:12+00:00", "reviewer": "Aoki",
           "kind": "correct", "answer": "9", "comment": "clearly"}  # fmt: skip


def shown(run_dir: Path, lang: str, colours: Any = None, verdicts: Any = (VERDICT,)) -> str:
    console = Console(width=80, color_system=colours, force_terminal=colours is not None)
    with console.capture() as capture:
        for part in sample_view(run_dir, "a", verdicts, console, lang):
            console.print(part, highlight=False)
    return capture.get()


def test_a_sample_is_shown_with_votes_responses_and_verdicts(run_dir: Path) -> None:
    text = shown(run_dir, "en")
    for part in (
        "round 1, step 2", "Which digit?", "7 ████████████ 2 (50.0%)", "9 ██████ 1 (25.0%)",
        "no answer ██████ 1 (25.0%)", "pseudo-label 7", "It is", "2 rollouts of it",
        "2026-03-01 09:30 UTC  Aoki: wrong; right is 9 clearly", "red.png",
        "../secret.png (no picture shown here)",
    ):  # fmt: skip
        assert " ".join(part.split()) in " ".join(text.split()), part
    assert "\x1b" not in text
    assert "まだ判定はありません" in shown(run_dir, "ja", verdicts=())


def test_a_terminal_with_all_colours_shows_the_picture(run_dir: Path) -> None:
    text = shown(run_dir, "en", "truecolor")
    assert "▀" in text
    assert "38;2;255;0;0" in text
    assert "▀" not in shown(run_dir, "en", "256")


def test_half_blocks_hold_two_pixels_each() -> None:
    image = Image.new("RGB", (2, 2))
    image.putdata([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)])
    text = blocks(image, 10)
    assert text.plain == "▀▀"
    styles = [str(span.style) for span in text.spans]
    assert styles == ["#ff0000 on #0000ff", "#00ff00 on #ffffff"]


def test_a_sample_as_json(run_dir: Path) -> None:
    found = sample_figures(run_dir, "a", [VERDICT])
    assert [one["step"] for one in found["rollouts"]] == [1, 2]
    assert found["rollouts"][1]["votes"] == ["7", "7", "9", None]
    assert found["verdicts"] == [VERDICT]


def test_an_unknown_sample_is_refused_and_an_anchor_is_no_vote(run_dir: Path) -> None:
    for name in ("nobody", "anchor"):
        with pytest.raises(InputError, match="no rollout and no verdict knows"):
            sample_figures(run_dir, name, ())


def test_a_hostile_verdict_is_one_line() -> None:
    line = verdict_line(VERDICT | {"comment": "a\nb\x1b[2J", "kind": "x\ny"}, "en")
    assert "\n" not in line
    assert "\x1b" not in line
