"""Arms from one SFT checkpoint per seed, compared over seeds.

    DIR/seed-S/data/          the demo's rows of that seed
    DIR/seed-S/sft/           a run folder: SFT, its model and its scores
    DIR/seed-S/arms/ARM/      a run folder: the arm's stages, scores at candidate steps, metrics
    DIR/study.json, table.md, study.png

A cell (a seed's SFT, or a seed and an arm) is a run folder like any other: locked while it runs,
resumed when it was killed, refused when its configuration changed. Its `metrics.json` is written
last; where it is, the cell is finished and only read. Everything over seeds is computed anew from
the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmupt.config import Config, load_config
from mmupt.demo import demo_config, write_demo_data
from mmupt.errors import ConfigError, RunFolderError
from mmupt.evaluate.files import read_scores, write_scores
from mmupt.evaluate.scores import Scores
from mmupt.events import EventLog, read_events
from mmupt.pipeline.about import about
from mmupt.pipeline.material import Material
from mmupt.pipeline.stages import LabelFree, Stages, candidate_name
from mmupt.pipeline.study_arms import Arm
from mmupt.pipeline.study_collect import collect
from mmupt.pipeline.study_progress import StudyProgress, arm_work, sft_work
from mmupt.pipeline.study_table import study_table
from mmupt.report.study_plot import write_study_png
from mmupt.runs import RunFolder, copy_folder, open_run, write_atomic, write_json
from mmupt.train.grpo import train_label_free
from mmupt.train.lmsi import train_lmsi
from mmupt.train.self_reward import train_self_reward
from mmupt.version import __version__

METHODS: Mapping[str, LabelFree] = {
    "label-free": train_label_free,
    "lmsi": train_lmsi,
    "self-reward": train_self_reward,
}
HOW = {
    "lmsi": "fine-tuning on its own majority responses (LMSI, arXiv 2210.11610); no labels were "
    "used",
    "self-reward": "DPO on pairs that its own agreement orders (after arXiv 2401.10020); no labels "
    "were used",
}
"""What the model cards of those that are no GRPO say."""

ReadMaterial = Callable[[Config, Path | None], Material]
"""Reads the rows that a configuration names; the path is the truth of the unlabelled ones."""


@dataclass(frozen=True)
class Plan:
    """What a study is about.

    Attributes:
        root: its folder.
        arms: in the order of the table.
        seeds: one repetition each.
        settings: `key=value`, for every arm.
        eval_steps: updates between two candidates; 0: only the end of a stage is evaluated.
        own: a user's configuration; None: the embedded demo.
        truth: answers of the user's unlabelled rows, for supervised arms.
    """

    root: Path
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    settings: tuple[str, ...] = ()
    eval_steps: int = 20
    own: Config | None = None
    truth: Path | None = None

    def folder(self, seed: int) -> Path:
        return self.root / f"seed-{seed}"

    def base(self, seed: int) -> Config:
        """The configuration of a seed, before an arm changes it."""
        base = self.own or demo_config(self.folder(seed).resolve() / "data", seed)
        fixed = (f"seed={seed}", f"eval.steps={self.eval_steps}", "out=null")
        return load_config(None, [*self.settings, *fixed], base)

    def truth_of(self, seed: int) -> Path | None:
        return self.truth if self.own else self.folder(seed) / "data" / "unlabelled-truth.jsonl"

    def cell(self, seed: int, arm: Arm) -> Path:
        return self.folder(seed) / "arms" / arm.name

    def arm_config(self, seed: int, arm: Arm) -> Config:
        """From the seed's SFT model on."""
        config = arm.config(self.base(seed))
        model = config.model.model_copy(
            update={"path": self.folder(seed).resolve() / "sft" / "model"}
        )
        return config.model_copy(update={"model": model, "sft": None})


