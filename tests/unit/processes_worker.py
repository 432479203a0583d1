"""What several processes do in `test_processes.py`; the test does the same alone and compares.

torchrun --nproc-per-node 2 processes_worker.py WHAT FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
import torch
from safetensors.torch import save_file
from torch import nn

from mmupt import processes as module
from mmupt.asking.maker import PromptMaker
from mmupt.config import Config
from mmupt.events import EventLog, SilentLog, jsonable
from mmupt.policy.model import load_policy
from mmupt.processes import ALONE, Processes, connect, disconnect
from mmupt.runs import write_json
from mmupt.train.checkpoint import load_state, save_state
from mmupt.train.judge import judge
from mmupt.train.optim import clip_and_step, make_optimizer, sum_gradients
from mmupt.train.stage import Run
from mmupt.train.update import update
from mmupt.types import Sample

CASES: dict[str, dict[str, Any]] = {
    # beside the defaults of `config`
    "dapo": {},
    "grpo, batch deviation, mini-batches": {
        "loss_type": "grpo",
        "scale_rewards": "batch",
        "num_mini_batches": 3,
        "num_iterations": 2,
    },
    "dr_grpo, small micro-batches": {"loss_type": "dr_grpo", "micro_batch_size": 2},
    "own votes, the easiest half": {},
    "fewer prompts than processes": {"prompts_per_step": 1},
}
CONSENSUS: dict[str, dict[str, Any]] = {
    "own votes, the easiest half": {"teacher": "online", "easiest_fraction": 0.5},
}
STEPS = 2


def config(case: str) -> Config:
    """Plain gradient steps of bounded length, so that a weight moves by its gradient and nothing else."""
    whole = tiny.round_config("online", save_steps=1, max_steps=STEPS)
    train = {"prompts_per_step": 7, "num_generations": 8, "beta": 0.0, "max_grad_norm": 1.0}
    return whole.model_copy(
        update={
            "train": whole.train.model_copy(
                update={**train, "num_mini_batches": 1, "views": 2, **CASES[case]}
            ),
            "consensus": whole.consensus.model_copy(update=CONSENSUS.get(case, {})),
        }
    )


def samples(folder: Path) -> list[Sample]:
    """Questions about pictures that `folder` gets; every third without one."""
    made = []
    for i in range(9):
        path = folder / f"{i}.png"
        if not path.exists():
            tiny.picture(50 + i, 30, 24 + i).save(path)
        text = f"read {i % 4 * 'on '}?"
        made.append(
            Sample(f"s{i}", text) if i % 3 == 2 else Sample(f"s{i}", f"<image>{text}", (path,))
        )
    return made


def learn(processes: Processes, folder: Path) -> None:
    """Every case: a few updates on rollouts of the moving policy, kept as weights and records."""
    for number, case in enumerate(CASES):
        policy = load_policy(folder / "talker", device="cpu")
        settings = config(case)
        out = folder / f"{number}-{processes.count}"
        log = EventLog(out / "events.jsonl") if processes.main else SilentLog()
        run = Run(
            settings, PromptMaker(settings.views, max_pixels=10_000, seed=4), log, "round-1", 1,
            out / "state", out / "rollouts", processes,
        )  # fmt: skip
        optimizer = torch.optim.SGD(policy.model.parameters(), lr=0.1)
        records = []
        for step in range(1, STEPS + 1):
            asked = samples(folder)[step:][: settings.train.prompts_per_step]
            judged = judge(policy, asked, run, None, step)
            mine = [j.scored for j in judged if j.group.prompts]
            stats = update(policy, optimizer, mine, settings.train, None, processes)
            records.append(
                {
                    "labels": [j.label.answer for j in judged],
                    "kept": [j.label.kept for j in judged],
                    "rewards": [j.rewards for j in judged],
                    "tokens": [[c.token_ids for c in j.group.completions] for j in judged],
                    "learned": sum(j.scored.teaches for j in judged),
                    "here": len(mine),
                    "loss": stats.loss,
                    "counted": stats.tokens,
                    "norms": stats.grad_norms,
                }
            )
        weights = {n: p.detach() for n, p in policy.model.named_parameters()}
        save_file(weights, out.with_name(f"{out.name}-{processes.rank}.safetensors"))
        write_json(out.with_name(f"{out.name}-{processes.rank}.json"), jsonable({"steps": records}))


def meet(processes: Processes, folder: Path) -> None:
    """Every meeting with values that tell the ranks apart."""
    rank = processes.rank
    module.BUCKET_BYTES = 40  # ten numbers
    sizes = [3, 5, 40, 1, 2, 2]
    parameters = [nn.Parameter(torch.zeros(size)) for size in sizes]
    parameters.append(nn.Parameter(torch.zeros(2, 3, dtype=torch.float64)))
    for number, parameter in enumerate(parameters):
        if number == 4 or (number == 1 and rank == 0):
            continue  # nobody has the fifth; only the others have the second
        parameter.grad = torch.full_like(parameter, 10.0**rank * (number + 1))
    transposed = torch.arange(6.0, dtype=torch.float64).reshape(3, 2).T * (rank + 1)
    parameters[6].grad = transposed
    processes.sum_gradients(parameters)
    found = {
        "sum": processes.sum([1.5, rank, 1e-9]),
        "gather": processes.gather({"rank": rank}),
        "join": processes.join([rank] * (rank + 1)),
        "told": processes.told(lambda: f"said by {rank}"),
        "share": [list(range(n))[processes.share(n)] for n in range(6)],
        "gradients": [None if p.grad is None else p.grad.tolist() for p in parameters],
    }
    write_json(folder / f"meet-{rank}.json", found)


def small_model() -> nn.ParameterDict:
    """Matrices and vectors of different size, one in bfloat16, and one that never has a gradient."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"a": (4, 6), "b": (5,), "c": (3, 7), "d": (8,), "never": (2,), "low": (6, 3)}
    model = nn.ParameterDict(
        {
            name: nn.Parameter(torch.randn(shape, generator=generator))
            for name, shape in shapes.items()
        }
    )
    model["low"] = nn.Parameter(model["low"].detach().bfloat16())
    return model


