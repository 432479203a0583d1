"""A run on the terminal while it is at work: curves, signals, events, time left."""

from __future__ import annotations

import math
import os
import select
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mmupt.errors import RunFolderError
from mmupt.report.guard_words import guard_words
from mmupt.report.read import Event, event_of, step_of
from mmupt.report.text import clean, duration, percent, stage_title, words
from mmupt.report.values import Kind, mapping, number, stage_view

_BLOCKS = "▁▂▃▄▅▆▇█"
_SIGNALS = ("vote_share", "kept", "unanimous", "entropy", "kl", "length", "loss")
_SHARES = ("vote_share", "kept", "unanimous")
_EVENTS = 8
_RECENT = 20
"""Steps whose mean duration says how long the rest takes."""
_EVERY = 0.5
"""Seconds between two looks at the file."""
_MOST_BYTES = 64 << 20
"""Of a file that is joined late; earlier events of a larger one are passed over."""


@dataclass
class Tail:
    """Follows an append-only file of events; half a line waits for its rest."""

    path: Path
    _offset: int = 0
    _rest: bytes = b""

    def read(self) -> list[Event]:
        """The events that are new since the last call."""
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._offset:  # another file under the same name
                    self._offset, self._rest = 0, b""
                self._offset = max(self._offset, size - _MOST_BYTES)
                file.seek(self._offset)
                new = file.read()
        except OSError:
            return []
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        return [event for line in lines if (event := event_of(line)) is not None]


@dataclass
class Watched:
    """What is known of a run so far.

    Attributes:
        steps: the steps of each stage, by number; a repeated one counts once.
        total: how many steps a stage has.
        stage: that is at work, or was last.
        doing: the step of a project that is at work, such as `round-1/evaluate`; empty: none.
        finished: whether the run has ended.
        notable: events worth a line, newest last.
        accuracy: the last full evaluation by stage.
    """

    steps: dict[str, dict[int, Event]] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    stage: str = ""
    doing: str = ""
    finished: bool = False
    notable: list[Event] = field(default_factory=list)
    accuracy: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def tell(self, event: Event) -> None:
        """Take in one event."""
        kind, stage = event["type"], str(event.get("stage", ""))
        if kind in ("run_started", "run_resumed"):
            self.finished = False
        elif kind == "run_finished":
            self.finished = True
        if kind == "step_started":
            self.doing = clean(str(event.get("step")), 80)
        elif kind in ("step_finished", "run_started", "run_finished"):
            self.doing = ""
        if kind in ("stage_started", "run_resumed") and step_of(event.get("total_steps")):
            self.stage, self.total[stage] = stage, step_of(event.get("total_steps"))
            known = self.steps.setdefault(stage, {})
            for step in [one for one in known if one > step_of(event.get("step"))]:
                del known[step]  # a resumed run does them again
        elif kind in ("sft_step", "grpo_step"):
            self.stage = stage
            self.steps.setdefault(stage, {})[step_of(event.get("step"))] = event
        elif kind == "evaluated" and event.get("interim") is not True:
            self.accuracy[stage] = mapping(event.get("metrics"))
        if kind in _TOLD:
            self.notable = [*self.notable, event][-_EVENTS:]

    @property
    def left(self) -> float:
        """Seconds until the stage's last step, at the pace of its latest; NaN if unknown."""
        known = self.steps.get(self.stage, {})
        paces = [number(known[step].get("seconds")) for step in sorted(known)[-_RECENT:]]
        paces = [pace for pace in paces if not math.isnan(pace)]
        rest = self.total.get(self.stage, 0) - max(known, default=0)
        if self.finished or not paces or rest <= 0:
            return math.nan
        return rest * math.fsum(paces) / len(paces)


_TOLD = {
    "stage_started", "stage_finished", "evaluated", "guard_finding", "best_checkpoint",
    "gate_decided", "promoted", "halted", "run_finished", "run_resumed",
}  # fmt: skip


def follow(run_dir: Path, lang: str) -> None:
    """Show a run until `q` or Ctrl-C; where standard output is no terminal, once.

    Raises:
        RunFolderError: `run_dir` is no folder of a run.
    """
    path = run_dir / "events.jsonl"
    if not path.is_file():
        raise RunFolderError(f"{path}: no such file; expected the folder of a run")
    tail, watched, console = Tail(path), Watched(), Console()
    _take(tail, watched)
    if not console.is_terminal:
        console.print(snapshot(watched, run_dir.resolve().name, console.width, lang))
        return
    with _keys() as pressed, Live(console=console, auto_refresh=False, screen=True) as live:
        try:
            while True:
                view = snapshot(watched, run_dir.resolve().name, console.width, lang)
                leave = Text(words(lang)["watch_leave"], "dim")
                live.update(Group(view, leave), refresh=True)
                if pressed(_EVERY) in ("q", "Q", "\x03", "\x04"):
                    break
                _take(tail, watched)
        except KeyboardInterrupt:
            pass
    console.print(snapshot(watched, run_dir.resolve().name, console.width, lang))


