"""A label-free round by TRL's GRPOTrainer: our teacher and votes, its rollouts and updates."""

from __future__ import annotations

import json
import logging
import math
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmupt.errors import ModelError
from mmupt.events import jsonable
from mmupt.guard.rules import Finding
from mmupt.guard.watch import Audit, Guard, Outcome
from mmupt.policy.memory import row_limit
from mmupt.policy.model import Policy
from mmupt.train.advantage import batch_std, group_advantages
from mmupt.train.average import MovingAverage
from mmupt.train.grpo import make_guard
from mmupt.train.judge import Judged, mean, summarise, votes_on
from mmupt.train.labels import TeacherVotes
from mmupt.train.records import write_rollouts
from mmupt.train.rollout import STUDENT_STREAM, Group
from mmupt.train.stage import AfterStep, Run
from mmupt.train.update import ScoredGroup, UpdateStats
from mmupt.trl.reward import MajorityVoteReward, Voted
from mmupt.trl.rows import in_order, rows_to_ask
from mmupt.trl.settings import refuse_what_trl_has_not, trl_arguments
from mmupt.types import Sample

KEPT = "mmupt"
"""Folder inside TRL's checkpoints with what is ours: the teacher, and what the guard remembers."""


def check_installed() -> None:
    """Refuse to begin what needs TRL without it.

    Raises:
        ModelError: TRL or datasets is not installed.
    """
    try:
        import datasets  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"--engine trl needs {error.name}, which is not installed: pip install 'mmupt[trl]'"
        ) from None


def train_with_trl(
    policy: Policy,
    samples: Sequence[Sample],
    run: Run,
    *,
    after_step: AfterStep | None = None,
    audit: Audit | None = None,
) -> Outcome:
    """One label-free round, in place, watched by the guard: as `train_label_free`, by TRL.

    Differences from the local engine, none of them silent: the prompt and its pictures run once
    per completion; a prompt whose label is not kept is rolled out too and has no advantage; random
    numbers are torch's, so that another number of processes draws otherwise.

    Args: as of `mmupt.train.grpo.train_label_free`.

    Raises:
        ModelError: TRL is not installed.
        ConfigError: settings that TRL has not.
    """
    check_installed()
    refuse_what_trl_has_not(run.config)
    from transformers.trainer_callback import PrinterCallback
    from trl import GRPOConfig

    config, processes = run.config, run.processes
    folder = run.state_dir / "trl"
    arguments = trl_arguments(
        config, folder, run.seed, processes.count, policy.device.type == "cpu"
    )
    teacher = _teacher(policy, run)
    moving = None
    if teacher is not None and config.consensus.teacher == "ema":
        moving = MovingAverage(teacher, policy, config.consensus.ema_decay)
    labeller = None if teacher is None else TeacherVotes(
        teacher, run.prompts, config.consensus, config.train.max_completion_length, run.seed,
        config.train.micro_batch_size, processes,
    )  # fmt: skip
    guard = make_guard(samples, run, audit)
    asked = in_order(samples, run)
    watch = _Watch(policy, asked, run, guard, moving, after_step)
    policy.model.train()
    with row_limit():
        reward = MajorityVoteReward(
            config.consensus,
            num_generations=config.train.num_generations,
            end_ids=policy.stop_ids,
            labels=None if labeller is None else (
                lambda places: labeller.labels([asked[i] for i in places], watch.step + 1)
            ),
            told=watch.told,
            unkept=None if config.train.scale_rewards == "batch" else 0.0,
        )  # fmt: skip
        trainer = _trainer_class()(
            model=policy.model,
            reward_funcs=reward,
            args=GRPOConfig(**arguments),
            train_dataset=rows_to_ask(asked, run),
            processing_class=policy.processor,
            callbacks=[watch.callback()],
        )
        trainer.remove_callback(PrinterCallback)
        point = _newest(folder)
        watch.begin(labeller, point)
        # It would warn of labels that are not kept, with the question in full.
        logging.getLogger("trl.trainer.grpo_trainer").setLevel(logging.ERROR)
        # TRL asks transformers for something by its old name, at every step.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        trainer.train(resume_from_checkpoint=None if point is None else str(point))
    policy.model.eval()
    return guard.finish(policy, watch.step, watch.stopping) if guard else Outcome(watch.step)


def _teacher(policy: Policy, run: Run) -> Policy | None:
    kind = run.config.consensus.teacher
    if kind == "online":
        return None
    return policy.clone() if kind == "ema" else policy.reference()


