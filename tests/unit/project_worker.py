"""A small project, run to its end without a stop, and again with SIGKILL wherever it can hurt.

python project_worker.py FOLDER

Everything is imported once; each life of the project is a fork that has done no arithmetic yet.
Leaves `FOLDER/found.json`; `test_project.py` looks at it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset  # noqa: F401  what the lives would import one after the other
import torch
import yaml
from transformers.models.auto import processing_auto  # noqa: F401
from transformers.models.idefics3 import (  # noqa: F401
    image_processing_pil_idefics3,
    modeling_idefics3,
    processing_idefics3,
)
from transformers.models.llama import modeling_llama  # noqa: F401

from mmupt.config import Config
from mmupt.data.handwriting import panels, write_pictures, write_rows
from mmupt.data.sources import read_labelled, read_samples
from mmupt.demo import embedded
from mmupt.events import Event, EventLog, read_events
from mmupt.pipeline import steps
from mmupt.pipeline.material import Material
from mmupt.pipeline.project import Project
from mmupt.pipeline.reviewer import answer_key
from mmupt.pipeline.rounds import Round, add_round
from mmupt.pipeline.staged import run_staged
from mmupt.pipeline.stages import Stages
from mmupt.processes import Processes
from mmupt.runs import open_run, write_json
from mmupt.types import Sample

LABELLED, UNLABELLED, TEST = 60, 64, 30
SETTINGS: dict[str, Any] = {
    "seed": 5,
    "num_threads": 1,
    "save_steps": 2,
    "sft": {"num_train_epochs": 6, "learning_rate": 3e-4, "per_device_train_batch_size": 30},
    "consensus": {"views": 4, "min_share": 0.25},
    "train": {
        "max_steps": 5, "prompts_per_step": 8, "num_generations": 4, "views": 2,
        "learning_rate": 2e-5, "anchor_fraction": 0.25, "max_completion_length": 12,
    },
    "guard": {"action": "warn", "load_best_model_at_end": False, "steps": 5, "probe_size": 8,
              "probe_views": 2, "jury_views": 2},
    "eval": {"num_samples": 2, "steps": 0, "max_completion_length": 12},
    "pilot": {"rows": 8, "require": "nothing"},
    "audit": {"max_verdicts": 30},
    "gate": {
        "confidence": 0.6, "min_precision": 0.05, "max_regression": 1.0,
        "max_consistency_loss": 1.0, "max_slice_drop": 1.0, "max_blind_rise": 1.0,
        "max_format_rise": 1.0,
    },
}  # fmt: skip
"""So little proof is asked for that everything passes."""


@dataclass(frozen=True)
class Strict(Processes):
    """One process that notices what several would hang on: a meeting within a meeting.

    `told` calls its function in the main process alone, where nobody else comes to a second one.
    """

    def told(self, make: Callable[[], Any]) -> Any:
        global _within
        assert not _within, "a meeting that only the main process comes to"
        _within = True
        try:
            return make()
        finally:
            _within = False


_within = False


def write_material(folder: Path) -> dict[str, str]:
    """The demo's files at a small size. Returns the true answers of the unlabelled rows."""
    for name, split, count in (
        ("train", "labelled", LABELLED),
        ("unlabelled", "unlabelled", UNLABELLED),
        ("test", "test", TEST),
    ):
        drawn = panels(split, count, 0)
        write_pictures(folder, name, drawn)
        write_rows(folder / f"{name}.jsonl", name, drawn, answers=split != "unlabelled")
    shutil.copytree(embedded("model"), folder / "model")
    drawn = panels("unlabelled", UNLABELLED, 0)
    return {f"unlabelled-{i:05d}": panel.answer for i, panel in enumerate(drawn)}


def config_of(data: Path, more: Mapping[str, Mapping[str, Any]] | None = None) -> Config:
    """The preset with `SETTINGS` and then `more` over it."""
    tree = yaml.safe_load(embedded("preset.yaml").read_text(encoding="utf-8"))
    for settings in (SETTINGS, more or {}):
        for key, value in settings.items():
            tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    tree["model"]["path"] = str(data / "model")
    names = {"labelled": "train", "unlabelled": "unlabelled", "test": "test"}
    tree["data"] = {key: str(data / f"{name}.jsonl") for key, name in names.items()}
    return Config.model_validate(tree)


def material_of(config: Config) -> Material:
    """What the command line reads; without SFT no labelled rows."""
    data = config.data
    assert data.labelled is not None
    assert data.unlabelled is not None
    assert data.test is not None
    return Material(
        read_labelled(data.labelled).rows if config.sft else (),
        read_samples(data.unlabelled).rows,
        read_labelled(data.test).rows[: config.eval.limit],
    )


def questions(config: Config, one: Round) -> Sequence[Sample]:
    return read_samples(one.path(config)).rows


def go_on(
    root: Path, config: Config, answers: Mapping[str, str] | None, listener: Callable[[Event], None]
) -> dict[str, Any]:
    """What `mmupt run` does, in this process. Without `answers` people review."""
    torch.set_num_threads(1)
    material = material_of(config)
    with open_run(root, config, "run", goes_on=True) as folder:
        log = EventLog(folder.events, (listener,))
        stages = Stages(folder, config, log, processes=Strict())
        reviewer = answer_key(answers) if answers is not None else None
        return run_staged(stages, material, read=questions, reviewer=reviewer)