def check_plan(plan: Plan) -> None:
    """Refuse what cannot work before anything is written.

    Raises:
        ConfigError: an arm's settings, a missing part of the configuration, or a supervised arm
            without answers.
        RunFolderError: the folder holds something that is no study.
    """
    base = plan.base(plan.seeds[0])
    for arm in plan.arms:
        arm.config(base)
    for key, value in (
        ("model.path", base.model.path),
        ("data.labelled", base.data.labelled),
        ("data.unlabelled", base.data.unlabelled),
        ("data.test", base.data.test),
        ("sft", base.sft),
    ):
        if value is None:
            raise ConfigError(f"{key} is missing; `mmupt study` starts from an SFT model per seed")
    supervised = [arm.name for arm in plan.arms if not arm.label_free]
    if supervised and plan.own is not None and plan.truth is None:
        raise ConfigError(
            f"arm {supervised[0]} needs the answers of the unlabelled rows: pass --truth FILE"
        )
    root = plan.root
    if root.exists() and not root.is_dir():
        raise RunFolderError(f"{root}: is a file; --out takes a folder")
    if root.is_dir() and any(root.iterdir()) and not any(root.glob("seed-*")):
        raise RunFolderError(f"{root}: not empty and no study of mmupt; choose a new --out")


def run_study(plan: Plan, read: ReadMaterial, progress: StudyProgress) -> dict[str, Any]:
    """Run every cell that is not finished, then write the table, the plot and `study.json`.

    They are also written after each seed, over the seeds that are done by then.
    """
    check_plan(plan)
    study: dict[str, Any] = {}
    planned = False
    for done, seed in enumerate(plan.seeds, start=1):
        material = None
        if _unfinished(plan, seed):
            material = _material(plan, seed, read)
            if not planned:  # the rows of all seeds are as many
                _announce(plan, material, progress)
                planned = True
        _sft_cell(plan, seed, material, progress)
        for arm in plan.arms:
            _arm_cell(plan, seed, arm, material, progress)
        study = collect(plan.root, plan.arms, plan.seeds[:done])
        write_json(plan.root / "study.json", study)
        write_atomic(plan.root / "table.md", study_table(study))
        write_study_png(study, plan.root / "study.png")
    return study


def _unfinished(plan: Plan, seed: int) -> list[Path]:
    cells = [plan.folder(seed) / "sft", *(plan.cell(seed, arm) for arm in plan.arms)]
    return [cell for cell in cells if not RunFolder(cell).metrics.exists()]


def _material(plan: Plan, seed: int, read: ReadMaterial) -> Material:
    data = plan.folder(seed) / "data"
    if plan.own is None and not (data / "config.yaml").exists():  # written last
        write_demo_data(data, seed, truth=True)
    supervised = any(not arm.label_free for arm in plan.arms)
    return read(plan.base(seed), plan.truth_of(seed) if supervised else None)


def _announce(plan: Plan, material: Material, progress: StudyProgress) -> None:
    test = len(material.test)
    work: dict[str, float] = {}
    for seed in plan.seeds:
        missing = _unfinished(plan, seed)
        if plan.folder(seed) / "sft" in missing:
            work[f"seed {seed}, sft"] = sft_work(plan.base(seed), len(material.labelled), test)
        for arm in plan.arms:
            if plan.cell(seed, arm) in missing:
                work[f"seed {seed}, {arm.name}"] = arm_work(
                    plan.arm_config(seed, arm), arm.method, test
                )
    progress.plan(work, len(plan.seeds) * (1 + len(plan.arms)))


def _sft_cell(plan: Plan, seed: int, material: Material | None, progress: StudyProgress) -> None:
    config = plan.base(seed)

    def work(stages: Stages) -> dict[str, Any]:
        assert material is not None  # noqa: S101  read because the cell was not finished
        stages.test = material.test
        stages.sft(material.labelled)
        scores = stages.evaluate("sft")
        copy_folder(stages.folder.checkpoint("sft"), stages.folder.model)
        return {
            **_point(stages, 0, "sft", scores),
            "labels_used": len(material.labelled),
            "seconds": seconds_trained(stages.folder.events),
        }

    root = plan.folder(seed) / "sft"
    _run_cell(root, config, "study: sft", f"seed {seed}, sft", "", work, progress)


def _arm_cell(
    plan: Plan, seed: int, arm: Arm, material: Material | None, progress: StudyProgress
) -> None:
    config = plan.arm_config(seed, arm)

    def work(stages: Stages) -> dict[str, Any]:
        assert material is not None  # noqa: S101
        stages.test, stages.candidates = material.test, True
        train = _supervised if arm.method == "supervised" else _label_free
        points = [_point(stages, *one) for one in train(stages, arm, material)]
        best = max(points, key=lambda p: (p["mean"], -p["step"]))
        # The bound stops where it is best on the test itself, which favours it; an arm without
        # labels ends where it ended.
        reported = points[-1] if arm.label_free else best
        used = reported["step"] * config.train.prompts_per_step
        return {
            "reported": reported,
            "oracle": best,
            "candidates": sorted(points, key=lambda p: int(p["step"])),
            "labels_used": 0 if arm.label_free else min(len(material.truth), used),
            "seconds": seconds_trained(stages.folder.events),
        }

    _run_cell(
        plan.cell(seed, arm), config, f"study: {arm.name} by {arm.method}",
        f"seed {seed}, {arm.name}", arm.method, work, progress,
    )  # fmt: skip