def snapshot(watched: Watched, name: str, width: int, lang: str) -> Group:
    """A run as it stands, for a terminal of some width."""
    texts = words(lang)
    return Group(
        Text(clean(name, 80), "bold"),
        Text(_where(watched, texts, lang)),
        _curves(watched, max(16, min(72, width - 52)), texts),
        *_accuracies(watched, lang),
        Panel(
            Text("\n").join(_line(event, lang) for event in watched.notable)
            if watched.notable
            else Text("–"),
            title=texts["watch_events"],
            title_align="left",
            box=box.SQUARE,
            border_style="dim",
        ),
    )


def sparkline(values: Sequence[float], width: int, low: float, high: float) -> str:
    """Values as one row of blocks: each column is the mean of the values that fall into it.

    Args:
        values: in order; NaN is a gap.
        width: most columns.
        low, high: ends of the scale; equal ones draw a flat line.
    """
    columns = min(width, len(values))
    row = ""
    for column in range(columns):
        first, last = column * len(values) // columns, (column + 1) * len(values) // columns
        part = [value for value in values[first:last] if not math.isnan(value)]
        if not part:
            row += " "
            continue
        height = (math.fsum(part) / len(part) - low) / (high - low) if high > low else 0.0
        row += _BLOCKS[min(len(_BLOCKS) - 1, max(0, int(height * len(_BLOCKS))))]
    return row


def _take(tail: Tail, watched: Watched) -> None:
    for event in tail.read():
        watched.tell(event)


def _where(watched: Watched, texts: Mapping[str, str], lang: str) -> str:
    if watched.finished:
        return texts["watch_finished"]
    known, total = watched.steps.get(watched.stage, {}), watched.total.get(watched.stage, 0)
    title = stage_title(watched.stage, lang)
    if not watched.stage or max(known, default=0) >= total > 0:
        return _doing(watched.doing, texts, lang) if watched.doing else texts["watch_idle"]
    line = texts["watch_stage"].format(stage=title, step=max(known, default=0), total=total or "?")
    if not math.isnan(watched.left):
        left = texts["watch_left"].format(time=duration(watched.left, lang), stage=title)
        line = f"{line} · {left}"
    return line


def _doing(step: str, texts: Mapping[str, str], lang: str) -> str:
    """A step of a project that has no updates to count, such as `round-1/evaluate`."""
    stage, _, part = step.partition("/")
    title = stage_title(stage, lang)
    if part:
        title += f" / {texts.get(f'step_{part}', clean(part, 40))}"
    return texts["watch_doing"].format(step=title)


def _curves(watched: Watched, width: int, texts: Mapping[str, str]) -> Table | Text:
    known = watched.steps.get(watched.stage, {})
    events = [known[step] for step in sorted(known)]
    table = Table.grid(padding=(0, 1))
    rows = 0
    for key in _SIGNALS:
        values = [number(event.get(key)) for event in events]
        there = [value for value in values if not math.isnan(value)]
        if not there:
            continue
        share = key in _SHARES
        low, high = (0.0, 1.0) if share else (min(there), max(there))
        last = f"{percent(there[-1])}%" if share else f"{there[-1]:.4g}"
        ends = "" if share else f"{low:.3g} … {high:.3g}"
        table.add_row(
            texts[f"series_{key}"], Text(sparkline(values, width, low, high), "cyan"),
            Text(last, "bold", justify="right"), Text(ends, "dim"),
        )  # fmt: skip
        rows += 1
    return table if rows else Text(texts["watch_nothing"], "dim")


def _accuracies(watched: Watched, lang: str) -> list[Text]:
    """One line a stage: accuracy without and with sampling."""
    texts = words(lang)
    lines = []
    for stage, metrics in watched.accuracy.items():
        view = stage_view(stage, Kind.BASE, metrics)
        lines.append(
            Text(
                texts["accuracy_alt_stage"].format(
                    stage=stage_title(stage, lang),
                    **{key: percent(view.estimates[key].value)
                       for key in ("greedy", "mean", "majority")},
                )
            )
        )  # fmt: skip
    return lines


def _line(event: Event, lang: str) -> Text:
    """A notable event: its time, what it is, and what it says."""
    time = clean(str(event.get("time", "")), 40)[11:19]
    said = mapping(event.get("explained")) or mapping(event.get("why"))
    detail = str(said.get(lang) or event.get("verdict") or "")
    if event["type"] == "guard_finding":
        detail = guard_words(event, lang)
    if event["type"] in ("best_checkpoint", "run_resumed", "guard_finding"):
        detail = f"{step_of(event.get('step'))} {detail}"
    stage = stage_title(str(event["stage"]), lang) if event.get("stage") else ""
    name = words(lang)[f"event_{event['type']}"]
    return Text.assemble(
        (f"{time}  ", "dim"),
        (
            f"{name} ",
            "red" if event["type"] == "guard_finding" else "",
        ),
        (f"{stage} ", "bold"),
        clean(detail, 400),
    )


@contextmanager
def _keys() -> Iterator[Any]:
    """Reads single keys while it is open; the terminal is as before afterwards."""
    import termios
    import tty

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin] if there else [], [], [], seconds)
        return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""

    there = sys.stdin.isatty()
    if not there:
        yield pressed
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