@dataclass(frozen=True)
class Death:
    """Where a life ends.

    Attributes:
        kind: `event`, as soon as it is written; `unsaid`, before it is; `unwritten`, before the
            record of a finished step is.
        event: type of the event.
        about: its step or stage.
        number: its number of updates, where that counts.
    """

    kind: str
    event: str
    about: str
    number: int | None = None

    def meets(self, event: Event) -> bool:
        about = event.get("stage") if self.number is not None else None
        return (
            event["type"] == self.event
            and (about or event.get("step") or event.get("stage")) == self.about
            and (self.number is None or event["step"] == self.number)
        )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def live(work: Callable[[], None]) -> int:
    """Fork, work, and tell how it ended: 0, or the signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001  a fork must not go on as its parent
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0, "a life ended with an error"
    return 0


def until(root: Path, config: Config, answers: Mapping[str, str], death: Death | None) -> bool:
    """One life. True: it died as it was to."""

    def work() -> None:
        def listen(event: Event) -> None:
            if death is not None and death.kind == "event" and death.meets(event):
                die()

        if death is not None and death.kind == "unwritten":
            write = steps.write_json

            def unwritten(path: Path, value: Mapping[str, Any]) -> None:
                if value["step"] == death.about and value["state"] == "finished":
                    die()
                write(path, value)

            steps.write_json = unwritten
        if death is not None and death.kind == "unsaid":
            emit = EventLog.emit

            def unsaid(self: EventLog, event_type: str, **fields: Any) -> None:
                if death.meets({"type": event_type, **fields}):
                    die()
                emit(self, event_type, **fields)

            EventLog.emit = unsaid  # type: ignore[method-assign]
        found = go_on(root, config, answers, listen)
        write_json(root / "last.json", found)

    ended = live(work)
    assert ended in (0, signal.SIGKILL)
    return ended != 0


def deaths(boundaries: Sequence[str], of: Callable[[str], bool]) -> list[Death]:
    """At every boundary, and in between where something could be left half done."""
    found = []
    for step in boundaries:
        if not of(step):
            continue
        if step in STARTED:
            found.append(Death("event", "step_started", step))
        for inside in INSIDE.get(step, ()):
            found.append(inside)
        if step in UNWRITTEN:
            found.append(Death("unwritten", "", step))
        found.append(Death("event", "step_finished", step))
    return found


STARTED = {"sft", "pilot", "round-1/audit", "round-2/train"}
UNWRITTEN = {"base", "sft", "sft/promote", "round-1/audit", "round-1/promote", "round-2/gate"}
INSIDE = {
    "sft": (Death("event", "sft_step", "sft", 7), Death("unsaid", "stage_finished", "sft")),
    "round-1/train": (
        Death("event", "grpo_step", "round-1", 3),
        Death("event", "best_checkpoint", "round-1", 5),
    ),
    "round-2/train": (
        Death("event", "stage_finished", "round-2"), Death("unsaid", "stage_finished", "round-2"),
    ),
}  # fmt: skip


def summary(root: Path, config: Config) -> dict[str, Any]:
    """What must not depend on whether a project was killed."""
    project = Project(root)
    registry, store = project.registry(), project.audits(config)
    events = list(read_events(project.run.events))
    taken = root / "audits" / "round-2.taken.json"
    return {
        "finished": [e["step"] for e in events if e["type"] == "step_finished"],
        "trained": Counter(e["stage"] for e in events if e["type"] == "stage_finished"),
        "versions": {one.name: one.digest for one in registry.versions()},
        "lineage": {one.name: json.loads(one.lineage.json) for one in registry.versions()},
        "aliases": registry.aliases(),
        "history": [[past.kind, past.version, past.rollout] for past in registry.history()],
        "decisions": [[one.version, one.verdict] for one in registry.decisions()],
        "audits": [[one.name, one.subject, one.frame, one.items] for one in store.audits()],
        "verdicts": {
            one.name: [[v.unit, v.kind, v.answer] for v in store.verdicts(one.name)]
            for one in store.audits()
        },
        "ledger": [[e.key, e.stage, e.kind, e.quantity] for e in project.ledger().entries()],
        "taken": json.loads(taken.read_text(encoding="utf-8")) if taken.exists() else None,
        "anchored": sum(e.get("anchors", 0) for e in events if e["type"] == "grpo_step"),
        "state": json.loads((root / "state.json").read_text(encoding="utf-8"))["state"],
        "metrics": json.loads((root / "metrics.json").read_text(encoding="utf-8")),
    }


def main(folder: Path) -> None:
    data = folder / "data"
    answers = write_material(data)
    config = config_of(data)
    found: dict[str, Any] = {}
    whole, torn = folder / "whole", folder / "torn"
    for phase in ("round-1", "round-2"):
        if phase == "round-2":
            for root in (whole, torn):
                add_round(root / "rounds", data / "unlabelled.jsonl", ["train.learning_rate=3e-5"])
        before = summary(whole, config)["finished"] if whole.exists() else []
        assert not until(whole, config, answers, None)
        boundaries = summary(whole, config)["finished"][len(before) :]
        planned = deaths(boundaries, lambda step: True)
        for death in planned:
            assert until(torn, config, answers, death), death
        assert not until(torn, config, answers, None)
        found[f"deaths of {phase}"] = len(planned)
    found |= {name: summary(root, config) for name, root in (("whole", whole), ("torn", torn))}
    # Once more: nothing is left to do, and nothing is done.
    assert not until(torn, config, answers, None)
    found["again"] = summary(torn, config)
    write_json(folder / "found.json", found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
