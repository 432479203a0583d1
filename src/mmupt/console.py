"""Live progress on the terminal: what is running, how far it is, how long it will take."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from mmupt.events import Event

_STAGES = {
    "en": {
        "base": "base model",
        "sft": "supervised fine-tuning",
        "supervised": "supervised GRPO (upper bound)",
        "published": "published recipe (contrast)",
        "round": "label-free round {n}",
        "evaluation": "evaluating {of}",
        "synthesis": "new questions",
        "writer": "fine-tuning the writer",
        "synthesis_figures": "{attempts}/{budget} attempts",
        "resumed": "resumed after step {step}",
        "whole": "whole run",
        "guard": "guard, after update {step}: {evidence}",
        "stopped": "guard: {of} ends after update {last}; kept is the checkpoint of update {step}",
        "tracker": "tracker {tracker} failed, the run goes on without it: {error}",
    },
    "ja": {
        "base": "ベースモデル",
        "sft": "教師ありファインチューニング",
        "supervised": "教師ありGRPO(上限)",
        "published": "論文どおりの手法(対照)",
        "round": "ラベルなしラウンド {n}",
        "evaluation": "評価中: {of}",
        "synthesis": "新しい質問",
        "writer": "質問を書くモデルのファインチューニング",
        "synthesis_figures": "試行 {attempts}/{budget}",
        "resumed": "ステップ {step} の後から再開",
        "whole": "全体",
        "guard": "監視(更新 {step} の後): {evidence}",
        "stopped": "監視: {of}を更新 {last} で停止し、更新 {step} のチェックポイントを採用",
        "tracker": "トラッカー {tracker} で失敗。学習はそのまま続きます: {error}",
    },
}


def stage_name(stage: str, lang: str) -> str:
    """A stage in words."""
    words = _STAGES[lang]
    if stage.startswith("round-"):
        return words["round"].format(n=stage.removeprefix("round-"))
    return words.get(stage, stage)


class LiveProgress:
    """A listener of events that draws a bar per stage; quiet when the output is no terminal's.

    Use as a context manager around the run.
    """

    def __init__(self, console: Console, lang: str = "en") -> None:
        self.lang = lang
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._work: dict[str, float] = {}
        self._whole: TaskID | None = None

    def __enter__(self) -> LiveProgress:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def __call__(self, event: Event) -> None:
        stage = str(event.get("stage", ""))
        match event["type"]:
            case "run_planned":
                self._plan(event["work"])
            case "run_finished" if self._whole is not None:
                self.progress.update(self._whole, completed=1000)
            case "stage_started" | "run_resumed":
                self._bar(stage, stage_name(stage, self.lang), event["total_steps"], event["step"])
                if event["type"] == "run_resumed":
                    note = _STAGES[self.lang]["resumed"].format(step=event["step"])
                    self.progress.console.print(
                        f"{stage_name(stage, self.lang)}: {note}", highlight=False
                    )
            case "sft_step":
                self._move(stage, event["step"], f"loss {event['loss']:.3f}")
            case "grpo_step":
                self._move(
                    stage,
                    event["step"],
                    f"share {event['vote_share']:.2f} kept {event['kept']:.2f}",
                )
            case "guard_finding":
                self._say("guard", "yellow", step=event["step"], evidence=event["evidence"])
            case "best_checkpoint" if event["stopped_by"]:
                of = stage_name(stage, self.lang)
                self._say("stopped", "red", of=of, last=event["last_step"], step=event["step"])
            case "tracker_failed":
                self._say("tracker", "yellow", tracker=event["tracker"], error=event["error"])
            case "synthesis_progress":
                self._synthesis(event)
            case "evaluation_started":
                of = _STAGES[self.lang]["evaluation"].format(of=stage_name(stage, self.lang))
                self._bar(f"evaluate {stage}", of, event["total"], 0)
            case "evaluation_progress":
                self._move(f"evaluate {stage}", event["done"], "")
            case "evaluated" if not event.get("interim"):
                metrics = event["metrics"]
                self._move(
                    f"evaluate {stage}",
                    metrics["n"],
                    f"{metrics['greedy']:.1%} / {metrics['mean']:.1%}",
                )

    def _synthesis(self, event: Event) -> None:
        """Questions that are kept, as far as the attempts that may be spent on them are not."""
        name = _STAGES[self.lang]["synthesis"]
        if name not in self._tasks:
            self._tasks[name] = self.progress.add_task(name, total=1.0, figures="", count="")
        done = max(event["accepted"] / event["wanted"], event["attempts"] / event["budget"])
        self.progress.update(
            self._tasks[name],
            completed=min(1.0, done),
            count=f"{event['accepted']}/{event['wanted']}",
            figures=_STAGES[self.lang]["synthesis_figures"].format(**event),
        )

    def _say(self, key: str, style: str, **values: object) -> None:
        """A line above the bars; what the model wrote in it is text, not markup."""
        line = _STAGES[self.lang][key].format(**values)
        self.progress.console.print(line, style=style, highlight=False, markup=False)

    def _plan(self, work: dict[str, float]) -> None:
        """A bar for the whole run, in thousandths of its planned work."""
        whole = sum(work.values())
        self._work = {key: 1000 * part / whole for key, part in work.items()}
        self._whole = self.progress.add_task(
            _STAGES[self.lang]["whole"], total=1000, figures="", count=""
        )

    def _bar(self, key: str, description: str, total: int, done: int) -> None:
        self._tasks[key] = self.progress.add_task(
            description, total=total, completed=done, figures="", count=f"{done}/{total}"
        )
        self._advance(key, done, total)

    def _move(self, key: str, done: int, figures: str) -> None:
        if key not in self._tasks:
            return
        total = self.progress.tasks[self._tasks[key]].total or 1
        self.progress.update(
            self._tasks[key], completed=done, figures=figures, count=f"{done}/{total:.0f}"
        )
        self._advance(key, done, total)

    def _advance(self, key: str, done: float, total: float) -> None:
        """The stages before this one are done, and so is its own part."""
        if self._whole is None or key not in self._work:
            return
        order = list(self._work)
        before = sum(self._work[k] for k in order[: order.index(key)])
        self.progress.update(self._whole, completed=before + self._work[key] * done / max(total, 1))
