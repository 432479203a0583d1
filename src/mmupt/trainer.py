"""Label-free training from Python, with the names of transformers' and TRL's trainers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmupt.config import Config, load_config
from mmupt.data.sources import read_labelled, read_samples
from mmupt.errors import ConfigError, ModelError, ProcessError, RunFolderError
from mmupt.events import EventLog, Listener
from mmupt.pipeline.about import about
from mmupt.pipeline.label_free import label_free_rounds
from mmupt.pipeline.stages import Stages, check_prompts
from mmupt.policy.model import load_policy
from mmupt.processes import connect
from mmupt.runs import RunFolder, copy_folder, open_run, write_json
from mmupt.trackers.send import check_trackers, tracked
from mmupt.types import LabelledSample, Sample
from mmupt.version import __version__


@dataclass(frozen=True)
class TrainOutput:
    """What a training came to.

    Attributes:
        global_step: updates of the last round, whichever of them the guard kept.
        metrics: what `mmupt train` writes to `metrics.json`: the guard's outcome, rows, versions.
        evaluations: by stage, `base` and the last round, where there is an `eval_dataset`.
    """

    global_step: int
    metrics: Mapping[str, Any]
    evaluations: Mapping[str, Mapping[str, Any]]


class LabelFreeTrainer:
    """MM-UPT (arXiv 2505.22453) on questions without answers: what `mmupt train` does.

        trainer = LabelFreeTrainer(model="model", train_dataset="questions.jsonl", args=config)
        trainer.train()
        trainer.save_model("improved")

    One process; for several there is `mmupt launch train`. A training that was killed goes on where
    it stopped when the same trainer is made and run again.

    Args:
        model: folder of a Hugging Face image-text model; None: `args.model.path`.
        train_dataset: a file or folder as in docs/data.md, or samples; answers in it are not read.
        args: the configuration (docs/config.md): a `Config`, its sections as a mapping, or a YAML
            file. `out` in it is the run's folder, and has to be new or of the same training.
        eval_dataset: held-out rows with answers, on which the model is scored before and after.
        callbacks: functions that are called with every event of docs/report.md, a dictionary.

    Raises:
        ConfigError: a setting that is unknown, out of range, or missing.
        InputError: a row, or a picture of it, that cannot be used.
        ProcessError: one of several processes.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        train_dataset: str | Path | Sequence[Sample] = (),
        args: Config | Mapping[str, Any] | str | Path | None = None,
        *,
        eval_dataset: str | Path | Sequence[LabelledSample] | None = None,
        callbacks: Sequence[Listener] = (),
    ) -> None:
        if connect().count > 1:
            raise ProcessError("LabelFreeTrainer is one process; use `mmupt launch train`")
        config = _config(args)
        path = Path(model) if model is not None else config.model.path
        if path is None:
            raise ConfigError("LabelFreeTrainer: no model; pass a folder, or set model.path")
        if config.out is None:
            raise ConfigError("LabelFreeTrainer: no run folder; set `out` in args")
        check_trackers(config)
        data = config.data.model_copy(
            update={
                "unlabelled": _file(train_dataset),
                "test": _file(eval_dataset),
            }
        )
        own = config.model.model_copy(update={"path": path.resolve()})
        self.args = config.model_copy(update={"model": own, "data": data})
        self.train_dataset: Sequence[Sample] = (
            read_samples(Path(train_dataset), data_root=data.root, skip_bad=data.skip_bad).rows
            if isinstance(train_dataset, str | Path)
            else tuple(train_dataset)
        )
        if not self.train_dataset:
            raise ConfigError("LabelFreeTrainer: train_dataset has no questions")
        self.eval_dataset: Sequence[LabelledSample] = (
            read_labelled(Path(eval_dataset), data_root=data.root, skip_bad=data.skip_bad).rows
            if isinstance(eval_dataset, str | Path)
            else tuple(eval_dataset or ())
        )
        self.callbacks = tuple(callbacks)
        self.folder = RunFolder(config.out)

    def train(self) -> TrainOutput:
        """Train `train.rounds` rounds, watched by the guard.

        Raises:
            RunFolderError: `out` holds another training, or is in use.
            ModelError: the folder is no usable model.
        """
        if self.args.num_threads:
            torch.set_num_threads(self.args.num_threads)
        if not self.folder.config.exists():
            self._check()
        with open_run(self.folder.root, self.args, "LabelFreeTrainer") as folder:
            log = EventLog(folder.events, self.callbacks)
            with tracked(log, self.args, folder):
                log.emit("run_started", seed=self.args.seed, version=__version__, processes=1)
                stages = Stages(folder, self.args, log, test=self.eval_dataset)
                return self._train(stages)

    def save_model(self, output_dir: str | Path | None = None) -> Path:
        """Copy the trained model to a folder; None: it stays in the run's folder, at `model`.

        Returns:
            Where it is.

        Raises:
            ModelError: nothing is trained yet.
            RunFolderError: the folder holds something.
        """
        if not self.folder.model.exists():
            raise ModelError(f"{self.folder.root}: nothing is trained yet; call train() first")
        if output_dir is None:
            return self.folder.model
        target = Path(output_dir)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise RunFolderError(f"{target}: not an empty folder; choose a new one")
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_folder(self.folder.model, target)
        return target

    def _check(self) -> None:
        """The model can be loaded and takes the prompts, while nothing is written."""
        model = self.args.model
        assert model.path is not None  # noqa: S101
        policy = load_policy(
            model.path, dtype=model.dtype, device=model.device,
            max_prompt_length=model.max_prompt_length,
        )  # fmt: skip
        questions = [*self.train_dataset, *(row.sample for row in self.eval_dataset)]
        check_prompts(policy, questions, self.args)

    def _train(self, stages: Stages) -> TrainOutput:
        evaluations = {}
        if self.eval_dataset:
            evaluations["base"] = stages.evaluate("base").metrics()
        last = label_free_rounds(stages, self.train_dataset)
        if self.eval_dataset:
            evaluations[last] = stages.evaluate(last).metrics()
        copy_folder(self.folder.checkpoint(last), self.folder.model)
        guard = stages.guarded(last)
        metrics = {
            "model": str(self.folder.model), "stage": last, "labels_used": 0,
            "rows": len(self.train_dataset), "guard": guard, **about(self.args),
        }  # fmt: skip
        write_json(self.folder.metrics, metrics)
        return TrainOutput(guard.get("steps", self.args.train.max_steps), metrics, evaluations)


def _file(dataset: object) -> Path | None:
    """Where a data set is, for the configuration that the run is known by."""
    return Path(dataset).resolve() if isinstance(dataset, str | Path) else None


def _config(args: Config | Mapping[str, Any] | str | Path | None) -> Config:
    """As `load_config`, whose messages name what is wrong, from whatever was given."""
    if isinstance(args, Config):
        return args
    if isinstance(args, str | Path):
        return load_config(Path(args))
    settings = [f"{key}={json.dumps(value, default=str)}" for key, value in (args or {}).items()]
    return load_config(None, settings)
