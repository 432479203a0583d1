"""`mmupt launch --engine verl`: what verl reads, and its trainer started on a Ray cluster."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmupt.config import Config
from mmupt.errors import ConfigError, InputError, ModelError, ProcessError
from mmupt.runs import open_run
from mmupt.train.recorded import check_recorded
from mmupt.types import Sample
from mmupt.verl import zero
from mmupt.verl.settings import Place, overrides, refuse_what_verl_has_not
from mmupt.verl.table import write_table


@dataclass(frozen=True, slots=True)
class Plan:
    """A round by verl that could start.

    Attributes:
        config: our settings, with absolute paths.
        samples: its questions.
        place: files and cluster.
        further: overrides that stand after ours, and win.
    """

    config: Config
    samples: Sequence[Sample]
    place: Place
    further: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """The command."""
        main = [sys.executable, "-m", "verl.trainer.main_ppo"]
        return [*main, *overrides(self.config, self.place), *self.further]

    def command(self) -> str:
        """The same as a line for a shell."""
        return shlex.join(self.words())


def plan_round(
    config: Config,
    samples: Sequence[Sample],
    out: Path,
    *,
    nnodes: int = 1,
    n_gpus_per_node: int = 1,
    further: Sequence[str] = (),
) -> Plan:
    """Check everything that can be checked before anything is written.

    Args:
        config: with `model.path` and `data.unlabelled`.
        samples: read from `data.unlabelled`.
        out: folder for what is written.
        nnodes: machines of the Ray cluster.
        n_gpus_per_node: GPUs of each.
        further: overrides of verl's own, ``key=value``.

    Raises:
        ConfigError: settings that verl has not, or a further word that is no override.
        ModelError: no model, or one with code of its own.
        InputError: no questions, or recorded votes on others.
    """
    refuse_what_verl_has_not(config)
    for word in further:
        if "=" not in word or word.startswith("-"):
            raise ConfigError(
                f"{word!r} is no override of verl's (key=value); options of launch come before "
                "CONFIG"
            )
    rows = config.train.prompts_per_step * config.train.num_generations
    if rows % (nnodes * n_gpus_per_node):
        raise ConfigError(
            f"prompts_per_step x num_generations is {rows}, which {nnodes * n_gpus_per_node} GPUs "
            "cannot share evenly; change one of them"
        )
    model = config.model.path
    if model is None:
        raise ConfigError("no model: name its folder by --model, or by model.path in CONFIG")
    refuse_code(model)
    if len(samples) < config.train.prompts_per_step:
        raise InputError(
            f"{len(samples)} questions are fewer than train.prompts_per_step "
            f"({config.train.prompts_per_step}), of which verl makes a step; lower it"
        )
    check_recorded(config.consensus, samples)
    out = out.resolve()
    place = Place(
        model.resolve(), out / "verl" / "unlabelled.parquet", out / "config.yaml",
        Path(zero.__file__).resolve(), out, nnodes, n_gpus_per_node,
    )  # fmt: skip
    plan = Plan(config, samples, place, tuple(further))
    plan.words()
    return plan


def refuse_code(model: Path) -> None:
    """Refuse a model whose folder holds code: verl's reward workers would run it.

    They load the tokenizer with remote code allowed, whatever the settings say (verl 0.9.1).

    Raises:
        ModelError: not a folder, or one with Python files or `auto_map` in its settings.
    """
    if not (model / "config.json").is_file():
        raise ModelError(f"{model}: no folder of a model (config.json is not there)")
    for path in sorted(model.rglob("*")):
        if path.suffix == ".py":
            raise ModelError(f"{model}: holds code ({path.name}), which verl would run; remove it")
        if path.suffix == ".json" and path.name.endswith("config.json"):
            try:
                told = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ModelError(f"{path}: not readable as JSON ({error})") from None
            if isinstance(told, dict) and told.get("auto_map"):
                raise ModelError(
                    f"{path}: auto_map asks for code from elsewhere, which verl would fetch and "
                    "run; remove it"
                )


def start(plan: Plan) -> None:
    """Write what verl reads and run its trainer to the end; a repeated start goes on.

    Raises:
        ModelError: verl is not installed here.
        RunFolderError: the folder holds something else.
        ProcessError: verl failed.
    """
    found = importlib.util.find_spec("verl")
    if found is None or found.origin is None:  # a mere folder of that name is no package
        raise ModelError(
            "--engine verl needs verl, which is not installed here; docs/verl.md says how to make "
            "its environment (--dry-run does without)"
        )
    with open_run(plan.place.out, plan.config, "launch --engine verl"):
        write_table(plan.place.table, plan.samples)
        code = subprocess.call(plan.words())  # noqa: S603
    if code:
        raise ProcessError(
            f"verl ended with exit code {code}, its own words stand above; the same command goes "
            "on from the last checkpoint"
        )