def gradient(name: str, step: int, rank: int, shape: torch.Size) -> torch.Tensor | None:
    """What a process adds to a gradient; the second one alone has one of "d"."""
    if name == "never" or (name == "d" and rank == 0):
        return None
    key = 1000 * step + 10 * rank + ord(name[0])
    return torch.randn(shape, generator=torch.Generator().manual_seed(key))


def descend(
    model: nn.ParameterDict,
    optimizer: torch.optim.Optimizer,
    steps: range,
    processes: Processes,
    ranks: range,
) -> list[float]:
    """Steps of AdamW on the summed gradients of `ranks`; returns their norms."""
    norms = []
    for step in steps:
        for name, parameter in model.items():
            for rank in ranks:
                own = gradient(name, step, rank, parameter.shape)
                if own is not None:
                    before = 0.0 if parameter.grad is None else parameter.grad
                    parameter.grad = before + own
        sum_gradients(model.parameters(), optimizer, processes)
        norms.append(clip_and_step(model.parameters(), optimizer, 2.0))
    return norms


def shard(processes: Processes, folder: Path) -> None:
    """Two steps, a point, two more from it: with the optimizer's state shared out, and whole."""
    for stage in (0, 1):
        model = small_model()
        optimizer = make_optimizer(model, 1e-2, 0.1, stage, processes)
        own = range(processes.rank, processes.rank + 1)
        state = folder / f"state-{stage}"
        norms = descend(model, optimizer, range(2), processes, own)
        save_state(state, 2, model, optimizer, {}, processes=processes)
        held = sum(t.numel() for kept in optimizer.state.values() for t in kept.values() if t.ndim)
        processes.wait()
        resumed = small_model()
        optimizer = make_optimizer(resumed, 1e-2, 0.1, stage, processes)
        assert load_state(state, resumed, optimizer, {}, processes) == (2, {})
        norms += descend(resumed, optimizer, range(2, 4), processes, own)
        save_file(
            {name: p.detach() for name, p in resumed.items()},
            folder / f"shard-{stage}-{processes.rank}.safetensors",
        )
        write_json(folder / f"shard-{stage}-{processes.rank}.json", {"norms": norms, "held": held})


if __name__ == "__main__":
    WHAT: dict[str, tuple[Callable[[Processes, Path], None], ...]] = {
        "learn": (learn,),
        "meet": (meet, shard),  # small buckets for both
    }
    together = connect()
    assert together is not ALONE
    torch.set_num_threads(1)
    for part in WHAT[sys.argv[1]]:
        part(together, Path(sys.argv[2]))
    disconnect()