def _trainer_class() -> Any:
    """TRL's trainer over rows that are completions: it need not repeat them."""
    from trl import GRPOTrainer
    from trl.trainer.utils import RepeatSampler

    class Trainer(GRPOTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return RepeatSampler(
                self.train_dataset if dataset is None else dataset,
                mini_repeat_count=1,
                batch_size=self.args.generation_batch_size,
                repeat_count=self.num_iterations * self.args.steps_per_generation,
                shuffle=False,
                seed=self.args.seed,
            )

    return Trainer


def _newest(folder: Path) -> Path | None:
    points = [p for p in folder.glob("checkpoint-*") if (p / KEPT / "state.json").is_file()]
    return max(points, key=lambda p: int(p.name.rpartition("-")[2])) if points else None


class _Watch:
    """What happens around TRL's steps: records, the teacher's average, the guard, events."""

    def __init__(
        self, policy: Policy, samples: Sequence[Sample], run: Run, guard: Guard | None,
        moving: MovingAverage | None, after_step: AfterStep | None,
    ) -> None:  # fmt: skip
        self.policy, self.run, self.guard = policy, run, guard
        self.moving, self.after_step = moving, after_step
        self.samples = samples
        self.step = 0
        self.stopping: list[Finding] = []
        self.judged: list[Judged] = []
        self.started = time.perf_counter()

    def begin(self, labeller: TeacherVotes | None, point: Path | None) -> None:
        """Begin the round, or go on from one of its points."""
        run, total = self.run, self.run.config.train.max_steps
        if point is not None:
            state = json.loads((point / KEPT / "state.json").read_text(encoding="utf-8"))
            self.step = int(state["step"])
            self._load(point / KEPT, state)
        kind = "stage_started" if point is None else "run_resumed"
        run.log.emit(kind, stage=run.stage, step=self.step, total_steps=total, engine="trl")
        if self.guard is not None and point is None:
            labels = votes_on(self.policy, self.guard.probe.samples, run, labeller)
            answers = [label.answer if label.kept else None for label in labels]
            views = run.config.train.views
            self.guard.begin(self.policy, answers, views=views, stream=STUDENT_STREAM)
        self.started = time.perf_counter()

    def told(self, batch: Sequence[Voted]) -> None:
        """The groups of the step that comes, from the reward function."""
        scale = self.run.config.train.scale_rewards
        spread = batch_std([one.rewards for one in batch if one.label.kept])
        self.judged = []
        for one in batch:
            completions = tuple(reply.completion for reply in one.replies)
            group = Group(self.samples[one.name], (), completions)
            answers = tuple(reply.answer for reply in one.replies)
            scored = ScoredGroup(group, group_advantages(one.rewards, scale, spread, "grpo"))
            self.judged.append(Judged(group, one.label, answers, one.rewards, scored))

    def callback(self) -> Any:
        from transformers import TrainerCallback

        watch = self

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                watch.step = int(state.global_step)
                if watch.moving is not None:
                    watch.moving.update()

            def on_log(
                self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any
            ) -> None:
                if logs and "loss" in logs and watch.judged:
                    watch.after(logs)
                if watch.stopping:
                    control.should_training_stop = True

            def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                watch.save(Path(args.output_dir) / f"checkpoint-{state.global_step}")

        return Callback()

    def after(self, logs: dict[str, float]) -> None:
        """A step is done: its event, its rollouts, and the guard's look."""
        run = self.run
        if run.processes.main:
            write_rollouts(run.rollouts_dir, run.stage, self.step, self.judged)
        figures = step_figures(self.judged, logs)
        run.log.emit(
            "grpo_step", stage=run.stage, step=self.step, engine="trl", **figures,
            seconds=time.perf_counter() - self.started,
        )  # fmt: skip
        self.judged = []
        if self.guard is not None:
            self.policy.model.eval()
            last = run.config.train.max_steps
            self.stopping = self.guard.after(self.policy, self.step, figures["entropy"], last)
            self.policy.model.train()
        if self.after_step is not None:
            self.policy.model.eval()
            self.after_step(self.step)
            self.policy.model.train()
        self.started = time.perf_counter()

    def save(self, point: Path) -> None:
        """What is ours beside what TRL saves; the state file last, as it makes the point whole."""
        if not self.run.processes.main:
            return
        from safetensors.torch import save_file

        folder = point / KEPT
        folder.mkdir(parents=True, exist_ok=True)
        if self.moving is not None:
            tensors = {name: t.contiguous() for name, t in self.moving.averages.items()}
            save_file(tensors, folder / "teacher.safetensors")
        state: dict[str, Any] = {"step": self.step}
        if self.guard is not None:
            tensors = {name: tensor.contiguous() for name, tensor in self.guard.best.items()}
            save_file(tensors, folder / "best.safetensors")
            state["guard"] = self.guard.state()
        temporary = folder / ".state.json.tmp"
        temporary.write_text(json.dumps(jsonable(state)), encoding="utf-8")
        temporary.replace(folder / "state.json")

    def _load(self, folder: Path, state: dict[str, Any]) -> None:
        from safetensors.torch import load_file

        if self.moving is not None:
            for name, tensor in load_file(folder / "teacher.safetensors").items():
                self.moving.averages[name].copy_(tensor)
            self.moving.show()
        if self.guard is not None:
            self.guard.best.update(load_file(folder / "best.safetensors"))
            self.guard.restore(state["guard"])


def step_figures(judged: Sequence[Judged], logs: dict[str, float]) -> dict[str, Any]:
    """The figures of a step: of the votes by us, of the update by TRL."""
    told = {
        "loss": logs.get("loss", math.nan),
        "learning_rate": logs.get("learning_rate", math.nan),
        "entropy": logs.get("entropy", math.nan),
        "kl": logs.get("kl", 0.0),
        "clip_fraction": logs.get("clip_ratio/region_mean", math.nan),
        "grad_norm": logs.get("grad_norm", math.nan),
    }
    figures = summarise(judged, UpdateStats())
    return {**figures, **told, "prompts": len(judged), "anchors": 0, "anchor_reward": mean([])}