def _run_cell(
    root: Path,
    config: Config,
    command: str,
    cell: str,
    method: str,
    work: Callable[[Stages], dict[str, Any]],
    progress: StudyProgress,
) -> None:
    with open_run(root, config, command) as folder:
        if folder.metrics.exists():
            return
        progress.begin(cell, config, method)
        log = EventLog(folder.events, (progress,))
        log.emit("run_started", seed=config.seed, version=__version__)
        metrics = {**work(Stages(folder, config, log)), **about(config)}
        write_json(folder.metrics, metrics)
    shown = metrics.get("reported", metrics)
    progress.end(cell, f"greedy {shown['greedy']:.1%}, sampled {shown['mean']:.1%}")


def _label_free(stages: Stages, arm: Arm, material: Material) -> Iterator[tuple[int, str, Scores]]:
    """Every evaluated point of the arm as (update, name of its scores, scores); its end is last."""
    stage, offset = "base", 0
    for number in range(1, stages.config.train.rounds + 1):
        stage = stages.label_free(
            material.unlabelled, after=stage, stage=f"round-{number}", key=number,
            method=METHODS[arm.method], how=HOW.get(arm.method),
        )  # fmt: skip
        yield from _points(stages, stage, offset)
        offset += stages.config.train.max_steps
        if stages.guarded(stage).get("stopped_by"):
            break  # as `mmupt run` does


def _supervised(stages: Stages, arm: Arm, material: Material) -> Iterator[tuple[int, str, Scores]]:
    """The same questions in the same order; as many updates in one stage."""
    del arm
    train = stages.config.train
    steps = train.rounds * train.max_steps
    together = stages.config.model_copy(
        update={"train": train.model_copy(update={"max_steps": steps})}
    )
    stage = stages.supervised(
        material.truth, after="base", stage="supervised", key=1, config=together
    )
    yield from _points(stages, stage, 0)


def _points(stages: Stages, stage: str, offset: int) -> Iterator[tuple[int, str, Scores]]:
    """The candidates of a finished stage, then the checkpoint that it ended with."""
    end = _last_step(stages.folder.events, stage)
    prefix = candidate_name(stage, 0).removesuffix("000000")
    for path in sorted(stages.folder.scores(stage).parent.glob(f"{prefix}*.parquet")):
        step = int(path.stem.removeprefix(prefix))
        if step != end:
            yield offset + step, path.stem, read_scores(path)
    same = stages.folder.scores(candidate_name(stage, end))
    if same.exists() and not stages.folder.scores(stage).exists():
        write_scores(stages.folder.scores(stage), read_scores(same))  # the same weights
    yield offset + end, stage, stages.evaluate(stage)


def _last_step(path: Path, stage: str) -> int:
    """The update whose weights the stage ended with: the guard's choice, otherwise the last."""
    last, chosen = 0, None
    for event in read_events(path):
        if event.get("stage") != stage:
            continue
        if event["type"].endswith("_step"):
            last = max(last, int(event["step"]))
        elif event["type"] == "best_checkpoint":
            chosen = int(event["step"])
    return last if chosen is None else chosen


def _point(stages: Stages, step: int, name: str, scores: Scores) -> dict[str, Any]:
    where = stages.folder.scores(name).relative_to(stages.folder.root)
    return {"step": step, "scores": where.as_posix(), **scores.metrics()}


def seconds_trained(path: Path) -> float:
    """Wall seconds of training: updates and the guard's looks, evaluations on the test left out.

    What a killed run did twice counts once.
    """
    spent: dict[tuple[str, str, int], float] = {}
    for event in read_events(path):
        timed = event.get("stage") and event.get("step") is not None and "seconds" in event
        if timed and event["type"] != "evaluated":
            spent[event["type"], event["stage"], event["step"]] = float(event["seconds"])
    return sum(spent.values())
